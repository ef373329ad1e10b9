#include "base/timer_wheel.h"

#include <stddef.h>
#include <string.h>

#include "base/err.h"

enum { SLOT_MASK = TIMER_WHEEL_SLOTS - 1, WORD_BITS = 64 };

static uint32_t slot_of(uint64_t tick)
{
    return (uint32_t)tick & SLOT_MASK;
}

void timer_wheel_init(struct timer_wheel *wheel, uint64_t now_ms)
{
    memset(wheel, 0, sizeof(*wheel));
    wheel->tick = now_ms / TIMER_TICK_MS;
}

static void link_in(struct timer **at, struct timer *timer)
{
    timer->next = *at;
    if (timer->next) {
        timer->next->link = &timer->next;
    }
    timer->link = at;
    *at = timer;
}

static void unlink_timer(struct timer *timer)
{
    *timer->link = timer->next;
    if (timer->next) {
        timer->next->link = timer->link;
    }
    timer->next = NULL;
    timer->link = NULL;
}

static void insert(struct timer_wheel *wheel, struct timer *timer)
{
    uint32_t slot = slot_of(timer->due_tick);
    link_in(&wheel->slots[slot], timer);
    wheel->occupied[slot / WORD_BITS] |= UINT64_C(1) << slot % WORD_BITS;
}

static void clear_if_empty(struct timer_wheel *wheel, uint32_t slot)
{
    if (!wheel->slots[slot]) {
        wheel->occupied[slot / WORD_BITS] &= ~(UINT64_C(1) << slot % WORD_BITS);
    }
}

/* The first tick at which all of now + delay has passed; a sum that overflows is never. */
static uint64_t tick_after(uint64_t now_ms, uint64_t delay_ms)
{
    uint64_t due_ms = delay_ms > UINT64_MAX - now_ms ? UINT64_MAX : now_ms + delay_ms;
    return due_ms / TIMER_TICK_MS + (due_ms % TIMER_TICK_MS != 0);
}

void timer_start(struct timer_wheel *wheel, struct timer *timer, uint64_t now_ms, uint64_t delay_ms)
{
    ASSERT(timer->on_fire);
    timer_stop(wheel, timer);
    uint64_t due_tick = tick_after(now_ms, delay_ms);
    timer->due_tick = due_tick > wheel->tick ? due_tick : wheel->tick + 1;
    insert(wheel, timer);
    wheel->count++;
}

void timer_stop(struct timer_wheel *wheel, struct timer *timer)
{
    if (!timer->link) {
        return;
    }
    unlink_timer(timer);
    wheel->count--;
    /* Harmless when it was in the list of those that fire now instead. */
    clear_if_empty(wheel, slot_of(timer->due_tick));
}

/* The first tick in [from, end) whose slot holds anything, else end. */
static uint64_t next_occupied(const struct timer_wheel *wheel, uint64_t from, uint64_t end)
{
    while (from < end) {
        uint32_t slot = slot_of(from);
        uint64_t word = wheel->occupied[slot / WORD_BITS] >> slot % WORD_BITS;
        if (word) {
            from += (uint64_t)__builtin_ctzll(word);
            break;
        }
        from += WORD_BITS - slot % WORD_BITS;
    }
    return from < end ? from : end;
}

/* Moves what is due by `tick` from a slot to the end of a list; returns the new end. */
static struct timer **take_due(struct timer_wheel *wheel, uint32_t slot, uint64_t tick,
                               struct timer **end)
{
    struct timer *next;
    for (struct timer *timer = wheel->slots[slot]; timer; timer = next) {
        next = timer->next;
        if (timer->due_tick <= tick) {
            unlink_timer(timer);
            link_in(end, timer);
            end = &timer->next;
        }
    }
    clear_if_empty(wheel, slot);
    return end;
}

