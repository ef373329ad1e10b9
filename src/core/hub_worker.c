/* The hub's way to each worker: a ring that is never waited for. A worker whose ring was full is
 * behind: it gets nothing more until it has drained the ring and asked to catch up; then it reads
 * from the window what it did not get. */
#include "base/err.h"
#include "base/mem.h"
#include "core/hub_private.h"
#include "core/receipt.h"

enum { CONTROLS_MAX = 4096 };

int hub_worker_init(struct hub_worker *worker, uint32_t ring_slots)
{
    worker->held.end = &worker->held.first;
    worker->unapplied.end = &worker->unapplied.first;
    return ring_init(&worker->link.ring, ring_slots);
}

void hub_catch_up_destroy(struct hub_catch_up *catch_up)
{
    for (uint32_t i = 0; i < catch_up->control_count; i++) {
        message_unref(catch_up->controls[i]);
    }
    mem_free(catch_up->controls);
    mem_free(catch_up);
}

void hub_link_drain(struct hub_link *link)
{
    enum ring_kind kind;
    for (void *ptr = ring_pop(&link->ring, &kind); ptr; ptr = ring_pop(&link->ring, &kind)) {
        switch (kind) {
        case RING_MESSAGE: message_unref(ptr); break;
        case RING_FENCE: interest_batch_destroy(ptr); break;
        case RING_HEADS: mem_free(ptr); break;
        case RING_CATCH_UP: hub_catch_up_destroy(ptr); break;
        }
    }
}

static void destroy_batches(struct hub_batches *batches)
{
    for (struct interest_batch *batch = hub_batches_take(batches); batch;
         batch = hub_batches_take(batches)) {
        interest_batch_destroy(batch);
    }
}

void hub_worker_fini(struct hub_worker *worker)
{
    if (!worker->link.ring.slots) {
        return;
    }
    hub_link_drain(&worker->link);
    ring_fini(&worker->link.ring);
    destroy_batches(&worker->held);
    destroy_batches(&worker->unapplied);
    for (uint32_t i = 0; i < worker->control_count; i++) {
        message_unref(worker->controls[i]);
    }
    mem_free(worker->controls);
}

bool hub_worker_is_behind(const struct hub_worker *worker)
{
    return atomic_load_explicit(&worker->link.behind, memory_order_relaxed);
}

/* From here on the worker reads the window. The heads have not passed the event in hand yet. */
static void mark_behind(struct hub *hub, struct hub_worker *worker)
{
    worker->behind_from = hub->heads;
    worker->restarted = 0;
    atomic_store_explicit(&worker->link.behind, true, memory_order_release);
    worker->wake = true;
    hub_count(&hub->stats.ring_full, 1);
}

void hub_mark_all_behind(struct hub *hub)
{
    for (uint32_t i = 0; i < hub->options.workers; i++) {
        if (!hub_worker_is_behind(&hub->workers[i])) {
            mark_behind(hub, &hub->workers[i]);
        }
    }
}

static void note_lost(struct hub_worker *worker, const struct event *event)
{
    worker->controls_lost = true;
    if (event->time_ms > worker->lost_until_ms) {
        worker->lost_until_ms = event->time_ms;
    }
    if (event->kind == EVENT_REVOCATION && event->time_ms > worker->revoked_until_ms) {
        worker->revoked_until_ms = event->time_ms;
    }
}

/* Joins, parts and kicks of the old history that the worker has not seen: it can't tell any more
 * which came when. */
static void lose_controls(struct hub_worker *worker, uint32_t queue)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < worker->control_count; i++) {
        struct message *message = worker->controls[i];
        if (message->queue == queue) {
            note_lost(worker, &message->event);
            message_unref(message);
        } else {
            worker->controls[kept++] = message;
        }
    }
    worker->control_count = kept;
}

/* The queue's history is another one, which goes on behind from. */
void hub_restart_workers(struct hub *hub, uint32_t queue, struct bus_pos from)
{
    hub_mark_all_behind(hub);
    for (uint32_t i = 0; i < hub->options.workers; i++) {
        struct hub_worker *worker = &hub->workers[i];
        if (!(worker->restarted >> queue & 1)) {
            worker->restarted |= 1ull << queue;
            worker->old.pos[queue] = worker->behind_from.pos[queue];
        }
        worker->behind_from.pos[queue] = from;
        lose_controls(worker, queue);
    }
}

/* The queue is known from here on, behind from. */
void hub_start_workers(struct hub *hub, uint32_t queue, struct bus_pos from, bool is_too_late)
{
    hub_mark_all_behind(hub);
    for (uint32_t i = 0; i < hub->options.workers; i++) {
        hub->workers[i].behind_from.pos[queue] = from;
        hub->workers[i].too_late |= (uint64_t)is_too_late << queue;
    }
}

/* False when the worker is behind, perhaps only now; what ptr refers to remains the caller's. */
bool hub_worker_push(struct hub *hub, struct hub_worker *worker, enum ring_kind kind, void *ptr)
{
    if (hub_worker_is_behind(worker)) {
        return false;
    }
    if (!ring_push(&worker->link.ring, kind, ptr)) {
        mark_behind(hub, worker);
        return false;
    }
    worker->wake = true;
    return true;
}

