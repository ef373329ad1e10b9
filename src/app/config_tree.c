#include "app/config_tree.h"

#include <yaml.h>

#include "base/err.h"
#include "base/mem.h"

struct builder {
    struct config_tree *tree;
    struct config_report *report;
    struct config_node *open[CONFIG_TREE_MAX_DEPTH];
    unsigned depth;
    struct config_node *key; /* read, its value is next */
    unsigned documents;
};

static struct config_place place_of(yaml_mark_t mark)
{
    return (struct config_place){(unsigned)mark.line + 1, (unsigned)mark.column + 1};
}

static int refuse(struct builder *builder, yaml_mark_t mark, const char *text)
{
    config_report_add(builder->report, false, place_of(mark), STR(""), "%s", text);
    return ERR_SYNTAX;
}

static struct config_node *make_node(struct builder *builder, enum config_node_kind kind,
                                     struct str text, yaml_mark_t mark)
{
    struct config_node *node = mem_zalloc(sizeof(*node) + text.len + 1);
    if (!node) {
        return NULL;
    }
    char *copy = (char *)(node + 1);
    if (text.len > 0) {
        memcpy(copy, text.ptr, text.len);
    }
    node->kind = kind;
    node->text = str_make(copy, text.len);
    node->place = place_of(mark);
    node->all = builder->tree->all;
    builder->tree->all = node;
    return node;
}

static void append_child(struct config_node *parent, struct config_node *node)
{
    if (parent->last) {
        parent->last->next = node;
    } else {
        parent->first = node;
    }
    parent->last = node;
}

/* Hangs a complete scalar or a just opened collection where it belongs. */
static int attach(struct builder *builder, struct config_node *node, yaml_mark_t mark)
{
    if (builder->depth == 0) {
        builder->tree->root = node;
        return 0;
    }
    struct config_node *parent = builder->open[builder->depth - 1];
    if (parent->kind == CONFIG_NODE_MAP && !builder->key) {
        if (node->kind != CONFIG_NODE_SCALAR) {
            return refuse(builder, mark, "expected a plain key, got a list or a map");
        }
        builder->key = node;
        return 0;
    }
    if (builder->key) {
        node->key = builder->key->text;
        node->key_place = builder->key->place;
        builder->key = NULL;
    }
    append_child(parent, node);
    return 0;
}

static bool is_null_scalar(const yaml_event_t *event, struct str text)
{
    return event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
           (text.len == 0 || str_equal(text, STR("~")) || str_equal(text, STR("null")));
}

static int add_scalar(struct builder *builder, const yaml_event_t *event)
{
    if (event->data.scalar.anchor || event->data.scalar.tag) {
        return refuse(builder, event->start_mark, "anchors, aliases and tags are not supported");
    }
    struct str text = str_make(event->data.scalar.value, event->data.scalar.length);
    struct config_node *node = make_node(builder, CONFIG_NODE_SCALAR, text, event->start_mark);
    if (!node) {
        return ERR_NO_MEMORY;
    }
    node->is_null = is_null_scalar(event, text);
    return attach(builder, node, event->start_mark);
}

static int open_collection(struct builder *builder, enum config_node_kind kind, bool decorated,
                           yaml_mark_t mark)
{
    if (decorated) {
        return refuse(builder, mark, "anchors, aliases and tags are not supported");
    }
    if (builder->depth == CONFIG_TREE_MAX_DEPTH) {
        return refuse(builder, mark, "nested too deep");
    }
    struct config_node *node = make_node(builder, kind, STR(""), mark);
    if (!node) {
        return ERR_NO_MEMORY;
    }
    int err = attach(builder, node, mark);
    if (!err) {
        builder->open[builder->depth++] = node;
    }
    return err;
}

