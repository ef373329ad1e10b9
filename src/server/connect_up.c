/* Who speaks in a request for a session that has its stream elsewhere. */
#include "base/mem.h"
#include "server/connect_private.h"
#include "server/revoked.h"
#include "server/stats.h"

static struct connecting connecting_of(struct worker *worker, struct http_exchange *exchange)
{
    return (struct connecting){
        .worker = worker, .exchange = exchange, .request = exchange->request, .is_up = true};
}

static bool find_speaker(struct connecting *connecting, struct str methods)
{
    if (!connect_check_started(connecting) || !connect_find_tenant(connecting) ||
        !connect_check_origin(connecting)) {
        return false;
    }
    if (connecting->request->method == HTTP_METHOD_OPTIONS) {
        connect_answer_preflight(connecting, methods);
        return false;
    }
    return true;
}

/* Who waits with a ticket has nothing else to show: the ticket says for whom. */
static bool keep_ticket(struct connecting *connecting, struct connect_speaker *speaker)
{
    const struct ticket *ticket = connect_ticket(connecting);
    struct credential *credential = &speaker->credential;
    if (!ticket || ticket->user.len == 0) {
        return true;
    }
    credential->memory = mem_strndup(ticket->user.ptr, ticket->user.len);
    if (!credential->memory) {
        connect_refuse_for_now(connecting, 503, "memory", "The gateway is short of memory.", 1);
        return false;
    }
    credential->user = str_make(credential->memory, ticket->user.len);
    credential->jti = STR("");
    credential->issued_ms = ticket->issued_ms;
    return true;
}

bool connect_find_speaker(struct worker *worker, struct http_exchange *exchange, struct str methods,
                          struct connect_speaker *out_speaker)
{
    struct connecting connecting = connecting_of(worker, exchange);
    *out_speaker = (struct connect_speaker){.credential = {.user = STR("")}};
    bool good = find_speaker(&connecting, methods) && keep_ticket(&connecting, out_speaker);
    out_speaker->tenant = connecting.tenant;
    connect_fini(&connecting);
    return good;
}

static bool check_ticket(struct connecting *connecting, const struct connect_speaker *speaker)
{
    enum credential_refusal refusal = revoked_check(connecting->worker, speaker->tenant->id,
                                                    &speaker->credential, CREDENTIAL_REFUSED_NOT);
    if (refusal == CREDENTIAL_REFUSED_NOT) {
        return true;
    }
    stats_auth(refusal, &speaker->credential);
    connect_refuse(connecting, 401, "unauthorized", CREDENTIAL_PUBLIC_MESSAGE);
    return false;
}

bool connect_check_speaker(struct worker *worker, struct http_exchange *exchange,
                           struct connect_speaker *speaker)
{
    struct connecting connecting = connecting_of(worker, exchange);
    connecting.tenant = speaker->tenant;
    connecting.tells_origin = true; /* it was checked */
    bool good = connect_check_credential(&connecting);
    if (connecting.has_credential) {
        credential_fini(&speaker->credential);
        speaker->credential = connecting.credential;
        speaker->has_credential = true;
        return good;
    }
    credential_fini(&connecting.credential);
    return good && check_ticket(&connecting, speaker);
}
