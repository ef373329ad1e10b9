#include "core/settings.h"

#include <ctype.h>
#include <sched.h>
#include <stdio.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"

enum { KIB = 1024, MIB = 1024 * 1024, SECOND = 1000, MINUTE = 60 * 1000, WORKERS_MAX = 256 };

struct settings_chunk {
    struct settings_chunk *next;
    size_t size;
    _Alignas(max_align_t) uint8_t bytes[];
};

static const struct settings defaults = {
    .listen = {STR("127.0.0.1:8080"), STR("127.0.0.1:8081"), STR("127.0.0.1:8082")},
    .workers = 0,
    .bus = {.engine = STR("memory"),
            .queues = 8,
            .publish_timeout_ms = 5 * SECOND,
            .backlog_bytes = 64 * MIB},
    .window = {.max_age_ms = 10 * MINUTE, .max_bytes = 256 * MIB},
    .limits =
        {
            .message_bytes = 64 * KIB,
            .fragments = 1024,
            .body_bytes = 1 * MIB,
            .session_queue_bytes = 256 * KIB,
            .session_queue_age_ms = 10 * SECOND,
            .session_acks = 256,
            .groups_per_session = 100,
            .name_bytes = 256,
            .hello_timeout_ms = 5 * SECOND,
            .messages_per_second = 100,
            .message_burst = 200,
            .pings_per_second = 50,
            .token_bytes = 8 * KIB,
            .json_depth = 32,
            .uri_bytes = 8 * KIB,
            .header_line_bytes = 8 * KIB,
            .header_bytes = 16 * KIB,
            .headers = 100,
            .header_timeout_ms = 10 * SECOND,
            .idle_timeout_ms = 75 * SECOND,
            .body_timeout_ms = 30 * SECOND,
            .body_rate_bytes = 1 * KIB,
            .write_stall_ms = 30 * SECOND,
            .pipeline_bytes = 64 * KIB,
            .batch = 1000,
            .targets = 1000,
            .wait_ms = 10 * SECOND,
            .message_waits = 256,
            .webhook_queue_bytes = 8 * MIB,
            .presence_users = 1000000,
            .custom_series = 10000,
            .ticket_ttl_ms = 60 * MINUTE,
            .ticket_results_bytes = 64 * MIB,
            .ticket_messages = 256,
            .ticket_claims_bytes = 16 * MIB,
            .kept_bytes = 16 * MIB,
            .accept_rate = 20000,
        },
    .compression = {.enabled = true, .min_bytes = 256, .level = 6},
    .cluster = {.name = STR("tidegate")},
    .heartbeat = {.interval_ms = 25 * SECOND, .missed = 2},
    .drain = {.window_ms = 20 * SECOND, .rate = 2000, .max_window_ms = 60 * SECOND},
    .console = {.enabled = true, .session_idle_ms = 30 * MINUTE, .session_max_ms = 720 * MINUTE},
    .metrics = {.otlp = {.interval_ms = 15 * SECOND,
                         .timeout_ms = 10 * SECOND,
                         .gzip = true,
                         .metrics = true,
                         .span_queue = 4096,
                         .max_traces = 100},
                .statsd = {.interval_ms = 10 * SECOND}},
    .alerts = {.enabled = true, .interval_ms = 5 * SECOND},
    .log = {.level = LOG_LEVEL_INFO, .audit = STR("stderr")},
};

int settings_create_default(struct settings **out_settings)
{
    struct settings *settings = mem_alloc(sizeof(*settings));
    if (!settings) {
        return ERR_NO_MEMORY;
    }
    memcpy(settings, &defaults, sizeof(defaults));
    atomic_init(&settings->refs, 1);
    *out_settings = settings;
    return 0;
}

struct settings *settings_ref(struct settings *settings)
{
    atomic_fetch_add_explicit(&settings->refs, 1, memory_order_relaxed);
    return settings;
}

void settings_unref(struct settings *settings)
{
    if (!settings || atomic_fetch_sub_explicit(&settings->refs, 1, memory_order_acq_rel) != 1) {
        return;
    }
    struct settings_chunk *next;
    for (struct settings_chunk *chunk = settings->chunks; chunk; chunk = next) {
        next = chunk->next;
        explicit_bzero(chunk->bytes, chunk->size);
        mem_free(chunk);
    }
    mem_free(settings);
}

void *settings_alloc(struct settings *settings, size_t size)
{
    struct settings_chunk *chunk = mem_zalloc(sizeof(*chunk) + size);
    if (!chunk) {
        return NULL;
    }
    chunk->size = size;
    chunk->next = settings->chunks;
    settings->chunks = chunk;
    return chunk->bytes;
}

