#include "api/console.h"

#include <stdio.h>

#include "api/bridge.h"
#include "api/console_sessions.h"
#include "api/loopback.h"
#include "api/page.h"
#include "base/audit.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/rate.h"
#include "proto/json.h"
#include "server/api_key.h"
#include "server/cookie.h"
#include "server/stats.h"

/* Tries to sign in that fail: an address may make so many at once, and one a second. */
enum { TRY_BURST = 10, TRY_CELLS = 256, KEY_BYTES_MAX = 256, COOKIE_TEXT = 160 };

#define API_PREFIX STR("/console/api")
#define COOKIE_SECURE STR("__Host-tidegate_console")
#define COOKIE_PLAIN STR("tidegate_console")

struct console {
    struct gateway *gateway;
    struct bridge *bridge;
    struct console_sessions sessions;
    struct rate tries[TRY_CELLS]; /* by a hash of the address */
};

/* Who asks. key NULL and is_open false: nobody who is signed in. */
struct who {
    const struct settings_api_key *key; /* borrowed from the settings */
    const struct settings_app *app;
    struct console_session *session;
    bool is_open; /* no key is needed */
};

static bool may_operate(const struct who *who)
{
    return who->is_open || (who->key->scopes & SETTINGS_SCOPE_ADMIN);
}

bool console_is_https(const struct http_exchange *exchange)
{
    struct str origin = http_request_field(exchange->request, HTTP_FIELD_ORIGIN);
    return exchange->is_secure || str_starts_with(origin, STR("https://"));
}

/* ---- guards ---- */

/* A browser says where a request comes from, and only a script of our origin can set a header of
 * its own without asking us first (CORS). */
static bool is_forged(const struct http_exchange *exchange)
{
    const struct http_request *request = exchange->request;
    struct str site = http_request_header(request, "Sec-Fetch-Site");
    if (site.ptr && !str_equal(site, STR("same-origin")) && !str_equal(site, STR("none"))) {
        return true;
    }
    if (request->method == HTTP_METHOD_GET || request->method == HTTP_METHOD_HEAD) {
        return false;
    }
    return http_request_header_count(request, "Origin") != 1 ||
           !loopback_origin_is_own(request, console_is_https(exchange)) ||
           http_request_header_count(request, "X-Tidegate-Console") == 0;
}

static bool refuse_forged(struct http_exchange *exchange)
{
    if (is_forged(exchange)) {
        http_answer_problem(exchange, 403, "foreign_origin",
                            "Only the console's own page may ask for this.");
        return true;
    }
    return false;
}

/* ---- who ---- */

static bool has_keys(const struct settings *settings)
{
    for (size_t i = 0; i < settings->app_count; i++) {
        if (settings->apps[i].api_key_count > 0) {
            return true;
        }
    }
    return false;
}

static struct str cookie_name(const struct http_exchange *exchange)
{
    return console_is_https(exchange) ? COOKIE_SECURE : COOKIE_PLAIN;
}

/* A GET of our own page has no Origin: then a proxy before us that speaks TLS doesn't show. Where
 * both cookies are there, only one of them is ours, and the other finds nothing. */
static struct console_session *find_session(struct console *console,
                                            const struct settings *settings,
                                            const struct http_exchange *exchange, uint64_t now_ms)
{
    struct console_session *session = NULL;
    struct str cookie;
    if (cookie_find(exchange->request, COOKIE_SECURE, &cookie) == 1) {
        session = console_sessions_find(&console->sessions, cookie, &settings->console, now_ms);
    }
    if (!session && !exchange->is_secure &&
        cookie_find(exchange->request, COOKIE_PLAIN, &cookie) == 1) {
        session = console_sessions_find(&console->sessions, cookie, &settings->console, now_ms);
    }
    return session;
}

static bool gives_a_role(const struct settings_api_key *key)
{
    return api_key_scopes(key) & SETTINGS_SCOPE_MONITOR;
}

