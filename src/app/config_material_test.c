#include "app/config_material.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "app/config_try.h"

#define HASH "sha256:00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define HASH2 "sha256:10112233445566778899AABBCCDDEEFF00112233445566778899aabbccddeeff"
#define SECRET "0123456789abcdef0123456789abcdef"
#define KEYS(keys) "apps: [{name: a, auth: {jwt: {keys: [" keys "]}}}]\n"
#define API_KEY(rest) "apps: [{name: a, api_keys: [{name: k, " rest "}]}]\n"

static char folder[] = "/tmp/tidegate-config-XXXXXX";

static int make_folder(void **state)
{
    return mkdtemp(folder) ? 0 : -1;
}

static void put(const char *name, const char *text, size_t len, mode_t mode)
{
    char path[256];
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, len), len);
    assert_int_equal(fchmod(fd, mode), 0);
    close(fd);
}

static int remove_folder(void **state)
{
    const char *const names[] = {"t.yaml", "secret", "short", "open",
                                 "pem",    "jwks",   "large", "fifo"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        char path[256];
        snprintf(path, sizeof(path), "%s/%s", folder, names[i]);
        unlink(path);
    }
    return rmdir(folder);
}

/* Loads it as a file of the folder; the remarks, without the folder's name, go to config_said. */
static struct settings *load(const char *yaml, mode_t mode)
{
    char path[256];
    struct settings *settings = NULL;
    struct buf remarks = {0};
    snprintf(path, sizeof(path), "%s/t.yaml", folder);
    put("t.yaml", yaml, strlen(yaml), mode);
    config_load(&settings, path, &remarks);
    const char *line = buf_cstr(&remarks);
    strcpy(config_said, remarks.len > strlen(folder) ? line + strlen(folder) + 1 : line);
    buf_fini(&remarks);
    return settings;
}

static void a_whole_app_is_read(void **state)
{
    struct settings *settings = config_must_accept(
        "apps:\n"
        "  - name: demo\n"
        "    api_keys:\n"
        "      - {name: web, hash: '" HASH "', scopes: [push, read]}\n"
        "      - {name: ops, hash: '" HASH2 "', scopes: [admin]}\n"
        "    auth:\n"
        "      jwt:\n"
        "        issuer: https://login.example.com\n"
        "        audience: tidegate\n"
        "        leeway: 5s\n"
        "        keys:\n"
        "          - {kid: a, alg: HS256, secret: " SECRET "}\n"
        "          - {jwks_url: 'https://x/k', alg: RS256}\n"
        "      cookie: sid\n"
        "      trusted_header: {name: X-User-Id, from: [127.0.0.0/8, '::1']}\n"
        "      anonymous: true\n"
        "    origins: ['https://www.example.com']\n"
        "    groups: {join: ['room:*', lobby]}\n");
    const struct settings_app *app = settings_find_app(settings, STR("demo"));
    assert_int_equal(app->api_key_count, 2);
    assert_string_equal(app->api_keys[0].name.ptr, "web");
    assert_int_equal(app->api_keys[0].scopes, SETTINGS_SCOPE_PUSH | SETTINGS_SCOPE_READ);
    assert_int_equal(app->api_keys[0].hash[1], 0x11);
    assert_int_equal(app->api_keys[1].hash[15], 0xff);
    assert_int_equal(app->auth.jwt.leeway_ms, 5000);
    assert_int_equal(app->auth.jwt.key_count, 2);
    assert_int_equal(app->auth.jwt.keys[0].alg, SETTINGS_ALG_HS256);
    assert_string_equal(app->auth.jwt.keys[0].material.ptr, SECRET);
    assert_int_equal(app->auth.jwt.keys[1].kind, SETTINGS_KEY_JWKS_URL);
    assert_int_equal(app->auth.jwt.keys[1].refresh_ms, 600000);
    assert_string_equal(app->auth.cookie.ptr, "sid");
    assert_string_equal(app->auth.trusted_header.from[1].ptr, "::1");
    assert_true(app->auth.anonymous);
    assert_string_equal(app->origins[0].ptr, "https://www.example.com");
    assert_int_equal(app->join_pattern_count, 2);
    settings_unref(settings);
}

