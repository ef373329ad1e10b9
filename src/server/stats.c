#include "server/stats.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "core/hub.h"
#include "server/stats_private.h"
#include "server/ws_session.h"

enum { MAX_ROUTES = 256, STATS_TRANSPORTS = 4, STATS_GAPS = 4, STATS_REASONS = 48 };

/* By a reason, which is a literal and known by its address: a mass disconnect looks up no text. */
struct reason_series {
    _Atomic(const char *) reason; /* NULL: free; set last */
    struct metric *series;
};

/* The series of one app; apps beyond the table share the last place. */
struct app_series {
    struct metric *connections[STATS_TRANSPORTS];
    struct metric *opened[STATS_TRANSPORTS];
    struct metric *written;
    struct metric *dropped[STATS_DROPS];
    struct metric *acked;
    struct metric *given_up;
    struct metric *gaps[STATS_GAPS];
    struct metric *slow;
    struct metric *ticket_sessions;
    struct metric *over_quota[STATS_QUOTAS];
    struct reason_series closed[STATS_REASONS]; /* each made when it is needed first */
    struct reason_series refused[STATS_REASONS];
};

static struct app_series apps[STATS_APPS];
static struct metric *sent_bytes;
static struct metric *received_bytes;
static struct metric *latency[STATS_STAGES];
static struct metric *fan_out;
static struct metric *ping;
static struct metric *accepts_paced;
static struct metric *resumed_series[3];

static const char *const transports[STATS_TRANSPORTS] = {"raw", "v1", "sse_raw", "sse"};
static const char *const drop_names[STATS_DROPS] = {"session_closed", "expired", "collapsed",
                                                    "revoked"};
static const char *const quota_names[STATS_QUOTAS] = {"pushes", "sessions", "waits"};
static const char *const stage_names[STATS_STAGES] = {"api_to_bus",   "bus",          "other_node",
                                                      "bus_to_write", "write_to_ack", "total"};
static const char *const gap_names[STATS_GAPS] = {[SESSION_GAP_EXPIRED] = "expired",
                                                  [SESSION_GAP_OVERFLOW] = "overflow",
                                                  [SESSION_GAP_BUS] = "bus",
                                                  [SESSION_GAP_EPOCH] = "epoch"};

/* Of those that are made when they are first counted, the ones that alert rules wait for are there
 * at 0: for Prometheus a series that comes with its first count has not increased. */
static void make_watched_series(void)
{
    static const char *const refused[] = {"accept_rate", "memory", "session_limit"};
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        (void)SERIES(handshakes_refused_total, refused[i]);
    }
}

void stats_init(void)
{
    sent_bytes = SERIES(sent_bytes_total);
    received_bytes = SERIES(received_bytes_total);
    accepts_paced = SERIES(accepts_paced_total);
    fan_out = SERIES(message_fan_out_sessions);
    ping = SERIES(ping_seconds);
    stats_init_process();
    for (int i = 0; i < STATS_STAGES; i++) {
        latency[i] = SERIES(delivery_seconds, stage_names[i]);
    }
    static const char *const resumed_names[3] = {"none", "partial", "full"};
    for (int i = 0; i < 3; i++) {
        resumed_series[i] = SERIES(session_starts_total, resumed_names[i]);
    }
    make_watched_series();
}

/* Fills in all but `written`, which it returns: who sees that one set may read the rest. */
static struct metric *make_app_series(struct app_series *series, const char *app)
{
    for (int i = 0; i < STATS_TRANSPORTS; i++) {
        series->opened[i] = SERIES(sessions_opened_total, app, transports[i]);
        series->connections[i] = SERIES(connections, app, transports[i]);
    }
    for (int i = 0; i < STATS_DROPS; i++) {
        series->dropped[i] = SERIES(messages_dropped_total, app, drop_names[i]);
    }
    for (int i = 0; i < STATS_QUOTAS; i++) {
        series->over_quota[i] = SERIES(quota_refused_total, app, quota_names[i]);
    }
    (void)SERIES(sessions_closed_total, app, "slow_consumer"); /* see make_watched_series */
    series->acked = SERIES(messages_acked_total, app);
    series->given_up = SERIES(acks_given_up_total, app);
    for (int i = 0; i < STATS_GAPS; i++) {
        series->gaps[i] = SERIES(gaps_total, app, gap_names[i]);
    }
    series->slow = SERIES(slow_sessions, app);
    series->ticket_sessions = SERIES(ticket_sessions, app);
    return SERIES(messages_written_total, app);
}

const char *stats_app_label(const char *name, uint16_t id)
{
    return id < STATS_APPS - 1 ? name : "other";
}

static struct app_series *series_of(uint16_t app)
{
    return &apps[app < STATS_APPS ? app : STATS_APPS - 1];
}

