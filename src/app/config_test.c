#include "app/config_try.h"

#include <errno.h>
#include <stdio.h>

#include "base/mem.h"

static void an_empty_file_gives_the_defaults(void **state)
{
    struct settings *settings = config_must_accept("# nothing\n");
    assert_int_equal(settings->limits.message_bytes, 65536);
    assert_int_equal(settings->app_count, 0);
    settings_unref(settings);
}

static void each_type_is_read(void **state)
{
    struct settings *settings = config_must_accept(
        "workers: 3\n"
        "listen: {client: '[::1]:9', admin: ''}\n"
        "limits: {message: 32KiB, sessions: 0, hello_timeout: 1500ms}\n"
        "debug: {echo: true}\n"
        "log: {level: error}\n"
        "cluster: {name: eu-1}\n");
    assert_int_equal(settings->workers, 3);
    assert_string_equal(settings->listen.client.ptr, "[::1]:9");
    assert_string_equal(settings->listen.api.ptr, "127.0.0.1:8081");
    assert_int_equal(settings->listen.admin.len, 0);
    assert_int_equal(settings->limits.message_bytes, 32768);
    assert_int_equal(settings->limits.hello_timeout_ms, 1500);
    assert_true(settings->debug.echo);
    assert_int_equal(settings->log.level, LOG_LEVEL_ERROR);
    assert_string_equal(settings->cluster.name.ptr, "eu-1");
    settings_unref(settings);
}

static void a_mistake_names_its_place_and_what_is_expected(void **state)
{
    config_must_say("limits:\n  message: 64 kilos\n",
                    "t.yaml:2:12: limits.message: expected a size such as \"64KiB\" from 125B to "
                    "64MiB, got \"64 kilos\"\n");
    config_must_say("limits: {hello_timeout: 5}\n",
                    "t.yaml:1:25: limits.hello_timeout: expected a time such as \"10s\" from 100ms "
                    "to 10m, got \"5\"\n");
    config_must_say("debug: {echo: yes}\n",
                    "t.yaml:1:15: debug.echo: expected true or false, got \"yes\"\n");
    config_must_say("log: {level: loud}\n",
                    "t.yaml:1:14: log.level: expected one of debug, info, warn, error, got "
                    "\"loud\"\n");
    config_must_mention("bus: {engine: kafka}\n",
                        "t.yaml:1:15: bus.engine: expected an engine that is "
                        "built in: memory");
    config_must_say("workers: [1]\n", "t.yaml:1:10: workers: expected a number from 1 to 256, or 0 "
                                      "(one a core), got a list\n");
    config_must_say("workers: {}\n", "t.yaml:1:10: workers: expected a number from 1 to 256, or 0 "
                                     "(one a core), got a map\n");
    config_must_say("workers:\n", "t.yaml:1:9: workers: expected a number from 1 to 256, or 0 (one "
                                  "a core), got nothing\n");
    config_must_say("limits: 7\n", "t.yaml:1:9: limits: expected a map, got \"7\"\n");
    config_must_say("- 7\n", "t.yaml:1:1: expected a map, got a list\n");
    config_must_say("apps: {}\n", "t.yaml:1:7: apps: expected a list, got a map\n");
    config_must_say("apps: [x]\n", "t.yaml:1:8: apps[0]: expected a map, got \"x\"\n");
    config_must_say("listen: {client: 'x'}\n",
                    "t.yaml:1:18: listen.client: expected an address such as \"127.0.0.1:8080\", "
                    "\"[::1]:8080\" or \":8080\", got \"x\"\n");
}

#define HOOK_SECRET "secrets: [{secret: 0123456789abcdef0123456789abcdef}]"

static void webhooks_are_read_and_decide_about_presence(void **state)
{
    struct settings *settings = config_must_accept(
        "apps:\n"
        "  - name: a\n"
        "    webhooks:\n"
        "      - {url: 'https://a.example/x', events: [session.opened, user.online], " HOOK_SECRET
        "}\n"
        "      - {url: 'http://b.example:81', events: [client.message], timeout: 1s, give_up: 1m,\n"
        "         allow: [10.0.0.0/8], " HOOK_SECRET "}\n"
        "  - {name: b, presence: {grace: 0, enabled: true}}\n"
        "  - {name: c, presence: {grace: 1m}}\n");
    const struct settings_app *app = &settings->apps[0];
    assert_int_equal(app->webhook_count, 2);
    assert_int_equal(app->webhook_events, SETTINGS_EVENT_SESSION_OPENED |
                                              SETTINGS_EVENT_USER_ONLINE |
                                              SETTINGS_EVENT_CLIENT_MESSAGE);
    assert_int_equal(app->webhooks[0].timeout_ms, 10000);
    assert_int_equal(app->webhooks[0].give_up_ms, 3600000);
    assert_int_equal(app->webhooks[1].timeout_ms, 1000);
    assert_int_equal(app->webhooks[1].give_up_ms, 60000);
    assert_int_equal(app->webhooks[1].allow_count, 1);
    assert_true(app->presence.enabled);
    assert_int_equal(app->presence.grace_ms, 10000);
    assert_true(settings->apps[1].presence.enabled);
    assert_int_equal(settings->apps[1].presence.grace_ms, 0);
    assert_false(settings->apps[2].presence.enabled);
    assert_int_equal(settings->apps[2].presence.grace_ms, 60000);
    settings_unref(settings);
}

