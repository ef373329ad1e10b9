#include "app/config_tree.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/mem.h"

static struct config_report report;

static int begin(void **state)
{
    config_report_init(&report, STR("t.yaml"));
    return 0;
}

static int end(void **state)
{
    config_report_fini(&report);
    return 0;
}

static void must_refuse(struct str yaml, const char *line)
{
    struct config_tree tree = {0};
    struct buf lines = {0};
    config_report_fini(&report);
    config_report_init(&report, STR("t.yaml"));
    assert_int_equal(config_tree_parse(&tree, yaml, &report), ERR_SYNTAX);
    config_report_lines(&report, &lines);
    assert_string_equal(buf_cstr(&lines), line);
    buf_fini(&lines);
}

static void nodes_know_their_places(void **state)
{
    struct config_tree tree;
    struct str yaml = STR("a: 1\nlist:\n  - x\n  - {b: \"two\"}\nnothing:\n");
    assert_int_equal(config_tree_parse(&tree, yaml, &report), 0);
    const struct config_node *list = config_tree_find(&tree, STR("list"));
    assert_int_equal(list->kind, CONFIG_NODE_LIST);
    assert_int_equal(list->key_place.line, 2);
    assert_int_equal(list->first->place.line, 3);
    assert_int_equal(list->first->place.column, 5);
    const struct config_node *two = config_tree_child(list->last, STR("b"));
    assert_string_equal(two->text.ptr, "two");
    assert_int_equal(two->place.column, 9);
    assert_true(config_tree_find(&tree, STR("nothing"))->is_null);
    assert_null(config_tree_find(&tree, STR("list.b")));
    assert_null(config_tree_find(&tree, STR("a.b")));
    config_tree_fini(&tree);
}

static void quotes_make_a_text_of_null(void **state)
{
    struct config_tree tree;
    struct str yaml = STR("- null\n- ~\n-\n- \"null\"\n- ''\n- \"~\"\n- nullable\n");
    const bool expected[] = {true, true, true, false, false, false, false};
    assert_int_equal(config_tree_parse(&tree, yaml, &report), 0);
    size_t i = 0;
    for (const struct config_node *node = tree.root->first; node; node = node->next) {
        assert_int_equal(node->is_null, expected[i++]);
    }
    assert_int_equal(i, 7);
    config_tree_fini(&tree);
}

static void a_file_of_comments_has_no_root(void **state)
{
    struct config_tree tree;
    assert_int_equal(config_tree_parse(&tree, STR("# nothing\n"), &report), 0);
    assert_null(tree.root);
    config_tree_fini(&tree);
    assert_int_equal(config_tree_parse(&tree, (struct str){NULL, 0}, &report), 0);
    config_tree_fini(&tree);
}

static void anchors_aliases_and_tags_are_refused(void **state)
{
    must_refuse(STR("a: &x 1\n"), "t.yaml:1:4: anchors, aliases and tags are not supported\n");
    must_refuse(STR("a: &x [1]\n"), "t.yaml:1:4: anchors, aliases and tags are not supported\n");
    must_refuse(STR("a: &x {}\n"), "t.yaml:1:4: anchors, aliases and tags are not supported\n");
    must_refuse(STR("b: 1\na: *x\n"), "t.yaml:2:4: anchors, aliases and tags are not supported\n");
    must_refuse(STR("a: !!int 1\n"), "t.yaml:1:4: anchors, aliases and tags are not supported\n");
    must_refuse(STR("a: !x [1]\n"), "t.yaml:1:4: anchors, aliases and tags are not supported\n");
}

static void a_billion_laughs_end_at_the_first(void **state)
{
    must_refuse(STR("a: &a [l,l,l,l,l]\nb: &b [*a,*a,*a,*a]\nc: [*b,*b,*b,*b]\n"),
                "t.yaml:1:4: anchors, aliases and tags are not supported\n");
}

static void nesting_ends_at_sixteen(void **state)
{
    struct config_tree tree;
    char yaml[2 * CONFIG_TREE_MAX_DEPTH + 2];
    memset(yaml, '[', CONFIG_TREE_MAX_DEPTH);
    memset(yaml + CONFIG_TREE_MAX_DEPTH, ']', CONFIG_TREE_MAX_DEPTH);
    assert_int_equal(config_tree_parse(&tree, str_make(yaml, 2 * CONFIG_TREE_MAX_DEPTH), &report),
                     0);
    config_tree_fini(&tree);
    memset(yaml, '[', CONFIG_TREE_MAX_DEPTH + 1);
    memset(yaml + CONFIG_TREE_MAX_DEPTH + 1, ']', CONFIG_TREE_MAX_DEPTH + 1);
    must_refuse(str_make(yaml, sizeof(yaml)), "t.yaml:1:17: nested too deep\n");
}

static void the_size_ends_at_one_mebibyte(void **state)
{
    struct config_tree tree;
    char *yaml = mem_alloc(CONFIG_TREE_MAX_BYTES + 1);
    assert_non_null(yaml);
    memset(yaml, '#', CONFIG_TREE_MAX_BYTES + 1);
    assert_int_equal(config_tree_parse(&tree, str_make(yaml, CONFIG_TREE_MAX_BYTES), &report), 0);
    config_tree_fini(&tree);
    must_refuse(str_make(yaml, CONFIG_TREE_MAX_BYTES + 1),
                "t.yaml: expected at most 1MiB, got 1048577 bytes\n");
    mem_free(yaml);
}

static void what_is_not_yaml_is_told_with_its_place(void **state)
{
    must_refuse(STR("a: 1\nb: \"x\n"),
                "t.yaml:3:1: not YAML: found unexpected end of stream, while scanning a quoted "
                "scalar\n");
    must_refuse(STR("a: 1\n b: 2\n"),
                "t.yaml:2:3: not YAML: mapping values are not allowed in this context\n");
    must_refuse(STR("a: 1\nb: \xff\n"), "t.yaml:2:4: not YAML: invalid leading UTF-8 octet\n");
    must_refuse(STR("a: 1\n---\nb: 2\n"), "t.yaml:2:1: expected one document, got a second\n");
    must_refuse(STR("? [a]\n: 1\n"), "t.yaml:1:3: expected a plain key, got a list or a map\n");
}

static void each_failed_allocation_is_told_and_nothing_leaks(void **state)
{
    struct str yaml = STR("a: 1\nlist: [x, {b: two}]\n");
    unsigned long n = 0;
    int err;
    do {
        struct config_tree tree = {0};
        mem_fail_nth(++n);
        err = config_tree_parse(&tree, yaml, &report);
        config_tree_fini(&tree);
    } while (err == ERR_NO_MEMORY);
    assert_int_equal(err, 0);
    assert_true(mem_fail_pending());
    mem_fail_nth(0);
    assert_in_range(n, 8, 20);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(nodes_know_their_places),
        TEST(quotes_make_a_text_of_null),
        TEST(a_file_of_comments_has_no_root),
        TEST(anchors_aliases_and_tags_are_refused),
        TEST(a_billion_laughs_end_at_the_first),
        TEST(nesting_ends_at_sixteen),
        TEST(the_size_ends_at_one_mebibyte),
        TEST(what_is_not_yaml_is_told_with_its_place),
        TEST(each_failed_allocation_is_told_and_nothing_leaks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
