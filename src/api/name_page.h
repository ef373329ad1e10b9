/* One page of a list that is not sorted where it lies: of the names that it is shown, in any order,
 * it keeps the smallest that are above `after` and begin with `prefix`. A heap of at most `max`
 * copies, so a walk over a million names costs a comparison each and little memory. Names compare
 * byte by byte, which for UTF-8 is the order of the code points. One thread. */
#ifndef TIDEGATE_API_NAME_PAGE_H
#define TIDEGATE_API_NAME_PAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"

enum { NAME_PAGE_MAX = 1000 };

struct name_page_item {
    struct str name; /* owned */
    uint64_t count;
    uint64_t time_ms;
};

struct name_page {
    struct name_page_item *items; /* the largest first, until it is sorted */
    uint32_t count, max;
    struct str prefix, after; /* borrowed */
    bool has_more;            /* a name that would follow was seen */
    int err;                  /* memory was out: it says nothing */
};

/* max: at least 1. after "": from the start. */
void name_page_init(struct name_page *page, uint32_t max, struct str prefix, struct str after);
void name_page_fini(struct name_page *page);

/* Whether name_page_add would keep it. */
bool name_page_wants(struct name_page *page, struct str name);

/* Copies the name. */
void name_page_add(struct name_page *page, struct str name, uint64_t count, uint64_t time_ms);

/* Ascending; what was added twice is there once, with the sum of its counts if they add up, else
 * one of them. Behind it nothing is added. */
void name_page_sort(struct name_page *page, bool adds_up);

/* Keeps so many of a sorted page; it has more, if there were. */
void name_page_cut(struct name_page *page, uint32_t count);

#endif