static void a_webhook_that_can_not_work_is_refused(void **state)
{
#define HOOK(rest) "apps: [{name: a, webhooks: [{" rest "}]}]\n"
    config_must_mention(HOOK("events: [user.online], " HOOK_SECRET), "url");
    config_must_mention(HOOK("url: 'https://a.example', " HOOK_SECRET), "events");
    config_must_mention(HOOK("url: 'https://a.example', events: [user.online]"), "secrets");
    config_must_mention(HOOK("url: 'https://a.example', events: [user.online], secrets: []"),
                        "expected a secret");
    config_must_mention(HOOK("url: 'https://a.example', events: [user.online],"
                             " secrets: [{secret: whsec_0123456789012345678901234567}]"),
                        "Base64 of 24 bytes or more");
    config_must_mention(HOOK("url: 'https://u:p@a.example', events: [user.online], " HOOK_SECRET),
                        "a URL with https or http");
    config_must_mention(HOOK("url: 'https://a.example', events: [user.gone], " HOOK_SECRET),
                        "message.undelivered, client.message, got \"user.gone\"");
#undef HOOK
}

static void ranges_hold_at_both_ends(void **state)
{
    const char *good[] = {
        "bus: {queues: 1}",
        "bus: {queues: 64}",
        "workers: 0",
        "workers: 256",
        "limits: {message: 125B}",
        "limits: {message: 64MiB, session_queue: 64MiB, body: 64MiB}",
        "limits: {fragments: 65536}",
        "limits: {memory: 0}",
        "limits: {memory: 32MiB}",
        "limits: {groups_per_session: 0}",
        "drain: {window: 0}",
        "heartbeat: {interval: 100ms, missed: 1}",
        "compression: {level: 12}",
    };
    config_must_accept_all(good, sizeof(good) / sizeof(good[0]));
    config_must_mention("bus: {queues: 0}", "expected a number from 1 to 64, got \"0\"");
    config_must_mention("bus: {queues: 65}", "got \"65\"");
    config_must_mention("workers: 257", "got \"257\"");
    config_must_mention("workers: -1", "got \"-1\"");
    config_must_mention("limits: {message: 124}", "got \"124\"");
    config_must_mention("limits: {message: 67108865}", "got \"67108865\"");
    config_must_mention("limits: {memory: 33554431}", "or 0 (no limit), got \"33554431\"");
    config_must_mention("limits: {message: 0}", "limits.message: expected");
    config_must_mention("limits: {message: 99999999999999999999KiB}", "limits.message: expected");
    config_must_mention("heartbeat: {missed: 0}", "heartbeat.missed");
    config_must_mention("compression: {level: 13}", "compression.level");
}

static void an_unknown_key_is_refused_with_a_guess(void **state)
{
    config_must_say("limits: {mesage: 1KiB}\n",
                    "t.yaml:1:10: limits: unknown key \"mesage\"; did you mean \"message\"?\n");
    config_must_say("lisen: {}\n", "t.yaml:1:1: unknown key \"lisen\"; did you mean \"listen\"?\n");
    config_must_say("wholly_other: 1\n", "t.yaml:1:1: unknown key \"wholly_other\"\n");
    config_must_say("x: 1\n", "t.yaml:1:1: unknown key \"x\"\n");
    config_must_say("'': 1\n", "t.yaml:1:1: unknown key \"\"\n");
    config_must_say("limits: {\"a\\n\\e[1mb\": 1}\n",
                    "t.yaml:1:10: limits: unknown key \"a\\x0a\\x1b[1mb\"\n");
    config_must_mention("apps: [{name: a, auth: {jvt: {}}}]",
                        "apps[0].auth: unknown key \"jvt\"; did you mean \"jwt\"?");
}

static void a_repeated_key_is_refused(void **state)
{
    config_must_say("workers: 1\nbus: {}\nworkers: 1\n",
                    "t.yaml:3:1: workers: set twice; first on line 1\n");
    config_must_say("limits: {body: 2MiB, body: 2MiB}\n",
                    "t.yaml:1:22: limits.body: set twice; first on line 1\n");
}

