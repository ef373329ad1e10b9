#include "cli/tail_state.h"

#include "base/err.h"
#include "cli/output.h"
#include "proto/json.h"

int tail_state_init(struct tail_state *state)
{
    tail_state_reset_connection(state);
    return siphash_key_random(&state->seen_key);
}

void tail_state_reset_connection(struct tail_state *state)
{
    state->welcomed = false;
    state->going_away = false;
    state->token_expiring = false;
    state->slot_ms = 0;
    state->ping_ms = 25000;
    state->retry_base_ms = 500;
    state->retry_max_ms = 30000;
}

void tail_sink_fini(struct tail_sink *sink)
{
    buf_fini(&sink->out);
    buf_fini(&sink->words);
    buf_fini(&sink->answer);
}

/* --- Small readers --- */

static struct json_value get(struct json_value frame, struct str name)
{
    struct json_value value = {0};
    json_get(frame, name, &value);
    return value;
}

/* Into a NUL-terminated field; false when it is no text, too long, or holds a NUL. */
static bool copy_text(struct json_value value, char out[TAIL_NAME_MAX])
{
    char scratch[TAIL_NAME_MAX];
    struct str text;
    if (json_string_text(value, scratch, TAIL_NAME_MAX - 1, &text) ||
        (text.len > 0 && memchr(text.ptr, 0, text.len))) {
        return false;
    }
    memmove(out, text.ptr, text.len);
    out[text.len] = '\0';
    return true;
}

static void get_number(struct json_value frame, struct str name, uint64_t max, uint64_t *out)
{
    json_u64(get(frame, name), max, out);
}

/* As it stands between the quotes, escapes and all: safe for a terminal and for columns. */
static struct str quoted_text(struct json_value value)
{
    if (value.type != JSON_TYPE_STRING || value.raw.len == 2) {
        return STR("-");
    }
    return str_make(value.raw.ptr + 1, value.raw.len - 2);
}

/* --- Positions --- */

static void set_position(struct tail_state *state, struct tail_position position)
{
    for (size_t i = 0; i < state->position_count; i++) {
        if (strcmp(state->positions[i].queue, position.queue) == 0) {
            state->positions[i] = position;
            return;
        }
    }
    if (state->position_count < TAIL_QUEUES_MAX) {
        state->positions[state->position_count++] = position;
    }
}

static void take_positions(struct tail_state *state, struct json_value positions)
{
    struct json_iter iter;
    struct json_value key, value;
    json_iter_init(&iter, positions);
    while (json_next(&iter, &key, &value)) {
        struct tail_position position;
        if (copy_text(key, position.queue) && copy_text(value, position.position)) {
            set_position(state, position);
        }
    }
}

/* "2:81723.0": the queue, and the place in it. */
static void take_message_position(struct tail_state *state, struct json_value value)
{
    char text[TAIL_NAME_MAX];
    struct tail_position position;
    char *colon = copy_text(value, text) ? strchr(text, ':') : NULL;
    if (colon) {
        *colon = '\0';
        memcpy(position.queue, text, (size_t)(colon - text) + 1);
        strcpy(position.position, colon + 1);
        set_position(state, position);
    }
}

/* --- Frames --- */

/* Of another history the old positions mean nothing. */
static void take_epoch(struct tail_state *state, struct json_value frame)
{
    char epoch[TAIL_NAME_MAX];
    if (copy_text(get(frame, STR("epoch")), epoch) && strcmp(epoch, state->epoch) != 0) {
        state->position_count = 0;
        strcpy(state->epoch, epoch);
    }
}

/* The stream goes on behind the gap; positions of other queues stay good, also under a new name. */
static void take_gap(struct tail_state *state, struct json_value frame)
{
    struct tail_position position;
    copy_text(get(frame, STR("epoch")), state->epoch);
    if (copy_text(get(frame, STR("q")), position.queue) &&
        copy_text(get(frame, STR("to")), position.position)) {
        set_position(state, position);
    }
}

