#include "api/webhook.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "net/resolve_test_help.h"
#include "server/families.h"

/* An endpoint that answers 204, on a thread of its own; requests are counted. */
static struct {
    int fd;
    uint16_t port;
    pthread_t thread;
    atomic_int requests;
    atomic_int ignores; /* so many requests are left without an answer */
    atomic_int ignored;
} app;

static struct {
    struct settings *settings;
    struct tenants *tenants;
    struct webhooks *webhooks;
} test;

static void answer(int fd)
{
    char bytes[4096];
    size_t len = 0;
    ssize_t got;
    while ((got = recv(fd, bytes + len, sizeof(bytes) - 1 - len, 0)) > 0) {
        len += (size_t)got;
        bytes[len] = '\0';
        if (strstr(bytes, "\"data\":{}}")) {
            if (atomic_load(&app.ignores) > atomic_load(&app.ignored)) {
                atomic_fetch_add(&app.ignored, 1);
                continue;
            }
            static const char taken[] = "HTTP/1.1 204 Taken\r\nConnection: close\r\n\r\n";
            atomic_fetch_add(&app.requests, 1);
            (void)!send(fd, taken, sizeof(taken) - 1, MSG_NOSIGNAL);
            return;
        }
    }
}

static void *serve(void *arg)
{
    int fd;
    while ((fd = accept(app.fd, NULL, NULL)) >= 0) {
        answer(fd);
        close(fd);
    }
    return NULL;
}

static int begin_app(void **state)
{
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof(here);
    app.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(app.fd, (struct sockaddr *)&here, len), 0);
    assert_int_equal(listen(app.fd, 16), 0);
    assert_int_equal(getsockname(app.fd, (struct sockaddr *)&here, &len), 0);
    app.port = ntohs(here.sin_port);
    log_set_level(LOG_LEVEL_ERROR);
    return pthread_create(&app.thread, NULL, serve, NULL);
}

static int end_app(void **state)
{
    shutdown(app.fd, SHUT_RDWR);
    pthread_join(app.thread, NULL);
    close(app.fd);
    return 0;
}

/* url: its port is %u. */
static void begin(const char *url, const struct str *allow, size_t allow_count)
{
    char text[128];
    assert_int_equal(settings_create_default(&test.settings), 0);
    struct settings_app *shop = settings_array(test.settings, 1, sizeof(*shop));
    struct settings_webhook *webhook = settings_array(test.settings, 1, sizeof(*webhook));
    struct settings_secret *secret = settings_array(test.settings, 1, sizeof(*secret));
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    snprintf(text, sizeof(text), url, app.port);
#pragma GCC diagnostic pop
    secret->material = STR("0123456789abcdef0123456789abcdef");
    *webhook = (struct settings_webhook){.url = settings_copy(test.settings, str_of(text)),
                                         .secrets = secret,
                                         .secret_count = 1,
                                         .events = SETTINGS_EVENT_SESSION_OPENED,
                                         .allow = (struct str *)allow,
                                         .allow_count = allow_count,
                                         .timeout_ms = 5000,
                                         .give_up_ms = 60000};
    *shop = (struct settings_app){.name = STR("shop"), .webhooks = webhook, .webhook_count = 1};
    test.settings->apps = shop;
    test.settings->app_count = 1;
    atomic_store(&app.requests, 0);
    struct tenants_options options = {.settings = test.settings};
    assert_int_equal(tenants_create(&test.tenants, &options), 0);
    assert_int_equal(webhooks_create(&test.webhooks, test.tenants), 0);
}

static void end(void)
{
    webhooks_destroy(test.webhooks);
    tenants_destroy(test.tenants);
    settings_unref(test.settings);
}

static int64_t counted(const struct metric_family *family, const char *value)
{
    return metric_value(metric_series(family, "shop", value));
}

static int64_t refusals(void)
{
    return counted(FAMILY(webhook_requests_total), "address_refused");
}

static struct webhook_event *make_event(void)
{
    struct webhook_event_parts parts = {.type = SETTINGS_EVENT_SESSION_OPENED,
                                        .app_name = STR("shop"),
                                        .id = STR("e1"),
                                        .subject_kind = STR("sessions"),
                                        .subject_name = STR("s"),
                                        .now_ms = clock_monotonic_ms(),
                                        .data = STR("{}")};
    return webhook_event_create(&parts);
}

