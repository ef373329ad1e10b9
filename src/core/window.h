/* Each node's bounded memory of the queues: what a session that comes back has missed is read from
 * here. Whoever is inside the hub's gate (docs/decisions/0010; here: the hub) appends and evicts;
 * any worker reads. One short lock a queue; a reader keeps what it reads by a reference, so
 * eviction never waits for it.
 *
 * A message gets a seq: 1, 2, 3 … in its queue, without holes but where the queue's history ends.
 * Messages of one target key in one queue are linked from the newest to the oldest, so a replay
 * touches only what it needs. Bytes count the messages, the index and the links; both limits hold
 * over all queues. */
#ifndef TIDEGATE_CORE_WINDOW_H
#define TIDEGATE_CORE_WINDOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/message.h"

struct window; /* window.c */

/* Where a queue's window begins and ends: everything after tail up to head is here. Positions are
 * the bus's, seqs the window's. Empty: tail_seq equals head_seq. */
struct window_span {
    struct bus_pos tail; /* the newest position that was evicted or lost */
    struct bus_pos head; /* the newest position passed */
    uint64_t tail_seq;
    uint64_t head_seq;
};

/* on_evict runs in the hub for each message that leaves, but for those that the end of the
 * window takes along; NULL is fine. It runs before the window's reference goes and may not call the
 * window. */
int window_create(struct window **out_window, uint32_t queues, uint64_t max_bytes,
                  uint64_t max_age_ms, void (*on_evict)(void *owner, struct message *message),
                  void *owner);
void window_destroy(struct window *window);

/* The hub. Sets seq and links and takes a reference of its own. On failure (memory) the queue's
 * window is emptied and its tail moves behind the message, so that the loss is a gap for who comes
 * later. */
int window_append(struct window *window, struct message *message, uint64_t now_ms);

/* The hub: a position passed without a message to keep (repeats). */
void window_advance(struct window *window, uint32_t queue, struct bus_pos pos);

/* The hub: what is before and at pos is lost; the queue's window starts anew behind it. */
void window_lose(struct window *window, uint32_t queue, struct bus_pos pos);

/* The same, and the queue's history is another one: its positions must not be compared with those
 * of before. Seqs leap, so that they tell which history they are of. */
void window_restart(struct window *window, uint32_t queue, struct bus_pos pos);

/* Which of the queue's histories a seq is of, counted from 0; also of one that is not there yet. */
static inline uint32_t window_history_of(uint64_t seq)
{
    return (uint32_t)(seq >> 40);
}

/* The hub: drops what is over age or bytes. */
void window_evict(struct window *window, uint64_t now_ms);

/* Any thread. */
void window_span(struct window *window, uint32_t queue, struct window_span *out_span);
uint64_t window_bytes(const struct window *window);
uint64_t window_messages(const struct window *window);

/* Age in ms of the oldest message kept; 0 when empty. */
uint64_t window_age_ms(struct window *window, uint64_t now_ms);

/* The seq of the first message after pos (head_seq + 1 when there is none), and whether everything
 * after pos is still here. */
uint64_t window_seq_after(struct window *window, uint32_t queue, struct bus_pos pos,
                          bool *out_complete);

/* A search for one key's messages, from the newest to the oldest, some at a time, so that nobody
 * waits long for the lock. */
struct window_search {
    uint32_t queue;
    uint64_t key;
    uint64_t from_seq; /* the oldest that is wanted */
    uint64_t to_seq;   /* the newest that is wanted */
    uint64_t at;       /* the window's; 0 at the start */
    bool done;         /* there are no more */
};

/* Any thread: the seqs of the next ones, newest first, at most max of them. Returns the count,
 * which may be 0 before the search is done. What is evicted meanwhile is not found. */
size_t window_find(struct window *window, struct window_search *search, uint64_t *out_seqs,
                   size_t max);

/* Any thread: a reference to the message at that position; NULL when there is none. */
struct message *window_find_at(struct window *window, uint32_t queue, struct bus_pos pos);

/* Any thread: a reference to the message of that seq; NULL when it was evicted or is not there yet.
 */
struct message *window_get(struct window *window, uint32_t queue, uint64_t seq);

#endif
