/* The whole way of an engine's keys, with engines of the test's own. */
#include "app/config_bus.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "app/config_try.h"
#include "base/mem.h"

static const char *const modes[] = {"streams", "pubsub", NULL};

enum { URL, NAME, PASSWORD, SERVERS, LINKS, CHUNK, FAILOVER, TLS, MODE, CA, OPTIONS };

static const struct bus_option options[OPTIONS] = {
    [URL] = {"url", BUS_OPTION_TEXT, .required = true, .help = "Where.", .example = "x://host"},
    [NAME] = {"name", BUS_OPTION_TEXT, .initial = "tidegate", .help = "Whose."},
    [PASSWORD] = {"password", BUS_OPTION_SECRET, .help = "Shown to nobody."},
    [SERVERS] = {"servers", BUS_OPTION_TEXTS, .max = 3, .help = "Others.", .example = "[a, b]"},
    [LINKS] = {"links", BUS_OPTION_COUNT, .initial = "2", .min = 1, .max = 4, .help = "How many."},
    [CHUNK] = {"chunk", BUS_OPTION_BYTES, .initial = "4KiB", .min = 1024, .max = 65536,
               .help = "What."},
    [FAILOVER] = {"failover_after", BUS_OPTION_TIME, .initial = "5s", .min = 1000, .max = 60000,
                  .zero = "never: for good", .help = "What."},
    [TLS] = {"tls", BUS_OPTION_BOOL, .initial = "false", .help = "What."},
    [CA] = {"ca", BUS_OPTION_FILE, .initial = "", .help = "Whom to trust"},
    [MODE] = {"mode", BUS_OPTION_CHOICE, .initial = "streams", .choices = modes, .help = "What."},
};

static struct bus_options asked; /* of check */
static size_t refused_option;
static const char *refused_for; /* NULL: it fits */

static int check(const struct bus_options *bus_options, size_t *out_option,
                 const char **out_problem)
{
    asked = *bus_options;
    if (!refused_for) {
        return 0;
    }
    *out_option = refused_option;
    *out_problem = refused_for;
    return ERR_SYNTAX;
}

static const struct bus_option other_options[] = {
    {"tls", BUS_OPTION_BOOL, .initial = "false", .help = "What."},
    {"path", BUS_OPTION_TEXT, .initial = "/", .help = "What."},
    {"key", BUS_OPTION_SECRET, .required = true, .help = "What."},
};

static const struct bus_engine engines[] = {
    {.name = "memory"},
    {.name = "full", .options = options, .option_count = OPTIONS, .check = check},
    {.name = "other", .nodes = true, .options = other_options, .option_count = 3},
};

/* Instead of that of bus/engines.c. */
const struct bus_engine *bus_engine_at(size_t index)
{
    return index < 3 ? &engines[index] : NULL;
}

#define FULL "bus: {engine: full, url: 'x://h'"

static const struct bus_value *value_of(const struct settings *settings, int option)
{
    return &settings->bus.values[option];
}

static int reset(void **state)
{
    refused_for = NULL;
    asked = (struct bus_options){0};
    return 0;
}

static void each_type_is_read(void **state)
{
    struct settings *settings = config_must_accept(
        FULL ", name: '', password: p, servers: [a, b], links: 4, chunk: 64KiB,\n"
             " failover_after: 1500ms, tls: true, mode: pubsub, ca: /etc/ca}\n");
    assert_string_equal(value_of(settings, URL)->text.ptr, "x://h");
    assert_string_equal(value_of(settings, NAME)->text.ptr, "");
    assert_string_equal(value_of(settings, PASSWORD)->text.ptr, "p");
    assert_int_equal(value_of(settings, SERVERS)->text_count, 2);
    assert_string_equal(value_of(settings, SERVERS)->texts[1].ptr, "b");
    assert_int_equal(value_of(settings, LINKS)->number, 4);
    assert_int_equal(value_of(settings, CHUNK)->number, 65536);
    assert_int_equal(value_of(settings, FAILOVER)->number, 1500);
    assert_int_equal(value_of(settings, TLS)->number, 1);
    assert_int_equal(value_of(settings, MODE)->number, 1);
    for (int i = 0; i < OPTIONS; i++) {
        assert_true(value_of(settings, i)->is_set);
    }
    settings_unref(settings);
}