static void on_welcome(struct tail_state *state, struct json_value frame, struct tail_sink *sink)
{
    take_epoch(state, frame);
    if (json_equals(get(frame, STR("resumed")), STR("none"))) {
        state->position_count = 0;
    }
    state->welcomed = true;
    take_positions(state, get(frame, STR("pos")));
    get_number(frame, STR("ping_ms"), 86400000, &state->ping_ms);
    struct json_value retry = get(frame, STR("retry"));
    get_number(retry, STR("base_ms"), 3600000, &state->retry_base_ms);
    get_number(retry, STR("max_ms"), 3600000, &state->retry_max_ms);
    buf_printf(&sink->words, "connected: session %.*s, user %.*s, resumed %.*s\n",
               STR_ARG(quoted_text(get(frame, STR("sid")))),
               STR_ARG(quoted_text(get(frame, STR("user")))),
               STR_ARG(quoted_text(get(frame, STR("resumed")))));
}

/* True the first time. Without an id there is nothing to compare. */
static bool is_new(struct tail_state *state, struct json_value id)
{
    if (id.type != JSON_TYPE_STRING) {
        return true;
    }
    uint64_t hash = siphash(&state->seen_key, id.raw.ptr, id.raw.len) | 1;
    for (size_t i = 0; i < TAIL_SEEN_IDS; i++) {
        if (state->seen[i] == hash) {
            return false;
        }
    }
    state->seen[state->seen_at] = hash;
    state->seen_at = (state->seen_at + 1) % TAIL_SEEN_IDS;
    return true;
}

static void write_columns(struct json_value frame, struct buf *out)
{
    struct json_value data = get(frame, STR("data"));
    if (data.type == JSON_TYPE_NONE) {
        data = get(frame, STR("data_base64"));
    }
    const struct str columns[] = {quoted_text(get(frame, STR("id"))),
                                  quoted_text(get(frame, STR("type"))),
                                  quoted_text(get(frame, STR("g")))};
    for (size_t i = 0; i < sizeof(columns) / sizeof(columns[0]); i++) {
        buf_append_str(out, columns[i]);
        buf_append_char(out, '\t');
    }
    output_append_line(out, data.type == JSON_TYPE_NONE ? STR("-") : data.raw);
}

/* The ids of one text frame go into one ack. */
static void add_ack(struct buf *answer, struct json_value id)
{
    buf_append_str(answer, answer->len == 0 ? STR("{\"t\":\"ack\",\"ids\":[") : STR(","));
    buf_append_str(answer, id.raw);
}

static void on_message(struct tail_state *state, struct json_value frame, struct tail_sink *sink)
{
    struct json_value id = get(frame, STR("id"));
    struct json_value ack = get(frame, STR("ack"));
    uint64_t wanted = 0;
    if (tail_state_is_done(state)) {
        return; /* not shown, so neither counted as seen nor acknowledged */
    }
    take_message_position(state, get(frame, STR("pos")));
    bool asked = ack.type == JSON_TYPE_TRUE || (json_u64(ack, UINT64_MAX, &wanted) && wanted > 0);
    if (asked && id.type == JSON_TYPE_STRING) {
        add_ack(&sink->answer, id);
    }
    if (!is_new(state, id)) {
        return;
    }
    state->messages++;
    if (state->as_json) {
        output_append_line(&sink->out, frame.raw);
    } else {
        write_columns(frame, &sink->out);
    }
}

static void on_revoke(struct tail_state *state, struct json_value frame, struct tail_sink *sink)
{
    take_message_position(state, get(frame, STR("pos")));
    buf_printf(&sink->words, "the message %.*s was cancelled\n",
               STR_ARG(quoted_text(get(frame, STR("id")))));
}

static void on_gap(struct json_value frame, struct tail_sink *sink)
{
    buf_printf(&sink->words, "messages may be missing (%.*s); fetch the present state anew\n",
               STR_ARG(quoted_text(get(frame, STR("why")))));
}

static void on_err(struct json_value frame, struct tail_sink *sink)
{
    buf_printf(&sink->words, "the gateway refused a request: %.*s (%.*s)\n",
               STR_ARG(quoted_text(get(frame, STR("title")))),
               STR_ARG(quoted_text(get(frame, STR("code")))));
}