/* A session whose key is gone, or has lost its scope, is none. */
static struct who identify(struct console *console, const struct settings *settings,
                           const struct http_exchange *exchange, uint64_t now_ms)
{
    struct who who = {.is_open = !has_keys(settings)};
    if (who.is_open) {
        return who;
    }
    who.session = find_session(console, settings, exchange, now_ms);
    if (who.session) {
        who.key = api_key_find_digest(settings, who.session->key, &who.app);
    }
    if (who.key && !gives_a_role(who.key)) {
        who.key = NULL;
    }
    if (!who.key) {
        console_session_end(who.session);
        who.session = NULL;
    }
    return who;
}

/* ---- the session ---- */

static void write_apps(struct buf *out, const struct settings *settings)
{
    buf_append_str(out, STR(",\"apps\":["));
    for (size_t i = 0; i < settings->app_count; i++) {
        json_write_comma(out);
        http_append_json_string(out, settings->apps[i].name);
    }
    buf_append_char(out, ']');
}

static void write_who(struct buf *out, const struct console *console,
                      const struct settings *settings, const struct who *who, uint64_t now_ms)
{
    buf_append_char(out, '{');
    json_write_bool_field(out, STR("signed_in"), true);
    json_write_bool_field(out, STR("open"), who->is_open);
    json_write_string_field(out, STR("role"), may_operate(who) ? STR("operate") : STR("read"));
    if (who->key) {
        json_write_string_field(out, STR("key"), who->key->name);
        json_write_string_field(out, STR("app"), who->app->name);
    }
    if (who->session) {
        uint64_t ends_ms = console_session_ends_ms(who->session, &settings->console);
        json_write_u64_field(out, STR("ends_in_ms"), ends_ms - now_ms);
    }
    write_apps(out, settings);
    json_write_string_field(out, STR("cluster"), settings->cluster.name);
    json_write_string_field(out, STR("node"), str_of(console->gateway->node));
    json_write_string_field(out, STR("version"), STR(TIDEGATE_VERSION));
    buf_append_char(out, '}');
}

/* set_cookie: may be empty. */
static void answer_who(struct console *console, const struct settings *settings,
                       struct http_exchange *exchange, const struct who *who, struct str set_cookie,
                       uint64_t now_ms)
{
    struct http_pair cookie = {STR("Set-Cookie"), set_cookie};
    struct buf out = {0};
    write_who(&out, console, settings, who, now_ms);
    if (buf_err(&out)) {
        http_answer_retry(exchange, 503, "overloaded", "The gateway is short of memory.", 1);
    } else {
        page_answer(exchange, 200, "application/json", buf_str(&out), &cookie,
                    set_cookie.len ? 1 : 0);
    }
    buf_fini(&out);
}

static void on_get_session(struct console *console, const struct settings *settings,
                           struct http_exchange *exchange, uint64_t now_ms)
{
    struct who who = identify(console, settings, exchange, now_ms);
    if (who.key || who.is_open) {
        answer_who(console, settings, exchange, &who, STR(""), now_ms);
    } else {
        page_answer(exchange, 200, "application/json", STR("{\"signed_in\":false}"), NULL, 0);
    }
}

static struct str write_cookie(char out[COOKIE_TEXT], const struct http_exchange *exchange,
                               const char *value, const char *age)
{
    int len = snprintf(out, COOKIE_TEXT, "%.*s=%s; Path=/; HttpOnly; SameSite=Strict%s%s",
                       STR_ARG(cookie_name(exchange)), value, age,
                       console_is_https(exchange) ? "; Secure" : "");
    return str_make(out, (size_t)len);
}

static void tell_act(const struct http_exchange *exchange, const char *action,
                     enum audit_result result, const struct who *who, const char *code, int status)
{
    char peer[ADDR_TEXT_MAX];
    addr_format_ip(&exchange->peer, peer);
    struct audit_act act = {.action = action,
                            .result = result,
                            .via = STR("console"),
                            .peer = str_of(peer),
                            .code = str_of(code),
                            .status = status,
                            .request_id = request_id_str(&exchange->request_id)};
    if (who && who->key) {
        act.app = who->app->name;
        act.key = who->key->name;
        act.role = may_operate(who) ? STR("admin") : STR("monitor");
    }
    audit(&act);
}

