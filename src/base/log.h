/* Log lines: one JSON object a line on stderr, `{"ts":"2026-01-31T12:00:00.123Z","level":"warn",
 * "event":"handshake.refused","msg":"…","node":"a","code":"…","request_id":"…"}`. Control bytes,
 * invalid UTF-8 and U+2028/2029 are escaped, so a peer's bytes can't forge a line; a message over
 * 2 KiB is cut. Any thread; errno is kept; nothing is allocated. A writer thread does the I/O: a
 * full disk, a stuck pipe or a closed stderr never blocks the caller; lines that don't fit the 1
 * MiB queue are dropped and counted. Each event name may speak 10 times a second a process; further
 * lines are counted, and the next line of that event carries "suppressed":N, or, when none comes
 * within about a second, a line of the event "log.suppressed" whose code is the event's name. */
#ifndef TIDEGATE_BASE_LOG_H
#define TIDEGATE_BASE_LOG_H

#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

struct buf;

enum log_level { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARN, LOG_LEVEL_ERROR };

/* What a line is about: keys of their own beside msg, each left out when empty. */
struct log_fields {
    struct str app;
    struct str sid;
    struct str code; /* the stable reason: a refusal's code, a close code's name */
    struct str request_id;
    struct str trace_id;
};

/* event: a stable dotted name, "subject.what_happened", a literal, and a row of docs/logs.md. Never
 * a token, key, ticket or payload in the message or a field. */
#define log_debug(event, ...) log_write(LOG_LEVEL_DEBUG, NULL, (event), __VA_ARGS__)
#define log_info(event, ...) log_write(LOG_LEVEL_INFO, NULL, (event), __VA_ARGS__)
#define log_warn(event, ...) log_write(LOG_LEVEL_WARN, NULL, (event), __VA_ARGS__)
#define log_error(event, ...) log_write(LOG_LEVEL_ERROR, NULL, (event), __VA_ARGS__)

/* The same with fields: log_info_of(LOG_OF(.app = str_of(name)), "session.closed", "…"). */
#define LOG_OF(...) (&(const struct log_fields){__VA_ARGS__})
#define log_info_of(fields, event, ...) log_write(LOG_LEVEL_INFO, (fields), (event), __VA_ARGS__)
#define log_warn_of(fields, event, ...) log_write(LOG_LEVEL_WARN, (fields), (event), __VA_ARGS__)
#define log_error_of(fields, event, ...) log_write(LOG_LEVEL_ERROR, (fields), (event), __VA_ARGS__)

void log_write(enum log_level level, const struct log_fields *fields, const char *event,
               const char *format, ...) __attribute__((format(printf, 4, 5)));

/* What this thread is busy with: whoever handles a request enters a scope, on the stack, and each
 * line that the thread writes until it leaves has the fields that describe fills in, which is asked
 * only then. They nest; fields of the line win, then those of the innermost. */
struct log_scope {
    void (*describe)(const struct log_scope *scope, struct log_fields *out_fields);
    struct log_scope *outer; /* private */
};
void log_scope_enter(struct log_scope *scope);
void log_scope_leave(struct log_scope *scope);

/* The fields of this thread's scopes. */
void log_scope_fields(struct log_fields *out_fields);

/* Starts the writer thread. fd is borrowed until log_stop. Returns 0, ERR_EXISTS when it runs, or
 * -errno. Before it, after log_stop (to stderr) and in a forked child, lines are written by the
 * caller itself, who waits at most 1 s for a stuck stream; there SIGPIPE should be ignored, which
 * the writer thread has no need of. */
int log_start(int fd);

/* Flushes for at most 1 s; what is left is lost and counted. */
void log_stop(void);

/* The key "node" of all lines from now on. Before other threads. */
void log_set_node(const char *name);

/* Lower ones are not even formatted. LOG_LEVEL_INFO at first. */
void log_set_level(enum log_level level);

/* "debug", "info", "warn" or "error". 0 or ERR_SYNTAX. */
int log_level_parse(const char *name, enum log_level *out_level);

/* Lines that never reached the stream (queue full, write failed), and those held back by the rate.
 */
uint64_t log_lines_lost(void);
uint64_t log_lines_suppressed(void);

/* The last lines of the levels warn and error (256 at most, and 64 KiB; long ones are cut, and of
 * an event that comes all the time one each 10 s is enough), newest first: appends at most max of
 * them, without their newlines, each with a NUL behind it. */
void log_recent_lines(struct buf *out, size_t max);

#endif
