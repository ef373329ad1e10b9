#include "api/messages_read.h"

#include <stdlib.h>

#include "base/mem.h"

enum { POLL_MS = 100 };

static size_t bytes_of(const struct messages_reading *reading)
{
    return sizeof(*reading) + reading->name_bytes +
           reading->target_cap * (sizeof(*reading->targets) + sizeof(*reading->keys));
}

struct messages_reading *messages_reading_create(struct api_call *call)
{
    struct messages_reading *reading = mem_zalloc(sizeof(*reading));
    if (!reading) {
        return NULL;
    }
    mem_account(MEM_HTTP, (int64_t)bytes_of(reading));
    reading->worker = call->worker;
    reading->exchange = call->exchange;
    reading->app_hash = shard_app_hash(call->worker->shard, call->tenant->id);
    reading->is_complete = true;
    return reading;
}

void messages_reading_destroy(struct messages_reading *reading)
{
    if (!reading) {
        return;
    }
    if (reading->quota) {
        quota_give_wait(reading->quota);
        quota_unref(reading->quota);
    }
    loop_timer_stop(reading->worker->loop, &reading->timer);
    worker_remove_pending(&reading->pending);
    window_page_fini(&reading->page);
    mem_account(MEM_HTTP, -(int64_t)bytes_of(reading));
    for (size_t i = 0; i < reading->target_count; i++) {
        mem_free(reading->targets[i].name);
    }
    mem_free(reading->targets);
    mem_free(reading->keys);
    mem_free(reading);
}

/* ---- targets ---- */

static bool has_room(struct messages_reading *reading)
{
    if (reading->target_count < reading->target_cap) {
        return true;
    }
    size_t cap = reading->target_cap ? reading->target_cap * 2 : 4;
    struct messages_target *targets = mem_realloc(reading->targets, sizeof(*targets) * cap);
    reading->targets = targets ? targets : reading->targets;
    uint64_t *keys = targets ? mem_realloc(reading->keys, sizeof(*keys) * cap) : NULL;
    reading->keys = keys ? keys : reading->keys;
    if (!keys) {
        return false;
    }
    mem_account(MEM_HTTP, -(int64_t)bytes_of(reading));
    reading->target_cap = cap;
    mem_account(MEM_HTTP, (int64_t)bytes_of(reading));
    return true;
}

static bool has_target(const struct messages_reading *reading, uint64_t key)
{
    for (size_t i = 0; i < reading->target_count; i++) {
        if (reading->targets[i].key == key) {
            return true;
        }
    }
    return false;
}

bool messages_reading_add(struct messages_reading *reading, enum target_kind kind, struct str name)
{
    const struct target_space *space = &reading->worker->gateway->keys.space;
    uint64_t key = target_key(space, reading->app_hash, kind, name);
    if (has_target(reading, key)) {
        return true;
    }
    if (reading->target_count == MESSAGES_TARGETS_MAX) {
        reading->is_complete = false;
        return true;
    }
    char *copy = has_room(reading) ? mem_strndup(name.ptr ? name.ptr : "", name.len) : NULL;
    if (!copy) {
        return false;
    }
    reading->targets[reading->target_count++] = (struct messages_target){key, kind, copy};
    reading->name_bytes += name.len + 1;
    mem_account(MEM_HTTP, (int64_t)name.len + 1);
    return true;
}

static int by_key(const void *a, const void *b)
{
    const struct messages_target *left = a;
    const struct messages_target *right = b;
    return left->key < right->key ? -1 : left->key > right->key;
}

/* By key it is found quickly; the name says whether it really is the one. */
const struct messages_target *messages_reading_find(const struct messages_reading *reading,
                                                    const struct message *message, size_t *at,
                                                    struct str *rest)
{
    struct target target;
    while (event_next_target(rest, &target)) {
        struct messages_target wanted = {.key = event_key(&message->event, (*at)++)};
        const struct messages_target *found = bsearch(
            &wanted, reading->targets, reading->target_count, sizeof(wanted), by_key);
        if (found && found->kind == target.kind && str_equal(str_of(found->name), target.name)) {
            return found;
        }
    }
    return NULL;
}

static bool is_asked_for(void *owner, const struct message *message)
{
    const struct messages_reading *reading = owner;
    struct str rest = message->event.target_bytes;
    size_t at = 0;
    return message->event.header.app == reading->app_hash &&
           messages_reading_find(reading, message, &at, &rest);
}

/* ---- the answer ---- */

static void answer(struct messages_reading *reading)
{
    struct buf out = {0};
    messages_write(&out, reading);
    if (buf_err(&out)) {
        http_answer_retry(reading->exchange, 503, "overloaded", "The gateway is short of memory.",
                          1);
    } else {
        http_answer_json(reading->exchange, 200, buf_str(&out));
    }
    buf_fini(&out);
    messages_reading_destroy(reading);
}

