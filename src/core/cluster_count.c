/* What this node counts for the publishers of others, and the reports that it sends them. Those of
 * one turn to one node travel together. */
#include "base/err.h"
#include "base/mem.h"
#include "core/cluster_private.h"

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

void counts_send(struct cluster *cluster)
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
    receipt_add_asker(&count->receipt);
    receipt_ref(&count->receipt);
}

static void unfollow(struct cluster *cluster, struct cluster_count **at)
{
    struct cluster_count *count = *at;
    *at = count->next_open;
    cluster->open_count--;
    receipt_remove_asker(&count->receipt);
    receipt_unref(&count->receipt);
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

void counts_tell_acks(struct cluster *cluster)
{
    for (struct cluster_count **at = &cluster->open_counts; *at;) {
        struct cluster_count *count = *at;
        if (count->is_reported || count->open_until_ms <= cluster->now_ms) {
            unfollow(cluster, at);
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

void counts_note_online(struct receipt *receipt, size_t index)
{
    struct cluster_count *count = (struct cluster_count *)receipt;
    count->online[index / 8] |= (uint8_t)(1u << index % 8);
    if (index / 8 + 1 > count->online_len) {
        count->online_len = (uint16_t)(index / 8 + 1);
    }
}

void counts_drop_all(struct cluster *cluster)
{
    for (struct report *report = pop_report(cluster); report; report = pop_report(cluster)) {
        free_report(report);
    }
    while (cluster->open_counts) {
        unfollow(cluster, &cluster->open_counts);
    }
}