static void what_nobody_says_is_the_initial_value(void **state)
{
    struct settings *settings = config_must_accept(FULL "}\n");
    assert_string_equal(value_of(settings, NAME)->text.ptr, "tidegate");
    assert_string_equal(value_of(settings, PASSWORD)->text.ptr, "");
    assert_int_equal(value_of(settings, SERVERS)->text_count, 0);
    assert_int_equal(value_of(settings, LINKS)->number, 2);
    assert_int_equal(value_of(settings, CHUNK)->number, 4096);
    assert_int_equal(value_of(settings, FAILOVER)->number, 5000);
    assert_int_equal(value_of(settings, TLS)->number, 0);
    assert_int_equal(value_of(settings, MODE)->number, 0);
    for (int i = NAME; i < OPTIONS; i++) {
        assert_false(value_of(settings, i)->is_set);
    }
    settings_unref(settings);
}

static void a_files_name_starts_at_the_configurations_folder(void **state)
{
    static const struct {
        const char *file, *ca, *expected;
    } cases[] = {
        {"/etc/tidegate/t.yaml", "ca.pem", "/etc/tidegate/ca.pem"},
        {"/etc/tidegate/t.yaml", "/ca.pem", "/ca.pem"},
        {"/etc/tidegate/t.yaml", "''", ""},
        {"t.yaml", "ca.pem", "ca.pem"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct config_report report;
        struct settings *settings;
        char yaml[128];
        config_report_init(&report, str_of(cases[i].file));
        snprintf(yaml, sizeof(yaml), FULL ", ca: %s}\n", cases[i].ca);
        assert_int_equal(config_parse(&settings, str_of(yaml), NULL, &report), 0);
        assert_string_equal(value_of(settings, CA)->text.ptr, cases[i].expected);
        settings_unref(settings);
        config_report_fini(&report);
    }
}

static void a_zero_may_be_written_as_what_it_means(void **state)
{
    const char *both[] = {FULL ", failover_after: 0}\n", FULL ", failover_after: never}\n"};
    for (int i = 0; i < 2; i++) {
        struct settings *settings = config_must_accept(both[i]);
        assert_int_equal(value_of(settings, FAILOVER)->number, 0);
        settings_unref(settings);
    }
}

static void a_mistake_names_its_place_and_what_is_expected(void **state)
{
    config_must_say(FULL ", links: 5}\n", "t.yaml:1:42: bus.links: expected a number from 1 to 4, "
                                          "got \"5\"\n");
    config_must_say(FULL ", chunk: 1}\n", "t.yaml:1:42: bus.chunk: expected a size such as "
                                          "\"64KiB\" from 1KiB to 64KiB, got \"1\"\n");
    config_must_say(FULL ", failover_after: 1ms}\n",
                    "t.yaml:1:51: bus.failover_after: expected a time such as \"10s\" from 1s to "
                    "1m, or 0 (never: for good), got \"1ms\"\n");
    config_must_say(FULL ", mode: x}\n",
                    "t.yaml:1:41: bus.mode: expected one of streams, pubsub, got \"x\"\n");
    config_must_say(FULL ", tls: [1]}\n",
                    "t.yaml:1:40: bus.tls: expected true or false, got a list\n");
    config_must_say(FULL ", servers: [a, b, c, d]}\n",
                    "t.yaml:1:44: bus.servers: expected at most 3 items, got 4\n");
    config_must_say(FULL ", servers: [a, '']}\n",
                    "t.yaml:1:48: bus.servers[1]: expected a text of 1 to 1024 bytes without "
                    "control characters, got \"\"\n");
    config_must_mention(FULL ", servers: }\n", "bus.servers: expected a list; each: a text");
    config_must_say(FULL ", tls: true, tls: true}\n",
                    "t.yaml:1:46: bus.tls: set twice; first on line 1\n");
}

static void an_unknown_key_is_refused_with_what_the_engine_knows(void **state)
{
    config_must_say(FULL ", lnks: 1}\n",
                    "t.yaml:1:35: bus: unknown key \"lnks\"; the engine full knows engine, queues, "
                    "publish_timeout, backlog, url, name, password, password_file, servers, links, "
                    "chunk, failover_after, tls, mode, ca; did you mean \"links\"?\n");
    config_must_say("bus:\n  ur: 1\n",
                    "t.yaml:2:3: bus: unknown key \"ur\"; the engine memory knows engine, queues, "
                    "publish_timeout, backlog\n");
}

static void a_key_of_another_engine_is_refused_with_its_name(void **state)
{
    config_must_say("bus:\n  url: x\n",
                    "t.yaml:2:3: bus: bus.url belongs to the engine full, and bus.engine is "
                    "memory\n");
    config_must_say(FULL ", key_file: x}\n", "t.yaml:1:35: bus: bus.key_file belongs to the engine "
                                             "other, and bus.engine is full\n");
    config_must_say("bus: {tls: true}\n", "t.yaml:1:7: bus: bus.tls belongs to the engines full, "
                                          "other, and bus.engine is memory\n");
}

static void of_an_unknown_engine_no_key_is_judged(void **state)
{
    char *const env[] = {"TIDEGATE_BUS_WHAT=1", "TIDEGATE_BUS_ENGINE=kafka", NULL};
    config_must_say("bus: {engine: kafka, what: 1}\n",
                    "t.yaml:1:15: bus.engine: expected an engine that is built in: memory, full, "
                    "other, got \"kafka\"\n");
    assert_null(config_try_env("bus: {engine: full}\n", env));
    assert_string_equal(config_said, "t.yaml: TIDEGATE_BUS_ENGINE: expected an engine that is "
                                     "built in: memory, full, other, got \"kafka\"\n");
}

static void what_is_required_must_be_there(void **state)
{
    char *const env[] = {"TIDEGATE_BUS_ENGINE=full", NULL};
    config_must_say("bus: {engine: full}\n",
                    "t.yaml:1:6: bus: the engine full needs \"url\", like x://host\n");
    assert_null(config_try_env("", env));
    assert_string_equal(config_said, "t.yaml: bus: the engine full needs \"url\", like x://host\n");
    config_must_say("bus: {engine: full, url: ''}\n",
                    "t.yaml:1:26: bus.url: expected a text of 1 to 1024 bytes without control "
                    "characters, got \"\"\n");
}

static void the_engine_is_asked_whether_the_values_fit(void **state)
{
    settings_unref(config_must_accept(FULL ", links: 3, queues: 5}\ncluster: {node: n}\n"
                                           "window: {max_age: 2m}\n"));
    assert_int_equal(asked.queues, 5);
    assert_int_equal(asked.window_age_ms, 120000);
    refused_for = "expected fewer than queues";
    refused_option = LINKS;
    config_must_say(FULL ",\n  links: 3}\n",
                    "t.yaml:2:10: bus.links: expected fewer than queues\n");
    config_must_say(FULL "}\n", "t.yaml: bus.links: expected fewer than queues\n");
    refused_option = OPTIONS;
    config_must_say(FULL "}\n", "t.yaml:1:6: bus: expected fewer than queues\n");
}

static void an_engine_is_not_asked_about_mistakes(void **state)
{
    config_must_mention(FULL ", links: x}\n", "bus.links");
    assert_null(asked.values);
}

static void a_variable_wins_over_the_file(void **state)
{
    char *const env[] = {"TIDEGATE_BUS_URL=y://h", "TIDEGATE_BUS_PASSWORD=p w",
                         "TIDEGATE_BUS_TLS=true",  "TIDEGATE_BUS_MODE=pubsub",
                         "TIDEGATE_BUS_NAME=",     "TIDEGATE_BUS_FAILOVER_AFTER=never",
                         "TIDEGATE_BUS_QUEUES=3",  NULL};
    struct settings *settings = config_try_env(FULL ", tls: false, password: q}\n", env);
    assert_string_equal(config_said, "");
    assert_string_equal(value_of(settings, URL)->text.ptr, "y://h");
    assert_string_equal(value_of(settings, PASSWORD)->text.ptr, "p w");
    assert_string_equal(value_of(settings, NAME)->text.ptr, "");
    assert_true(value_of(settings, NAME)->is_set);
    assert_int_equal(value_of(settings, TLS)->number, 1);
    assert_int_equal(value_of(settings, MODE)->number, 1);
    assert_int_equal(value_of(settings, FAILOVER)->number, 0);
    assert_int_equal(settings->bus.queues, 3);
    settings_unref(settings);
}

static void the_engine_itself_may_come_from_the_environment(void **state)
{
    char *const env[] = {"TIDEGATE_BUS_URL=x", "TIDEGATE_BUS_ENGINE=full", NULL};
    struct settings *settings = config_try_env("bus: {links: 4}\n", env);
    assert_string_equal(config_said, "");
    assert_int_equal(value_of(settings, LINKS)->number, 4);
    settings_unref(settings);
}

static void a_mistake_of_a_variable_is_told_with_its_name(void **state)
{
    char *const env[] = {"TIDEGATE_BUS_LINKS=9",   "TIDEGATE_BUS_SERVERS=a,b",
                         "TIDEGATE_BUS_PATH=/",    "TIDEGATE_BUS_TSL=1",
                         "TIDEGATE_BUS_password=", "TIDEGATE_BUS_",
                         "TIDEGATE_BUS_PASSWORD=", NULL};
    assert_null(config_try_env(FULL "}\n", env));
    const char *lines[] = {
        "t.yaml: TIDEGATE_BUS_LINKS: expected a number from 1 to 4, got \"9\"\n",
        "t.yaml: TIDEGATE_BUS_SERVERS: a variable can't set a list\n",
        "t.yaml: environment: bus.path belongs to the engine other, and bus.engine is full\n",
        "t.yaml: environment: unknown variable \"TIDEGATE_BUS_TSL\"; the engine full knows",
        "t.yaml: environment: unknown variable \"TIDEGATE_BUS_password\"",
        "t.yaml: TIDEGATE_BUS_PASSWORD: expected a secret of 1 to 1024 bytes",
    };
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        if (!strstr(config_said, lines[i])) {
            print_error("expected: %s\ngot: %s", lines[i], config_said);
            fail();
        }
    }
}

