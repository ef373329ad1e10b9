#include "api/query.h"

#include <stdlib.h>

#include "api/gather.h"
#include "api/push.h"
#include "base/clock.h"
#include "core/sid.h"
#include "server/ws_session.h"

enum { USERS_MAX = 1000, SESSIONS_MAX = 1000, ACTION_WAIT_MS = 5000 };

static void write_session(struct buf *out, struct worker *worker, struct session *session)
{
    const struct session_cold *cold = shard_session_cold(worker->shard, session);
    const struct ws_extra *extra = ws_session_peek_extra(worker, session);
    struct sid sid;
    char text[SID_LEN + 1];
    shard_session_sid(worker->shard, session, &sid);
    sid_format(text, &worker->gateway->keys.sid_keys[0], &sid);
    uint64_t age_ms = worker_now_ms(worker) - (uint64_t)cold->opened_s * 1000;
    buf_append_char(out, '{');
    json_write_string_field(out, STR("sid"), str_make(text, SID_LEN));
    json_write_string_field(out, STR("transport"), STR("websocket"));
    json_write_string_field(out, STR("protocol"),
                            session->flags & WS_IS_V1 ? STR("tidegate.v1.json") : STR("raw"));
    json_write_u64_field(out, STR("since_ms"), clock_wall_ms() - age_ms);
    json_write_u64_field(out, STR("queued_bytes"),
                         session->out ? ((struct out_queue *)session->out)->bytes : 0);
    if (extra && extra->device) {
        json_write_string_field(out, STR("device"), str_of(extra->device));
    }
    if (extra && extra->attrs) {
        json_write_raw_field(out, STR("attrs"), str_of(extra->attrs));
    }
}

static void write_group(void *arg, struct str group)
{
    struct buf *out = arg;
    json_write_comma(out);
    json_write_string(out, group);
}

static void end_answer(struct buf *out, struct gather *gather, int status)
{
    json_write_u64_field(out, STR("as_of"), clock_wall_ms());
    json_write_bool_field(out, STR("complete"), true);
    buf_append_char(out, '}');
    if (buf_err(out)) {
        http_answer_retry(gather->exchange, 503, "overloaded", "The gateway is short of memory.",
                          1);
    } else {
        http_answer_json(gather->exchange, status, buf_str(out));
    }
    buf_fini(out);
}

/* A worker was short of memory: a count that misses some would be a lie. */
static void take_errors(struct buf *out, const struct gather *gather)
{
    for (uint32_t i = 0; i < gather->part_count; i++) {
        out->err = out->err ? out->err : gather->parts[i].text.err;
    }
}

/* ---- one user: a part is a list of objects, each ended by a NUL, which JSON never contains ----
 */

enum { USER_SESSIONS, USER_LISTED }; /* counts of a part */

static void visit_session(void *arg, struct session *session)
{
    struct gather_part *part = arg;
    if (part->counts[USER_LISTED] < SESSIONS_MAX) {
        part->counts[USER_LISTED]++;
        write_session(&part->text, part->worker, session);
        buf_append(&part->text, "}", 2);
    }
}

static void ask_user(struct gather_part *part)
{
    part->counts[USER_SESSIONS] = shard_visit_user(part->worker->shard, part->gather->app,
                                                   part->gather->name, visit_session, part);
}

static void write_sessions(struct buf *out, const struct gather *gather)
{
    int listed = 0;
    buf_append_char(out, '[');
    for (uint32_t i = 0; i < gather->part_count; i++) {
        struct str rest = buf_str(&gather->parts[i].text);
        struct str session;
        while (rest.len && listed < SESSIONS_MAX && str_split(&rest, '\0', &session)) {
            json_write_comma(out);
            buf_append_str(out, session);
            listed++;
        }
    }
    buf_append_char(out, ']');
    take_errors(out, gather);
}

static void finish_user(struct gather *gather)
{
    struct buf out = {0};
    buf_append_char(&out, '{');
    json_write_string_field(&out, STR("user"), gather->name);
    json_write_bool_field(&out, STR("online"), gather_sum(gather, USER_SESSIONS) > 0);
    json_write_u64_field(&out, STR("session_count"), gather_sum(gather, USER_SESSIONS));
    json_write_key(&out, STR("sessions"));
    write_sessions(&out, gather);
    end_answer(&out, gather, 200);
}

void query_handle_user(struct api_call *call)
{
    gather_start(call, -1, call->names[0], ask_user, finish_user);
}

/* ---- many users: the name of the gather is the JSON array ---- */

static void ask_users(struct gather_part *part)
{
    struct gather *gather = part->gather;
    struct json_value array;
    struct json_value value;
    struct json_iter iter;
    json_parse(&array, gather->name, 2, NULL);
    json_iter_init(&iter, array);
    while (json_next(&iter, NULL, &value)) {
        char scratch[API_NAME_BYTES];
        struct str user;
        uint32_t count = 0;
        if (!json_string_text(value, scratch, sizeof(scratch), &user)) {
            count = shard_visit_user(part->worker->shard, gather->app, user, NULL, NULL);
        }
        buf_append(&part->text, &count, sizeof(count));
    }
}

