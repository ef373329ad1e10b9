/* What the server counts: the series behind /metrics for sessions, frames and requests. Updates are
 * cheap and for any thread. Labels hold nothing that a peer can choose. */
#ifndef TIDEGATE_SERVER_STATS_H
#define TIDEGATE_SERVER_STATS_H

#include "core/session.h"
#include "server/credential.h"
#include "server/http_conn.h"
#include "server/worker.h"

enum stats_drop {
    STATS_DROP_CLOSED,
    STATS_DROP_EXPIRED,
    STATS_DROP_COLLAPSED,
    STATS_DROP_REVOKED,
    STATS_DROPS
};

/* An app as its series name it: those beyond the table are "other". */
const char *stats_app_label(const char *name, uint16_t id);

/* Registers the series; once, before any thread. */
void stats_init(void);

/* Apps that came with a reload get their series. Main thread. */
void stats_set_apps(struct gateway *gateway, const struct tenants *tenants);

/* The configuration of that hash (settings.hash) is in force now. */
void stats_config_loaded(uint64_t hash);
/* A reload was applied, stats_config_loaded being called too, or changed nothing. */
void stats_config_reload(bool is_good);

/* Series with readers, which need the gateway. */
void stats_attach(struct gateway *gateway);
void stats_detach(void);

/* A close code as metrics and webhooks name it; a literal. */
const char *stats_close_reason(uint16_t code);

void stats_session_opened(struct worker *worker, const struct session *session,
                          const struct tenant *tenant);
void stats_session_closed(struct worker *worker, const struct session *session,
                          uint16_t close_code);
void stats_closed_by_peer(struct worker *worker, const struct session *session);
void stats_session_gone(struct worker *worker, const struct session *session);

void stats_written(struct worker *worker, const struct session *session, uint32_t frames,
                   uint64_t bytes);
void stats_dropped(struct worker *worker, const struct session *session, enum stats_drop reason,
                   uint32_t frames);
void stats_received(struct worker *worker, const struct session *session, uint64_t bytes);
void stats_acked(struct worker *worker, const struct session *session);
/* Messages whose confirmation is awaited no longer, though it may come. */
void stats_acks_given_up(struct worker *worker, const struct session *session, uint32_t messages);
void stats_gap(struct worker *worker, const struct session *session, enum session_gap_why why);
void stats_resumed(struct worker *worker, const struct session *session,
                   enum session_resumed resumed);
void stats_frame_refused(struct worker *worker, const struct session *session, const char *code);

/* A session stays though not all that count could be asked. */
void stats_police_unsure(struct worker *worker, const struct session *session);

enum stats_ticket {
    STATS_TICKET_CREATED,
    STATS_TICKET_CLAIMED,
    STATS_TICKET_DONE,    /* its last message was confirmed, here */
    STATS_TICKET_DELETED, /* by the API */
    STATS_TICKETS,
};

void stats_ticket(const struct tenant *tenant, enum stats_ticket what);

/* A session with a ticket is there now (1), or ends (-1). */
void stats_ticket_session(const struct session *session, int change);

/* A session with a ticket was turned away; reason is a literal. Logs it. */
void stats_ticket_refused(const struct tenant *tenant, const char *reason);

/* A credential was checked; logs refusals. */
void stats_auth(enum credential_refusal refusal, const struct credential *credential);

/* A connect was answered with an error; reason is a literal. Logs it. */
void stats_handshake_refused(const char *reason, const struct addr *peer, int status);

/* What a client of an event stream said was taken ("accepted") or refused; result is a literal. */
void stats_up(const char *result);

/* A request that was no request; reason is a literal, status 0 when it got no answer. Logs it. */
void stats_http_refused(const char *listener, const struct addr *peer, int status,
                        const char *reason);

/* A TLS handshake of a listener ended so; result is a literal. */
void stats_tls_handshake(const char *listener, const char *result);

/* What a trusted proxy said of a client could not be used; reason is a literal. */
void stats_forwarded_ignored(const char *reason);

/* Main thread: the limits that the settings set, and that of descriptors, for gauges. */
void stats_limits(const struct settings *settings);

/* When the certificates in use end; see listen_tls.h. Main thread, at start and after a reload. */
struct listen_tls;
void stats_tls_certificates(const struct listen_tls *tls);

/* A request was answered. */
void stats_request(const char *listener, const struct http_exchange *exchange, uint64_t now_us);

/* Logs it when it was refused for another reason than its key, which has a line of its own. */
void stats_api_refused(const char *app, const struct http_exchange *exchange);

/* reason is a literal. */
void stats_push_refused(const struct tenant *tenant, const char *reason);

/* The engine's name in the series of the bus; before any thread of the gateway. */
void stats_name_bus(const char *engine);

/* A record was acknowledged, so long after it was sent. Without the name it isn't counted. */
void stats_bus_published(uint64_t us);

enum stats_stage {
    STATS_API_TO_BUS,
    STATS_BUS,
    STATS_OTHER_NODE,
    STATS_BUS_TO_WRITE,
    STATS_WRITE_TO_ACK,
    STATS_TOTAL,
    STATS_STAGES
};

enum stats_quota { STATS_QUOTA_PUSHES, STATS_QUOTA_SESSIONS, STATS_QUOTA_WAITS, STATS_QUOTAS };

/* An app met its quota; logs it. */
void stats_quota_refused(const struct tenant *tenant, enum stats_quota quota);

/* A client listener rests, since connects come too fast; their refusals are in the log. */
void stats_accepts_paced(void);

/* Somebody signed in to the console: "ok", or the code that refused it. Main thread. */
void stats_console_sign_in(const char *result);

void stats_latency(enum stats_stage stage, uint64_t us);

/* A message that came live was written: received_us and way_us are the message's. */
void stats_delivered(uint64_t received_us, uint32_t way_us);

/* So many sessions of this node were matched by a message. */
void stats_fan_out(uint32_t sessions);

/* From a ping to its pong. */
void stats_ping(uint64_t us);

/* A session's socket is full now, or has room again. */
void stats_blocked(const struct session *session, bool is_blocked);

#endif