static void refuse_sign_in(struct http_exchange *exchange, int status, const char *code,
                           const char *detail)
{
    char peer[ADDR_TEXT_MAX];
    addr_format_ip(&exchange->peer, peer);
    log_warn_of(LOG_OF(.code = str_of(code)), "operator.refused",
                "somebody at %s could not sign in to the console", peer);
    tell_act(exchange, "operator.sign_in", AUDIT_REFUSED, NULL, code, status);
    stats_console_sign_in(code);
    http_answer_problem(exchange, status, code, detail);
}

/* {"key": "…"}; scratch is where it lies when it has escapes. */
static bool read_key(struct str body, char scratch[KEY_BYTES_MAX], struct str *out_key)
{
    struct json_value root, key;
    return json_parse(&root, body, 2, NULL) == 0 && json_get(root, STR("key"), &key) &&
           json_string_text(key, scratch, KEY_BYTES_MAX, out_key) == 0;
}

static bool is_json(const struct http_request *request)
{
    struct str rest = http_request_field(request, HTTP_FIELD_CONTENT_TYPE);
    struct str type;
    return rest.ptr && str_split(&rest, ';', &type) &&
           str_equal_nocase(str_trim(type), STR("application/json"));
}

/* True when the address has failed too often: answered. Who has a right key is never kept out by
 * those who share the address and have none. */
static bool refuse_hasty(struct console *console, struct http_exchange *exchange, uint64_t now_ms)
{
    uint64_t cell = admission_key_of_ip(&console->gateway->admission, &exchange->peer);
    if (rate_take(&console->tries[cell % TRY_CELLS], 1, TRY_BURST, now_ms * 1000) == 0) {
        return false;
    }
    stats_console_sign_in("rate_limited");
    http_answer_retry(exchange, 429, "rate_limited", "Too many tries from this address.", 1);
    return true;
}

/* The browser's session of before ends: its cookie is about to be replaced. */
static void sign_in(struct console *console, const struct settings *settings,
                    struct http_exchange *exchange, struct who *who, uint64_t now_ms)
{
    char cookie[CONSOLE_COOKIE_LEN + 1];
    char text[COOKIE_TEXT];
    console_session_end(find_session(console, settings, exchange, now_ms));
    who->session = console_sessions_begin(&console->sessions, who->key->hash, now_ms, cookie);
    if (!who->session) {
        http_answer_retry(exchange, 503, "overloaded", "The system has no randomness.", 1);
        return;
    }
    log_info("operator.signed_in", "the key '%.*s' of app '%.*s' is signed in to the console",
             STR_ARG(who->key->name), STR_ARG(who->app->name));
    tell_act(exchange, "operator.sign_in", AUDIT_DONE, who, "", 200);
    stats_console_sign_in("ok");
    answer_who(console, settings, exchange, who, write_cookie(text, exchange, cookie, ""), now_ms);
}

static void refuse_key(struct http_exchange *exchange, bool is_read,
                       const struct settings_api_key *key)
{
    if (!is_read) {
        http_answer_problem(exchange, 400, "bad_json", "The body is {\"key\": \"…\"}.");
    } else if (!key) {
        refuse_sign_in(exchange, 401, "unauthorized", "The key is not one of this gateway.");
    } else {
        refuse_sign_in(exchange, 403, "scope_missing",
                       "The key has neither the scope monitor nor admin.");
    }
}

static void on_sign_in(struct console *console, const struct settings *settings,
                       struct http_exchange *exchange, uint64_t now_ms)
{
    char scratch[KEY_BYTES_MAX];
    struct str presented;
    struct who who = {0};
    if (!is_json(exchange->request)) {
        http_answer_problem(exchange, 415, "unsupported_type", "The body must be JSON.");
        return;
    }
    bool is_read = read_key(exchange->body, scratch, &presented);
    who.key = is_read ? api_key_find(settings, presented, &who.app) : NULL;
    if (who.key && gives_a_role(who.key)) {
        sign_in(console, settings, exchange, &who, now_ms);
    } else if (!refuse_hasty(console, exchange, now_ms)) {
        refuse_key(exchange, is_read, who.key);
    }
}