static uint32_t count_of(const struct gather *gather, size_t index)
{
    uint32_t sum = 0;
    for (uint32_t i = 0; i < gather->part_count; i++) {
        uint32_t count = 0;
        if (gather->parts[i].text.len >= (index + 1) * sizeof(count)) {
            memcpy(&count, gather->parts[i].text.data + index * sizeof(count), sizeof(count));
        }
        sum += count;
    }
    return sum;
}

static void finish_users(struct gather *gather)
{
    struct buf out = {0};
    struct json_value array;
    struct json_value value;
    struct json_iter iter;
    buf_append_str(&out, STR("{\"users\":{"));
    json_parse(&array, gather->name, 2, NULL);
    json_iter_init(&iter, array);
    for (size_t i = 0; json_next(&iter, NULL, &value); i++) {
        uint32_t count = count_of(gather, i);
        json_write_comma(&out);
        buf_append_str(&out, value.raw);
        buf_printf(&out, ":{\"online\":%s,\"sessions\":%u}", count ? "true" : "false", count);
    }
    buf_append_char(&out, '}');
    take_errors(&out, gather);
    end_answer(&out, gather, 200);
}

static bool are_names(struct json_value array, const struct settings_limits *limits)
{
    struct json_iter iter;
    struct json_value value;
    size_t count = 0;
    json_iter_init(&iter, array);
    while (json_next(&iter, NULL, &value)) {
        char scratch[API_NAME_BYTES];
        struct str user;
        if (++count > USERS_MAX || json_string_text(value, scratch, sizeof(scratch), &user) ||
            !token_name_is_clean(user, limits->name_bytes)) {
            return false;
        }
    }
    return true;
}

void query_handle_users(struct api_call *call)
{
    struct json_field fields[] = {{.name = STR("users")}};
    struct json_value body;
    size_t unknown;
    if (json_parse(&body, call->exchange->body, 3, NULL)) {
        api_refuse(call, 400, "bad_json", "The body is not JSON.");
        return;
    }
    if (json_read_fields(body, fields, 1, &unknown) || unknown ||
        fields[0].value.type != JSON_TYPE_ARRAY ||
        !are_names(fields[0].value, api_limits(call->worker))) {
        api_refuse(call, 422, "invalid_users", "`users` is an array of up to 1,000 user ids.");
        return;
    }
    gather_start(call, -1, fields[0].value.raw, ask_users, finish_users);
}

/* ---- one session ---- */

static bool find_sid(struct api_call *call, struct sid *out_sid)
{
    const struct gateway *gateway = call->worker->gateway;
    if (cluster_keys_parse_sid(&gateway->keys, out_sid, call->names[0]) && out_sid->node == gateway->boot &&
        out_sid->worker < gateway->worker_count) {
        return true;
    }
    api_refuse(call, 404, "session_not_found", "No session has this id.");
    return false;
}

static void ask_session(struct gather_part *part)
{
    struct shard *shard = part->worker->shard;
    struct sid sid;
    cluster_keys_parse_sid(&part->worker->gateway->keys, &sid, part->gather->name);
    struct session *session = shard_session_find(shard, sid.slot, sid.generation);
    if (!session || session->app != part->gather->app || session->state < SESSION_REPLAYING ||
        session->state == SESSION_ENDED) {
        return;
    }
    part->counts[0] = 1;
    write_session(&part->text, part->worker, session);
    if (session->user) {
        json_write_string_field(&part->text, STR("user"), shard_session_user(shard, session));
    }
    json_write_key(&part->text, STR("groups"));
    buf_append_char(&part->text, '[');
    shard_visit_session_groups(shard, session, write_group, &part->text);
    buf_append_char(&part->text, ']');
}

static void finish_session(struct gather *gather)
{
    if (gather->parts[0].counts[0] == 0) {
        http_answer_problem(gather->exchange, 404, "session_not_found", "No session has this id.");
        return;
    }
    struct buf out = gather->parts[0].text;
    gather->parts[0].text = (struct buf){0};
    end_answer(&out, gather, 200);
}

void query_handle_session(struct api_call *call)
{
    struct sid sid;
    if (find_sid(call, &sid)) {
        gather_start(call, sid.worker, call->names[0], ask_session, finish_session);
    }
}

/* ---- groups: a part is the sorted keys of the users, each once ---- */

static int compare_keys(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a;
    uint64_t right = *(const uint64_t *)b;
    return left < right ? -1 : left > right;
}

static void sort_keys(struct buf *buf)
{
    uint64_t *keys = (uint64_t *)(void *)buf->data;
    size_t count = buf->len / sizeof(*keys);
    size_t distinct = 0;
    if (count) {
        qsort(keys, count, sizeof(*keys), compare_keys);
    }
    for (size_t i = 0; i < count; i++) {
        if (i == 0 || keys[i] != keys[distinct - 1]) {
            keys[distinct++] = keys[i];
        }
    }
    buf->len = distinct * sizeof(*keys);
}

