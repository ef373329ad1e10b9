#include "proto/http_request.h"

#define METHOD_BYTES_MAX 32
#define REPARSE_EVERY 1024

/* What a request target may hold: visible ASCII but the quote, the number sign (a fragment is never
 * sent) and the angle brackets. Browsers leave { | } ` ^ \ as they are in a query. */
static const bool TARGET_BYTE[256] = {
    ['!'] = true,
    ['$' ... ';'] = true,
    ['='] = true,
    ['?' ... '~'] = true,
};

/* Stricter than RFC 3986 reg-name: no sub-delims and no escapes, which no real host name has. */
static const bool HOST_BYTE[256] = {
    ['0' ... '9'] = true, ['A' ... 'Z'] = true, ['a' ... 'z'] = true, ['-'] = true,
    ['.'] = true,         ['_'] = true,         ['~'] = true,
};

static const struct str METHODS[HTTP_METHODS] = {
    [HTTP_METHOD_OTHER] = {"other", 5}, [HTTP_METHOD_GET] = {"GET", 3},
    [HTTP_METHOD_HEAD] = {"HEAD", 4},   [HTTP_METHOD_POST] = {"POST", 4},
    [HTTP_METHOD_PUT] = {"PUT", 3},     [HTTP_METHOD_DELETE] = {"DELETE", 6},
    [HTTP_METHOD_PATCH] = {"PATCH", 5}, [HTTP_METHOD_OPTIONS] = {"OPTIONS", 7},
    [HTTP_METHOD_TRACE] = {"TRACE", 5},
};

struct cursor {
    const uint8_t *at;
    const uint8_t *end;
};

/* A step of the parser returns 1 when done, 0 when bytes are missing, -1 when it refuses. */
static int refuse(struct http_request *request, enum http_refusal refusal)
{
    request->refusal = refusal;
    return -1;
}

static enum http_method identify_method(struct str text)
{
    for (unsigned method = HTTP_METHOD_GET; method < HTTP_METHODS; method++) {
        if (str_equal(text, METHODS[method])) {
            return (enum http_method)method;
        }
    }
    return HTTP_METHOD_OTHER;
}

static int skip_empty_line(struct http_request *request, struct cursor *in)
{
    if (in->at == in->end || *in->at != '\r') {
        return 1;
    }
    if (in->end - in->at < 2) {
        return 0;
    }
    if (in->at[1] != '\n') {
        return refuse(request, HTTP_REFUSED_BARE_CR);
    }
    in->at += 2;
    if (in->at < in->end && *in->at == '\r') {
        return refuse(request, HTTP_REFUSED_EMPTY_LINES);
    }
    return 1;
}

static int parse_method(struct http_request *request, struct cursor *in)
{
    size_t len = http_token_len(in->at, (size_t)(in->end - in->at));
    if (len > METHOD_BYTES_MAX) {
        return refuse(request, HTTP_REFUSED_METHOD_TOO_LONG);
    }
    if (in->at + len == in->end) {
        return 0;
    }
    if (in->at[len] != ' ' || len == 0) {
        return refuse(request,
                      in->at[len] == '\n' ? HTTP_REFUSED_BARE_LF : HTTP_REFUSED_BAD_METHOD);
    }
    request->method_text = str_make(in->at, len);
    if (str_equal(request->method_text, STR("CONNECT"))) {
        return refuse(request, HTTP_REFUSED_CONNECT);
    }
    request->method = identify_method(request->method_text);
    in->at += len + 1;
    return 1;
}

static bool port_is_valid(struct str port)
{
    uint64_t number;
    return port.len == 0 || str_to_u64(port, 65535, &number);
}

static bool ip_literal_is_valid(struct str host)
{
    size_t i = 1;
    while (i < host.len && (host.ptr[i] == ':' || host.ptr[i] == '.' ||
                            (host.ptr[i] >= '0' && host.ptr[i] <= '9') ||
                            ((host.ptr[i] | 0x20) >= 'a' && (host.ptr[i] | 0x20) <= 'f'))) {
        i++;
    }
    if (i < 3 || i == host.len || host.ptr[i] != ']') {
        return false;
    }
    struct str rest = {host.ptr + i + 1, host.len - i - 1};
    return rest.len == 0 ||
           (rest.ptr[0] == ':' && port_is_valid((struct str){rest.ptr + 1, rest.len - 1}));
}

