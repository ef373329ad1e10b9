#include "base/log.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/log_line.h"
#include "base/log_private.h"
#include "base/log_rate.h"
#include "base/log_recent.h"
#include "base/log_stream.h"

enum { FLUSH_MS = 1000, NODE_MAX = 64, RECENT_MESSAGE_MAX = 256 };

static char memory[1 << 20];
static struct log_stream stream = LOG_STREAM_INIT(memory, STDERR_FILENO);
static _Atomic int min_level = LOG_LEVEL_INFO;
static _Atomic uint64_t lines_suppressed;
static _Atomic uint64_t raw_lost;
static char node[NODE_MAX + 1];
static _Thread_local struct log_scope *scopes;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* over the two below */
static struct log_rate rate;
static struct log_recent recent;

/* ---- scopes ---- */

void log_scope_enter(struct log_scope *scope)
{
    scope->outer = scopes;
    scopes = scope;
}

void log_scope_leave(struct log_scope *scope)
{
    ASSERT(scopes == scope);
    scopes = scope->outer;
}

static void fill(struct str *field, struct str value)
{
    if (field->len == 0) {
        *field = value;
    }
}

static void add_scopes(struct log_fields *fields)
{
    for (const struct log_scope *scope = scopes; scope; scope = scope->outer) {
        struct log_fields more = {.app = STR("")};
        scope->describe(scope, &more);
        fill(&fields->app, more.app);
        fill(&fields->sid, more.sid);
        fill(&fields->code, more.code);
        fill(&fields->request_id, more.request_id);
        fill(&fields->trace_id, more.trace_id);
    }
}

void log_scope_fields(struct log_fields *out_fields)
{
    *out_fields = (struct log_fields){.app = STR("")};
    add_scopes(out_fields);
}

/* ---- lines ---- */

static bool may_speak(enum log_level level, const char *event, uint64_t *out_suppressed)
{
    uint64_t now_ms = clock_monotonic_ms();
    pthread_mutex_lock(&lock);
    bool allowed = log_rate_allow(&rate, event, (int)level, now_ms, out_suppressed);
    pthread_mutex_unlock(&lock);
    if (!allowed) {
        atomic_fetch_add(&lines_suppressed, 1);
    }
    return allowed;
}

static bool is_kept(const char *event)
{
    uint64_t now_ms = clock_monotonic_ms();
    pthread_mutex_lock(&lock);
    bool kept = log_rate_keep(&rate, event, now_ms);
    pthread_mutex_unlock(&lock);
    return kept;
}

/* Long ones are cut, since there are few of them anyway. */
static void remember(struct log_line *line, char text[static LOG_LINE_MAX], size_t len)
{
    if (len > LOG_RECENT_LINE_MAX) {
        line->cut = true;
        line->message.len = line->message.len < RECENT_MESSAGE_MAX ? line->message.len
                                                                   : RECENT_MESSAGE_MAX;
        len = log_line_build(text, line);
    }
    if (len > LOG_RECENT_LINE_MAX) {
        line->pair_count = 1;
        len = log_line_build(text, line);
    }
    pthread_mutex_lock(&lock);
    log_recent_put(&recent, str_make(text, len - 1));
    pthread_mutex_unlock(&lock);
}

static void write_line(enum log_level level, struct log_line *line, const struct log_fields *fields)
{
    const struct log_pair pairs[] = {
        {"node", str_of(node), false},
        {"app", fields->app, false},
        {"sid", fields->sid, false},
        {"code", fields->code, false},
        {"request_id", fields->request_id, false},
        {"trace_id", fields->trace_id, false},
    };
    char text[LOG_LINE_MAX];
    line->wall_ms = clock_wall_ms();
    line->level = log_line_level_name(level);
    line->pairs = pairs;
    line->pair_count = sizeof(pairs) / sizeof(pairs[0]);
    size_t len = log_line_build(text, line);
    log_stream_write(&stream, text, len);
    if (level >= LOG_LEVEL_WARN && is_kept(line->event.ptr)) {
        remember(line, text, len);
    }
}