/* --- Secrets --- */

static char secret_path[] = "/tmp/tidegate_bus_secret_XXXXXX";

static void write_secret(const char *text, mode_t mode)
{
    FILE *file = fopen(secret_path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(chmod(secret_path, mode), 0);
}

static int make_secret(void **state)
{
    int fd = mkstemp(secret_path);
    return fd < 0 ? -1 : close(fd);
}

static int remove_secret(void **state)
{
    return unlink(secret_path);
}

/* More is what else is said. */
static struct settings *try_file(const char *more)
{
    char yaml[256];
    snprintf(yaml, sizeof(yaml), FULL ",\n %s password_file: '%s'}\n", more, secret_path);
    return config_try(yaml);
}

static void a_secret_may_be_in_a_file(void **state)
{
    write_secret("swordfish\n", 0600);
    struct settings *settings = try_file("");
    assert_string_equal(config_said, "");
    assert_string_equal(value_of(settings, PASSWORD)->text.ptr, "swordfish");
    settings_unref(settings);
    write_secret("swordfish\n", 0644);
    settings = try_file("");
    assert_non_null(strstr(config_said, "warning: bus.password_file: others than the owner may "
                                        "read this file (mode 644)"));
    settings_unref(settings);
}

static void a_file_of_a_variable_wins_over_the_secret_of_the_file(void **state)
{
    char variable[128];
    char *const env[] = {variable, NULL};
    write_secret("swordfish", 0600);
    snprintf(variable, sizeof(variable), "TIDEGATE_BUS_PASSWORD_FILE=%s", secret_path);
    struct settings *settings = config_try_env(FULL ", password: other}\n", env);
    assert_string_equal(config_said, "");
    assert_string_equal(value_of(settings, PASSWORD)->text.ptr, "swordfish");
    settings_unref(settings);
}

static void a_secret_is_never_quoted(void **state)
{
    write_secret("sword\x01"
                 "fish",
                 0600);
    assert_null(try_file(""));
    assert_non_null(strstr(config_said, "bus.password_file: expected a secret of 1 to 1024"));
    assert_null(strstr(config_said, "fish"));
    config_must_say(FULL ", password: \"sword\\x01fish\"}\n",
                    "t.yaml:1:45: bus.password: expected a secret of 1 to 1024 bytes without "
                    "control characters\n");
    write_secret("", 0600);
    assert_null(try_file(""));
    assert_non_null(strstr(config_said, "bus.password_file: expected a secret of 1 to 1024"));
    config_must_mention(FULL ", password_file: /nonexistent/x}\n",
                        "bus.password_file: can't read \"/nonexistent/x\": No such file");
}

static void a_secret_comes_from_one_place(void **state)
{
    char *const env[] = {"TIDEGATE_BUS_PASSWORD=a", "TIDEGATE_BUS_PASSWORD_FILE=b", NULL};
    write_secret("swordfish", 0600);
    assert_null(try_file("password: x,"));
    assert_string_equal(config_said, "t.yaml:2:15: bus.password_file: expected one of password and "
                                     "password_file, got both\n");
    assert_null(config_try_env(FULL "}\n", env));
    assert_string_equal(config_said, "t.yaml: TIDEGATE_BUS_PASSWORD_FILE: expected one of password "
                                     "and password_file, got both\n");
}

static void a_required_secret_may_come_either_way(void **state)
{
    char *const env[] = {"TIDEGATE_BUS_KEY=k", NULL};
    const char *yaml = "bus: {engine: other}\ncluster: {secrets: [{id: a, secret: "
                       "0123456789abcdef0123456789abcdef}]}\n";
    config_must_say(yaml, "t.yaml:1:6: bus: the engine other needs \"key\"\n");
    struct settings *settings = config_try_env(yaml, env);
    assert_string_equal(config_said, "");
    assert_string_equal(value_of(settings, 2)->text.ptr, "k");
    settings_unref(settings);
}

static void nodes_need_a_secret_that_they_share(void **state)
{
    config_must_say("bus: {engine: other, key: k}\ncluster: {name: a}\n",
                    "t.yaml: cluster.secrets: the engine other needs a secret that all nodes "
                    "share: make a file with `openssl rand -hex 32`, and name it in an item with "
                    "\"id\" and \"file\"\n");
}

static void a_reload_names_what_differs(void **state)
{
    struct settings *before = config_must_accept(FULL ", servers: [a, b], password: p}\n");
    struct settings *same = config_must_accept(
        FULL ", servers: [a, b], password: p, links: 2, publish_timeout: 1s}\n");
    struct settings *other = config_must_accept(
        FULL ", servers: [a, c], password: q, links: 3}\nwindow: {max_age: 1m}\n");
    struct settings *memory = config_must_accept("");
    struct buf names = {0};
    config_reload_diff(before, same, &names);
    assert_int_equal(names.len, 0);
    config_reload_diff(before, other, &names);
    assert_string_equal(buf_cstr(&names), "window.max_age, bus.password, bus.servers, bus.links");
    buf_clear(&names);
    config_reload_diff(before, memory, &names);
    assert_string_equal(buf_cstr(&names), "bus.engine");
    buf_fini(&names);
    settings_unref(before);
    settings_unref(same);
    settings_unref(other);
    settings_unref(memory);
}

static void the_reference_page_has_a_table_for_each_engine(void **state)
{
    struct buf page = {0};
    assert_int_equal(config_schema_markdown(&page), 0);
    const char *parts[] = {
        "### With `engine: full`\n\nSee [bus-full.md](bus-full.md).\n",
        "| `bus.url` | required, like `x://host` | a text of 1 to 1024 bytes without control "
        "characters | Where. *Needs a restart.* |\n",
        "| `bus.servers` | like `[a, b]` | a list; each: a text",
        "| `bus.password` | | a text of 1 to 1024 bytes without control characters | Shown to "
        "nobody. Or `bus.password_file`: a file that holds it. *Needs a restart.* |\n",
        "| `bus.failover_after` | `5s` | a time such as \"10s\" from 1s to 1m, or 0 (never: for good) |",
        "| `bus.ca` | `\"\"` | the name of a file | Whom to trust. *Needs a restart.* |\n",
        "### With `engine: other`\n",
    };
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        assert_non_null(strstr(buf_cstr(&page), parts[i]));
    }
    assert_null(strstr(buf_cstr(&page), "### With `engine: memory`"));
    assert_true(strstr(buf_cstr(&page), "### With") < strstr(buf_cstr(&page), "## `window`"));
    buf_fini(&page);
}