static void all_mistakes_are_told_in_one_run(void **state)
{
    config_must_say("workers: x\nlimits: {body: y, bodi: 1}\ndebug: {echo: 1}\n",
                    "t.yaml:1:10: workers: expected a number from 1 to 256, or 0 (one a core), got "
                    "\"x\"\n"
                    "t.yaml:2:16: limits.body: expected a size such as \"64KiB\" from 1KiB to "
                    "256MiB, got \"y\"\n"
                    "t.yaml:2:19: limits: unknown key \"bodi\"; did you mean \"body\"?\n"
                    "t.yaml:3:15: debug.echo: expected true or false, got \"1\"\n");
}

static void over_twenty_mistakes_are_counted(void **state)
{
    char yaml[1024] = "";
    for (int i = 0; i < 23; i++) {
        char line[32];
        snprintf(line, sizeof(line), "unheard_%d: 1\n", i);
        strcat(yaml, line);
    }
    config_must_mention(yaml, "unheard_19\"\nt.yaml: and 3 more mistakes\n");
}

static void sections_may_be_empty(void **state)
{
    settings_unref(config_must_accept("limits:\nbus: {}\napps:\ncluster: {secrets: }\ndebug: ~\n"));
}

static void without_keys_only_loopback_is_listened_on(void **state)
{
    config_must_say(
        "listen:\n  api: ':8081'\n",
        "t.yaml:2:8: listen.api: expected an address on loopback (127.0.0.1, [::1]), as "
        "no app has api_keys\n");
    config_must_say("listen: {admin: '0.0.0.0:8082'}\n",
                    "t.yaml:1:17: listen.admin: expected an address on loopback (127.0.0.1, "
                    "[::1]), as no API key has the scope admin\n");
    const char *good[] = {"listen: {api: '[::1]:1', admin: '127.0.0.2:1', client: ':1'}",
                          "listen: {api: '', admin: ''}"};
    config_must_accept_all(good, 2);
}

#define KEYS(scopes)                                        \
    "apps: [{name: a, api_keys: [{name: k, scopes: " scopes \
    ", hash: 'sha256:00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff'}]}]\n"

static void with_keys_other_addresses_are_listened_on(void **state)
{
    settings_unref(config_must_accept("listen: {api: ':8081'}\n" KEYS("[push]")));
    settings_unref(config_must_accept("listen: {admin: ':8082'}\n" KEYS("[push, admin]")));
    config_must_mention("listen: {admin: ':8082'}\n" KEYS("[push]"), "listen.admin: expected");
}

static void echo_and_demo_stay_on_loopback(void **state)
{
    const char *good[] = {"debug: {echo: true, demo: true}",
                          "listen: {client: ':80'}\ndebug: {echo: false, demo: false}"};
    config_must_accept_all(good, 2);
    config_must_say("listen: {client: ':80'}\ndebug: {echo: true, demo: true}",
                    "t.yaml:2:15: debug.echo: expected false, as listen.client is not on loopback "
                    "(127.0.0.1, [::1])\n"
                    "t.yaml:2:27: debug.demo: expected false, as listen.client is not on loopback "
                    "(127.0.0.1, [::1])\n");
}

static void limits_that_contradict_each_other_are_told(void **state)
{
    config_must_say("limits: {header_line: 32KiB}\n",
                    "t.yaml:1:23: limits.header_line: expected at most limits.header\n");
    config_must_mention("limits: {message: 1MiB}\nwindow: {max_bytes: 2MiB}\n",
                        "expected at most a quarter of window.max_bytes");
    settings_unref(config_try("limits: {message: 2MiB}\n"));
    assert_non_null(strstr(config_said, "t.yaml:1:19: warning: limits.message: larger than "
                                        "limits.session_queue"));
    assert_non_null(strstr(config_said, "larger than limits.body"));
}

static void lists_end_at_their_limit(void **state)
{
    struct buf yaml = {0};
    buf_append_str(&yaml, STR("apps: [{name: a, groups: {join: [x"));
    for (int i = 1; i < 256; i++) {
        buf_append_str(&yaml, STR(",x"));
    }
    size_t len = yaml.len;
    buf_append_str(&yaml, STR("]}}]\n"));
    settings_unref(config_must_accept(buf_cstr(&yaml)));
    yaml.len = len;
    buf_append_str(&yaml, STR(",x]}}]\n"));
    config_must_say(buf_cstr(&yaml), "t.yaml:1:33: apps[0].groups.join: expected at most 256 "
                                     "items, got 257\n");
    buf_fini(&yaml);
}

