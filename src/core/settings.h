/* Every setting of a gateway, as the parts read it. Plain data: app/config fills it from YAML and
 * the environment; after that it never changes. A reload makes a new one and swaps the pointer;
 * workers hold a reference to the one they read, so any thread may read, ref and unref.
 *
 * Sizes are bytes, times milliseconds, 0 means "no limit" only where the line says so. Texts are
 * owned by the settings and NUL-terminated behind .len; one that is not set has .len 0 (and maybe
 * no .ptr). */
#ifndef TIDEGATE_CORE_SETTINGS_H
#define TIDEGATE_CORE_SETTINGS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/log.h"
#include "base/str.h"

struct bus_value;

enum { SETTINGS_NODE_MAX = 64 /* bytes of a node's name */ };

/* Rights of an API key; bits. */
enum settings_scope {
    SETTINGS_SCOPE_PUSH = 1,
    SETTINGS_SCOPE_READ = 2,
    SETTINGS_SCOPE_KICK = 4,
    SETTINGS_SCOPE_TICKET = 8,
    SETTINGS_SCOPE_ADMIN = 16,   /* operates the gateway: also all that monitor may */
    SETTINGS_SCOPE_MONITOR = 32, /* sees everything of every app, and changes nothing */
    SETTINGS_SCOPE_ALL = 63,
};

struct settings_api_key {
    struct str name;  /* for logs and audits */
    uint8_t hash[32]; /* SHA-256 of the key's bytes */
    uint32_t scopes;  /* of enum settings_scope */
};

enum settings_alg {
    SETTINGS_ALG_OF_KEY, /* what the key's type says: its JWK "alg", or the one that fits a PEM */
    SETTINGS_ALG_HS256,
    SETTINGS_ALG_RS256,
    SETTINGS_ALG_ES256,
    SETTINGS_ALG_EDDSA,
};

enum settings_key_kind {
    SETTINGS_KEY_SECRET,   /* material: the bytes of an HMAC secret (32 or more) */
    SETTINGS_KEY_PEM,      /* material: a public key in PEM */
    SETTINGS_KEY_JWK,      /* material: one JSON web key */
    SETTINGS_KEY_JWKS,     /* material: a JSON web key set */
    SETTINGS_KEY_JWKS_URL, /* material is empty; fetch url each refresh_ms */
};

/* Files are read when the configuration is loaded, so material is complete here. */
struct settings_jwt_key {
    enum settings_key_kind kind;
    enum settings_alg alg;
    struct str kid; /* "": any token without a kid, or whose kid no other key has */
    struct str material;
    struct str file; /* where material came from, "" when inline; for messages */
    struct str url;
    uint64_t refresh_ms;
};

#define SETTINGS_TOKEN_LIFE_MS (30ull * 24 * 3600 * 1000)

struct settings_jwt {
    struct str issuer;   /* "": not checked */
    struct str audience; /* "": not checked */
    uint64_t leeway_ms;  /* for clocks that differ; only when a token is first shown */
    uint64_t
        max_life_ms; /* from issue to expiry; 0: SETTINGS_TOKEN_LIFE_MS. A longer one is none */
    struct settings_jwt_key *keys;
    size_t key_count; /* 0: tokens are not accepted */
};

/* A proxy in front has authenticated the user and says so in a header. */
struct settings_trusted_header {
    struct str name;  /* "": off */
    struct str *from; /* prefixes as text, checked when loaded: "127.0.0.0/8" */
    size_t from_count;
};

struct settings_auth {
    struct settings_jwt jwt;
    struct str cookie; /* name of the cookie that carries the token; "": off */
    struct settings_trusted_header trusted_header;
    bool anonymous;
};

/* What an app's webhooks may be told; bits. */
enum settings_event {
    SETTINGS_EVENT_SESSION_OPENED = 1,
    SETTINGS_EVENT_SESSION_CLOSED = 2,
    SETTINGS_EVENT_USER_ONLINE = 4,
    SETTINGS_EVENT_USER_OFFLINE = 8,
    SETTINGS_EVENT_MESSAGE_UNDELIVERED = 16,
    SETTINGS_EVENT_CLIENT_MESSAGE = 32,
};

struct settings_secret {
    struct str id; /* "" where it needs none */
    struct str material;
};

/* One endpoint of an app that is told what happens. */
struct settings_webhook {
    struct str url;
    struct settings_secret *secrets; /* each signs */
    size_t secret_count;
    uint32_t events;   /* of enum settings_event */
    struct str *allow; /* prefixes as text: addresses beside those of the public Internet */
    size_t allow_count;
    uint64_t timeout_ms; /* of one try */
    uint64_t give_up_ms; /* an event that is older is not tried again */
};

struct settings_presence {
    bool enabled; /* also where a webhook asks for user.online or user.offline */
    uint64_t grace_ms;
};

