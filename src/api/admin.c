#include "api/admin.h"

#include "api/console.h"
#include "api/loopback.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/metrics.h"
#include "server/api_key.h"
#include "server/bearer.h"
#include "server/http_listen.h"
#include "server/stats.h"

enum { RECEIVE_BYTES = 16 * 1024 };

struct admin {
    struct gateway *gateway;
    struct listener *listener;
    struct http_service *http;
    struct console *console;
    struct loop *loop;
    uint8_t receive_buffer[RECEIVE_BYTES];
};

static void answer_text(struct http_exchange *exchange, int status, struct str text)
{
    struct http_response response = {
        .status = status, .content_type = STR("text/plain; charset=utf-8"), .body = text};
    http_answer(exchange, &response);
}

static void on_livez(struct admin *admin, struct http_exchange *exchange)
{
    answer_text(exchange, 200, STR("alive\n"));
}

static void on_readyz(struct admin *admin, struct http_exchange *exchange)
{
    char reason[GATEWAY_WHY_BYTES];
    const char *why = gateway_not_ready(admin->gateway, reason);
    if (!why) {
        answer_text(exchange, 200, STR("ready\n"));
        return;
    }
    struct buf text = {0};
    buf_printf(&text, "not ready: %s\n", why);
    answer_text(exchange, 503, buf_str(&text));
    buf_fini(&text);
}

static void on_metrics(struct admin *admin, struct http_exchange *exchange)
{
    struct buf text = {0};
    if (metrics_render(&text)) {
        http_answer_problem(exchange, 503, "overloaded", "The gateway is short of memory.");
    } else {
        struct http_response response = {.status = 200,
                                         .content_type = STR("text/plain; version=0.0.4"),
                                         .body = buf_str(&text)};
        http_answer(exchange, &response);
    }
    buf_fini(&text);
}

static const struct {
    const char *path;
    void (*handle)(struct admin *admin, struct http_exchange *exchange);
} pages[] = {{"/livez", on_livez}, {"/readyz", on_readyz}, {"/metrics", on_metrics}};

enum { PAGES = sizeof(pages) / sizeof(pages[0]) };

static void answer_method(struct http_exchange *exchange)
{
    struct http_pair allow = {STR("Allow"), STR("GET, HEAD")};
    struct http_response response = {.status = 405,
                                     .content_type = STR("text/plain; charset=utf-8"),
                                     .body = STR("method not allowed\n"),
                                     .headers = &allow,
                                     .header_count = 1};
    http_answer(exchange, &response);
}

/* A name of another site that resolves to here makes a browser ask. On an address of a network the
 * listener has whatever name it has there. */
static bool refuse_foreign_name(struct admin *admin, struct http_exchange *exchange)
{
    struct addr addr;
    listener_addr(admin->listener, &addr);
    if (!addr_is_loopback(&addr) || loopback_host_is_local(exchange->request->host)) {
        return false;
    }
    http_answer_problem(exchange, 421, "misdirected_request",
                        "This listener answers to names of this machine alone.");
    return true;
}

/* A page of another site makes a browser ask. */
static bool refuse_foreign(struct admin *admin, struct http_exchange *exchange)
{
    const struct http_request *request = exchange->request;
    if (refuse_foreign_name(admin, exchange)) {
        return true;
    }
    bool changes = request->method != HTTP_METHOD_GET && request->method != HTTP_METHOD_HEAD;
    if (changes && !loopback_origin_is_own(request, console_is_https(exchange))) {
        http_answer_problem(exchange, 403, "foreign_origin",
                            "Pages of another origin may not ask for this.");
        return true;
    }
    return false;
}

/* Checks of load balancers may name no host at all (HTTP/1.0); browsers always do. */
static bool refuse_page(struct admin *admin, struct http_exchange *exchange)
{
    return exchange->request->host.len && refuse_foreign_name(admin, exchange);
}

