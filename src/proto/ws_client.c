#include "proto/ws_client.h"

#include <openssl/evp.h>

#include "base/err.h"

void ws_client_make_key(const uint8_t random[16], char out_key[WS_KEY_LEN + 1])
{
    EVP_EncodeBlock((uint8_t *)out_key, random, 16);
}

static bool target_is_clean(struct str target)
{
    for (size_t i = 0; i < target.len; i++) {
        if (target.ptr[i] <= ' ' || target.ptr[i] >= 0x7f) {
            return false;
        }
    }
    return target.len > 0;
}

static void append_given(struct buf *out, struct str name, struct str value)
{
    if (value.len > 0) {
        http_append_header(out, name, value);
    }
}

int ws_client_write_request(struct buf *out, const struct ws_client_request *request)
{
    const struct http_pair pairs[] = {
        {STR("Host"), request->host},
        {STR("Upgrade"), STR("websocket")},
        {STR("Connection"), STR("Upgrade")},
        {STR("Sec-WebSocket-Version"), STR("13")},
        {STR("Sec-WebSocket-Key"), request->key},
        {STR("Origin"), request->origin},
        {STR("Sec-WebSocket-Protocol"), request->protocols},
        {STR("Sec-WebSocket-Extensions"), request->extensions},
    };
    const size_t count = sizeof(pairs) / sizeof(pairs[0]);
    if (!target_is_clean(request->target) || !http_pairs_are_clean(pairs, count) ||
        !http_pairs_are_clean(request->headers, request->header_count)) {
        return ERR_SYNTAX;
    }
    buf_append_str(out, STR("GET "));
    buf_append_str(out, request->target);
    buf_append_str(out, STR(" HTTP/1.1\r\n"));
    for (size_t i = 0; i < count; i++) {
        append_given(out, pairs[i].name, pairs[i].value);
    }
    for (size_t i = 0; i < request->header_count; i++) {
        http_append_header(out, request->headers[i].name, request->headers[i].value);
    }
    return buf_append(out, "\r\n", 2);
}

static ssize_t refuse(struct http_answer *answer, enum http_refusal refusal)
{
    answer->refusal = refusal;
    return http_refusal_err(refusal);
}

static bool is_digit(uint8_t byte)
{
    return byte >= '0' && byte <= '9';
}

/* "HTTP/1.1 101 Switching Protocols": the phrase may be empty, and the space before it missing. */
static bool take_status(struct http_answer *answer, const uint8_t *line, size_t len)
{
    if (len < 12 || memcmp(line, "HTTP/1.", 7) != 0 || (line[7] != '0' && line[7] != '1') ||
        line[8] != ' ' || !is_digit(line[9]) || !is_digit(line[10]) || !is_digit(line[11]) ||
        (len > 12 && line[12] != ' ')) {
        return false;
    }
    answer->minor_version = line[7] - '0';
    answer->status = (line[9] - '0') * 100 + (line[10] - '0') * 10 + (line[11] - '0');
    return answer->status >= 100;
}

static enum http_refusal take_framing(struct http_answer *answer)
{
    const struct http_fields *fields = &answer->fields;
    answer->content_length = -1;
    answer->chunked = http_fields_has(fields, HTTP_FIELD_TRANSFER_ENCODING);
    if (answer->chunked) {
        struct str encoding = http_fields_get(fields, HTTP_FIELD_TRANSFER_ENCODING);
        bool once = http_fields_has_one(fields, HTTP_FIELD_TRANSFER_ENCODING);
        return once && str_equal_nocase(encoding, STR("chunked")) ? HTTP_REFUSED_NOT
                                                                  : HTTP_REFUSED_TRANSFER_ENCODING;
    }
    if (http_fields_has(fields, HTTP_FIELD_CONTENT_LENGTH)) {
        uint64_t length;
        if (!http_fields_has_one(fields, HTTP_FIELD_CONTENT_LENGTH) ||
            !str_to_u64(http_fields_get(fields, HTTP_FIELD_CONTENT_LENGTH), INT64_MAX, &length)) {
            return HTTP_REFUSED_BAD_CONTENT_LENGTH;
        }
        answer->content_length = (int64_t)length;
    }
    return HTTP_REFUSED_NOT;
}

