#include "server/connect.h"

#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "core/cluster.h"
#include "net/link.h"
#include "proto/uri.h"
#include "proto/ws_handshake.h"
#include "server/client_addr.h"
#include "server/connect_private.h"
#include "server/origin.h"
#include "server/revoked.h"
#include "server/stats.h"
#include "server/ws_protocol.h"

enum { RETRY_AFTER_S = 2, DRAIN_RETRY_AFTER_S = 5, EXTENSION_LINES = 8, APP_NAME_MAX = 256 };

/* header: one more, or NULL. */
static void answer_problem(struct connecting *connecting, int status, const char *code,
                           const char *detail, const struct http_pair *header)
{
    struct http_pair headers[CONNECT_CORS_HEADERS + 1];
    struct str page = connecting->tells_origin ? connect_page_of(connecting->request) : STR("");
    size_t count = connect_cors_headers(page, headers);
    if (header) {
        headers[count++] = *header;
    }
    if (connecting->is_up) {
        stats_up(code);
    } else {
        stats_handshake_refused(code, &connecting->client, status);
        connecting->exchange->keep_alive = false;
    }
    http_answer_problem_with(connecting->exchange, status, code, detail, headers, count);
}

void connect_refuse(struct connecting *connecting, int status, const char *code, const char *detail)
{
    answer_problem(connecting, status, code, detail, NULL);
}

void connect_refuse_method(struct connecting *connecting, struct str allow, const char *detail)
{
    struct http_pair header = {STR("Allow"), allow};
    answer_problem(connecting, 405, "method_not_allowed", detail, &header);
}

static void refuse_for(struct connecting *connecting, int status, const char *code,
                       const char *detail, unsigned seconds)
{
    char text[12];
    int len = snprintf(text, sizeof(text), "%u", seconds);
    struct http_pair header = {STR("Retry-After"), str_make(text, (size_t)len)};
    answer_problem(connecting, status, code, detail, &header);
}

void connect_refuse_for_now(struct connecting *connecting, int status, const char *code,
                            const char *detail, unsigned seconds)
{
    struct admission *admission = &connecting->worker->gateway->admission;
    refuse_for(connecting, status, code, detail, admission_spread_s(admission, seconds));
}

static bool check_handshake(struct connecting *connecting)
{
    enum http_refusal refusal = ws_handshake_check(connecting->request);
    if (refusal == HTTP_REFUSED_NOT) {
        return true;
    }
    stats_handshake_refused(http_refusal_slug(refusal), &connecting->client,
                            http_refusal_status(refusal));
    http_answer_refusal(connecting->exchange, refusal);
    return false;
}

static bool refuse_ticket(struct connecting *connecting, int err)
{
    if (err == ERR_EXPIRED) {
        connect_refuse(connecting, 410, "ticket_expired", "The ticket's time is over.");
    } else {
        connect_refuse(connecting, 401, "ticket_invalid", "The ticket is none of this gateway's.");
    }
    return false;
}

/* ?ticket=, which tells the app, too. */
static bool read_ticket(struct connecting *connecting)
{
    char text[TICKET_MAX];
    const struct cluster_keys *keys = &connecting->worker->gateway->keys;
    ssize_t len = uri_query_get(connecting->request->query, STR("ticket"), text, sizeof(text));
    if (len == ERR_NOT_FOUND) {
        return true;
    }
    connecting->ticket_memory = mem_alloc(TICKET_MEMORY);
    if (!connecting->ticket_memory) {
        connect_refuse_for_now(connecting, 503, "memory", "The gateway is short of memory.",
                               RETRY_AFTER_S);
        return false;
    }
    int err = len < 0
                  ? ERR_SYNTAX
                  : cluster_keys_read_ticket(keys, &connecting->ticket, connecting->ticket_memory,
                                             str_make(text, (size_t)len), clock_wall_ms());
    return !err || refuse_ticket(connecting, err);
}

static bool find_app_of_ticket(struct connecting *connecting)
{
    connecting->tenant = tenants_find(connecting->worker->tenants, connecting->ticket.app);
    return connecting->tenant || refuse_ticket(connecting, ERR_DENIED);
}

