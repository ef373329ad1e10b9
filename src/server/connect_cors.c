/* What a browser wants to be told before a page of another origin may connect by fetch() or
 * EventSource, which the checks of a WebSocket's origin do not know (WHATWG Fetch, 3.2). The same
 * list of origins says who may. */
#include "server/connect_private.h"

struct str connect_page_of(const struct http_request *request)
{
    return http_fields_has(&request->fields, HTTP_FIELD_ORIGIN)
               ? http_request_field(request, HTTP_FIELD_ORIGIN)
               : STR("");
}

size_t connect_cors_headers(struct str origin, struct http_pair out_headers[CONNECT_CORS_HEADERS])
{
    if (origin.len == 0) {
        return 0;
    }
    out_headers[0] = (struct http_pair){STR("Access-Control-Allow-Origin"), origin};
    out_headers[1] = (struct http_pair){STR("Access-Control-Allow-Credentials"), STR("true")};
    out_headers[2] = (struct http_pair){STR("Access-Control-Expose-Headers"), STR("Retry-After")};
    out_headers[3] = (struct http_pair){STR("Vary"), STR("Origin")};
    return CONNECT_CORS_HEADERS;
}

void connect_answer_preflight(struct connecting *connecting, struct str methods)
{
    struct http_pair headers[CONNECT_CORS_HEADERS + 3];
    size_t count = connect_cors_headers(connect_page_of(connecting->request), headers);
    headers[count++] = (struct http_pair){STR("Access-Control-Allow-Methods"), methods};
    headers[count++] = (struct http_pair){
        STR("Access-Control-Allow-Headers"),
        STR("Authorization, Content-Type, Last-Event-ID, Tidegate-Session")};
    headers[count++] = (struct http_pair){STR("Access-Control-Max-Age"), STR("600")};
    struct http_response response = {.status = 204, .headers = headers, .header_count = count};
    http_answer(connecting->exchange, &response);
}
