#include "core/window_page.h"

#include <stdlib.h>

#include "base/mem.h"

enum { STEP_FINDS = 16, FIND_AT_ONCE = 64 };

static bool bit(uint64_t bits, uint32_t queue)
{
    return bits >> queue & 1;
}

static void set_bit(uint64_t *bits, uint32_t queue, bool on)
{
    *bits = (*bits & ~(1ull << queue)) | (uint64_t)on << queue;
}

static void account(const struct window_page *page, size_t cap)
{
    mem_account(MEM_HTTP, ((int64_t)cap - (int64_t)page->item_cap) * (int64_t)sizeof(*page->items));
}

void window_page_fini(struct window_page *page)
{
    account(page, 0);
    mem_free(page->items);
    page->items = NULL;
    page->item_count = page->item_cap = 0;
}

void window_page_seek(struct window_page *page, const struct session_resume *resume)
{
    page->is_newest = !resume;
    page->is_reading = false;
    page->seen = (struct hub_heads){0};
    for (uint32_t q = 0; q < page->queues; q++) {
        struct window_span span;
        window_span(page->window, q, &span);
        page->histories[q] = window_history_of(span.tail_seq);
        if (resume && resume->has[q]) {
            page->seen.pos[q] = resume->seen.pos[q];
            set_bit(&page->seen.started, q, true);
        }
    }
}

bool window_page_may_have_news(const struct window_page *page)
{
    for (uint32_t q = 0; q < page->queues; q++) {
        struct window_span span;
        if (!bit(page->known, q)) {
            continue;
        }
        window_span(page->window, q, &span);
        if (!bit(page->seen.started, q) || bus_pos_compare(span.head, page->seen.pos[q]) != 0 ||
            page->histories[q] != window_history_of(span.tail_seq)) {
            return true;
        }
    }
    return false;
}

/* ---- the items of the queue in hand ---- */

static int by_seq(const void *a, const void *b)
{
    const struct window_page_item *left = a;
    const struct window_page_item *right = b;
    return left->seq < right->seq ? -1 : left->seq > right->seq;
}

static int by_time(const void *a, const void *b)
{
    const struct window_page_item *left = a;
    const struct window_page_item *right = b;
    if (left->at_ms != right->at_ms) {
        return left->at_ms < right->at_ms ? -1 : 1;
    }
    if (left->queue != right->queue) {
        return left->queue < right->queue ? -1 : 1;
    }
    return by_seq(a, b);
}

static void sort(struct window_page_item *items, size_t count,
                 int (*compare)(const void *, const void *))
{
    if (count > 1) {
        qsort(items, count, sizeof(*items), compare);
    }
}

/* Several of the keys may have found the same message. */
static size_t drop_repeats(struct window_page_item *items, size_t count)
{
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        if (kept == 0 || items[kept - 1].seq != items[i].seq) {
            items[kept++] = items[i];
        }
    }
    return kept;
}

/* Leaves as many as a page has room for: the last ones, or the first ones. What is cut need not be
 * looked for any more. */
static void cut_queue(struct window_page *page)
{
    struct window_page_item *items = page->items + page->first_item;
    size_t count = page->item_count - page->first_item;
    sort(items, count, by_seq);
    count = drop_repeats(items, count);
    if (count > page->limit && page->is_newest) {
        memmove(items, items + count - page->limit, page->limit * sizeof(*items));
        page->has_more = true;
        page->from_seq = page->search.from_seq = items[0].seq;
    } else if (count > page->limit) {
        set_bit(&page->cut, page->queue, true);
        page->to_seq = page->search.to_seq = items[page->limit - 1].seq;
    }
    page->item_count = page->first_item + (count < page->limit ? count : page->limit);
}

static bool make_room(struct window_page *page)
{
    if (page->item_count - page->first_item >= 2 * (size_t)page->limit) {
        cut_queue(page);
    }
    if (page->item_count < page->item_cap) {
        return true;
    }
    size_t cap = page->item_cap ? page->item_cap * 2 : 64;
    struct window_page_item *items = mem_realloc(page->items, sizeof(*items) * cap);
    if (!items) {
        return false;
    }
    account(page, cap);
    page->items = items;
    page->item_cap = cap;
    return true;
}

static bool take(struct window_page *page, uint64_t seq)
{
    struct message *message = window_get(page->window, page->queue, seq);
    bool wanted = message && event_kind_is_shown(message->event.kind) &&
                  (!page->shows || page->shows(page->owner, message));
    bool has_room = !wanted || make_room(page);
    /* Making room may have moved the border. */
    if (wanted && has_room && seq >= page->from_seq && seq <= page->to_seq) {
        page->items[page->item_count++] = (struct window_page_item){
            message->event.time_ms, seq, message->pos, page->queue, message->size};
    }
    message_unref(message);
    return has_room;
}

static bool find_some(struct window_page *page)
{
    uint64_t seqs[FIND_AT_ONCE];
    size_t count = window_find(page->window, &page->search, seqs, FIND_AT_ONCE);
    for (size_t i = 0; i < count; i++) {
        if (!take(page, seqs[i])) {
            return false;
        }
    }
    page->is_searching = !page->search.done;
    return true;
}

