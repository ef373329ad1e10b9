/* A hashed timer wheel: start and stop in constant time, any deadline, 10 ms ticks on the caller's
 * monotonic clock. Deadlines beyond one turn of the wheel wait in their slot for later turns. One
 * thread. */
#ifndef TIDEGATE_BASE_TIMER_WHEEL_H
#define TIDEGATE_BASE_TIMER_WHEEL_H

#include <stdbool.h>
#include <stdint.h>

enum { TIMER_WHEEL_SLOTS = 4096, TIMER_TICK_MS = 10 };

/* Lives in its owner; zeroed means idle. 32 bytes. */
struct timer {
    struct timer *next;
    struct timer **link; /* what points at us; NULL while idle */
    void (*on_fire)(struct timer *timer);
    uint64_t due_tick;
};

struct timer_wheel {
    struct timer *slots[TIMER_WHEEL_SLOTS];
    uint64_t occupied[TIMER_WHEEL_SLOTS / 64]; /* bit i: slots[i] is not empty */
    uint64_t tick;                             /* all timers due at or before it have fired */
    uint64_t count;
};

void timer_wheel_init(struct timer_wheel *wheel, uint64_t now_ms);

/* Starts or restarts. Fires once, at or at most one tick after now_ms + delay_ms, never early, from
 * the first advance that gets there. Takes on_fire from the timer, which must be set. */
void timer_start(struct timer_wheel *wheel, struct timer *timer, uint64_t now_ms,
                 uint64_t delay_ms);
void timer_stop(struct timer_wheel *wheel, struct timer *timer); /* idle: no effect */

static inline bool timer_is_running(const struct timer *timer)
{
    return timer->link != 0;
}

/* Fires what is due, in order of tick. A callback may start and stop any timer, itself too, and
 * free its own; what it starts, with delay 0 too, is due in the next tick at the earliest, so a
 * later advance fires it. A timer that it stops does not fire, even if it was due now. After a long
 * gap each timer still fires once, and at most one turn of slots is looked at. Not to be called
 * from a callback. Time that goes backwards has no effect. */
void timer_wheel_advance(struct timer_wheel *wheel, uint64_t now_ms);

/* Milliseconds until the next deadline (0: due now), at most max_ms, and at most one turn of the
 * wheel (41 s) while a timer runs; an advance after that wait fires it. Looks at no more than the
 * slots of that time, through a bitmap. */
uint64_t timer_wheel_next_ms(const struct timer_wheel *wheel, uint64_t now_ms, uint64_t max_ms);

#endif
