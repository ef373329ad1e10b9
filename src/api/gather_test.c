#include "api/gather.h"

#include "api/gateway_test_help.h"
#include "api/nodes.h"

/* What a gather of the test leaves behind, once its finish has run. */
struct seen {
    struct gateway_test_job *job;
    int only;
    const char *name;
    const struct gather_kind *kind; /* of another node */
    uint32_t parts;
    uint64_t sums[4];
    char text[64];     /* of all parts, in their order */
    uint32_t app_hash; /* as another node names the app */
    bool on_asker;
};

static struct seen *running; /* one at a time; the mailboxes order its uses */

static void ask(struct gather_part *part)
{
    assert_ptr_equal(worker_current(), part->worker);
    part->counts[0] = 1;
    part->counts[1] = part->worker->index + 1;
    part->counts[3] = part->app;
    buf_printf(&part->text, "%u:%.*s;", part->worker->index, STR_ARG(part->gather->name));
}

static void finish(struct gather *gather)
{
    struct seen *seen = running;
    size_t len = 0;
    seen->parts = gather->part_count;
    seen->on_asker = worker_current() == gather->asker && gather->open == 0;
    for (int i = 0; i < 4; i++) {
        seen->sums[i] = gather_sum(gather, i);
    }
    for (uint32_t i = 0; i < gather->part_count; i++) {
        const struct buf *text = &gather->parts[i].text;
        assert_in_range(len + text->len, 0, sizeof(seen->text) - 1);
        memcpy(seen->text + len, text->data, text->len);
        len += text->len;
    }
    gateway_test_job_end(seen->job);
}

static int pick(const struct gateway *gateway, struct str name)
{
    return running->only;
}

static const struct gather_kind test_kind = {
    .number = 200, .ask = ask, .fold = gather_fold, .finish = finish, .pick_worker = pick};

/* The name is forgotten as soon as the gather has begun: it has a copy. */
static void begin(struct gateway_test_job *job, struct worker *worker)
{
    struct seen *seen = job->user;
    char name[32];
    seen->job = job;
    running = seen;
    struct api_call call = {.worker = worker, .tenant = &worker->tenants->items[1]};
    snprintf(name, sizeof(name), "%s", seen->name);
    gather_start(&call, &test_kind, str_of(name));
    memset(name, 'x', sizeof(name));
}

static void every_worker_fills_its_part_and_the_asker_reads_them(void **state)
{
    for (unsigned asker = 0; asker < 2; asker++) {
        struct seen seen = {.only = -1, .name = "42"};
        gateway_test_run(*state, asker, begin, &seen);
        assert_true(seen.on_asker);
        assert_int_equal(seen.parts, 2);
        assert_string_equal(seen.text, "0:42;1:42;");
        assert_int_equal(seen.sums[0], 2);
        assert_int_equal(seen.sums[1], 3);
        assert_int_equal(seen.sums[2], 0);
        assert_int_equal(seen.sums[3], 2); /* the app's number is 1 */
    }
}

static void one_worker_can_be_asked_alone(void **state)
{
    for (int only = 0; only < 2; only++) {
        struct seen seen = {.only = only, .name = ""};
        gateway_test_run(*state, 1, begin, &seen);
        assert_true(seen.on_asker);
        assert_int_equal(seen.parts, 1);
        assert_string_equal(seen.text, only ? "1:;" : "0:;");
        assert_int_equal(seen.sums[1], only + 1);
    }
}

/* ---- for another node ---- */

static void fold(struct gather *gather, struct gather_part *out)
{
    struct seen *seen = running;
    gather_fold(gather, out);
    seen->parts = gather->part_count;
    seen->on_asker = worker_current() == gather->asker && gather->open == 0;
    memcpy(seen->sums, out->counts, sizeof(seen->sums));
    assert_in_range(out->text.len, 0, sizeof(seen->text) - 1);
    snprintf(seen->text, sizeof(seen->text), "%.*s", STR_ARG(buf_str(&out->text)));
    gateway_test_job_end(seen->job);
}