static int take_event(struct builder *builder, const yaml_event_t *event)
{
    switch (event->type) {
    case YAML_DOCUMENT_START_EVENT:
        if (builder->documents++ > 0) {
            return refuse(builder, event->start_mark, "expected one document, got a second");
        }
        return 0;
    case YAML_ALIAS_EVENT:
        return refuse(builder, event->start_mark, "anchors, aliases and tags are not supported");
    case YAML_SCALAR_EVENT: return add_scalar(builder, event);
    case YAML_SEQUENCE_START_EVENT:
        return open_collection(builder, CONFIG_NODE_LIST,
                               event->data.sequence_start.anchor || event->data.sequence_start.tag,
                               event->start_mark);
    case YAML_MAPPING_START_EVENT:
        return open_collection(builder, CONFIG_NODE_MAP,
                               event->data.mapping_start.anchor || event->data.mapping_start.tag,
                               event->start_mark);
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT: builder->depth--; return 0;
    default: return 0;
    }
}

/* Reader errors (bytes that are not UTF-8, control characters) have an offset, not a mark. */
static struct config_place place_of_offset(struct str yaml, size_t offset)
{
    struct config_place place = {1, 1};
    for (size_t i = 0; i < offset && i < yaml.len; i++) {
        place.column++;
        if (yaml.ptr[i] == '\n') {
            place = (struct config_place){place.line + 1, 1};
        }
    }
    return place;
}

static int report_yaml_error(struct builder *builder, const yaml_parser_t *parser, struct str yaml)
{
    if (parser->error == YAML_MEMORY_ERROR) {
        return ERR_NO_MEMORY;
    }
    struct config_place place = parser->error == YAML_READER_ERROR
                                    ? place_of_offset(yaml, parser->problem_offset)
                                    : place_of(parser->problem_mark);
    config_report_add(builder->report, false, place, STR(""), "not YAML: %s%s%s",
                      parser->problem ? parser->problem : "can't be read",
                      parser->context ? ", " : "", parser->context ? parser->context : "");
    return ERR_SYNTAX;
}

static int build(struct builder *builder, yaml_parser_t *parser, struct str yaml)
{
    for (;;) {
        yaml_event_t event;
        if (!yaml_parser_parse(parser, &event)) {
            return report_yaml_error(builder, parser, yaml);
        }
        bool at_end = event.type == YAML_STREAM_END_EVENT;
        int err = take_event(builder, &event);
        yaml_event_delete(&event);
        if (err || at_end) {
            return err;
        }
    }
}

int config_tree_parse(struct config_tree *out_tree, struct str yaml, struct config_report *report)
{
    if (yaml.len > CONFIG_TREE_MAX_BYTES) {
        config_report_add(report, false, (struct config_place){0}, STR(""),
                          "expected at most 1MiB, got %zu bytes", yaml.len);
        return ERR_SYNTAX;
    }
    yaml_parser_t parser;
    if (!yaml_parser_initialize(&parser)) {
        return ERR_NO_MEMORY;
    }
    yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
    /* libyaml asserts that the text is not NULL, also when it is empty. */
    yaml_parser_set_input_string(&parser, (const unsigned char *)(yaml.len > 0 ? yaml.ptr : ""),
                                 yaml.len);

    struct config_tree tree = {0};
    struct builder builder = {.tree = &tree, .report = report};
    int err = build(&builder, &parser, yaml);
    yaml_parser_delete(&parser);
    if (err) {
        config_tree_fini(&tree);
        return err;
    }
    *out_tree = tree;
    return 0;
}

void config_tree_fini(struct config_tree *tree)
{
    struct config_node *next;
    for (struct config_node *node = tree->all; node; node = next) {
        next = node->all;
        explicit_bzero(node + 1, node->text.len);
        mem_free(node);
    }
    tree->all = tree->root = NULL;
}

const struct config_node *config_tree_child(const struct config_node *node, struct str key)
{
    if (!node || node->kind != CONFIG_NODE_MAP) {
        return NULL;
    }
    for (const struct config_node *child = node->first; child; child = child->next) {
        if (str_equal(child->key, key)) {
            return child;
        }
    }
    return NULL;
}

struct config_place config_tree_place(const struct config_node *node, struct str key)
{
    const struct config_node *child = config_tree_child(node, key);
    return child ? child->place : node->place;
}

const struct config_node *config_tree_find(const struct config_tree *tree, struct str path)
{
    const struct config_node *node = tree->root;
    struct str part;
    while (node && str_split(&path, '.', &part)) {
        node = config_tree_child(node, part);
    }
    return node;
}
