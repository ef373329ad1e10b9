#include "api/receipts.h"

#include "api/gather.h"
#include "api/push.h"
#include "base/clock.h"
#include "core/message.h"
#include "core/receipt.h"
#include "proto/json.h"

/* As it travels between nodes: never to be renumbered. */
enum { RECEIPT_KIND = 16 };

/* What one node knows, as it travels: the places of the parts that it found follow behind size
 * bytes. Only append. */
struct known {
    uint32_t size; /* of this, in bytes */
    uint32_t parts;
    uint32_t found; /* of the parts, how many are in the node's window */
    uint32_t is_settled;
    uint32_t is_expired;
    uint32_t matched, written, acked, replayed;
    uint32_t dropped_by[RECEIPT_DROPS];
    uint32_t is_void;
    uint64_t time_ms;
};

struct place {
    uint32_t part, queue;
    struct bus_pos pos;
};

_Static_assert(sizeof(struct known) == 72 && sizeof(struct place) == 24, "as they travel");

static const char *const drop_names[RECEIPT_DROPS] = {
    [RECEIPT_CLOSED] = "session_closed", [RECEIPT_SLOW] = "slow_consumer",
    [RECEIPT_OVERLOADED] = "overloaded", [RECEIPT_EXPIRED] = "expired",
    [RECEIPT_COLLAPSED] = "collapsed",   [RECEIPT_REVOKED] = "revoked",
};

/* ---- on each node ---- */

/* The parts of one push may share a receipt. */
static bool is_counted(struct message *const *messages, size_t index)
{
    for (size_t i = 0; i < index; i++) {
        if (messages[i]->receipt == messages[index]->receipt) {
            return true;
        }
    }
    return false;
}

static void take_counts(struct known *known, const struct receipt_counts *counts)
{
    known->is_settled = counts->is_settled;
    known->matched = counts->matched;
    known->written = counts->written;
    known->acked = counts->acked;
    known->replayed = counts->replayed;
    memcpy(known->dropped_by, counts->dropped_by, sizeof(known->dropped_by));
}

static void take_messages(struct known *known, struct message *const *messages, size_t count)
{
    struct receipt_counts counts = {.is_settled = true};
    uint64_t now = clock_monotonic_ms();
    known->found = (uint32_t)count;
    for (size_t i = 0; i < count; i++) {
        const struct message *message = messages[i];
        known->parts = message->event.parts;
        known->time_ms = message->event.time_ms;
        known->is_expired = message->expires_ms && message->expires_ms <= now;
        known->is_void = message_has_fate(message, MESSAGE_IS_VOID);
        if (!message->receipt) {
            counts.is_settled = false; /* memory was out when it came */
        } else if (!is_counted(messages, i)) {
            receipt_add_counts(message->receipt, &counts);
        }
    }
    take_counts(known, &counts);
}

static void write_known(struct buf *out, struct message *const *messages, size_t count)
{
    struct known known = {.size = sizeof(known)};
    take_messages(&known, messages, count);
    buf_append(out, &known, sizeof(known));
    for (size_t i = 0; i < count; i++) {
        struct place place = {messages[i]->event.part, messages[i]->queue, messages[i]->pos};
        buf_append(out, &place, sizeof(place));
    }
}

static size_t find(const struct worker *worker, uint16_t app, struct str id,
                   struct message *messages[EVENT_MAX_PARTS])
{
    return hub_find_messages(worker->gateway->hub, shard_app_hash(worker->shard, app), id,
                             messages);
}

static void let_go(struct message *const *messages, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        message_unref(messages[i]);
    }
}

static void ask(struct gather_part *part)
{
    struct message *messages[EVENT_MAX_PARTS];
    size_t count = find(part->worker, part->app, part->gather->name, messages);
    if (count > 0) {
        write_known(&part->text, messages, count);
    }
    let_go(messages, count);
}

/* All nodes have the same, and any worker of a node can tell. */
static int pick_worker(const struct gateway *gateway, struct str name)
{
    return (int)(siphash(&gateway->keys.sid_keys[0], name.ptr, name.len) % gateway->worker_count);
}

/* ---- on the asker ---- */

struct sum {
    struct known known;
    struct place places[EVENT_MAX_PARTS];
    uint64_t found; /* bit i: part i has a place */
    uint32_t nodes; /* that know all of it */
    bool is_settled;
};

static void add_counts(struct sum *sum, const struct known *known)
{
    sum->known.parts = known->parts;
    sum->known.time_ms = known->time_ms;
    sum->known.is_expired |= known->is_expired;
    sum->known.is_void |= known->is_void;
    sum->known.matched += known->matched;
    sum->known.written += known->written;
    sum->known.acked += known->acked;
    sum->known.replayed += known->replayed;
    for (int i = 0; i < RECEIPT_DROPS; i++) {
        sum->known.dropped_by[i] += known->dropped_by[i];
    }
    sum->nodes += known->found == known->parts;
    sum->is_settled = sum->is_settled && known->is_settled;
}