/* Who goes when a user has one session too many. */
enum settings_on_excess {
    SETTINGS_EXCESS_REJECT,      /* the one that comes */
    SETTINGS_EXCESS_OLDEST,      /* the one that has been there longest */
    SETTINGS_EXCESS_SAME_DEVICE, /* an older one of the same device; without one, who comes */
};

/* How many sessions a user may have, on all nodes together. */
struct settings_sessions {
    uint64_t per_user;   /* 0: no limit */
    uint64_t per_device; /* of one user; 0: no limit */
    enum settings_on_excess on_excess;
};

/* What an app may use of one node; 0: no limit. */
struct settings_quotas {
    uint64_t pushes_per_second;
    uint64_t push_burst; /* 0: as many as pushes_per_second */
    uint64_t sessions;
};

enum settings_metric_kind { SETTINGS_COUNTER, SETTINGS_GAUGE, SETTINGS_HISTOGRAM };

enum {
    SETTINGS_CUSTOM_MAX = 32,        /* metrics of an app */
    SETTINGS_CUSTOM_LABELS_MAX = 4,  /* of a metric */
    SETTINGS_CUSTOM_VALUES_MAX = 64, /* of a label */
    SETTINGS_CUSTOM_SETS_MAX = 1000, /* sets of label values of a metric */
    SETTINGS_LABEL_BYTES = 64,       /* of a type or label value, without its NUL */
};

#define SETTINGS_CUSTOM_PREFIX "tidegate_app_"

struct settings_custom_label {
    struct str name;
    struct str field;   /* a JSON pointer into the message's data */
    struct str *values; /* that are told apart; all others are "other" */
    size_t value_count;
};

/* A metric that an app defines: fed by its pushes, once the bus has them. */
struct settings_custom {
    struct str name; /* behind SETTINGS_CUSTOM_PREFIX */
    enum settings_metric_kind kind;
    struct str help;
    struct str *types; /* of the messages that feed it; none: of all that have the value */
    size_t type_count;
    struct str value; /* a JSON pointer into the message's data; "": 1 */
    double scale;     /* what the value is multiplied by; never 0 */
    struct settings_custom_label *labels;
    size_t label_count;
    double *buckets; /* of a histogram: upper ends, ascending */
    size_t bucket_count;
};

/* What is counted of an app's pushes beside what is of all. */
struct settings_metrics {
    struct str *types; /* of messages, that have series of their own */
    size_t type_count;
    struct settings_custom *custom;
    size_t custom_count;
};

/* One tenant. */
struct settings_app {
    struct str name;
    struct settings_api_key *api_keys;
    size_t api_key_count;
    struct settings_auth auth;
    struct str *origins; /* "https://www.example.com", or "*" for all */
    size_t origin_count;
    struct str *join_patterns; /* groups that a client may join by itself: "room:*" */
    size_t join_pattern_count;
    struct settings_webhook *webhooks;
    size_t webhook_count;
    uint32_t webhook_events; /* of enum settings_event: some webhook asks for it */
    struct settings_presence presence;
    struct settings_sessions sessions;
    struct settings_quotas quotas;
    struct settings_metrics metrics;
};

struct settings_listen {
    struct str client; /* addresses as text, checked when loaded; see net/addr.h. "": not opened */
    struct str api;
    struct str admin;
};

/* Files are read when the configuration is loaded, so the texts are complete here. */
struct settings_certificate {
    struct str file;  /* where chain came from; for messages */
    struct str chain; /* PEM: its own first, then those that lead to its authority */
    struct str key;   /* PEM */
};

enum settings_tls_version { SETTINGS_TLS_1_2, SETTINGS_TLS_1_3 };

/* Of one listener. */
struct settings_tls {
    struct settings_certificate *certificates; /* the first is for names that none has */
    size_t certificate_count;                  /* 0: plain */
    struct str client_ca; /* PEM; clients must show a certificate that comes from it. "": not */
    enum settings_tls_version min_version;
};

struct settings_tls_of {
    struct settings_tls client, api, admin;
};

/* Of one listener: from these addresses each connection begins with a PROXY header. */
struct settings_proxies {
    struct str *from; /* prefixes as text, checked when loaded: "10.0.0.0/8" */
    size_t from_count;
};

struct settings_proxy_protocol {
    struct settings_proxies client, api, admin;
};

enum settings_forwarded_header { SETTINGS_X_FORWARDED_FOR, SETTINGS_FORWARDED };

/* Proxies that say in a header whose request they pass on. */
struct settings_forwarded {
    struct str *from; /* prefixes as text */
    size_t from_count;
    enum settings_forwarded_header header;
};

struct settings_bus {
    struct str engine;              /* "memory" */
    const struct bus_value *values; /* of the engine's own options, in their order; NULL: none */
    uint64_t queues;                /* 1 to 64 */
    uint64_t publish_timeout_ms;    /* no acknowledgement until then: 503 */
    uint64_t backlog_bytes;         /* events that wait for the bus; over it: 503 */
};

