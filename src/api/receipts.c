#include "api/receipts.h"

#include "api/gather.h"
#include "api/message_state.h"
#include "api/push.h"
#include "base/clock.h"
#include "proto/json.h"

/* As it travels between nodes: never to be renumbered. */
enum { RECEIPT_KIND = 16 };

/* ---- on each node ---- */

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
        message_state_tell(&part->text, messages, count, clock_monotonic_ms());
    }
    let_go(messages, count);
}

/* All nodes have the same, and any worker of a node can tell. */
static int pick_worker(const struct gateway *gateway, struct str name)
{
    return (int)(siphash(&gateway->keys.sid_keys[0], name.ptr, name.len) % gateway->worker_count);
}

/* ---- on the asker ---- */

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

static void answer(struct gather *gather, const struct message_state *state)
{
    struct buf out = {0};
    buf_append_char(&out, '{');
    json_write_string_field(&out, STR("id"), gather->name);
    message_state_write(&out, state, gather_nodes(gather), gather->is_complete);
    json_write_u64_field(&out, STR("as_of"), clock_wall_ms());
    buf_append_char(&out, '}');
    answer_built(gather->exchange, 200, &out);
}

static bool add_all(struct message_state *state, struct gather *gather)
{
    bool is_known = false;
    *state = (struct message_state){.is_settled = true};
    for (uint32_t i = 0; i < gather->part_count; i++) {
        is_known = message_state_add(state, buf_str(&gather_part_at(gather, i)->text)) || is_known;
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
    struct message_state state;
    if (add_all(&state, gather)) {
        answer(gather, &state);
    } else {
        refuse_unknown(gather);
    }
}

const struct gather_kind receipts_kind = {.number = RECEIPT_KIND,
                                          .ask = ask,
                                          .fold = gather_fold,
                                          .finish = finish,
                                          .pick_worker = pick_worker};

void receipts_handle_get(struct api_call *call)
{
    gather_start(call, &receipts_kind, call->names[0]);
}

/* ---- cancelling: an event to the targets of the message, behind it in their queues. It costs what
 * a push to them does. ---- */

enum { CANCEL_WAIT_MS = 5000 };

/* Of a revoke only withdrawals are dropped. */
static void write_cancelled(struct buf *out, struct str id, const struct push_outcome *outcome)
{
    /* A far node's report may come between the two that were read. */
    uint32_t spared = outcome->dropped < outcome->matched ? outcome->dropped : outcome->matched;
    buf_append_char(out, '{');
    json_write_string_field(out, STR("id"), id);
    json_write_string_field(out, STR("state"), STR("cancelled"));
    json_write_key(out, STR("sessions"));
    buf_append_char(out, '{');
    json_write_u64_field(out, STR("told"), outcome->matched - spared);
    json_write_u64_field(out, STR("spared"), spared);
    buf_append_char(out, '}');
    json_write_u64_field(out, STR("as_of"), clock_wall_ms());
    json_write_bool_field(out, STR("complete"), outcome->is_complete);
    buf_append_char(out, '}');
}

static void answer_cancelled(struct http_exchange *exchange, struct str id,
                             const struct push_outcome *outcome)
{
    struct buf out = {0};
    write_cancelled(&out, id, outcome);
    answer_built(exchange, 200, &out);
}

static void on_cancelled(struct push_task *task, const struct push_outcome *outcome)
{
    if (!push_answer_failure(task, outcome)) {
        answer_cancelled(task->owner, task->subject, outcome);
    }
}

/* All of it, so nobody has to hear of it again. */
static bool is_void(struct message *const *messages, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (!message_has_fate(messages[i], MESSAGE_IS_VOID)) {
            return false;
        }
    }
    return count == messages[0]->event.parts;
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
    if (count > 0 && is_void(messages, count)) {
        answer_cancelled(exchange, id, &(struct push_outcome){.is_complete = true});
    } else if (count > 0) {
        cancel(worker, app, exchange, id, messages, count);
    }
    let_go(messages, count);
    return count > 0;
}

/* It may have come meanwhile: the others were asked through the same bus. */
static void finish_cancel(struct gather *gather)
{
    struct message_state state;
    if (cancel_if_found(gather->asker, gather->parts[0].app, gather->exchange, gather->name)) {
        return;
    }
    if (add_all(&state, gather)) {
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
    if (push_is_over_quota(call->tenant, call->exchange)) {
        return;
    }
    if (!cancel_if_found(call->worker, call->tenant->id, call->exchange, call->names[0])) {
        gather_start(call, &cancel_kind, call->names[0]);
    }
}
