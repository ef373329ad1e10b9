/* From a tree of nodes and the schema to settings. Every mistake goes to the report with its place
 * and path, and reading goes on, so that one run tells them all. */
#ifndef TIDEGATE_APP_CONFIG_READ_H
#define TIDEGATE_APP_CONFIG_READ_H

#include "app/config_report.h"
#include "app/config_schema.h"
#include "app/config_tree.h"

struct config_reader {
    struct settings *settings;
    struct config_report *report;
    struct str folder; /* of the configuration, "" or with a slash at its end; relative file names
                          start there */
    bool has_inline_secret; /* the file itself must be kept from others */
    char path[256];         /* of the key that is being read: "apps[0].auth.jwt" */
    size_t path_len;
    int err; /* ERR_NO_MEMORY, sticks */
};

/* Fills object, which map describes, from node; a null node leaves it alone. */
void config_read_map(struct config_reader *reader, const struct config_map *map,
                     const struct config_node *node, void *object);

/* A list (CONFIG_TEXTS, CONFIG_MAPS): its items and their count, at the key's offsets in object; a
 * null node and a mistake leave it alone. */
void config_read_list(struct config_reader *reader, const struct config_key *key,
                      const struct config_node *node, void *object);

/* One value, from whatever source, into the field at value. 0, ERR_SYNTAX when it isn't what
 * config_key_expected says, ERR_NO_MEMORY. Texts are copied into settings. */
int config_value_parse(const struct config_key *key, struct str text, struct settings *settings,
                       void *value);

/* Lengthens the path that is being read; what enter returns makes leave shorten it again. */
size_t config_read_enter(struct config_reader *reader, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void config_read_leave(struct config_reader *reader, size_t before);

/* A mistake or warning at place, about the path that is being read. */
void config_read_mistake(struct config_reader *reader, struct config_place place,
                         const char *format, ...) __attribute__((format(printf, 3, 4)));
void config_read_warning(struct config_reader *reader, struct config_place place,
                         const char *format, ...) __attribute__((format(printf, 3, 4)));

/* `expected EXPECTED, got "…"`, or `got a list`, `got nothing` by the node's kind. */
void config_read_expected(struct config_reader *reader, const struct config_node *node,
                          const char *expected);

/* The same for what config_key_expected says of key. */
void config_read_expected_of(struct config_reader *reader, const struct config_key *key,
                             const struct config_node *node);

/* Copies text into the settings; on failure notes reader->err and gives an empty text. */
struct str config_read_copy(struct config_reader *reader, struct str text);

/* Of the names (ending with NULL, or count of them), the one that name is a slip of; else NULL. */
const char *config_closest(struct str name, const char *const *names, size_t count);

#endif
