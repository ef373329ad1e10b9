#include "api/revocations.h"

#include "api/push.h"
#include "base/clock.h"
#include "server/token.h"

enum { REASON_MAX = 256, CLOCK_SKEW_MS = 60 * 1000, BODY_DEPTH = 2 };

enum field { F_USER, F_TOKEN_ID, F_ISSUED_BEFORE, F_REASON, FIELDS };

/* What the body says. */
struct revocation_request {
    struct json_field fields[FIELDS];
    char user_text[API_NAME_BYTES], token_text[API_NAME_BYTES], reason_text[REASON_MAX];
    struct str user, token_id, reason; /* "": not named */
    uint64_t before_s;                 /* 0: of a single token */
    uint64_t now_ms;
    const char *code; /* of a mistake, with what to say */
    const char *detail;
};

static bool is_there(const struct revocation_request *request, enum field field)
{
    return request->fields[field].value.type != JSON_TYPE_NONE;
}

static bool fail(struct revocation_request *request, const char *code, const char *detail)
{
    request->code = code;
    request->detail = detail;
    return false;
}

static bool read_name(const struct revocation_request *request, enum field field, size_t max,
                      char *scratch, size_t cap, struct str *out_name)
{
    *out_name = STR("");
    return !is_there(request, field) ||
           (json_string_text(request->fields[field].value, scratch, cap, out_name) == 0 &&
            token_name_is_clean(*out_name, max));
}

static bool read_names(struct revocation_request *request, size_t max)
{
    if (!read_name(request, F_USER, max, request->user_text, API_NAME_BYTES, &request->user)) {
        return fail(request, "invalid_user", "`user` is no user id.");
    }
    if (!read_name(request, F_TOKEN_ID, max, request->token_text, API_NAME_BYTES,
                   &request->token_id)) {
        return fail(request, "invalid_token_id", "`token_id` is no id of a token (its `jti`).");
    }
    return read_name(request, F_REASON, REASON_MAX, request->reason_text, REASON_MAX,
                     &request->reason) ||
           fail(request, "invalid_reason", "`reason` is a text of up to 256 bytes.");
}

/* A token says when it was issued in whole seconds, so one of this very second is revoked too; and
 * its clock may be ahead by the leeway. */
static bool read_before(struct revocation_request *request, uint64_t leeway_ms)
{
    request->before_s = (request->now_ms + leeway_ms) / 1000 + 1;
    if (!is_there(request, F_ISSUED_BEFORE)) {
        return true;
    }
    uint64_t ahead_ms = leeway_ms > CLOCK_SKEW_MS ? leeway_ms : CLOCK_SKEW_MS;
    uint64_t latest = (request->now_ms + ahead_ms) / 1000 + 1;
    return (json_u64(request->fields[F_ISSUED_BEFORE].value, latest, &request->before_s) &&
            request->before_s > 0) ||
           fail(
               request, "invalid_issued_before",
               "`issued_before` is in seconds since 1970, and not further ahead than clocks may be.");
}

static bool check_combination(struct revocation_request *request)
{
    bool by_user = is_there(request, F_USER);
    bool by_token = is_there(request, F_TOKEN_ID);
    bool by_time = is_there(request, F_ISSUED_BEFORE);
    if (by_token && (by_user || by_time)) {
        return fail(request, "invalid_revocation",
                    "A token is revoked by its id alone: leave `user` and `issued_before` out.");
    }
    if (!by_token && !by_user && !by_time) {
        return fail(request, "invalid_revocation", "Name `user`, `token_id` or `issued_before`.");
    }
    return true;
}

static bool read_request(struct revocation_request *request, struct json_value body,
                         const struct api_call *call)
{
    size_t max = api_limits(call->worker)->name_bytes;
    uint64_t leeway_ms = call->tenant->settings->auth.jwt.leeway_ms;
    size_t unknown;
    request->fields[F_USER].name = STR("user");
    request->fields[F_TOKEN_ID].name = STR("token_id");
    request->fields[F_ISSUED_BEFORE].name = STR("issued_before");
    request->fields[F_REASON].name = STR("reason");
    if (json_read_fields(body, request->fields, FIELDS, &unknown) || unknown) {
        return fail(request, "unknown_field",
                    "A revocation has `user`, `token_id`, `issued_before` and `reason`.");
    }
    if (!read_names(request, max) || !read_before(request, leeway_ms) ||
        !check_combination(request)) {
        return false;
    }
    request->before_s = is_there(request, F_TOKEN_ID) ? 0 : request->before_s;
    return true;
}

