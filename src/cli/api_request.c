#include "cli/api_request.h"

#include "proto/http_response.h"
#include "proto/uri.h"

int api_request_write(struct buf *out, const struct url *url, const char *key, const char *method,
                      struct str path, struct str body)
{
    struct str base = url->target;
    while (str_ends_with(base, STR("/"))) {
        base.len--;
    }
    buf_printf(out, "%s ", method);
    buf_append_str(out, base);
    buf_append_str(out, path);
    buf_append_str(out, STR(" HTTP/1.1\r\n"));
    http_append_header(out, STR("Host"), str_of(url->authority));
    if (*key) {
        buf_append_str(out, STR("Authorization: Bearer "));
        buf_append_str(out, str_of(key));
        buf_append_str(out, STR("\r\n"));
    }
    http_append_header(out, STR("User-Agent"), STR("tidegate/" TIDEGATE_VERSION));
    if (body.ptr) {
        http_append_header(out, STR("Content-Type"), STR("application/json"));
    }
    http_append_header(out, STR("Connection"), STR("close"));
    if (body.ptr) {
        buf_printf(out, "Content-Length: %zu\r\n", body.len);
    }
    buf_append_str(out, STR("\r\n"));
    return body.ptr ? buf_append_str(out, body) : buf_err(out);
}

void api_request_add_option(struct buf *path, const char *name, struct str value)
{
    bool has_query = path->len > 0 && memchr(path->data, '?', path->len);
    buf_append_char(path, has_query ? '&' : '?');
    buf_append_str(path, str_of(name));
    buf_append_char(path, '=');
    uri_encode(path, value);
}
