/* Receipts over nodes. The publisher's node expects a report of each event from everybody who is
 * there when the event comes back: what they said on its queue before it is known by then, however
 * long the node had heard nothing. The others count (cluster_count.c) as if the event were their
 * own and report when the last worker has; that may be earlier. */
#include "base/err.h"
#include "base/mem.h"
#include "base/siphash.h"
#include "core/cluster_private.h"

_Static_assert((int)NODE_WORDS == (int)RECEIPT_NODE_WORDS, "a receipt has a bit for each node");

static uint64_t name_of(uint32_t queue, uint32_t counter)
{
    return 1ull << 40 | (uint64_t)counter << 6 | queue;
}

/* Names ascend: in a table that takes them as they are they would stand in one run. */
static uint64_t hash_of(const struct cluster *cluster, uint64_t name)
{
    return siphash(&hub_get_options(cluster->hub)->sid_key, &name, sizeof(name));
}

static struct expectation *find(const struct cluster *cluster, uint64_t name)
{
    uint64_t *place = u64map_find(&cluster->expected, hash_of(cluster, name));
    struct expectation *found = place ? (struct expectation *)(uintptr_t)*place : NULL;
    return found && found->name == name ? found : NULL;
}

static void update_nodes(struct receipt *receipt)
{
    struct node_set asked;
    struct node_set silent;
    memcpy(&asked, receipt->nodes_asked, sizeof(asked));
    memcpy(&silent, receipt->nodes_failed, sizeof(silent));
    for (struct expectation *at = receipt->expectations; at; at = at->next_of_receipt) {
        node_set_unite(&silent, &at->open);
    }
    atomic_store_explicit(&receipt->nodes, node_set_count(&asked), memory_order_release);
    atomic_store_explicit(&receipt->nodes_silent, node_set_count(&silent), memory_order_release);
}

static void unlink_of_receipt(struct expectation *expectation)
{
    struct expectation **at = &expectation->receipt->expectations;
    while (*at != expectation) {
        at = &(*at)->next_of_receipt;
    }
    *at = expectation->next_of_receipt;
}

static void drop_so_far(struct expectation *expectation)
{
    while (expectation->so_far) {
        struct count_so_far *said = expectation->so_far;
        expectation->so_far = said->next;
        mem_free(said);
    }
}

static void forget(struct cluster *cluster, struct expectation *expectation)
{
    drop_so_far(expectation);
    *(expectation->prev ? &expectation->prev->next : &cluster->expectations) = expectation->next;
    if (expectation->next) {
        expectation->next->prev = expectation->prev;
    }
    unlink_of_receipt(expectation);
    u64map_remove(&cluster->expected, hash_of(cluster, expectation->name));
    receipt_unref(expectation->receipt);
    mem_free(expectation);
}

/* Nobody is waited for any more. */
static void close_expectation(struct expectation *expectation)
{
    struct receipt *receipt = expectation->receipt;
    expectation->open = (struct node_set){{0}};
    update_nodes(receipt);
    if (expectation->is_open) {
        expectation->is_open = false;
        atomic_fetch_sub_explicit(&receipt->awaited, 1, memory_order_release);
        receipt_close(receipt);
    }
}

static void end(struct cluster *cluster, struct expectation *expectation)
{
    close_expectation(expectation);
    forget(cluster, expectation);
}

/* It is kept until its own record came, which must not count a user that another node has counted.
 */
static void settle(struct cluster *cluster, struct expectation *expectation)
{
    close_expectation(expectation);
    if (expectation->has_come) {
        forget(cluster, expectation);
    }
}

/* Who is still open will never be counted. */
static void give_up(struct cluster *cluster, struct expectation *expectation)
{
    struct receipt *receipt = expectation->receipt;
    for (int i = 0; i < NODE_WORDS; i++) {
        receipt->nodes_failed[i] |= expectation->open.bits[i];
    }
    cluster_add(&cluster->stats.receipts_short, expectation->is_open);
    settle(cluster, expectation);
}

static struct expectation *create(struct cluster *cluster, const struct publish_part *part,
                                  uint64_t name)
{
    struct event_header header;
    memcpy(&header, part->event.data, sizeof(header));
    struct expectation *made = mem_zalloc(sizeof(*made) + online_bytes(header.target_count));
    uint64_t *place = made ? u64map_put(&cluster->expected, hash_of(cluster, name)) : NULL;
    if (!place || *place) {
        mem_free(made);
        return NULL;
    }
    *place = (uint64_t)(uintptr_t)made;
    made->name = name;
    made->target_count = header.target_count;
    return made;
}

