/* The documents about the configuration say what the code does. Runs in the repository's root. */
#include "app/config_schema.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

#include "app/config_tree.h"
#include "app/config_try.h"
#include "base/mem.h"
#include "bus/bus.h"

static void read_document(const char *path, struct buf *out)
{
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    buf_init(out, 0);
    uint8_t *room = buf_reserve(out, 1 << 20);
    out->len = fread(room, 1, 1 << 20, file);
    fclose(file);
}

static void the_reference_page_is_up_to_date(void **state)
{
    struct buf page = {0};
    struct buf committed;
    assert_int_equal(config_schema_markdown(&page), 0);
    if (getenv("UPDATE_DOCS")) {
        FILE *file = fopen("docs/configuration.md", "w");
        assert_non_null(file);
        assert_int_equal(fwrite(page.data, 1, page.len, file), page.len);
        fclose(file);
    }
    read_document("docs/configuration.md", &committed);
    if (!str_equal(buf_str(&page), buf_str(&committed))) {
        print_error(
            "docs/configuration.md is not what the schema says: write it with ./dev docs\n");
        fail();
    }
    buf_fini(&page);
    buf_fini(&committed);
}

static void a_page_that_finds_no_memory_fails(void **state)
{
    unsigned long n = 0;
    int err;
    do {
        struct buf page = {0};
        mem_fail_nth(++n);
        err = config_schema_markdown(&page);
        buf_fini(&page);
    } while (err == ERR_NO_MEMORY);
    assert_int_equal(err, 0);
    assert_true(mem_fail_pending());
    mem_fail_nth(0);
}

struct comparison {
    const uint8_t *file;
    const uint8_t *defaults;
};

static bool compare_value(void *arg, const struct config_visit *visit)
{
    const struct comparison *comparison = arg;
    if (config_visit_is_single(visit)) {
        struct buf a = {0};
        struct buf b = {0};
        config_value_format(visit->key, comparison->file + visit->offset, &a);
        config_value_format(visit->key, comparison->defaults + visit->offset, &b);
        if (!str_equal(buf_str(&a), buf_str(&b))) {
            print_error("%s: %s in the file, %s in the code\n", visit->path, buf_cstr(&a),
                        buf_cstr(&b));
            fail();
        }
        buf_fini(&a);
        buf_fini(&b);
    }
    return false;
}

static void the_commented_file_has_the_defaults(void **state)
{
    struct buf remarks = {0};
    struct settings *file, *defaults;
    assert_int_equal(config_load(&file, "config/tidegate.yaml", &remarks), 0);
    assert_int_equal(remarks.len, 0);
    assert_int_equal(settings_create_default(&defaults), 0);
    const struct comparison comparison = {(const uint8_t *)file, (const uint8_t *)defaults};
    config_schema_visit(compare_value, (void *)&comparison);
    assert_int_equal(file->app_count, 0);
    settings_unref(file);
    settings_unref(defaults);
}

/* Switches on the options that are off: "  #- id: x" and "  #  file: y" lose their sign. */
static void uncomment(struct str text, struct buf *out)
{
    struct str line;
    while (str_split(&text, '\n', &line)) {
        struct str trimmed = str_trim(line);
        size_t indent = (size_t)(trimmed.ptr - line.ptr);
        bool is_option = indent > 0 && (str_starts_with(trimmed, STR("#-")) ||
                                        str_starts_with(trimmed, STR("#  ")));
        buf_append(out, line.ptr, is_option ? indent : line.len);
        if (is_option) {
            buf_append(out, line.ptr + indent + 1, line.len - indent - 1);
        }
        buf_append_char(out, '\n');
    }
}

/* "apps[].auth.jwt.keys[].kid": [] is any item. */
static bool mentions(const struct config_node *node, struct str path)
{
    struct str name;
    if (!str_split(&path, '.', &name)) {
        return true;
    }
    bool is_list = str_ends_with(name, STR("[]"));
    node = config_tree_child(node, str_make(name.ptr, name.len - (is_list ? 2 : 0)));
    if (!node || !is_list) {
        return node && mentions(node, path);
    }
    for (const struct config_node *item = node->first; item; item = item->next) {
        if (mentions(item, path)) {
            return true;
        }
    }
    return false;
}

static bool must_mention(void *arg, const struct config_visit *visit)
{
    const struct config_tree *tree = arg;
    if (!mentions(tree->root, str_of(visit->path))) {
        print_error("config/tidegate.yaml doesn't mention %s\n", visit->path);
        fail();
    }
    return false;
}

