#include "api/frames.h"

#include <stdio.h>

#include "api/query_args.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"
#include "core/sid.h"
#include "server/stats.h"
#include "server/ws_session.h"

/* As it travels between nodes: never to be renumbered. */
enum { FRAMES_OF_SESSION = 30 };

/* Counts of a part. */
enum { PART_VERDICT, PART_HAS_NEWS };
enum verdict { SESSION_UNKNOWN, SESSION_WATCHED, WATCHES_FULL, WATCH_OVER };

/* A part's text: members of the answer's object, at most so long. */
enum { TEXT_MAX = 192 * 1024 };

/* ---- what is asked: "sid watch number limit hold_ms" ---- */

struct wanted {
    struct str sid;
    uint64_t watch, after; /* 0 0: from the start */
    uint64_t limit, hold_ms;
};

static bool read_number(struct str *rest, uint64_t max, uint64_t *out)
{
    struct str text;
    return str_split(rest, ' ', &text) && str_to_u64(text, max, out);
}

static bool read_wanted(struct wanted *wanted, struct str text)
{
    struct str rest = text;
    return str_split(&rest, ' ', &wanted->sid) && read_number(&rest, UINT32_MAX, &wanted->watch) &&
           read_number(&rest, UINT64_MAX, &wanted->after) &&
           read_number(&rest, WATCH_FRAMES, &wanted->limit) &&
           read_number(&rest, FRAMES_HOLD_MS, &wanted->hold_ms) && !rest.ptr;
}

static int worker_of_session(const struct gateway *gateway, struct str name)
{
    struct wanted wanted;
    struct sid sid;
    return read_wanted(&wanted, name) && cluster_keys_parse_sid(&gateway->keys, &sid, wanted.sid) &&
                   sid.worker < gateway->worker_count
               ? sid.worker
               : 0;
}

/* ---- the session's worker ---- */

/* A question that is kept until there is something to say. */
struct hold {
    struct watch_waiter waiter;
    struct worker_pending pending;
    struct timer timer;
    struct gather_part *part;
    uint32_t slot, generation;
    struct wanted wanted;
};

static struct str opcode_name(enum ws_opcode opcode)
{
    switch (opcode) {
    case WS_TEXT: return STR("text");
    case WS_BINARY: return STR("binary");
    case WS_PING: return STR("ping");
    case WS_PONG: return STR("pong");
    case WS_CLOSE: return STR("close");
    default: return STR("other");
    }
}

static void write_flag(struct buf *out, struct str name, bool value)
{
    if (value) {
        json_write_bool_field(out, name, true);
    }
}

static void write_frame(struct buf *out, const struct watch_frame *frame)
{
    json_write_comma(out);
    buf_append_char(out, '{');
    json_write_u64_field(out, STR("n"), frame->number);
    json_write_u64_field(out, STR("at_ms"), frame->at_ms);
    json_write_string_field(out, STR("direction"), frame->is_out ? STR("out") : STR("in"));
    json_write_string_field(out, STR("op"), opcode_name(frame->opcode));
    json_write_u64_field(out, STR("bytes"), frame->bytes);
    if (frame->text_len) {
        json_write_string_field(out, STR("text"), str_make(frame->text, frame->text_len));
    }
    if (frame->code) {
        json_write_u64_field(out, STR("code"), frame->code);
    }
    write_flag(out, STR("cut"), frame->is_cut);
    write_flag(out, STR("hidden"), frame->is_hidden);
    write_flag(out, STR("queued"), frame->is_queued);
    buf_append_char(out, '}');
}

/* What broke, or a stream that its page left, has no code. */
static void write_closed(struct buf *out, const struct watch *watch)
{
    bool is_said = watch->by_client && watch->code;
    json_write_key(out, STR("closed"));
    buf_append_char(out, '{');
    json_write_string_field(out, STR("by"), watch->by_client ? STR("client") : STR("gateway"));
    if (watch->code > SSE_END_OF_POLL) {
        json_write_u64_field(out, STR("code"), watch->code);
    }
    json_write_string_field(out, STR("reason"),
                            is_said ? STR("client") : str_of(stats_close_reason(watch->code)));
    buf_append_char(out, '}');
}

/* Returns the number of the last one. */
static uint64_t write_frames(struct buf *out, const struct watch *watch, uint64_t after,
                             uint64_t limit, size_t max)
{
    uint64_t last = after;
    const struct watch_frame *frame = watch_frames_after(watch, after);
    json_write_key(out, STR("frames"));
    buf_append_char(out, '[');
    for (; frame && limit > 0 && out->len < max; frame = frame->next, limit--) {
        write_frame(out, frame);
        last = frame->number;
    }
    buf_append_char(out, ']');
    return last;
}