static void link_expectation(struct cluster *cluster, struct expectation *expectation,
                             struct receipt *receipt)
{
    expectation->next = cluster->expectations;
    if (expectation->next) {
        expectation->next->prev = expectation;
    }
    cluster->expectations = expectation;
    expectation->receipt = receipt_ref(receipt);
    expectation->next_of_receipt = receipt->expectations;
    receipt->expectations = expectation;
}

/* The receipt is open already, for the event's own record. */
static void expect_nodes(struct expectation *expectation, const struct node_set *nodes)
{
    struct receipt *receipt = expectation->receipt;
    node_set_unite(&expectation->open, nodes);
    for (int i = 0; i < NODE_WORDS; i++) {
        receipt->nodes_asked[i] |= nodes->bits[i];
    }
    if (!expectation->is_open && node_set_count(&expectation->open) > 0) {
        expectation->is_open = true;
        receipt_open(receipt);
        atomic_fetch_add_explicit(&receipt->awaited, 1, memory_order_release);
    }
    update_nodes(receipt);
}

static void fall_short(struct receipt *receipt)
{
    atomic_store_explicit(&receipt->others_short, true, memory_order_release);
}

void cluster_on_packed(struct cluster *cluster, struct publish_part *part)
{
    struct receipt *receipt = part->publish->receipt;
    uint64_t name = name_of(part->queue, part->counter);
    struct node_set nodes;
    if (!cluster->is_shared) {
        return;
    }
    struct expectation *made = cluster->expected.count < MAX_EXPECTED ? create(cluster, part, name)
                                                                      : NULL;
    if (!made) {
        fall_short(receipt);
        return;
    }
    part->expected = name;
    made->until_ms = receipt->until_ms ? receipt->until_ms : cluster->now_ms + LONGEST_WAIT_MS;
    link_expectation(cluster, made, receipt);
    members_expected(cluster, part->queue, &nodes);
    expect_nodes(made, &nodes);
}

void cluster_on_failed(struct cluster *cluster, struct publish_part *part)
{
    struct expectation *expectation = find(cluster, part->expected);
    part->expected = 0;
    if (expectation) {
        end(cluster, expectation);
    }
}

static void expect_the_rest(struct cluster *cluster, uint32_t queue,
                            struct expectation *expectation)
{
    struct node_set nodes;
    expectation->has_come = true;
    if (!members_expected(cluster, queue, &nodes) || expectation->until_ms <= cluster->now_ms) {
        fall_short(expectation->receipt);
    }
    node_set_subtract(&nodes, &expectation->reported);
    expect_nodes(expectation, &nodes);
}

void cluster_on_returned(struct cluster *cluster, struct publish_part *part, bool is_counted)
{
    struct expectation *expectation = find(cluster, part->expected);
    part->expected = 0;
    if (!expectation) {
        return;
    }
    if (is_counted) {
        expect_the_rest(cluster, part->queue, expectation);
    }
    if (!is_counted || !expectation->is_open) {
        end(cluster, expectation);
    }
}

static void note_target(struct expectation *expectation, size_t index)
{
    uint8_t bit = (uint8_t)(1u << index % 8);
    if (index < expectation->target_count && !(expectation->online[index / 8] & bit)) {
        expectation->online[index / 8] |= bit;
        atomic_fetch_add_explicit(&expectation->receipt->users_online, 1, memory_order_relaxed);
    }
}

static void note_targets(struct expectation *expectation, struct str online)
{
    for (size_t i = 0; i < online.len * 8 && i < expectation->target_count; i++) {
        if (online.ptr[i / 8] >> i % 8 & 1) {
            note_target(expectation, i);
        }
    }
}

/* Each node is counted once. */
/* The slot is not waited for any more. */
static void close_slot(struct cluster *cluster, struct expectation *expectation, uint32_t slot)
{
    node_set_remove(&expectation->open, slot);
    if (node_set_count(&expectation->open) == 0) {
        settle(cluster, expectation);
    } else {
        update_nodes(expectation->receipt);
    }
}

static struct count_so_far *find_so_far(struct expectation *expectation, uint32_t slot)
{
    struct count_so_far *said = expectation->so_far;
    while (said && said->slot != slot) {
        said = said->next;
    }
    return said;
}

static struct count_so_far *add_so_far(struct expectation *expectation, uint32_t slot)
{
    struct count_so_far *said = mem_zalloc(sizeof(*said));
    if (said) {
        said->slot = slot;
        said->next = expectation->so_far;
        expectation->so_far = said;
    }
    return said;
}

static void add_to(atomic_uint *sum, uint32_t count)
{
    atomic_fetch_add_explicit(sum, count, memory_order_release);
}

