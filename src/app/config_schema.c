#include "app/config_schema.h"

enum {
    KIB = 1024,
    MIB = 1024 * KIB,
    SECOND = 1000,
    MINUTE = 60 * SECOND,
    HOUR = 60 * MINUTE,
    MILLION = 1000000,
};
#define GIB ((uint64_t)1 << 30)
#define TIB ((uint64_t)1 << 40)

#define FIELD(structure, field) .offset = offsetof(struct structure, field)
#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))
#define MAP_OF(structure, table)                                                      \
    {                                                                                 \
        .keys = (table), .key_count = LENGTH(table), .size = sizeof(struct structure) \
    }

static const struct config_key listen_keys[] = {
    {"client", CONFIG_TEXT, FIELD(settings_listen, client), .text = &config_text_address,
     .needs_restart = true,
     .help = "Where browsers and apps connect (WebSocket). \"\" opens none."},
    {"api", CONFIG_TEXT, FIELD(settings_listen, api), .text = &config_text_address,
     .needs_restart = true,
     .help = "Where business systems push. Only loopback as long as no app has an API key."},
    {"admin", CONFIG_TEXT, FIELD(settings_listen, admin), .text = &config_text_address,
     .needs_restart = true,
     .help = "Metrics, health and operations. Only loopback as long as no API key has the scope "
             "admin."},
};

static const struct config_key bus_keys[] = {
    {"engine", CONFIG_TEXT, FIELD(settings_bus, engine), .text = &config_text_engine,
     .needs_restart = true,
     .help =
         "What carries events between nodes; memory is for one node alone. Each has keys of its "
         "own, below."},
    {"queues", CONFIG_COUNT, FIELD(settings_bus, queues), .min = 1, .max = 64,
     .needs_restart = true, .help = "Ordered queues that keys are spread over."},
    {"publish_timeout", CONFIG_TIME, FIELD(settings_bus, publish_timeout_ms), .min = 100,
     .max = 5 * MINUTE, .help = "A push that the bus has not acknowledged by then gets 503."},
    {"backlog", CONFIG_BYTES, FIELD(settings_bus, backlog_bytes), .min = 1 * MIB, .max = 16 * GIB,
     .help = "Pushes that wait for the bus; over it they get 503."},
};

static const struct config_key window_keys[] = {
    {"max_age", CONFIG_TIME, FIELD(settings_window, max_age_ms), .min = 1 * SECOND,
     .max = 7 * 24 * HOUR, .needs_restart = true,
     .help = "How long a client may be away and still get all that it missed."},
    {"max_bytes", CONFIG_BYTES, FIELD(settings_window, max_bytes), .min = 1 * MIB, .max = TIB,
     .needs_restart = true, .help = "Memory for it, index included; the older part goes first."},
};

