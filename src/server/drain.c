#include "server/drain.h"

enum { GRACE_PART = 4, GRACE_MAX_MS = 5000 };

static uint64_t grace_of(uint64_t window_ms)
{
    uint64_t grace = window_ms / GRACE_PART;
    return grace < GRACE_MAX_MS ? grace : GRACE_MAX_MS;
}

/* The shortest window whose slots keep to the rate, nine tenths of it: who comes late must not make
 * the next second too full. */
static uint64_t window_of_rate(uint64_t sessions, uint64_t rate)
{
    uint64_t spread = (sessions * 1000 * 10 + rate * 9 - 1) / (rate * 9);
    uint64_t grace = (spread + GRACE_PART - 2) / (GRACE_PART - 1);
    return spread + (grace < GRACE_MAX_MS ? grace : GRACE_MAX_MS);
}

void drain_plan_make(struct drain_plan *out_plan, const struct settings_drain *settings,
                     uint64_t window_ms, uint64_t sessions)
{
    uint64_t longest = settings->max_window_ms > window_ms ? settings->max_window_ms : window_ms;
    uint64_t wanted = settings->rate && window_ms ? window_of_rate(sessions, settings->rate) : 0;
    uint64_t window = wanted > window_ms ? wanted : window_ms;
    window = window < longest ? window : longest;
    *out_plan = (struct drain_plan){
        .window_ms = window, .grace_ms = grace_of(window), .is_crowded = wanted > window};
}

/* Places follow one another, and the multiples of the golden ratio lie evenly whatever their number
 * is: so do the slots. */
uint64_t drain_slot_ms(const struct drain_plan *plan, uint32_t slot)
{
    uint64_t part = (slot * 2654435761u) & UINT32_MAX;
    return part * (plan->window_ms - plan->grace_ms) >> 32;
}
