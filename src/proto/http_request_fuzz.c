/* The verdict on a request head doesn't depend on how its bytes arrive: no prefix is parsed to
 * another result than the whole, and an attempt that resumes ends as one that starts anew. */
#include "proto/http_request.h"

#include <stdlib.h>

#include "base/err.h"
#include "proto/uri.h"
#include "proto/ws_handshake.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct http_request whole;
static struct http_request other;

static void check_borrowed(struct str s, const uint8_t *data, size_t len)
{
    if (s.len > 0) {
        const uint8_t *from = (const uint8_t *)s.ptr;
        ASSERT(from >= data && from + s.len <= data + len);
    }
}

static void check_value(struct str value)
{
    for (size_t i = 0; i < value.len; i++) {
        uint8_t byte = (uint8_t)value.ptr[i];
        ASSERT((byte >= ' ' && byte != 0x7f) || byte == '\t');
    }
    ASSERT(str_trim(value).len == value.len);
}

static void check_fields(const struct http_request *request, const uint8_t *data, size_t len)
{
    const struct http_fields *fields = &request->fields;
    ASSERT(fields->count <= HTTP_HEADERS_MAX);
    for (uint32_t i = 0; i < fields->count; i++) {
        check_borrowed(fields->headers[i].name, data, len);
        check_borrowed(fields->headers[i].value, data, len);
        check_value(fields->headers[i].value);
        ASSERT(http_is_token(fields->headers[i].name));
        enum http_field field = fields->headers[i].field;
        ASSERT(field == HTTP_FIELD_OTHER || fields->first[field] <= i + 1);
        ASSERT(http_fields_count(fields, fields->headers[i].name) >= 1);
    }
}

static void check_accepted(const struct http_request *request, const uint8_t *data, size_t len)
{
    check_borrowed(request->method_text, data, len);
    check_borrowed(request->target, data, len);
    ASSERT(request->method_text.ptr[request->method_text.len] == ' ');
    ASSERT(request->target.ptr[request->target.len] == ' ');
    ASSERT(request->target.len > 0);
    check_borrowed(request->query, data, len);
    check_borrowed(request->host, data, len);
    check_fields(request, data, len);
    ASSERT(request->path.len > 0);
    ASSERT(request->minor_version == 0 || request->host.len > 0);
    ASSERT(!request->chunked || request->content_length == -1);
    ASSERT(data[len - 1] == '\n' && data[len - 2] == '\r');
    uri_path_check(request->path);
    if (ws_handshake_check(request) == HTTP_REFUSED_NOT) {
        char out[WS_HANDSHAKE_RESPONSE_MAX];
        ASSERT(request->upgrade_websocket);
        ASSERT(ws_handshake_write(out, sizeof(out), request, STR("p"), STR("")) > 0);
    }
}

static void check_same(ssize_t result, ssize_t expected)
{
    ASSERT(result == expected);
    ASSERT(result >= 0 || other.refusal == whole.refusal);
    ASSERT(result <= 0 || other.fields.count == whole.fields.count);
}

static void check_prefixes(const struct http_limits *limits, const uint8_t *data, size_t size,
                           ssize_t expected)
{
    size_t step = size < 600 ? 1 : size / 600;
    for (size_t len = 0; len < size; len += step) {
        ssize_t result = http_request_parse(&other, limits, data, len, NULL);
        if (result != 0) {
            check_same(result, expected);
        }
    }
}

/* The tail is always passed in: an attempt may be put off until the head ends. */
static void check_pieces(const struct http_limits *limits, const uint8_t *data, size_t size,
                         ssize_t expected)
{
    size_t scanned = 0;
    size_t piece = size % 7 + 1;
    ssize_t result = 0;
    for (size_t len = piece; len <= size && result == 0; len += piece) {
        result = http_request_parse(&other, limits, data, len, &scanned);
    }
    if (result != 0) {
        check_same(result, expected);
    } else {
        ASSERT(expected <= 0 || size % piece != 0);
    }
}

static void check_with_limits(const struct http_limits *limits, const uint8_t *data, size_t size)
{
    ssize_t expected = http_request_parse(&whole, limits, data, size, NULL);
    if (expected > 0) {
        check_accepted(&whole, data, (size_t)expected);
    } else if (expected < 0) {
        ASSERT(expected == http_refusal_err(whole.refusal));
    }
    check_prefixes(limits, data, size, expected);
    check_pieces(limits, data, size, expected);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct http_limits small = {20, 40, 120, 4};
    check_with_limits(&HTTP_LIMITS_DEFAULT, data, size);
    check_with_limits(&small, data, size);
    return 0;
}