static struct timer *merge(struct timer *a, struct timer *b)
{
    struct timer *head = NULL;
    struct timer **end = &head;
    while (a && b) {
        struct timer **lower = b->due_tick < a->due_tick ? &b : &a;
        *end = *lower;
        end = &(*lower)->next;
        *lower = (*lower)->next;
    }
    *end = a ? a : b;
    return head;
}

/* A merge sort by tick: runs[i] holds 2^i timers or none, like the bits of a counter. */
static struct timer *sort_by_tick(struct timer *list)
{
    struct timer *runs[64] = {NULL};
    while (list) {
        struct timer *run = list;
        list = list->next;
        run->next = NULL;
        int i = 0;
        for (; runs[i]; i++) {
            run = merge(runs[i], run);
            runs[i] = NULL;
        }
        runs[i] = run;
    }
    struct timer *sorted = NULL;
    for (int i = 0; i < 64; i++) {
        sorted = merge(runs[i], sorted);
    }
    return sorted;
}

static void relink(struct timer **head)
{
    for (struct timer **link = head; *link; link = &(*link)->next) {
        (*link)->link = link;
    }
}

/* Ticks up to `tick` have passed since `from`; in one turn of the wheel each slot is seen once. */
static void collect_due(struct timer_wheel *wheel, uint64_t from, uint64_t tick,
                        struct timer **out_due)
{
    bool over_a_turn = tick - from >= TIMER_WHEEL_SLOTS;
    uint64_t stop = over_a_turn ? from + TIMER_WHEEL_SLOTS : tick + 1;
    struct timer **end = out_due;
    for (uint64_t at = from; (at = next_occupied(wheel, at, stop)) < stop; at++) {
        end = take_due(wheel, slot_of(at), tick, end);
    }
    if (over_a_turn) {
        *out_due = sort_by_tick(*out_due);
        relink(out_due);
    }
}

void timer_wheel_advance(struct timer_wheel *wheel, uint64_t now_ms)
{
    uint64_t tick = now_ms / TIMER_TICK_MS;
    if (tick <= wheel->tick) {
        return;
    }
    /* What is due goes to a list of its own first, and the wheel is at the new tick before the
     * first callback: what callbacks start is due later, what they stop leaves the list. */
    struct timer *due = NULL;
    collect_due(wheel, wheel->tick + 1, tick, &due);
    wheel->tick = tick;
    while (due) {
        struct timer *timer = due;
        unlink_timer(timer);
        wheel->count--;
        timer->on_fire(timer);
    }
}

static bool slot_has_tick(const struct timer_wheel *wheel, uint64_t tick)
{
    for (const struct timer *timer = wheel->slots[slot_of(tick)]; timer; timer = timer->next) {
        if (timer->due_tick == tick) {
            return true;
        }
    }
    return false;
}

uint64_t timer_wheel_next_ms(const struct timer_wheel *wheel, uint64_t now_ms, uint64_t max_ms)
{
    if (wheel->count == 0) {
        return max_ms;
    }
    /* Within one turn behind wheel->tick a slot's own tick is unique. */
    uint64_t from = wheel->tick + 1;
    uint64_t last = tick_after(now_ms, max_ms);
    uint64_t end = last >= from + TIMER_WHEEL_SLOTS ? from + TIMER_WHEEL_SLOTS : last + 1;
    for (uint64_t at = from; (at = next_occupied(wheel, at, end)) < end; at++) {
        if (slot_has_tick(wheel, at)) {
            uint64_t due_ms = at * TIMER_TICK_MS;
            uint64_t wait_ms = due_ms > now_ms ? due_ms - now_ms : 0;
            return wait_ms < max_ms ? wait_ms : max_ms;
        }
    }
    /* Timers of later turns are at least that far away. */
    uint64_t end_ms = end * TIMER_TICK_MS;
    uint64_t wait_ms = end_ms > now_ms ? end_ms - now_ms : 0;
    return wait_ms < max_ms ? wait_ms : max_ms;
}
