/* Receipts over nodes. The publisher's node expects a report of each event from everybody who is
 * there when the event comes back: what they said on its queue before it is known by then, however
 * long the node had heard nothing. The others count as if the event were their own and report when
 * the last worker has; that may be earlier. */
#include "base/err.h"
#include "base/mem.h"
#include "base/siphash.h"
#include "core/cluster_private.h"

enum { LONGEST_WAIT_MS = 60000 };

_Static_assert((int)NODE_WORDS == (int)RECEIPT_NODE_WORDS, "a receipt has a bit for each node");

static size_t online_bytes(uint16_t target_count)
{
    return ((size_t)target_count + 7) / 8;
}

/* ---- on the publisher's node ---- */

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

/* ---- on the other nodes ---- */

struct cluster_count {
    struct receipt receipt; /* first */
    uint32_t origin;
    uint32_t counter;
    uint32_t queue;
    uint32_t bytes;                  /* of it all: it stays as long as its message does */
    struct cluster_count *next_open; /* asks for acks, and is not reported for good; a reference */
    uint64_t open_until_ms;
    uint32_t told; /* a sum that shows whether something was counted since it was told last */
    bool is_reported;
    uint16_t online_len; /* bytes that are not zero, up to the last */
    uint8_t online[];
};

static struct report *find_report(struct cluster *cluster, uint32_t origin)
{
    struct report *report = cluster->reports;
    uint32_t count = 0;
    for (; report && report->origin != origin; report = report->next) {
        count++;
    }
    if (!report && count < CLUSTER_MAX_NODES) {
        report = mem_zalloc(sizeof(*report));
        if (report) {
            report->origin = origin;
            report->next = cluster->reports;
            cluster->reports = report;
        }
    }
    return report;
}

static void send_report(struct cluster *cluster, struct report *report)
{
    int queue = cluster_pick_queue(cluster);
    if (queue >= 0 && report->body.len && !buf_err(&report->body)) {
        cluster_send(cluster, EVENT_REPORT, report->origin, (uint32_t)queue, buf_str(&report->body),
                     cluster->now_ms + CLUSTER_SILENCE_MS, NULL, NULL);
    }
    buf_clear(&report->body);
}

static void add_count(struct cluster *cluster, uint32_t origin,
                      const struct cluster_count_body *count)
{
    struct report *report = find_report(cluster, origin);
    if (!report) {
        return;
    }
    if (report->body.len > MAX_REPORT_BYTES) {
        send_report(cluster, report);
    }
    cluster_write_count(&report->body, count);
}

static void free_report(struct report *report)
{
    buf_fini(&report->body);
    mem_free(report);
}

static struct report *pop_report(struct cluster *cluster)
{
    struct report *report = cluster->reports;
    cluster->reports = report ? report->next : NULL;
    return report;
}

void reports_send(struct cluster *cluster)
{
    for (struct report *report = pop_report(cluster); report; report = pop_report(cluster)) {
        send_report(cluster, report);
        free_report(report);
    }
}

static void report_count(struct cluster *cluster, struct cluster_count *count, bool is_part)
{
    struct receipt *receipt = &count->receipt;
    struct cluster_count_body body = {
        .is_part = is_part,
        .queue = (uint8_t)count->queue,
        .counter = count->counter,
        .matched = atomic_load_explicit(&receipt->matched, memory_order_acquire),
        .written = atomic_load_explicit(&receipt->written, memory_order_acquire),
        .acked = atomic_load_explicit(&receipt->acked, memory_order_acquire),
        .dropped = atomic_load_explicit(&receipt->dropped, memory_order_acquire),
        .online = str_make(count->online, count->online_len)};
    if (!atomic_load_explicit(&receipt->is_short, memory_order_acquire)) {
        add_count(cluster, count->origin, &body);
    }
}

/* Inside the gate, with the reference that the mail had. */
static void run_count(struct mail *mail)
{
    struct receipt *receipt = MAIL_OWNER(mail, struct receipt, mail);
    struct cluster_door *door = receipt->owner;
    ((struct cluster_count *)receipt)->is_reported = true;
    if (!atomic_load_explicit(&door->is_shut, memory_order_acquire)) {
        report_count(door->cluster, (struct cluster_count *)receipt, false);
    }
    receipt_unref(receipt);
}

/* It may never have been delivered, if a worker never found its message. */
static void free_count(struct receipt *receipt)
{
    mem_account(MEM_BUS, -(int64_t)((struct cluster_count *)receipt)->bytes);
    door_unref(receipt->owner);
}

/* Any thread. */
static void deliver_count(struct receipt *receipt)
{
    struct cluster_door *door = receipt->owner;
    receipt->mail.run = run_count;
    if (atomic_load_explicit(&door->is_shut, memory_order_acquire)) {
        run_count(&receipt->mail);
    } else {
        door->cluster->callbacks->post(door->cluster->owner, &receipt->mail);
    }
}