/* What is new since the node spoke last: to the sum first, see receipt_add_counts. */
static void add_counts(struct receipt *receipt, const struct cluster_count_body *count,
                       const struct count_so_far *said)
{
    add_to(&receipt->matched, count->matched - said->matched);
    add_to(&receipt->written, count->written - said->written);
    add_to(&receipt->acked, count->acked - said->acked);
    add_to(&receipt->dropped, count->dropped - said->dropped);
    add_to(&receipt->others_matched, count->matched - said->matched);
    add_to(&receipt->others_written, count->written - said->written);
    add_to(&receipt->others_acked, count->acked - said->acked);
}

/* Without memory the node's last word alone counts. */
static void take_part(struct expectation *expectation, uint32_t slot,
                      const struct cluster_count_body *count)
{
    struct count_so_far *said = find_so_far(expectation, slot);
    said = said ? said : add_so_far(expectation, slot);
    if (said) {
        add_counts(expectation->receipt, count, said);
        *said = (struct count_so_far){said->next,     slot,         count->matched,
                                      count->written, count->acked, count->dropped};
    }
}

static void take_count(struct cluster *cluster, uint32_t slot,
                       const struct cluster_count_body *count)
{
    static const struct count_so_far nothing = {0};
    struct expectation *expectation = count->queue < BUS_MAX_QUEUES
                                          ? find(cluster, name_of(count->queue, count->counter))
                                          : NULL;
    if (!expectation || node_set_has(&expectation->reported, slot)) {
        return;
    }
    note_targets(expectation, count->online);
    if (count->is_part) {
        take_part(expectation, slot, count);
        return;
    }
    const struct count_so_far *said = find_so_far(expectation, slot);
    add_counts(expectation->receipt, count, said ? said : &nothing);
    node_set_add(&expectation->reported, slot);
    expectation->receipt->nodes_asked[slot / 64] |= 1ull << slot % 64;
    close_slot(cluster, expectation, slot);
}

void reports_on_event(struct cluster *cluster, uint32_t boot, struct str body)
{
    struct cluster_count_body count;
    struct str rest = body;
    uint32_t slot = members_find(cluster, boot);
    cluster_add(&cluster->stats.reports_in, 1);
    if (!cluster_begin_counts(&rest)) {
        cluster_add(&cluster->stats.bad, 1);
        return;
    }
    while (slot && rest.len > 0) {
        if (!cluster_next_count(&rest, &count)) {
            cluster_add(&cluster->stats.bad, 1);
            return;
        }
        take_count(cluster, slot, &count);
    }
}

void reports_expire(struct cluster *cluster)
{
    for (struct expectation *at = cluster->expectations; at;) {
        struct expectation *next = at->next;
        if (at->is_open && at->until_ms <= cluster->now_ms) {
            give_up(cluster, at);
        }
        at = next;
    }
}

static void lose_node(struct cluster *cluster, struct expectation *expectation, uint32_t slot)
{
    bool is_last = node_set_count(&expectation->open) == 1;
    expectation->receipt->nodes_failed[slot / 64] |= 1ull << slot % 64;
    cluster_add(&cluster->stats.receipts_short, is_last);
    close_slot(cluster, expectation, slot);
}

/* It stays counted. */
static void forget_so_far(struct expectation *expectation, uint32_t slot)
{
    struct count_so_far *said = find_so_far(expectation, slot);
    if (said) {
        said->slot = CLUSTER_MAX_NODES;
    }
}

void reports_on_gone(struct cluster *cluster, uint32_t slot)
{
    for (struct expectation *at = cluster->expectations; at;) {
        struct expectation *next = at->next;
        node_set_remove(&at->reported, slot); /* who has the slot next has not */
        forget_so_far(at, slot);
        if (node_set_has(&at->open, slot)) {
            lose_node(cluster, at, slot);
        }
        at = next;
    }
}

void cluster_note_online(struct cluster *cluster, uint32_t queue, const struct event *event,
                         struct receipt *receipt, size_t index)
{
    bool is_own = event->header.origin == cluster->members[0].node.boot;
    struct expectation *expectation = is_own ? find(cluster, name_of(queue, event->header.counter))
                                             : NULL;
    if (!is_own) {
        counts_note_online(receipt, index);
    } else if (expectation) {
        note_target(expectation, index);
    } else {
        atomic_fetch_add_explicit(&receipt->users_online, 1, memory_order_relaxed);
    }
}

void reports_drop_all(struct cluster *cluster)
{
    while (cluster->expectations) {
        cluster->expectations->has_come = true;
        give_up(cluster, cluster->expectations);
    }
    u64map_fini(&cluster->expected);
}