static const struct config_key limits_keys[] = {
    {"message", CONFIG_BYTES, FIELD(settings_limits, message_bytes), .min = 125, .max = 64 * MIB,
     .help = "One message, inflated, in either direction. Over it: close 1009, or status 413."},
    {"fragments", CONFIG_COUNT, FIELD(settings_limits, fragments), .min = 1, .max = 1 * MILLION,
     .help = "Frames that one message of a client may have. Over it: close 1009."},
    {"body", CONFIG_BYTES, FIELD(settings_limits, body_bytes), .min = 1 * KIB, .max = 256 * MIB,
     .help = "Body of an API request. Over it: status 413."},
    {"session_queue", CONFIG_BYTES, FIELD(settings_limits, session_queue_bytes), .min = 4 * KIB,
     .max = 1 * GIB,
     .help = "What waits for a client that reads slowly. Over it without progress: close 4101."},
    {"session_queue_age", CONFIG_TIME, FIELD(settings_limits, session_queue_age_ms), .min = 100,
     .max = 1 * HOUR, .help = "The longest that a message may wait so. Over it: close 4101."},
    {"session_acks", CONFIG_COUNT, FIELD(settings_limits, session_acks), .min = 1, .max = 10000,
     .help = "Messages that a client was asked to confirm and has not. Over it the oldest is given "
             "up: its receipt stays incomplete."},
    {"sessions", CONFIG_COUNT, FIELD(settings_limits, sessions), .max = 100 * MILLION,
     .zero = "no limit", .help = "Sessions of this node. Over it: status 503."},
    {"sessions_per_user", CONFIG_COUNT, FIELD(settings_limits, sessions_per_user),
     .max = 1 * MILLION, .zero = "no limit",
     .help = "Sessions of one user on this node. Over it: close 4005."},
    {"sessions_per_ip", CONFIG_COUNT, FIELD(settings_limits, sessions_per_ip), .max = 100 * MILLION,
     .zero = "no limit", .help = "Connections from one address. Over it: status 429."},
    {"groups_per_session", CONFIG_COUNT, FIELD(settings_limits, groups_per_session), .max = 10000,
     .zero = "none", .help = "Groups that a session may be in."},
    {"name", CONFIG_BYTES, FIELD(settings_limits, name_bytes), .min = 16, .max = 1 * KIB,
     .help = "Names of users, groups, devices and types, and ids. Over it: status 422."},
    {"hello_timeout", CONFIG_TIME, FIELD(settings_limits, hello_timeout_ms), .min = 100,
     .max = 10 * MINUTE, .help = "From the upgrade to the hello. Over it: close 4104."},
    {"messages_per_second", CONFIG_COUNT, FIELD(settings_limits, messages_per_second),
     .max = 1 * MILLION, .zero = "no limit",
     .help = "Messages of one session, on average. Over it: close 4103."},
    {"message_burst", CONFIG_COUNT, FIELD(settings_limits, message_burst), .min = 1,
     .max = 10 * MILLION, .help = "Messages that a session may send at once before that counts."},
    {"pings_per_second", CONFIG_COUNT, FIELD(settings_limits, pings_per_second), .max = 1 * MILLION,
     .zero = "no limit", .help = "Pings of one session, averaged over 10 s. Over it: close 4103."},
    {"token", CONFIG_BYTES, FIELD(settings_limits, token_bytes), .min = 256, .max = 64 * KIB,
     .help = "A token. Over it: status 401, or close 4004."},
    {"json_depth", CONFIG_COUNT, FIELD(settings_limits, json_depth), .min = 8, .max = 128,
     .help = "Nesting of JSON that clients and API requests send."},
    {"uri", CONFIG_BYTES, FIELD(settings_limits, uri_bytes), .min = 256, .max = 64 * KIB,
     .help = "The target in a request line. Over it: status 414."},
    {"header_line", CONFIG_BYTES, FIELD(settings_limits, header_line_bytes), .min = 256,
     .max = 64 * KIB, .help = "One header line. Over it: status 431."},
    {"header", CONFIG_BYTES, FIELD(settings_limits, header_bytes), .min = 1 * KIB, .max = 1 * MIB,
     .help = "All header lines of a request. Over it: status 431."},
    {"headers", CONFIG_COUNT, FIELD(settings_limits, headers), .min = 8, .max = 1000,
     .help = "Header lines of a request. Over it: status 431."},
    {"header_timeout", CONFIG_TIME, FIELD(settings_limits, header_timeout_ms), .min = 100,
     .max = 10 * MINUTE,
     .help = "From the connection, or a request's first byte, to the end of its headers: status "
             "408. And for a TLS handshake, from the connection: it is closed."},
    {"idle_timeout", CONFIG_TIME, FIELD(settings_limits, idle_timeout_ms), .min = 100,
     .max = 1 * HOUR, .help = "Between two requests of a kept connection; then it is closed."},
    {"body_timeout", CONFIG_TIME, FIELD(settings_limits, body_timeout_ms), .min = 100,
     .max = 1 * HOUR, .help = "For the whole body of a request. Over it: status 408."},
    {"body_rate", CONFIG_BYTES, FIELD(settings_limits, body_rate_bytes), .max = 1 * GIB,
     .zero = "no limit",
     .help = "Bytes a second that a body must come with, averaged over 5 s. Under it: status 408."},
    {"write_stall", CONFIG_TIME, FIELD(settings_limits, write_stall_ms), .min = 100,
     .max = 1 * HOUR,
     .help = "A connection that takes nothing of an answer for so long is closed."},
    {"pipeline", CONFIG_BYTES, FIELD(settings_limits, pipeline_bytes), .min = 1 * KIB,
     .max = 64 * MIB, .help = "Unsent answers after which no further request is read."},
    {"batch", CONFIG_COUNT, FIELD(settings_limits, batch), .min = 1, .max = 10000,
     .help = "Messages of one batch request. Over it: status 422."},
    {"targets", CONFIG_COUNT, FIELD(settings_limits, targets), .min = 1, .max = 4095,
     .help = "Users, groups, sessions and tickets that one message names. Over it: status 422."},
    {"wait", CONFIG_TIME, FIELD(settings_limits, wait_ms), .min = 1, .max = 5 * MINUTE,
     .help = "The longest wait_ms that a call may ask for."},
    {"ticket_ttl", CONFIG_TIME, FIELD(settings_limits, ticket_ttl_ms), .min = 1000,
     .max = 24 * HOUR, .help = "The longest ttl_ms of a ticket. Over it: status 422."},
    {"ticket_results", CONFIG_BYTES, FIELD(settings_limits, ticket_results_bytes), .min = 64 * KIB,
     .max = 64 * GIB, .needs_restart = true,
     .help = "Messages of an app that wait for its tickets, on every node. Over it: status 429."},
    {"ticket_messages", CONFIG_COUNT, FIELD(settings_limits, ticket_messages), .min = 1,
     .max = 65536, .needs_restart = true,
     .help = "Messages that wait for one ticket, beside its final one. Over it: status 429."},
    {"ticket_claims", CONFIG_BYTES, FIELD(settings_limits, ticket_claims_bytes), .min = 64 * KIB,
     .max = 64 * GIB, .needs_restart = true,
     .help = "Who has which ticket of an app, and which are over, on every node. Over it: close "
             "4100, or status 429."},
    {"kept", CONFIG_BYTES, FIELD(settings_limits, kept_bytes), .min = 64 * KIB, .max = 64 * GIB,
     .needs_restart = true,
     .help =
         "What else of an app must outlive the window, on every node: revocations, and parts of "
         "groups. Over it: status 429."},
    {"api_connections", CONFIG_COUNT, FIELD(settings_limits, api_connections), .max = 1 * MILLION,
     .zero = "no limit", .help = "Connections to the API listener. Over it: status 503."},
    {"message_waits", CONFIG_COUNT, FIELD(settings_limits, message_waits), .min = 1,
     .max = 1 * MILLION,
     .help = "Calls of an app that wait for messages (GET …/messages with wait_ms) at a time. Over "
             "it: status 429."},
    {"custom_series", CONFIG_COUNT, FIELD(settings_limits, custom_series), .min = 1, .max = 40000,
     .help = "Series that all apps' own metrics (metrics.custom) can have together, each bucket of "
             "a histogram being one."},
    {"presence_users", CONFIG_COUNT, FIELD(settings_limits, presence_users), .min = 1,
     .max = 100 * MILLION,
     .help =
         "Users of the cluster that a node follows where apps have presence; others have none."},
    {"webhook_queue", CONFIG_BYTES, FIELD(settings_limits, webhook_queue_bytes), .min = 64 * KIB,
     .max = 4 * GIB,
     .help = "Events of an app that wait for its webhooks. Over it: a dead letter, and `err` for a "
             "client's send."},
    {"accept_rate", CONFIG_COUNT, FIELD(settings_limits, accept_rate), .max = 1 * MILLION,
     .zero = "no limit",
     .help =
         "Sessions that may come a second, a second's worth at once. Over it: status 503, and a "
         "Retry-After at which there is room; from twice as many on, connections wait in the "
         "kernel."},
    {"memory", CONFIG_BYTES, FIELD(settings_limits, memory_bytes), .min = 32 * MIB, .max = TIB,
     .zero = "no limit",
     .help = "Memory of the process; from 85 % of it new sessions get 503 or close 4100."},
};