void log_write(enum log_level level, const struct log_fields *given, const char *event,
               const char *format, ...)
{
    int saved_errno = errno;
    struct log_line line = {.event = str_of(event)}; /* ends with a NUL */
    if ((int)level < atomic_load(&min_level) || !may_speak(level, event, &line.suppressed)) {
        return;
    }
    char message[LOG_MESSAGE_MAX + 1];
    va_list args;
    va_start(args, format);
    int len = vsnprintf(message, sizeof(message), format, args);
    va_end(args);
    line.cut = len > LOG_MESSAGE_MAX;
    line.message = (struct str){message, len < 0 ? 0 : line.cut ? LOG_MESSAGE_MAX : (size_t)len};
    struct log_fields fields = given ? *given : (struct log_fields){.app = STR("")};
    add_scopes(&fields);
    write_line(level, &line, &fields);
    errno = saved_errno;
}

/* The time has one length. */
static void on_lost(const char *line, size_t len)
{
    static const char before[] = "{\"ts\":\"2026-01-31T12:00:00.123Z\",";
    static const char mark[] = "\"level\":\"" LOG_AUDIT_LEVEL "\"";
    if (len > sizeof(before) + sizeof(mark) &&
        memcmp(line + sizeof(before) - 1, mark, sizeof(mark) - 1) == 0) {
        atomic_fetch_add(&raw_lost, 1);
    }
}

void log_write_raw(const char *line, size_t len)
{
    log_stream_write(&stream, line, len);
}

uint64_t log_raw_lost(void)
{
    return atomic_load(&raw_lost);
}

struct str log_node(void)
{
    return str_of(node);
}

/* ---- what was held back, and nothing followed ---- */

static bool next_held(struct log_rate_entry *out_entry, uint64_t now_ms)
{
    pthread_mutex_lock(&lock);
    bool found = rate.is_holding && log_rate_next(&rate, now_ms, out_entry);
    pthread_mutex_unlock(&lock);
    return found;
}

static void tell_held(uint64_t now_ms)
{
    struct log_rate_entry held;
    while (next_held(&held, now_ms)) {
        const char *event = held.event ? held.event : "other";
        char message[LOG_EVENT_MAX + 80];
        int len = snprintf(message, sizeof(message), "lines of %.*s came too fast to be written",
                           LOG_EVENT_MAX, event);
        struct log_line line = {.event = STR("log.suppressed"),
                                .message = {message, (size_t)len},
                                .suppressed = held.suppressed};
        write_line((enum log_level)held.level, &line, LOG_OF(.code = str_of(event)));
    }
}

static void on_second(void)
{
    tell_held(clock_monotonic_ms());
}

/* ---- start and stop ---- */

/* Without these, a child could inherit the lock as another thread held it. */
static void before_fork(void)
{
    pthread_mutex_lock(&lock);
}

static void after_fork(void)
{
    pthread_mutex_unlock(&lock);
}

static void watch_forks(void)
{
    pthread_atfork(before_fork, after_fork, after_fork);
}

int log_start(int fd)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, watch_forks);
    stream.forks = true;
    stream.on_lost = on_lost;
    stream.on_second = on_second;
    return log_stream_start(&stream, fd);
}

void log_stop(void)
{
    tell_held(UINT64_MAX);
    log_stream_stop(&stream, FLUSH_MS, STDERR_FILENO);
}

void log_set_node(const char *name)
{
    snprintf(node, sizeof(node), "%s", name);
}

void log_set_level(enum log_level level)
{
    atomic_store(&min_level, (int)level);
}

int log_level_parse(const char *name, enum log_level *out_level)
{
    for (int level = LOG_LEVEL_DEBUG; level <= LOG_LEVEL_ERROR; level++) {
        if (strcmp(name, log_line_level_name((enum log_level)level)) == 0) {
            *out_level = (enum log_level)level;
            return 0;
        }
    }
    return ERR_SYNTAX;
}

uint64_t log_lines_lost(void)
{
    return log_stream_lost(&stream);
}

uint64_t log_lines_suppressed(void)
{
    return atomic_load(&lines_suppressed);
}

void log_recent_lines(struct buf *out, size_t max)
{
    pthread_mutex_lock(&lock);
    log_recent_read(&recent, max, out);
    pthread_mutex_unlock(&lock);
}
