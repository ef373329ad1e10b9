/* Numbers as people write them in a configuration: counts, sizes ("64KiB") and times ("10m"). Pure.
 */
#ifndef TIDEGATE_APP_CONFIG_UNITS_H
#define TIDEGATE_APP_CONFIG_UNITS_H

#include <stdint.h>

#include "base/buf.h"
#include "base/str.h"

/* All three: 0 and *out_value, ERR_SYNTAX for another text, ERR_TOO_LARGE over 2^63 - 1. No sign,
 * no fraction, no space. */

/* Digits alone. */
int config_count_parse(struct str text, uint64_t *out_value);

/* A whole number with B, KiB, MiB, GiB, TiB or, for bytes, nothing. In bytes. */
int config_bytes_parse(struct str text, uint64_t *out_bytes);

/* A whole number with ms, s, m, h or d; "0" needs no unit. In milliseconds. */
int config_time_parse(struct str text, uint64_t *out_ms);

/* A finite number such as "0.25", "-3" or "1e6"; no space, no hex. 0 or ERR_SYNTAX. */
int config_real_parse(struct str text, double *out_value);

/* The shortest writing that parses to the same value: "64KiB", "10m", "1500ms", "0". */
void config_bytes_format(uint64_t bytes, struct buf *out);
void config_time_format(uint64_t ms, struct buf *out);

#endif
