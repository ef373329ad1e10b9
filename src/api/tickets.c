#include "api/tickets.h"

#include <openssl/rand.h>

#include "api/push.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"
#include "core/ticket_id.h"
#include "core/tickets.h"
#include "server/stats.h"
#include "server/token.h"

enum { DEFAULT_TTL_MS = 5 * 60 * 1000, END_WAIT_MS = 1000 };

static void refuse_for_memory(struct http_exchange *exchange)
{
    http_answer_retry(exchange, 503, "overloaded", "The gateway is short of memory.", 1);
}

bool tickets_check_id(const struct worker *worker, uint32_t app_hash, struct str id,
                      struct push_error *out_error)
{
    if (!cluster_keys_check_ticket_id(&worker->gateway->keys, app_hash, id)) {
        *out_error = (struct push_error){404, "ticket_not_found",
                                         "No ticket of this app has this id."};
        return false;
    }
    if (ticket_id_expires_ms(id) <= clock_wall_ms()) {
        *out_error = (struct push_error){410, "ticket_expired", "The ticket's time is over."};
        return false;
    }
    return true;
}

static uint32_t app_of(const struct api_call *call)
{
    return shard_app_hash(call->worker->shard, call->tenant->id);
}

/* ---- making ---- */

enum field { F_SCENE, F_TTL, F_USER, FIELDS };

/* What the body asks for; texts in scratch. */
struct wish {
    struct str scene, user;
    uint64_t ttl_ms;
    char scratch[2][API_NAME_BYTES];
};

static bool read_name(struct json_value value, char *scratch, size_t max, struct str *out_name)
{
    *out_name = STR("");
    return value.type == JSON_TYPE_NONE ||
           (json_string_text(value, scratch, API_NAME_BYTES, out_name) == 0 &&
            token_name_is_clean(*out_name, max));
}

static bool read_ttl(struct api_call *call, struct json_value value, uint64_t *out_ttl_ms)
{
    uint64_t most = api_limits(call->worker)->ticket_ttl_ms;
    *out_ttl_ms = most < DEFAULT_TTL_MS ? most : DEFAULT_TTL_MS;
    return value.type == JSON_TYPE_NONE || (json_u64(value, most, out_ttl_ms) && *out_ttl_ms > 0);
}

static bool read_fields(struct api_call *call, struct json_field *fields, struct wish *wish)
{
    size_t max = api_limits(call->worker)->name_bytes;
    if (!read_name(fields[F_SCENE].value, wish->scratch[0], max, &wish->scene)) {
        api_refuse(call, 422, "invalid_scene", "`scene` is a short text.");
    } else if (!read_name(fields[F_USER].value, wish->scratch[1], max, &wish->user)) {
        api_refuse(call, 422, "invalid_user", "`user` is a user's id.");
    } else if (!read_ttl(call, fields[F_TTL].value, &wish->ttl_ms)) {
        api_refuse(call, 422, "invalid_ttl_ms", "`ttl_ms` is a number of 1 to limits.ticket_ttl.");
    } else {
        return true;
    }
    return false;
}

static bool read_wish(struct api_call *call, struct wish *wish)
{
    struct json_field fields[FIELDS] = {[F_SCENE] = {.name = STR("scene")},
                                        [F_TTL] = {.name = STR("ttl_ms")},
                                        [F_USER] = {.name = STR("user")}};
    struct json_value body;
    size_t unknown;
    if (json_parse(&body, call->exchange->body, 2, NULL)) {
        api_refuse(call, 400, "bad_json", "The body is not JSON.");
        return false;
    }
    if (body.type != JSON_TYPE_OBJECT || json_read_fields(body, fields, FIELDS, &unknown) ||
        unknown) {
        api_refuse(call, 422, "invalid_ticket",
                   "A ticket is an object of scene, ttl_ms and user, each once.");
        return false;
    }
    return read_fields(call, fields, wish);
}

static int make(struct api_call *call, const struct wish *wish, char id[TICKET_ID_LEN + 1],
                uint64_t now_ms, struct buf *out_text)
{
    uint64_t expires_ms = now_ms + wish->ttl_ms;
    const struct cluster_keys *keys = &call->worker->gateway->keys;
    uint8_t chance[TICKET_ID_CHANCE];
    if (RAND_bytes(chance, sizeof(chance)) != 1) {
        return ERR_UNAVAILABLE;
    }
    ticket_id_format(id, &keys->ticket_id_keys[0], app_of(call), expires_ms, chance);
    struct ticket ticket = {.app = str_of(call->tenant->name),
                            .id = str_make(id, TICKET_ID_LEN),
                            .scene = wish->scene,
                            .user = wish->user,
                            .expires_ms = expires_ms,
                            .issued_ms = now_ms};
    return ticket_write(out_text, keys->ticket_keys[0], &ticket);
}

