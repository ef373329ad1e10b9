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
    uint32_t unused;
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

static void ask(struct gather_part *part)
{
    struct message *messages[EVENT_MAX_PARTS];
    const struct worker *worker = part->worker;
    size_t count = hub_find_messages(worker->gateway->hub, shard_app_hash(worker->shard, part->app),
                                     part->gather->name, messages);
    if (count > 0) {
        write_known(&part->text, messages, count);
    }
    for (size_t i = 0; i < count; i++) {
        message_unref(messages[i]);
    }
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

static void answer(struct gather *gather, const struct sum *sum)
{
    struct buf out = {0};
    buf_append_char(&out, '{');
    json_write_string_field(&out, STR("id"), gather->name);
    write_places(&out, sum);
    json_write_u64_field(&out, STR("ts"), sum->known.time_ms);
    json_write_string_field(&out, STR("state"),
                            sum->known.is_expired ? STR("expired") : STR("accepted"));
    write_receipt(&out, gather, sum);
    json_write_u64_field(&out, STR("as_of"), clock_wall_ms());
    buf_append_char(&out, '}');
    if (buf_err(&out)) {
        http_answer_retry(gather->exchange, 503, "overloaded", "The gateway is short of memory.",
                          1);
    } else {
        http_answer_json(gather->exchange, 200, buf_str(&out));
    }
    buf_fini(&out);
}

static void finish(struct gather *gather)
{
    struct sum sum = {.is_settled = true};
    bool is_known = false;
    for (uint32_t i = 0; i < gather->part_count; i++) {
        is_known = add(&sum, gather_part_at(gather, i)) || is_known;
    }
    if (is_known) {
        answer(gather, &sum);
    } else if (gather->is_complete) {
        http_answer_problem(gather->exchange, 404, "message_unknown",
                            "No message of this id is remembered.");
    } else {
        http_answer_retry(gather->exchange, 503, "node_silent",
                          "A node that may know the message did not answer in time.", 1);
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