static const char *label_of(const struct tenant *tenant)
{
    return stats_app_label(tenant->name, tenant->id);
}

static pthread_mutex_t making = PTHREAD_MUTEX_INITIALIZER;

/* Workers may meet an app at the same time: one makes its series, and `written` shows that all are
 * there. */
static struct app_series *series_of_tenant(const struct tenant *tenant)
{
    struct app_series *series = series_of(tenant->id);
    if (__atomic_load_n(&series->written, __ATOMIC_ACQUIRE)) {
        return series;
    }
    pthread_mutex_lock(&making);
    if (!__atomic_load_n(&series->written, __ATOMIC_RELAXED)) {
        struct metric *written = make_app_series(series, label_of(tenant));
        __atomic_store_n(&series->written, written, __ATOMIC_RELEASE);
    }
    pthread_mutex_unlock(&making);
    return series;
}

/* The place of the reason, else the first free one, else NULL. */
static struct reason_series *find_reason(struct reason_series places[STATS_REASONS],
                                         const char *reason)
{
    for (int i = 0; i < STATS_REASONS; i++) {
        const char *at = atomic_load_explicit(&places[i].reason, memory_order_acquire);
        if (!at || at == reason) {
            return &places[i];
        }
    }
    return NULL;
}

static struct metric *make_reason(struct reason_series places[STATS_REASONS],
                                  const struct metric_family *family, const struct tenant *tenant,
                                  const char *reason)
{
    struct metric *series = metric_series(family, label_of(tenant), reason);
    pthread_mutex_lock(&making);
    struct reason_series *place = find_reason(places, reason);
    if (place && !place->reason) {
        place->series = series;
        atomic_store_explicit(&place->reason, reason, memory_order_release);
    }
    pthread_mutex_unlock(&making);
    return series;
}

static void count_reason(struct reason_series places[STATS_REASONS],
                         const struct metric_family *family, const struct tenant *tenant,
                         const char *reason)
{
    const struct reason_series *place = find_reason(places, reason);
    bool is_made = place && atomic_load_explicit(&place->reason, memory_order_acquire) == reason;
    metric_add(is_made ? place->series : make_reason(places, family, tenant, reason), 1);
}

void stats_make_app(const struct tenant *tenant)
{
    series_of_tenant(tenant);
}

static int transport_of(const struct session *session)
{
    return (session->flags & WS_IS_V1 ? 1 : 0) + (ws_is_sse(session) ? 2 : 0);
}

void stats_session_opened(struct worker *worker, const struct session *session,
                          const struct tenant *tenant)
{
    struct app_series *series = series_of_tenant(tenant);
    metric_add(series->opened[transport_of(session)], 1);
    metric_gauge_add(series->connections[transport_of(session)], 1);
}

void stats_session_gone(struct worker *worker, const struct session *session)
{
    metric_gauge_add(series_of(session->app)->connections[transport_of(session)], -1);
    if (session->flags & WS_IS_BLOCKED) {
        stats_blocked(session, false);
    }
}

const char *stats_close_reason(uint16_t code)
{
    switch (code) {
    case WS_CLOSE_ABORT: return "connection_lost";
    case WS_CLOSE_PROTOCOL: return "protocol_error";
    case WS_CLOSE_BAD_DATA: return "bad_data";
    case WS_CLOSE_TOO_LARGE: return "too_large";
    case WS_CLOSE_KICKED: return "kicked";
    case WS_CLOSE_REPLACED: return "replaced";
    case WS_CLOSE_BAD_FRAME: return "bad_frame";
    case WS_CLOSE_FORBIDDEN: return "forbidden";
    case WS_CLOSE_TOKEN_INVALID: return "token_invalid";
    case WS_CLOSE_SESSION_LIMIT: return "session_limit";
    case WS_CLOSE_TICKET_DONE: return "ticket_done";
    case WS_CLOSE_OVERLOADED: return "overloaded";
    case WS_CLOSE_SLOW: return "slow_consumer";
    case WS_CLOSE_NO_PONG: return "no_pong";
    case WS_CLOSE_RATE_LIMITED: return "rate_limited";
    case WS_CLOSE_HELLO_TIMEOUT: return "hello_timeout";
    case WS_CLOSE_DRAIN: return "drain";
    case WS_CLOSE_EXPIRED: return "token_expired";
    case WS_CLOSE_REVOKED: return "revoked";
    case SSE_END_OF_POLL: return "poll_end";
    default: return "other";
    }
}

static const struct tenant *tenant_of(const struct worker *worker, const struct session *session)
{
    return &worker->tenants->items[session->app];
}

static const char *app_name(const struct worker *worker, const struct session *session)
{
    return tenant_of(worker, session)->name;
}

static void count_closed(struct worker *worker, const struct session *session, const char *reason)
{
    const struct tenant *tenant = tenant_of(worker, session);
    count_reason(series_of(tenant->id)->closed, FAMILY(sessions_closed_total), tenant, reason);
}