static void on_sign_out(struct console *console, const struct settings *settings,
                        struct http_exchange *exchange, uint64_t now_ms)
{
    char text[COOKIE_TEXT];
    struct who who = identify(console, settings, exchange, now_ms);
    if (who.key) {
        tell_act(exchange, "operator.sign_out", AUDIT_DONE, &who, "", 204);
    }
    console_session_end(who.session);
    struct http_pair cookie = {STR("Set-Cookie"), write_cookie(text, exchange, "", "; Max-Age=0")};
    page_answer(exchange, 204, "", STR(""), &cookie, 1);
}

static void on_session(struct console *console, const struct settings *settings,
                       struct http_exchange *exchange, uint64_t now_ms)
{
    exchange->route = "/console/session";
    switch (exchange->request->method) {
    case HTTP_METHOD_GET:
    case HTTP_METHOD_HEAD: on_get_session(console, settings, exchange, now_ms); break;
    case HTTP_METHOD_POST: on_sign_in(console, settings, exchange, now_ms); break;
    case HTTP_METHOD_DELETE: on_sign_out(console, settings, exchange, now_ms); break;
    default: page_refuse_method(exchange, "GET, HEAD, POST, DELETE");
    }
}

/* ---- the API ---- */

static void on_api(struct console *console, const struct settings *settings,
                   struct http_exchange *exchange, uint64_t now_ms)
{
    struct str path = exchange->request->path;
    struct who who = identify(console, settings, exchange, now_ms);
    exchange->route = "/console/api";
    if (!who.key && !who.is_open) {
        http_answer_problem(exchange, 401, "signed_out", "Sign in to the console first.");
        return;
    }
    uint32_t scopes = who.is_open         ? UINT32_MAX
                      : may_operate(&who) ? SETTINGS_SCOPE_ALL
                                          : SETTINGS_SCOPE_MONITOR;
    struct api_caller caller = {.app = who.key ? who.app->name : STR(""),
                                .name = who.key ? who.key->name : STR(""),
                                .scopes = scopes};
    bridge_call(console->bridge, exchange,
                str_make(path.ptr + API_PREFIX.len, path.len - API_PREFIX.len), &caller,
                who.session ? who.session->number : 0);
}

bool console_on_request(struct console *console, const struct settings *settings,
                        struct http_exchange *exchange, uint64_t now_ms)
{
    struct str path = exchange->request->path;
    bool is_bare = str_equal(path, STR("/console"));
    if (!settings->console.enabled || (!is_bare && !str_starts_with(path, STR("/console/")))) {
        return false;
    }
    bool is_session = str_equal(path, STR("/console/session"));
    bool is_api = str_starts_with(path, STR("/console/api/"));
    if ((is_session || is_api) && refuse_forged(exchange)) {
        return true;
    }
    if (is_session) {
        on_session(console, settings, exchange, now_ms);
    } else if (is_api) {
        on_api(console, settings, exchange, now_ms);
    } else {
        exchange->route = "/console/";
        page_serve(exchange, "/console");
    }
    return true;
}

/* ---- life ---- */

static const struct http_pair API_HEADERS[] = {
    {STR("Cache-Control"), STR("no-store")},
    {STR("X-Content-Type-Options"), STR("nosniff")},
    {STR("Content-Security-Policy"), STR("default-src 'none'; frame-ancestors 'none'")},
};

int console_create(struct console **out_console, struct gateway *gateway)
{
    struct console *console = mem_zalloc(sizeof(*console));
    if (!console) {
        return ERR_NO_MEMORY;
    }
    console->gateway = gateway;
    struct bridge_options options = {.gateway = gateway,
                                     .handle = api_on_request_as,
                                     .headers = API_HEADERS,
                                     .header_count = sizeof(API_HEADERS) / sizeof(API_HEADERS[0])};
    int err = bridge_create(&console->bridge, &options);
    if (err) {
        mem_free(console);
        return err;
    }
    *out_console = console;
    return 0;
}

void console_destroy(struct console *console)
{
    if (console) {
        bridge_destroy(console->bridge);
        mem_free(console);
    }
}
