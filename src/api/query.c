#include "api/query.h"

#include <stdlib.h>

#include "api/recent.h"
#include "api/frames.h"
#include "api/alerts.h"
#include "api/gather.h"
#include "api/messages.h"
#include "api/nodes.h"
#include "api/overview.h"
#include "api/push.h"
#include "api/receipts.h"
#include "api/session_json.h"
#include "api/up.h"
#include "api/users.h"
#include "base/clock.h"
#include "core/presence.h"
#include "core/sid.h"
#include "server/token.h"

/* As they travel between nodes: never to be renumbered. */
enum { QUERY_USER = 1, QUERY_USERS = 2, QUERY_SESSION = 3, QUERY_GROUP = 4 };

enum { USERS_MAX = 1000, SESSIONS_MAX = 1000, ACTION_WAIT_MS = 5000 };

/* The other end of the socket: behind a proxy, that. */
static void write_place(struct buf *out, const struct worker *worker, const struct session *session)
{
    struct addr peer = {0};
    char text[ADDR_TEXT_MAX];
    json_write_string_field(out, STR("node"), str_of(worker->gateway->node));
    if (addr_of_peer(&peer, session->fd) == 0) {
        json_write_string_field(out, STR("peer"), str_of(addr_format(&peer, text)));
    }
}

static void write_session(struct buf *out, struct worker *worker, struct session *session)
{
    session_json_begin(out, worker, session);
    write_place(out, worker, session);
    json_write_u64_field(out, STR("queued_bytes"),
                         session->out ? ((struct out_queue *)session->out)->bytes : 0);
    session_json_about(out, worker, session);
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
    json_write_bool_field(out, STR("complete"), gather->is_complete);
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
    for (uint32_t i = 0; i < gather->worker_parts; i++) {
        out->err = out->err ? out->err : gather->parts[i].text.err;
    }
}

/* What another node wrote goes into the answer as it is, if it is JSON. */
static bool is_sound(const struct gather *gather, const struct gather_part *part, struct str text)
{
    struct json_value object;
    unsigned depth = (unsigned)api_limits(gather->asker)->json_depth + 2;
    return part->worker ||
           (json_parse(&object, text, depth, NULL) == 0 && object.type == JSON_TYPE_OBJECT);
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
    part->counts[USER_SESSIONS] = shard_visit_user(part->worker->shard, part->app,
                                                   part->gather->name, visit_session, part);
}

static void write_sessions(struct buf *out, struct gather *gather)
{
    int listed = 0;
    buf_append_char(out, '[');
    for (uint32_t i = 0; i < gather->part_count; i++) {
        const struct gather_part *part = gather_part_at(gather, i);
        struct str rest = buf_str(&part->text);
        struct str session;
        while (rest.len && listed < SESSIONS_MAX && str_split(&rest, '\0', &session)) {
            if (is_sound(gather, part, session)) {
                json_write_comma(out);
                buf_append_str(out, session);
                listed++;
            }
        }
    }
    buf_append_char(out, ']');
    take_errors(out, gather);
}

/* Where the app has presence: whether the user is online, maybe in the grace time. */
static bool follow_user(const struct gather *gather, struct str user,
                        struct presence_state *out_state)
{
    const struct worker *asker = gather->asker;
    const struct gateway *gateway = asker->gateway;
    uint32_t app = shard_app_hash(asker->shard, gather->parts[0].app);
    uint64_t key = target_key(&gateway->keys.space, app, TARGET_USER, user);
    return presence_find(gateway->cluster, key, out_state);
}

static void write_online(struct buf *out, const struct gather *gather, struct str user,
                         uint64_t sessions)
{
    struct presence_state state;
    bool is_followed = follow_user(gather, user, &state);
    json_write_bool_field(out, STR("online"), sessions > 0 || is_followed);
    if (is_followed) {
        json_write_u64_field(out, STR("since_ms"), state.since_ms);
    }
    if (is_followed && sessions == 0 && !state.has_sessions) {
        json_write_u64_field(out, STR("last_seen_ms"), state.last_seen_ms);
    }
}

static void finish_user(struct gather *gather)
{
    struct buf out = {0};
    buf_append_char(&out, '{');
    json_write_string_field(&out, STR("user"), gather->name);
    write_online(&out, gather, gather->name, gather_sum(gather, USER_SESSIONS));
    json_write_u64_field(&out, STR("session_count"), gather_sum(gather, USER_SESSIONS));
    json_write_key(&out, STR("sessions"));
    write_sessions(&out, gather);
    end_answer(&out, gather, 200);
}

static const struct gather_kind user_kind = {
    .number = QUERY_USER, .ask = ask_user, .fold = gather_fold, .finish = finish_user};

void query_handle_user(struct api_call *call)
{
    gather_start(call, &user_kind, call->names[0]);
}

