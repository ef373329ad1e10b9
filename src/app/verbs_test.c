#include "app/verbs.h"

#include "app/verb_test_help.h"
#include "base/clock.h"
#include "proto/json.h"
#include "server/api_key.h"
#include "server/token.h"

#define SECRET "for tests only, 32 bytes or more"

/* ---- key ---- */

static void check_pair(struct str key, struct str hash)
{
    uint8_t configured[DIGEST_SHA256_LEN];
    uint8_t digest[DIGEST_SHA256_LEN];
    assert_int_equal(key.len, API_KEY_LEN);
    assert_true(str_starts_with(key, STR("tg_")));
    assert_true(api_key_hash_parse(hash, configured));
    digest_sha256(digest, key.ptr, key.len);
    assert_memory_equal(configured, digest, sizeof(digest));
}

/* What follows start, up to the end of the line or a quote. */
static struct str text_behind(const char *start)
{
    const char *at = strstr(verb_wrote, start);
    assert_non_null(at);
    at += strlen(start);
    return str_make(at, strcspn(at, "\n\""));
}

static void a_key_is_printed_with_its_hash_and_the_line_to_configure(void **state)
{
    char line[256];
    assert_int_equal(VERB_RUN(app_key_main, "key"), EXIT_CODE_OK);
    struct str hash = text_behind("hash: ");
    check_pair(text_behind("key:  "), hash);
    snprintf(line, sizeof(line), "\n  - {name: key, hash: \"%.*s\", scopes: [push, read]}\n",
             STR_ARG(hash));
    assert_non_null(strstr(verb_wrote, line));
    assert_string_equal(verb_said, "");
}

static void name_and_scopes_go_into_the_line(void **state)
{
    assert_int_equal(VERB_RUN(app_key_main, "key", "--name", "web", "--scopes", "kick,admin"),
                     EXIT_CODE_OK);
    assert_non_null(strstr(verb_wrote, "{name: web, hash: \"sha256:"));
    assert_non_null(strstr(verb_wrote, ", scopes: [kick,admin]}\n"));
}

static void as_json_a_key_is_one_object(void **state)
{
    struct json_value object;
    struct json_value value;
    struct str key;
    struct str hash;
    assert_int_equal(VERB_RUN(app_key_main, "key", "--json", "--name", "a\"b"), EXIT_CODE_OK);
    assert_int_equal(json_parse(&object, str_of(verb_wrote), 2, NULL), 0);
    assert_true(json_get(object, STR("name"), &value));
    assert_true(str_equal(value.raw, STR("\"a\\\"b\"")));
    assert_true(json_get(object, STR("key"), &value) && json_string_plain(value, &key));
    assert_true(json_get(object, STR("hash"), &value) && json_string_plain(value, &hash));
    check_pair(key, hash);
}

static void no_two_keys_are_the_same(void **state)
{
    char first[API_KEY_LEN + 1];
    assert_int_equal(VERB_RUN(app_key_main, "key"), EXIT_CODE_OK);
    snprintf(first, sizeof(first), "%.*s", STR_ARG(text_behind("key:  ")));
    assert_int_equal(VERB_RUN(app_key_main, "key"), EXIT_CODE_OK);
    assert_null(strstr(verb_wrote, first));
}

static void a_scope_that_is_none_is_wrong_usage(void **state)
{
    char *const scopes[] = {"", "push,", "pull", "push read", "PUSH"};
    for (int i = 0; i < 5; i++) {
        assert_int_equal(VERB_RUN(app_key_main, "key", "--scopes", scopes[i]), EXIT_CODE_USAGE);
        verb_test_must_say("--scopes takes some of push, read, kick, ticket, monitor, admin");
        assert_string_equal(verb_wrote, "");
    }
    assert_int_equal(VERB_RUN(app_key_main, "key", "more"), EXIT_CODE_USAGE);
}

/* ---- token ---- */

/* Verifies what the verb wrote with the secret of the test. */
static void verify(struct token *token, const char *kid, struct token_rules rules)
{
    struct keyset *keys;
    struct settings_jwt_key secret = {
        .kind = SETTINGS_KEY_SECRET, .kid = str_of(kid), .material = STR(SECRET)};
    struct str text = str_of(verb_wrote);
    assert_int_equal(text.ptr[text.len - 1], '\n');
    text.len--;
    rules.max_bytes = 8192;
    rules.name_bytes = 256;
    assert_int_equal(keyset_create(&keys), 0);
    assert_int_equal(keyset_add_configured(keys, &secret), 0);
    assert_int_equal(token_verify(token, text, keys, &rules, clock_wall_ms(), NULL),
                     TOKEN_REFUSED_NOT);
    keyset_unref(keys);
}

static const char one_app[] = "apps:\n"
                              "  - name: shop\n"
                              "    auth:\n"
                              "      jwt:\n"
                              "        issuer: me\n"
                              "        audience: you\n"
                              "        keys:\n"
                              "          - {kid: k1, secret: \"" SECRET "\"}\n";

static const char two_apps[] = "apps:\n"
                               "  - name: keyless\n"
                               "    auth: {anonymous: true}\n"
                               "  - name: shop\n"
                               "    auth: {jwt: {keys: [{secret: \"" SECRET "\"}]}}\n";