static void each_failed_allocation_is_told_and_nothing_leaks(void **state)
{
    const char *yaml = FULL ", password: p, servers: [a, b], links: x, what: 1, key: 1}\n";
    char *const env[] = {"TIDEGATE_BUS_TLS=x", "TIDEGATE_BUS_NO=1", "TIDEGATE_BUS_NAME=n", NULL};
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

#define TEST(name) cmocka_unit_test_setup(name, reset)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(each_type_is_read),
        TEST(what_nobody_says_is_the_initial_value),
        TEST(a_files_name_starts_at_the_configurations_folder),
        TEST(a_zero_may_be_written_as_what_it_means),
        TEST(a_mistake_names_its_place_and_what_is_expected),
        TEST(an_unknown_key_is_refused_with_what_the_engine_knows),
        TEST(a_key_of_another_engine_is_refused_with_its_name),
        TEST(of_an_unknown_engine_no_key_is_judged),
        TEST(what_is_required_must_be_there),
        TEST(the_engine_is_asked_whether_the_values_fit),
        TEST(an_engine_is_not_asked_about_mistakes),
        TEST(a_variable_wins_over_the_file),
        TEST(the_engine_itself_may_come_from_the_environment),
        TEST(a_mistake_of_a_variable_is_told_with_its_name),
        TEST(a_secret_may_be_in_a_file),
        TEST(a_file_of_a_variable_wins_over_the_secret_of_the_file),
        TEST(a_secret_is_never_quoted),
        TEST(a_secret_comes_from_one_place),
        TEST(a_required_secret_may_come_either_way),
        TEST(nodes_need_a_secret_that_they_share),
        TEST(a_reload_names_what_differs),
        TEST(the_reference_page_has_a_table_for_each_engine),
        TEST(each_failed_allocation_is_told_and_nothing_leaks),
    };
    return cmocka_run_group_tests(tests, make_secret, remove_secret);
}
