#include "server/watch.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"
#include "server/watch_text.h"
#include "server/ws_session.h"

static bool is_of(const struct watch *watch, uint32_t slot, uint32_t generation)
{
    return watch->is_used && watch->slot == slot && watch->generation == generation;
}

static struct watch *find(const struct worker *worker, uint32_t slot, uint32_t generation)
{
    struct watch *items = worker->watches.items;
    for (int i = 0; items && i < WATCHES_MAX; i++) {
        if (is_of(&items[i], slot, generation)) {
            return &items[i];
        }
    }
    return NULL;
}

/* ---- its life ---- */

static void wake_all(struct watch *watch)
{
    struct watch_waiter *waiter;
    while ((waiter = watch->waiters)) {
        watch_wait_no_more(waiter);
        waiter->wake(waiter);
    }
}

static void drop_oldest(struct watch *watch)
{
    struct watch_frame *frame = watch->first;
    size_t size = sizeof(*frame) + frame->text_len;
    watch->first = frame->next;
    watch->last = watch->first ? watch->last : NULL;
    watch->count--;
    watch->bytes -= size;
    mem_account(MEM_SESSIONS, -(int64_t)size);
    mem_free(frame);
}

static void end(struct watch *watch)
{
    wake_all(watch);
    while (watch->first) {
        drop_oldest(watch);
    }
    *watch = (struct watch){0};
}

static void look_again(struct worker *worker);

static void on_timer(struct timer *timer)
{
    struct worker *worker = (struct worker *)((char *)timer -
                                              offsetof(struct worker, watches.timer));
    look_again(worker);
}

/* Ends those whose lease is over, and looks again when the next one's is. */
static void look_again(struct worker *worker)
{
    struct watches *watches = &worker->watches;
    uint64_t now_ms = worker_now_ms(worker);
    uint64_t next_ms = UINT64_MAX;
    watches->bits = 0;
    for (int i = 0; i < WATCHES_MAX; i++) {
        struct watch *watch = &watches->items[i];
        if (watch->is_used && watch->lease_ends_ms <= now_ms) {
            end(watch);
        } else if (watch->is_used) {
            watches->bits |= 1ull << (watch->slot & 63);
            next_ms = next_ms < watch->lease_ends_ms ? next_ms : watch->lease_ends_ms;
        }
    }
    if (watches->bits) {
        watches->timer.on_fire = on_timer;
        loop_timer_start(worker->loop, &watches->timer, (uint32_t)(next_ms - now_ms));
    }
}

static void renew(const struct worker *worker, struct watch *watch)
{
    watch->lease_ends_ms = worker_now_ms(worker) + WATCH_LEASE_MS;
}

struct watch *watch_find(struct worker *worker, uint32_t slot, uint32_t generation)
{
    struct watch *watch = find(worker, slot, generation);
    if (watch) {
        renew(worker, watch);
    }
    return watch;
}

static struct watch *free_place(struct watches *watches)
{
    for (int i = 0; i < WATCHES_MAX; i++) {
        if (!watches->items[i].is_used) {
            return &watches->items[i];
        }
    }
    return NULL;
}

int watch_start(struct worker *worker, const struct session *session, struct watch **out_watch)
{
    struct watches *watches = &worker->watches;
    if (!watches->items) {
        watches->items = mem_zalloc(WATCHES_MAX * sizeof(*watches->items));
    }
    struct watch *watch = watches->items ? free_place(watches) : NULL;
    if (!watch) {
        return watches->items ? ERR_TOO_MANY : ERR_NO_MEMORY;
    }
    *watch = (struct watch){.is_used = true,
                            .slot = session->cold,
                            .generation = session->generation,
                            .app = session->app,
                            .id = (uint32_t)clock_monotonic_us() | 1};
    renew(worker, watch);
    look_again(worker);
    *out_watch = watch;
    return 0;
}

void watches_fini(struct worker *worker)
{
    struct watches *watches = &worker->watches;
    for (int i = 0; watches->items && i < WATCHES_MAX; i++) {
        end(&watches->items[i]);
    }
    if (watches->items && worker->loop) {
        loop_timer_stop(worker->loop, &watches->timer);
    }
    mem_free(watches->items);
    *watches = (struct watches){0};
}

/* ---- reading ---- */

const struct watch_frame *watch_frames_after(const struct watch *watch, uint64_t after)
{
    const struct watch_frame *frame = watch->first;
    while (frame && frame->number <= after) {
        frame = frame->next;
    }
    return frame;
}