static const struct config_key compression_keys[] = {
    {"enabled", CONFIG_BOOL, FIELD(settings_compression, enabled),
     .help = "Offer permessage-deflate (RFC 7692) to clients that ask for it."},
    {"min_bytes", CONFIG_BYTES, FIELD(settings_compression, min_bytes), .max = 64 * MIB,
     .zero = "all", .help = "Smaller messages go as they are."},
    {"level", CONFIG_COUNT, FIELD(settings_compression, level), .min = 1, .max = 12,
     .needs_restart = true,
     .help = "1 is fastest, 12 smallest. A message is compressed once for all its sessions."},
};

static const struct config_key debug_keys[] = {
    {"echo", CONFIG_BOOL, FIELD(settings_debug, echo), .needs_restart = true,
     .help = "For tests: /v1/echo on the client listener sends messages back, without credentials "
             "or rate limits. Only on loopback."},
    {"demo", CONFIG_BOOL, FIELD(settings_debug, demo), .needs_restart = true,
     .help = "The demo page, /demo/ on the client listener. Only on loopback."},
};

static const struct config_key cluster_keys[] = {
    {"name", CONFIG_TEXT, FIELD(settings_cluster, name), .text = &config_text_name,
     .needs_restart = true, .help = "Nodes of one name belong together."},
    {"node", CONFIG_TEXT, FIELD(settings_cluster, node), .text = &config_text_node,
     .needs_restart = true,
     .help = "This node's name, for people and brokers; \"\" takes the host's. No two nodes should "
             "share one."},
    {"secrets", CONFIG_MAPS, FIELD(settings_cluster, secrets),
     .count_offset = offsetof(struct settings_cluster, secret_count), .max = 2,
     .map = &config_schema_secrets, .needs_restart = true,
     .help = "Sign tickets and grants; required with every engine but memory, the same on all "
             "nodes. The first signs, all verify: two at once for a rotation."},
};

