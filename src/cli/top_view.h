/* What `tidegate top` shows of GET /v1/overview: lines of text. Pure but for the caller's buffer.
 */
#ifndef TIDEGATE_CLI_TOP_VIEW_H
#define TIDEGATE_CLI_TOP_VIEW_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "proto/json.h"

/* What nodes and apps are sorted by, the largest first; names upwards. */
enum top_sort {
    TOP_BY_NAME,
    TOP_BY_CONNECTIONS,
    TOP_BY_USERS,
    TOP_BY_ACCEPTED,
    TOP_BY_WRITTEN,
    TOP_BY_DROPPED,
    TOP_SORTS,
};

enum { TOP_ROWS_MAX = 1024 };

/* False: the key ('n', 'c', 'u', 'a', 'w', 'd') sorts nothing. */
bool top_sort_of_key(char key, enum top_sort *out_sort);

struct top_view {
    enum top_sort sort;
    bool is_bold;
    struct json_value alerts; /* of GET /v1/alerts; JSON_TYPE_NONE: not known */
    const char *problem;      /* why the numbers are old; NULL: they are not */
};

/* How many alerts fire, on all nodes. */
uint64_t top_view_firing(struct json_value overview);

/* overview: the answer. 0 or the buffer's failure. */
int top_view_write(struct buf *out, struct json_value overview, const struct top_view *view);

#endif