/* Half of what the bus carries, since one frame's text may become six times as long. */
static size_t most_text(const struct worker *worker)
{
    const struct cluster *cluster = worker->gateway->cluster;
    size_t most = cluster ? cluster_reply_bytes(cluster) / 2 : TEXT_MAX;
    return most < TEXT_MAX ? most : TEXT_MAX;
}

static void fill(struct gather_part *part, const struct watch *watch, const struct wanted *wanted)
{
    struct buf *out = &part->text;
    uint64_t after = wanted->after;
    const struct watch_frame *first = watch_frames_after(watch, after);
    json_write_string_field(out, STR("node"), str_of(part->worker->gateway->node));
    uint64_t last = write_frames(out, watch, after, wanted->limit, most_text(part->worker));
    json_write_u64_field(out, STR("missed"), first ? first->number - after - 1 : 0);
    json_write_key(out, STR("next"));
    buf_printf(out, "\"%u.%llu\"", watch->id, (unsigned long long)last);
    json_write_u64_field(out, STR("lease_ms"), WATCH_LEASE_MS);
    bool is_end = watch->has_ended && last == watch->frames;
    if (is_end) {
        write_closed(out, watch);
    }
    part->counts[PART_VERDICT] = SESSION_WATCHED;
    part->counts[PART_HAS_NEWS] = first || is_end;
}

static void answer_hold(struct hold *hold)
{
    struct gather_part *part = hold->part;
    const struct watch *watch = watch_find(part->worker, hold->slot, hold->generation);
    loop_timer_stop(part->worker->loop, &hold->timer);
    watch_wait_no_more(&hold->waiter);
    worker_remove_pending(&hold->pending);
    if (watch) {
        fill(part, watch, &hold->wanted);
    }
    mem_free(hold);
    gather_part_done(part);
}

static void run_woken(struct mail *mail)
{
    answer_hold(MAIL_OWNER(mail, struct gather_part, mail)->holder);
}

static void wake(struct watch_waiter *waiter)
{
    struct hold *hold = (struct hold *)((char *)waiter - offsetof(struct hold, waiter));
    struct gather_part *part = hold->part;
    loop_timer_stop(part->worker->loop, &hold->timer);
    worker_remove_pending(&hold->pending);
    part->mail.run = run_woken;
    worker_post(part->worker, &part->mail);
}

static void on_timer(struct timer *timer)
{
    answer_hold((struct hold *)((char *)timer - offsetof(struct hold, timer)));
}

static void cancel(struct worker_pending *pending)
{
    answer_hold((struct hold *)((char *)pending - offsetof(struct hold, pending)));
}

static void hold_until_news(struct gather_part *part, struct watch *watch,
                            const struct wanted *wanted)
{
    struct hold *hold = mem_alloc(sizeof(*hold));
    if (!hold) {
        fill(part, watch, wanted);
        return;
    }
    *hold = (struct hold){.waiter = {.wake = wake},
                          .pending = {.cancel = cancel},
                          .timer = {.on_fire = on_timer},
                          .part = part,
                          .slot = watch->slot,
                          .generation = watch->generation,
                          .wanted = *wanted};
    part->holder = hold;
    gather_part_hold(part);
    watch_wait(watch, &hold->waiter);
    worker_add_pending(part->worker, &hold->pending);
    loop_timer_start(part->worker->loop, &hold->timer, (uint32_t)wanted->hold_ms);
}

static const struct session *find_session(const struct gather_part *part, const struct sid *sid)
{
    struct shard *shard = part->worker->shard;
    const struct session *session = shard_session_find(shard, sid->slot, sid->generation);
    bool is_there = session && session->app == part->app && session->state >= SESSION_REPLAYING &&
                    session->state != SESSION_ENDED;
    return is_there ? session : NULL;
}

/* NULL: there is none, and the verdict says why. */
static struct watch *begin(struct gather_part *part, const struct session *session)
{
    struct watch *watch = NULL;
    if (session && watch_start(part->worker, session, &watch)) {
        part->counts[PART_VERDICT] = WATCHES_FULL;
    }
    return watch;
}

/* Who goes on does so with the watch of before, or is told that it is over: each beginning is an
 * act that is audited, also where somebody else watches already. */
