#include "server/credential.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

#include "base/buf.h"
#include "base/mem.h"
#include "server/token_mint.h"

#define SECRET "01234567890123456789012345678901"

enum { NOW_S = 1800000000 };

static struct str proxies[] = {{"10.0.0.0/8", 10}, {"::1", 3}};
static struct str patterns[] = {{"room:*", 6}, {"lobby", 5}};
static struct settings_jwt_key secret = {.kind = SETTINGS_KEY_SECRET, .material = {SECRET, 32}};
static const struct settings_limits limits = {.token_bytes = 8192, .name_bytes = 16};

struct fixture {
    struct settings_app app;
    struct keyset *keys;
    struct credential_context context;
    struct addr peer;
    struct credential credential;
    char token_of_ann[512];
    char token_of_bob[512];
    struct http_request request;
    char head[4096];
};

static void mint(char out[512], const char *user, uint64_t exp_s)
{
    const struct str group = STR("vip:*");
    const struct token_claims claims = {
        .sub = str_of(user), .jti = STR("j1"), .exp_s = exp_s, .groups = &group, .group_count = 1};
    struct buf compact = {.data = NULL};
    assert_int_equal(token_mint(&compact, STR(SECRET), STR(""), &claims), 0);
    snprintf(out, 512, "%s", buf_cstr(&compact));
    buf_fini(&compact);
}

static int setup(void **state)
{
    struct fixture *fixture = mem_zalloc(sizeof(*fixture));
    fixture->app = (struct settings_app){
        .auth = {.jwt = {.leeway_ms = 30000, .keys = &secret, .key_count = 1},
                 .cookie = STR("sid"),
                 .trusted_header = {.name = STR("X-User-Id"), .from = proxies, .from_count = 2}},
        .join_patterns = patterns,
        .join_pattern_count = 2};
    assert_int_equal(keyset_create(&fixture->keys), 0);
    assert_int_equal(keyset_add_configured(fixture->keys, &secret), 0);
    fixture->context = (struct credential_context){
        .app = &fixture->app, .limits = &limits, .keys = fixture->keys, .now_ms = NOW_S * 1000ull};
    assert_int_equal(addr_parse(&fixture->peer, STR("192.0.2.1:5")), 0);
    mint(fixture->token_of_ann, "ann", NOW_S + 60);
    mint(fixture->token_of_bob, "bob", NOW_S + 60);
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    credential_fini(&fixture->credential);
    keyset_unref(fixture->keys);
    mem_free(fixture);
    return 0;
}

static void come_from(struct fixture *fixture, const char *peer)
{
    assert_int_equal(addr_parse(&fixture->peer, str_of(peer)), 0);
}

/* lines: printf format of header lines, each with its \r\n. */
static enum credential_refusal ask(struct fixture *fixture, const char *lines, ...)
    __attribute__((format(printf, 2, 3)));

static enum credential_refusal ask(struct fixture *fixture, const char *lines, ...)
{
    char text[3000];
    va_list args;
    va_start(args, lines);
    vsnprintf(text, sizeof(text), lines, args);
    va_end(args);
    snprintf(fixture->head, sizeof(fixture->head), "GET / HTTP/1.1\r\nHost: x\r\n%s\r\n", text);
    assert_true(http_request_parse(&fixture->request, &HTTP_LIMITS_DEFAULT,
                                   (const uint8_t *)fixture->head, strlen(fixture->head),
                                   NULL) > 0);
    credential_fini(&fixture->credential);
    return credential_from_request(&fixture->credential, &fixture->context, &fixture->request,
                                   &fixture->peer);
}

static void assert_user(const struct fixture *fixture, const char *user, enum credential_kind kind)
{
    assert_true(str_equal(fixture->credential.user, str_of(user)));
    assert_int_equal(fixture->credential.kind, kind);
}

static void a_bearer_token_tells_user_expiry_id_and_groups(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(ask(fixture, "Authorization: Bearer %s\r\n", fixture->token_of_ann),
                     CREDENTIAL_REFUSED_NOT);
    assert_user(fixture, "ann", CREDENTIAL_BEARER);
    assert_int_equal(fixture->credential.exp_ms, (NOW_S + 60) * 1000ull);
    assert_true(str_equal(fixture->credential.jti, STR("j1")));
    assert_int_equal(fixture->credential.group_count, 1);
    assert_true(str_equal(fixture->credential.groups[0], STR("vip:*")));
}