static void answer_made(struct api_call *call, const char *id, struct str text, uint64_t expires_ms)
{
    struct buf out = {0};
    buf_append_char(&out, '{');
    json_write_string_field(&out, STR("ticket"), text);
    json_write_string_field(&out, STR("id"), str_of(id));
    json_write_u64_field(&out, STR("expires_at"), expires_ms);
    buf_append_char(&out, '}');
    if (buf_err(&out)) {
        refuse_for_memory(call->exchange);
    } else {
        stats_ticket(call->tenant, STATS_TICKET_CREATED);
        http_answer_json(call->exchange, 201, buf_str(&out));
    }
    buf_fini(&out);
}

void tickets_handle_create(struct api_call *call)
{
    struct wish wish;
    char id[TICKET_ID_LEN + 1];
    struct buf text = {0};
    if (!read_wish(call, &wish)) {
        return;
    }
    uint64_t now_ms = clock_wall_ms();
    int err = make(call, &wish, id, now_ms, &text);
    if (err == ERR_TOO_LARGE) {
        api_refuse(call, 422, "invalid_user", "`scene` and `user` are too long for a URL.");
    } else if (err) {
        refuse_for_memory(call->exchange);
    } else {
        answer_made(call, id, buf_str(&text), now_ms + wish.ttl_ms);
    }
    buf_fini(&text);
}

/* ---- looking ---- */

/* To the hub and back. */
struct look_call {
    struct mail mail;
    struct worker *worker;
    struct http_exchange *exchange;
    struct ticket_look look;
    uint64_t key;
    char id[TICKET_ID_LEN + 1];
};

static void answer_state(struct http_exchange *exchange, struct str id, const char *state,
                         uint32_t messages)
{
    struct buf out = {0};
    buf_append_char(&out, '{');
    json_write_string_field(&out, STR("id"), id);
    json_write_string_field(&out, STR("state"), str_of(state));
    json_write_u64_field(&out, STR("messages"), messages);
    json_write_u64_field(&out, STR("expires_at"), ticket_id_expires_ms(id));
    buf_append_char(&out, '}');
    if (buf_err(&out)) {
        refuse_for_memory(exchange);
    } else {
        http_answer_json(exchange, 200, buf_str(&out));
    }
    buf_fini(&out);
}

static void run_looked(struct mail *mail)
{
    static const char *const states[] = {[TICKET_IS_WAITING] = "waiting",
                                         [TICKET_IS_CLAIMED] = "claimed",
                                         [TICKET_IS_DONE] = "done"};
    struct look_call *look = MAIL_OWNER(mail, struct look_call, mail);
    answer_state(look->exchange, str_of(look->id), states[look->look.state], look->look.messages);
    mem_free(look);
}

/* Inside the hub's gate. */
static void run_look(struct mail *mail)
{
    struct look_call *look = MAIL_OWNER(mail, struct look_call, mail);
    struct hub *hub = look->worker->gateway->hub;
    hub_ticket_look(hub, look->key, &look->look);
    look->mail.run = run_looked;
    hub_give_back(hub, look->worker->index, &look->mail);
}

static void refuse_id(struct api_call *call, const struct push_error *error)
{
    api_refuse(call, error->status, error->code, error->detail);
}

void tickets_handle_get(struct api_call *call)
{
    struct push_error error;
    struct str id = call->names[0];
    if (!tickets_check_id(call->worker, app_of(call), id, &error)) {
        if (error.status == 410) {
            answer_state(call->exchange, id, "expired", 0);
        } else {
            refuse_id(call, &error);
        }
        return;
    }
    struct look_call *look = mem_zalloc(sizeof(*look));
    if (!look) {
        refuse_for_memory(call->exchange);
        return;
    }
    look->mail.run = run_look;
    look->worker = call->worker;
    look->exchange = call->exchange;
    look->key = target_key(&call->worker->gateway->keys.space, app_of(call), TARGET_TICKET, id);
    memcpy(look->id, id.ptr, TICKET_ID_LEN);
    worker_send_to_hub(call->worker, &look->mail);
}

/* ---- ending ---- */

/* The target's name went with the call; the id says it again. */
static void on_ended(struct push_task *task, const struct push_outcome *outcome)
{
    const char *code;
    const char *detail;
    int status = push_status(outcome, &code, &detail);
    if (!code) {
        stats_ticket(&task->worker->tenants->items[task->app], STATS_TICKET_DELETED);
        http_answer_json(task->owner, 200, STR("{\"state\":\"done\"}"));
    } else if (status == 503 || status == 429) {
        http_answer_retry(task->owner, status, code, detail, 1);
    } else {
        http_answer_problem(task->owner, status, code, detail);
    }
}

void tickets_handle_delete(struct api_call *call)
{
    struct push_error error;
    if (!tickets_check_id(call->worker, app_of(call), call->names[0], &error)) {
        refuse_id(call, &error);
        return;
    }
    struct target target = {TARGET_TICKET, call->names[0]};
    struct push push = {
        .targets = &target, .target_count = 1, .wait = PUSH_WAIT_ROUTED, .wait_ms = END_WAIT_MS};
    struct push_kind event = {.kind = EVENT_TICKET_END, .keeps = true, .subject = STR("")};
    if (push_start(call->worker, call->tenant, &push, &event, on_ended, call->exchange, 0)) {
        refuse_for_memory(call->exchange);
    }
}