static void each_failed_allocation_is_told_and_nothing_leaks(void **state)
{
    const char *yaml = "workers: 2\nlisten: {client: '[::1]:9'}\n" KEYS("[push]") "bus: {engine: "
                                                                                  "memory}\n";
    unsigned long n = 0;
    int err;
    do {
        struct config_report report;
        struct settings *settings = NULL;
        config_report_init(&report, STR("t.yaml"));
        mem_fail_nth(++n);
        err = config_parse(&settings, str_of(yaml), NULL, &report);
        settings_unref(settings);
        config_report_fini(&report);
    } while (err == ERR_NO_MEMORY);
    assert_int_equal(err, 0);
    assert_true(mem_fail_pending());
    mem_fail_nth(0);
    assert_in_range(n, 20, 200);
}

static void each_failed_allocation_while_refusing_is_told_too(void **state)
{
    const char *yaml = "workers: x\nbus: {engine: kafka, q: 1}\n";
    char *const env[] = {"TIDEGATE_LIMITS_BODY=x", "TIDEGATE_NO=1", NULL};
    unsigned long n = 0;
    do {
        struct config_report report;
        struct settings *settings = NULL;
        config_report_init(&report, STR("t.yaml"));
        mem_fail_nth(++n);
        assert_int_not_equal(config_parse(&settings, str_of(yaml), env, &report), 0);
        assert_null(settings);
        config_report_fini(&report);
    } while (!mem_fail_pending());
    mem_fail_nth(0);
    assert_in_range(n, 20, 1000);
}

static void a_missing_file_is_told(void **state)
{
    struct settings *settings = NULL;
    struct buf remarks = {0};
    assert_int_equal(config_load(&settings, "/nonexistent/t.yaml", &remarks), -ENOENT);
    assert_string_equal(buf_cstr(&remarks),
                        "/nonexistent/t.yaml: can't be read: No such file or directory\n");
    buf_clear(&remarks);
    assert_int_equal(config_load(&settings, "/", &remarks), -EISDIR);
    assert_null(settings);
    buf_fini(&remarks);
}

static void without_a_file_there_are_the_defaults(void **state)
{
    struct settings *settings = NULL;
    struct buf remarks = {0};
    assert_int_equal(config_load(&settings, NULL, &remarks), 0);
    assert_int_equal(remarks.len, 0);
    settings_unref(settings);
    buf_fini(&remarks);
}

static void a_reload_names_what_needs_a_restart(void **state)
{
    struct settings *before = config_must_accept("workers: 1\nlimits: {body: 2MiB}\n");
    struct settings *same = config_must_accept(
        "workers: 1\nlimits: {body: 3MiB}\ndrain: {window: 1s}\n");
    struct settings *other = config_must_accept(
        "workers: 2\nlisten: {client: '127.0.0.1:9'}\ndebug: {demo: true}\nbus: {queues: 9}\n"
        "cluster: {secrets: [{id: a, secret: 0123456789abcdef0123456789abcdef}]}\n");
    struct buf names = {0};
    config_reload_diff(before, same, &names);
    assert_int_equal(names.len, 0);
    config_reload_diff(before, other, &names);
    assert_string_equal(buf_cstr(&names), "workers, listen.client, bus.queues, debug.demo, "
                                          "cluster.secrets");
    buf_fini(&names);
    settings_unref(before);
    settings_unref(same);
    settings_unref(other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_file_gives_the_defaults),
        cmocka_unit_test(each_type_is_read),
        cmocka_unit_test(a_mistake_names_its_place_and_what_is_expected),
        cmocka_unit_test(webhooks_are_read_and_decide_about_presence),
        cmocka_unit_test(a_webhook_that_can_not_work_is_refused),
        cmocka_unit_test(ranges_hold_at_both_ends),
        cmocka_unit_test(an_unknown_key_is_refused_with_a_guess),
        cmocka_unit_test(a_repeated_key_is_refused),
        cmocka_unit_test(all_mistakes_are_told_in_one_run),
        cmocka_unit_test(over_twenty_mistakes_are_counted),
        cmocka_unit_test(sections_may_be_empty),
        cmocka_unit_test(without_keys_only_loopback_is_listened_on),
        cmocka_unit_test(with_keys_other_addresses_are_listened_on),
        cmocka_unit_test(echo_and_demo_stay_on_loopback),
        cmocka_unit_test(limits_that_contradict_each_other_are_told),
        cmocka_unit_test(lists_end_at_their_limit),
        cmocka_unit_test(each_failed_allocation_is_told_and_nothing_leaks),
        cmocka_unit_test(each_failed_allocation_while_refusing_is_told_too),
        cmocka_unit_test(a_missing_file_is_told),
        cmocka_unit_test(without_a_file_there_are_the_defaults),
        cmocka_unit_test(a_reload_names_what_needs_a_restart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