static void hand_over(void)
{
    assert_int_equal(webhooks_post(test.webhooks, &test.tenants->items[0], make_event(), 65536), 0);
}

static void post(void)
{
    hand_over();
    for (long turns = 0; !webhooks_are_idle(test.webhooks) && turns < 30000; turns++) {
        usleep(1000); /* another thread's sockets: nothing to turn here */
    }
    assert_true(webhooks_are_idle(test.webhooks));
}

static void a16_whatever_leads_to_this_machine_is_refused_after_the_look_up(void **state)
{
    static const char *const urls[] = {
        "http://127.0.0.1:%u/",   "http://[::ffff:127.0.0.1]:%u/",
        "http://0x7f.1:%u/",      "http://0177.1:%u/",
        "http://2130706433:%u/",  "http://server.test:%u/",
        "http://127.1:%u/",       "http://0:%u/",
        "http://second.test:%u/", "http://169.254.169.254:%u/latest/meta-data/",
    };
    for (size_t i = 0; i < sizeof(urls) / sizeof(urls[0]); i++) {
        int64_t before = refusals();
        begin(urls[i], NULL, 0);
        post();
        if (refusals() != before + 1) {
            fail_msg("%s was not refused", urls[i]);
        }
        end();
        assert_int_equal(atomic_load(&app.requests), 0);
    }
}

static void an_address_that_is_allowed_is_reached(void **state)
{
    static const struct str allow[] = {STR("10.0.0.0/8"), STR("127.0.0.1")};
    int64_t before = counted(FAMILY(webhook_requests_total), "2xx");
    begin("http://server.test:%u/", allow, 2);
    post();
    assert_int_equal(atomic_load(&app.requests), 1);
    assert_int_equal(counted(FAMILY(webhook_requests_total), "2xx"), before + 1);
    end();
}

static struct endpoint_set *prepare(void)
{
    struct endpoint_set *set = NULL;
    assert_int_equal(webhooks_prepare(&set, test.webhooks, test.tenants), 0);
    return set;
}

/* The same endpoint, with settings of its own from now on. */
static void allow_instead(const struct str *allow, size_t count)
{
    static struct settings_webhook changed;
    changed = *test.settings->apps[0].webhooks;
    changed.allow = (struct str *)allow;
    changed.allow_count = count;
    test.settings->apps[0].webhooks = &changed;
    webhooks_apply(prepare());
}

/* What was right when it was looked at says nothing about the next connection. */
static void a16_a_name_that_changes_to_this_machine_is_refused(void **state)
{
    static const struct str allow[] = {STR("127.0.0.1"), STR("192.0.2.0/24")};
    names.moving = "127.0.0.1 ";
    begin("http://moving.test:%u/", allow, 1);
    post();
    assert_int_equal(atomic_load(&app.requests), 1);
    int64_t before = refusals();
    names.moving = "127.0.0.9 ";
    allow_instead(allow, 2); /* forgets what the name was */
    post();
    assert_int_equal(refusals(), before + 1);
    assert_int_equal(atomic_load(&app.requests), 1);
    end();
}

/* What was allowed, and is kept open, is not used once it is not. */
static void a_reload_that_allows_less_closes_connections(void **state)
{
    static struct str allow[] = {STR("127.0.0.1")};
    begin("http://127.0.0.1:%u/", allow, 1);
    post();
    int64_t before = refusals();
    assert_int_equal(atomic_load(&app.requests), 1);
    allow_instead(NULL, 0);
    post();
    assert_int_equal(refusals(), before + 1);
    assert_int_equal(atomic_load(&app.requests), 1);
    end();
}

/* The endpoint is not made to rest for it. */
static void a_request_that_a_reload_cancels_is_made_again_at_once(void **state)
{
    static const struct str allow[] = {STR("127.0.0.1"), STR("192.0.2.0/24")};
    begin("http://127.0.0.1:%u/", allow, 1);
    atomic_store(&app.ignored, 0);
    atomic_store(&app.ignores, 1);
    hand_over();
    for (long turns = 0; atomic_load(&app.ignored) == 0 && turns < 30000; turns++) {
        usleep(1000);
    }
    allow_instead(allow, 2);
    post();
    assert_int_equal(atomic_load(&app.requests), 2);
    atomic_store(&app.ignores, 0);
    end();
}