/* ---- many users: the name of the gather is the JSON array ---- */

static void ask_users(struct gather_part *part)
{
    struct gather *gather = part->gather;
    struct json_value array;
    struct json_value value;
    struct json_iter iter;
    if (json_parse(&array, gather->name, 2, NULL) || array.type != JSON_TYPE_ARRAY) {
        return; /* another node asks what makes no sense */
    }
    json_iter_init(&iter, array);
    while (json_next(&iter, NULL, &value)) {
        char scratch[API_NAME_BYTES];
        struct str user;
        uint32_t count = 0;
        if (!json_string_text(value, scratch, sizeof(scratch), &user)) {
            count = shard_visit_user(part->worker->shard, part->app, user, NULL, NULL);
        }
        buf_append(&part->text, &count, sizeof(count));
    }
}

static uint32_t count_of(struct gather *gather, size_t index)
{
    uint32_t sum = 0;
    for (uint32_t i = 0; i < gather->part_count; i++) {
        const struct buf *text = &gather_part_at(gather, i)->text;
        uint32_t count = 0;
        if (text->len >= (index + 1) * sizeof(count)) {
            memcpy(&count, text->data + index * sizeof(count), sizeof(count));
        }
        sum += count;
    }
    return sum;
}

static void fold_users(struct gather *gather, struct gather_part *out)
{
    size_t users = gather->parts[0].text.len / sizeof(uint32_t);
    for (size_t i = 0; i < users; i++) {
        uint32_t count = count_of(gather, i);
        buf_append(&out->text, &count, sizeof(count));
    }
}

/* `"42":{…}`; the name was read before. */
static void write_user(struct buf *out, const struct gather *gather, struct json_value name,
                       uint32_t count)
{
    char scratch[API_NAME_BYTES];
    struct str user = STR("");
    json_string_text(name, scratch, sizeof(scratch), &user);
    json_write_comma(out);
    buf_append_str(out, name.raw);
    buf_append_str(out, STR(":{"));
    write_online(out, gather, user, count);
    json_write_u64_field(out, STR("sessions"), count);
    buf_append_char(out, '}');
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
        write_user(&out, gather, value, count_of(gather, i));
    }
    buf_append_char(&out, '}');
    take_errors(&out, gather);
    end_answer(&out, gather, 200);
}

static const struct gather_kind users_kind = {.number = QUERY_USERS,
                                              .ask = ask_users,
                                              .fold = fold_users,
                                              .finish = finish_users,
                                              .unit = sizeof(uint32_t)};

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
    gather_start(call, &users_kind, fields[0].value.raw);
}

/* ---- one session ---- */

static bool find_sid(struct api_call *call, struct sid *out_sid)
{
    const struct gateway *gateway = call->worker->gateway;
    if (cluster_keys_parse_sid(&gateway->keys, out_sid, call->names[0]) &&
        cluster_may_have(gateway->cluster, out_sid->node)) {
        return true;
    }
    api_refuse(call, 404, "session_not_found", "No session has this id.");
    return false;
}

static bool is_of_worker(const struct worker *worker, struct sid *out_sid, struct str name)
{
    const struct gateway *gateway = worker->gateway;
    return cluster_keys_parse_sid(&gateway->keys, out_sid, name) &&
           out_sid->node == gateway->boot && out_sid->worker == worker->index;
}

static int worker_of_session(const struct gateway *gateway, struct str name)
{
    struct sid sid;
    return cluster_keys_parse_sid(&gateway->keys, &sid, name) && sid.worker < gateway->worker_count
               ? sid.worker
               : 0;
}

static void ask_session(struct gather_part *part)
{
    struct shard *shard = part->worker->shard;
    struct sid sid;
    if (!is_of_worker(part->worker, &sid, part->gather->name)) {
        return;
    }
    struct session *session = shard_session_find(shard, sid.slot, sid.generation);
    if (!session || session->app != part->app || session->state < SESSION_REPLAYING ||
        session->state == SESSION_ENDED) {
        return;
    }
    part->counts[0] = 1;
    write_session(&part->text, part->worker, session);
    session_json_user(&part->text, part->worker, session);
    json_write_key(&part->text, STR("groups"));
    buf_append_char(&part->text, '[');
    shard_visit_session_groups(shard, session, write_group, &part->text);
    buf_append_char(&part->text, ']');
}

/* Puts it into out, but for the brace at its end. */
static bool is_whole_session(struct buf *out, const struct gather *gather,
                             const struct gather_part *part)
{
    buf_append_str(out, buf_str(&part->text));
    out->err = out->err ? out->err : part->text.err;
    buf_append_char(out, '}');
    bool is_whole = buf_err(out) || is_sound(gather, part, buf_str(out));
    out->len -= buf_err(out) ? 0 : 1;
    return is_whole;
}