/* Clients take their time to confirm: whoever waits is told of those that have. */
static void follow_acks(struct cluster *cluster, struct cluster_count *count)
{
    if (cluster->open_count == MAX_EXPECTED) {
        return; /* told once, at the end */
    }
    count->open_until_ms = cluster->now_ms + LONGEST_WAIT_MS;
    count->next_open = cluster->open_counts;
    cluster->open_counts = count;
    cluster->open_count++;
    receipt_ref(&count->receipt);
}

static void tell_if_changed(struct cluster *cluster, struct cluster_count *count)
{
    struct receipt *receipt = &count->receipt;
    uint32_t sum = atomic_load_explicit(&receipt->matched, memory_order_acquire) +
                   atomic_load_explicit(&receipt->written, memory_order_acquire) +
                   atomic_load_explicit(&receipt->acked, memory_order_acquire) +
                   atomic_load_explicit(&receipt->dropped, memory_order_acquire);
    if (sum != count->told) {
        count->told = sum;
        report_count(cluster, count, true);
    }
}

void reports_tell_acks(struct cluster *cluster)
{
    for (struct cluster_count **at = &cluster->open_counts; *at;) {
        struct cluster_count *count = *at;
        if (count->is_reported || count->open_until_ms <= cluster->now_ms) {
            *at = count->next_open;
            cluster->open_count--;
            receipt_unref(&count->receipt);
        } else {
            tell_if_changed(cluster, count);
            at = &count->next_open;
        }
    }
}

static bool is_waited_for(const struct cluster *cluster, uint32_t queue, const struct event *event)
{
    uint32_t origin = event->header.origin;
    return cluster->is_shared && (cluster->was_current >> queue & 1) && origin &&
           origin != cluster->members[0].node.boot;
}

struct receipt *cluster_count(struct cluster *cluster, uint32_t queue, const struct event *event)
{
    size_t bytes = sizeof(struct cluster_count) + online_bytes(event->header.target_count);
    struct cluster_count *count = is_waited_for(cluster, queue, event) ? mem_zalloc(bytes) : NULL;
    if (!count) {
        return NULL;
    }
    mem_account(MEM_BUS, (int64_t)bytes);
    atomic_fetch_add_explicit(&cluster->door->refs, 1, memory_order_relaxed);
    receipt_init(&count->receipt, 1, deliver_count, cluster->door);
    count->receipt.on_free = free_count;
    count->receipt.counts_writes = event->header.flags & EVENT_COUNTS_WRITES;
    count->origin = event->header.origin;
    count->counter = event->header.counter;
    count->queue = queue;
    count->bytes = (uint32_t)bytes;
    if (event->header.flags & EVENT_WANTS_ACKS) {
        follow_acks(cluster, count);
    }
    return &count->receipt;
}

/* The last one to close is mostly the bus thread itself, where nobody has the target; it needs no
 * mail. */
void cluster_close_count(struct cluster *cluster, struct receipt *receipt, bool is_lost)
{
    if (is_lost) {
        atomic_store_explicit(&receipt->is_short, true, memory_order_release);
    }
    if (atomic_fetch_sub_explicit(&receipt->open, 1, memory_order_acq_rel) == 1) {
        run_count(&receipt_ref(receipt)->mail);
    }
}

void cluster_count_nothing(struct cluster *cluster, uint32_t queue, const struct event *event)
{
    if (is_waited_for(cluster, queue, event)) {
        struct cluster_count_body body = {.queue = (uint8_t)queue,
                                          .counter = event->header.counter};
        add_count(cluster, event->header.origin, &body);
    }
}

static void note_in_count(struct cluster_count *count, size_t index)
{
    count->online[index / 8] |= (uint8_t)(1u << index % 8);
    if (index / 8 + 1 > count->online_len) {
        count->online_len = (uint16_t)(index / 8 + 1);
    }
}

void cluster_note_online(struct cluster *cluster, uint32_t queue, const struct event *event,
                         struct receipt *receipt, size_t index)
{
    bool is_own = event->header.origin == cluster->members[0].node.boot;
    struct expectation *expectation = is_own ? find(cluster, name_of(queue, event->header.counter))
                                             : NULL;
    if (!is_own) {
        note_in_count((struct cluster_count *)receipt, index);
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
    for (struct report *report = pop_report(cluster); report; report = pop_report(cluster)) {
        free_report(report);
    }
    while (cluster->open_counts) {
        struct cluster_count *count = cluster->open_counts;
        cluster->open_counts = count->next_open;
        receipt_unref(&count->receipt);
    }
    u64map_fini(&cluster->expected);
}
