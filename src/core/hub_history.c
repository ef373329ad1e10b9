/* Where the queues' histories begin, what is missing in them, and by which name clients know them.
 *
 * An epoch must be another one when positions no longer mean what they meant. Where the engine's
 * epoch names the topic and not what happened to it (bus.is_nameless), nodes name the history
 * themselves: who finds none draws a number, who sees a queue begin anew draws a higher one,
 * beacons tell it, and the highest wins. */
#include <stdio.h>

#include "core/cluster.h"
#include "core/hub_private.h"

enum {
    INCIDENT_MS = 1000, /* queues that begin anew one after the other: one broker was set up anew */
    LATE_MARGIN_MS = 2000,
};

/* Milliseconds of the wall clock, so that a later one is higher; what is over this is nobody's. */
#define LATEST_HISTORY (UINT64_MAX / 4)

static void note_loss(struct hub *hub, uint32_t queue, struct bus_pos to, enum session_gap_why why)
{
    hub->losses[queue] = (struct hub_loss){to, why};
    hub_count(&hub->stats.holes, 1);
    if (hub->callbacks->on_loss) {
        hub->callbacks->on_loss(hub->owner, queue, why);
    }
}

/* Workers that look for what is lost in the window find the gap. */
void hub_lose(struct hub *hub, uint32_t queue, struct bus_pos pos, enum session_gap_why why)
{
    hub_mark_all_behind(hub);
    window_lose(hub->window, queue, pos);
    note_loss(hub, queue, pos, why);
}

/* ---- the name ---- */

static bool is_nameless(const struct hub *hub)
{
    return hub->bus && hub->bus->is_nameless;
}

static void show_epoch(struct hub *hub)
{
    if (is_nameless(hub) && hub->history) {
        snprintf(hub->epoch, sizeof(hub->epoch), "%s-%llx", hub->bus_epoch,
                 (unsigned long long)hub->history);
    } else {
        snprintf(hub->epoch, sizeof(hub->epoch), "%s", hub->bus_epoch);
    }
    hub_mark_all_behind(hub);
}

uint64_t hub_history(const struct hub *hub)
{
    return hub->history;
}

void hub_learn_history(struct hub *hub, uint64_t history)
{
    if (is_nameless(hub) && history > hub->history && history <= LATEST_HISTORY) {
        hub->history = history;
        show_epoch(hub);
    }
}

static void draw_history(struct hub *hub)
{
    uint64_t now_ms = hub->now_ms + (uint64_t)hub->wall_offset_ms;
    hub_learn_history(hub, now_ms > hub->history ? now_ms : hub->history + 1);
    hub->history_drawn_ms = hub->now_ms;
}

/* What is on the bus has been read, and nobody on it knew a name. */
void hub_name_history(struct hub *hub)
{
    if (!hub->history) {
        draw_history(hub);
    }
}

static void renew_history(struct hub *hub)
{
    bool is_same_incident = hub->history_drawn_ms &&
                            hub->now_ms - hub->history_drawn_ms < INCIDENT_MS;
    if (hub->history && !is_same_incident) {
        draw_history(hub);
    }
}

/* ---- what the engine tells ---- */

static struct bus_pos pos_before(struct bus_pos pos)
{
    if (pos.lo > 0) {
        return (struct bus_pos){pos.hi, pos.lo - 1};
    }
    return pos.hi > 0 ? (struct bus_pos){pos.hi - 1, UINT64_MAX} : pos;
}

/* What comes now is of before, until a record comes that this node sent from now on. */
static void read_back(struct hub *hub, uint32_t queue)
{
    hub->reading_back |= 1ull << queue;
    hub->queues[queue].read_back_to = hub->queues[queue].counter;
}

/* What comes may have come before, in the old history: that is no repeat. */
static void begin_anew(struct hub *hub, uint32_t queue, struct bus_pos pos)
{
    hub->queues[queue].history++;
    read_back(hub, queue);
    renew_history(hub);
    hub_restart_workers(hub, queue, pos);
    window_restart(hub->window, queue, pos);
    note_loss(hub, queue, pos, SESSION_GAP_EPOCH);
}

/* The queue goes on behind pos, in the same history or, with SESSION_GAP_EPOCH, in another one,
 * whose positions may be lower. */
static void jump(struct hub *hub, uint32_t queue, struct bus_pos pos, enum session_gap_why why)
{
    if (why == SESSION_GAP_EPOCH) {
        begin_anew(hub, queue, pos);
    } else if (bus_pos_compare(pos, hub->heads.pos[queue]) > 0) {
        hub_lose(hub, queue, pos, why);
    } else {
        return;
    }
    hub->heads.pos[queue] = pos;
}

/* Of another one nothing is known until its queues start. */
void hub_on_epoch(void *owner, struct str epoch)
{
    struct hub *hub = owner;
    if (!str_equal(str_of(hub->bus_epoch), epoch)) {
        hub->renewed |= hub->heads.started;
        hub->heads.started = 0;
    }
    snprintf(hub->bus_epoch, sizeof(hub->bus_epoch), "%.*s", STR_ARG(epoch));
    show_epoch(hub);
}

/* The queue was away for longer than the bus is read back: of what came meanwhile something may be
 * missing. */
static bool is_too_late(const struct hub *hub)
{
    uint64_t window_ms = hub->options.window_age_ms;
    return hub->up_since_ms && window_ms &&
           hub->now_ms - hub->up_since_ms + LATE_MARGIN_MS >= window_ms;
}

/* The first time: what came before is not for this node to tell. */
static void begin_queue(struct hub *hub, uint32_t queue, struct bus_pos from)
{
    hub_start_workers(hub, queue, from, is_too_late(hub));
    window_lose(hub->window, queue, from);
    hub->heads.pos[queue] = from;
}

void hub_on_start(void *owner, uint32_t queue, struct bus_pos from)
{
    struct hub *hub = owner;
    uint64_t bit = 1ull << queue;
    bool goes_back = bus_pos_compare(from, hub->heads.pos[queue]) < 0;
    bool is_known = (hub->heads.started | hub->renewed) & bit;
    bool is_other = hub->renewed & bit || goes_back;
    hub->heads.started |= bit;
    hub->renewed &= ~bit;
    read_back(hub, queue);
    if (is_known) {
        jump(hub, queue, from, is_other ? SESSION_GAP_EPOCH : SESSION_GAP_EXPIRED);
    } else {
        begin_queue(hub, queue, from);
    }
}

static enum session_gap_why why_of(enum bus_hole hole)
{
    switch (hole) {
    case BUS_HOLE_EXPIRED: return SESSION_GAP_EXPIRED;
    case BUS_HOLE_EPOCH: return SESSION_GAP_EPOCH;
    case BUS_HOLE_LOST: break;
    }
    return SESSION_GAP_BUS;
}

/* What is at to is not lost. */
void hub_on_hole(void *owner, uint32_t queue, struct bus_pos from, struct bus_pos to,
                 enum bus_hole why)
{
    struct hub *hub = owner;
    if (hub->cluster) {
        cluster_on_hole(hub->cluster, queue);
    }
    jump(owner, queue, pos_before(to), why_of(why));
}