static void the_commented_file_mentions_every_key(void **state)
{
    struct buf text;
    struct buf yaml = {0};
    struct config_tree tree;
    struct config_report report;
    config_report_init(&report, STR("config/tidegate.yaml"));
    read_document("config/tidegate.yaml", &text);
    uncomment(buf_str(&text), &yaml);
    assert_int_equal(config_tree_parse(&tree, buf_str(&yaml), &report), 0);
    config_schema_visit(must_mention, &tree);
    config_tree_fini(&tree);
    buf_fini(&text);
    buf_fini(&yaml);
}

static void the_options_that_are_off_are_right_but_for_their_files(void **state)
{
    struct buf text;
    struct buf yaml = {0};
    struct config_report report;
    struct settings *settings;
    config_report_init(&report, STR("config/tidegate.yaml"));
    read_document("config/tidegate.yaml", &text);
    uncomment(buf_str(&text), &yaml);
    assert_int_equal(config_parse(&settings, buf_str(&yaml), NULL, &report), ERR_SYNTAX);
    assert_int_equal(report.mistakes, 17);
    for (size_t i = 0; i < report.count; i++) {
        assert_non_null(strstr(report.remarks[i].text, "No such file"));
    }
    config_report_fini(&report);
    buf_fini(&text);
    buf_fini(&yaml);
}

/* What the file has behind "  #engine: NAME": lines of "  #key: value", as the section `bus`. */
static void collect_bus_example(struct str text, const char *engine, struct buf *out)
{
    struct str line;
    char first[64];
    bool is_inside = false;
    snprintf(first, sizeof(first), "  #engine: %s", engine);
    while (str_split(&text, '\n', &line)) {
        bool is_off = str_starts_with(line, STR("  #"));
        bool is_key = is_off && line.len > 3 && islower((unsigned char)line.ptr[3]);
        if (str_starts_with(line, STR("  #engine: "))) {
            is_inside = str_equal(line, str_of(first));
        }
        is_inside = is_inside && is_off;
        if (is_inside && is_key) {
            buf_printf(out, "  %.*s\n", STR_ARG(str_make(line.ptr + 3, line.len - 3)));
        }
    }
}

static void must_have_option(const struct bus_engine *engine, const struct bus_option *option,
                             const struct config_node *section)
{
    char file[64];
    snprintf(file, sizeof(file), "%s_file", option->name);
    const struct config_node *node = config_tree_child(section, str_of(option->name));
    if (!node && option->type == BUS_OPTION_SECRET) {
        node = config_tree_child(section, str_of(file));
    }
    if (!node) {
        print_error("config/tidegate.yaml doesn't mention bus.%s of %s\n", option->name,
                    engine->name);
        fail();
    }
    if (option->initial && !str_equal(node->text, str_of(option->initial))) {
        print_error("bus.%s of %s: %s in the file, %s in the code\n", option->name, engine->name,
                    node->text.ptr, option->initial);
        fail();
    }
}

static void check_bus_example(const struct bus_engine *engine, struct str file)
{
    struct buf yaml = {0};
    struct config_tree tree;
    struct config_report report;
    struct settings *settings = NULL;
    buf_append_str(&yaml, STR("cluster: {secrets: [{id: a, secret: "
                              "0123456789abcdef0123456789abcdef}]}\nbus:\n"));
    collect_bus_example(file, engine->name, &yaml);
    config_report_init(&report, STR("config/tidegate.yaml"));
    assert_int_equal(config_tree_parse(&tree, buf_str(&yaml), &report), 0);
    for (size_t i = 0; i < engine->option_count; i++) {
        must_have_option(engine, &engine->options[i], config_tree_find(&tree, STR("bus")));
    }
    config_parse(&settings, buf_str(&yaml), NULL, &report);
    for (size_t i = 0; i < report.count; i++) {
        print_message("%s: %s\n", report.remarks[i].key, report.remarks[i].text);
        assert_non_null(strstr(report.remarks[i].text, "No such file"));
    }
    settings_unref(settings);
    config_report_fini(&report);
    config_tree_fini(&tree);
    buf_fini(&yaml);
}

static void the_commented_file_has_an_example_of_each_engine(void **state)
{
    struct buf text;
    const struct bus_engine *engine;
    read_document("config/tidegate.yaml", &text);
    for (size_t i = 0; (engine = bus_engine_at(i)); i++) {
        if (engine->option_count > 0) {
            check_bus_example(engine, buf_str(&text));
        }
    }
    buf_fini(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_reference_page_is_up_to_date),
        cmocka_unit_test(a_page_that_finds_no_memory_fails),
        cmocka_unit_test(the_commented_file_has_the_defaults),
        cmocka_unit_test(the_commented_file_mentions_every_key),
        cmocka_unit_test(the_commented_file_has_an_example_of_each_engine),
        cmocka_unit_test(the_options_that_are_off_are_right_but_for_their_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
