#include "proto/http_response.h"

#include "base/err.h"

const struct str HTTP_CONTINUE = {"HTTP/1.1 100 Continue\r\n\r\n", 25};

struct str http_status_phrase(int status)
{
    switch (status) {
    case 100: return STR("Continue");
    case 101: return STR("Switching Protocols");
    case 200: return STR("OK");
    case 201: return STR("Created");
    case 202: return STR("Accepted");
    case 204: return STR("No Content");
    case 301: return STR("Moved Permanently");
    case 302: return STR("Found");
    case 303: return STR("See Other");
    case 304: return STR("Not Modified");
    case 307: return STR("Temporary Redirect");
    case 308: return STR("Permanent Redirect");
    case 400: return STR("Bad Request");
    case 401: return STR("Unauthorized");
    case 403: return STR("Forbidden");
    case 404: return STR("Not Found");
    case 405: return STR("Method Not Allowed");
    case 406: return STR("Not Acceptable");
    case 408: return STR("Request Timeout");
    case 409: return STR("Conflict");
    case 410: return STR("Gone");
    case 411: return STR("Length Required");
    case 413: return STR("Content Too Large");
    case 414: return STR("URI Too Long");
    case 415: return STR("Unsupported Media Type");
    case 417: return STR("Expectation Failed");
    case 421: return STR("Misdirected Request");
    case 422: return STR("Unprocessable Content");
    case 426: return STR("Upgrade Required");
    case 429: return STR("Too Many Requests");
    case 431: return STR("Request Header Fields Too Large");
    case 500: return STR("Internal Server Error");
    case 501: return STR("Not Implemented");
    case 502: return STR("Bad Gateway");
    case 503: return STR("Service Unavailable");
    case 504: return STR("Gateway Timeout");
    case 505: return STR("HTTP Version Not Supported");
    default: return STR("Unknown");
    }
}

static bool value_is_clean(struct str value)
{
    for (size_t i = 0; i < value.len; i++) {
        uint8_t byte = (uint8_t)value.ptr[i];
        if ((byte < 0x20 && byte != '\t') || byte == 0x7f) {
            return false;
        }
    }
    return true;
}

bool http_pairs_are_clean(const struct http_pair *pairs, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (!http_is_token(pairs[i].name) || !value_is_clean(pairs[i].value)) {
            return false;
        }
    }
    return true;
}

void http_append_header(struct buf *out, struct str name, struct str value)
{
    buf_append_str(out, name);
    buf_append(out, ": ", 2);
    buf_append_str(out, value);
    buf_append(out, "\r\n", 2);
}

static void append_status_line(struct buf *out, int status)
{
    buf_append_str(out, STR("HTTP/1.1 "));
    buf_append_u64(out, (uint64_t)status);
    buf_append_char(out, ' ');
    buf_append_str(out, http_status_phrase(status));
    buf_append(out, "\r\n", 2);
}

/* RFC 9110 6.4.1 and 8.6: these have no body, and 1xx and 204 no Content-Length either. */
static bool status_has_body(int status)
{
    return status >= 200 && status != 204 && status != 304;
}

static void append_head(struct buf *out, const struct http_response *response)
{
    append_status_line(out, response->status);
    if (response->content_type.len > 0) {
        http_append_header(out, STR("Content-Type"), response->content_type);
    }
    if (!response->stream && status_has_body(response->status)) {
        buf_append_str(out, STR("Content-Length: "));
        buf_append_u64(out, response->body.len);
        buf_append(out, "\r\n", 2);
    }
    if (response->close || response->stream) {
        buf_append_str(out, STR("Connection: close\r\n"));
    }
    if (response->request_id.len > 0) {
        http_append_header(out, STR("X-Request-Id"), response->request_id);
    }
    for (size_t i = 0; i < response->header_count; i++) {
        http_append_header(out, response->headers[i].name, response->headers[i].value);
    }
    buf_append(out, "\r\n", 2);
}

int http_response_write(struct buf *out, const struct http_response *response)
{
    if (!value_is_clean(response->content_type) || !value_is_clean(response->request_id) ||
        !http_pairs_are_clean(response->headers, response->header_count)) {
        return ERR_SYNTAX;
    }
    append_head(out, response);
    if (!response->head_only && status_has_body(response->status)) {
        buf_append_str(out, response->body);
    }
    return buf_err(out);
}