static void the_first_credential_counts_even_when_it_is_bad(void **state)
{
    struct fixture *fixture = *state;
    come_from(fixture, "10.1.2.3:5");
    assert_int_equal(ask(fixture,
                         "X-User-Id: carl\r\nCookie: sid=%s\r\nOrigin: https://a\r\n"
                         "Authorization: Bearer %s\r\n",
                         fixture->token_of_bob, fixture->token_of_ann),
                     CREDENTIAL_REFUSED_NOT);
    assert_user(fixture, "ann", CREDENTIAL_BEARER);
    assert_int_equal(ask(fixture, "X-User-Id: carl\r\nCookie: sid=%s\r\nOrigin: https://a\r\n",
                         fixture->token_of_bob),
                     CREDENTIAL_REFUSED_NOT);
    assert_user(fixture, "bob", CREDENTIAL_COOKIE);
    /* it does not say when it was issued */
    assert_int_equal(fixture->credential.issued_ms,
                     (NOW_S + 60) * 1000ull - SETTINGS_TOKEN_LIFE_MS);
    assert_int_equal(ask(fixture, "X-User-Id: carl\r\n"), CREDENTIAL_REFUSED_NOT);
    assert_user(fixture, "carl", CREDENTIAL_TRUSTED_HEADER);
    assert_int_equal(fixture->credential.issued_ms, 0);
    assert_int_equal(fixture->credential.exp_ms, 0);

    assert_int_equal(ask(fixture,
                         "X-User-Id: carl\r\nCookie: sid=%s\r\nOrigin: https://a\r\n"
                         "Authorization: Bearer x%s\r\n",
                         fixture->token_of_bob, fixture->token_of_ann),
                     CREDENTIAL_REFUSED_TOKEN);
    assert_int_equal(ask(fixture, "X-User-Id: carl\r\nCookie: sid=junk\r\nOrigin: https://a\r\n"),
                     CREDENTIAL_REFUSED_TOKEN);
    assert_int_equal(fixture->credential.token_refusal, TOKEN_REFUSED_MALFORMED);
    assert_int_equal(fixture->credential.user.len, 0);
}

static void without_a_credential_there_is_none(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(ask(fixture, "%s", ""), CREDENTIAL_REFUSED_NONE);
    assert_int_equal(ask(fixture, "Authorization: Basic YTpi\r\nCookie: a=b; sid=\r\n"),
                     CREDENTIAL_REFUSED_NONE);
}

static void two_of_a_kind_are_refused(void **state)
{
    struct fixture *fixture = *state;
    const char *ann = fixture->token_of_ann;
    come_from(fixture, "10.1.2.3:5");
    assert_int_equal(
        ask(fixture, "Authorization: Bearer %s\r\nAuthorization: Bearer %s\r\n", ann, ann),
        CREDENTIAL_REFUSED_AMBIGUOUS);
    assert_int_equal(ask(fixture, "Authorization: Basic x\r\nAuthorization: Bearer %s\r\n", ann),
                     CREDENTIAL_REFUSED_AMBIGUOUS);
    assert_int_equal(ask(fixture, "Origin: https://a\r\nCookie: sid=%s; x=y; sid=%s\r\n", ann, ann),
                     CREDENTIAL_REFUSED_AMBIGUOUS);
    assert_int_equal(
        ask(fixture, "Origin: https://a\r\nCookie: sid=%s\r\nCookie: sid=%s\r\n", ann, ann),
        CREDENTIAL_REFUSED_AMBIGUOUS);
    assert_int_equal(ask(fixture, "X-User-Id: a\r\nx-user-id: b\r\n"),
                     CREDENTIAL_REFUSED_AMBIGUOUS);
}

static void a_malformed_bearer_is_refused_and_not_passed_over(void **state)
{
    struct fixture *fixture = *state;
    come_from(fixture, "10.1.2.3:5");
    assert_int_equal(ask(fixture, "X-User-Id: a\r\nAuthorization: Bearer\r\n"),
                     CREDENTIAL_REFUSED_MALFORMED);
    assert_int_equal(ask(fixture, "X-User-Id: a\r\nAuthorization: Bearer a b\r\n"),
                     CREDENTIAL_REFUSED_MALFORMED);
    assert_int_equal(ask(fixture, "X-User-Id: a\r\nAuthorization:\r\n"),
                     CREDENTIAL_REFUSED_MALFORMED);
}

static void a_cookie_is_found_by_its_exact_name(void **state)
{
    struct fixture *fixture = *state;
    const char *ann = fixture->token_of_ann;
    assert_int_equal(ask(fixture, "Origin: https://a\r\nCookie: a=1; sid=%s;b=2\r\n", ann),
                     CREDENTIAL_REFUSED_NOT);
    assert_user(fixture, "ann", CREDENTIAL_COOKIE);
    assert_int_equal(ask(fixture, "Origin: https://a\r\nCookie: sid=\"%s\"\r\n", ann),
                     CREDENTIAL_REFUSED_NOT);
    assert_int_equal(ask(fixture, "Origin: https://a\r\nCookie: SID=%s; xsid=%s; sidx=%s; sid\r\n",
                         ann, ann, ann),
                     CREDENTIAL_REFUSED_NONE);
}

