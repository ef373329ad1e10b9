#include "core/window.h"

#include <pthread.h>
#include <stdatomic.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/u64map.h"
#include "core/receipt.h"

/* A ring of the queue's messages: seq s is at items[s & (cap - 1)]. */
struct lane {
    pthread_mutex_t lock;
    struct message **items;
    uint64_t cap; /* a power of two, or 0 */
    struct window_span span;
    uint64_t oldest_us;   /* when its oldest message came; UINT64_MAX: it is empty */
    struct u64map newest; /* key → seq of its newest message */
};

struct window {
    struct lane *lanes;
    uint32_t queues;
    uint64_t max_bytes;
    uint64_t max_age_us;
    void (*on_evict)(void *owner, struct message *message);
    void *owner;
    atomic_uint_fast64_t bytes;
    atomic_uint_fast64_t messages;
};

enum {
    FIRST_CAP = 64,
    FIND_STEPS = 512, /* links followed under one lock */
    /* of a target: its key's entry and the message's place, in tables half full */
    INDEX_COST = 2 * sizeof(struct u64map_entry) + 2 * sizeof(void *),
};

int window_create(struct window **out_window, uint32_t queues, uint64_t max_bytes,
                  uint64_t max_age_ms, void (*on_evict)(void *owner, struct message *message),
                  void *owner)
{
    struct window *window = mem_zalloc(sizeof(*window));
    struct lane *lanes = mem_zalloc(sizeof(*lanes) * queues);
    if (!window || !lanes) {
        mem_free(window);
        mem_free(lanes);
        return ERR_NO_MEMORY;
    }
    *window = (struct window){.lanes = lanes,
                              .queues = queues,
                              .max_bytes = max_bytes,
                              .max_age_us = max_age_ms * 1000,
                              .on_evict = on_evict,
                              .owner = owner};
    for (uint32_t i = 0; i < queues; i++) {
        pthread_mutex_init(&lanes[i].lock, NULL);
        lanes[i].oldest_us = UINT64_MAX;
        u64map_init(&lanes[i].newest);
    }
    *out_window = window;
    return 0;
}

static struct message **place_of(const struct lane *lane, uint64_t seq)
{
    return &lane->items[seq & (lane->cap - 1)];
}

static uint64_t lane_count(const struct lane *lane)
{
    return lane->span.head_seq - lane->span.tail_seq;
}

static uint64_t cost_of(const struct message *message)
{
    uint64_t ids = message->event.header.flags & EVENT_HAS_ID ? 2 * INDEX_COST : 0;
    bool has_receipt = message->receipt && message->receipt->is_for_later;
    return message->size + ids + (has_receipt ? sizeof(struct receipt) : 0) +
           INDEX_COST * (uint64_t)message->event.header.target_count;
}

static void account(struct window *window, int64_t bytes, int64_t messages)
{
    atomic_fetch_add_explicit(&window->bytes, (uint64_t)bytes, memory_order_relaxed);
    atomic_fetch_add_explicit(&window->messages, (uint64_t)messages, memory_order_relaxed);
    mem_account(MEM_WINDOW, bytes);
}

static int grow(struct lane *lane)
{
    uint64_t cap = lane->cap ? lane->cap * 2 : FIRST_CAP;
    struct message **items = mem_alloc(sizeof(*items) * cap);
    if (!items) {
        return ERR_NO_MEMORY;
    }
    for (uint64_t seq = lane->span.tail_seq + 1; seq <= lane->span.head_seq; seq++) {
        items[seq & (cap - 1)] = *place_of(lane, seq);
    }
    mem_free(lane->items);
    lane->items = items;
    lane->cap = cap;
    return 0;
}

/* Links each target's key to its message before this one. */
static int link_targets(struct lane *lane, struct message *message)
{
    for (size_t i = 0; i < message->event.header.target_count; i++) {
        uint64_t *newest = u64map_put(&lane->newest, event_key(&message->event, i));
        if (!newest) {
            return ERR_NO_MEMORY;
        }
        /* The same target twice in one event: the second link would point at itself. */
        if (*newest != message->seq) {
            message->links[i] = *newest;
            *newest = message->seq;
        }
    }
    return 0;
}

static void unlink_targets(struct lane *lane, const struct message *message)
{
    for (size_t i = 0; i < message->event.header.target_count; i++) {
        uint64_t key = event_key(&message->event, i);
        uint64_t *newest = u64map_find(&lane->newest, key);
        if (newest && *newest <= message->seq) {
            u64map_remove(&lane->newest, key);
        }
    }
}

static void note_oldest(struct lane *lane)
{
    lane->oldest_us = lane_count(lane) > 0 ? (*place_of(lane, lane->span.tail_seq + 1))->received_us
                                           : UINT64_MAX;
}

