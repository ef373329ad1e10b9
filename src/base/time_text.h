/* A moment as people and machines read it: RFC 3339, UTC, with milliseconds. Pure. */
#ifndef TIDEGATE_BASE_TIME_TEXT_H
#define TIDEGATE_BASE_TIME_TEXT_H

#include <stdint.h>

#include "base/str.h"

enum { TIME_TEXT_MAX = 32 };

/* "2026-01-31T12:00:00.123Z", with a NUL behind it, of milliseconds since 1970. */
struct str time_text_write(char out[TIME_TEXT_MAX], uint64_t wall_ms);

#endif
