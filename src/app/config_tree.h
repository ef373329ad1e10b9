/* A configuration text as a tree of nodes with their places. YAML by libyaml, cut down to what a
 * configuration needs: one document of maps, lists and scalars in UTF-8. Anchors, aliases and tags
 * are refused (no billion laughs), as are texts over CONFIG_TREE_MAX_BYTES and nesting over
 * CONFIG_TREE_MAX_DEPTH. Pure. */
#ifndef TIDEGATE_APP_CONFIG_TREE_H
#define TIDEGATE_APP_CONFIG_TREE_H

#include <stdbool.h>

#include "app/config_report.h"
#include "base/str.h"

enum { CONFIG_TREE_MAX_BYTES = 1 << 20, CONFIG_TREE_MAX_DEPTH = 16 };

enum config_node_kind { CONFIG_NODE_SCALAR, CONFIG_NODE_LIST, CONFIG_NODE_MAP };

struct config_node {
    enum config_node_kind kind;
    bool is_null;    /* a scalar that is empty, ~ or null, without quotes */
    struct str text; /* of a scalar; NUL-terminated behind .len */
    struct config_place place;
    struct str key; /* when the parent is a map */
    struct config_place key_place;
    struct config_node *first; /* children in the order of the file */
    struct config_node *last;
    struct config_node *next;
    struct config_node *all; /* every node of the tree, for freeing */
};

struct config_tree {
    struct config_node *root; /* NULL: nothing but comments */
    struct config_node *all;
};

/* 0; ERR_SYNTAX with a mistake in the report; ERR_NO_MEMORY. Texts are copied. */
int config_tree_parse(struct config_tree *out_tree, struct str yaml, struct config_report *report);

/* Wipes and frees: a configuration may hold secrets. */
void config_tree_fini(struct config_tree *tree);

/* The child of a map, or NULL; the first when the key is there twice. node may be NULL. */
const struct config_node *config_tree_child(const struct config_node *node, struct str key);

/* Where that child is, else where node is. */
struct config_place config_tree_place(const struct config_node *node, struct str key);

/* The node at a dotted path of map keys ("listen.api"), or NULL. */
const struct config_node *config_tree_find(const struct config_tree *tree, struct str path);

#endif
