#include "api/api.h"

#include "api/alerts.h"
#include "api/assets.h"
#include "api/recent.h"
#include "api/frames.h"
#include "api/loopback.h"
#include "api/messages.h"
#include "api/nodes.h"
#include "api/overview.h"
#include "api/push.h"
#include "api/query.h"
#include "api/revocations.h"
#include "api/receipts.h"
#include "api/tickets.h"
#include "api/tickets_list.h"
#include "api/users.h"
#include "base/audit.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "proto/uri.h"
#include "server/api_key.h"
#include "server/bearer.h"
#include "server/client_addr.h"
#include "server/token.h"

static void handle_openapi(struct api_call *call)
{
    const struct asset *asset = asset_find(STR("/v1/openapi.json"));
    if (asset) {
        http_answer_json(call->exchange, 200, asset->body);
    } else {
        api_refuse(call, 404, "not_found", "The description is not built in.");
    }
}

struct endpoint {
    enum http_method method;
    const char *path; /* {} stands for a name; what is behind it (":drain") for itself */
    uint32_t scopes;  /* one of them is needed; 0: open to everybody */
    void (*handle)(struct api_call *call);
};

#define READ (SETTINGS_SCOPE_READ | SETTINGS_SCOPE_MONITOR)

/* The path is the label of the metrics, too. Adding an endpoint is a line here. */
static const struct endpoint endpoints[] = {
    {HTTP_METHOD_POST, "/v1/messages", SETTINGS_SCOPE_PUSH, push_handle_message},
    {HTTP_METHOD_POST, "/v1/messages:batch", SETTINGS_SCOPE_PUSH, push_handle_batch},
    {HTTP_METHOD_GET, "/v1/messages/{}", READ, receipts_handle_get},
    {HTTP_METHOD_DELETE, "/v1/messages/{}", SETTINGS_SCOPE_PUSH, receipts_handle_delete},
    {HTTP_METHOD_POST, "/v1/users/{}/messages", SETTINGS_SCOPE_PUSH, push_handle_user},
    {HTTP_METHOD_POST, "/v1/groups/{}/messages", SETTINGS_SCOPE_PUSH, push_handle_group},
    {HTTP_METHOD_POST, "/v1/sessions/{}/messages", SETTINGS_SCOPE_PUSH, push_handle_session},
    {HTTP_METHOD_POST, "/v1/tickets/{}/messages", SETTINGS_SCOPE_PUSH, push_handle_ticket},
    {HTTP_METHOD_GET, "/v1/users/{}/messages", READ, messages_handle_user},
    {HTTP_METHOD_GET, "/v1/groups/{}/messages", READ, messages_handle_group},
    {HTTP_METHOD_GET, "/v1/tickets/{}/messages", READ, messages_handle_ticket},
    {HTTP_METHOD_POST, "/v1/tickets", SETTINGS_SCOPE_TICKET, tickets_handle_create},
    {HTTP_METHOD_GET, "/v1/tickets", SETTINGS_SCOPE_TICKET | SETTINGS_SCOPE_MONITOR,
     tickets_handle_list},
    {HTTP_METHOD_GET, "/v1/tickets/{}", SETTINGS_SCOPE_TICKET | SETTINGS_SCOPE_MONITOR,
     tickets_handle_get},
    {HTTP_METHOD_DELETE, "/v1/tickets/{}", SETTINGS_SCOPE_TICKET, tickets_handle_delete},
    {HTTP_METHOD_POST, "/v1/broadcast", SETTINGS_SCOPE_PUSH, push_handle_broadcast},
    {HTTP_METHOD_GET, "/v1/users", READ, users_handle_list},
    {HTTP_METHOD_GET, "/v1/users/{}", READ, query_handle_user},
    {HTTP_METHOD_POST, "/v1/users:query", READ, query_handle_users},
    {HTTP_METHOD_DELETE, "/v1/users/{}/sessions", SETTINGS_SCOPE_KICK, query_handle_kick_user},
    {HTTP_METHOD_GET, "/v1/sessions/{}", READ, query_handle_session},
    {HTTP_METHOD_DELETE, "/v1/sessions/{}", SETTINGS_SCOPE_KICK, query_handle_kick_session},
    {HTTP_METHOD_GET, "/v1/sessions/{}/frames", SETTINGS_SCOPE_READ, frames_handle_get},
    {HTTP_METHOD_GET, "/v1/groups/{}", READ, query_handle_group},
    {HTTP_METHOD_PUT, "/v1/groups/{}/users/{}", SETTINGS_SCOPE_PUSH, query_handle_join},
    {HTTP_METHOD_DELETE, "/v1/groups/{}/users/{}", SETTINGS_SCOPE_PUSH, query_handle_part},
    {HTTP_METHOD_POST, "/v1/revocations", SETTINGS_SCOPE_KICK, revocations_handle_create},
    {HTTP_METHOD_GET, "/v1/overview", SETTINGS_SCOPE_MONITOR, overview_handle},
    {HTTP_METHOD_GET, "/v1/nodes", SETTINGS_SCOPE_MONITOR, nodes_handle_list},
    {HTTP_METHOD_POST, "/v1/nodes/{}:drain", SETTINGS_SCOPE_ADMIN, nodes_handle_drain},
    {HTTP_METHOD_POST, "/v1/nodes/{}:resume", SETTINGS_SCOPE_ADMIN, nodes_handle_resume},
    {HTTP_METHOD_GET, "/v1/alerts", SETTINGS_SCOPE_MONITOR, alerts_handle_list},
    {HTTP_METHOD_GET, "/v1/errors", SETTINGS_SCOPE_MONITOR, recent_handle_errors},
    {HTTP_METHOD_GET, "/v1/openapi.json", 0, handle_openapi},
};

