/* How a node sends its sessions away before it stops: each has a slot of its own, at which it is to
 * open a connection elsewhere; some time behind the slot (the grace) the old one is closed. Slots
 * are so far apart that clients come to the other nodes at drain.rate at most. Pure. */
#ifndef TIDEGATE_SERVER_DRAIN_H
#define TIDEGATE_SERVER_DRAIN_H

#include <stdbool.h>
#include <stdint.h>

#include "core/settings.h"

struct drain_plan {
    uint64_t window_ms; /* after it all are gone */
    uint64_t grace_ms;  /* of it: behind a slot, and behind the last one */
    bool is_crowded;    /* drain.max_window is too short for drain.rate */
};

/* window_ms: the shortest that is wished; it grows for the rate. 0, all at once, never does. */
void drain_plan_make(struct drain_plan *out_plan, const struct settings_drain *settings,
                     uint64_t window_ms, uint64_t sessions);

/* Of the session in that place of its worker's, in ms after the drain began. */
uint64_t drain_slot_ms(const struct drain_plan *plan, uint32_t slot);

#endif
