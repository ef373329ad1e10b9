/* An epoll loop: one thread runs it, and every object on it belongs to that thread.
 * Level-triggered. A turn: wait, set the clock, fire timers, dispatch descriptors, call the turn's
 * end. */
#ifndef TIDEGATE_NET_LOOP_H
#define TIDEGATE_NET_LOOP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/timer_wheel.h"

struct loop; /* loop.c */

enum { LOOP_READABLE = 1, LOOP_WRITABLE = 2, LOOP_HANGUP = 4 }; /* HANGUP: EPOLLHUP or EPOLLERR */

/* Lives in its owner. Set on_ready before loop_watch; fd is borrowed, and -1 while not watched
 * (after loop_unwatch or a failed loop_watch; owners start with it). Unwatch before closing the
 * descriptor. */
struct loop_watch {
    void (*on_ready)(struct loop_watch *watch, unsigned events);
    int fd;
};

int loop_create(struct loop **out_loop);
void loop_destroy(struct loop *loop);

/* Runs turns until loop_stop; returns 0, or -errno when epoll itself fails. */
int loop_run(struct loop *loop);
void loop_stop(struct loop *loop); /* from the loop's own thread, during a turn */

/* One turn that waits at most max_wait_ms; for tests and nested tools. Returns 0 or -errno. */
int loop_turn(struct loop *loop, int max_wait_ms);

/* events: a set of LOOP_READABLE and LOOP_WRITABLE, may be 0 (hang-ups are always told).
 * After loop_unwatch the callback never runs again, also not for events of the current turn. */
int loop_watch(struct loop *loop, struct loop_watch *watch, int fd, unsigned events);
int loop_rewatch(struct loop *loop, struct loop_watch *watch, unsigned events);
void loop_unwatch(struct loop *loop, struct loop_watch *watch); /* fd -1: no effect */

/* For populations in a slab: no watch object, but a tag that comes back with the event. The top bit
 * of the tag must be set (user-space pointers never have it): slot, generation. An event of the
 * current turn may arrive after loop_unwatch_tag: the owner compares the generation. */
#define LOOP_TAG (1ull << 63)
int loop_watch_tag(struct loop *loop, int fd, uint64_t tag, unsigned events);
int loop_rewatch_tag(struct loop *loop, int fd, uint64_t tag, unsigned events);
void loop_unwatch_tag(struct loop *loop, int fd);
void loop_set_tag_handler(struct loop *loop,
                          void (*on_ready)(void *owner, uint64_t tag, unsigned events),
                          void *owner);

/* Called at the end of each turn, before waiting: corked writes and gathered mails leave here.
 * Several may be set (at most 8); they run in the order they were added. A hook that returns true
 * has more to do: the next turn then does not wait. */
int loop_add_turn_end(struct loop *loop, bool (*on_turn_end)(void *owner), void *owner);

struct timer_wheel *loop_timers(struct loop *loop);
uint64_t loop_now_ms(const struct loop *loop); /* monotonic, of this turn */
uint64_t loop_now_us(const struct loop *loop); /* monotonic, of this turn */

/* timer_start on the loop's wheel with the loop's clock. */
void loop_timer_start(struct loop *loop, struct timer *timer, uint64_t delay_ms);
void loop_timer_stop(struct loop *loop, struct timer *timer);

/* Time spent outside epoll_wait since the loop began, in microseconds. Any thread. */
uint64_t loop_busy_us(const struct loop *loop);

/* The longest turn that ended in this period of LOOP_PERIOD_US or the one before; however many ask,
 * all see it. now_us is monotonic. Any thread. */
enum { LOOP_PERIOD_US = 15 * 1000000 };
uint64_t loop_longest_turn_us(const struct loop *loop, uint64_t now_us);

#endif