enum audit_when {
    ALWAYS,
    BY_PERSON, /* from the console: ordinary pushes are no acts of administration */
    AT_FIRST   /* with what messages hold, and not as it goes on behind a cursor */
};

/* Those that the audit log tells of, and how. */
static const struct {
    void (*handle)(struct api_call *call);
    const char *action;
    enum audit_when when;
} audited[] = {
    {receipts_handle_delete, "message.cancel", ALWAYS},
    {tickets_handle_delete, "ticket.delete", ALWAYS},
    {query_handle_kick_user, "user.kick", ALWAYS},
    {query_handle_kick_session, "session.kick", ALWAYS},
    {query_handle_join, "group.join", ALWAYS},
    {query_handle_part, "group.part", ALWAYS},
    {revocations_handle_create, "token.revoke", ALWAYS},
    {nodes_handle_drain, "node.drain", ALWAYS},
    {nodes_handle_resume, "node.resume", ALWAYS},
    {messages_handle_user, "messages.read", AT_FIRST},
    {messages_handle_group, "messages.read", AT_FIRST},
    {messages_handle_ticket, "messages.read", AT_FIRST},
    {push_handle_message, "message.push", BY_PERSON},
    {push_handle_batch, "message.push", BY_PERSON},
    {push_handle_user, "message.push", BY_PERSON},
    {push_handle_group, "message.push", BY_PERSON},
    {push_handle_session, "message.push", BY_PERSON},
    {push_handle_ticket, "message.push", BY_PERSON},
    {push_handle_broadcast, "message.push", BY_PERSON},
};

enum {
    ENDPOINTS = sizeof(endpoints) / sizeof(endpoints[0]),
    AUDITED = sizeof(audited) / sizeof(audited[0])
};

void api_refuse(struct api_call *call, int status, const char *code, const char *detail)
{
    http_answer_problem(call->exchange, status, code, detail);
}

/* ---- which endpoint ---- */

/* wanted: {} and maybe an end. */
static bool takes_name(struct str wanted, struct str segment, struct str *out_name)
{
    if (!str_starts_with(wanted, STR("{}"))) {
        return false;
    }
    struct str end = str_make(wanted.ptr + 2, wanted.len - 2);
    if (!str_ends_with(segment, end)) {
        return false;
    }
    *out_name = str_make(segment.ptr, segment.len - end.len);
    return true;
}