static bool host_is_valid(struct str host)
{
    if (host.len > 0 && host.ptr[0] == '[') {
        return ip_literal_is_valid(host);
    }
    size_t i = 0;
    while (i < host.len && HOST_BYTE[(uint8_t)host.ptr[i]]) {
        i++;
    }
    if (i == 0) {
        return false;
    }
    return i == host.len ||
           (host.ptr[i] == ':' && port_is_valid((struct str){host.ptr + i + 1, host.len - i - 1}));
}

static void split_query(struct http_request *request, struct str path_and_query)
{
    const char *mark = memchr(path_and_query.ptr, '?', path_and_query.len);
    request->path = path_and_query;
    request->query = (struct str){NULL, 0};
    if (mark) {
        size_t path_len = (size_t)(mark - path_and_query.ptr);
        request->path.len = path_len;
        request->query = (struct str){mark + 1, path_and_query.len - path_len - 1};
    }
}

/* The length of "http://" or "https://" at the start of the target, in any case; else 0. */
static size_t scheme_len(struct str target)
{
    const struct str schemes[] = {STR("http://"), STR("https://")};
    for (size_t i = 0; i < 2; i++) {
        struct str start = {target.ptr, schemes[i].len};
        if (target.len > schemes[i].len && str_equal_nocase(start, schemes[i])) {
            return schemes[i].len;
        }
    }
    return 0;
}

/* RFC 9112 3.2.2: the authority of an absolute target replaces the Host header. */
static bool take_absolute_form(struct http_request *request)
{
    size_t start = scheme_len(request->target);
    if (start == 0) {
        return false;
    }
    struct str rest = {request->target.ptr + start, request->target.len - start};
    size_t host_len = 0;
    while (host_len < rest.len && rest.ptr[host_len] != '/' && rest.ptr[host_len] != '?') {
        host_len++;
    }
    request->host = (struct str){rest.ptr, host_len};
    if (!host_is_valid(request->host)) {
        return false;
    }
    split_query(request, (struct str){rest.ptr + host_len, rest.len - host_len});
    if (request->path.len == 0) {
        request->path = STR("/");
    }
    return true;
}

static bool take_target(struct http_request *request)
{
    struct str target = request->target;
    request->host = (struct str){NULL, 0};
    if (target.len > 0 && target.ptr[0] == '/') {
        split_query(request, target);
        return true;
    }
    if (str_equal(target, STR("*")) && request->method == HTTP_METHOD_OPTIONS) {
        split_query(request, target);
        return true;
    }
    return take_absolute_form(request);
}

static int parse_target(struct http_request *request, size_t target_max, struct cursor *in)
{
    const uint8_t *stop = in->at;
    while (stop < in->end && TARGET_BYTE[*stop]) {
        stop++;
    }
    request->target = str_make(in->at, (size_t)(stop - in->at));
    if (request->target.len > target_max) {
        return refuse(request, HTTP_REFUSED_URI_TOO_LONG);
    }
    if (stop == in->end) {
        return 0;
    }
    if (*stop == '\n') {
        return refuse(request, HTTP_REFUSED_BARE_LF);
    }
    /* "GET /" CRLF is HTTP/0.9. */
    if (*stop == '\r') {
        return refuse(request, HTTP_REFUSED_BAD_VERSION);
    }
    if (*stop != ' ') {
        return refuse(request, HTTP_REFUSED_BAD_TARGET);
    }
    in->at = stop + 1;
    return 1;
}