void *settings_array(struct settings *settings, size_t count, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes)) {
        return NULL;
    }
    return settings_alloc(settings, bytes);
}

struct str settings_copy(struct settings *settings, struct str text)
{
    char *copy = settings_alloc(settings, text.len + 1);
    if (!copy) {
        return (struct str){NULL, 0};
    }
    if (text.len > 0) {
        memcpy(copy, text.ptr, text.len);
    }
    return str_make(copy, text.len);
}

unsigned settings_worker_count(const struct settings *settings)
{
    uint64_t count = settings->workers;
    if (count == 0) {
        cpu_set_t cpus;
        count = sched_getaffinity(0, sizeof(cpus), &cpus) == 0 ? (uint64_t)CPU_COUNT(&cpus) : 1;
    }
    return count > WORKERS_MAX ? WORKERS_MAX : (unsigned)count;
}

void settings_node_name(const struct settings *settings, char out[SETTINGS_NODE_MAX + 1])
{
    struct str node = settings->cluster.node;
    int len = snprintf(out, SETTINGS_NODE_MAX + 1, "%.*s", STR_ARG(node));
    if (len == 0 && gethostname(out, SETTINGS_NODE_MAX) != 0) {
        out[0] = '\0';
    }
    out[SETTINGS_NODE_MAX] = '\0'; /* gethostname cuts without one */
    for (char *c = out; *c; c++) {
        *c = isalnum((unsigned char)*c) || strchr("._", *c) ? *c : '-';
    }
    if (!out[0]) {
        memcpy(out, "node", sizeof("node"));
    }
}

const struct settings_app *settings_find_app(const struct settings *settings, struct str name)
{
    for (size_t i = 0; i < settings->app_count; i++) {
        if (str_equal(settings->apps[i].name, name)) {
            return &settings->apps[i];
        }
    }
    return NULL;
}

uint32_t settings_scope_parse(struct str name)
{
    static const struct {
        struct str name;
        uint32_t bit;
    } scopes[] = {
        {STR("push"), SETTINGS_SCOPE_PUSH},       {STR("read"), SETTINGS_SCOPE_READ},
        {STR("kick"), SETTINGS_SCOPE_KICK},       {STR("ticket"), SETTINGS_SCOPE_TICKET},
        {STR("monitor"), SETTINGS_SCOPE_MONITOR}, {STR("admin"), SETTINGS_SCOPE_ADMIN},
    };
    for (size_t i = 0; i < sizeof(scopes) / sizeof(scopes[0]); i++) {
        if (str_equal(scopes[i].name, name)) {
            return scopes[i].bit;
        }
    }
    return 0;
}

static const struct {
    struct str name;
    enum settings_event bit;
} events[] = {
    {STR("session.opened"), SETTINGS_EVENT_SESSION_OPENED},
    {STR("session.closed"), SETTINGS_EVENT_SESSION_CLOSED},
    {STR("user.online"), SETTINGS_EVENT_USER_ONLINE},
    {STR("user.offline"), SETTINGS_EVENT_USER_OFFLINE},
    {STR("message.undelivered"), SETTINGS_EVENT_MESSAGE_UNDELIVERED},
    {STR("client.message"), SETTINGS_EVENT_CLIENT_MESSAGE},
};

uint32_t settings_event_parse(struct str name)
{
    for (size_t i = 0; i < sizeof(events) / sizeof(events[0]); i++) {
        if (str_equal(events[i].name, name)) {
            return events[i].bit;
        }
    }
    return 0;
}

struct str settings_event_name(enum settings_event event)
{
    for (size_t i = 0; i < sizeof(events) / sizeof(events[0]); i++) {
        if (events[i].bit == event) {
            return events[i].name;
        }
    }
    return STR("");
}

uint64_t settings_custom_sets(const struct settings_custom *custom)
{
    uint64_t sets = 1;
    for (size_t i = 0; i < custom->label_count; i++) {
        sets *= custom->labels[i].value_count + 1; /* the last is for all others */
    }
    return sets;
}

uint64_t settings_custom_series(const struct settings_custom *custom)
{
    uint64_t sets = settings_custom_sets(custom);
    switch (custom->kind) {
    case SETTINGS_HISTOGRAM: return sets * (custom->bucket_count + 3); /* +Inf, sum, count */
    case SETTINGS_GAUGE: return sets * 2;                              /* when it was set */
    case SETTINGS_COUNTER: break;
    }
    return sets;
}
