#include "server/gateway.h"

#include <errno.h>
#include <stdio.h>

#include "server/test_gateway.h"

static struct test_gateway t;
static struct loop *main_loop;
static struct mailbox main_mailbox;
static int reloads;

static int start(void **state)
{
    reloads = 0;
    test_gateway_init(&t);
    assert_int_equal(loop_create(&main_loop), 0);
    assert_int_equal(mailbox_init(&main_mailbox, main_loop), 0);
    test_gateway_start(&t, NULL);
    t.gateway->options.main_mailbox = &main_mailbox;
    return 0;
}

static int stop(void **state)
{
    test_gateway_stop(&t);
    mailbox_fini(&main_mailbox);
    loop_destroy(main_loop);
    test_gateway_holds_nothing(&t);
    return 0;
}

static struct bus_options told; /* to spy_engine */
static char told_node[SETTINGS_NODE_MAX + 1];

/* Finds one queue alone, whatever was asked for. */
static int spy_create(struct bus **out_bus, struct loop *loop, const struct bus_options *options,
                      const struct bus_callbacks *callbacks, void *owner)
{
    struct bus_options fewer = *options;
    told = *options;
    snprintf(told_node, sizeof(told_node), "%.*s", STR_ARG(options->node));
    fewer.queues = 1;
    return bus_engine_find(STR("memory"))->create(out_bus, loop, &fewer, callbacks, owner);
}

static void the_engine_is_told_of_the_node_and_tells_its_queues(void **state)
{
    const struct bus_value values[1] = {{.number = 7}};
    struct bus_engine spy_engine = *bus_engine_find(STR("memory"));
    struct gateway_options options = {.settings = t.settings, .engine = &spy_engine};
    struct gateway *gateway;
    const char *problem;
    spy_engine.create = spy_create;
    t.settings->bus.values = values;
    t.settings->cluster.node = STR("eu-1");
    assert_int_equal(gateway_create(&gateway, &options, t.tenants, &problem), 0);
    assert_int_equal(told.queues, t.settings->bus.queues);
    assert_ptr_equal(told.values, values);
    assert_int_equal(told.window_age_ms, t.settings->window.max_age_ms);
    assert_int_equal(told.boot, gateway->boot);
    assert_string_equal(told_node, "eu-1");
    assert_int_equal(hub_get_options(gateway->hub)->queues, 1);
    gateway_destroy(gateway);
}

static int refuse_create(struct bus **out_bus, struct loop *loop, const struct bus_options *options,
                         const struct bus_callbacks *callbacks, void *owner)
{
    return ERR_UNSUPPORTED;
}

static void an_engine_that_can_not_be_made_is_named(void **state)
{
    const struct bus_engine engine = {.name = "none", .create = refuse_create};
    struct gateway_options options = {.settings = t.settings, .engine = &engine};
    struct gateway *gateway;
    const char *problem;
    assert_int_equal(gateway_create(&gateway, &options, t.tenants, &problem), ERR_UNSUPPORTED);
    assert_non_null(strstr(problem, "bus.engine"));
}

static void count_reload(void *owner)
{
    reloads++;
}

/* The settings with the second app, too. */
static struct settings *more_settings(void)
{
    struct settings *settings;
    assert_int_equal(settings_create_default(&settings), 0);
    settings->apps = t.apps;
    settings->app_count = 2;
    t.apps[1].auth.anonymous = true;
    settings->workers = 1;
    return settings;
}

/* Takes the place of the test's settings and tenants, as the main thread does. */
static void swap(struct settings *settings, struct tenants *tenants)
{
    tenants_destroy(t.tenants);
    settings_unref(t.settings);
    t.settings = settings;
    t.tenants = tenants;
}

static struct tenants *more_tenants(struct settings *settings)
{
    struct tenants *tenants = NULL;
    struct tenants_options options = {.settings = settings, .previous = t.tenants};
    assert_int_equal(tenants_create(&tenants, &options), 0);
    return tenants;
}

static void a_reload_reaches_the_workers_and_is_told_once(void **state)
{
    struct test_client *before = test_connect(&t, "/v1/ws", "");
    struct settings *settings = more_settings();
    struct tenants *tenants = more_tenants(settings);
    assert_int_equal(
        gateway_reload(t.gateway, settings, tenants, &t.gateway->options.tls, count_reload, NULL),
        0);
    assert_int_equal(
        gateway_reload(t.gateway, settings, tenants, &t.gateway->options.tls, count_reload, NULL),
        ERR_UNAVAILABLE);
    test_gateway_turn(&t, 2);
    assert_int_equal(reloads, 0);
    assert_int_equal(loop_turn(main_loop, 0), 0);
    assert_int_equal(reloads, 1);
    swap(settings, tenants);
    test_push(&t, TARGET_ALL, "", STR("still here"));
    test_client_expect(before, "still here");
    struct test_client *after = test_connect(&t, "/v1/ws?app=other", "");
    test_client_destroy(after);
    test_client_destroy(before);
}

static void a_reload_without_memory_changes_nothing(void **state)
{
    struct settings *settings = more_settings();
    struct tenants *tenants = more_tenants(settings);
    mem_fail_nth(1);
    assert_int_equal(
        gateway_reload(t.gateway, settings, tenants, &t.gateway->options.tls, count_reload, NULL),
        ERR_NO_MEMORY);
    mem_fail_nth(0);
    assert_int_equal(
        gateway_reload(t.gateway, settings, tenants, &t.gateway->options.tls, count_reload, NULL),
        0);
    test_gateway_turn(&t, 2);
    swap(settings, tenants);
}