/* Byte by byte, for a version that is cut short or is none of ours. */
static int judge_version(struct http_request *request, const struct cursor *in)
{
    const char *shape = "HTTP/0.0\r\n";
    size_t len = (size_t)(in->end - in->at);
    for (size_t i = 0; i < 10; i++) {
        if (i == len) {
            return 0;
        }
        uint8_t byte = in->at[i];
        bool fits = shape[i] == '0' ? byte >= '0' && byte <= '9' : byte == (uint8_t)shape[i];
        if (!fits && i == 8 && byte == '\n') {
            return refuse(request, HTTP_REFUSED_BARE_LF);
        }
        if (!fits) {
            return refuse(request, i == 9 ? HTTP_REFUSED_BARE_CR : HTTP_REFUSED_BAD_VERSION);
        }
    }
    return refuse(request, HTTP_REFUSED_VERSION_UNSUPPORTED);
}

static int parse_version(struct http_request *request, struct cursor *in)
{
    if (in->end - in->at >= 10 && memcmp(in->at, "HTTP/1.", 7) == 0 &&
        (in->at[7] == '0' || in->at[7] == '1') && in->at[8] == '\r' && in->at[9] == '\n') {
        request->minor_version = in->at[7] - '0';
        in->at += 10;
        return 1;
    }
    return judge_version(request, in);
}

static int parse_request_line(struct http_request *request, const struct http_limits *limits,
                              struct cursor *in)
{
    int step = skip_empty_line(request, in);
    if (step > 0) {
        step = parse_method(request, in);
    }
    if (step > 0) {
        step = parse_target(request, limits->target_bytes, in);
    }
    if (step > 0) {
        step = parse_version(request, in);
    }
    /* After the version, so that the HTTP/2 preface ("PRI * HTTP/2.0") is told about its version.
     */
    if (step > 0 && !take_target(request)) {
        return refuse(request, HTTP_REFUSED_BAD_TARGET);
    }
    return step;
}

static enum http_refusal take_host(struct http_request *request)
{
    const struct http_fields *fields = &request->fields;
    if (!http_fields_has(fields, HTTP_FIELD_HOST)) {
        return request->minor_version == 0 ? HTTP_REFUSED_NOT : HTTP_REFUSED_HOST_MISSING;
    }
    if (!http_fields_has_one(fields, HTTP_FIELD_HOST)) {
        return HTTP_REFUSED_HOST_REPEATED;
    }
    struct str host = http_fields_get(fields, HTTP_FIELD_HOST);
    if (!host_is_valid(host)) {
        return HTTP_REFUSED_BAD_HOST;
    }
    if (request->host.len == 0) {
        request->host = host;
    }
    return HTTP_REFUSED_NOT;
}

static enum http_refusal take_encoding(struct http_request *request)
{
    const struct http_fields *fields = &request->fields;
    if (request->minor_version == 0) {
        return HTTP_REFUSED_ENCODING_IN_HTTP_1_0;
    }
    if (http_fields_has(fields, HTTP_FIELD_CONTENT_LENGTH)) {
        return HTTP_REFUSED_LENGTH_AND_ENCODING;
    }
    struct str encoding = http_fields_get(fields, HTTP_FIELD_TRANSFER_ENCODING);
    if (!http_fields_has_one(fields, HTTP_FIELD_TRANSFER_ENCODING) ||
        !str_equal_nocase(encoding, STR("chunked"))) {
        return HTTP_REFUSED_TRANSFER_ENCODING;
    }
    request->chunked = true;
    return HTTP_REFUSED_NOT;
}

static enum http_refusal take_framing(struct http_request *request)
{
    const struct http_fields *fields = &request->fields;
    request->chunked = false;
    request->content_length = -1;
    if (http_fields_has(fields, HTTP_FIELD_TRANSFER_ENCODING)) {
        return take_encoding(request);
    }
    if (!http_fields_has(fields, HTTP_FIELD_CONTENT_LENGTH)) {
        return HTTP_REFUSED_NOT;
    }
    if (!http_fields_has_one(fields, HTTP_FIELD_CONTENT_LENGTH)) {
        return HTTP_REFUSED_CONTENT_LENGTH_REPEATED;
    }
    uint64_t length;
    if (!str_to_u64(http_fields_get(fields, HTTP_FIELD_CONTENT_LENGTH), INT64_MAX, &length)) {
        return HTTP_REFUSED_BAD_CONTENT_LENGTH;
    }
    request->content_length = (int64_t)length;
    return HTTP_REFUSED_NOT;
}

