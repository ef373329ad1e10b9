#include "api/page.h"

#include <stdio.h>

#include "base/err.h"
#include "server/http_conn.h"

const struct http_pair page_guards[PAGE_GUARDS] = {
    {STR("Content-Security-Policy"),
     STR("default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
         "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
         "require-trusted-types-for 'script'")},
    {STR("X-Content-Type-Options"), STR("nosniff")},
    {STR("Referrer-Policy"), STR("no-referrer")},
    {STR("Cross-Origin-Resource-Policy"), STR("same-origin")},
};

/* With the guards before the given headers. */
static void answer(struct http_exchange *exchange, struct http_response *response)
{
    struct http_pair headers[PAGE_HEADERS_MAX];
    size_t count = 0;
    for (; count < PAGE_GUARDS; count++) {
        headers[count] = page_guards[count];
    }
    for (size_t i = 0; i < response->header_count && count < PAGE_HEADERS_MAX; i++) {
        headers[count++] = response->headers[i];
    }
    response->headers = headers;
    response->header_count = count;
    http_answer(exchange, response);
}

void page_answer(struct http_exchange *exchange, int status, const char *content_type,
                 struct str body, const struct http_pair *headers, size_t count)
{
    struct http_pair all[PAGE_HEADERS_MAX] = {{STR("Cache-Control"), STR("no-store")}};
    size_t total = 1;
    for (size_t i = 0; i < count && total < PAGE_HEADERS_MAX - PAGE_GUARDS; i++) {
        all[total++] = headers[i];
    }
    answer(exchange, &(struct http_response){.status = status,
                                             .content_type = str_of(content_type),
                                             .body = body,
                                             .headers = all,
                                             .header_count = total});
}

void page_refuse_method(struct http_exchange *exchange, const char *allow)
{
    struct http_pair header = {STR("Allow"), str_of(allow)};
    http_answer_problem_with(exchange, 405, "method_not_allowed",
                             "The path does not take this method.", &header, 1);
}

/* RFC 9110 12.5.3: "gzip", maybe with a weight that is not 0. */
static bool takes_gzip(const struct http_request *request)
{
    struct str rest = http_request_header(request, "Accept-Encoding");
    struct str item;
    while (rest.ptr && str_split(&rest, ',', &item)) {
        struct str weight = item;
        struct str coding;
        str_split(&weight, ';', &coding);
        weight = weight.ptr ? str_trim(weight) : STR("");
        if (str_equal_nocase(str_trim(coding), STR("gzip"))) {
            return !str_equal(weight, STR("q=0")) && !str_starts_with(weight, STR("q=0.0"));
        }
    }
    return false;
}

/* Its compressed form is another representation, and has a tag of its own (RFC 9110 8.8.3.3). */
static struct str write_etag(char out[64], const struct asset *asset, bool is_gzip)
{
    size_t len = strlen(asset->etag) - 1;
    int written = snprintf(out, 64, "%.*s%s\"", (int)len, asset->etag, is_gzip ? "-gzip" : "");
    return str_make(out, (size_t)written);
}

/* RFC 9110 13.1.2. */
static bool has_it(const struct http_request *request, struct str etag)
{
    struct str rest = http_request_header(request, "If-None-Match");
    struct str item;
    while (rest.ptr && str_split(&rest, ',', &item)) {
        struct str tag = str_trim(item);
        if (str_starts_with(tag, STR("W/"))) {
            tag = str_make(tag.ptr + 2, tag.len - 2);
        }
        if (str_equal(tag, etag) || str_equal(tag, STR("*"))) {
            return true;
        }
    }
    return false;
}

static void answer_asset(struct http_exchange *exchange, const struct asset *asset)
{
    char tag[64];
    bool is_gzip = asset->gzip.len > 0 && takes_gzip(exchange->request);
    struct str etag = write_etag(tag, asset, is_gzip);
    bool is_known = has_it(exchange->request, etag);
    const struct http_pair headers[] = {{STR("Cache-Control"), STR("no-cache")},
                                        {STR("ETag"), etag},
                                        {STR("Vary"), STR("Accept-Encoding")},
                                        {STR("Content-Encoding"), STR("gzip")}};
    answer(exchange,
           &(struct http_response){.status = is_known ? 304 : 200,
                                   .content_type = is_known ? STR("") : str_of(asset->content_type),
                                   .body = is_gzip ? asset->gzip : asset->body,
                                   .headers = headers,
                                   .header_count = is_gzip && !is_known ? 4 : 3});
}

static void redirect(struct http_exchange *exchange, const char *folder)
{
    char target[64];
    int len = snprintf(target, sizeof(target), "%s/", folder);
    struct http_pair header = {STR("Location"), str_make(target, (size_t)len)};
    http_answer(exchange,
                &(struct http_response){.status = 308, .headers = &header, .header_count = 1});
}

void page_serve(struct http_exchange *exchange, const char *folder)
{
    struct str path = exchange->request->path;
    enum http_method method = exchange->request->method;
    bool is_bare = str_equal(path, str_of(folder));
    bool is_below = str_starts_with(path, str_of(folder)) && path.len > strlen(folder) &&
                    path.ptr[strlen(folder)] == '/';
    const struct asset *asset = is_below ? asset_find(path) : NULL;
    if (!asset && !is_bare) {
        http_answer_problem(exchange, 404, "not_found", "There is nothing at this path.");
    } else if (method != HTTP_METHOD_GET && method != HTTP_METHOD_HEAD) {
        page_refuse_method(exchange, "GET, HEAD");
    } else if (is_bare) {
        redirect(exchange, folder);
    } else {
        answer_asset(exchange, asset);
    }
}
