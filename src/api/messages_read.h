/* One call that reads what the window holds for some targets: it reads a page, waits for news where
 * there is nothing, and answers. It looks at the window itself, ten times a second, so that a push
 * costs nothing more because somebody may be waiting. Runs on one worker. */
#ifndef TIDEGATE_API_MESSAGES_READ_H
#define TIDEGATE_API_MESSAGES_READ_H

#include "api/api.h"
#include "core/window_page.h"

enum { MESSAGES_TARGETS_MAX = 1024, MESSAGES_PAGE_BYTES = 1024 * 1024 };

/* Whose messages are asked for. */
struct messages_target {
    uint64_t key;
    enum target_kind kind;
    char *name; /* owned; "" of all */
};

struct messages_reading {
    struct worker *worker;
    struct http_exchange *exchange;
    uint32_t app_hash;
    bool shows_data;
    bool is_complete; /* false: not all that is sent to the user may be here */
    uint64_t wait_ms;
    uint32_t limit; /* messages of the answer */
    struct session_resume after;
    bool has_after;
    struct quota *quota; /* a reference, while it counts as one that waits */

    /* messages_read.c's own. */
    struct messages_target *targets; /* by key */
    uint64_t *keys;
    size_t target_count, target_cap;
    size_t name_bytes; /* of all targets */
    struct window_page page;
    struct worker_pending pending;
    struct timer timer;
    uint64_t deadline_ms; /* news until then */
    uint64_t hold_ms;     /* until then the cursor may be ahead of this node */
    const char *gap;      /* why messages may be missing; NULL: none are */
    bool is_waiting;      /* for news; else for its next turn */
};

/* NULL when memory is out. */
struct messages_reading *messages_reading_create(struct api_call *call);

/* False when memory is out. Over MESSAGES_TARGETS_MAX nothing is added, and the answer is not
 * complete. */
bool messages_reading_add(struct messages_reading *reading, enum target_kind kind, struct str name);

/* Reads, waits, answers, and ends the reading. */
void messages_reading_start(struct messages_reading *reading);

/* One that was not started; the exchange is the caller's to answer. NULL is fine. */
void messages_reading_destroy(struct messages_reading *reading);

/* NULL when none of the message's targets are asked for; else the first one from *at on. */
const struct messages_target *messages_reading_find(const struct messages_reading *reading,
                                                    const struct message *message, size_t *at,
                                                    struct str *rest);

/* The answer's body. messages_write.c. */
void messages_write(struct buf *out, const struct messages_reading *reading);

#endif