static struct watch *find_watch(struct gather_part *part, const struct sid *sid,
                                const struct wanted *wanted)
{
    struct watch *watch = watch_find(part->worker, sid->slot, sid->generation);
    const struct session *session = find_session(part, sid);
    watch = watch && watch->app == part->app ? watch : NULL;
    if (wanted->watch == 0) {
        return watch ? watch : begin(part, session);
    }
    if (watch && watch->id == wanted->watch) {
        return watch;
    }
    if (watch || session) {
        part->counts[PART_VERDICT] = WATCH_OVER;
    }
    return NULL;
}

static bool is_here(const struct worker *worker, struct str text, struct sid *out_sid)
{
    const struct gateway *gateway = worker->gateway;
    return cluster_keys_parse_sid(&gateway->keys, out_sid, text) &&
           out_sid->node == gateway->boot && out_sid->worker == worker->index;
}

/* Who begins is answered at once: from now on nothing is missed. */
static void ask(struct gather_part *part)
{
    struct wanted wanted;
    struct sid sid;
    if (!read_wanted(&wanted, part->gather->name) || !is_here(part->worker, wanted.sid, &sid)) {
        return;
    }
    struct watch *watch = find_watch(part, &sid, &wanted);
    if (!watch) {
        return;
    }
    bool has_news = watch->has_ended || watch_frames_after(watch, wanted.after);
    if (wanted.watch == 0 || has_news || wanted.hold_ms == 0) {
        fill(part, watch, &wanted);
    } else {
        hold_until_news(part, watch, &wanted);
    }
}

/* ---- the asker ---- */

/* From the first question to the answer. */
struct looking {
    struct worker *worker;
    struct http_exchange *exchange;
    uint16_t app;
    struct sid sid;
    char sid_text[SID_LEN + 1];
    uint64_t watch, after, limit;
    uint64_t ends_ms; /* monotonic */
};

/* Nobody waits any more. */
static void on_gone(struct http_exchange *exchange)
{
    struct looking *looking = exchange->user;
    looking->ends_ms = 0;
}

static bool ask_again(struct looking *looking)
{
    uint64_t now_ms = worker_now_ms(looking->worker);
    uint64_t left_ms = looking->ends_ms > now_ms ? looking->ends_ms - now_ms : 0;
    char name[SID_LEN + 96];
    struct api_call call = {.worker = looking->worker,
                            .exchange = looking->exchange,
                            .tenant = &looking->worker->tenants->items[looking->app]};
    int len = snprintf(name, sizeof(name), "%s %llu %llu %llu %llu", looking->sid_text,
                       (unsigned long long)looking->watch, (unsigned long long)looking->after,
                       (unsigned long long)looking->limit,
                       (unsigned long long)(left_ms < FRAMES_HOLD_MS ? left_ms : FRAMES_HOLD_MS));
    return gather_try_at(&call, &frames_kind, looking->sid.node, str_make(name, (size_t)len));
}

static void refuse_memory(struct http_exchange *exchange)
{
    http_answer_retry(exchange, 503, "overloaded", "The gateway is short of memory.", 1);
}

/* What another node wrote goes into the answer as it is, if it is JSON. */
static bool write_answer(struct buf *out, const struct looking *looking,
                         const struct gather_part *part)
{
    struct json_value object;
    buf_append_char(out, '{');
    json_write_string_field(out, STR("sid"), str_of(looking->sid_text));
    buf_append_char(out, ',');
    buf_append_str(out, buf_str(&part->text));
    buf_append_char(out, '}');
    out->err = out->err ? out->err : part->text.err;
    return buf_err(out) || part->worker || json_parse(&object, buf_str(out), 4, NULL) == 0;
}

static void answer_frames(const struct looking *looking, const struct gather_part *part)
{
    struct buf out = {0};
    bool is_sound = write_answer(&out, looking, part);
    if (buf_err(&out)) {
        refuse_memory(looking->exchange);
    } else if (!is_sound) {
        http_answer_retry(looking->exchange, 503, "node_silent",
                          "The node that has the session did not answer in time.", 1);
    } else {
        http_answer_json(looking->exchange, 200, buf_str(&out));
    }
    buf_fini(&out);
}