static bool find_app(struct connecting *connecting)
{
    char name[APP_NAME_MAX];
    const struct tenants *tenants = connecting->worker->tenants;
    ssize_t len = uri_query_get(connecting->request->query, STR("app"), name, sizeof(name));
    if (len == ERR_NOT_FOUND && connecting->ticket_memory) {
        return find_app_of_ticket(connecting);
    }
    if (len == ERR_NOT_FOUND) {
        connecting->tenant = tenants_only(tenants);
        if (!connecting->tenant) {
            connect_refuse(connecting, 400, "app_required",
                           "Several apps live here: name one by ?app=.");
        }
        return connecting->tenant != NULL;
    }
    connecting->tenant = len < 0 ? NULL : tenants_find(tenants, str_make(name, (size_t)len));
    if (!connecting->tenant) {
        connect_refuse(connecting, 404, "app_unknown", "No app of this name lives here.");
        return false;
    }
    return true;
}

static bool check_app(struct connecting *connecting)
{
    if (worker_takes_app(connecting->worker, connecting->tenant)) {
        return true;
    }
    connect_refuse_for_now(connecting, 503, "memory", "The gateway is short of memory.",
                           RETRY_AFTER_S);
    return false;
}

bool connect_find_tenant(struct connecting *connecting)
{
    if (!read_ticket(connecting) || !find_app(connecting)) {
        return false;
    }
    bool is_foreign = connecting->ticket_memory &&
                      !str_equal(connecting->ticket.app, str_of(connecting->tenant->name));
    return is_foreign ? refuse_ticket(connecting, ERR_DENIED) : check_app(connecting);
}

bool connect_check_origin(struct connecting *connecting)
{
    enum origin_verdict verdict = origin_check(connecting->tenant->settings, connecting->request);
    connecting->tells_origin = verdict == ORIGIN_ALLOWED;
    if (verdict != ORIGIN_REFUSED) {
        return true;
    }
    connect_refuse(connecting, 403, "origin_refused", "Pages of this origin may not connect.");
    return false;
}

static bool take_ip(struct connecting *connecting)
{
    struct worker *worker = connecting->worker;
    uint64_t limit = worker->settings->limits.sessions_per_ip;
    if (!limit) {
        return true;
    }
    struct admission *admission = &worker->gateway->admission;
    uint64_t key = admission_key_of_ip(admission, &connecting->client);
    if (!admission_take(admission, key, limit)) {
        connect_refuse_for_now(connecting, 429, "ip_session_limit",
                               "This address has as many sessions as it may.", RETRY_AFTER_S);
        return false;
    }
    connecting->ip_key = key;
    return true;
}

/* Until the window has been read back, nobody could be told what is missing; until the others count
 * on this node, their counts would miss its sessions. */
bool connect_check_started(struct connecting *connecting)
{
    const struct gateway *gateway = connecting->worker->gateway;
    if (hub_bus_was_up(gateway->hub) && cluster_may_serve(gateway->cluster)) {
        return true;
    }
    connect_refuse_for_now(connecting, 503, "starting", "The gateway is not ready yet.",
                           RETRY_AFTER_S);
    return false;
}

static bool take_quota(struct connecting *connecting)
{
    static const struct settings_quotas none;
    const struct tenant *tenant = connecting->tenant;
    const struct settings_app *app = tenant->settings; /* NULL: echo's, which was taken out */
    if (!quota_take_session(tenant->quota, app ? &app->quotas : &none)) {
        stats_quota_refused(tenant, STATS_QUOTA_SESSIONS);
        connect_refuse_for_now(connecting, 429, "quota_exceeded",
                               "The app has as many sessions here as it may.", RETRY_AFTER_S);
        return false;
    }
    connecting->holds_quota = true;
    return true;
}

static bool take_turn(struct connecting *connecting)
{
    struct worker *worker = connecting->worker;
    struct admission *admission = &worker->gateway->admission;
    uint64_t rate = worker->settings->limits.accept_rate;
    if (admission_take_rate(admission, rate, worker_now_ms(worker))) {
        return true;
    }
    refuse_for(connecting, 503, "accept_rate", "Too many connects a second.",
               admission_retry_after_s(admission, rate, worker_now_ms(worker)));
    return false;
}

/* Cheap checks: what a storm of connects meets. The turn comes last, since all share it: who is
 * over a limit of their own takes none. */
