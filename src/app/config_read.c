#include "app/config_read.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/err.h"

/* --- What goes to the report --- */

static void add_remark(struct config_reader *reader, bool is_warning, struct config_place place,
                       const char *format, va_list args) __attribute__((format(printf, 4, 0)));

static void add_remark(struct config_reader *reader, bool is_warning, struct config_place place,
                       const char *format, va_list args)
{
    char text[1024];
    vsnprintf(text, sizeof(text), format, args);
    config_report_add(reader->report, is_warning, place, str_make(reader->path, reader->path_len),
                      "%s", text);
}

void config_read_mistake(struct config_reader *reader, struct config_place place,
                         const char *format, ...)
{
    va_list args;
    va_start(args, format);
    add_remark(reader, false, place, format, args);
    va_end(args);
}

void config_read_warning(struct config_reader *reader, struct config_place place,
                         const char *format, ...)
{
    va_list args;
    va_start(args, format);
    add_remark(reader, true, place, format, args);
    va_end(args);
}

void config_read_expected(struct config_reader *reader, const struct config_node *node,
                          const char *expected)
{
    char quoted[CONFIG_QUOTE_MAX];
    const char *got = node->kind == CONFIG_NODE_LIST  ? "a list"
                      : node->kind == CONFIG_NODE_MAP ? "a map"
                      : node->is_null                 ? "nothing"
                                                      : config_quote(node->text, quoted);
    config_read_mistake(reader, node->place, "expected %s, got %s", expected, got);
}

void config_read_expected_of(struct config_reader *reader, const struct config_key *key,
                             const struct config_node *node)
{
    struct buf expected = {0};
    config_key_expected(key, &expected);
    config_read_expected(reader, node, buf_cstr(&expected));
    if (buf_err(&expected)) {
        reader->err = ERR_NO_MEMORY;
    }
    buf_fini(&expected);
}

struct str config_read_copy(struct config_reader *reader, struct str text)
{
    struct str copy = settings_copy(reader->settings, text);
    if (!copy.ptr) {
        reader->err = ERR_NO_MEMORY;
        return STR("");
    }
    return copy;
}

/* --- The path of the key that is being read --- */

/* The depth of the schema bounds the path; snprintf cuts it anyway. */
size_t config_read_enter(struct config_reader *reader, const char *format, ...)
{
    size_t before = reader->path_len;
    size_t room = sizeof(reader->path) - before;
    va_list args;
    va_start(args, format);
    int len = vsnprintf(reader->path + before, room, format, args);
    va_end(args);
    reader->path_len += len < 0 ? 0 : (size_t)len < room ? (size_t)len : room - 1;
    return before;
}

void config_read_leave(struct config_reader *reader, size_t before)
{
    reader->path_len = before;
    reader->path[before] = '\0';
}

/* --- Slips --- */

enum { SLIP_MAX = 32 };

/* Levenshtein's distance; names over SLIP_MAX bytes are far from everything. */
static unsigned distance(struct str a, struct str b)
{
    if (a.len > SLIP_MAX || b.len > SLIP_MAX) {
        return SLIP_MAX;
    }
    unsigned row[SLIP_MAX + 1];
    for (unsigned j = 0; j <= b.len; j++) {
        row[j] = j;
    }
    for (unsigned i = 1; i <= a.len; i++) {
        unsigned diagonal = row[0];
        row[0] = i;
        for (unsigned j = 1; j <= b.len; j++) {
            unsigned change = diagonal + (a.ptr[i - 1] != b.ptr[j - 1]);
            unsigned step = (row[j] < row[j - 1] ? row[j] : row[j - 1]) + 1;
            diagonal = row[j];
            row[j] = change < step ? change : step;
        }
    }
    return row[b.len];
}

const char *config_closest(struct str name, const char *const *names, size_t count)
{
    const char *best = NULL;
    unsigned best_distance = name.len < 6 ? 2 : 3; /* over this it is another word */
    for (size_t i = 0; i < count && names[i]; i++) {
        unsigned d = distance(name, str_of(names[i]));
        if (d < best_distance || (d == best_distance && !best && d < name.len)) {
            best_distance = d;
            best = names[i];
        }
    }
    return best;
}

static void refuse_unknown(struct config_reader *reader, const struct config_map *map,
                           const struct config_node *node)
{
    const char *names[CONFIG_KEYS_MAX];
    /* Guessing costs: not for those that are counted alone. */
    size_t count = reader->report->mistakes < CONFIG_REPORT_MAX ? map->key_count : 0;
    for (size_t i = 0; i < count; i++) {
        names[i] = map->keys[i].name;
    }
    char quoted[CONFIG_QUOTE_MAX];
    const char *closest = config_closest(node->key, names, count);
    config_read_mistake(reader, node->key_place, "unknown key %s%s%s%s",
                        config_quote(node->key, quoted), closest ? "; did you mean \"" : "",
                        closest ? closest : "", closest ? "\"?" : "");
}

