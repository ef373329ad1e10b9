#include "base/time_text.h"

#include <stdio.h>
#include <time.h>

struct str time_text_write(char out[TIME_TEXT_MAX], uint64_t wall_ms)
{
    time_t seconds = (time_t)(wall_ms / 1000);
    struct tm utc;
    gmtime_r(&seconds, &utc);
    size_t len = strftime(out, TIME_TEXT_MAX, "%Y-%m-%dT%H:%M:%S", &utc);
    len += (size_t)snprintf(out + len, TIME_TEXT_MAX - len, ".%03uZ", (unsigned)(wall_ms % 1000));
    return str_make(out, len);
}