static void what_is_over_the_limit_is_a_dead_letter(void **state)
{
    begin("http://127.0.0.1:%u/", NULL, 0);
    int64_t full = counted(FAMILY(webhook_dead_letters_total), "queue_full");
    int64_t none = counted(FAMILY(webhook_dead_letters_total), "no_memory");
    struct webhook_event *event = make_event();
    size_t size = event->size;
    const struct tenant *tenant = &test.tenants->items[0];
    assert_int_equal(webhooks_post(test.webhooks, tenant, event, size - 1), ERR_UNAVAILABLE);
    assert_int_equal(webhooks_post(test.webhooks, tenant, NULL, size), ERR_UNAVAILABLE);
    assert_int_equal(webhooks_post(test.webhooks, tenant, make_event(), size), 0);
    assert_int_equal(webhooks_post(test.webhooks, tenant, make_event(), size), ERR_UNAVAILABLE);
    assert_int_equal(counted(FAMILY(webhook_dead_letters_total), "queue_full"), full + 2);
    assert_int_equal(counted(FAMILY(webhook_dead_letters_total), "no_memory"), none + 1);
    int64_t shutdown = counted(FAMILY(webhook_dead_letters_total), "shutdown");
    end();
    assert_int_equal(counted(FAMILY(webhook_dead_letters_total), "shutdown"), shutdown + 1);
}

/* A reload that failed: what waits keeps its endpoint. */
static void what_is_prepared_changes_nothing_until_it_is_applied(void **state)
{
    begin("http://127.0.0.1:%u/", NULL, 0);
    int64_t before = counted(FAMILY(webhook_dead_letters_total), "removed");
    post(); /* refused: it waits for its next try */
    size_t count = test.settings->apps[0].webhook_count;
    test.settings->apps[0].webhook_count = 0;
    webhooks_discard(prepare());
    test.settings->apps[0].webhook_count = count;
    webhooks_discard(prepare());
    post();
    assert_int_equal(counted(FAMILY(webhook_dead_letters_total), "removed"), before);
    end();
}

/* Each allocation fails once. */
static void endpoints_that_find_no_memory_are_not_prepared(void **state)
{
    begin("http://127.0.0.1:%u/", NULL, 0);
    bool went_through = false;
    for (unsigned long nth = 1; !went_through; nth++) {
        struct endpoint_set *set = NULL;
        mem_fail_nth(nth);
        int err = webhooks_prepare(&set, test.webhooks, test.tenants);
        went_through = mem_fail_pending();
        mem_fail_nth(0);
        assert_int_equal(err, went_through ? 0 : ERR_NO_MEMORY);
        webhooks_discard(set);
    }
    end();
}

static void an_endpoint_that_is_taken_away_leaves_dead_letters(void **state)
{
    begin("http://127.0.0.1:%u/", NULL, 0);
    int64_t before = counted(FAMILY(webhook_dead_letters_total), "removed");
    post();
    test.settings->apps[0].webhook_count = 0;
    webhooks_apply(prepare());
    assert_int_equal(webhooks_post(test.webhooks, &test.tenants->items[0], make_event(), 65536), 0);
    end();
    assert_int_equal(counted(FAMILY(webhook_dead_letters_total), "removed"), before + 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a16_whatever_leads_to_this_machine_is_refused_after_the_look_up),
        cmocka_unit_test(an_address_that_is_allowed_is_reached),
        cmocka_unit_test(a16_a_name_that_changes_to_this_machine_is_refused),
        cmocka_unit_test(a_reload_that_allows_less_closes_connections),
        cmocka_unit_test(a_request_that_a_reload_cancels_is_made_again_at_once),
        cmocka_unit_test(what_is_over_the_limit_is_a_dead_letter),
        cmocka_unit_test(what_is_prepared_changes_nothing_until_it_is_applied),
        cmocka_unit_test(endpoints_that_find_no_memory_are_not_prepared),
        cmocka_unit_test(an_endpoint_that_is_taken_away_leaves_dead_letters),
    };
    return cmocka_run_group_tests(tests, begin_app, end_app);
}
