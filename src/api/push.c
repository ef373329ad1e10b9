#include "api/push.h"

#include <string.h>

#include "api/push_spans.h"
#include "api/webhook_emit.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/u64map.h"
#include "server/stats.h"

enum {
    WATCH_MS = 2000,
    EVENT_TRACE_MAX = TRACE_PACKED_LEN + TRACE_STATE_MAX,
};

_Static_assert((int)TRACE_PACKED_LEN == (int)EVENT_TRACE_LEN,
               "a trace is packed as events have it");
_Static_assert((int)TRACE_SAMPLED == (int)EVENT_TRACE_SAMPLED, "and its flags stand last");

/* "m" and hex: boot 8, worker 2, counter 15: unique in the cluster without a look at it. */
void push_make_id(struct worker *worker, char out[PUSH_ID_LEN])
{
    static _Thread_local uint64_t counter;
    static const char digits[] = "0123456789abcdef";
    uint64_t count = ++counter;
    uint32_t boot = worker->gateway->boot;
    out[0] = 'm';
    for (int i = 0; i < 8; i++) {
        out[1 + i] = digits[boot >> (28 - 4 * i) & 15];
    }
    out[9] = digits[worker->index >> 4 & 15];
    out[10] = digits[worker->index & 15];
    for (int i = 0; i < 15; i++) {
        out[11 + i] = digits[count >> (56 - 4 * i) & 15];
    }
}

/* ---- the end ---- */

static void account(struct push_task *task)
{
    const struct publish *publish = task->publish;
    size_t bytes = sizeof(*task) + task->id.len + task->subject.len +
                   sizeof(*task->readings) * task->reading_count;
    if (publish) {
        bytes += sizeof(*publish) + sizeof(publish->parts[0]) * publish->part_count;
    }
    for (uint32_t i = 0; publish && i < publish->part_count; i++) {
        bytes += publish->parts[i].event.cap;
    }
    mem_account(MEM_BUS, (int64_t)bytes - (int64_t)task->accounted);
    task->accounted = bytes;
}

static void free_task(struct push_task *task)
{
    mem_account(MEM_BUS, -(int64_t)task->accounted);
    worker_remove_pending(&task->pending);
    publish_destroy(task->publish);
    receipt_remove_asker(task->receipt);
    receipt_unref(task->receipt);
    mem_free(task->watched);
    mem_free(task->readings);
    push_spans_free(task->spans);
    mem_free(task);
}

/* Of what is open, what is awaited of others is read last: if in doubt, this node has not
 * reported. */
static void read_nodes(struct push_outcome *outcome, struct receipt *receipt)
{
    unsigned open = atomic_load_explicit(&receipt->open, memory_order_acquire);
    unsigned awaited = atomic_load_explicit(&receipt->awaited, memory_order_acquire);
    unsigned others = atomic_load_explicit(&receipt->nodes, memory_order_acquire);
    unsigned silent = atomic_load_explicit(&receipt->nodes_silent, memory_order_acquire);
    outcome->nodes_expected = 1 + others;
    outcome->nodes_reported = (open <= awaited) + (silent < others ? others - silent : 0);
}

static void read_receipt(struct push_outcome *outcome, struct receipt *receipt)
{
    outcome->has_receipt = true;
    outcome->is_complete = receipt_is_complete(receipt);
    read_nodes(outcome, receipt);
    outcome->users_online = atomic_load_explicit(&receipt->users_online, memory_order_acquire);
    outcome->matched = atomic_load_explicit(&receipt->matched, memory_order_acquire);
    outcome->written = atomic_load_explicit(&receipt->written, memory_order_acquire);
    outcome->acked = atomic_load_explicit(&receipt->acked, memory_order_acquire);
    outcome->dropped = atomic_load_explicit(&receipt->dropped, memory_order_acquire);
}

/* To no session of any node: one that resumes still gets it, but the app may want to know now. */
static void tell_undelivered(const struct push_task *task, const struct push_outcome *outcome)
{
    if (task->watched && outcome->verdict == PUBLISH_ACCEPTED && outcome->is_complete &&
        outcome->matched == 0) {
        webhook_on_undelivered(task->worker, &task->worker->tenants->items[task->app], task->id,
                               str_of(task->watched));
    }
}

