#include "app/serve.h"

#include <arpa/inet.h>
#include <signal.h>
#include <sys/socket.h>

#include "app/verb_test_help.h"

/* Listeners on ports that the system picks, and a drain that needn't wait for anybody. */
#define LISTEN "listen: {client: \"127.0.0.1:0\", api: \"127.0.0.1:0\", admin: \"127.0.0.1:0\"}\n"
#define SMALL "workers: 2\nwindow: {max_bytes: 1MiB}\ndrain: {window: 0}\n"
#define APP "apps: [{name: shop, auth: {anonymous: true}}]\n"

/* Signals that wait from the start: serve hears them as soon as it runs, lower numbers first. */
static int hold_signals(void **state)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGHUP);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    return sigprocmask(SIG_BLOCK, &set, NULL);
}

static int remove_config(void **state)
{
    verb_test_remove_config();
    return 0;
}

static int serve(const char *yaml)
{
    verb_test_write_config(yaml);
    return VERB_RUN(app_serve_main, "serve", "--config", verb_config);
}

/* ---- it runs ---- */

static void it_serves_until_sigterm_and_ends_well(void **state)
{
    kill(getpid(), SIGTERM);
    assert_int_equal(serve(LISTEN SMALL APP), EXIT_CODE_OK);
    verb_test_must_say("\"event\":\"server.started\"");
    verb_test_must_say("client 127.0.0.1:");
    verb_test_must_say(", 2 workers\",\"node\":\"");
    verb_test_must_say("\"event\":\"drain.started\"");
    verb_test_must_say("\"event\":\"server.stopped\"");
    assert_string_equal(verb_wrote, "");
}

static void sigint_ends_it_too(void **state)
{
    kill(getpid(), SIGINT);
    assert_int_equal(serve(LISTEN SMALL APP), EXIT_CODE_OK);
}

static void listeners_that_are_empty_are_not_opened(void **state)
{
    kill(getpid(), SIGTERM);
    assert_int_equal(serve("listen: {client: \"\", api: \"\", admin: \"\"}\n" SMALL APP),
                     EXIT_CODE_OK);
    verb_test_must_say("client -, api -, admin -, 2 workers");
}

static void a_reload_that_a_drain_overtakes_is_dropped(void **state)
{
    kill(getpid(), SIGHUP);
    kill(getpid(), SIGTERM);
    assert_int_equal(serve(LISTEN SMALL APP), EXIT_CODE_OK);
    assert_null(strstr(verb_said, "reload.done"));
    verb_test_must_say("\"event\":\"server.stopped\"");
}

static void a_second_signal_hurries_the_drain(void **state)
{
    kill(getpid(), SIGINT);
    kill(getpid(), SIGTERM);
    assert_int_equal(serve(LISTEN SMALL APP), EXIT_CODE_OK);
    verb_test_must_say("\"event\":\"drain.hurried\"");
}

static void the_argument_wins_over_the_environment(void **state)
{
    setenv("TIDEGATE_CONFIG", "tests/fuzz/app.config/mistakes.yaml", 1);
    kill(getpid(), SIGTERM);
    int exit_code = serve(LISTEN SMALL APP);
    unsetenv("TIDEGATE_CONFIG");
    assert_int_equal(exit_code, EXIT_CODE_OK);
}

/* ---- it refuses ---- */

static void a_configuration_with_mistakes_is_exit_1(void **state)
{
    assert_int_equal(serve("workers: many\n"), EXIT_CODE_REFUSED);
    verb_test_must_say(":1:10: workers: expected");
    verb_test_must_say("tidegate serve: the configuration is not usable");
    assert_null(strstr(verb_said, "server.started"));
    assert_int_equal(serve("colour: red\n"), EXIT_CODE_REFUSED);
}

static void an_open_api_listener_without_keys_is_exit_1(void **state)
{
    assert_int_equal(serve("listen: {api: \":0\"}\n" APP), EXIT_CODE_REFUSED);
    verb_test_must_say("listen.api: expected an address on loopback");
}

static void a_file_that_cannot_be_read_is_exit_2(void **state)
{
    assert_int_equal(VERB_RUN(app_serve_main, "serve", "--config", "/nonexistent"),
                     EXIT_CODE_USAGE);
    verb_test_must_say("/nonexistent: can't be read: No such file or directory");
    setenv("TIDEGATE_CONFIG", "/nonexistent", 1);
    assert_int_equal(VERB_RUN(app_serve_main, "serve"), EXIT_CODE_USAGE);
    unsetenv("TIDEGATE_CONFIG");
}

static void wrong_arguments_are_exit_2(void **state)
{
    assert_int_equal(VERB_RUN(app_serve_main, "serve", "more"), EXIT_CODE_USAGE);
    assert_int_equal(VERB_RUN(app_serve_main, "serve", "--confg", "x"), EXIT_CODE_USAGE);
    assert_int_equal(VERB_RUN(app_serve_main, "serve", "--help"), EXIT_CODE_OK);
    assert_non_null(strstr(verb_wrote, "Runs the gateway until SIGTERM or SIGINT."));
}

/* A port of loopback that is taken until the socket is closed. */
static int take_port(unsigned *out_port)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(addr);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&addr, len), 0);
    assert_int_equal(listen(fd, 1), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&addr, &len), 0);
    *out_port = ntohs(addr.sin_port);
    return fd;
}

static void a_port_that_is_taken_is_exit_1_with_the_listener_named(void **state)
{
    const char *const names[] = {"client", "api", "admin"};
    unsigned port;
    int fd = take_port(&port);
    for (int i = 0; i < 3; i++) {
        char yaml[512];
        snprintf(yaml, sizeof(yaml),
                 "listen: {client: \"127.0.0.1:%u\", api: \"127.0.0.1:%u\", "
                 "admin: \"127.0.0.1:%u\"}\n" SMALL APP,
                 i == 0 ? port : 0, i == 1 ? port : 0, i == 2 ? port : 0);
        assert_int_equal(serve(yaml), EXIT_CODE_REFUSED);
        verb_test_must_say("\"event\":\"server.failed\"");
        verb_test_must_say(names[i]);
        assert_null(strstr(verb_said, "server.started"));
        verb_test_remove_config();
    }
    close(fd);
}

#define SERVE_TEST(name) cmocka_unit_test_teardown(name, remove_config)

int main(void)
{
    const struct CMUnitTest tests[] = {
        SERVE_TEST(it_serves_until_sigterm_and_ends_well),
        SERVE_TEST(sigint_ends_it_too),
        SERVE_TEST(listeners_that_are_empty_are_not_opened),
        SERVE_TEST(a_reload_that_a_drain_overtakes_is_dropped),
        SERVE_TEST(a_second_signal_hurries_the_drain),
        SERVE_TEST(the_argument_wins_over_the_environment),
        SERVE_TEST(a_configuration_with_mistakes_is_exit_1),
        SERVE_TEST(an_open_api_listener_without_keys_is_exit_1),
        SERVE_TEST(a_file_that_cannot_be_read_is_exit_2),
        SERVE_TEST(wrong_arguments_are_exit_2),
        SERVE_TEST(a_port_that_is_taken_is_exit_1_with_the_listener_named),
    };
    return cmocka_run_group_tests(tests, hold_signals, NULL);
}
