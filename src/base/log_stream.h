/* Takes log lines to a descriptor. While started, a thread of its own writes them from a queue of
 * 1 MiB, and no caller ever waits for I/O; a line that doesn't fit is lost and counted, as is one
 * whose write fails. Otherwise, and in a forked child, the caller writes, waiting at most 1 s for a
 * stuck descriptor. What follows a line that was written in part starts on a fresh line. Part of
 * log.c. Any thread, but start and stop by one. */
#ifndef TIDEGATE_BASE_LOG_STREAM_H
#define TIDEGATE_BASE_LOG_STREAM_H

#include <stddef.h>
#include <stdint.h>

enum { LOG_STREAM_QUEUE_BYTES = 1 << 20 };

/* fd is borrowed until the stop; without one it is stderr. 0, ERR_EXISTS when it runs already,
 * ERR_UNAVAILABLE after a stop that had to leave its thread behind, or -errno. */
int log_stream_start(int fd);

/* Writes what is queued for at most flush_ms; what is left then is lost and counted. A thread that
 * hangs in write(2) all the same (a dead disk) is left behind, and all later lines are lost. */
void log_stream_stop(uint64_t flush_ms);

/* line: with its newline, at most LOG_LINE_MAX bytes. */
void log_stream_write(const char *line, size_t len);

uint64_t log_stream_lost(void);

#endif
