/* Log lines: one JSON object a line on stderr, `{"ts":"2026-01-31T12:00:00.123Z","level":"warn",
 * "event":"session.refused","msg":"…"}`. Control bytes, invalid UTF-8 and U+2028/2029 are escaped,
 * so a peer's bytes can't forge a line; a message over 2 KiB is cut. Any thread; errno is kept. A
 * writer thread does the I/O: a full disk, a stuck pipe or a closed stderr never blocks the caller;
 * lines that don't fit the 1 MiB queue are dropped and counted. Each event name may speak 10 times
 * a second a process; further lines are counted and the next line of that event carries
 * "suppressed":N. */
#ifndef TIDEGATE_BASE_LOG_H
#define TIDEGATE_BASE_LOG_H

#include <stdint.h>

enum log_level { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARN, LOG_LEVEL_ERROR };

/* event: a stable dotted name, a literal. Never a token, key, ticket or payload in the message. */
#define log_debug(event, ...) log_write(LOG_LEVEL_DEBUG, (event), __VA_ARGS__)
#define log_info(event, ...) log_write(LOG_LEVEL_INFO, (event), __VA_ARGS__)
#define log_warn(event, ...) log_write(LOG_LEVEL_WARN, (event), __VA_ARGS__)
#define log_error(event, ...) log_write(LOG_LEVEL_ERROR, (event), __VA_ARGS__)

void log_write(enum log_level level, const char *event, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Starts the writer thread. fd is borrowed until log_stop. Returns 0, ERR_EXISTS when it runs, or
 * -errno. Before it, after log_stop (to stderr) and in a forked child, lines are written by the
 * caller itself, who waits at most 1 s for a stuck stream; there SIGPIPE should be ignored, which
 * the writer thread has no need of. */
int log_start(int fd);

/* Flushes for at most 1 s; what is left is lost and counted. */
void log_stop(void);

/* Lower ones are not even formatted. LOG_LEVEL_INFO at first. */
void log_set_level(enum log_level level);

/* "debug", "info", "warn" or "error". 0 or ERR_SYNTAX. */
int log_level_parse(const char *name, enum log_level *out_level);

/* Lines that never reached the stream (queue full, write failed), and those held back by the rate.
 */
uint64_t log_lines_lost(void);
uint64_t log_lines_suppressed(void);

#endif