static void a_cookie_without_an_origin_is_refused(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(ask(fixture, "Cookie: sid=%s\r\n", fixture->token_of_ann),
                     CREDENTIAL_REFUSED_ORIGIN);
    assert_int_equal(credential_status(CREDENTIAL_REFUSED_ORIGIN, TOKEN_REFUSED_NOT), 403);
    /* a browser leaves the origin out where the page is the gateway's own, and says so otherwise */
    static const char *const foreign[] = {"same-site", "cross-site", "none", "SAME-ORIGIN",
                                          "same-origin\r\nSec-Fetch-Site: cross-site"};
    for (size_t i = 0; i < sizeof(foreign) / sizeof(foreign[0]); i++) {
        assert_int_equal(ask(fixture, "Sec-Fetch-Site: %s\r\nCookie: sid=%s\r\n", foreign[i],
                             fixture->token_of_ann),
                         CREDENTIAL_REFUSED_ORIGIN);
    }
    assert_int_equal(
        ask(fixture, "Sec-Fetch-Site: same-origin\r\nCookie: sid=%s\r\n", fixture->token_of_ann),
        CREDENTIAL_REFUSED_NOT);
    fixture->app.auth.cookie = STR("");
    assert_int_equal(ask(fixture, "Cookie: sid=%s\r\n", fixture->token_of_ann),
                     CREDENTIAL_REFUSED_NONE);
}

static void a_trusted_header_counts_from_the_proxy_alone(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(ask(fixture, "X-User-Id: ann\r\n"), CREDENTIAL_REFUSED_NONE);
    assert_true(fixture->credential.has_claimed_user);
    come_from(fixture, "11.0.0.1:1");
    assert_int_equal(ask(fixture, "X-User-Id: ann\r\nX-Forwarded-For: 10.0.0.1\r\n"),
                     CREDENTIAL_REFUSED_NONE);
    come_from(fixture, "[::1]:1");
    assert_int_equal(ask(fixture, "x-user-ID:  caf\xc3\xa9 \r\n"), CREDENTIAL_REFUSED_NOT);
    assert_user(fixture, "caf\xc3\xa9", CREDENTIAL_TRUSTED_HEADER);
    assert_int_equal(ask(fixture, "X-User-Id:\r\n"), CREDENTIAL_REFUSED_NONE);
    fixture->app.auth.trusted_header.name = STR("");
    assert_int_equal(ask(fixture, "X-User-Id: ann\r\n"), CREDENTIAL_REFUSED_NONE);
}

static void a_trusted_header_must_hold_a_name(void **state)
{
    struct fixture *fixture = *state;
    come_from(fixture, "10.0.0.1:1");
    assert_int_equal(ask(fixture, "X-User-Id: 1234567890123456\r\n"), CREDENTIAL_REFUSED_NOT);
    assert_int_equal(ask(fixture, "X-User-Id: 12345678901234567\r\n"), CREDENTIAL_REFUSED_USER);
    assert_int_equal(ask(fixture, "X-User-Id: a\tb\r\n"), CREDENTIAL_REFUSED_USER);
    assert_int_equal(ask(fixture, "X-User-Id: \xff\r\n"), CREDENTIAL_REFUSED_USER);
}

static void tokens_mean_nothing_to_an_app_without_keys(void **state)
{
    struct fixture *fixture = *state;
    fixture->app.auth.jwt.key_count = 0;
    come_from(fixture, "10.0.0.1:1");
    assert_int_equal(
        ask(fixture, "X-User-Id: carl\r\nAuthorization: Bearer %s\r\n", fixture->token_of_ann),
        CREDENTIAL_REFUSED_NOT);
    assert_user(fixture, "carl", CREDENTIAL_TRUSTED_HEADER);
}

static void hello_brings_a_token_or_nobody_where_that_is_allowed(void **state)
{
    struct fixture *fixture = *state;
    struct credential *credential = &fixture->credential;
    const struct credential_context *context = &fixture->context;
    assert_int_equal(credential_from_token(credential, context, str_of(fixture->token_of_ann)),
                     CREDENTIAL_REFUSED_NOT);
    assert_user(fixture, "ann", CREDENTIAL_HELLO);
    credential_fini(credential);
    assert_int_equal(credential_from_token(credential, context, STR("")), CREDENTIAL_REFUSED_NONE);
    fixture->app.auth.anonymous = true;
    assert_int_equal(credential_from_token(credential, context, STR("")), CREDENTIAL_REFUSED_NOT);
    assert_user(fixture, "", CREDENTIAL_ANONYMOUS);
    assert_int_equal(credential_from_token(credential, context, STR("junk")),
                     CREDENTIAL_REFUSED_TOKEN);
}