static void add_places(struct sum *sum, struct str rest)
{
    for (struct place place; rest.len >= sizeof(place);
         rest = str_make(rest.ptr + sizeof(place), rest.len - sizeof(place))) {
        memcpy(&place, rest.ptr, sizeof(place));
        if (place.part < EVENT_MAX_PARTS) {
            sum->places[place.part] = place;
            sum->found |= 1ull << place.part;
        }
    }
}

/* False: the node does not know the message, or says what makes no sense. */
static bool add(struct sum *sum, const struct gather_part *part)
{
    struct str text = buf_str(&part->text);
    struct known known;
    if (text.len < sizeof(known)) {
        return false;
    }
    memcpy(&known, text.ptr, sizeof(known));
    if (known.size < sizeof(known) || known.size > text.len) {
        return false;
    }
    add_counts(sum, &known);
    add_places(sum, str_make(text.ptr + known.size, text.len - known.size));
    return true;
}

static void write_places(struct buf *out, const struct sum *sum)
{
    json_write_key(out, STR("pos"));
    bool is_list = sum->known.parts > 1;
    if (is_list) {
        buf_append_char(out, '[');
    }
    for (uint32_t i = 0; i < EVENT_MAX_PARTS; i++) {
        if (sum->found >> i & 1) {
            json_write_comma(out);
            push_write_pos(out, sum->places[i].queue, sum->places[i].pos);
        }
    }
    if (is_list) {
        buf_append_char(out, ']');
    }
}

static uint64_t sum_drops(const struct known *known)
{
    uint64_t sum = 0;
    for (int i = 0; i < RECEIPT_DROPS; i++) {
        sum += known->dropped_by[i];
    }
    return sum;
}

static void write_drops(struct buf *out, const struct known *known)
{
    json_write_u64_field(out, STR("dropped"), sum_drops(known));
    json_write_key(out, STR("dropped_by"));
    buf_append_char(out, '{');
    for (int i = 0; i < RECEIPT_DROPS; i++) {
        if (known->dropped_by[i]) {
            json_write_u64_field(out, str_of(drop_names[i]), known->dropped_by[i]);
        }
    }
    buf_append_char(out, '}');
}

static void write_receipt(struct buf *out, const struct gather *gather, const struct sum *sum)
{
    uint32_t nodes = gather_nodes(gather);
    bool is_complete = gather->is_complete && sum->is_settled && sum->nodes == nodes;
    buf_printf(out, ",\"receipt\":{\"complete\":%s,\"nodes\":{\"expected\":%u,\"reported\":%u}",
               is_complete ? "true" : "false", nodes, sum->nodes);
    json_write_key(out, STR("sessions"));
    buf_append_char(out, '{');
    json_write_u64_field(out, STR("matched"), sum->known.matched);
    json_write_u64_field(out, STR("written"), sum->known.written);
    json_write_u64_field(out, STR("acked"), sum->known.acked);
    json_write_u64_field(out, STR("replayed"), sum->known.replayed);
    write_drops(out, &sum->known);
    buf_append_str(out, STR("}}"));
}

/* Ends out. */
static void answer_built(struct http_exchange *exchange, int status, struct buf *out)
{
    if (buf_err(out)) {
        http_answer_retry(exchange, 503, "overloaded", "The gateway is short of memory.", 1);
    } else {
        http_answer_json(exchange, status, buf_str(out));
    }
    buf_fini(out);
}

static struct str state_of(const struct known *known)
{
    if (known->is_void) {
        return STR("cancelled");
    }
    return known->is_expired ? STR("expired") : STR("accepted");
}

static void answer(struct gather *gather, const struct sum *sum)
{
    struct buf out = {0};
    buf_append_char(&out, '{');
    json_write_string_field(&out, STR("id"), gather->name);
    write_places(&out, sum);
    json_write_u64_field(&out, STR("ts"), sum->known.time_ms);
    json_write_string_field(&out, STR("state"), state_of(&sum->known));
    write_receipt(&out, gather, sum);
    json_write_u64_field(&out, STR("as_of"), clock_wall_ms());
    buf_append_char(&out, '}');
    answer_built(gather->exchange, 200, &out);
}

static bool add_all(struct sum *sum, struct gather *gather)
{
    bool is_known = false;
    *sum = (struct sum){.is_settled = true};
    for (uint32_t i = 0; i < gather->part_count; i++) {
        is_known = add(sum, gather_part_at(gather, i)) || is_known;
    }
    return is_known;
}

static bool is_short_of_memory(struct gather *gather)
{
    for (uint32_t i = 0; i < gather->worker_parts; i++) {
        if (buf_err(&gather->parts[i].text)) {
            return true;
        }
    }
    return false;
}

