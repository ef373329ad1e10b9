/* The endpoints that push: one message as JSON, a raw body to one target, and batches. */
#include "api/push.h"
#include "api/tickets.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"
#include "server/families.h"
#include "server/stats.h"

enum { AUDIT_TARGET_MAX = 512 }; /* about: the last one is not cut */

/* One a worker thread: pushes are read and started before the next is read. */
static _Thread_local struct push scratch_push;

void push_free_scratch(void)
{
    push_fini(&scratch_push);
}

static const struct push_error no_memory = {503, "overloaded", "The gateway is short of memory."};

/* Why push_start did not start. */
static struct push_error start_error(int err)
{
    return err == ERR_TOO_LARGE
               ? (struct push_error){413, "message_too_large", "The push is too large."}
               : no_memory;
}

static void answer_refusal(struct http_exchange *exchange, const struct push_error *error)
{
    if (error->status == 503 || error->status == 429) {
        http_answer_retry(exchange, error->status, error->code, error->detail, 1);
    } else {
        http_answer_problem(exchange, error->status, error->code, error->detail);
    }
}

static void refuse(const struct tenant *tenant, struct http_exchange *exchange,
                   const struct push_error *error)
{
    stats_push_refused(tenant, error->code);
    answer_refusal(exchange, error);
}

static const struct push_error over_quota = {
    429, "quota_exceeded", "The app pushes more than it may (quotas.pushes_per_second)."};

/* Before anything is read of the push, so that refusing costs little. 0, or the seconds to wait. */
static unsigned take_quota(const struct tenant *tenant)
{
    const struct settings_quotas *quotas = &tenant->settings->quotas;
    unsigned wait_s = quotas->pushes_per_second
                          ? quota_take_push(tenant->quota, quotas, clock_monotonic_us())
                          : 0;
    if (wait_s) {
        stats_quota_refused(tenant, STATS_QUOTA_PUSHES);
    }
    return wait_s;
}

bool push_is_over_quota(const struct tenant *tenant, struct http_exchange *exchange)
{
    unsigned wait_s = take_quota(tenant);
    if (wait_s) {
        http_answer_retry(exchange, over_quota.status, over_quota.code, over_quota.detail, wait_s);
    }
    return wait_s > 0;
}

/* True: answered. */
static bool is_over_quota(const struct tenant *tenant, struct http_exchange *exchange)
{
    bool is_over = push_is_over_quota(tenant, exchange);
    if (is_over) {
        stats_push_refused(tenant, over_quota.code);
    }
    return is_over;
}

/* A ticket's id says by itself whether it is one, and for how long. */
static bool check_tickets(const struct worker *worker, const struct tenant *tenant,
                          const struct push *push, struct push_error *error)
{
    uint32_t app = shard_app_hash(worker->shard, tenant->id);
    for (size_t i = 0; i < push->target_count; i++) {
        const struct target *target = &push->targets[i];
        if (target->kind == TARGET_TICKET && !tickets_check_id(worker, app, target->name, error)) {
            return false;
        }
    }
    return true;
}

/* ---- one message ---- */

static void on_message_done(struct push_task *task, const struct push_outcome *outcome)
{
    struct http_exchange *exchange = task->owner;
    struct push_error error = {0, NULL, NULL};
    error.status = push_status(outcome, &error.code, &error.detail);
    if (error.code) {
        refuse(&task->worker->tenants->items[task->app], exchange, &error);
        return;
    }
    struct buf out = {0};
    buf_append_char(&out, '{');
    push_write_answer(&out, task, outcome);
    buf_append_char(&out, '}');
    if (buf_err(&out)) {
        answer_refusal(exchange, &no_memory); /* the bus has it: the same id again is harmless */
    } else {
        http_answer_json(exchange, error.status, buf_str(&out));
    }
    buf_fini(&out);
}