static void within_the_leeway_a_session_lasts_until_its_end(void **state)
{
    struct fixture *fixture = *state;
    struct credential *credential = &fixture->credential;
    char token[512];
    mint(token, "ann", NOW_S - 10);
    assert_int_equal(credential_from_token(credential, &fixture->context, str_of(token)),
                     CREDENTIAL_REFUSED_NOT);
    assert_int_equal(credential->exp_ms, (NOW_S + 20) * 1000ull);
    credential_fini(credential);
    mint(token, "ann", NOW_S - 30);
    assert_int_equal(credential_from_token(credential, &fixture->context, str_of(token)),
                     CREDENTIAL_REFUSED_TOKEN);
    assert_int_equal(credential->token_refusal, TOKEN_REFUSED_EXPIRED);
}

static void groups_may_be_joined_by_the_apps_patterns_or_the_tokens(void **state)
{
    struct fixture *fixture = *state;
    const struct str token_groups[] = {STR("vip:*"), STR("x")};
    static const struct {
        const char *group;
        bool with_token;
        bool without;
    } cases[] = {
        {"room:1", true, true},   {"room:", true, true},  {"lobby", true, true},
        {"lobby2", false, false}, {"room", false, false}, {"vip:1", true, false},
        {"x", true, false},       {"x:1", false, false},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct str group = str_of(cases[i].group);
        assert_int_equal(credential_may_join(&fixture->app, token_groups, 2, group),
                         cases[i].with_token);
        assert_int_equal(credential_may_join(&fixture->app, NULL, 0, group), cases[i].without);
    }
}

static void refusals_have_names_and_a_status(void **state)
{
    assert_int_equal(credential_status(CREDENTIAL_REFUSED_NOT, TOKEN_REFUSED_NOT), 0);
    assert_int_equal(credential_status(CREDENTIAL_REFUSED_NONE, TOKEN_REFUSED_NOT), 401);
    assert_int_equal(credential_status(CREDENTIAL_REFUSED_AMBIGUOUS, TOKEN_REFUSED_NOT), 401);
    assert_int_equal(credential_status(CREDENTIAL_REFUSED_TOKEN, TOKEN_REFUSED_SIGNATURE), 401);
    assert_int_equal(credential_status(CREDENTIAL_REFUSED_TOKEN, TOKEN_REFUSED_NO_MEMORY), 503);
    assert_string_equal(credential_refusal_slug(CREDENTIAL_REFUSED_TOKEN, TOKEN_REFUSED_ALG),
                        "bad_alg");
    for (int i = 0; i < CREDENTIAL_REFUSALS; i++) {
        assert_non_null(credential_refusal_slug((enum credential_refusal)i, TOKEN_REFUSED_NOT));
    }
}

static void without_memory_nobody_is_let_in(void **state)
{
    struct fixture *fixture = *state;
    come_from(fixture, "10.0.0.1:1");
    mem_fail_nth(1);
    assert_int_equal(ask(fixture, "X-User-Id: carl\r\n"), CREDENTIAL_REFUSED_USER);
    assert_int_equal(fixture->credential.token_refusal, TOKEN_REFUSED_NO_MEMORY);
    mem_fail_nth(1);
    assert_int_equal(ask(fixture, "Authorization: Bearer %s\r\n", fixture->token_of_ann),
                     CREDENTIAL_REFUSED_TOKEN);
    assert_int_equal(fixture->credential.token_refusal, TOKEN_REFUSED_NO_MEMORY);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(a_bearer_token_tells_user_expiry_id_and_groups),
        CASE(the_first_credential_counts_even_when_it_is_bad),
        CASE(without_a_credential_there_is_none),
        CASE(two_of_a_kind_are_refused),
        CASE(a_malformed_bearer_is_refused_and_not_passed_over),
        CASE(a_cookie_is_found_by_its_exact_name),
        CASE(a_cookie_without_an_origin_is_refused),
        CASE(a_trusted_header_counts_from_the_proxy_alone),
        CASE(a_trusted_header_must_hold_a_name),
        CASE(tokens_mean_nothing_to_an_app_without_keys),
        CASE(hello_brings_a_token_or_nobody_where_that_is_allowed),
        CASE(within_the_leeway_a_session_lasts_until_its_end),
        CASE(groups_may_be_joined_by_the_apps_patterns_or_the_tokens),
        CASE(refusals_have_names_and_a_status),
        CASE(without_memory_nobody_is_let_in),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