static void take_connection(struct http_answer *answer)
{
    const struct http_fields *fields = &answer->fields;
    bool close = http_fields_list_has(fields, HTTP_FIELD_CONNECTION, STR("close"));
    bool keep = http_fields_list_has(fields, HTTP_FIELD_CONNECTION, STR("keep-alive"));
    answer->keep_alive = !close && (answer->minor_version == 1 || keep);
}

/* Returns the bytes of the status line, 0 for more, or a refusal. */
static ssize_t parse_status_line(struct http_answer *answer, size_t line_max, const uint8_t *data,
                                 size_t len)
{
    const uint8_t *end = len ? memchr(data, '\n', len) : NULL;
    size_t line_len = end ? (size_t)(end - data) : len;
    if (line_len > line_max) {
        return refuse(answer, HTTP_REFUSED_HEADER_LINE_TOO_LONG);
    }
    if (!end) {
        return 0;
    }
    if (line_len == 0 || data[line_len - 1] != '\r') {
        return refuse(answer, HTTP_REFUSED_BARE_LF);
    }
    if (!take_status(answer, data, line_len - 1)) {
        return refuse(answer, HTTP_REFUSED_BAD_VERSION);
    }
    return (ssize_t)line_len + 1;
}

ssize_t http_answer_parse(struct http_answer *out_answer, const struct http_limits *limits,
                          const uint8_t *data, size_t len)
{
    size_t usable = len < limits->head_bytes ? len : limits->head_bytes;
    out_answer->refusal = HTTP_REFUSED_NOT;
    ssize_t line = parse_status_line(out_answer, limits->line_bytes, data, usable);
    ssize_t rest = line;
    if (line > 0) {
        rest = http_fields_parse(&out_answer->fields, limits, data + line, usable - (size_t)line,
                                 &out_answer->refusal);
    }
    if (rest == 0 && len >= limits->head_bytes) {
        return refuse(out_answer, HTTP_REFUSED_HEAD_TOO_LARGE);
    }
    if (rest <= 0) {
        return rest;
    }
    enum http_refusal refusal = take_framing(out_answer);
    if (refusal) {
        return refuse(out_answer, refusal);
    }
    take_connection(out_answer);
    return line + rest;
}

static bool is_listed(struct str list, struct str item)
{
    struct str part;
    while (str_split(&list, ',', &part)) {
        if (str_equal(str_trim(part), item)) {
            return true;
        }
    }
    return false;
}

static bool accept_is_right(const struct http_fields *fields, struct str key)
{
    char expected[WS_ACCEPT_LEN];
    return http_fields_has_one(fields, HTTP_FIELD_SEC_WEBSOCKET_ACCEPT) &&
           ws_handshake_accept(key, expected) == 0 &&
           str_equal(http_fields_get(fields, HTTP_FIELD_SEC_WEBSOCKET_ACCEPT),
                     str_make(expected, WS_ACCEPT_LEN));
}

static bool protocol_was_asked(const struct http_fields *fields, struct str asked)
{
    if (!http_fields_has(fields, HTTP_FIELD_SEC_WEBSOCKET_PROTOCOL)) {
        return true;
    }
    return http_fields_has_one(fields, HTTP_FIELD_SEC_WEBSOCKET_PROTOCOL) &&
           is_listed(asked, http_fields_get(fields, HTTP_FIELD_SEC_WEBSOCKET_PROTOCOL));
}

int ws_client_check_answer(const struct http_answer *answer,
                           const struct ws_client_request *request)
{
    const struct http_fields *fields = &answer->fields;
    if (answer->status != 101) {
        return ERR_DENIED;
    }
    bool extension_unasked = http_fields_has(fields, HTTP_FIELD_SEC_WEBSOCKET_EXTENSIONS) &&
                             request->extensions.len == 0;
    bool good = str_equal_nocase(http_fields_get(fields, HTTP_FIELD_UPGRADE), STR("websocket")) &&
                http_fields_list_has(fields, HTTP_FIELD_CONNECTION, STR("upgrade")) &&
                accept_is_right(fields, request->key) &&
                protocol_was_asked(fields, request->protocols) && !extension_unasked;
    return good ? 0 : ERR_PROTOCOL;
}