static void on_goaway(struct tail_state *state, struct json_value frame, struct tail_sink *sink)
{
    state->going_away = true;
    get_number(frame, STR("slot_ms"), 3600000, &state->slot_ms);
    buf_printf(&sink->words, "the gateway asks to reconnect (%.*s)\n",
               STR_ARG(quoted_text(get(frame, STR("why")))));
}

static void on_expiring(struct tail_state *state, struct json_value frame, struct tail_sink *sink)
{
    uint64_t in_ms = 0;
    state->token_expiring = true;
    get_number(frame, STR("in_ms"), UINT32_MAX, &in_ms);
    buf_printf(&sink->words, "the token expires in %u s\n", (unsigned)(in_ms / 1000));
}

/* An unknown `t` is passed over: newer gateways may say more. */
static void dispatch(struct tail_state *state, struct json_value frame, struct tail_sink *sink)
{
    struct json_value kind = get(frame, STR("t"));
    if (json_equals(kind, STR("welcome"))) {
        on_welcome(state, frame, sink);
    } else if (json_equals(kind, STR("pos"))) {
        take_epoch(state, frame);
        take_positions(state, get(frame, STR("pos")));
    } else if (json_equals(kind, STR("revoke"))) {
        on_revoke(state, frame, sink);
    } else if (json_equals(kind, STR("gap"))) {
        take_gap(state, frame);
        on_gap(frame, sink);
    } else if (json_equals(kind, STR("err"))) {
        on_err(frame, sink);
    } else if (json_equals(kind, STR("goaway"))) {
        on_goaway(state, frame, sink);
    } else if (json_equals(kind, STR("expiring"))) {
        on_expiring(state, frame, sink);
    }
}

static void on_frame(struct tail_state *state, struct json_value frame, struct tail_sink *sink)
{
    if (json_equals(get(frame, STR("t")), STR("msg"))) {
        on_message(state, frame, sink);
        return;
    }
    dispatch(state, frame, sink);
    if (state->as_json && !tail_state_is_done(state)) {
        output_append_line(&sink->out, frame.raw);
    }
}

int tail_state_on_text(struct tail_state *state, struct str text, struct tail_sink *sink)
{
    struct json_value root, frame;
    if (json_parse(&root, text, TAIL_JSON_DEPTH, NULL) ||
        (root.type != JSON_TYPE_OBJECT && root.type != JSON_TYPE_ARRAY)) {
        return ERR_SYNTAX;
    }
    if (root.type == JSON_TYPE_OBJECT) {
        on_frame(state, root, sink);
    } else {
        struct json_iter iter;
        json_iter_init(&iter, root);
        while (json_next(&iter, NULL, &frame)) {
            on_frame(state, frame, sink);
        }
    }
    if (sink->answer.len > 0) {
        buf_append_str(&sink->answer, STR("]}"));
    }
    return 0;
}

/* --- What is sent --- */

static void write_resume(const struct tail_state *state, struct buf *out)
{
    json_write_key(out, STR("resume"));
    buf_append_char(out, '{');
    json_write_string_field(out, STR("epoch"), str_of(state->epoch));
    json_write_key(out, STR("pos"));
    buf_append_char(out, '{');
    for (size_t i = 0; i < state->position_count; i++) {
        json_write_string_field(out, str_of(state->positions[i].queue),
                                str_of(state->positions[i].position));
    }
    buf_append_str(out, STR("}}"));
}

int tail_state_write_hello(const struct tail_state *state, struct buf *out,
                           const char *const *groups, size_t group_count)
{
    buf_append_str(out, STR("{\"t\":\"hello\",\"v\":1"));
    if (group_count > 0) {
        json_write_key(out, STR("groups"));
        buf_append_char(out, '[');
        for (size_t i = 0; i < group_count; i++) {
            json_write_comma(out);
            json_write_string(out, str_of(groups[i]));
        }
        buf_append_char(out, ']');
    }
    if (*state->epoch) {
        write_resume(state, out);
    }
    return buf_append_char(out, '}');
}

int tail_state_write_refresh(struct buf *out, const char *token)
{
    buf_append_str(out, STR("{\"t\":\"refresh\",\"re\":1"));
    json_write_string_field(out, STR("token"), str_of(token));
    return buf_append_char(out, '}');
}
