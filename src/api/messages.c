#include "api/messages.h"

#include "api/messages_read.h"
#include "core/sid.h"
#include "proto/json.h"
#include "proto/uri.h"
#include "server/cluster_keys.h"
#include "server/sse_id.h"
#include "server/stats.h"

/* As it travels between nodes: never to be renumbered. */
enum { USER_ROUTES = 34 };

enum { LIMIT_DEFAULT = 100 };

struct options {
    struct session_resume after;
    bool has_after;
    bool groups;
    uint64_t wait_ms;
    uint64_t limit;
};

/* ---- the query ---- */

static bool refuse(struct api_call *call, const char *code, const char *detail)
{
    api_refuse(call, 422, code, detail);
    return false;
}

static bool read_option(struct api_call *call, struct options *options, struct str name,
                        struct str value)
{
    const struct settings_limits *limits = api_limits(call->worker);
    uint32_t queues = shard_get_options(call->worker->shard)->queues;
    if (str_equal(name, STR("after"))) {
        options->has_after = true;
        return sse_id_read(&options->after, value, queues) ||
               refuse(call, "invalid_after", "`after` is no cursor of an earlier answer.");
    }
    if (str_equal(name, STR("wait_ms"))) {
        return str_to_u64(value, limits->wait_ms, &options->wait_ms) ||
               refuse(call, "invalid_wait_ms", "`wait_ms` is a number up to limits.wait.");
    }
    if (str_equal(name, STR("limit"))) {
        return (str_to_u64(value, WINDOW_PAGE_MAX, &options->limit) && options->limit > 0) ||
               refuse(call, "invalid_limit", "`limit` is a number from 1 to 1000.");
    }
    if (str_equal(name, STR("groups"))) {
        options->groups = str_equal(value, STR("true")) || str_equal(value, STR("1"));
        return options->groups || str_equal(value, STR("false")) || str_equal(value, STR("0")) ||
               refuse(call, "invalid_groups", "`groups` is true or false.");
    }
    if (str_equal(name, STR("app"))) {
        return true; /* read where the caller is identified */
    }
    return refuse(call, "unknown_option", "The query has an option that is not known.");
}

static bool read_options(struct api_call *call, struct options *options)
{
    char value[SSE_ID_MAX];
    struct str rest = call->request->query;
    struct str name;
    struct str raw;
    *options = (struct options){.limit = LIMIT_DEFAULT};
    while (uri_query_next(&rest, &name, &raw)) {
        ssize_t len = raw.len <= sizeof(value) ? uri_decode_query(raw, value, sizeof(value)) : -1;
        if (len < 0) {
            api_refuse(call, 400, "bad_query", "The query has a bad escape, or is too long.");
            return false;
        }
        if (!read_option(call, options, name, str_make(value, (size_t)len))) {
            return false;
        }
    }
    return true;
}

/* ---- the start ---- */

static void refuse_for_memory(struct http_exchange *exchange)
{
    http_answer_retry(exchange, 503, "overloaded", "The gateway is short of memory.", 1);
}

/* Before that the window is not read back, and what it holds says nothing. */
static bool is_ready(struct api_call *call)
{
    if (hub_bus_was_up(call->worker->gateway->hub)) {
        return true;
    }
    http_answer_retry(call->exchange, 503, "bus_unavailable",
                      "The node has not read its window from the bus yet.", 1);
    return false;
}

static bool may_wait(struct api_call *call, struct messages_reading *reading)
{
    struct quota *quota = call->tenant->quota;
    if (quota_take_wait(quota, api_limits(call->worker)->message_waits)) {
        reading->quota = quota_ref(quota);
        return true;
    }
    stats_quota_refused(call->tenant, STATS_QUOTA_WAITS);
    http_answer_retry(call->exchange, 429, "too_many_waits",
                      "So many calls of the app wait for messages already (limits.message_waits).",
                      1);
    return false;
}

/* NULL: answered. Also the calls that don't wait count, since a page may take its time. */
static struct messages_reading *begin(struct api_call *call, const struct options *options)
{
    struct messages_reading *reading = messages_reading_create(call);
    if (!reading) {
        refuse_for_memory(call->exchange);
        return NULL;
    }
    if (!may_wait(call, reading)) {
        messages_reading_destroy(reading);
        return NULL;
    }
    reading->after = options->after;
    reading->has_after = options->has_after;
    reading->wait_ms = options->wait_ms;
    reading->limit = (uint32_t)options->limit;
    reading->shows_data = call->scopes & SETTINGS_SCOPE_READ;
    return reading;
}