static const struct config_key heartbeat_keys[] = {
    {"interval", CONFIG_TIME, FIELD(settings_heartbeat, interval_ms), .min = 100, .max = 1 * HOUR,
     .help = "A client that sent nothing for so long is pinged (spread by 10 %)."},
    {"missed", CONFIG_COUNT, FIELD(settings_heartbeat, missed), .min = 1, .max = 10,
     .help = "Pings without any answer after which it is closed with 4102."},
};

static const struct config_key drain_keys[] = {
    {"window", CONFIG_TIME, FIELD(settings_drain, window_ms), .max = 1 * HOUR,
     .zero = "all at once",
     .help =
         "Over which sessions are sent away when the gateway stops (SIGTERM) or is drained; longer "
         "where drain.rate asks for it."},
    {"rate", CONFIG_COUNT, FIELD(settings_drain, rate), .max = 1 * MILLION, .zero = "no limit",
     .help = "Sessions a second that are sent away, and so come to other nodes."},
    {"max_window", CONFIG_TIME, FIELD(settings_drain, max_window_ms), .min = 1, .max = 1 * HOUR,
     .help =
         "The longest that the window becomes for the rate; leave the process this time, and 5 s, "
         "between SIGTERM and SIGKILL."},
};

static const char *const levels[] = {"debug", "info", "warn", "error", NULL};

static const struct config_key log_keys[] = {
    {"level", CONFIG_CHOICE, FIELD(settings_log, level), .choices = levels,
     .help = "Lines of lower levels are not written."},
    {"audit", CONFIG_TEXT, FIELD(settings_log, audit), .text = &config_text_audit,
     .help =
         "Where the [audit log](logs.md#audit-log) goes: a file of its own (made with mode 0600, "
         "opened anew by SIGHUP), `stderr`, between the log's lines, or nowhere."},
};

static const struct config_key console_keys[] = {
    {"enabled", CONFIG_BOOL, FIELD(settings_console, enabled),
     .help = "The console, /console/ on the admin listener; see [The console](how-to/console.md)."},
    {"session_idle", CONFIG_TIME, FIELD(settings_console, session_idle_ms), .min = 1 * MINUTE,
     .max = 24 * HOUR, .help = "Signed out when nothing was asked for so long."},
    {"session_max", CONFIG_TIME, FIELD(settings_console, session_max_ms), .min = 1 * MINUTE,
     .max = 7 * 24 * HOUR, .help = "Signed out so long after signing in, whatever is asked."},
};