static void answer(struct push_task *task, const struct push_outcome *outcome)
{
    if (task->is_answered) {
        return;
    }
    if (outcome->verdict == PUBLISH_ACCEPTED && task->counted) {
        metric_add(task->counted, 1);
        custom_readings_count(task->readings, task->reading_count);
    }
    task->is_answered = true;
    push_spans_answered(task->spans, task, outcome);
    task->on_done(task, outcome);
}

static struct push_outcome outcome_of(const struct push_task *task)
{
    const struct publish *publish = task->publish;
    return (struct push_outcome){.verdict = publish->verdict,
                                 .err = publish->err,
                                 .parts = publish->part_count,
                                 .accepted_parts = publish->accepted_parts,
                                 .is_message = task->counted != NULL};
}

static void finish(struct push_task *task)
{
    struct push_outcome outcome = outcome_of(task);
    if (task->receipt) {
        read_receipt(&outcome, task->receipt);
        task->receipt->request = NULL; /* a report that comes later finds nobody */
    }
    loop_timer_stop(task->worker->loop, &task->timer);
    tell_undelivered(task, &outcome);
    outcome.has_receipt = outcome.has_receipt && !task->answers_early;
    answer(task, &outcome);
    free_task(task);
}

static bool waits_for_receipt(const struct push_task *task)
{
    return task->receipt && !task->is_timed_out && task->publish->verdict == PUBLISH_ACCEPTED &&
           atomic_load_explicit(&task->receipt->open, memory_order_acquire) > 0;
}

static void finish_if_done(struct push_task *task)
{
    if (!task->is_published) {
        return;
    }
    if (waits_for_receipt(task)) {
        struct push_outcome outcome = outcome_of(task);
        if (task->answers_early) {
            answer(task, &outcome);
        }
        return;
    }
    finish(task);
}

/* Of messages that the bus has; what failed would tell how long it was waited for. */
static void observe(const struct push_task *task)
{
    if (task->publish->verdict == PUBLISH_ACCEPTED && task->counted) {
        stats_latency(STATS_API_TO_BUS, clock_monotonic_us() - task->started_us);
    }
}

static void on_published(struct publish *publish)
{
    struct push_task *task = publish->owner;
    task->is_published = true;
    for (uint32_t i = 0; i < publish->part_count; i++) {
        buf_fini(&publish->parts[i].event); /* the bus has it; what waits now is the caller alone */
    }
    account(task);
    push_spans_published(task->spans, task);
    observe(task);
    finish_if_done(task);
}

/* The worker ends: nothing will be reported any more. The publish came back before that. */
static void cancel(struct worker_pending *pending)
{
    struct push_task *task = (struct push_task *)((char *)pending -
                                                  offsetof(struct push_task, pending));
    finish(task);
}

static void on_timer(struct timer *timer)
{
    struct push_task *task = (struct push_task *)((char *)timer -
                                                  offsetof(struct push_task, timer));
    task->is_timed_out = true;
    finish_if_done(task);
}

static void run_receipt(struct mail *mail)
{
    struct receipt *receipt = MAIL_OWNER(mail, struct receipt, mail);
    struct push_task *task = receipt->request;
    if (task) {
        finish_if_done(task);
    }
    receipt_unref(receipt);
}

/* Any thread. */
static void deliver_receipt(struct receipt *receipt)
{
    receipt->mail.run = run_receipt;
    worker_post(receipt->owner, &receipt->mail);
}

/* ---- the start ---- */

static enum meter_target target_of(const struct push *push)
{
    if (push->target_count > 1) {
        return METER_SEVERAL;
    }
    switch (push->targets[0].kind) {
    case TARGET_USER: return METER_USER;
    case TARGET_GROUP: return METER_GROUP;
    case TARGET_SESSION: return METER_SESSION;
    case TARGET_TICKET: return METER_TICKET;
    case TARGET_NODE:
    case TARGET_ALL: break;
    }
    return METER_ALL;
}

static uint64_t mix(uint64_t hash, struct str text)
{
    struct siphash_key key = {hash, text.len};
    return siphash(&key, text.ptr, text.len);
}

/* Of what the caller said, not of how long it waits for an answer. */
static uint64_t body_hash(const struct gateway *gateway, const struct push *push)
{
    uint64_t hash = gateway->keys.space.open.k1;
    for (size_t i = 0; i < push->target_count; i++) {
        hash = mix(hash + push->targets[i].kind, push->targets[i].name);
    }
    for (size_t i = 0; i < push->except_count; i++) {
        hash = mix(hash, push->excepts[i]);
    }
    hash = mix(hash + push->data_kind, push->data);
    hash = mix(hash + push->ttl_ms + push->is_final, push->type);
    hash = push->collapse.len ? mix(hash + 1, push->collapse) : hash;
    return mix(hash, push->origin_tag);
}