static void answer_none(struct gather *gather, const struct gather_part *part)
{
    struct http_exchange *exchange = gather->exchange;
    uint64_t verdict = part ? part->counts[PART_VERDICT] : SESSION_UNKNOWN;
    if (verdict == WATCH_OVER) {
        http_answer_problem(exchange, 410, "watch_over",
                            "Nobody asked for ten seconds: begin again, without `after`.");
    } else if (verdict == WATCHES_FULL) {
        http_answer_retry(exchange, 429, "too_many_watches",
                          "The session's worker has as many sessions watched as it may.", 10);
    } else if (gather->is_complete) {
        http_answer_problem(exchange, 404, "session_not_found", "No session has this id.");
    } else {
        http_answer_retry(exchange, 503, "node_silent",
                          "The node that has the session did not answer in time.", 1);
    }
}

/* Not into the gateway's end, whose first sign is that the cluster is gone. */
static bool may_wait(const struct looking *looking)
{
    const struct worker *worker = looking->worker;
    return worker->gateway->cluster && worker_now_ms(worker) < looking->ends_ms &&
           !atomic_load_explicit(&worker->callers_told, memory_order_relaxed);
}

static void finish(struct gather *gather)
{
    struct looking *looking = gather->exchange->user;
    struct gather_part *part = gather->part_count ? gather_part_at(gather, 0) : NULL;
    bool is_watched = part && part->counts[PART_VERDICT] == SESSION_WATCHED;
    if (is_watched && !part->counts[PART_HAS_NEWS] && may_wait(looking) && ask_again(looking)) {
        return;
    }
    if (is_watched) {
        answer_frames(looking, part);
    } else {
        answer_none(gather, part);
    }
    mem_free(looking);
}

const struct gather_kind frames_kind = {.number = FRAMES_OF_SESSION,
                                        .ask = ask,
                                        .fold = gather_fold,
                                        .finish = finish,
                                        .pick_worker = worker_of_session};

/* ---- the request ---- */

/* "watch.number", as `next` of an answer. */
static bool read_after(struct api_call *call, struct looking *looking)
{
    char scratch[API_NAME_BYTES];
    struct str rest = STR("");
    struct str part;
    if (!query_args_text(call, "after", "invalid_after", scratch, &rest)) {
        return false;
    }
    if (rest.len == 0 ||
        (str_split(&rest, '.', &part) && str_to_u64(part, UINT32_MAX, &looking->watch) &&
         rest.ptr && str_to_u64(rest, UINT64_MAX - 1, &looking->after))) {
        return true;
    }
    api_refuse(call, 422, "invalid_after", "`after` is the `next` of an answer.");
    return false;
}

static bool read_sid(struct api_call *call, struct looking *looking)
{
    const struct gateway *gateway = call->worker->gateway;
    struct str text = call->names[0];
    if (!cluster_keys_parse_sid(&gateway->keys, &looking->sid, text) ||
        !cluster_may_have(gateway->cluster, looking->sid.node)) {
        api_refuse(call, 404, "session_not_found", "No session has this id.");
        return false;
    }
    snprintf(looking->sid_text, sizeof(looking->sid_text), "%.*s", STR_ARG(text));
    return true;
}

static bool read_request(struct api_call *call, struct looking *looking)
{
    uint64_t wait_ms = 0;
    *looking = (struct looking){.worker = call->worker,
                                .exchange = call->exchange,
                                .app = call->tenant->id,
                                .limit = FRAMES_PAGE};
    if (!read_after(call, looking) ||
        !query_args_number(call, "limit", "invalid_limit", 1, WATCH_FRAMES, &looking->limit) ||
        !query_args_number(call, "wait_ms", "invalid_wait_ms", 0, FRAMES_WAIT_MAX_MS, &wait_ms) ||
        !read_sid(call, looking)) {
        return false;
    }
    looking->ends_ms = worker_now_ms(call->worker) + wait_ms;
    return true;
}

/* To look at what passes is an act. Going on with it is the same one. False: answered. */
static bool begin_act(struct api_call *call, const struct looking *looking)
{
    char target[sizeof("sessions/") + SID_LEN];
    snprintf(target, sizeof(target), "sessions/%s", looking->sid_text);
    return looking->watch != 0 || api_begin_act(call, "session.watch", str_of(target));
}

void frames_handle_get(struct api_call *call)
{
    struct looking *looking = mem_alloc(sizeof(*looking));
    if (!looking) {
        refuse_memory(call->exchange);
    } else if (!read_request(call, looking) || !begin_act(call, looking)) {
        mem_free(looking);
    } else {
        call->exchange->user = looking;
        call->exchange->on_gone = on_gone;
        if (!ask_again(looking)) {
            mem_free(looking);
            refuse_memory(call->exchange);
        }
    }
}