static void give_up(struct messages_reading *reading)
{
    refuse_for_memory(reading->exchange);
    messages_reading_destroy(reading);
}

/* Waiting is not the time that a push to the same path takes. */
static void name_route(struct api_call *call, const char *route)
{
    call->exchange->route = route;
}

static void read_one(struct api_call *call, enum target_kind kind)
{
    struct options options;
    struct messages_reading *reading = read_options(call, &options) && is_ready(call)
                                           ? begin(call, &options)
                                           : NULL;
    if (reading && messages_reading_add(reading, kind, call->names[0])) {
        messages_reading_start(reading);
    } else if (reading) {
        give_up(reading);
    }
}

void messages_handle_group(struct api_call *call)
{
    name_route(call, "GET /v1/groups/{}/messages");
    read_one(call, TARGET_GROUP);
}

void messages_handle_ticket(struct api_call *call)
{
    uint32_t app = shard_app_hash(call->worker->shard, call->tenant->id);
    name_route(call, "GET /v1/tickets/{}/messages");
    if (cluster_keys_check_ticket_id(&call->worker->gateway->keys, app, call->names[0])) {
        read_one(call, TARGET_TICKET);
    } else {
        api_refuse(call, 404, "ticket_not_found", "No ticket of this app has this id.");
    }
}

/* ---- what else comes to a user: a part is its sessions' ids ("s…") and groups ("g…"), each ended
 * by a NUL, which no name has ---- */

static void add_name(struct buf *out, char kind, struct str name)
{
    buf_append_char(out, kind);
    buf_append_str(out, name);
    buf_append_char(out, '\0');
}

static void add_group(void *arg, struct str group)
{
    add_name(arg, 'g', group);
}

static void add_session(void *arg, struct session *session)
{
    struct gather_part *part = arg;
    struct sid sid;
    char text[SID_LEN + 1];
    shard_session_sid(part->worker->shard, session, &sid);
    sid_format(text, &part->worker->gateway->keys.sid_keys[0], &sid);
    add_name(&part->text, 's', str_make(text, SID_LEN));
    shard_visit_session_groups(part->worker->shard, session, add_group, &part->text);
}

static void ask_user(struct gather_part *part)
{
    shard_visit_user(part->worker->shard, part->app, part->gather->name, add_session, part);
}

static bool add_part(struct messages_reading *reading, struct str names)
{
    struct str name;
    while (names.len > 0 && str_split(&names, '\0', &name)) {
        enum target_kind kind = str_starts_with(name, STR("s")) ? TARGET_SESSION : TARGET_GROUP;
        if (name.len > 1 &&
            !messages_reading_add(reading, kind, str_make(name.ptr + 1, name.len - 1))) {
            return false;
        }
    }
    return true;
}

static void finish_user(struct gather *gather)
{
    const struct http_exchange *exchange = gather->exchange;
    struct messages_reading *reading = exchange->user;
    bool good = true;
    for (uint32_t i = 0; i < gather->part_count && good; i++) {
        const struct gather_part *part = gather_part_at(gather, i);
        good = part->text.err == 0 && add_part(reading, buf_str(&part->text));
    }
    reading->is_complete = reading->is_complete && gather->is_complete;
    /* Once the peer is gone, or the cluster is, the worker may be ending, too. */
    if (good && !exchange->is_gone && gather->asker->gateway->cluster) {
        messages_reading_start(reading);
    } else {
        give_up(reading);
    }
}

const struct gather_kind messages_user_kind = {
    .number = USER_ROUTES, .ask = ask_user, .fold = gather_fold, .finish = finish_user};

static bool add_user(struct messages_reading *reading, struct str user)
{
    return messages_reading_add(reading, TARGET_USER, user) &&
           messages_reading_add(reading, TARGET_ALL, STR(""));
}

void messages_handle_user(struct api_call *call)
{
    struct options options;
    name_route(call, "GET /v1/users/{}/messages");
    struct messages_reading *reading = read_options(call, &options) && is_ready(call)
                                           ? begin(call, &options)
                                           : NULL;
    if (!reading) {
        return;
    }
    call->exchange->user = reading;
    if (!add_user(reading, call->names[0])) {
        give_up(reading);
    } else if (!options.groups) {
        messages_reading_start(reading);
    } else if (!gather_try_at(call, &messages_user_kind, 0, call->names[0])) {
        give_up(reading);
    }
}
