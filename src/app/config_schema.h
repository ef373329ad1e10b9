/* The schema of the configuration: one table row a key says its type, range, where its value goes
 * in struct settings and what it means. Reading, the environment, the comparison of a reload and
 * the reference page all walk this table. Defaults are not in it: they are those of
 * settings_create_default. */
#ifndef TIDEGATE_APP_CONFIG_SCHEMA_H
#define TIDEGATE_APP_CONFIG_SCHEMA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "app/config_text.h"
#include "base/buf.h"
#include "core/settings.h"

struct config_reader;
struct config_node;
struct config_map;

enum config_type {
    CONFIG_BOOL,   /* bool */
    CONFIG_COUNT,  /* uint64_t */
    CONFIG_BYTES,  /* uint64_t, bytes */
    CONFIG_TIME,   /* uint64_t, ms */
    CONFIG_TEXT,   /* struct str */
    CONFIG_CHOICE, /* an enum: the index in choices */
    CONFIG_CUSTOM, /* what read makes of it */
    CONFIG_TEXTS,  /* a list: struct str * and, at count_offset, size_t; at most max */
    CONFIG_MAP,    /* a struct inside */
    CONFIG_MAPS,   /* a list of structs: pointer and count as for texts */
};

struct config_key {
    const char *name;
    enum config_type type;
    bool required;      /* inside lists: each item must have it */
    bool needs_restart; /* a reload can't apply it */
    size_t offset;      /* in the struct that the map describes */
    size_t count_offset;
    uint64_t min;
    uint64_t max;
    const char *zero; /* what 0 means when it is allowed below min; NULL: it is not */
    const struct config_text *text;
    const char *const *choices; /* ends with NULL */
    const struct config_map *map;
    /* Reads node into object (the struct of the map); mistakes go to the reader. */
    void (*read)(struct config_reader *reader, const struct config_key *key,
                 const struct config_node *node, void *object);
    const char *help;    /* one line: what it is */
    const char *example; /* for keys without a default */
};

struct config_map {
    const struct config_key *keys;
    size_t key_count;
    size_t size; /* of the struct */
    /* May refuse combinations, after all keys of node were read. May be NULL. */
    void (*finish)(struct config_reader *reader, const struct config_node *node, void *object);
    bool is_open; /* keys that are not in the table are left to somebody else */
};

enum { CONFIG_KEYS_MAX = 64 }; /* of one map */

extern const struct config_map config_schema;     /* fills struct settings */
extern const struct config_map config_schema_bus; /* struct settings_bus; open: config_bus.h */
extern const struct config_map config_schema_app; /* struct settings_app; config_schema_app.c */
extern const struct config_map config_schema_tls; /* struct settings_tls_of; config_schema_tls.c */
extern const struct config_map config_schema_proxy_protocol;
extern const struct config_map config_schema_forwarded;
extern const struct config_map config_schema_metrics; /* struct settings_metrics; …_metrics.c */
extern const struct config_map config_schema_export;  /* …_export; config_schema_export.c */
extern const struct config_map config_schema_alerts;  /* config_schema_alerts.c */
extern const struct config_map config_schema_secrets; /* struct settings_secret; there too */

/* Calls visit for every key, maps before what is in them, in the order of the table; path is
 * "limits", "limits.message", "apps[].auth.cookie". offset is from the start of struct settings,
 * and meaningful only outside lists. A true stops the walk and is returned. */
struct config_visit {
    const char *path;
    bool in_list;
    size_t offset;
    const struct config_key *key;
};
typedef bool config_visit_cb(void *arg, const struct config_visit *visit);
bool config_schema_visit(config_visit_cb *visit, void *arg);

/* Can an environment variable set it? A single value, outside lists. */
bool config_visit_is_single(const struct config_visit *visit);

/* "a size from 1KiB to 64MiB, or 0 for no limit": completes "expected …". */
void config_key_expected(const struct config_key *key, struct buf *out);

/* The value of a single key as it would be written in the file. */
void config_value_format(const struct config_key *key, const void *value, struct buf *out);

/* The reference page, docs/configuration.md. 0 or ERR_NO_MEMORY. */
int config_schema_markdown(struct buf *out);

#endif