bool connect_take_place(struct connecting *connecting)
{
    struct worker *worker = connecting->worker;
    const struct settings_limits *limits = &worker->settings->limits;
    struct admission *admission = &worker->gateway->admission;
    if (worker->draining) {
        connect_refuse_for_now(connecting, 503, "draining", "This node is going away.",
                               DRAIN_RETRY_AFTER_S);
        return false;
    }
    if (admission_memory_is_short(limits->memory_bytes)) {
        connect_refuse_for_now(connecting, 503, "memory", "The gateway is short of memory.",
                               DRAIN_RETRY_AFTER_S);
        return false;
    }
    if (!take_ip(connecting) || !take_quota(connecting)) {
        return false;
    }
    if (!admission_take_session(admission, limits->sessions)) {
        connect_refuse_for_now(connecting, 503, "session_limit",
                               "The gateway has as many sessions as it may.", RETRY_AFTER_S);
        return false;
    }
    connecting->holds_session = true;
    return take_turn(connecting);
}

void connect_give_back(struct connecting *connecting)
{
    struct admission *admission = &connecting->worker->gateway->admission;
    if (connecting->holds_session) {
        admission_give_session(admission);
    }
    if (connecting->holds_quota) {
        quota_give_session(connecting->tenant->quota);
    }
    if (connecting->ip_key) {
        admission_give(admission, connecting->ip_key);
    }
}

void connect_fini(struct connecting *connecting)
{
    credential_fini(&connecting->credential);
    mem_free(connecting->ticket_memory);
}

static enum credential_refusal read_credential(struct connecting *connecting)
{
    const struct tenant *tenant = connecting->tenant;
    struct credential *credential = &connecting->credential;
    struct keyset *keys = keyring_get(tenant->keyring);
    struct credential_context context = {.app = tenant->settings,
                                         .limits = &connecting->worker->settings->limits,
                                         .keys = keys,
                                         .now_ms = clock_wall_ms()};
    enum credential_refusal refusal = credential_from_request(
        credential, &context, connecting->request, &connecting->exchange->peer);
    if (refusal == CREDENTIAL_REFUSED_NONE && connecting->needs_credential &&
        !connecting->ticket_memory) {
        refusal = credential_from_token(credential, &context, STR(""));
    }
    keyset_unref(keys);
    if (credential->is_kid_unknown) {
        keyring_want_refresh(tenant->keyring);
    }
    if (refusal == CREDENTIAL_REFUSED_NONE &&
        revoked_check_ticket(connecting->worker, tenant->id, connect_ticket(connecting))) {
        return CREDENTIAL_REFUSED_REVOKED; /* nothing else says whose the session is */
    }
    return revoked_check(connecting->worker, tenant->id, credential, refusal);
}

/* Without a credential a session may have hello to show one, or has a ticket. */
bool connect_check_credential(struct connecting *connecting)
{
    enum credential_refusal refusal = read_credential(connecting);
    if (refusal == CREDENTIAL_REFUSED_NONE &&
        (!connecting->needs_credential || connecting->ticket_memory)) {
        return true;
    }
    stats_auth(refusal, &connecting->credential);
    if (refusal == CREDENTIAL_REFUSED_NOT) {
        connecting->has_credential = true;
        return true;
    }
    int status = credential_status(refusal, connecting->credential.token_refusal);
    connect_refuse(connecting, status, status == 403 ? "origin_refused" : "unauthorized",
                   CREDENTIAL_PUBLIC_MESSAGE);
    return false;
}

static size_t extension_lines(const struct http_request *request, struct str lines[EXTENSION_LINES])
{
    size_t count = 0;
    for (uint32_t i = 0; i < request->fields.count && count < EXTENSION_LINES; i++) {
        if (request->fields.headers[i].field == HTTP_FIELD_SEC_WEBSOCKET_EXTENSIONS) {
            lines[count++] = request->fields.headers[i].value;
        }
    }
    return count;
}

static bool choose_extensions(struct connecting *connecting)
{
    struct str lines[EXTENSION_LINES];
    size_t count = extension_lines(connecting->request, lines);
    if (!connecting->worker->settings->compression.enabled || count == 0) {
        return true;
    }
    if (ws_deflate_choose(&connecting->deflate, lines, count)) {
        connect_refuse(connecting, 400, "bad_extensions", "Sec-WebSocket-Extensions is malformed.");
        return false;
    }
    return true;
}

static ssize_t write_answer(char *out, size_t cap, const struct connecting *connecting)
{
    char extension[WS_DEFLATE_ANSWER_MAX];
    struct str answer = connecting->deflate.accepted
                            ? ws_deflate_answer_write(extension, &connecting->deflate)
                            : STR("");
    struct str protocol = connecting->is_v1 ? WS_PROTOCOL_V1 : STR("");
    return ws_handshake_write(out, cap, connecting->request, protocol, answer);
}