static void finish_session(struct gather *gather)
{
    struct buf out = {0};
    struct gather_part *part = gather->part_count ? gather_part_at(gather, 0) : NULL;
    bool is_found = part && part->counts[0] > 0 && is_whole_session(&out, gather, part);
    if (is_found) {
        end_answer(&out, gather, 200);
    } else if (gather->is_complete) {
        http_answer_problem(gather->exchange, 404, "session_not_found", "No session has this id.");
    } else {
        http_answer_retry(gather->exchange, 503, "node_silent",
                          "The node that has the session did not answer in time.", 1);
    }
    buf_fini(&out);
}

static const struct gather_kind session_kind = {.number = QUERY_SESSION,
                                                .ask = ask_session,
                                                .fold = gather_fold,
                                                .finish = finish_session,
                                                .pick_worker = worker_of_session};

void query_handle_session(struct api_call *call)
{
    struct sid sid;
    if (find_sid(call, &sid)) {
        gather_start_at(call, &session_kind, sid.node, call->names[0]);
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
    part->counts[0] = shard_group_size(part->worker->shard, part->app, part->gather->name);
    shard_group_users(part->worker->shard, part->app, part->gather->name, &part->text);
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

static bool smallest_key(struct gather *gather, uint64_t *out_key)
{
    bool any = false;
    for (uint32_t i = 0; i < gather->part_count; i++) {
        uint64_t key;
        if (first_key(gather_part_at(gather, i), &key) && (!any || key < *out_key)) {
            *out_key = key;
            any = true;
        }
    }
    return any;
}

/* A user with sessions on two workers or nodes counts once. counts[1] of a part: keys that are
 * merged. out gets them; NULL: they are counted alone. */
static uint64_t distinct_users(struct gather *gather, struct buf *out)
{
    uint64_t distinct = 0;
    for (uint64_t smallest = 0; smallest_key(gather, &smallest); distinct++) {
        for (uint32_t i = 0; i < gather->part_count; i++) {
            struct gather_part *part = gather_part_at(gather, i);
            uint64_t key = 0;
            bool is_same = first_key(part, &key) && key == smallest;
            part->counts[1] += is_same;
        }
        if (out) {
            buf_append(out, &smallest, sizeof(smallest));
        }
    }
    return distinct;
}

static void fold_group(struct gather *gather, struct gather_part *out)
{
    out->counts[0] = gather_sum(gather, 0);
    distinct_users(gather, &out->text);
}

static void finish_group(struct gather *gather)
{
    struct buf out = {0};
    buf_append_char(&out, '{');
    json_write_string_field(&out, STR("group"), gather->name);
    json_write_u64_field(&out, STR("sessions"), gather_sum(gather, 0));
    json_write_u64_field(&out, STR("users"), distinct_users(gather, NULL));
    take_errors(&out, gather);
    end_answer(&out, gather, 200);
}

static const struct gather_kind group_kind = {.number = QUERY_GROUP,
                                              .ask = ask_group,
                                              .fold = fold_group,
                                              .finish = finish_group,
                                              .unit = sizeof(uint64_t)};

void query_handle_group(struct api_call *call)
{
    gather_start(call, &group_kind, call->names[0]);
}

/* ---- for other nodes ---- */

/* One of a later version is answered too, or the asker would wait. */
void query_on_node_ask(struct gateway *gateway, struct cluster_ask *ask)
{
    const struct gather_kind *const kinds[] = {
        &user_kind,      &users_kind,  &session_kind,       &group_kind,         nodes_order_kind(),
        &receipts_kind,  &up_kind,     &users_list_kind,    &messages_user_kind, &frames_kind,
        overview_kind(), &alerts_kind, &recent_errors_kind,
    };
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        if (kinds[i]->number == ask->body.kind) {
            gather_answer(gateway, kinds[i], ask);
            return;
        }
    }
    struct cluster_reply_body reply = {.is_part = true};
    cluster_answer(gateway->cluster, ask, &reply, clock_monotonic_ms());
}

/* ---- actions: events on the bus, so that they keep their order with pushes ---- */

static void answer_count(struct push_task *task, const struct push_outcome *outcome,
                         const char *name)
{
    struct buf out = {0};
    if (push_answer_failure(task, outcome)) {
        return;
    }
    buf_append_char(&out, '{');
    json_write_u64_field(&out, str_of(name), outcome->matched);
    json_write_u64_field(&out, STR("as_of"), clock_wall_ms());
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
    bool keeps = kind == EVENT_PART;
    struct push push = {
        .targets = &target, .target_count = 1, .wait = PUSH_WAIT_ROUTED, .wait_ms = ACTION_WAIT_MS};
    struct push_kind event = {kind, subject, keeps};
    if (push_is_over_quota(call->tenant, call->exchange)) {
        return;
    }
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