/* ---- all queues' ---- */

/* Within a queue the order stands, whatever the pushers' clocks said. */
static void end_queue(struct window_page *page)
{
    cut_queue(page);
    uint64_t at_ms = 0;
    for (size_t i = page->first_item; i < page->item_count; i++) {
        at_ms = page->items[i].at_ms > at_ms ? page->items[i].at_ms : at_ms;
        page->items[i].at_ms = at_ms;
    }
}

static size_t count_that_fit(const struct window_page *page)
{
    uint64_t bytes = 0;
    size_t count = 0;
    while (count < page->item_count && count < page->limit) {
        size_t i = page->is_newest ? page->item_count - 1 - count : count;
        bytes += page->items[i].size;
        if (count > 0 && bytes > page->max_bytes) {
            break;
        }
        count++;
    }
    return count;
}

/* Of each queue a beginning (or an end) is left, since the order within it stands. */
static void trim(struct window_page *page)
{
    sort(page->items, page->item_count, by_time);
    size_t count = count_that_fit(page);
    size_t over = page->item_count - count;
    if (page->is_newest && over > 0) {
        memmove(page->items, page->items + over, count * sizeof(*page->items));
        page->has_more = true;
    }
    for (size_t i = count; !page->is_newest && i < page->item_count; i++) {
        set_bit(&page->cut, page->items[i].queue, true);
    }
    page->item_count = count;
}

static void start_key(struct window_page *page)
{
    page->is_searching = true;
    page->search = (struct window_search){.queue = page->queue,
                                          .key = page->keys[page->key++],
                                          .from_seq = page->from_seq,
                                          .to_seq = page->to_seq};
}

/* A queue that was not told of before: all in it is new. */
static void meet_queue(struct window_page *page, uint32_t q, const struct window_span *span)
{
    if (page->is_newest || !bit(page->seen.started, q)) {
        page->seen.pos[q] = span->tail;
        page->histories[q] = window_history_of(span->tail_seq);
        set_bit(&page->seen.started, q, true);
    }
}

static void check_history(struct window_page *page, uint32_t q, const struct window_span *span)
{
    if (page->histories[q] != window_history_of(span->tail_seq)) {
        page->histories[q] = window_history_of(span->tail_seq);
        page->seen.pos[q] = span->tail;
        set_bit(&page->lost, q, true);
        set_bit(&page->replaced, q, true);
    }
}

static void start_queue(struct window_page *page)
{
    struct window_span span;
    bool is_complete;
    uint32_t q = page->queue;
    page->first_item = page->item_count;
    page->key = 0;
    page->is_searching = false;
    if (!bit(page->known, q)) {
        page->key = page->key_count;
        page->to[q] = page->seen.pos[q];
        return;
    }
    window_span(page->window, q, &span);
    meet_queue(page, q, &span);
    check_history(page, q, &span);
    page->to[q] = bus_pos_max(span.head, page->seen.pos[q]);
    page->to_seq = span.head_seq;
    page->from_seq = window_seq_after(page->window, q, page->seen.pos[q], &is_complete);
    set_bit(&page->ahead, q, bus_pos_compare(page->seen.pos[q], span.head) > 0);
    if (!is_complete && !page->is_newest) {
        set_bit(&page->lost, q, true);
        page->seen.pos[q] = span.tail;
    }
    if (page->from_seq > page->to_seq) {
        page->key = page->key_count;
    }
}

static void begin(struct window_page *page)
{
    page->is_reading = true;
    page->item_count = 0;
    page->has_more = false;
    page->lost = page->replaced = page->ahead = page->cut = 0;
    page->queue = 0;
    start_queue(page);
}

/* Where the next page begins: behind the last item of a queue that did not fit, behind all of the
 * others. */
static void advance(struct window_page *page)
{
    for (uint32_t q = 0; q < page->queues; q++) {
        page->seen.pos[q] = bit(page->cut, q) ? page->seen.pos[q] : page->to[q];
    }
    for (size_t i = 0; i < page->item_count; i++) {
        uint32_t q = page->items[i].queue;
        page->seen.pos[q] = bus_pos_max(page->seen.pos[q], page->items[i].pos);
    }
}

static void finish(struct window_page *page)
{
    trim(page);
    advance(page);
    page->has_more = page->has_more || page->cut;
    page->is_reading = page->is_newest = false;
}

/* True: there is a next queue. */
static bool next_queue(struct window_page *page)
{
    end_queue(page);
    if (++page->queue == page->queues) {
        return false;
    }
    start_queue(page);
    return true;
}

enum window_page_step window_page_read(struct window_page *page)
{
    if (!page->is_reading) {
        begin(page);
    }
    for (int finds = 0; finds < STEP_FINDS;) {
        if (page->is_searching) {
            finds++;
            if (!find_some(page)) {
                page->is_reading = false;
                return WINDOW_PAGE_NO_MEMORY;
            }
        } else if (page->key < page->key_count) {
            start_key(page);
        } else if (!next_queue(page)) {
            finish(page);
            return WINDOW_PAGE_DONE;
        }
    }
    return WINDOW_PAGE_MORE;
}