static bool is_raw(const struct connecting *connecting)
{
    return !connecting->is_v1 && !connecting->is_echo;
}

static void start_raw(struct worker *worker, struct session *session, struct str handshake,
                      struct str query)
{
    ws_session_hold(worker, session, handshake);
    if (!(session->flags & WS_IS_DOOMED)) {
        ws_protocol_start_raw(worker, session, query, NULL);
    }
}

void connect_end_link(const struct http_taken *link)
{
    tls_conn_destroy(link->tls);
    close(link->fd);
}

static void begin_session(struct connecting *connecting, const struct http_taken *link,
                          struct str handshake, struct str query)
{
    struct worker *worker = connecting->worker;
    struct ws_open open = {
        .tenant = connecting->tenant,
        .transport = WS_TRANSPORT,
        .flags = (uint8_t)((connecting->is_v1 ? WS_IS_V1 : 0) |
                           (connecting->is_echo ? WS_IS_ECHO | WS_IS_GREETED : 0)),
        .window_bits = connecting->deflate.accepted ? connecting->deflate.window_bits : 0,
        .ip_key = connecting->ip_key,
        .credential = connecting->has_credential ? &connecting->credential : NULL,
        .ticket = connect_ticket(connecting)};
    struct session *session = ws_session_open(worker, link->fd, link->tls, &open);
    if (!session) {
        connect_end_link(link);
        connect_give_back(connecting);
        return;
    }
    if (is_raw(connecting)) {
        start_raw(worker, session, handshake, query);
    }
    if (link->rest.len > 0) {
        ws_session_feed(worker, session, (uint8_t *)(uintptr_t)link->rest.ptr, link->rest.len);
    }
}

static void upgrade(struct connecting *connecting)
{
    char answer[WS_HANDSHAKE_RESPONSE_MAX];
    ssize_t len = write_answer(answer, sizeof(answer), connecting);
    struct str query = connecting->request->query;
    struct http_taken link;
    if (len <= 0 || !http_take_socket(connecting->exchange, 101, &link)) {
        connect_give_back(connecting);
        connect_refuse(connecting, 400, "upgrade_pipelined",
                       "An upgrade can't follow requests that are not answered yet.");
        return;
    }
    struct iovec part = {answer, (size_t)len};
    if (!is_raw(connecting) && link_write(link.fd, link.tls, &part, 1) != len) {
        connect_end_link(&link);
        connect_give_back(connecting);
        return;
    }
    begin_session(connecting, &link, str_make(answer, (size_t)len), query);
}

static void on_echo(struct connecting *connecting)
{
    connecting->is_echo = true;
    connecting->tenant = &connecting->worker->tenants->items[0];
    if (check_handshake(connecting) && choose_extensions(connecting) &&
        connect_take_place(connecting)) {
        upgrade(connecting);
    } else {
        connect_give_back(connecting);
    }
}

static void on_ws(struct connecting *connecting)
{
    connecting->is_v1 = ws_handshake_pick_protocol(connecting->request, &WS_PROTOCOL_V1, 1).ptr !=
                        NULL;
    connecting->needs_credential = !connecting->is_v1; /* a raw session has no hello */
    bool good = check_handshake(connecting) && connect_check_started(connecting) &&
                connect_find_tenant(connecting) && connect_check_origin(connecting) &&
                choose_extensions(connecting) && connect_take_place(connecting) &&
                connect_check_credential(connecting);
    if (good) {
        upgrade(connecting);
    } else {
        connect_give_back(connecting);
    }
    connect_fini(connecting);
}

bool connect_on_request(struct worker *worker, struct http_exchange *exchange)
{
    struct connecting connecting = {
        .worker = worker,
        .exchange = exchange,
        .request = exchange->request,
        .client = client_addr_of(&worker->settings->forwarded, exchange->request, &exchange->peer)};
    struct str path = exchange->request->path;
    if (str_equal(path, STR("/v1/sse"))) {
        exchange->route = "/v1/sse";
        connect_on_sse(&connecting);
        return true;
    }
    bool is_echo = worker->settings->debug.echo && str_equal(path, STR("/v1/echo")) &&
                   worker->tenants->count > 0;
    if (!is_echo && !str_equal(path, STR("/v1/ws"))) {
        return false;
    }
    exchange->route = is_echo ? "/v1/echo" : "/v1/ws";
    if (is_echo) {
        on_echo(&connecting);
    } else {
        on_ws(&connecting);
    }
    return true;
}