static bool path_matches(struct str path, const char *pattern, struct str names[API_NAMES_MAX])
{
    struct str left = path;
    struct str right = str_of(pattern);
    struct str segment;
    struct str wanted;
    int count = 0;
    while (uri_path_next(&right, &wanted)) {
        if (!uri_path_next(&left, &segment)) {
            return false;
        }
        if (takes_name(wanted, segment, &names[count])) {
            count++;
        } else if (!str_equal(wanted, segment)) {
            return false;
        }
    }
    return !uri_path_next(&left, &segment);
}

/* RFC 9110 9.3.2: HEAD is GET without the body, which http_answer leaves out. */
static enum http_method wanted_method(const struct http_request *request)
{
    return request->method == HTTP_METHOD_HEAD ? HTTP_METHOD_GET : request->method;
}

static const struct endpoint *find_endpoint(const struct http_request *request,
                                            struct str names[API_NAMES_MAX], bool *out_path_known,
                                            struct buf *allow)
{
    *out_path_known = false;
    for (int i = 0; i < ENDPOINTS; i++) {
        if (!path_matches(request->path, endpoints[i].path, names)) {
            continue;
        }
        if (endpoints[i].method == wanted_method(request)) {
            return &endpoints[i];
        }
        *out_path_known = true;
        buf_printf(allow, "%s%s%s", allow->len ? ", " : "", http_method_name(endpoints[i].method),
                   endpoints[i].method == HTTP_METHOD_GET ? ", HEAD" : "");
    }
    return NULL;
}

static bool decode_names(struct api_call *call)
{
    size_t max = api_limits(call->worker)->name_bytes;
    for (int i = 0; i < API_NAMES_MAX && call->names[i].ptr; i++) {
        ssize_t len = call->names[i].len <= 3 * (size_t)API_NAME_BYTES
                          ? uri_decode(call->names[i], call->buffer[i], API_NAME_BYTES)
                          : ERR_TOO_LARGE;
        struct str name = str_make(call->buffer[i], len > 0 ? (size_t)len : 0);
        if (len < 0 || !token_name_is_clean(name, max)) {
            api_refuse(call, 422, "invalid_name",
                       "A name in the path is empty, too long, or has control characters.");
            return false;
        }
        call->names[i] = name;
    }
    return true;
}

static void answer_unknown(struct http_exchange *exchange, bool path_known, struct buf *allow)
{
    if (!path_known) {
        http_answer_problem(exchange, 404, "not_found", "There is nothing at this path.");
        return;
    }
    struct http_pair header = {STR("Allow"), buf_str(allow)};
    http_answer_problem_with(exchange, 405, "method_not_allowed",
                             "The path does not take this method.", &header,
                             buf_err(allow) ? 0 : 1);
}

/* ---- the audit log ---- */

/* "users/42" of "/v1/users/42", "nodes/a" of "/v1/nodes/a:drain". */
static struct str target_of(const struct api_call *call)
{
    struct str path = call->request->path;
    const char *route = call->exchange->route;
    const char *verb = route ? strstr(route, "{}:") : NULL;
    path.len -= verb && strlen(verb + 2) < path.len ? strlen(verb + 2) : 0;
    return str_starts_with(path, STR("/v1/")) ? str_make(path.ptr + 4, path.len - 4) : path;
}

bool api_begin_act(struct api_call *call, const char *action, struct str target)
{
    struct http_exchange *exchange = call->exchange;
    char peer[ADDR_TEXT_MAX];
    struct addr addr = client_addr_of(&call->worker->settings->forwarded, call->request,
                                      &exchange->peer);
    struct audit_act act = {.action = action,
                            .app = call->tenant ? str_of(call->tenant->name) : STR(""),
                            .key = call->caller_name,
                            .role = call->tenant ? api_key_role(call->scopes) : STR(""),
                            .via = call->caller ? STR("console") : STR("api"),
                            .peer = str_of(addr_format(&addr, peer)),
                            .target = target,
                            .request_id = request_id_str(&exchange->request_id),
                            .trace_id = request_id_trace(&exchange->request_id)};
    mem_free(exchange->act);
    exchange->act = audit_begin(&act);
    if (!exchange->act) {
        http_answer_retry(exchange, 503, "overloaded", "The gateway is short of memory.", 1);
    }
    return exchange->act != NULL;
}

