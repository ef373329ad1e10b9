/* yaml_to_json IN.yaml OUT.json: YAML's core schema (what JSON can say), keys in their order, one
 * line. */
#include <errno.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

static json_t *convert(yaml_document_t *document, int index);

static json_t *convert_number(const char *text)
{
    char *end = NULL;
    errno = 0;
    long long integer = strtoll(text, &end, 10);
    if (*end == '\0' && errno == 0) {
        return json_integer(integer);
    }
    double real = strtod(text, &end);
    return *end == '\0' ? json_real(real) : NULL;
}

static json_t *convert_scalar(const yaml_node_t *node)
{
    const char *text = (const char *)node->data.scalar.value;
    if (node->data.scalar.style == YAML_PLAIN_SCALAR_STYLE) {
        if (!*text || strcmp(text, "null") == 0 || strcmp(text, "~") == 0) {
            return json_null();
        }
        if (strcmp(text, "true") == 0 || strcmp(text, "false") == 0) {
            return json_boolean(*text == 't');
        }
        json_t *number = strchr("+-.0123456789", *text) ? convert_number(text) : NULL;
        if (number) {
            return number;
        }
    }
    return json_stringn(text, node->data.scalar.length);
}

static json_t *convert_sequence(yaml_document_t *document, const yaml_node_t *node)
{
    json_t *array = json_array();
    const yaml_node_item_t *item = node->data.sequence.items.start;
    for (; item < node->data.sequence.items.top; item++) {
        if (json_array_append_new(array, convert(document, *item)) != 0) {
            json_decref(array);
            return NULL;
        }
    }
    return array;
}

static bool add_pair(json_t *object, yaml_document_t *document, const yaml_node_pair_t *pair)
{
    const yaml_node_t *key = yaml_document_get_node(document, pair->key);
    if (key->type != YAML_SCALAR_NODE) {
        return false;
    }
    const char *name = (const char *)key->data.scalar.value;
    if (json_object_get(object, name)) {
        fprintf(stderr, "line %zu: '%s' is there twice\n", key->start_mark.line + 1, name);
        return false;
    }
    return json_object_set_new(object, name, convert(document, pair->value)) == 0;
}

static json_t *convert_mapping(yaml_document_t *document, const yaml_node_t *node)
{
    json_t *object = json_object();
    const yaml_node_pair_t *pair = node->data.mapping.pairs.start;
    for (; pair < node->data.mapping.pairs.top; pair++) {
        if (!add_pair(object, document, pair)) {
            json_decref(object);
            return NULL;
        }
    }
    return object;
}

/* NULL for what JSON can't say, and when memory runs out. */
static json_t *convert(yaml_document_t *document, int index)
{
    const yaml_node_t *node = yaml_document_get_node(document, index);
    switch (node->type) {
    case YAML_SCALAR_NODE: return convert_scalar(node);
    case YAML_SEQUENCE_NODE: return convert_sequence(document, node);
    case YAML_MAPPING_NODE: return convert_mapping(document, node);
    case YAML_NO_NODE: break;
    }
    return NULL;
}

static json_t *read_yaml(FILE *in)
{
    yaml_parser_t parser;
    yaml_document_t document;
    if (!yaml_parser_initialize(&parser)) {
        return NULL;
    }
    yaml_parser_set_input_file(&parser, in);
    json_t *root = NULL;
    if (yaml_parser_load(&parser, &document)) {
        root = yaml_document_get_root_node(&document) ? convert(&document, 1) : NULL;
        yaml_document_delete(&document);
    } else {
        fprintf(stderr, "line %zu: %s\n", parser.problem_mark.line + 1, parser.problem);
    }
    yaml_parser_delete(&parser);
    return root;
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: yaml_to_json IN.yaml OUT.json\n");
        return EXIT_FAILURE;
    }
    FILE *in = fopen(argv[1], "rb");
    json_t *root = in ? read_yaml(in) : NULL;
    bool good = root && json_dump_file(root, argv[2], JSON_COMPACT | JSON_ENCODE_ANY) == 0;
    if (!good) {
        fprintf(stderr, "yaml_to_json: %s: not converted\n", argv[1]);
    }
    json_decref(root);
    if (in) {
        fclose(in);
    }
    return good ? EXIT_SUCCESS : EXIT_FAILURE;
}