void watch_wait(struct watch *watch, struct watch_waiter *waiter)
{
    waiter->next = watch->waiters;
    waiter->link = &watch->waiters;
    if (waiter->next) {
        waiter->next->link = &waiter->next;
    }
    watch->waiters = waiter;
}

void watch_wait_no_more(struct watch_waiter *waiter)
{
    if (!waiter->link) {
        return;
    }
    *waiter->link = waiter->next;
    if (waiter->next) {
        waiter->next->link = waiter->link;
    }
    waiter->link = NULL;
}

/* ---- writing ---- */

/* Without memory it is missed, which its number shows. */
static struct watch_frame *add(struct watch *watch, const struct watch_frame *about,
                               struct str text)
{
    size_t size = sizeof(struct watch_frame) + text.len;
    uint64_t number = ++watch->frames;
    while (watch->first && (watch->count >= WATCH_FRAMES || watch->bytes + size > WATCH_BYTES)) {
        drop_oldest(watch);
    }
    struct watch_frame *frame = mem_alloc(size);
    if (frame) {
        *frame = *about;
        frame->number = number;
        frame->at_ms = clock_wall_ms();
        frame->text_len = (uint32_t)text.len;
        if (text.len > 0) {
            memcpy(frame->text, text.ptr, text.len);
        }
        *(watch->last ? &watch->last->next : &watch->first) = frame;
        watch->last = frame;
        watch->count++;
        watch->bytes += size;
        mem_account(MEM_SESSIONS, (int64_t)size);
    }
    wake_all(watch);
    return frame;
}

static void add_text(const struct worker *worker, const struct session *session,
                     struct watch *watch, struct watch_frame *about, struct str text)
{
    struct buf shown = {0};
    bool is_v1 = session->flags & WS_IS_V1;
    unsigned depth = (unsigned)worker->settings->limits.json_depth + 2;
    about->bytes = text.len;
    if (is_v1 && !watch_text_redact(&shown, text, depth, &about->is_hidden)) {
        about->is_hidden = true;
    }
    if (buf_err(&shown)) {
        about->is_hidden = true;
        buf_clear(&shown);
    }
    struct str whole = is_v1 ? buf_str(&shown) : text;
    about->is_cut = whole.len > WATCH_TEXT;
    add(watch, about, watch_text_cut(whole, WATCH_TEXT));
    buf_fini(&shown);
}

static void note(const struct worker *worker, const struct session *session, struct watch *watch,
                 struct watch_frame *about, struct str payload)
{
    if (about->opcode == WS_TEXT) {
        add_text(worker, session, watch, about, payload);
    } else {
        about->bytes = payload.len;
        add(watch, about, STR(""));
    }
}

void watch_note(struct worker *worker, const struct session *session, bool is_out,
                enum ws_opcode opcode, struct str payload)
{
    struct watch *watch = find(worker, session->cold, session->generation);
    struct watch_frame about = {.opcode = opcode, .is_out = is_out};
    if (watch) {
        note(worker, session, watch, &about, payload);
    }
}

static void note_end(struct watch *watch, bool by_client, uint16_t code)
{
    if (!watch->has_ended) {
        watch->has_ended = true;
        watch->by_client = by_client;
        watch->code = code;
    }
}

void watch_note_close(struct worker *worker, const struct session *session, bool is_out,
                      uint16_t code)
{
    struct watch *watch = find(worker, session->cold, session->generation);
    struct watch_frame about = {.opcode = WS_CLOSE, .is_out = is_out, .code = code};
    if (watch) {
        note_end(watch, !is_out, code);
        add(watch, &about, STR(""));
    }
}

void watch_note_gone(struct worker *worker, const struct session *session)
{
    struct watch *watch = find(worker, session->cold, session->generation);
    if (watch) {
        note_end(watch, true, 0);
        wake_all(watch);
    }
}

void watch_note_message(struct worker *worker, const struct session *session,
                        const struct message *message, enum session_delivery result)
{
    struct watch *watch = find(worker, session->cold, session->generation);
    if (!watch || (result != SESSION_WRITTEN && result != SESSION_QUEUED)) {
        return;
    }
    bool is_v1 = session->flags & WS_IS_V1;
    bool is_binary = !is_v1 && message->event.data_kind == EVENT_DATA_BINARY;
    struct watch_frame about = {.opcode = is_binary ? WS_BINARY : WS_TEXT,
                                .is_out = true,
                                .is_queued = session->flags & WS_IS_BLOCKED};
    struct buf frame = {0};
    if (is_v1) {
        frame_encode_v1(&frame, message);
    }
    if (!buf_err(&frame)) {
        note(worker, session, watch, &about, is_v1 ? buf_str(&frame) : message->event.data);
    }
    buf_fini(&frame);
}