static bool has_room_for_control(struct hub_worker *worker)
{
    if (worker->control_count < worker->control_cap) {
        return true;
    }
    uint32_t cap = worker->control_cap ? worker->control_cap * 2 : 16;
    struct message **grown = cap > CONTROLS_MAX
                                 ? NULL
                                 : mem_realloc(worker->controls, sizeof(*grown) * cap);
    if (!grown) {
        return false;
    }
    worker->controls = grown;
    worker->control_cap = cap;
    return true;
}

/* No worker will get it; each is told when it catches up, and is behind or will be. */
void hub_lose_control(struct hub *hub, const struct event *event)
{
    for (uint32_t i = 0; i < hub->options.workers; i++) {
        note_lost(&hub->workers[i], event);
    }
}

/* A join that is lost leaves its pin: the worker gets messages of a group that it has not, which is
 * harmless; to lift it could be a loss if the worker finds the join after all. */
static void keep_control(struct hub_worker *worker, struct message *message)
{
    if (has_room_for_control(worker)) {
        worker->controls[worker->control_count++] = message_ref(message);
    } else {
        note_lost(worker, &message->event);
    }
}

void hub_offer(struct hub *hub, uint32_t index, struct message *message)
{
    if (message->receipt) {
        receipt_open(message->receipt);
    }
    message_trace_open(message);
    if (hub_worker_push(hub, &hub->workers[index], RING_MESSAGE, message_ref(message))) {
        return;
    }
    message_unref(message);
    atomic_fetch_or_explicit(&message->owed, 1ull << index, memory_order_relaxed);
    if (event_kind_must_arrive(message->event.kind)) {
        keep_control(&hub->workers[index], message);
    }
}

void hub_return_fence(struct hub *hub, struct hub_worker *worker, struct interest_batch *batch)
{
    batch->heads = hub->heads;
    if (!hub_worker_push(hub, worker, RING_FENCE, batch)) {
        hub_batches_add(&worker->held, batch);
    }
}

static void return_held(struct hub *hub, struct hub_worker *worker)
{
    struct hub_batches held = worker->held;
    if (!held.first) {
        return;
    }
    worker->held.first = NULL;
    worker->held.end = &worker->held.first;
    for (struct interest_batch *batch = held.first; batch;) {
        struct interest_batch *next = batch->next;
        hub_return_fence(hub, worker, batch);
        batch = next;
    }
}

static void note_histories(struct hub *hub, struct hub_catch_up *catch_up)
{
    for (uint32_t q = 0; q < hub->options.queues; q++) {
        struct window_span span;
        window_span(hub->window, q, &span);
        catch_up->histories[q] = window_history_of(span.head_seq);
    }
}

static struct hub_catch_up *make_catch_up(struct hub *hub, struct hub_worker *worker)
{
    struct hub_catch_up *catch_up = mem_alloc(sizeof(*catch_up));
    if (catch_up) {
        *catch_up = (struct hub_catch_up){.span = {worker->behind_from, hub->heads},
                                          .restarted = worker->restarted,
                                          .too_late = worker->too_late,
                                          .old = worker->old,
                                          .controls = worker->controls,
                                          .control_count = worker->control_count,
                                          .controls_lost = worker->controls_lost,
                                          .lost_until_ms = worker->lost_until_ms,
                                          .revoked_until_ms = worker->revoked_until_ms};
        note_histories(hub, catch_up);
        memcpy(catch_up->losses, hub->losses, sizeof(hub->losses));
        memcpy(catch_up->epoch, hub->epoch, sizeof(hub->epoch));
        worker->restarted = 0;
        worker->too_late = 0;
        worker->controls = NULL;
        worker->control_count = worker->control_cap = 0;
        worker->controls_lost = false;
        worker->lost_until_ms = 0;
        worker->revoked_until_ms = 0;
    }
    return catch_up;
}

/* The worker's ring is empty, so the entry fits. The mark goes first: the worker must not find
 * itself still behind once it has taken the entry. */
static void try_catch_up(struct hub *hub, struct hub_worker *worker)
{
    struct hub_catch_up *catch_up = make_catch_up(hub, worker);
    if (!catch_up) {
        return;
    }
    worker->catch_up_asked = false;
    atomic_store_explicit(&worker->link.behind, false, memory_order_release);
    bool pushed = hub_worker_push(hub, worker, RING_CATCH_UP, catch_up);
    ASSERT(pushed);
    return_held(hub, worker);
}

void hub_catch_up(struct hub *hub, uint32_t index)
{
    struct hub_worker *worker = &hub->workers[index];
    if (hub_worker_is_behind(worker)) {
        worker->catch_up_asked = true;
        try_catch_up(hub, worker);
    }
}

void hub_retry_catch_up(struct hub *hub)
{
    for (uint32_t i = 0; i < hub->options.workers; i++) {
        if (hub->workers[i].catch_up_asked) {
            try_catch_up(hub, &hub->workers[i]);
        }
    }
}