struct settings_window {
    uint64_t max_age_ms;
    uint64_t max_bytes; /* index included */
};

struct settings_limits {
    uint64_t message_bytes; /* one message, inflated, either way */
    uint64_t fragments;     /* frames of one message */
    uint64_t body_bytes;    /* an API request's body */
    uint64_t session_queue_bytes;
    uint64_t session_queue_age_ms;
    uint64_t session_acks;      /* messages that its client has been asked to confirm and has not */
    uint64_t sessions;          /* 0: no limit */
    uint64_t sessions_per_user; /* 0: no limit */
    uint64_t sessions_per_ip;   /* 0: no limit */
    uint64_t groups_per_session; /* 0: none may be joined */
    uint64_t name_bytes;         /* users, groups, ids, types, devices */
    uint64_t hello_timeout_ms;
    uint64_t messages_per_second; /* client frames of a session; 0: no limit */
    uint64_t message_burst;       /* that may come at once */
    uint64_t pings_per_second;    /* averaged over 10 s; 0: no limit */
    uint64_t token_bytes;
    uint64_t json_depth;

    uint64_t uri_bytes;
    uint64_t header_line_bytes;
    uint64_t header_bytes; /* all lines */
    uint64_t headers;
    uint64_t header_timeout_ms;    /* in all, from the accept or the request's first byte */
    uint64_t idle_timeout_ms;      /* between two requests of a kept connection */
    uint64_t body_timeout_ms;      /* in all */
    uint64_t body_rate_bytes;      /* a second, averaged over 5 s; 0: no limit */
    uint64_t write_stall_ms;       /* an answer of which nothing is taken for so long */
    uint64_t pipeline_bytes;       /* unsent answers after which no request is parsed */
    uint64_t batch;                /* messages of a batch */
    uint64_t targets;              /* targets of a message */
    uint64_t wait_ms;              /* the longest wait_ms of a call */
    uint64_t ticket_ttl_ms;        /* the longest life of a ticket */
    uint64_t ticket_results_bytes; /* of an app, that wait for tickets */
    uint64_t ticket_messages;      /* that wait for one of them */
    uint64_t ticket_claims_bytes;  /* of an app: who has which ticket, and that it is over */
    uint64_t kept_bytes;           /* of an app, what else outlives the window */
    uint64_t api_connections;      /* 0: no limit */
    uint64_t message_waits;        /* calls of an app that wait for messages */

    uint64_t custom_series;       /* of all apps' own metrics, as a scraper counts them */
    uint64_t presence_users;      /* of the cluster that a node follows, where apps ask */
    uint64_t webhook_queue_bytes; /* events of an app that wait for its webhooks */

    uint64_t accept_rate;  /* sessions that may come a second, a second's at once; 0: no limit */
    uint64_t memory_bytes; /* at 85 % new sessions are refused; 0: no limit */
};

struct settings_compression {
    bool enabled;       /* permessage-deflate, RFC 7692 */
    uint64_t min_bytes; /* smaller messages go as they are */
    uint64_t level;     /* 1 (fast) to 12 */
};

struct settings_debug {
    bool echo; /* /v1/echo, only on loopback */
    bool demo; /* /demo/, only on loopback */
};

struct settings_cluster {
    struct str name;
    struct str node;                 /* "": the host's name; see settings_node_name */
    struct settings_secret *secrets; /* the first signs, all verify */
    size_t secret_count;
};

struct settings_heartbeat {
    uint64_t interval_ms;
    uint64_t missed; /* pings without an answer after which a session is closed */
};

struct settings_drain {
    uint64_t window_ms;     /* 0: all at once */
    uint64_t rate;          /* sessions a second that go, at most; 0: no limit */
    uint64_t max_window_ms; /* what the window may grow to for the rate */
};

struct settings_header {
    struct str name;
    struct str value; /* a secret, mostly */
};

/* Where metrics and spans go by OTLP/HTTP. */
struct settings_otlp {
    struct str url; /* of the collector, without /v1/…; "": off */
    uint64_t interval_ms;
    uint64_t timeout_ms; /* of one request */
    struct settings_header *headers;
    size_t header_count;
    struct str ca; /* PEM: whom its certificate comes from; "": the system's authorities */
    bool gzip;
    bool metrics;
    bool traces;
    uint64_t span_queue; /* spans that wait or are under way */
    uint64_t max_traces; /* a second, that are told of; 0: no limit */
};

enum settings_statsd_tags { SETTINGS_STATSD_NONE, SETTINGS_STATSD_DOGSTATSD };

struct settings_statsd {
    struct str address; /* "host:port"; "": off */
    uint64_t interval_ms;
    struct str prefix;
    enum settings_statsd_tags tags;
};

