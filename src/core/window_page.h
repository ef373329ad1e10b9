/* What the window holds for some target keys, for who looks at it from outside, without a session:
 * a page of the newest, or of what came behind a cursor, oldest first. A page is read in short
 * steps, lest who serves sessions is held up by one with a long history.
 *
 * In one queue messages stand in the queue's order; between queues, by the time of the push. One
 * thread at a time. */
#ifndef TIDEGATE_CORE_WINDOW_PAGE_H
#define TIDEGATE_CORE_WINDOW_PAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/hub.h"
#include "core/session.h"
#include "core/window.h"

enum { WINDOW_PAGE_MAX = 1000 /* items */ };

struct window_page_item {
    uint64_t at_ms; /* wall: what orders it among other queues' */
    uint64_t seq;
    struct bus_pos pos;
    uint32_t queue;
    uint32_t size; /* of the message */
};

/* Zeroed, but for the first part. */
struct window_page {
    struct window *window;
    uint32_t queues;
    const uint64_t *keys; /* borrowed */
    size_t key_count;
    uint32_t limit;     /* items of a page: 1 to WINDOW_PAGE_MAX */
    uint64_t max_bytes; /* of a page's messages, but for one that is larger alone */
    uint64_t known;     /* bit q: queue q is known to this node; may change between pages */
    /* Whether a message that a key found is one to show; NULL: all. */
    bool (*shows)(void *owner, const struct message *message);
    void *owner;

    /* What was told so far; the cursor for the next page. */
    struct hub_heads seen;

    /* Of the page that was read last. */
    struct window_page_item *items; /* in their order */
    size_t item_count;
    bool has_more;     /* of the newest: older ones; else: newer ones, that did not fit */
    uint64_t lost;     /* bit q: messages behind the cursor are not there any more */
    uint64_t replaced; /* bit q: … since the queue has another history */
    uint64_t ahead;    /* bit q: the cursor is ahead of this node's window */

    /* window_page.c's own. */
    size_t item_cap;
    uint32_t histories[BUS_MAX_QUEUES];
    bool is_newest;
    bool is_reading;
    uint32_t queue;    /* in hand */
    size_t first_item; /* of the queue in hand */
    size_t key;        /* in hand */
    bool is_searching;
    struct window_search search;
    uint64_t from_seq, to_seq;
    struct bus_pos to[BUS_MAX_QUEUES];
    uint64_t cut; /* bit q: items of it did not fit */
};

/* Begins at what a client has seen (resume->has); of other queues all is new. NULL: the next page
 * is that of the newest. */
void window_page_seek(struct window_page *page, const struct session_resume *resume);
void window_page_fini(struct window_page *page);

/* Whether a further page may have something; costs little where nothing came. */
bool window_page_may_have_news(const struct window_page *page);

enum window_page_step { WINDOW_PAGE_DONE, WINDOW_PAGE_MORE, WINDOW_PAGE_NO_MEMORY };

/* Reads the next page, a step; again while it says MORE. */
enum window_page_step window_page_read(struct window_page *page);

#endif