static void what_an_item_must_have_is_told(void **state)
{
    config_must_say("apps: [{}]", "t.yaml:1:8: apps[0]: \"name\" is missing\n");
    config_must_say("apps: [{name: a, api_keys: [{}]}]",
                    "t.yaml:1:29: apps[0].api_keys[0]: \"name\" is missing\n"
                    "t.yaml:1:29: apps[0].api_keys[0]: \"hash\" is missing\n"
                    "t.yaml:1:29: apps[0].api_keys[0]: \"scopes\" is missing\n");
}

static void a_hash_is_sixty_four_digits_and_is_never_repeated(void **state)
{
    const char *const wrong[] = {
        "hunter2",
        "sha256:",
        "sha256:00",
        "sha1:" SECRET SECRET,
        "sha256:" SECRET SECRET "0",
        "sha256:zz" SECRET "0123456789abcdef0123456789abcd",
    };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        char yaml[256];
        snprintf(yaml, sizeof(yaml), API_KEY("hash: '%s', scopes: [push]"), wrong[i]);
        config_must_mention(yaml,
                            "apps[0].api_keys[0].hash: expected \"sha256:\" and 64 hex digits");
        assert_null(strstr(config_said, "hunter2"));
    }
}

static void scopes_are_a_list_of_known_ones(void **state)
{
    config_must_mention(API_KEY("hash: '" HASH "', scopes: []"), "scopes: expected a list of push");
    config_must_mention(API_KEY("hash: '" HASH "', scopes: push"), "expected a list of push, read");
    config_must_mention(API_KEY("hash: '" HASH "', scopes: [pull]"), "admin, got \"pull\"");
    config_must_mention(API_KEY("hash: '" HASH "', scopes: [[push]]"), "admin, got a list");
    config_must_mention(API_KEY("hash: '" HASH "', scopes: [push, push]"), "there twice");
}

static void names_hashes_and_kids_are_unique(void **state)
{
    config_must_mention("apps: [{name: a}, {name: a}]", "apps: two apps have the same name");
    config_must_mention("apps: [{name: a, api_keys: [{name: k, hash: '" HASH
                        "', scopes: [push]}, {name: k, hash: '" HASH2 "', scopes: [push]}]}]",
                        "two keys are named \"k\"");
    config_must_mention("apps: [{name: a, api_keys: [{name: k, hash: '" HASH
                        "', scopes: [push]}]}, {name: b, api_keys: [{name: k, hash: '" HASH
                        "', scopes: [push]}]}]",
                        "two API keys have the same hash");
    config_must_mention(KEYS("{kid: x, secret: " SECRET "}, {kid: x, secret: " SECRET "}"),
                        "have the kid \"x\"");
    config_must_mention("cluster: {secrets: [{id: a, secret: " SECRET "}, {id: a, secret: " SECRET
                        "}]}",
                        "cluster.secrets: expected two different ids");
    config_must_mention("cluster: {secrets: [{id: a, secret: " SECRET "}, {id: b, secret: " SECRET
                        "}]}",
                        "cluster.secrets: the two secrets look alike to the nodes");
}

static void a_secret_has_thirty_two_bytes_and_is_never_repeated(void **state)
{
    settings_unref(config_must_accept(KEYS("{secret: " SECRET "}")));
    config_must_say(
        KEYS("{secret: 0123456789abcdef0123456789abcde}"),
        "t.yaml:1:47: apps[0].auth.jwt.keys[0].secret: expected a secret of 32 bytes or "
        "more\n");
    config_must_mention(KEYS("{secret: ''}"), "expected a secret of 32 bytes or more");
    config_must_mention(KEYS("{secret: [a]}"), "expected a secret of 32 bytes or more");
    config_must_mention("cluster: {secrets: [{id: a, secret: short}]}", "of 32 bytes or more");
    assert_null(strstr(config_said, "short"));
}