static void take_connection(struct http_request *request)
{
    const struct http_fields *fields = &request->fields;
    bool close = false;
    bool keep_alive = request->minor_version == 1;
    bool upgrade = false;
    if (http_fields_has(fields, HTTP_FIELD_CONNECTION)) {
        close = http_fields_list_has(fields, HTTP_FIELD_CONNECTION, STR("close"));
        keep_alive = keep_alive ||
                     http_fields_list_has(fields, HTTP_FIELD_CONNECTION, STR("keep-alive"));
        upgrade = http_fields_list_has(fields, HTTP_FIELD_CONNECTION, STR("upgrade"));
    }
    request->keep_alive = keep_alive && !close;
    /* RFC 9110 7.8: Upgrade in an HTTP/1.0 request is ignored. */
    request->upgrade_websocket = upgrade && request->minor_version == 1 &&
                                 http_fields_list_has(fields, HTTP_FIELD_UPGRADE, STR("websocket"));
}

/* RFC 9110 10.1.1: the expectation of an HTTP/1.0 request is ignored; one without a body waits for
 * nothing. */
static void take_expectation(struct http_request *request)
{
    const struct http_fields *fields = &request->fields;
    request->expect_continue = false;
    request->expect_unknown = false;
    if (request->minor_version == 0 || !http_fields_has(fields, HTTP_FIELD_EXPECT)) {
        return;
    }
    bool known = http_fields_has_one(fields, HTTP_FIELD_EXPECT) &&
                 str_equal_nocase(http_fields_get(fields, HTTP_FIELD_EXPECT), STR("100-continue"));
    request->expect_unknown = !known;
    request->expect_continue = known && http_request_has_body(request);
}

static int parse_headers(struct http_request *request, const struct http_limits *limits,
                         struct cursor *in)
{
    ssize_t used = http_fields_parse(&request->fields, limits, in->at, (size_t)(in->end - in->at),
                                     &request->refusal);
    if (used <= 0) {
        return used < 0 ? -1 : 0;
    }
    in->at += used;
    enum http_refusal refusal = take_host(request);
    if (!refusal) {
        refusal = take_framing(request);
    }
    if (refusal) {
        return refuse(request, refusal);
    }
    take_connection(request);
    take_expectation(request);
    return 1;
}

/* An attempt costs as much as the bytes there are, so not every byte is worth one: the end of the
 * head is, a bare LF, and each kibibyte, which tells early of a limit passed. */
static bool is_worth_an_attempt(const struct http_limits *limits, const uint8_t *data, size_t len,
                                size_t scanned)
{
    if (scanned == 0 || scanned > len || len >= limits->head_bytes ||
        len / REPARSE_EVERY != scanned / REPARSE_EVERY) {
        return true;
    }
    const uint8_t *from = data + scanned;
    const uint8_t *end = data + len;
    while ((from = memchr(from, '\n', (size_t)(end - from))) != NULL) {
        size_t at = (size_t)(from - data);
        if (at < 1 || data[at - 1] != '\r' || (at >= 2 && data[at - 2] == '\n')) {
            return true;
        }
        from++;
    }
    return false;
}

ssize_t http_request_parse(struct http_request *out_request, const struct http_limits *limits,
                           const uint8_t *data, size_t len, size_t *scanned)
{
    if (scanned && !is_worth_an_attempt(limits, data, len, *scanned)) {
        *scanned = len;
        return 0;
    }
    struct cursor in = {data, data + (len < limits->head_bytes ? len : limits->head_bytes)};
    out_request->refusal = HTTP_REFUSED_NOT;
    int step = parse_request_line(out_request, limits, &in);
    if (step > 0) {
        step = parse_headers(out_request, limits, &in);
    }
    if (step == 0 && len >= limits->head_bytes) {
        step = refuse(out_request, HTTP_REFUSED_HEAD_TOO_LARGE);
    }
    if (step < 0) {
        return http_refusal_err(out_request->refusal);
    }
    if (scanned) {
        *scanned = step > 0 ? 0 : len;
    }
    return step > 0 ? in.at - data : 0;
}

const char *http_method_name(enum http_method method)
{
    return METHODS[method].ptr;
}