static void refuse(struct messages_reading *reading)
{
    http_answer_retry(reading->exchange, 503, "overloaded", "The gateway is short of memory.", 1);
    messages_reading_destroy(reading);
}

static void cancel(struct worker_pending *pending)
{
    refuse(
        (struct messages_reading *)((char *)pending - offsetof(struct messages_reading, pending)));
}

/* ---- reading and waiting ---- */

static void wait(struct messages_reading *reading, uint64_t delay_ms, bool is_waiting)
{
    reading->is_waiting = is_waiting;
    loop_timer_start(reading->worker->loop, &reading->timer, delay_ms);
}

/* The peer is gone, or the node is about to go: who waits is let go. */
static bool must_end(const struct messages_reading *reading)
{
    return reading->exchange->is_gone ||
           atomic_load_explicit(&reading->worker->callers_told, memory_order_acquire);
}

/* The newest page is told in place of what was asked for. */
static void start_anew(struct messages_reading *reading)
{
    reading->gap = "epoch";
    reading->has_after = false;
    window_page_seek(&reading->page, NULL);
}

static void note_gap(struct messages_reading *reading)
{
    const struct window_page *page = &reading->page;
    if (page->replaced) {
        reading->gap = "epoch";
    } else if (page->lost && !reading->gap) {
        reading->gap = "expired";
    }
}

static uint64_t known_queues(const struct messages_reading *reading)
{
    uint64_t known = 0;
    for (uint32_t q = 0; q < reading->page.queues; q++) {
        known |= (uint64_t)shard_queue_is_known(reading->worker->shard, q) << q;
    }
    return known;
}

static bool has_come(const struct messages_reading *reading)
{
    return reading->page.item_count > 0 || reading->gap || !reading->has_after ||
           worker_now_ms(reading->worker) >= reading->deadline_ms || must_end(reading);
}

static void on_page(struct messages_reading *reading)
{
    note_gap(reading);
    bool is_ahead = reading->page.ahead && !must_end(reading);
    if (is_ahead && worker_now_ms(reading->worker) >= reading->hold_ms) {
        start_anew(reading);
        wait(reading, 0, false);
    } else if (has_come(reading) && !is_ahead) {
        answer(reading);
    } else {
        wait(reading, POLL_MS, true);
    }
}

/* A new history may begin while one waits. */
static void check_epoch(struct messages_reading *reading)
{
    struct str epoch = shard_epoch(reading->worker->shard);
    if (reading->has_after && !str_equal(str_of(reading->after.epoch), epoch)) {
        start_anew(reading);
    }
}

static void go_on(struct messages_reading *reading)
{
    if (!reading->page.is_reading) {
        check_epoch(reading);
        reading->page.known = known_queues(reading);
    }
    switch (window_page_read(&reading->page)) {
    case WINDOW_PAGE_DONE: on_page(reading); break;
    case WINDOW_PAGE_MORE: wait(reading, 0, false); break;
    case WINDOW_PAGE_NO_MEMORY: refuse(reading); break;
    }
}

/* Whether it is time to look closer. */
static bool is_due(struct messages_reading *reading)
{
    check_epoch(reading);
    reading->page.known = known_queues(reading);
    return reading->page.is_newest || must_end(reading) ||
           worker_now_ms(reading->worker) >= reading->deadline_ms ||
           window_page_may_have_news(&reading->page);
}

static void on_timer(struct timer *timer)
{
    struct messages_reading *reading = (struct messages_reading *)((char *)timer -
                                                                   offsetof(struct messages_reading,
                                                                            timer));
    if (reading->is_waiting && !is_due(reading)) {
        wait(reading, POLL_MS, true);
    } else {
        go_on(reading);
    }
}

void messages_reading_start(struct messages_reading *reading)
{
    struct worker *worker = reading->worker;
    const struct shard_options *options = shard_get_options(worker->shard);
    qsort(reading->targets, reading->target_count, sizeof(*reading->targets), by_key);
    for (size_t i = 0; i < reading->target_count; i++) {
        reading->keys[i] = reading->targets[i].key;
    }
    reading->page = (struct window_page){.window = options->window,
                                         .queues = options->queues,
                                         .keys = reading->keys,
                                         .key_count = reading->target_count,
                                         .limit = reading->limit,
                                         .max_bytes = MESSAGES_PAGE_BYTES,
                                         .shows = is_asked_for,
                                         .owner = reading};
    window_page_seek(&reading->page, reading->has_after ? &reading->after : NULL);
    reading->deadline_ms = worker_now_ms(worker) + reading->wait_ms;
    reading->hold_ms = worker_now_ms(worker) + options->hold_ms;
    reading->timer.on_fire = on_timer;
    reading->pending.cancel = cancel;
    worker_add_pending(worker, &reading->pending);
    go_on(reading);
}