/* Ends that have a cause worth a line; losing the connection is daily life. */
void stats_session_closed(struct worker *worker, const struct session *session, uint16_t close_code)
{
    const char *reason = stats_close_reason(close_code);
    count_closed(worker, session, reason);
    if (close_code == WS_CLOSE_ABORT || close_code == WS_CLOSE_DRAIN) {
        return;
    }
    char sid[SID_LEN + 1];
    ws_session_format_sid(worker, session, sid);
    log_info_of(LOG_OF(.app = str_of(app_name(worker, session)), .sid = str_of(sid),
                       .code = str_of(reason)),
                "session.closed", "app '%s': closed a session with %u: %s",
                app_name(worker, session), close_code, reason);
}

void stats_closed_by_peer(struct worker *worker, const struct session *session)
{
    count_closed(worker, session, "client");
}

void stats_written(struct worker *worker, const struct session *session, uint32_t frames,
                   uint64_t bytes)
{
    if (frames) {
        metric_add(series_of(session->app)->written, frames);
    }
    metric_add(sent_bytes, bytes);
}

void stats_dropped(struct worker *worker, const struct session *session, enum stats_drop reason,
                   uint32_t frames)
{
    if (frames) {
        metric_add(series_of(session->app)->dropped[reason], frames);
    }
}

void stats_received(struct worker *worker, const struct session *session, uint64_t bytes)
{
    metric_add(received_bytes, bytes);
}

void stats_acked(struct worker *worker, const struct session *session)
{
    metric_add(series_of(session->app)->acked, 1);
}

void stats_acks_given_up(struct worker *worker, const struct session *session, uint32_t messages)
{
    if (messages) {
        metric_add(series_of(session->app)->given_up, messages);
    }
}

void stats_gap(struct worker *worker, const struct session *session, enum session_gap_why why)
{
    metric_add(series_of(session->app)->gaps[why], 1);
}

void stats_blocked(const struct session *session, bool is_blocked)
{
    metric_gauge_add(series_of(session->app)->slow, is_blocked ? 1 : -1);
}

void stats_resumed(struct worker *worker, const struct session *session,
                   enum session_resumed resumed)
{
    metric_add(resumed_series[resumed], 1);
}

void stats_frame_refused(struct worker *worker, const struct session *session, const char *code)
{
    metric_add(SERIES(frames_refused_total, code), 1);
    char sid[SID_LEN + 1];
    ws_session_format_sid(worker, session, sid);
    log_info_of(
        LOG_OF(.app = str_of(app_name(worker, session)), .sid = str_of(sid), .code = str_of(code)),
        "frame.refused", "app '%s': answered a client's frame with err '%s'",
        app_name(worker, session), code);
}

void stats_police_unsure(struct worker *worker, const struct session *session)
{
    metric_add(SERIES(session_policy_unsure_total, label_of(tenant_of(worker, session))), 1);
    log_warn_of(LOG_OF(.app = str_of(app_name(worker, session))), "session.policy_unsure",
                "app '%s': a session's policy was judged by what is known: not all nodes answered",
                app_name(worker, session));
}

void stats_ticket(const struct tenant *tenant, enum stats_ticket what)
{
    static const char *const names[STATS_TICKETS] = {[STATS_TICKET_CREATED] = "created",
                                                     [STATS_TICKET_CLAIMED] = "claimed",
                                                     [STATS_TICKET_DONE] = "done",
                                                     [STATS_TICKET_DELETED] = "deleted"};
    metric_add(SERIES(tickets_total, label_of(tenant), names[what]), 1);
}

void stats_ticket_session(const struct session *session, int change)
{
    metric_gauge_add(series_of(session->app)->ticket_sessions, change);
}

void stats_ticket_refused(const struct tenant *tenant, const char *reason)
{
    metric_add(SERIES(tickets_refused_total, label_of(tenant), reason), 1);
    log_info_of(LOG_OF(.app = str_of(tenant->name), .code = str_of(reason)), "ticket.refused",
                "app '%s': turned away a session with a ticket: %s", tenant->name, reason);
}

void stats_auth(enum credential_refusal refusal, const struct credential *credential)
{
    const char *result = refusal == CREDENTIAL_REFUSED_NOT
                             ? "accepted"
                             : credential_refusal_slug(refusal, credential->token_refusal);
    metric_add(SERIES(auth_results_total, result), 1);
    if (refusal != CREDENTIAL_REFUSED_NOT && refusal != CREDENTIAL_REFUSED_NONE) {
        log_warn_of(LOG_OF(.code = str_of(result)), "auth.refused",
                    "refused a client's credential: %s", result);
    }
}