/* The length of the UTF-8 sequence (RFC 3629) at the start of s, or 0 when there is none. */
static size_t utf8_sequence_len(const uint8_t *s, size_t len)
{
    uint8_t lead = s[0];
    if (lead < 0x80) {
        return 1;
    }
    size_t need = lead >= 0xc2 && lead < 0xe0 ? 2 : (lead & 0xf0) == 0xe0 ? 3 : 4;
    if (lead < 0xc2 || lead > 0xf4 || len < need) {
        return 0;
    }
    uint8_t low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
    uint8_t high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
    if (s[1] < low || s[1] > high) {
        return 0;
    }
    for (size_t i = 2; i < need; i++) {
        if ((s[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    return need;
}

static void append_json_char(struct buf *out, struct str s)
{
    uint8_t byte = (uint8_t)s.ptr[0];
    if (byte == '"' || byte == '\\') {
        buf_append_char(out, '\\');
    } else if (byte < 0x20 || byte == 0x7f) {
        static const char digits[] = "0123456789abcdef";
        char escape[6] = {'\\', 'u', '0', '0', digits[byte >> 4], digits[byte & 15]};
        buf_append(out, escape, sizeof(escape));
        return;
    }
    buf_append_str(out, s);
}

int http_append_json_string(struct buf *out, struct str text)
{
    buf_append_char(out, '"');
    for (size_t at = 0; at < text.len;) {
        size_t len = utf8_sequence_len((const uint8_t *)text.ptr + at, text.len - at);
        if (len == 0) {
            buf_append_str(out, STR("\xef\xbf\xbd"));
            at++;
        } else {
            append_json_char(out, (struct str){text.ptr + at, len});
            at += len;
        }
    }
    return buf_append_char(out, '"');
}

int http_problem_write_body(struct buf *out, const struct http_problem *problem)
{
    buf_append_str(out, STR("{\"type\":"));
    http_append_json_string(out, problem->type.len ? problem->type : STR("about:blank"));
    buf_append_str(out, STR(",\"title\":"));
    http_append_json_string(out, problem->title.len ? problem->title
                                                    : http_status_phrase(problem->status));
    buf_append_str(out, STR(",\"status\":"));
    buf_append_u64(out, (uint64_t)problem->status);
    buf_append_str(out, STR(",\"code\":"));
    http_append_json_string(out, problem->code);
    if (problem->detail.len > 0) {
        buf_append_str(out, STR(",\"detail\":"));
        http_append_json_string(out, problem->detail);
    }
    if (problem->request_id.len > 0) {
        buf_append_str(out, STR(",\"request_id\":"));
        http_append_json_string(out, problem->request_id);
    }
    return buf_append_char(out, '}');
}

int http_problem_write(struct buf *out, const struct http_problem *problem,
                       const struct http_response *response)
{
    struct buf body;
    buf_init(&body, 0);
    int err = http_problem_write_body(&body, problem);
    if (!err) {
        struct http_response whole = response ? *response : (struct http_response){0};
        whole.status = problem->status;
        whole.content_type = STR("application/problem+json");
        whole.body = buf_str(&body);
        whole.stream = false;
        err = http_response_write(out, &whole);
    }
    buf_fini(&body);
    return err;
}

int http_refusal_write(struct buf *out, enum http_refusal refusal)
{
    static const struct http_pair allow[] = {{{"Allow", 5}, {"GET", 3}}};
    static const struct http_pair allow_none[] = {{{"Allow", 5}, {"", 0}}};
    static const struct http_pair upgrade[] = {{{"Upgrade", 7}, {"websocket", 9}},
                                               {{"Sec-WebSocket-Version", 21}, {"13", 2}}};
    struct http_problem problem = {
        .status = http_refusal_status(refusal),
        .code = str_of(http_refusal_slug(refusal)),
        .detail = str_of(http_refusal_detail(refusal)),
    };
    struct http_response response = {.close = true};
    if (problem.status == 426) {
        response.headers = upgrade;
        response.header_count = 2;
    } else if (problem.status == 405) {
        response.headers = refusal == HTTP_REFUSED_WS_METHOD ? allow : allow_none;
        response.header_count = 1;
    }
    return http_problem_write(out, &problem, &response);
}
