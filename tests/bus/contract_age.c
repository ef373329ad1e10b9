/* How far back a start goes. Nothing makes a server's clock run faster, so the old records are
 * written by the first case of all, and the young ones by a later one: between them other cases
 * pass the time. */
#include "contract.h"

#include <stdio.h>
#include <string.h>

/* A bus may look further back than it has to, for clocks that differ, but not by more than this. */
enum {
    OLD = 20,
    YOUNG = 10,
    AGE_MS = 1000,
    MARGIN_MS = 10000,
    LATER_MS = AGE_MS + MARGIN_MS + 500
};

static struct {
    char fresh_name[sizeof(rig.fresh_name)];
    uint64_t written_ms; /* 0: not yet */
} old;

static void write_old_records(void **state)
{
    rig_writer(rig_node_up("a"), 0)->wanted = OLD;
    RIG_UNTIL(rig_writers_are_done());
    rig_audit(false);
    memcpy(old.fresh_name, rig.fresh_name, sizeof(old.fresh_name));
    old.written_ms = rig_now_ms();
}

static void a_start_goes_back_by_age(void **state)
{
    if (old.written_ms == 0) {
        write_old_records(state);
        node_end(rig.nodes[0]);
        rig_forget_writers();
    }
    snprintf(rig.fresh_name, sizeof(rig.fresh_name), "%s", old.fresh_name);
    RIG_UNTIL(rig_now_ms() >= old.written_ms + LATER_MS);
    struct node *a = rig_node(&(struct node_setup){.name = "a", .window_age_ms = 10 * 60 * 1000});
    rig_until_up(RIG_PATIENCE_MS);
    assert_true(a->seen_ours >= OLD); /* they are there for who looks back ten minutes */
    uint64_t begun_ms = rig_now_ms();
    rig_writer(a, 0)->wanted = YOUNG;
    RIG_UNTIL(rig_writers_are_done());
    struct node *b = rig_node(&(struct node_setup){.name = "b", .window_age_ms = AGE_MS});
    RIG_UNTIL(b->up);
    rig_audit(false);
    if (rig_now_ms() - begun_ms < AGE_MS) { /* else the machine is too slow to tell */
        /* One too many costs nothing, one too few would be lost. */
        assert_in_range(b->queues[0].seen_count, YOUNG, YOUNG + 1);
    }
}

const struct contract_case contract_age_begin[] = {
    CONTRACT_SLOW_CASE(write_old_records, NEEDS_NODES | NEEDS_REPLAY),
    {0},
};

const struct contract_case contract_age_end[] = {
    CONTRACT_SLOW_CASE(a_start_goes_back_by_age, NEEDS_NODES | NEEDS_REPLAY),
    {0},
};