static const struct config_map listen_map = MAP_OF(settings_listen, listen_keys);
const struct config_map config_schema_bus = {.keys = bus_keys,
                                             .key_count = LENGTH(bus_keys),
                                             .size = sizeof(struct settings_bus),
                                             .is_open = true};
static const struct config_map window_map = MAP_OF(settings_window, window_keys);
static const struct config_map limits_map = MAP_OF(settings_limits, limits_keys);
static const struct config_map compression_map = MAP_OF(settings_compression, compression_keys);
static const struct config_map debug_map = MAP_OF(settings_debug, debug_keys);
static const struct config_map cluster_map = MAP_OF(settings_cluster, cluster_keys);
static const struct config_map heartbeat_map = MAP_OF(settings_heartbeat, heartbeat_keys);
static const struct config_map drain_map = MAP_OF(settings_drain, drain_keys);
static const struct config_map console_map = MAP_OF(settings_console, console_keys);
static const struct config_map log_map = MAP_OF(settings_log, log_keys);

#define SECTION(title, text)                                                            \
    {                                                                                   \
#title, CONFIG_MAP, FIELD(settings, title), .map = &title##_map, .help = (text) \
    }

static const struct config_key root_keys[] = {
    {"workers", CONFIG_COUNT, FIELD(settings, workers), .max = 256, .zero = "one a core",
     .needs_restart = true, .help = "Threads that hold the connections."},
    SECTION(listen, "Addresses: \"127.0.0.1:8080\", \"[::1]:8080\", \":8080\" for all."),
    {"tls", CONFIG_MAP, FIELD(settings, tls), .map = &config_schema_tls,
     .help = "Listeners that speak TLS themselves; see [TLS and proxies](how-to/tls.md). Files are "
             "read again by SIGHUP, and connections made from then on get the new certificate."},
    {"proxy_protocol", CONFIG_MAP, FIELD(settings, proxy_protocol),
     .map = &config_schema_proxy_protocol,
     .help = "Balancers that say whose connection they pass on, by the PROXY protocol (1 and 2), "
             "before TLS."},
    {"forwarded", CONFIG_MAP, FIELD(settings, forwarded), .map = &config_schema_forwarded,
     .help = "Proxies that say whose request they pass on, by a header. It counts for "
             "limits.sessions_per_ip and in logs."},
    {"bus", CONFIG_MAP, FIELD(settings, bus), .map = &config_schema_bus,
     .help = "The engine that carries events between nodes."},
    SECTION(window, "This node's memory of recent messages, from which clients resume."),
    SECTION(limits, "Everything that a peer can make grow."),
    SECTION(compression, "Compression of what goes to clients."),
    SECTION(debug, "For tests and demonstrations, never in production."),
    SECTION(cluster, "What the nodes of a cluster share."),
    SECTION(heartbeat, "How a dead client is found."),
    SECTION(drain, "How the gateway stops."),
    SECTION(log, "Log lines: JSON on stderr."),
    SECTION(
        console,
        "The operator's page: who may sign in is who has an API key of scope monitor or admin."),
    {"metrics", CONFIG_MAP, FIELD(settings, metrics), .map = &config_schema_export,
     .help = "Who is told of the metrics, beside those who scrape /metrics; see "
             "[Monitoring](how-to/monitoring.md)."},
    {"alerts", CONFIG_MAP, FIELD(settings, alerts), .map = &config_schema_alerts,
     .help = "The built-in alerter; see [Alerts without Prometheus](how-to/alerts.md)."},
    {"apps", CONFIG_MAPS, FIELD(settings, apps),
     .count_offset = offsetof(struct settings, app_count), .max = 256, .map = &config_schema_app,
     .help = "The tenants. Users, groups and tickets of one app are unknown to the others."},
};

const struct config_map config_schema = MAP_OF(settings, root_keys);