/* What is behind the key is told to who has it, not to others: without one even a path that does
 * not exist is 401. */
static void answer_closed(struct admin *admin, struct http_exchange *exchange)
{
    const struct http_request *request = exchange->request;
    struct str header = http_request_field(request, HTTP_FIELD_AUTHORIZATION);
    struct str presented;
    const struct settings_api_key *key = NULL;
    bool is_single = http_request_header_count(request, "Authorization") == 1;
    if (is_single && bearer_parse(header, &presented)) {
        key = api_key_find(http_service_settings(admin->http), presented, NULL);
    }
    if (!key) {
        http_answer_problem(exchange, 401, "unauthorized", "This needs a key of scope admin.");
    } else if (!(key->scopes & SETTINGS_SCOPE_ADMIN)) {
        http_answer_problem(exchange, 403, "scope_missing", "This needs a key of scope admin.");
    } else {
        http_answer_problem(exchange, 404, "not_found", "There is nothing at this path.");
    }
}

static void on_request(void *owner, struct http_exchange *exchange)
{
    struct admin *admin = owner;
    const struct http_request *request = exchange->request;
    for (int i = 0; i < PAGES; i++) {
        if (!str_equal(request->path, str_of(pages[i].path))) {
            continue;
        }
        exchange->route = pages[i].path;
        if (refuse_page(admin, exchange)) {
            return;
        }
        if (request->method == HTTP_METHOD_GET || request->method == HTTP_METHOD_HEAD) {
            pages[i].handle(admin, exchange);
        } else {
            answer_method(exchange);
        }
        return;
    }
    if (!refuse_foreign(admin, exchange) &&
        !console_on_request(admin->console, http_service_settings(admin->http), exchange,
                            loop_now_ms(admin->loop))) {
        answer_closed(admin, exchange);
    }
}

static void on_answered(void *owner, const struct http_exchange *exchange)
{
    stats_request("admin", exchange, clock_monotonic_us());
}

static void on_handshake(void *owner, const char *result)
{
    stats_tls_handshake("admin", result);
}

static void on_refused(void *owner, const struct addr *peer, int status, const char *reason)
{
    stats_http_refused("admin", peer, status, reason);
}

int admin_create(struct admin **out_admin, struct loop *loop, const struct addr *addr,
                 struct gateway *gateway, const struct settings *settings, struct tls_context *tls)
{
    struct admin *admin = mem_zalloc(sizeof(*admin));
    if (!admin) {
        return ERR_NO_MEMORY;
    }
    admin->gateway = gateway;
    admin->loop = loop;
    struct http_service_options options = {.loop = loop,
                                           .name = "admin",
                                           .listener = HTTP_LISTENER_ADMIN,
                                           .settings = settings,
                                           .tls = tls,
                                           .receive_buffer = admin->receive_buffer,
                                           .receive_buffer_len = RECEIVE_BYTES,
                                           .owner = admin,
                                           .on_request = on_request,
                                           .on_answered = on_answered,
                                           .on_handshake = on_handshake,
                                           .on_refused = on_refused};
    int err = console_create(&admin->console, gateway);
    err = err ? err : http_service_create(&admin->http, &options);
    struct addr bound = *addr;
    err = err ? err : http_listen(&admin->listener, admin->http, &bound);
    if (err) {
        admin_destroy(admin);
        return err;
    }
    *out_admin = admin;
    return 0;
}

void admin_destroy(struct admin *admin)
{
    if (admin) {
        listener_destroy(admin->listener);
        http_service_destroy(admin->http);
        console_destroy(admin->console);
        mem_free(admin);
    }
}

void admin_set_settings(struct admin *admin, const struct settings *settings,
                        struct tls_context *tls)
{
    if (admin) {
        http_service_set_settings(admin->http, settings);
        http_service_set_tls(admin->http, tls);
    }
}

void admin_addr(const struct admin *admin, struct addr *out_addr)
{
    listener_addr(admin->listener, out_addr);
}