/* ---- the event ---- */

/* Until the last token or ticket that it is about has expired, with what clocks may differ: a token
 * is taken that much before its issue and after its end. */
static uint32_t life_ms(const struct api_call *call)
{
    const struct settings_jwt *jwt = &call->tenant->settings->auth.jwt;
    uint64_t tokens = settings_token_life_ms(jwt);
    uint64_t tickets = api_limits(call->worker)->ticket_ttl_ms;
    return (uint32_t)((tokens > tickets ? tokens : tickets) + 2 * jwt->leeway_ms + CLOCK_SKEW_MS);
}

/* The index of the task is how long it is kept. */
static void answer_accepted(struct push_task *task)
{
    struct buf out = {0};
    buf_append_char(&out, '{');
    json_write_string_field(&out, STR("id"), task->id);
    json_write_u64_field(&out, STR("expires_at"), clock_wall_ms() + task->index);
    buf_append_char(&out, '}');
    if (buf_err(&out)) {
        http_answer_retry(task->owner, 503, "overloaded", "The gateway is short of memory.", 1);
    } else {
        http_answer_json(task->owner, 202, buf_str(&out));
    }
    buf_fini(&out);
}

static void on_published(struct push_task *task, const struct push_outcome *outcome)
{
    const char *code;
    const char *detail;
    int status = push_status(outcome, &code, &detail);
    if (!code) {
        answer_accepted(task);
    } else if (status == 429 || status == 503) {
        http_answer_retry(task->owner, status, code, detail, 1);
    } else {
        http_answer_problem(task->owner, status, code, detail);
    }
}

static int publish(struct api_call *call, const struct revocation_request *request)
{
    bool by_user = request->user.len > 0;
    struct target target = {by_user ? TARGET_USER : TARGET_ALL, request->user};
    struct push push = {.targets = &target,
                        .target_count = 1,
                        .type = request->reason,
                        .ttl_ms = life_ms(call),
                        .data_kind = EVENT_DATA_BINARY,
                        .data = str_make((const char *)&request->before_s,
                                         request->before_s ? sizeof(request->before_s) : 0)};
    struct push_kind event = {EVENT_REVOCATION, request->token_id, true};
    return push_start(call->worker, call->tenant, &push, &event, on_published, call->exchange,
                      push.ttl_ms);
}

/* For the audit log: "users/42", "tokens/7f3a", or all of the app's. */
static bool name_target(struct api_call *call, const struct revocation_request *request)
{
    struct buf target = {0};
    bool by_user = request->user.len > 0;
    struct str name = by_user ? request->user : request->token_id;
    buf_append_str(&target, by_user ? STR("users/") : STR("tokens"));
    buf_append_str(&target, by_user || name.len == 0 ? STR("") : STR("/"));
    buf_append_str(&target, name);
    bool begun = api_begin_act(call, "token.revoke", buf_str(&target));
    buf_fini(&target);
    return begun;
}

void revocations_handle_create(struct api_call *call)
{
    struct revocation_request request = {.now_ms = clock_wall_ms()};
    struct json_value body;
    if (json_parse(&body, call->exchange->body, BODY_DEPTH, NULL) ||
        body.type != JSON_TYPE_OBJECT || json_check_unique_keys(body)) {
        api_refuse(call, 400, "bad_json", "The body is not a JSON object.");
        return;
    }
    if (!read_request(&request, body, call)) {
        api_refuse(call, 422, request.code, request.detail);
        return;
    }
    if (!name_target(call, &request)) {
        return;
    }
    if (publish(call, &request)) {
        http_answer_retry(call->exchange, 503, "overloaded", "The gateway is short of memory.", 1);
    }
}