/* --- Reading by type --- */

static void read_value(struct config_reader *reader, const struct config_key *key,
                       const struct config_node *node, void *field)
{
    int err = node->kind != CONFIG_NODE_SCALAR || node->is_null
                  ? ERR_SYNTAX
                  : config_value_parse(key, node->text, reader->settings, field);
    if (err == ERR_NO_MEMORY) {
        reader->err = err;
    } else if (err) {
        config_read_expected_of(reader, key, node);
    }
}

/* False when node is not a list of fitting length; *out_items is NULL for an empty one. */
static bool make_items(struct config_reader *reader, const struct config_key *key,
                       const struct config_node *node, size_t size, void **out_items,
                       size_t *out_count)
{
    size_t count = 0;
    for (const struct config_node *child = node->first; child; child = child->next) {
        count++;
    }
    if (node->kind != CONFIG_NODE_LIST) {
        config_read_expected_of(reader, key, node);
        return false;
    }
    if (count < key->min || count > key->max) {
        size_t limit = (size_t)(count < key->min ? key->min : key->max);
        config_read_mistake(reader, node->place, "expected at %s %zu item%s, got %zu",
                            count < key->min ? "least" : "most", limit, limit == 1 ? "" : "s",
                            count);
        return false;
    }
    void *items = settings_array(reader->settings, count, size);
    if (!items) {
        reader->err = ERR_NO_MEMORY;
        return false;
    }
    *out_items = items;
    *out_count = count;
    return true;
}

static void read_item(struct config_reader *reader, const struct config_key *key,
                      const struct config_node *node, void *item)
{
    if (key->type == CONFIG_TEXTS) {
        struct config_key text = *key;
        text.type = CONFIG_TEXT;
        read_value(reader, &text, node, item);
    } else if (node->kind != CONFIG_NODE_MAP) {
        config_read_expected(reader, node, "a map");
    } else {
        config_read_map(reader, key->map, node, item);
    }
}

void config_read_list(struct config_reader *reader, const struct config_key *key,
                      const struct config_node *node, void *object)
{
    size_t size = key->type == CONFIG_TEXTS ? sizeof(struct str) : key->map->size;
    void *items;
    size_t count;
    if (node->is_null || !make_items(reader, key, node, size, &items, &count)) {
        return;
    }
    size_t i = 0;
    for (const struct config_node *child = node->first; child; child = child->next, i++) {
        size_t before = config_read_enter(reader, "[%zu]", i);
        read_item(reader, key, child, (uint8_t *)items + i * size);
        config_read_leave(reader, before);
    }
    memcpy((uint8_t *)object + key->offset, &items, sizeof(items));
    memcpy((uint8_t *)object + key->count_offset, &count, sizeof(count));
}

static void read_key(struct config_reader *reader, const struct config_key *key,
                     const struct config_node *node, uint8_t *object)
{
    switch (key->type) {
    case CONFIG_MAP: config_read_map(reader, key->map, node, object + key->offset); break;
    case CONFIG_MAPS:
    case CONFIG_TEXTS: config_read_list(reader, key, node, object); break;
    case CONFIG_CUSTOM: key->read(reader, key, node, object); break;
    default: read_value(reader, key, node, object + key->offset); break;
    }
}

static void read_member(struct config_reader *reader, const struct config_map *map,
                        const struct config_node *node, void *object,
                        const struct config_node **seen)
{
    size_t i = 0;
    while (i < map->key_count && !str_equal(node->key, str_of(map->keys[i].name))) {
        i++;
    }
    if (i == map->key_count) {
        if (!map->is_open) {
            refuse_unknown(reader, map, node);
        }
        return;
    }
    size_t before = config_read_enter(reader, "%s%s", reader->path_len > 0 ? "." : "",
                                      map->keys[i].name);
    if (seen[i]) {
        config_read_mistake(reader, node->key_place, "set twice; first on line %u",
                            seen[i]->key_place.line);
    } else {
        seen[i] = node;
        read_key(reader, &map->keys[i], node, object);
    }
    config_read_leave(reader, before);
}

void config_read_map(struct config_reader *reader, const struct config_map *map,
                     const struct config_node *node, void *object)
{
    ASSERT(map->key_count <= CONFIG_KEYS_MAX);
    const struct config_node *seen[CONFIG_KEYS_MAX] = {NULL};
    if (node->is_null) {
        return;
    }
    if (node->kind != CONFIG_NODE_MAP) {
        config_read_expected(reader, node, "a map");
        return;
    }
    for (const struct config_node *child = node->first; child; child = child->next) {
        read_member(reader, map, child, object, seen);
    }
    for (size_t i = 0; i < map->key_count; i++) {
        if (map->keys[i].required && !seen[i]) {
            config_read_mistake(reader, node->place, "\"%s\" is missing", map->keys[i].name);
        }
    }
    if (map->finish) {
        map->finish(reader, node, object);
    }
}
