#include "api/message_state.h"

#include "api/push.h"
#include "proto/json.h"

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

_Static_assert(sizeof(struct known) == 72 && sizeof(struct message_place) == 24, "as they travel");

static const char *const drop_names[RECEIPT_DROPS] = {
    [RECEIPT_CLOSED] = "session_closed", [RECEIPT_SLOW] = "slow_consumer",
    [RECEIPT_OVERLOADED] = "overloaded", [RECEIPT_EXPIRED] = "expired",
    [RECEIPT_COLLAPSED] = "collapsed",   [RECEIPT_REVOKED] = "revoked",
};

/* ---- what a node tells ---- */

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

static void take_messages(struct known *known, struct message *const *messages, size_t count,
                          uint64_t now_ms)
{
    struct receipt_counts counts = {.is_settled = true};
    known->found = (uint32_t)count;
    for (size_t i = 0; i < count; i++) {
        const struct message *message = messages[i];
        known->parts = message->event.parts;
        known->time_ms = message->event.time_ms;
        known->is_expired = message->expires_ms && message->expires_ms <= now_ms;
        known->is_void = message_has_fate(message, MESSAGE_IS_VOID);
        if (!message->receipt) {
            counts.is_settled = false; /* memory was out when it came */
        } else if (!is_counted(messages, i)) {
            receipt_add_counts(message->receipt, &counts);
        }
    }
    take_counts(known, &counts);
}

void message_state_tell(struct buf *out, struct message *const *messages, size_t count,
                        uint64_t now_ms)
{
    struct known known = {.size = sizeof(known)};
    take_messages(&known, messages, count, now_ms);
    buf_append(out, &known, sizeof(known));
    for (size_t i = 0; i < count; i++) {
        struct message_place place = {messages[i]->event.part, messages[i]->queue,
                                      messages[i]->pos};
        buf_append(out, &place, sizeof(place));
    }
}

/* ---- what all tell together ---- */

static void add_counts(struct message_state *state, const struct known *known)
{
    state->parts = known->parts;
    state->time_ms = known->time_ms;
    state->is_expired |= known->is_expired;
    state->is_void |= known->is_void;
    state->matched += known->matched;
    state->written += known->written;
    state->acked += known->acked;
    state->replayed += known->replayed;
    for (int i = 0; i < RECEIPT_DROPS; i++) {
        state->dropped_by[i] += known->dropped_by[i];
    }
    state->nodes += known->found == known->parts;
    state->is_settled = state->is_settled && known->is_settled;
}

static void add_places(struct message_state *state, struct str rest)
{
    for (struct message_place place; rest.len >= sizeof(place);
         rest = str_make(rest.ptr + sizeof(place), rest.len - sizeof(place))) {
        memcpy(&place, rest.ptr, sizeof(place));
        if (place.part < EVENT_MAX_PARTS) {
            state->places[place.part] = place;
            state->found |= 1ull << place.part;
        }
    }
}

bool message_state_add(struct message_state *state, struct str told)
{
    struct known known;
    if (told.len < sizeof(known)) {
        return false;
    }
    memcpy(&known, told.ptr, sizeof(known));
    if (known.size < sizeof(known) || known.size > told.len) {
        return false;
    }
    add_counts(state, &known);
    add_places(state, str_make(told.ptr + known.size, told.len - known.size));
    return state->found != 0;
}

static void write_places(struct buf *out, const struct message_state *state)
{
    json_write_key(out, STR("pos"));
    bool is_list = state->parts > 1;
    if (is_list) {
        buf_append_char(out, '[');
    }
    for (uint32_t i = 0; i < EVENT_MAX_PARTS; i++) {
        if (state->found >> i & 1) {
            json_write_comma(out);
            push_write_pos(out, state->places[i].queue, state->places[i].pos);
        }
    }
    if (is_list) {
        buf_append_char(out, ']');
    }
}

static uint64_t sum_drops(const struct message_state *state)
{
    uint64_t sum = 0;
    for (int i = 0; i < RECEIPT_DROPS; i++) {
        sum += state->dropped_by[i];
    }
    return sum;
}

static void write_drops(struct buf *out, const struct message_state *state)
{
    json_write_u64_field(out, STR("dropped"), sum_drops(state));
    json_write_key(out, STR("dropped_by"));
    buf_append_char(out, '{');
    for (int i = 0; i < RECEIPT_DROPS; i++) {
        if (state->dropped_by[i]) {
            json_write_u64_field(out, str_of(drop_names[i]), state->dropped_by[i]);
        }
    }
    buf_append_char(out, '}');
}

static void write_receipt(struct buf *out, const struct message_state *state, uint32_t nodes,
                          bool all_have_told)
{
    bool is_complete = all_have_told && state->is_settled && state->nodes == nodes;
    buf_printf(out, ",\"receipt\":{\"complete\":%s,\"nodes\":{\"expected\":%u,\"reported\":%u}",
               is_complete ? "true" : "false", nodes, state->nodes);
    json_write_key(out, STR("sessions"));
    buf_append_char(out, '{');
    json_write_u64_field(out, STR("matched"), state->matched);
    json_write_u64_field(out, STR("written"), state->written);
    json_write_u64_field(out, STR("acked"), state->acked);
    json_write_u64_field(out, STR("replayed"), state->replayed);
    write_drops(out, state);
    buf_append_str(out, STR("}}"));
}

static struct str state_of(const struct message_state *state)
{
    if (state->is_void) {
        return STR("cancelled");
    }
    return state->is_expired ? STR("expired") : STR("accepted");
}

void message_state_write(struct buf *out, const struct message_state *state, uint32_t nodes,
                         bool all_have_told)
{
    write_places(out, state);
    json_write_u64_field(out, STR("ts"), state->time_ms);
    json_write_string_field(out, STR("state"), state_of(state));
    write_receipt(out, state, nodes, all_have_told);
}