static const struct gather_kind folded_kind = {
    .number = 201, .ask = ask, .fold = fold, .pick_worker = pick};

/* About the node, not an app. */
static const struct gather_kind node_kind = {
    .number = 202, .ask = ask, .fold = fold, .pick_worker = pick, .is_of_node = true};

static void begin_for_node(struct gateway_test_job *job, struct worker *worker)
{
    struct seen *seen = job->user;
    size_t len = strlen(seen->name);
    struct cluster_ask *asked = mem_zalloc(sizeof(*asked) + len);
    seen->job = job;
    running = seen;
    memcpy(asked->payload, seen->name, len);
    asked->body = (struct cluster_ask_body){
        .id = 5, .app = seen->app_hash, .kind = 201, .payload = str_make(asked->payload, len)};
    gather_answer(worker->gateway, seen->kind ? seen->kind : &folded_kind, asked);
}

static uint32_t hash_of(struct gateway_test *test, uint16_t app)
{
    return shard_app_hash(test->gateway->workers[0].shard, app);
}

static void what_the_workers_say_is_folded_for_another_node(void **state)
{
    struct seen seen = {.only = GATHER_ALL, .name = "42", .app_hash = hash_of(*state, 1)};
    gateway_test_run(*state, 0, begin_for_node, &seen);
    assert_true(seen.on_asker);
    assert_int_equal(seen.parts, 2);
    assert_string_equal(seen.text, "0:42;1:42;");
    assert_int_equal(seen.sums[1], 3);
    assert_int_equal(seen.sums[3], 2); /* it named the app by its hash */

    seen = (struct seen){.only = 1, .name = "42", .app_hash = hash_of(*state, 0)};
    gateway_test_run(*state, 0, begin_for_node, &seen);
    assert_int_equal(seen.parts, 1);
    assert_string_equal(seen.text, "1:42;");
}

static void an_app_that_is_not_here_has_nothing(void **state)
{
    struct seen seen = {.only = GATHER_ALL, .name = "42", .app_hash = hash_of(*state, 1) + 1};
    gateway_test_run(*state, 0, begin_for_node, &seen);
    assert_int_equal(seen.parts, 2);
    assert_string_equal(seen.text, "");
    assert_int_equal(seen.sums[0], 0);
}

static void what_is_of_the_node_needs_no_app(void **state)
{
    struct seen seen = {
        .only = 0, .name = "drain", .app_hash = hash_of(*state, 1) + 1, .kind = &node_kind};
    gateway_test_run(*state, 0, begin_for_node, &seen);
    assert_string_equal(seen.text, "0:drain;");
    assert_true(nodes_order_kind()->is_of_node);
}

/* The gather's own memory is the last that is allocated before the workers are asked. */
static void a_query_without_memory_is_answered_503(void **state)
{
    struct gateway_test *test = *state;
    bool was_refused = false;
    for (unsigned long nth = 1; nth < 20; nth++) {
        gateway_test_fail_nth(test, 0, nth);
        int status = gateway_test_ask(test, KEY_ALL, "GET /v1/users/42", NULL);
        if (status == 503) {
            gateway_test_says_code(test, "overloaded");
            gateway_test_has_header(test, "Retry-After: 1");
            was_refused = true;
        }
        gateway_test_fail_nth(test, 0, 0);
    }
    assert_true(was_refused);
}

static void one_worker(struct settings *settings)
{
    settings->workers = 1;
}

static int setup_one_worker(void **state)
{
    return gateway_test_setup_tuned(state, one_worker);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        GATEWAY_TEST(every_worker_fills_its_part_and_the_asker_reads_them),
        GATEWAY_TEST(one_worker_can_be_asked_alone),
        GATEWAY_TEST(what_the_workers_say_is_folded_for_another_node),
        GATEWAY_TEST(an_app_that_is_not_here_has_nothing),
        GATEWAY_TEST(what_is_of_the_node_needs_no_app),
        cmocka_unit_test_setup_teardown(a_query_without_memory_is_answered_503, setup_one_worker,
                                        gateway_test_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