/* The workers share the dear part, sorting; the asker only merges. */
static void ask_group(struct gather_part *part)
{
    part->counts[0] = shard_group_size(part->worker->shard, part->gather->app, part->gather->name);
    shard_group_users(part->worker->shard, part->gather->app, part->gather->name, &part->text);
    sort_keys(&part->text);
}

static bool first_key(const struct gather_part *part, uint64_t *out_key)
{
    size_t at = part->counts[1] * sizeof(*out_key);
    if (at >= part->text.len) {
        return false;
    }
    memcpy(out_key, part->text.data + at, sizeof(*out_key));
    return true;
}

static bool smallest_key(const struct gather *gather, uint64_t *out_key)
{
    bool any = false;
    for (uint32_t i = 0; i < gather->part_count; i++) {
        uint64_t key;
        if (first_key(&gather->parts[i], &key) && (!any || key < *out_key)) {
            *out_key = key;
            any = true;
        }
    }
    return any;
}

/* A user with sessions on two workers counts once. counts[1] of a part: keys that are merged. */
static uint64_t distinct_users(struct gather *gather)
{
    uint64_t distinct = 0;
    for (uint64_t smallest = 0; smallest_key(gather, &smallest); distinct++) {
        for (uint32_t i = 0; i < gather->part_count; i++) {
            uint64_t key = 0;
            bool is_same = first_key(&gather->parts[i], &key) && key == smallest;
            gather->parts[i].counts[1] += is_same;
        }
    }
    return distinct;
}

static void finish_group(struct gather *gather)
{
    struct buf out = {0};
    buf_append_char(&out, '{');
    json_write_string_field(&out, STR("group"), gather->name);
    json_write_u64_field(&out, STR("sessions"), gather_sum(gather, 0));
    json_write_u64_field(&out, STR("users"), distinct_users(gather));
    take_errors(&out, gather);
    end_answer(&out, gather, 200);
}

void query_handle_group(struct api_call *call)
{
    gather_start(call, -1, call->names[0], ask_group, finish_group);
}

/* ---- actions: events on the bus, so that they keep their order with pushes ---- */

static void answer_count(struct push_task *task, const struct push_outcome *outcome,
                         const char *name)
{
    const char *code;
    const char *detail;
    int status = push_status(outcome, &code, &detail);
    if (code && status == 503) {
        http_answer_retry(task->owner, status, code, detail, 1);
        return;
    }
    if (code) {
        http_answer_problem(task->owner, status, code, detail);
        return;
    }
    struct buf out = {0};
    buf_append_char(&out, '{');
    json_write_u64_field(&out, str_of(name), outcome->matched);
    json_write_bool_field(&out, STR("complete"), outcome->is_complete);
    buf_append_char(&out, '}');
    if (buf_err(&out)) {
        http_answer_retry(task->owner, 503, "overloaded", "The gateway is short of memory.", 1);
    } else {
        http_answer_json(task->owner, 200, buf_str(&out));
    }
    buf_fini(&out);
}

static void on_kicked(struct push_task *task, const struct push_outcome *outcome)
{
    answer_count(task, outcome, "closed");
}

static void on_session_kicked(struct push_task *task, const struct push_outcome *outcome)
{
    if (outcome->verdict == PUBLISH_ACCEPTED && outcome->is_complete && outcome->matched == 0) {
        http_answer_problem(task->owner, 404, "session_not_found", "No session has this id.");
    } else {
        answer_count(task, outcome, "closed");
    }
}

static void on_joined(struct push_task *task, const struct push_outcome *outcome)
{
    answer_count(task, outcome, "sessions");
}

static void act(struct api_call *call, enum event_kind kind, struct target target,
                struct str subject, push_done_cb on_done)
{
    struct push push = {
        .targets = &target, .target_count = 1, .wait = PUSH_WAIT_ROUTED, .wait_ms = ACTION_WAIT_MS};
    struct push_kind event = {kind, subject};
    if (push_start(call->worker, call->tenant, &push, &event, on_done, call->exchange, 0)) {
        http_answer_retry(call->exchange, 503, "overloaded", "The gateway is short of memory.", 1);
    }
}

void query_handle_kick_user(struct api_call *call)
{
    act(call, EVENT_KICK, (struct target){TARGET_USER, call->names[0]}, STR(""), on_kicked);
}

void query_handle_kick_session(struct api_call *call)
{
    struct sid sid;
    if (find_sid(call, &sid)) {
        act(call, EVENT_KICK, (struct target){TARGET_SESSION, call->names[0]}, STR(""),
            on_session_kicked);
    }
}

void query_handle_join(struct api_call *call)
{
    act(call, EVENT_JOIN, (struct target){TARGET_GROUP, call->names[0]}, call->names[1], on_joined);
}

void query_handle_part(struct api_call *call)
{
    act(call, EVENT_PART, (struct target){TARGET_GROUP, call->names[0]}, call->names[1], on_joined);
}