static bool is_audited(const struct api_call *call, enum audit_when when)
{
    char none[1];
    switch (when) {
    case BY_PERSON: return call->caller != NULL;
    case AT_FIRST:
        return call->scopes & SETTINGS_SCOPE_READ &&
               uri_query_get(call->request->query, STR("after"), none, 0) == ERR_NOT_FOUND;
    case ALWAYS: break;
    }
    return true;
}

/* False: the call is answered. */
static bool begin_audited(struct api_call *call, const struct endpoint *endpoint)
{
    for (int i = 0; i < AUDITED; i++) {
        if (audited[i].handle == endpoint->handle && is_audited(call, audited[i].when)) {
            return api_begin_act(call, audited[i].action, target_of(call));
        }
    }
    return true;
}

/* ---- who calls ---- */

static bool has_keys(const struct settings *settings)
{
    for (size_t i = 0; i < settings->app_count; i++) {
        if (settings->apps[i].api_key_count > 0) {
            return true;
        }
    }
    return false;
}

static void answer_unauthorized(struct api_call *call)
{
    struct http_pair header = {STR("WWW-Authenticate"), STR("Bearer")};
    log_warn("api.unauthorized", "refused a request without a valid API key");
    if (!api_begin_act(call, "key.refused", target_of(call))) {
        return;
    }
    http_answer_problem_with(call->exchange, 401, "unauthorized",
                             "The API key is missing or not valid.", &header, 1);
}

/* A page of another site can make a browser on this machine ask; it has no key, but here none is
 * needed. */
static bool refuse_foreign(struct api_call *call)
{
    if (loopback_host_is_local(call->request->host) &&
        loopback_origin_is_own(call->request, call->exchange->is_secure)) {
        return false;
    }
    api_refuse(call, 403, "foreign_origin",
               "Without API keys only this machine's own programs and pages may call.");
    return true;
}

/* The app that ?app= names, else the caller's own. */
static bool choose_app(struct api_call *call, const struct tenant *own)
{
    const struct tenants *tenants = call->worker->tenants;
    if (!own && call->is_of_gateway && tenants->count > 0) {
        own = &tenants->items[0];
    }
    char name[API_NAME_BYTES];
    ssize_t len = uri_query_get(call->request->query, STR("app"), name, sizeof(name));
    call->tenant = len == ERR_NOT_FOUND ? own
                   : len < 0            ? NULL
                                        : tenants_find(tenants, str_make(name, (size_t)len));
    if (!call->tenant) {
        api_refuse(call, 400, "app_required", "Name an app that lives here by ?app=.");
    }
    return call->tenant != NULL;
}

/* Without any key (on loopback alone, see the configuration's rules) everybody here may do
 * everything. */
static bool identify_openly(struct api_call *call)
{
    call->scopes = UINT32_MAX;
    return !refuse_foreign(call) && choose_app(call, tenants_only(call->worker->tenants));
}

static bool identify_caller(struct api_call *call)
{
    const struct tenants *tenants = call->worker->tenants;
    struct str app = call->caller->app;
    call->scopes = call->caller->scopes;
    call->caller_name = call->caller->name;
    return choose_app(call, app.len ? tenants_find(tenants, app) : tenants_only(tenants));
}

static const struct settings_api_key *find_key(const struct api_call *call,
                                               const struct settings_app **out_app)
{
    struct str header = http_request_field(call->request, HTTP_FIELD_AUTHORIZATION);
    struct str presented;
    bool is_one = header.ptr && http_request_header_count(call->request, "Authorization") == 1;
    return is_one && bearer_parse(header, &presented)
               ? api_key_find(call->worker->settings, presented, out_app)
               : NULL;
}

/* Who monitors or operates the gateway sees the other apps, too; what else the key may, it may in
 * its own. */