static void an_app_for_which_there_was_no_memory_is_taken_later(void **state)
{
    struct settings *settings = more_settings();
    struct tenants *tenants = more_tenants(settings);
    assert_int_equal(
        gateway_reload(t.gateway, settings, tenants, &t.gateway->options.tls, count_reload, NULL),
        0);
    mem_fail_nth(1); /* the table of apps, which has to grow */
    test_gateway_turn(&t, 1);
    assert_false(mem_fail_pending());
    assert_false(shard_has_app(t.worker->shard, 1));
    swap(settings, tenants);
    struct test_client *client = test_connect(&t, "/v1/ws?app=other", "");
    assert_true(shard_has_app(t.worker->shard, 1));
    test_client_destroy(client);
}

static void a_reload_under_way_at_the_end_is_told_all_the_same(void **state)
{
    struct settings *settings = more_settings();
    struct tenants *tenants = more_tenants(settings);
    assert_int_equal(
        gateway_reload(t.gateway, settings, tenants, &t.gateway->options.tls, count_reload, NULL),
        0);
    gateway_destroy(t.gateway); /* the worker had not even heard of it */
    t.gateway = NULL;
    assert_int_equal(reloads, 1);
    swap(settings, tenants);
}

static void sessions_and_pushes_under_way_end_with_the_gateway(void **state)
{
    struct test_client *client = test_connect(&t, "/v1/ws?group=room:1", "");
    struct target target = {TARGET_GROUP, STR("room:1")};
    struct event event = {.kind = EVENT_MESSAGE, .parts = 1, .id = STR("m"), .data = STR("1")};
    uint64_t key = 5;
    struct publish *publish = publish_create(1);
    assert_int_equal(event_encode(&publish->parts[0].event, &event, &target, &key, 1, NULL, 0), 0);
    publish->on_done = test_push_done;
    publish->deadline_ms = clock_monotonic_ms() + 1000;
    gateway_publish(t.worker, publish); /* waits for a turn that never comes */
    gateway_destroy(t.gateway);
    t.gateway = NULL;
    char byte;
    assert_true(recv(client->fd, &byte, 1, 0) <= 0);
    close(client->fd);
    test_free(client);
}

static int cancels;

static void cancel(struct worker_pending *pending)
{
    cancels++;
    worker_remove_pending(pending);
}

static void what_is_pending_on_a_worker_is_cancelled_at_its_end(void **state)
{
    struct worker_pending pending[3] = {{.cancel = cancel}, {.cancel = cancel}, {.cancel = cancel}};
    cancels = 0;
    for (int i = 0; i < 3; i++) {
        worker_add_pending(t.worker, &pending[i]);
    }
    worker_remove_pending(&pending[1]);
    worker_remove_pending(&pending[1]);
    gateway_destroy(t.gateway);
    t.gateway = NULL;
    assert_int_equal(cancels, 2);
}

static void threads_start_and_end(void **state)
{
    test_gateway_stop(&t);
    test_gateway_init(&t);
    t.settings->workers = 2;
    test_gateway_start(&t, NULL);
    t.gateway->options.main_mailbox = &main_mailbox;
    assert_int_equal(gateway_start(t.gateway), 0);
    struct settings *settings = more_settings();
    settings->workers = 2;
    struct tenants *tenants = more_tenants(settings);
    assert_int_equal(
        gateway_reload(t.gateway, settings, tenants, &t.gateway->options.tls, count_reload, NULL),
        0);
    for (int i = 0; i < 1000 && !reloads; i++) {
        assert_int_equal(loop_turn(main_loop, 10), 0);
    }
    assert_int_equal(reloads, 1);
    swap(settings, tenants);
    gateway_drain(t.gateway, &settings->drain, 10, false);
    gateway_drain(t.gateway, &settings->drain, 10, false);
    char why[GATEWAY_WHY_BYTES];
    assert_string_equal(gateway_not_ready(t.gateway, why), "draining");
    assert_true(gateway_is_empty(t.gateway));
}

static void memory_may_be_out_while_it_is_made(void **state)
{
    for (unsigned long n = 1;; n++) {
        const char *problem;
        struct gateway *gateway = NULL;
        struct gateway_options options = t.gateway->options;
        mem_fail_nth(n);
        int err = gateway_create(&gateway, &options, t.tenants, &problem);
        bool went_through = mem_fail_pending();
        mem_fail_nth(0);
        if (went_through) {
            assert_int_equal(err, 0);
            gateway_destroy(gateway);
            break;
        }
        assert_true(err == ERR_NO_MEMORY || err == -ENOMEM);
    }
}

static void a_port_that_is_taken_is_named(void **state)
{
    const char *problem = NULL;
    struct gateway *gateway = NULL;
    struct gateway_options options = t.gateway->options;
    assert_int_equal(addr_parse(&options.client, STR("192.0.2.1:1")), 0);
    assert_true(gateway_create(&gateway, &options, t.tenants, &problem) < 0);
    assert_non_null(strstr(problem, "listen.client"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_engine_is_told_of_the_node_and_tells_its_queues),
        TEST(an_engine_that_can_not_be_made_is_named),
        TEST(a_reload_reaches_the_workers_and_is_told_once),
        TEST(a_reload_without_memory_changes_nothing),
        TEST(an_app_for_which_there_was_no_memory_is_taken_later),
        TEST(a_reload_under_way_at_the_end_is_told_all_the_same),
        TEST(sessions_and_pushes_under_way_end_with_the_gateway),
        TEST(what_is_pending_on_a_worker_is_cancelled_at_its_end),
        TEST(threads_start_and_end),
        TEST(memory_may_be_out_while_it_is_made),
        TEST(a_port_that_is_taken_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
