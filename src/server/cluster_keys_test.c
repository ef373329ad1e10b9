#include "server/cluster_keys.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"

static struct settings_secret old_secret = {.id = {"a", 1},
                                            .material = {"0123456789abcdef0123456789abcdef", 32}};
static struct settings_secret new_secret = {.id = {"b", 1},
                                            .material = {"fedcba9876543210fedcba9876543210", 32}};

static struct cluster_keys keys_of(struct settings_secret *first, struct settings_secret *second)
{
    struct settings_secret secrets[2];
    struct settings_cluster cluster = {.name = STR("prod"), .secrets = secrets};
    if (first) {
        secrets[cluster.secret_count++] = *first;
    }
    if (second) {
        secrets[cluster.secret_count++] = *second;
    }
    struct cluster_keys keys;
    assert_int_equal(cluster_keys_make(&keys, &cluster), 0);
    return keys;
}

static void nodes_with_one_secret_have_the_same_keys(void **state)
{
    struct cluster_keys a = keys_of(&old_secret, NULL);
    struct cluster_keys b = keys_of(&old_secret, NULL);
    assert_memory_equal(&a, &b, sizeof(a));
}

static void without_secrets_each_node_has_keys_of_its_own(void **state)
{
    struct cluster_keys a = keys_of(NULL, NULL);
    struct cluster_keys b = keys_of(NULL, NULL);
    assert_int_equal(a.count, 1);
    assert_memory_not_equal(&a.space.keys, &b.space.keys, sizeof(a.space.keys));
    assert_memory_not_equal(a.grant_keys[0], b.grant_keys[0], GRANT_KEY_LEN);
}

static void while_secrets_are_rotated_queues_stay_and_tags_differ(void **state)
{
    struct cluster_keys before = keys_of(&old_secret, &new_secret);
    struct cluster_keys after = keys_of(&new_secret, &old_secret);
    assert_memory_equal(&before.space.open, &after.space.open, sizeof(before.space.open));
    assert_memory_not_equal(&before.space.keys, &after.space.keys, sizeof(before.space.keys));
    assert_int_not_equal(before.space.tag, after.space.tag);
}

static void what_either_secret_made_is_good(void **state)
{
    struct cluster_keys makers[] = {keys_of(&old_secret, NULL), keys_of(&new_secret, NULL)};
    struct cluster_keys reader = keys_of(&new_secret, &old_secret);
    for (int i = 0; i < 2; i++) {
        struct sid sid = {7, 1, 2, 3};
        struct sid read;
        char text[SID_LEN + 1];
        sid_format(text, &makers[i].sid_keys[0], &sid);
        assert_true(cluster_keys_parse_sid(&reader, &read, str_of(text)));
        assert_int_equal(read.node, 7);

        struct grant grant = {STR("demo"), STR("42"), STR("room"), 1000, 2000};
        struct buf out = {0};
        char memory[GRANT_MEMORY];
        assert_int_equal(grant_write(&out, makers[i].grant_keys[0], &grant), 0);
        assert_int_equal(cluster_keys_read_grant(&reader, &grant, memory, buf_str(&out), 1500), 0);
        assert_int_equal(cluster_keys_read_grant(&reader, &grant, memory, buf_str(&out), 2500),
                         ERR_EXPIRED);
        buf_fini(&out);
    }
}

static void what_another_cluster_made_is_refused(void **state)
{
    struct cluster_keys maker = keys_of(&old_secret, NULL);
    struct cluster_keys reader = keys_of(&new_secret, NULL);
    struct sid sid = {7, 1, 2, 3};
    char text[SID_LEN + 1];
    sid_format(text, &maker.sid_keys[0], &sid);
    assert_false(cluster_keys_parse_sid(&reader, &sid, str_of(text)));
    struct grant grant = {STR("demo"), STR("42"), STR("room"), 1000, 2000};
    struct buf out = {0};
    char memory[GRANT_MEMORY];
    assert_int_equal(grant_write(&out, maker.grant_keys[0], &grant), 0);
    assert_int_equal(cluster_keys_read_grant(&reader, &grant, memory, buf_str(&out), 1500),
                     ERR_DENIED);
    buf_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nodes_with_one_secret_have_the_same_keys),
        cmocka_unit_test(without_secrets_each_node_has_keys_of_its_own),
        cmocka_unit_test(while_secrets_are_rotated_queues_stay_and_tags_differ),
        cmocka_unit_test(what_either_secret_made_is_good),
        cmocka_unit_test(what_another_cluster_made_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