static void start(struct worker *worker, const struct tenant *tenant,
                  struct http_exchange *exchange, struct push *push)
{
    struct push_error error;
    if (!check_tickets(worker, tenant, push, &error)) {
        refuse(tenant, exchange, &error);
        return;
    }
    int err = push_start(worker, tenant, push, NULL, on_message_done, exchange, 0);
    if (err) {
        error = start_error(err);
        refuse(tenant, exchange, &error);
    }
}

/* Where the message itself names none, the header's. */
static void take_trace(struct push *push, const struct http_exchange *exchange)
{
    push->route = exchange->route;
    push->started_us = exchange->started_us;
    push_take_trace_headers(push, &exchange->request->fields);
    if (push->trace_is_wrong) {
        metric_add(SERIES(trace_contexts_ignored_total), 1);
    }
}

/* The header is another way to give the id. */
static bool read_idempotency_key(struct push *push, const struct http_request *request,
                                 const struct settings_limits *limits, struct push_error *error)
{
    struct str key = http_request_field(request, HTTP_FIELD_IDEMPOTENCY_KEY);
    if (!key.ptr) {
        return true;
    }
    if (!token_name_is_clean(key, limits->name_bytes) ||
        http_request_header_count(request, "Idempotency-Key") > 1 ||
        (push->id.len && !str_equal(push->id, key))) {
        *error = (struct push_error){422, "invalid_id",
                                     "Idempotency-Key is no short text, or differs from `id`."};
        return false;
    }
    push->id = key;
    return true;
}

void push_answer_message(struct worker *worker, const struct tenant *tenant,
                         struct http_exchange *exchange)
{
    const struct settings_limits *limits = api_limits(worker);
    struct push *push = &scratch_push;
    struct push_error error = {400, "bad_json", "The body is not JSON."};
    struct json_value object;
    if (is_over_quota(tenant, exchange)) {
        return;
    }
    push_reset(push);
    bool good = json_parse(&object, exchange->body, (unsigned)limits->json_depth, NULL) == 0 &&
                push_read_object(push, object, limits, &error) &&
                read_idempotency_key(push, exchange->request, limits, &error);
    take_trace(push, exchange);
    if (good) {
        start(worker, tenant, exchange, push);
    } else {
        refuse(tenant, exchange, &error);
    }
}

static void name_targets(struct buf *out, const struct push *push)
{
    static const struct str kinds[] = {
        [TARGET_USER] = STR("users/"),       [TARGET_GROUP] = STR("groups/"),
        [TARGET_SESSION] = STR("sessions/"), [TARGET_TICKET] = STR("tickets/"),
        [TARGET_ALL] = STR("broadcast"),     [TARGET_NODE] = STR("nodes/")};
    for (size_t i = 0; i < push->target_count && out->len < AUDIT_TARGET_MAX; i++) {
        buf_append_str(out, i ? STR(",") : STR(""));
        buf_append_str(out, kinds[push->targets[i].kind]);
        buf_append_str(out, push->targets[i].name);
    }
}

/* Of a person's push the audit log says whom it goes to. False: answered. */
static bool tell_targets(struct api_call *call)
{
    const struct settings_limits *limits = api_limits(call->worker);
    struct push *push = &scratch_push;
    struct push_error error;
    struct json_value object;
    struct buf target = {0};
    bool begun = true;
    push_reset(push);
    if (json_parse(&object, call->exchange->body, (unsigned)limits->json_depth, NULL) == 0 &&
        push_read_object(push, object, limits, &error)) {
        name_targets(&target, push);
        begun = api_begin_act(call, "message.push", buf_str(&target));
    }
    buf_fini(&target);
    return begun;
}

void push_handle_message(struct api_call *call)
{
    if (!call->exchange->act || tell_targets(call)) {
        push_answer_message(call->worker, call->tenant, call->exchange);
    }
}

