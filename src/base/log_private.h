/* What audit.c shares with log.c. */
#ifndef TIDEGATE_BASE_LOG_PRIVATE_H
#define TIDEGATE_BASE_LOG_PRIVATE_H

#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

/* The level of audit lines, by which the log knows its own from them. */
#define LOG_AUDIT_LEVEL "audit"

/* A whole line with its newline, whatever the level and the rate. */
void log_write_raw(const char *line, size_t len);

/* Audit lines among log_lines_lost. */
uint64_t log_raw_lost(void);

/* What log_set_node was given; "" before. */
struct str log_node(void);

#endif