static void refuse_unknown(struct gather *gather)
{
    if (is_short_of_memory(gather)) {
        http_answer_retry(gather->exchange, 503, "overloaded", "The gateway is short of memory.",
                          1);
    } else if (gather->is_complete) {
        http_answer_problem(gather->exchange, 404, "message_unknown",
                            "No message of this id is remembered.");
    } else {
        http_answer_retry(gather->exchange, 503, "node_silent",
                          "A node that may know the message did not answer in time.", 1);
    }
}

static void finish(struct gather *gather)
{
    struct sum sum;
    if (add_all(&sum, gather)) {
        answer(gather, &sum);
    } else {
        refuse_unknown(gather);
    }
}

const struct gather_kind receipts_kind = {.number = RECEIPT_KIND,
                                          .ask = ask,
                                          .fold = gather_fold,
                                          .finish = finish,
                                          .pick_worker = pick_worker,
                                          .unit = sizeof(struct known)};

void receipts_handle_get(struct api_call *call)
{
    gather_start(call, &receipts_kind, call->names[0]);
}

/* ---- cancelling: an event to the targets of the message, behind it in their queues ---- */

enum { CANCEL_WAIT_MS = 5000 };

static void write_cancelled(struct buf *out, const struct push_task *task,
                            const struct push_outcome *outcome)
{
    buf_append_char(out, '{');
    json_write_string_field(out, STR("id"), task->subject);
    json_write_string_field(out, STR("state"), STR("cancelled"));
    json_write_key(out, STR("sessions"));
    buf_append_char(out, '{');
    json_write_u64_field(out, STR("told"), outcome->matched - outcome->dropped);
    json_write_u64_field(out, STR("spared"), outcome->dropped);
    buf_append_char(out, '}');
    json_write_u64_field(out, STR("as_of"), clock_wall_ms());
    json_write_bool_field(out, STR("complete"), outcome->is_complete);
    buf_append_char(out, '}');
}

static void on_cancelled(struct push_task *task, const struct push_outcome *outcome)
{
    struct buf out = {0};
    if (push_answer_failure(task, outcome)) {
        return;
    }
    write_cancelled(&out, task, outcome);
    answer_built(task->owner, 200, &out);
}

/* Those of all its parts; a session that was left out does not hear of it now either. */
static bool take_targets(struct push *push, struct message *const *messages, size_t count)
{
    struct target target;
    for (size_t i = 0; i < count; i++) {
        struct str rest = messages[i]->event.target_bytes;
        while (event_next_target(&rest, &target)) {
            if (!push_add_target(push, target.kind, target.name)) {
                return false;
            }
        }
    }
    struct str rest = messages[0]->event.except_bytes;
    while (push->except_count < PUSH_EXCEPTS_MAX &&
           event_next_except(&rest, &push->excepts[push->except_count])) {
        push->except_count++;
    }
    push->origin_tag = messages[0]->event.origin_tag;
    return true;
}

static void cancel(struct worker *worker, uint16_t app, struct http_exchange *exchange,
                   struct str id, struct message *const *messages, size_t count)
{
    struct push push = {.wait = PUSH_WAIT_ROUTED, .wait_ms = CANCEL_WAIT_MS};
    struct push_kind kind = {.kind = EVENT_REVOKE, .subject = id};
    if (!take_targets(&push, messages, count) ||
        push_start(worker, &worker->tenants->items[app], &push, &kind, on_cancelled, exchange, 0)) {
        http_answer_retry(exchange, 503, "overloaded", "The gateway is short of memory.", 1);
    }
    push_fini(&push);
}

/* False: this node does not know the message. */
static bool cancel_if_found(struct worker *worker, uint16_t app, struct http_exchange *exchange,
                            struct str id)
{
    struct message *messages[EVENT_MAX_PARTS];
    size_t count = find(worker, app, id, messages);
    if (count > 0) {
        cancel(worker, app, exchange, id, messages, count);
    }
    let_go(messages, count);
    return count > 0;
}

/* It may have come meanwhile: the others were asked through the same bus. */
static void finish_cancel(struct gather *gather)
{
    struct sum sum;
    if (cancel_if_found(gather->asker, gather->parts[0].app, gather->exchange, gather->name)) {
        return;
    }
    if (add_all(&sum, gather)) {
        http_answer_retry(gather->exchange, 503, "node_behind",
                          "Another node has the message, and this one has not. Try again.", 1);
    } else {
        refuse_unknown(gather);
    }
}

static const struct gather_kind cancel_kind = {.number = RECEIPT_KIND,
                                               .ask = ask,
                                               .fold = gather_fold,
                                               .finish = finish_cancel,
                                               .pick_worker = pick_worker};

void receipts_handle_delete(struct api_call *call)
{
    if (!cancel_if_found(call->worker, call->tenant->id, call->exchange, call->names[0])) {
        gather_start(call, &cancel_kind, call->names[0]);
    }
}