static struct message *pop_oldest(struct window *window, struct lane *lane)
{
    struct message *oldest = *place_of(lane, lane->span.tail_seq + 1);
    unlink_targets(lane, oldest);
    lane->span.tail_seq++;
    lane->span.tail = oldest->pos;
    note_oldest(lane);
    account(window, -(int64_t)cost_of(oldest), -1);
    return oldest;
}

static void evict_oldest(struct window *window, struct lane *lane)
{
    struct message *oldest = pop_oldest(window, lane);
    if (window->on_evict) {
        window->on_evict(window->owner, oldest);
    }
    message_unref(oldest);
}

/* What could not be kept must show as a gap, so everything before it goes too. */
static void forget_all(struct window *window, struct lane *lane, struct bus_pos pos)
{
    while (lane_count(lane) > 0) {
        evict_oldest(window, lane);
    }
    lane->span.tail = pos;
    lane->span.head = pos;
}

/* A window that can't grow keeps less. */
static int make_room(struct window *window, struct lane *lane)
{
    if (lane_count(lane) < lane->cap || grow(lane) == 0) {
        return 0;
    }
    if (lane_count(lane) == 0) {
        return ERR_NO_MEMORY;
    }
    evict_oldest(window, lane);
    return 0;
}

static int append_locked(struct window *window, struct lane *lane, struct message *message)
{
    if (make_room(window, lane)) {
        return ERR_NO_MEMORY;
    }
    message->seq = lane->span.head_seq + 1;
    if (link_targets(lane, message)) {
        return ERR_NO_MEMORY;
    }
    lane->span.head_seq = message->seq;
    lane->span.head = message->pos;
    *place_of(lane, message->seq) = message_ref(message);
    if (lane_count(lane) == 1) {
        note_oldest(lane);
    }
    account(window, (int64_t)cost_of(message), 1);
    return 0;
}

void window_lose(struct window *window, uint32_t queue, struct bus_pos pos)
{
    struct lane *lane = &window->lanes[queue];
    pthread_mutex_lock(&lane->lock);
    forget_all(window, lane, pos);
    pthread_mutex_unlock(&lane->lock);
}

void window_restart(struct window *window, uint32_t queue, struct bus_pos pos)
{
    struct lane *lane = &window->lanes[queue];
    pthread_mutex_lock(&lane->lock);
    forget_all(window, lane, pos);
    lane->span.head_seq = (window_history_of(lane->span.head_seq) + 1ull) << 40;
    lane->span.tail_seq = lane->span.head_seq;
    pthread_mutex_unlock(&lane->lock);
}

int window_append(struct window *window, struct message *message, uint64_t now_ms)
{
    struct lane *lane = &window->lanes[message->queue];
    pthread_mutex_lock(&lane->lock);
    int err = append_locked(window, lane, message);
    if (err) {
        forget_all(window, lane, message->pos);
        u64map_fini(&lane->newest);
        u64map_init(&lane->newest);
    }
    pthread_mutex_unlock(&lane->lock);
    return err;
}

void window_advance(struct window *window, uint32_t queue, struct bus_pos pos)
{
    struct lane *lane = &window->lanes[queue];
    pthread_mutex_lock(&lane->lock);
    lane->span.head = pos;
    pthread_mutex_unlock(&lane->lock);
}

/* The lane whose oldest message is the oldest of all; NULL when all are empty. */
static struct lane *oldest_lane(const struct window *window)
{
    struct lane *found = &window->lanes[0];
    for (uint32_t i = 1; i < window->queues; i++) {
        struct lane *lane = &window->lanes[i];
        found = lane->oldest_us < found->oldest_us ? lane : found;
    }
    return found->oldest_us < UINT64_MAX ? found : NULL;
}

static bool is_over(const struct window *window, const struct lane *lane, uint64_t now_us)
{
    return window_bytes(window) > window->max_bytes ||
           (window->max_age_us && lane->oldest_us + window->max_age_us < now_us);
}

/* Only who is inside the hub's gate changes lanes, so looking without the lock is safe here. */
void window_evict(struct window *window, uint64_t now_ms)
{
    for (;;) {
        struct lane *lane = oldest_lane(window);
        if (!lane || !is_over(window, lane, now_ms * 1000)) {
            return;
        }
        pthread_mutex_lock(&lane->lock);
        evict_oldest(window, lane);
        u64map_shrink(&lane->newest);
        pthread_mutex_unlock(&lane->lock);
    }
}

void window_destroy(struct window *window)
{
    if (!window) {
        return;
    }
    window->on_evict = NULL;
    for (uint32_t i = 0; i < window->queues; i++) {
        struct lane *lane = &window->lanes[i];
        forget_all(window, lane, lane->span.head);
        u64map_fini(&lane->newest);
        mem_free(lane->items);
        pthread_mutex_destroy(&lane->lock);
    }
    mem_free(window->lanes);
    mem_free(window);
}

