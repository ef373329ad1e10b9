#include "core/presence.h"
#include "server/test_gateway.h"

static struct test_gateway t;

static int start(void **state)
{
    test_gateway_init(&t);
    test_gateway_start(&t, NULL);
    presence_set(t.gateway->cluster, true, 100);
    shard_track_users(t.worker->shard, 0, true);
    return 0;
}

static int stop(void **state)
{
    test_gateway_stop(&t);
    return 0;
}

static bool has_sessions(const char *user)
{
    struct presence_state found;
    uint32_t app = shard_app_hash(t.worker->shard, 0);
    uint64_t key = target_key(&t.gateway->keys.space, app, TARGET_USER, str_of(user));
    return presence_find(t.gateway->cluster, key, &found) && found.has_sessions;
}

static void that_a_user_has_gone_is_told_without_memory(void **state)
{
    struct shard *shard = t.worker->shard;
    struct session *session = shard_session_create(shard, 0, 0);
    assert_int_equal(shard_session_set_user(shard, session, STR("ann")), 0);
    test_gateway_turn(&t, TEST_TURNS);
    assert_true(has_sessions("ann"));
    mem_fail_nth(1);
    shard_session_end(shard, session);
    mem_fail_nth(0);
    shard_session_free(shard, session);
    test_gateway_turn(&t, TEST_TURNS);
    assert_false(has_sessions("ann"));
}

/* Each allocation fails once: who was not told to be here is not told to be gone. */
static void a_user_who_finds_no_memory_is_not_followed(void **state)
{
    struct shard *shard = t.worker->shard;
    bool went_through = false;
    for (unsigned long nth = 1; !went_through; nth++) {
        struct session *session = shard_session_create(shard, 0, 0);
        mem_fail_nth(nth);
        shard_session_set_user(shard, session, STR("bob"));
        went_through = mem_fail_pending();
        mem_fail_nth(0);
        test_gateway_turn(&t, TEST_TURNS);
        assert_int_equal(has_sessions("bob"), went_through);
        shard_session_end(shard, session);
        shard_session_free(shard, session);
        test_gateway_turn(&t, TEST_TURNS);
        assert_false(has_sessions("bob"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(that_a_user_has_gone_is_told_without_memory, start, stop),
        cmocka_unit_test_setup_teardown(a_user_who_finds_no_memory_is_not_followed, start, stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