static int remove_config(void **state)
{
    verb_test_remove_config();
    return 0;
}

static void a_token_verifies_with_the_secret_it_names(void **state)
{
    struct token token;
    verb_test_write_config(one_app);
    uint64_t began_ms = clock_wall_ms();
    assert_int_equal(VERB_RUN(app_token_main, "token", "--user", "4\"2", "--config", verb_config,
                              "--ttl", "10m", "--group", "room:*", "--group", "vip"),
                     EXIT_CODE_OK);
    assert_string_equal(verb_said, "");
    verify(&token, "k1", (struct token_rules){.issuer = STR("me"), .audience = STR("you")});
    assert_true(str_equal(token.sub, STR("4\"2")));
    assert_int_equal(token.exp_ms - token.iat_ms, 600000);
    assert_in_range(token.iat_ms, began_ms - 1000, clock_wall_ms());
    assert_int_equal(token.group_count, 2);
    assert_true(str_equal(token.groups[0], STR("room:*")));
    assert_true(str_equal(token.groups[1], STR("vip")));
    token_fini(&token);
}

static void the_environment_names_the_configuration_too(void **state)
{
    struct token token;
    verb_test_write_config(one_app);
    setenv("TIDEGATE_CONFIG", verb_config, 1);
    int exit_code = VERB_RUN(app_token_main, "token", "--user", "42");
    unsetenv("TIDEGATE_CONFIG");
    assert_int_equal(exit_code, EXIT_CODE_OK);
    verify(&token, "k1", (struct token_rules){0});
    assert_int_equal(token.exp_ms - token.iat_ms, 3600000);
    assert_false(token.has_groups);
    token_fini(&token);
}

static void of_several_apps_one_is_named(void **state)
{
    struct token token;
    verb_test_write_config(two_apps);
    assert_int_equal(VERB_RUN(app_token_main, "token", "--user", "42", "--config", verb_config),
                     EXIT_CODE_USAGE);
    verb_test_must_say("name an app of the configuration with --app");
    assert_int_equal(VERB_RUN(app_token_main, "token", "--user", "42", "--config", verb_config,
                              "--app", "nobody"),
                     EXIT_CODE_USAGE);
    assert_int_equal(
        VERB_RUN(app_token_main, "token", "--user", "42", "--config", verb_config, "--app", "shop"),
        EXIT_CODE_OK);
    verify(&token, "", (struct token_rules){0});
    token_fini(&token);
}

static void an_app_without_a_secret_can_not_sign(void **state)
{
    verb_test_write_config(two_apps);
    assert_int_equal(VERB_RUN(app_token_main, "token", "--user", "42", "--config", verb_config,
                              "--app", "keyless"),
                     EXIT_CODE_REFUSED);
    verb_test_must_say("app 'keyless' has no HS256 secret in auth.jwt.keys to sign with");
    assert_string_equal(verb_wrote, "");
}

static void wrong_arguments_of_token_are_wrong_usage(void **state)
{
    verb_test_write_config(one_app);
    assert_int_equal(VERB_RUN(app_token_main, "token", "--config", verb_config), EXIT_CODE_USAGE);
    verb_test_must_say("--user is missing");
    char *const times[] = {"", "0s", "10", "-1h", "1y"};
    for (int i = 0; i < 5; i++) {
        assert_int_equal(VERB_RUN(app_token_main, "token", "--user", "42", "--config", verb_config,
                                  "--ttl", times[i]),
                         EXIT_CODE_USAGE);
        verb_test_must_say("--ttl takes a time such as 1h");
    }
}

static void a_configuration_that_is_none_is_wrong_usage_and_no_secret_is_shown(void **state)
{
    assert_int_equal(VERB_RUN(app_token_main, "token", "--user", "42", "--config", "/nonexistent"),
                     EXIT_CODE_USAGE);
    verb_test_must_say("/nonexistent: can't be read: No such file or directory");
    verb_test_write_config("apps: [{name: shop, auth: {jwt: {keys: [{secret: tooshort}]}}}]\n");
    assert_int_equal(VERB_RUN(app_token_main, "token", "--user", "42", "--config", verb_config),
                     EXIT_CODE_USAGE);
    verb_test_must_say("the configuration is not usable");
    assert_null(strstr(verb_said, "tooshort"));
    assert_string_equal(verb_wrote, "");
}

#define WITH_CONFIG(name) cmocka_unit_test_teardown(name, remove_config)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_key_is_printed_with_its_hash_and_the_line_to_configure),
        cmocka_unit_test(name_and_scopes_go_into_the_line),
        cmocka_unit_test(as_json_a_key_is_one_object),
        cmocka_unit_test(no_two_keys_are_the_same),
        cmocka_unit_test(a_scope_that_is_none_is_wrong_usage),
        WITH_CONFIG(a_token_verifies_with_the_secret_it_names),
        WITH_CONFIG(the_environment_names_the_configuration_too),
        WITH_CONFIG(of_several_apps_one_is_named),
        WITH_CONFIG(an_app_without_a_secret_can_not_sign),
        WITH_CONFIG(wrong_arguments_of_token_are_wrong_usage),
        WITH_CONFIG(a_configuration_that_is_none_is_wrong_usage_and_no_secret_is_shown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