static void a_key_has_one_source(void **state)
{
    config_must_mention(KEYS("{kid: x}"), "jwks_url, got 0 of them");
    config_must_mention(KEYS("{secret: " SECRET ", jwks_url: 'https://x/k'}"), "got 2 of them");
    config_must_mention("cluster: {secrets: [{id: a}]}", "expected one of file and secret, got 0");
    config_must_mention("cluster: {secrets: [{id: a, file: x, secret: " SECRET "}]}", "got 2");
}

static void an_algorithm_fits_its_key(void **state)
{
    const char *const good[] = {KEYS("{alg: HS256, secret: " SECRET "}"),
                                KEYS("{alg: auto, secret: " SECRET "}"),
                                KEYS("{alg: EdDSA, jwks_url: 'https://x/k', refresh: 10s}")};
    config_must_accept_all(good, 3);
    config_must_mention(KEYS("{alg: RS256, secret: " SECRET "}"), "fits the key");
    config_must_mention(KEYS("{alg: HS256, jwks_url: 'https://x/k'}"), "fits the key");
    config_must_mention(
        KEYS("{alg: HS256, pem: \"-----BEGIN PUBLIC KEY-----\\nx\\n-----END PUBLIC KEY-----\"}"),
        "fits the key");
    config_must_mention(KEYS("{alg: none, secret: " SECRET "}"), "expected one of auto, HS256");
    config_must_mention(KEYS("{secret: " SECRET ", refresh: 1m}"), "goes with jwks_url alone");
    config_must_mention(KEYS("{jwks_url: 'http://x.example/k'}"), "jwks_url: expected a URL");
}

static void keys_of_another_shape_are_refused(void **state)
{
    settings_unref(config_must_accept(KEYS("{jwk: '{\"kty\":\"OKP\"}'}")));
    config_must_mention(KEYS("{jwk: '{\"x\":1}'}"), "expected a JSON web key");
    config_must_mention(KEYS("{jwk: '{'}"), "expected a JSON web key");
    config_must_mention(KEYS("{jwk: {kty: OKP}}"), "expected a JSON web key in quotes");
    config_must_mention(KEYS("{pem: hello}"), "expected a public key in PEM");
    config_must_mention(KEYS("{pem: '-----BEGIN PRIVATE KEY-----'}"), "got a private one");
}

static void a_cookie_needs_keys_and_named_origins(void **state)
{
    config_must_mention("apps: [{name: a, auth: {cookie: sid}, origins: ['https://x']}]",
                        "apps[0].auth: a cookie carries a token");
#define COOKIE "apps: [{name: a, auth: {cookie: sid, jwt: {keys: [{secret: " SECRET "}]}}"
    settings_unref(config_must_accept(COOKIE ", origins: ['https://x']}]"));
    config_must_mention(COOKIE "}]", "auth.cookie needs \"origins\"");
    config_must_mention(COOKIE ", origins: ['https://x', '*']}]", "without \"*\"");
}

static void a_trusted_header_needs_the_proxys_addresses(void **state)
{
    config_must_mention("apps: [{name: a, auth: {trusted_header: {name: X-U}}}]",
                        "expected \"from\"");
    config_must_mention("apps: [{name: a, auth: {trusted_header: {name: X-U, from: []}}}]",
                        "expected \"from\"");
    config_must_mention(
        "apps: [{name: a, auth: {trusted_header: {name: X-U, from: [10.0.0.1/8]}}}]",
        "from[0]: expected a prefix such as");
}