struct plan_target {
    uint64_t key; /* 0: the target was named before */
    uint32_t queue;
};

struct plan {
    const struct target_space *space;
    uint32_t app_hash;
    uint32_t queue_count;
    struct plan_target one; /* for one target; more are on the heap */
    struct plan_target *targets;
    uint64_t queues; /* bit q: some target's home is queue q */
    uint32_t parts;
};

static void plan_target(struct plan *plan, size_t index, const struct target *target, uint64_t key)
{
    uint32_t queue = target_queue(plan->space, plan->app_hash, target->kind, target->name,
                                  plan->queue_count);
    plan->targets[index] = (struct plan_target){key, queue};
    plan->queues |= 1ull << queue;
}

static uint64_t plan_key(const struct plan *plan, const struct target *target)
{
    return target_key(plan->space, plan->app_hash, target->kind, target->name);
}

/* Each key once, for each costs the workers a look-up. */
static int plan_several(struct plan *plan, const struct push *push)
{
    struct u64map known = {0};
    int err = 0;
    for (size_t i = 0; i < push->target_count && !err; i++) {
        uint64_t key = plan_key(plan, &push->targets[i]);
        uint64_t *place = u64map_put(&known, key);
        plan->targets[i].key = 0;
        if (!place) {
            err = ERR_NO_MEMORY;
        } else if (!*place) {
            *place = 1;
            plan_target(plan, i, &push->targets[i], key);
        }
    }
    u64map_fini(&known);
    return err;
}

static int make_plan(struct plan *plan, struct worker *worker, uint32_t app_hash,
                     const struct push *push)
{
    *plan = (struct plan){.space = &worker->gateway->keys.space,
                          .app_hash = app_hash,
                          .queue_count = shard_get_options(worker->shard)->queues,
                          .targets = &plan->one};
    int err = 0;
    if (push->target_count > 1) {
        plan->targets = mem_alloc(sizeof(*plan->targets) * push->target_count);
        err = plan->targets ? plan_several(plan, push) : ERR_NO_MEMORY;
    } else {
        plan_target(plan, 0, &push->targets[0], plan_key(plan, &push->targets[0]));
    }
    plan->parts = (uint32_t)__builtin_popcountll(plan->queues);
    return err;
}

static void free_plan(struct plan *plan)
{
    if (plan->targets != &plan->one) {
        mem_free(plan->targets);
    }
}

/* The targets of one queue, moved together. */
static int encode_part(struct publish_part *part, const struct event *event,
                       const struct push *push, const struct plan *plan)
{
    if (push->target_count == 1) {
        return event_encode(&part->event, event, push->targets, &plan->one.key, 1, push->excepts,
                            push->except_count);
    }
    struct target *targets = mem_alloc(sizeof(*targets) * push->target_count);
    uint64_t *keys = mem_alloc(sizeof(*keys) * push->target_count);
    size_t count = 0;
    for (size_t i = 0; targets && keys && i < push->target_count; i++) {
        const struct plan_target *planned = &plan->targets[i];
        if (planned->key && planned->queue == part->queue) {
            targets[count] = push->targets[i];
            keys[count++] = planned->key;
        }
    }
    int err = count ? event_encode(&part->event, event, targets, keys, count, push->excepts,
                                   push->except_count)
                    : ERR_NO_MEMORY;
    mem_free(targets);
    mem_free(keys);
    return err;
}

static int encode_parts(struct publish *publish, struct event *event, const struct push *push,
                        const struct plan *plan)
{
    uint32_t index = 0;
    int err = 0;
    event->parts = (uint8_t)plan->parts;
    for (uint32_t q = 0; q < plan->queue_count && !err; q++) {
        if (plan->queues >> q & 1) {
            event->part = (uint8_t)index;
            publish->parts[index].queue = q;
            err = encode_part(&publish->parts[index++], event, push, plan);
        }
    }
    return err;
}