/* Who is told of the metrics beside those that scrape them. */
struct settings_export {
    struct settings_otlp otlp;
    struct settings_statsd statsd;
};

struct settings_log {
    enum log_level level;
    struct str audit; /* a file, "stderr", or "": nowhere; see base/audit.h */
};

/* The console on the admin listener. */
struct settings_console {
    bool enabled;
    uint64_t session_idle_ms; /* nobody asked anything for so long: signed out */
    uint64_t session_max_ms;  /* from signing in, whatever is asked */
};

/* Changes one of the alert rules (api/alert_rules.h). */
struct settings_alert_rule {
    struct str name;
    bool enabled;
    bool has_threshold, has_hold;
    double threshold;
    uint64_t hold_ms;
};

enum settings_receiver_kind {
    SETTINGS_RECEIVER_ALERTMANAGER, /* url is its root; its v2 API is behind it */
    SETTINGS_RECEIVER_WEBHOOK,      /* gets what Alertmanager's own webhooks send */
};

/* Who is told of alerts. */
struct settings_receiver {
    struct str url;
    enum settings_receiver_kind kind;
    struct str user; /* "": secret is a bearer token, else the password that goes with it */
    struct settings_secret secret; /* material "": none */
    uint64_t timeout_ms;           /* of one request */
};

struct settings_label {
    struct str name, value;
};

/* The built-in alerter. */
struct settings_alerts {
    bool enabled;
    uint64_t interval_ms;          /* from one evaluation to the next */
    struct str runbooks;           /* where the pages are, before their names; "": docs/runbooks/ */
    struct str link;               /* what a notice names as its origin; "": nothing */
    struct settings_label *labels; /* that every alert carries */
    size_t label_count;
    struct settings_receiver *receivers; /* none: alerts are only shown and logged */
    size_t receiver_count;
    struct settings_alert_rule *rules;
    size_t rule_count;
};

struct settings_chunk;

struct settings {
    struct settings_listen listen;
    struct settings_tls_of tls;
    struct settings_proxy_protocol proxy_protocol;
    struct settings_forwarded forwarded;
    uint64_t workers; /* 0: one a core; see settings_worker_count */
    struct settings_bus bus;
    struct settings_window window;
    struct settings_limits limits;
    struct settings_compression compression;
    struct settings_debug debug;
    struct settings_cluster cluster;
    struct settings_heartbeat heartbeat;
    struct settings_drain drain;
    struct settings_log log;
    struct settings_console console;
    struct settings_export metrics;
    struct settings_alerts alerts;
    struct settings_app *apps;
    size_t app_count;
    uint64_t hash; /* of the file, 48 bits; 0: there is none */

    struct settings_chunk *chunks; /* private: the memory behind all pointers above */
    atomic_uint refs;              /* private */
};

/* The defaults, with one reference and no app. 0 or ERR_NO_MEMORY. The maker may fill it until it
 * is shown to another thread. */
int settings_create_default(struct settings **out_settings);

struct settings *settings_ref(struct settings *settings);

/* Frees everything, secrets wiped, with the last reference. NULL is fine. */
void settings_unref(struct settings *settings);

/* For the maker: zeroed memory and copies of text that live as long as the settings. NULL, and a
 * {NULL, 0}, when memory is out. settings_array is settings_alloc with the product checked. */
void *settings_alloc(struct settings *settings, size_t size);
void *settings_array(struct settings *settings, size_t count, size_t size);
struct str settings_copy(struct settings *settings, struct str text);

/* workers, with 0 resolved to the CPUs that this process may run on (1 to 256). */
unsigned settings_worker_count(const struct settings *settings);

/* cluster.node, with "" resolved to the host's name; what a name may not hold becomes "-". */
void settings_node_name(const struct settings *settings, char out[SETTINGS_NODE_MAX + 1]);

/* Borrowed from settings; NULL when there is none of that name. */
const struct settings_app *settings_find_app(const struct settings *settings, struct str name);

/* How many sets of label values a metric can have, and how many series a scraper sees of it then
 * (each bucket of a histogram is one). */
uint64_t settings_custom_sets(const struct settings_custom *custom);
uint64_t settings_custom_series(const struct settings_custom *custom);

/* How long a token may live. */
static inline uint64_t settings_token_life_ms(const struct settings_jwt *jwt)
{
    return jwt->max_life_ms ? jwt->max_life_ms : SETTINGS_TOKEN_LIFE_MS;
}

/* "push" → SETTINGS_SCOPE_PUSH; 0 for no scope. */
uint32_t settings_scope_parse(struct str name);

/* "session.opened" → SETTINGS_EVENT_SESSION_OPENED, and back; 0 for no event. */
uint32_t settings_event_parse(struct str name);
struct str settings_event_name(enum settings_event event);

#endif
