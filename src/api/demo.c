#include "api/demo.h"

#include "api/loopback.h"
#include "api/page.h"
#include "api/push.h"
#include "base/clock.h"
#include "proto/json.h"
#include "server/http_conn.h"
#include "server/token.h"
#include "server/token_mint.h"
#include "server/worker.h"

enum { TOKEN_SECONDS = 3600, USER_BYTES_MAX = 256, JSON_DEPTH = 4 };

static bool is_on(const struct worker *worker)
{
    return worker->settings->debug.demo && addr_is_loopback(&worker->gateway->client_addr);
}

/* The app that the page belongs to: the one named "demo", else the only one. */
static const struct tenant *find_tenant(const struct worker *worker)
{
    const struct tenant *tenant = tenants_find(worker->tenants, STR("demo"));
    return tenant ? tenant : tenants_only(worker->tenants);
}

static const struct settings_jwt_key *find_secret(const struct settings_app *app)
{
    for (size_t i = 0; i < app->auth.jwt.key_count; i++) {
        const struct settings_jwt_key *key = &app->auth.jwt.keys[i];
        if (key->kind == SETTINGS_KEY_SECRET) {
            return key;
        }
    }
    return NULL;
}

/* {"user": "…"}; scratch is where the name lies when it has escapes. */
static bool read_user(struct str body, char scratch[USER_BYTES_MAX], struct str *out_user)
{
    struct json_value root, user;
    return json_parse(&root, body, JSON_DEPTH, NULL) == 0 && json_get(root, STR("user"), &user) &&
           json_string_text(user, scratch, USER_BYTES_MAX, out_user) == 0;
}

static int mint(struct buf *out, const struct settings_app *app,
                const struct settings_jwt_key *secret, struct str user)
{
    uint64_t now_s = clock_wall_ms() / 1000;
    struct token_claims claims = {.sub = user,
                                  .iss = app->auth.jwt.issuer,
                                  .aud = app->auth.jwt.audience,
                                  .iat_s = now_s,
                                  .exp_s = now_s + TOKEN_SECONDS};
    return token_mint(out, secret->material, secret->kid, &claims);
}

static void answer_token(struct http_exchange *exchange, const struct settings_app *app,
                         struct str token)
{
    struct buf body = {0};
    buf_append_char(&body, '{');
    json_write_string_field(&body, STR("token"), token);
    json_write_string_field(&body, STR("app"), app->name);
    buf_append_char(&body, '}');
    if (buf_err(&body)) {
        http_answer_retry(exchange, 503, "overloaded", NULL, 1);
    } else {
        page_answer(exchange, 200, "application/json", buf_str(&body), NULL, 0);
    }
    buf_fini(&body);
}

static void make_token(struct worker *worker, const struct tenant *tenant,
                       struct http_exchange *exchange)
{
    const struct settings_jwt_key *secret = find_secret(tenant->settings);
    if (!secret) {
        http_answer_problem(exchange, 409, "no_secret",
                            "the demo needs an app with an HS256 secret under auth.jwt.keys");
        return;
    }
    char scratch[USER_BYTES_MAX];
    struct str user;
    if (!read_user(exchange->body, scratch, &user) ||
        !token_name_is_clean(user, worker->settings->limits.name_bytes)) {
        http_answer_problem(exchange, 422, "invalid_user",
                            "user must be a name without control characters");
        return;
    }
    struct buf token = {0};
    if (mint(&token, tenant->settings, secret, user)) {
        http_answer_retry(exchange, 503, "overloaded", NULL, 1);
    } else {
        answer_token(exchange, tenant->settings, buf_str(&token));
    }
    buf_fini(&token);
}

static void accept_post(struct worker *worker, struct http_exchange *exchange, bool is_push)
{
    const struct tenant *tenant = find_tenant(worker);
    if (exchange->request->method != HTTP_METHOD_POST) {
        page_refuse_method(exchange, "POST");
    } else if (!loopback_origin_is_own(exchange->request, exchange->is_secure)) {
        http_answer_problem(exchange, 403, "foreign_origin",
                            "only the demo page itself may ask for this");
    } else if (!tenant) {
        http_answer_problem(exchange, 409, "no_app",
                            "the demo needs an app named demo, or one app alone");
    } else if (is_push) {
        push_answer_message(worker, tenant, exchange);
    } else {
        make_token(worker, tenant, exchange);
    }
}

bool demo_on_request(struct worker *worker, struct http_exchange *exchange)
{
    struct str path = exchange->request->path;
    bool is_ours = str_equal(path, STR("/demo")) || str_starts_with(path, STR("/demo/"));
    if (!is_ours || !is_on(worker)) {
        return false;
    }
    exchange->route = "demo";
    if (!loopback_host_is_local(exchange->request->host)) {
        http_answer_problem(exchange, 421, "misdirected_request",
                            "the demo answers to names of this machine alone");
    } else if (str_equal(path, STR("/demo/token"))) {
        accept_post(worker, exchange, false);
    } else if (str_equal(path, STR("/demo/push"))) {
        accept_post(worker, exchange, true);
    } else {
        page_serve(exchange, "/demo");
    }
    return true;
}