/* As an event has it; in place, which must have room for it. */
static struct str pack_trace(struct push_task *task, const struct push *push,
                             uint8_t place[EVENT_TRACE_MAX])
{
    struct trace_context context;
    if (!push->has_trace) {
        return STR("");
    }
    task->spans = push_spans_begin(task->worker, push, &context);
    trace_context_pack(place, &context);
    memcpy(place + TRACE_PACKED_LEN, push->trace_state.ptr, push->trace_state.len);
    return str_make(place, TRACE_PACKED_LEN + push->trace_state.len);
}

static void fill_event(struct event *event, struct worker *worker, const struct push_task *task,
                       const struct push *push, const struct push_kind *kind, uint32_t app_hash)
{
    /* What is waited for can be asked about later, by the id that was made for it. */
    bool has_id = push->id.len || (push->wait && !kind);
    *event = (struct event){.kind = kind ? kind->kind : EVENT_MESSAGE,
                            .key_tag = worker->gateway->keys.space.tag,
                            .time_ms = clock_wall_ms(),
                            .id = task->id,
                            .type = push->type,
                            .collapse = push->collapse,
                            .origin_tag = push->origin_tag,
                            .data = push->data,
                            .data_kind = push->data_kind};
    event->header.app = app_hash;
    event->header.origin = worker->gateway->boot;
    event->header.ttl_ms = push->ttl_ms;
    event->header.flags = (uint8_t)((has_id ? EVENT_HAS_ID : 0) |
                                    (push->wait ? EVENT_WANTS_RECEIPT : 0) |
                                    (push->wait >= PUSH_WAIT_WRITTEN ? EVENT_COUNTS_WRITES : 0) |
                                    (push->wait == PUSH_WAIT_ACKED ? EVENT_WANTS_ACKS : 0) |
                                    (push->is_final ? EVENT_IS_FINAL : 0) |
                                    (kind && !event_kind_is_shown(kind->kind) ? EVENT_IS_CONTROL
                                                                              : 0));
    if (has_id) {
        event->id_hash = event_id_hash(&worker->gateway->keys.space, app_hash, task->id);
        event->body_hash = body_hash(worker->gateway, push);
    }
}

static struct push_task *create_task(struct worker *worker, const struct push *push,
                                     const struct push_kind *kind)
{
    size_t id_len = push->id.len ? push->id.len : PUSH_ID_LEN;
    struct str subject = kind ? kind->subject : STR("");
    struct push_task *task = mem_alloc(sizeof(*task) + id_len + subject.len);
    if (!task) {
        return NULL;
    }
    *task = (struct push_task){.worker = worker};
    char *id = (char *)(task + 1);
    if (push->id.len) {
        memcpy(id, push->id.ptr, push->id.len);
    } else {
        push_make_id(worker, id);
    }
    memcpy(id + id_len, subject.ptr, subject.len);
    task->id = str_make(id, id_len);
    task->subject = str_make(id + id_len, subject.len);
    task->timer.on_fire = on_timer;
    return task;
}

static int attach_receipt(struct push_task *task, const struct push *push)
{
    if (push->wait == PUSH_WAIT_NONE) {
        return 0;
    }
    struct receipt *receipt = receipt_create(task->publish->part_count, deliver_receipt,
                                             task->worker);
    if (!receipt) {
        return ERR_NO_MEMORY;
    }
    receipt_add_asker(receipt);
    receipt->request = task;
    receipt->counts_writes = push->wait >= PUSH_WAIT_WRITTEN;
    receipt->until_ms = worker_now_ms(task->worker) + push->wait_ms;
    task->receipt = receipt;
    task->publish->receipt = receipt_ref(receipt);
    return 0;
}

static int build(struct push_task *task, const struct push *push, const struct push_kind *kind,
                 uint32_t app_hash)
{
    struct worker *worker = task->worker;
    struct plan plan;
    struct event event;
    uint8_t trace[EVENT_TRACE_MAX];
    int err = make_plan(&plan, worker, app_hash, push);
    if (err) {
        free_plan(&plan);
        return err;
    }
    task->publish = publish_create(plan.parts);
    err = task->publish ? attach_receipt(task, push) : ERR_NO_MEMORY;
    if (!err) {
        fill_event(&event, worker, task, push, kind, app_hash);
        event.subject = kind ? kind->subject : pack_trace(task, push, trace);
        err = encode_parts(task->publish, &event, push, &plan);
    }
    free_plan(&plan);
    return err;
}

static bool has_tickets(const struct push *push)
{
    for (size_t i = 0; i < push->target_count; i++) {
        if (push->targets[i].kind == TARGET_TICKET) {
            return true;
        }
    }
    return false;
}

