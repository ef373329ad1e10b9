/* Who speaks in a request for a session that has its stream elsewhere. */
#include "server/connect_private.h"

static struct connecting connecting_of(struct worker *worker, struct http_exchange *exchange)
{
    return (struct connecting){
        .worker = worker, .exchange = exchange, .request = exchange->request, .is_up = true};
}

bool connect_find_speaker(struct worker *worker, struct http_exchange *exchange, struct str methods,
                          struct connect_speaker *out_speaker)
{
    struct connecting connecting = connecting_of(worker, exchange);
    if (!connect_check_started(&connecting) || !connect_find_tenant(&connecting) ||
        !connect_check_origin(&connecting)) {
        return false;
    }
    *out_speaker = (struct connect_speaker){.tenant = connecting.tenant,
                                            .credential = {.user = STR("")}};
    if (exchange->request->method == HTTP_METHOD_OPTIONS) {
        connect_answer_preflight(&connecting, methods);
        return false;
    }
    return true;
}

bool connect_check_speaker(struct worker *worker, struct http_exchange *exchange,
                           struct connect_speaker *speaker)
{
    struct connecting connecting = connecting_of(worker, exchange);
    connecting.tenant = speaker->tenant;
    connecting.tells_origin = true; /* it was checked */
    bool good = connect_check_credential(&connecting);
    speaker->credential = connecting.credential;
    return good;
}