static void handle_raw(struct api_call *call, enum target_kind kind, struct str name)
{
    const struct settings_limits *limits = api_limits(call->worker);
    struct push *push = &scratch_push;
    struct push_error error = no_memory;
    struct str type = http_request_field(call->request, HTTP_FIELD_CONTENT_TYPE);
    if (is_over_quota(call->tenant, call->exchange)) {
        return;
    }
    push_reset(push);
    bool good = push_add_target(push, kind, name) &&
                push_read_raw(push, call->request->query, type.ptr ? type : STR(""),
                              call->exchange->body, limits, &error) &&
                read_idempotency_key(push, call->request, limits, &error);
    take_trace(push, call->exchange);
    if (good) {
        start(call->worker, call->tenant, call->exchange, push);
    } else {
        refuse(call->tenant, call->exchange, &error);
    }
}

void push_handle_user(struct api_call *call)
{
    handle_raw(call, TARGET_USER, call->names[0]);
}

void push_handle_group(struct api_call *call)
{
    handle_raw(call, TARGET_GROUP, call->names[0]);
}

void push_handle_session(struct api_call *call)
{
    handle_raw(call, TARGET_SESSION, call->names[0]);
}

void push_handle_ticket(struct api_call *call)
{
    handle_raw(call, TARGET_TICKET, call->names[0]);
}

void push_handle_broadcast(struct api_call *call)
{
    handle_raw(call, TARGET_ALL, STR(""));
}

/* ---- batches ---- */

struct batch {
    struct http_exchange *exchange;
    struct worker *worker;
    uint32_t open; /* pushes under way, and one while the batch is still being read */
    uint32_t count, cap;
    struct batch_item {
        size_t at; /* of its text in results */
        size_t len;
    } * items;          /* in order of the request */
    struct buf results; /* texts in order of completion */
    size_t accounted;   /* bytes, as MEM_HTTP */
};

static void account_batch(struct batch *batch)
{
    size_t bytes = sizeof(*batch) + sizeof(*batch->items) * batch->count + batch->results.cap;
    mem_account(MEM_HTTP, (int64_t)bytes - (int64_t)batch->accounted);
    batch->accounted = bytes;
}

static void free_batch(struct batch *batch)
{
    mem_account(MEM_HTTP, -(int64_t)batch->accounted);
    mem_free(batch->items);
    buf_fini(&batch->results);
    mem_free(batch);
}

static void answer_batch(struct batch *batch)
{
    struct buf out = {0};
    buf_append_str(&out, STR("{\"results\":["));
    for (uint32_t i = 0; i < batch->count; i++) {
        if (i) {
            buf_append_char(&out, ',');
        }
        buf_append(&out, batch->results.data + batch->items[i].at, batch->items[i].len);
    }
    buf_append_str(&out, STR("]}"));
    if (buf_err(&out) || buf_err(&batch->results)) {
        answer_refusal(batch->exchange, &no_memory);
    } else {
        http_answer_json(batch->exchange, 200, buf_str(&out));
    }
    buf_fini(&out);
    free_batch(batch);
}

static void close_item(struct batch *batch)
{
    if (--batch->open == 0) {
        answer_batch(batch);
    }
}

static void begin_item(struct batch *batch, uint32_t index, int status)
{
    batch->items[index].at = batch->results.len;
    buf_append_str(&batch->results, STR("{\"status\":"));
    buf_append_u64(&batch->results, (uint64_t)status);
}

static void end_item(struct batch *batch, uint32_t index)
{
    buf_append_char(&batch->results, '}');
    batch->items[index].len = batch->results.len - batch->items[index].at;
    account_batch(batch);
}

static void refuse_item(struct batch *batch, uint32_t index, const struct tenant *tenant,
                        const struct push_error *error)
{
    stats_push_refused(tenant, error->code);
    begin_item(batch, index, error->status);
    json_write_string_field(&batch->results, STR("code"), str_of(error->code));
    json_write_string_field(&batch->results, STR("detail"), str_of(error->detail));
    end_item(batch, index);
}