/* The data are gone when the bus has them: what the app's own metrics want is read now. */
static int read_custom(struct push_task *task, struct custom_metrics *metrics,
                       const struct push *push)
{
    struct custom_reading readings[CUSTOM_READINGS_MAX];
    struct str json = push->data_kind == EVENT_DATA_JSON ? push->data : STR("");
    size_t count = custom_metrics_read(metrics, push->type, json, readings);
    if (count == 0) {
        return 0;
    }
    task->readings = mem_alloc(sizeof(*readings) * count);
    if (!task->readings) {
        return ERR_NO_MEMORY;
    }
    memcpy(task->readings, readings, sizeof(*readings) * count);
    task->reading_count = count;
    return 0;
}

static int prepare_counting(struct push_task *task, struct meter *meter, const struct push *push)
{
    task->counted = meter_accepted(meter, target_of(push), push->type);
    return meter_custom(meter) ? read_custom(task, meter_custom(meter), push) : 0;
}

static int start(struct worker *worker, const struct tenant *tenant, const struct push *push,
                 const struct push_kind *kind, struct push_task *task)
{
    int err = build(task, push, kind, shard_app_hash(worker->shard, tenant->id));
    err = err || kind ? err : prepare_counting(task, tenant->meter, push);
    if (err) {
        return err;
    }
    account(task);
    task->app = tenant->id;
    task->started_us = push->started_us ? push->started_us : clock_monotonic_us();
    task->publish->started_us = kind ? 0 : task->started_us;
    task->publish->owner = task;
    task->publish->keeps = kind ? kind->keeps : has_tickets(push);
    task->publish->on_done = on_published;
    task->publish->awaits_return = push->id.len > 0 || push->wait != PUSH_WAIT_NONE;
    task->publish->deadline_ms = worker_now_ms(worker) + worker->settings->bus.publish_timeout_ms;
    if (task->receipt) {
        loop_timer_start(worker->loop, &task->timer, push->wait_ms);
        task->pending.cancel = cancel;
        worker_add_pending(worker, &task->pending);
    }
    gateway_publish(worker, task->publish);
    return 0;
}

/* ---- message.undelivered ---- */

static bool is_for_users_alone(const struct push *push)
{
    for (size_t i = 0; i < push->target_count; i++) {
        if (push->targets[i].kind != TARGET_USER) {
            return false;
        }
    }
    return true;
}

static bool is_watched(const struct tenant *tenant, const struct push *push,
                       const struct push_kind *kind)
{
    const struct settings_app *app = tenant->settings;
    return app && app->webhook_events & SETTINGS_EVENT_MESSAGE_UNDELIVERED && !kind &&
           is_for_users_alone(push);
}

static int watch(struct push_task *task, const struct push *push)
{
    struct buf users = {0};
    buf_append_char(&users, '[');
    for (size_t i = 0; i < push->target_count; i++) {
        json_write_comma(&users);
        json_write_string(&users, push->targets[i].name);
    }
    buf_append_char(&users, ']');
    task->watched = buf_err(&users) ? NULL : mem_strndup((const char *)users.data, users.len);
    buf_fini(&users);
    return task->watched ? 0 : ERR_NO_MEMORY;
}

/* The webhooks need a receipt, for which a caller who doesn't ask for one doesn't wait. */
static int start_watched(struct worker *worker, const struct tenant *tenant,
                         const struct push *push, struct push_task *task)
{
    struct push asking = *push;
    task->answers_early = push->wait == PUSH_WAIT_NONE;
    if (task->answers_early) {
        asking.wait = PUSH_WAIT_ROUTED;
        asking.wait_ms = WATCH_MS;
    }
    int err = watch(task, push);
    return err ? err : start(worker, tenant, &asking, NULL, task);
}

int push_start(struct worker *worker, const struct tenant *tenant, const struct push *push,
               const struct push_kind *kind, push_done_cb on_done, void *owner, uint32_t index)
{
    struct push_task *task = create_task(worker, push, kind);
    if (!task) {
        return ERR_NO_MEMORY;
    }
    task->on_done = on_done;
    task->owner = owner;
    task->index = index;
    int err = is_watched(tenant, push, kind) ? start_watched(worker, tenant, push, task)
                                             : start(worker, tenant, push, kind, task);
    if (err) {
        free_task(task);
    }
    return err;
}