static bool choose_seen_app(struct api_call *call)
{
    const struct tenant *own = call->tenant;
    if (!(call->scopes & SETTINGS_SCOPE_MONITOR)) {
        return true;
    }
    if (!choose_app(call, own)) {
        return false;
    }
    if (call->tenant != own) {
        call->scopes &= SETTINGS_SCOPE_MONITOR | SETTINGS_SCOPE_ADMIN;
    }
    return true;
}

static bool identify(struct api_call *call)
{
    const struct settings *settings = call->worker->settings;
    if (call->caller) {
        return identify_caller(call);
    }
    if (!has_keys(settings)) {
        return identify_openly(call);
    }
    const struct settings_app *app = NULL;
    const struct settings_api_key *key = find_key(call, &app);
    call->tenant = key ? tenants_find(call->worker->tenants, app->name) : NULL;
    if (!call->tenant) {
        answer_unauthorized(call);
        return false;
    }
    call->scopes = api_key_scopes(key);
    call->caller_name = key->name;
    return choose_seen_app(call);
}

static bool check_app(struct api_call *call)
{
    if (worker_takes_app(call->worker, call->tenant)) {
        return true;
    }
    http_answer_retry(call->exchange, 503, "overloaded", "The gateway is short of memory.", 1);
    return false;
}

static bool may_call(struct api_call *call, const struct endpoint *endpoint)
{
    if (endpoint->scopes == 0) {
        return true;
    }
    call->is_of_gateway = !(endpoint->scopes & ~(SETTINGS_SCOPE_MONITOR | SETTINGS_SCOPE_ADMIN));
    if (!identify(call) || !check_app(call)) {
        return false;
    }
    call->exchange->app = call->tenant->id + 1;
    if (!(call->scopes & endpoint->scopes)) {
        if (!api_begin_act(call, "key.refused", target_of(call))) {
            return false;
        }
        api_refuse(call, 403, "scope_missing", "The API key has not the scope that this needs.");
        return false;
    }
    return true;
}

/* A compressed body would be pushed as bytes that nobody understands. */
static bool check_encoding(struct api_call *call)
{
    if (http_request_header_count(call->request, "Content-Encoding") == 0) {
        return true;
    }
    api_refuse(call, 415, "unsupported_encoding", "The body must not have a Content-Encoding.");
    return false;
}

/* Finds the endpoint and checks the caller; answers when that fails. */
static const struct endpoint *admit(struct api_call *call)
{
    struct buf allow = {0};
    bool path_known;
    const struct endpoint *endpoint = NULL;
    if (uri_path_check(call->request->path)) {
        api_refuse(call, 400, "bad_path", "The path is malformed.");
        return NULL;
    }
    endpoint = find_endpoint(call->request, call->names, &path_known, &allow);
    if (!endpoint) {
        answer_unknown(call->exchange, path_known, &allow);
    } else {
        call->exchange->route = endpoint->path;
        endpoint = may_call(call, endpoint) && check_encoding(call) ? endpoint : NULL;
    }
    buf_fini(&allow);
    return endpoint;
}

static void begin_call(struct api_call *call, struct worker *worker, struct http_exchange *exchange,
                       const struct api_caller *caller)
{
    call->worker = worker;
    call->exchange = exchange;
    call->request = exchange->request;
    call->caller = caller;
    call->caller_name = STR("");
    call->tenant = NULL;
    call->scopes = 0;
    for (int i = 0; i < API_NAMES_MAX; i++) {
        call->names[i] = (struct str){NULL, 0};
    }
}

/* Who may not call need not send a body. */
void api_on_head(struct worker *worker, struct http_exchange *exchange)
{
    struct api_call call;
    begin_call(&call, worker, exchange, NULL);
    admit(&call);
}

void api_on_request_as(struct worker *worker, struct http_exchange *exchange,
                       const struct api_caller *caller)
{
    struct api_call call;
    begin_call(&call, worker, exchange, caller);
    const struct endpoint *endpoint = admit(&call);
    if (endpoint && decode_names(&call) && begin_audited(&call, endpoint)) {
        endpoint->handle(&call);
    }
}

void api_on_request(struct worker *worker, struct http_exchange *exchange)
{
    api_on_request_as(worker, exchange, NULL);
}