void stats_forwarded_ignored(const char *reason)
{
    metric_add(SERIES(forwarded_ignored_total, reason), 1);
    log_info_of(LOG_OF(.code = str_of(reason)), "forwarded.ignored",
                "a trusted proxy did not name the client: %s", reason);
}

void stats_handshake_refused(const char *reason, const struct addr *peer, int status)
{
    char text[ADDR_TEXT_MAX];
    metric_add(SERIES(handshakes_refused_total, reason), 1);
    log_info_of(LOG_OF(.code = str_of(reason)), "handshake.refused", "answered %d to %s: %s",
                status, addr_format(peer, text), reason);
}

void stats_up(const char *result)
{
    metric_add(SERIES(ups_total, result), 1);
    if (strcmp(result, "accepted") != 0) {
        log_info_of(LOG_OF(.code = str_of(result)), "up.refused",
                    "refused what a client of an event stream said: %s", result);
    }
}

void stats_http_refused(const char *listener, const struct addr *peer, int status,
                        const char *reason)
{
    char text[ADDR_TEXT_MAX];
    metric_add(SERIES(http_refused_total, listener, reason), 1);
    if (status == 0) {
        log_info_of(LOG_OF(.code = str_of(reason)), "http.refused", "%s listener: closed on %s: %s",
                    listener, addr_format(peer, text), reason);
        return;
    }
    log_info_of(LOG_OF(.code = str_of(reason)), "http.refused",
                "%s listener: answered %d to %s: %s", listener, status, addr_format(peer, text),
                reason);
}

static const char *status_class(int status)
{
    static const char *const names[] = {"other", "1xx", "2xx", "3xx", "4xx", "5xx"};
    int index = status / 100;
    return names[index >= 1 && index <= 5 ? index : 0];
}

/* Series of a route are looked up by the literal's address: no formatting on the push path. */
struct route_series {
    const char *route;
    const char *status;
    struct metric *requests;
    struct metric *seconds;
};

static struct route_series *find_route(const char *listener, const char *route, const char *status)
{
    static _Thread_local struct route_series series[MAX_ROUTES];
    for (int i = 0; i < MAX_ROUTES; i++) {
        struct route_series *at = &series[i];
        if (at->route == route && at->status == status) {
            return at;
        }
        if (!at->route) {
            at->requests = SERIES(http_requests_total, route, status);
            at->seconds = SERIES(http_request_seconds, route);
            at->status = status;
            at->route = route;
            return at;
        }
    }
    return &series[MAX_ROUTES - 1];
}

void stats_request(const char *listener, const struct http_exchange *exchange, uint64_t now_us)
{
    struct route_series *series = find_route(listener, exchange->route ? exchange->route : "other",
                                             status_class(exchange->status));
    metric_add(series->requests, 1);
    metric_observe_us(series->seconds, now_us - exchange->started_us);
}

void stats_api_refused(const char *app, const struct http_exchange *exchange)
{
    if (exchange->status < 400 || exchange->status == 401 || !exchange->code) {
        return;
    }
    log_info_of(LOG_OF(.app = str_of(app), .code = str_of(exchange->code),
                       .request_id = request_id_str(&exchange->request_id),
                       .trace_id = request_id_trace(&exchange->request_id)),
                "api.refused", "answered %d to %s: %s", exchange->status,
                exchange->route ? exchange->route : "other", exchange->code);
}

void stats_push_refused(const struct tenant *tenant, const char *reason)
{
    count_reason(series_of(tenant->id)->refused, FAMILY(messages_refused_total), tenant, reason);
}

void stats_quota_refused(const struct tenant *tenant, enum stats_quota quota)
{
    metric_add(series_of_tenant(tenant)->over_quota[quota], 1);
    log_warn_of(LOG_OF(.app = str_of(tenant->name), .code = str_of(quota_names[quota])),
                "quota.exceeded", "app '%s' is over its quota of %s", tenant->name,
                quota_names[quota]);
}

void stats_accepts_paced(void)
{
    metric_add(accepts_paced, 1);
    log_debug("accepts.paced",
              "connects come at twice limits.accept_rate; they wait in the backlog");
}

void stats_console_sign_in(const char *result)
{
    metric_add(SERIES(console_sign_ins_total, result), 1);
}

void stats_latency(enum stats_stage stage, uint64_t us)
{
    metric_observe_us(latency[stage], us);
}

void stats_delivered(uint64_t received_us, uint32_t way_us)
{
    uint64_t us = clock_monotonic_us() - received_us;
    metric_observe_us(latency[STATS_BUS_TO_WRITE], us);
    if (way_us) {
        metric_observe_us(latency[STATS_TOTAL], us + way_us);
    }
}

void stats_fan_out(uint32_t sessions)
{
    metric_observe(fan_out, sessions);
}

void stats_ping(uint64_t us)
{
    metric_observe_us(ping, us);
}