void window_span(struct window *window, uint32_t queue, struct window_span *out_span)
{
    struct lane *lane = &window->lanes[queue];
    pthread_mutex_lock(&lane->lock);
    *out_span = lane->span;
    pthread_mutex_unlock(&lane->lock);
}

uint64_t window_bytes(const struct window *window)
{
    return atomic_load_explicit(&window->bytes, memory_order_relaxed);
}

uint64_t window_messages(const struct window *window)
{
    return atomic_load_explicit(&window->messages, memory_order_relaxed);
}

uint64_t window_age_ms(struct window *window, uint64_t now_ms)
{
    uint64_t oldest_us = UINT64_MAX;
    for (uint32_t i = 0; i < window->queues; i++) {
        struct lane *lane = &window->lanes[i];
        pthread_mutex_lock(&lane->lock);
        if (lane_count(lane) > 0) {
            uint64_t us = (*place_of(lane, lane->span.tail_seq + 1))->received_us;
            oldest_us = us < oldest_us ? us : oldest_us;
        }
        pthread_mutex_unlock(&lane->lock);
    }
    return oldest_us == UINT64_MAX || oldest_us / 1000 > now_ms ? 0 : now_ms - oldest_us / 1000;
}

static uint64_t find_after(const struct lane *lane, struct bus_pos pos)
{
    uint64_t low = lane->span.tail_seq + 1;
    uint64_t high = lane->span.head_seq + 1;
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        if (bus_pos_compare((*place_of(lane, middle))->pos, pos) <= 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

uint64_t window_seq_after(struct window *window, uint32_t queue, struct bus_pos pos,
                          bool *out_complete)
{
    struct lane *lane = &window->lanes[queue];
    pthread_mutex_lock(&lane->lock);
    *out_complete = bus_pos_compare(pos, lane->span.tail) >= 0;
    uint64_t seq = find_after(lane, pos);
    pthread_mutex_unlock(&lane->lock);
    return seq;
}

struct message *window_find_at(struct window *window, uint32_t queue, struct bus_pos pos)
{
    struct lane *lane = &window->lanes[queue];
    struct message *message = NULL;
    pthread_mutex_lock(&lane->lock);
    uint64_t seq = find_after(lane, pos) - 1;
    if (seq > lane->span.tail_seq && bus_pos_compare((*place_of(lane, seq))->pos, pos) == 0) {
        message = message_ref(*place_of(lane, seq));
    }
    pthread_mutex_unlock(&lane->lock);
    return message;
}

/* The seq of the key's message before this one. */
static uint64_t previous_of(const struct message *message, uint64_t key)
{
    uint64_t previous = MESSAGE_NO_LINK;
    for (size_t i = 0; i < message->event.header.target_count; i++) {
        if (event_key(&message->event, i) == key && message->links[i] > previous) {
            previous = message->links[i];
        }
    }
    return previous;
}

/* Where the search goes on: at the key's newest message, or behind the one it looked at last. */
static uint64_t resume_search(const struct lane *lane, const struct window_search *search)
{
    if (search->at == 0) {
        const uint64_t *newest = u64map_find(&lane->newest, search->key);
        return newest ? *newest : MESSAGE_NO_LINK;
    }
    bool evicted = search->at <= lane->span.tail_seq;
    return evicted ? MESSAGE_NO_LINK : previous_of(*place_of(lane, search->at), search->key);
}

static size_t find_locked(const struct lane *lane, struct window_search *search, uint64_t *out_seqs,
                          size_t max)
{
    size_t count = 0;
    uint64_t seq = resume_search(lane, search);
    for (int step = 0; step < FIND_STEPS && count < max; step++) {
        if (seq < search->from_seq || seq <= lane->span.tail_seq) {
            search->done = true;
            break;
        }
        if (seq <= search->to_seq) {
            out_seqs[count++] = seq;
        }
        search->at = seq;
        seq = previous_of(*place_of(lane, seq), search->key);
    }
    return count;
}

size_t window_find(struct window *window, struct window_search *search, uint64_t *out_seqs,
                   size_t max)
{
    struct lane *lane = &window->lanes[search->queue];
    pthread_mutex_lock(&lane->lock);
    size_t count = find_locked(lane, search, out_seqs, max);
    pthread_mutex_unlock(&lane->lock);
    return count;
}

struct message *window_get(struct window *window, uint32_t queue, uint64_t seq)
{
    struct lane *lane = &window->lanes[queue];
    struct message *message = NULL;
    pthread_mutex_lock(&lane->lock);
    if (seq > lane->span.tail_seq && seq <= lane->span.head_seq) {
        message = message_ref(*place_of(lane, seq));
    }
    pthread_mutex_unlock(&lane->lock);
    return message;
}