static void keys_are_read_from_files_beside_the_configuration(void **state)
{
    put("secret", SECRET "\n", 33, 0600);
    put("pem", "-----BEGIN PUBLIC KEY-----\nx\n", 29, 0644);
    put("jwks", "{\"keys\":[]}\n", 12, 0644);
    struct settings *settings = load(
        "cluster: {secrets: [{id: a, file: secret}]}\n" KEYS(
            "{secret_file: secret}, {pem_file: pem}, {jwks_file: jwks}"),
        0644);
    assert_string_equal(config_said, "");
    const struct settings_jwt_key *keys = settings->apps[0].auth.jwt.keys;
    assert_string_equal(keys[0].material.ptr, SECRET);
    assert_string_equal(keys[0].file.ptr, "secret");
    assert_string_equal(keys[1].material.ptr, "-----BEGIN PUBLIC KEY-----\nx\n");
    assert_string_equal(keys[2].material.ptr, "{\"keys\":[]}\n");
    assert_string_equal(settings->cluster.secrets[0].material.ptr, SECRET);
    settings_unref(settings);
}

static void files_that_cannot_be_used_are_told(void **state)
{
    char large[256 * 1024 + 1];
    char path[256];
    memset(large, 'x', sizeof(large));
    put("short", "0123456789abcdef0123456789abcde\r\n", 33, 0600);
    snprintf(path, sizeof(path), "%s/fifo", folder);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_null(load(KEYS("{secret_file: short}"), 0600));
    assert_non_null(strstr(config_said, "secret_file: expected a secret of 32 bytes or more"));
    assert_null(load(KEYS("{secret_file: none}"), 0600));
    assert_non_null(strstr(config_said, "can't read \"none\": No such file or directory"));
    assert_null(load(KEYS("{secret_file: /}"), 0600));
    assert_non_null(strstr(config_said, "can't read \"/\": not a regular file"));
    assert_null(load(KEYS("{secret_file: fifo}"), 0600));
    assert_non_null(strstr(config_said, "not a regular file"));
    assert_null(load(KEYS("{secret_file: ''}"), 0600));
    assert_non_null(strstr(config_said, "expected the name of a file"));

    put("large", large, sizeof(large) - 1, 0600);
    settings_unref(load(KEYS("{secret_file: large}"), 0600));
    assert_string_equal(config_said, "");
    put("large", large, sizeof(large), 0600);
    assert_null(load(KEYS("{secret_file: large}"), 0600));
    assert_non_null(strstr(config_said, "can't read \"large\""));
}

static void secrets_that_others_may_read_are_warned_of(void **state)
{
    put("open", SECRET, 32, 0640);
    struct settings *settings = load(KEYS("{secret_file: open}"), 0644);
    assert_non_null(settings);
    assert_non_null(strstr(config_said, "warning: apps[0].auth.jwt.keys[0].secret_file: others "
                                        "than the owner may read this file (mode 640)"));
    settings_unref(settings);
    settings = load(KEYS("{secret: " SECRET "}"), 0604);
    assert_non_null(settings);
    assert_non_null(strstr(config_said, "t.yaml: warning: holds secrets"));
    settings_unref(settings);
    settings_unref(load(KEYS("{secret: " SECRET "}"), 0600));
    assert_string_equal(config_said, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_whole_app_is_read),
        cmocka_unit_test(what_an_item_must_have_is_told),
        cmocka_unit_test(a_hash_is_sixty_four_digits_and_is_never_repeated),
        cmocka_unit_test(scopes_are_a_list_of_known_ones),
        cmocka_unit_test(names_hashes_and_kids_are_unique),
        cmocka_unit_test(a_secret_has_thirty_two_bytes_and_is_never_repeated),
        cmocka_unit_test(a_key_has_one_source),
        cmocka_unit_test(an_algorithm_fits_its_key),
        cmocka_unit_test(keys_of_another_shape_are_refused),
        cmocka_unit_test(a_cookie_needs_keys_and_named_origins),
        cmocka_unit_test(a_trusted_header_needs_the_proxys_addresses),
        cmocka_unit_test(keys_are_read_from_files_beside_the_configuration),
        cmocka_unit_test(files_that_cannot_be_used_are_told),
        cmocka_unit_test(secrets_that_others_may_read_are_warned_of),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