static void on_item_done(struct push_task *task, const struct push_outcome *outcome)
{
    struct batch *batch = task->owner;
    struct push_error error = {0, NULL, NULL};
    error.status = push_status(outcome, &error.code, &error.detail);
    if (error.code) {
        refuse_item(batch, task->index, &task->worker->tenants->items[task->app], &error);
    } else {
        begin_item(batch, task->index, error.status);
        push_write_answer(&batch->results, task, outcome);
        end_item(batch, task->index);
    }
    close_item(batch);
}

static void start_item(struct batch *batch, const struct tenant *tenant, uint32_t index,
                       struct json_value object)
{
    struct push *push = &scratch_push;
    struct push_error error;
    if (take_quota(tenant)) {
        refuse_item(batch, index, tenant, &over_quota);
        return;
    }
    push_reset(push);
    if (!push_read_object(push, object, api_limits(batch->worker), &error) ||
        !check_tickets(batch->worker, tenant, push, &error)) {
        refuse_item(batch, index, tenant, &error);
        return;
    }
    take_trace(push, batch->exchange);
    int err = push_start(batch->worker, tenant, push, NULL, on_item_done, batch, index);
    if (err) {
        error = start_error(err);
        refuse_item(batch, index, tenant, &error);
        return;
    }
    batch->open++;
}

static bool find_messages(struct json_value body, struct json_value *out_array)
{
    struct json_field fields[] = {{.name = STR("messages")}};
    if (body.type == JSON_TYPE_ARRAY) {
        *out_array = body;
        return true;
    }
    size_t unknown;
    if (json_read_fields(body, fields, 1, &unknown) || unknown ||
        fields[0].value.type != JSON_TYPE_ARRAY) {
        return false;
    }
    *out_array = fields[0].value;
    return true;
}

static uint32_t count_messages(struct json_value array, uint64_t max)
{
    struct json_iter iter;
    struct json_value value;
    uint32_t count = 0;
    json_iter_init(&iter, array);
    while (count <= max && json_next(&iter, NULL, &value)) {
        count++;
    }
    return count;
}

static struct batch *create_batch(struct api_call *call, uint32_t count)
{
    struct batch *batch = mem_zalloc(sizeof(*batch));
    struct batch_item *items = mem_zalloc(sizeof(*items) * (count + 1));
    if (!batch || !items) {
        mem_free(batch);
        mem_free(items);
        return NULL;
    }
    *batch = (struct batch){.exchange = call->exchange,
                            .worker = call->worker,
                            .open = 1,
                            .count = count,
                            .items = items};
    return batch;
}

static void run_batch(struct api_call *call, struct json_value array, uint32_t count)
{
    struct batch *batch = create_batch(call, count);
    struct json_iter iter;
    struct json_value object;
    if (!batch) {
        refuse(call->tenant, call->exchange, &no_memory);
        return;
    }
    json_iter_init(&iter, array);
    for (uint32_t i = 0; i < count && json_next(&iter, NULL, &object); i++) {
        start_item(batch, call->tenant, i, object);
    }
    close_item(batch);
}

void push_handle_batch(struct api_call *call)
{
    const struct settings_limits *limits = api_limits(call->worker);
    struct json_value body;
    struct json_value array;
    if (json_parse(&body, call->exchange->body, (unsigned)limits->json_depth + 2, NULL)) {
        api_refuse(call, 400, "bad_json", "The body is not JSON.");
        return;
    }
    if (!find_messages(body, &array)) {
        api_refuse(call, 422, "invalid_messages", "The body is an array of messages.");
        return;
    }
    uint32_t count = count_messages(array, limits->batch);
    if (count > limits->batch) {
        api_refuse(call, 422, "too_many_messages", "The batch is over limits.batch.");
        return;
    }
    run_batch(call, array, count);
}
