/* The walk over the schema, and the reference page, which is one such walk. */
#include <stdio.h>

#include "app/config_bus.h"
#include "app/config_env.h"
#include "app/config_schema.h"
#include "base/err.h"

enum { PATH_BYTES = 128 };

struct walk {
    config_visit_cb *visit;
    void *arg;
};

static bool walk_map(const struct walk *walk, const struct config_map *map, const char *parent,
                     size_t offset, bool in_list)
{
    for (size_t i = 0; i < map->key_count; i++) {
        const struct config_key *key = &map->keys[i];
        char path[PATH_BYTES];
        snprintf(path, sizeof(path), "%s%s%s%s", parent, parent[0] ? "." : "", key->name,
                 key->type == CONFIG_MAPS ? "[]" : "");
        struct config_visit visit = {path, in_list, offset + key->offset, key};
        if (walk->visit(walk->arg, &visit)) {
            return true;
        }
        bool is_list = key->type == CONFIG_MAPS;
        if (key->map &&
            walk_map(walk, key->map, path, is_list ? 0 : visit.offset, in_list || is_list)) {
            return true;
        }
    }
    return false;
}

bool config_schema_visit(config_visit_cb *visit, void *arg)
{
    const struct walk walk = {visit, arg};
    return walk_map(&walk, &config_schema, "", 0, false);
}

bool config_visit_is_single(const struct config_visit *visit)
{
    return !visit->in_list && visit->key->type <= CONFIG_CHOICE;
}

static const char table_head[] = "| key | default | expected | meaning |\n|---|---|---|---|\n";

static const char preamble[] =
    "# Configuration\n\n"
    "`tidegate serve --config FILE` reads one YAML file; `tidegate check FILE` says what is wrong "
    "with it, with\nline, column and key. `config/tidegate.yaml` is the same list as a commented "
    "file to start from.\n\n"
    "- Sizes: `B`, `KiB`, `MiB`, `GiB`, `TiB`; a bare number is bytes. Times: `ms`, `s`, `m`, `h`, `d`. "
    "Whole numbers only.\n"
    "- Unknown and repeated keys are mistakes. Anchors, aliases and tags are not supported.\n"
    "- A single value outside lists can be set by an environment variable, which wins over the "
    "file:\n  `TIDEGATE_LIMITS_MESSAGE=1MiB` is `limits.message`. An unknown `TIDEGATE_` variable "
    "is a mistake.\n"
    "- What 0 means may be written in its place: `sessions: no limit`.\n"
    "- File names start at the folder of the configuration. The files are read when the "
    "configuration is.\n"
    "- SIGHUP reads everything again. A file with mistakes changes nothing, and so does one that "
    "changes a\n  key marked *needs a restart*; the log says which.\n\n";

struct page {
    struct buf *out;
    const struct settings *defaults;
    const struct config_map *section; /* the one whose rows are being written */
};

static void append_default(const struct page *page, const struct config_visit *visit)
{
    struct buf value = {0};
    config_value_format(visit->key, (const uint8_t *)page->defaults + visit->offset, &value);
    buf_printf(page->out, "| `%s` | ", value.len > 0 ? buf_cstr(&value) : "\"\"");
    if (buf_err(&value)) {
        page->out->err = buf_err(&value);
    }
    buf_fini(&value);
}

static void append_row(const struct page *page, const struct config_visit *visit)
{
    struct buf *out = page->out;
    const struct config_key *key = visit->key;
    buf_printf(out, "| `%s` ", visit->path);
    if (config_visit_is_single(visit)) {
        append_default(page, visit);
    } else if (key->example) {
        buf_printf(out, "| %s`%s` | ", key->required ? "required, like " : "like ", key->example);
    } else {
        buf_append_str(out, STR("| | "));
    }
    config_key_expected(key, out);
    buf_printf(out, " | %s%s |\n", key->help, key->needs_restart ? " *Needs a restart.*" : "");
}

static void append_section(struct buf *out, const struct config_visit *visit)
{
    buf_printf(out, "\n## `%s`\n\n%s\n\n%s", visit->path, visit->key->help, table_head);
}

static void append_sentence(struct buf *out, struct str text)
{
    bool has_end = str_ends_with(text, STR("."));
    buf_printf(out, " | %.*s%s", STR_ARG(text), has_end ? "" : ".");
}

static void append_option(struct buf *out, const struct bus_option *option)
{
    const struct config_key key = config_bus_key(option);
    buf_printf(out, "| `bus.%s` | ", option->name);
    if (option->initial) {
        buf_printf(out, "`%s` ", option->initial[0] ? option->initial : "\"\"");
    } else if (option->example) {
        buf_printf(out, "%s`%s` ", option->required ? "required, like " : "like ", option->example);
    }
    buf_append_str(out, STR("| "));
    config_key_expected(&key, out);
    append_sentence(out, str_of(option->help));
    if (option->type == BUS_OPTION_SECRET) {
        buf_printf(out, " Or `bus.%s_file`: a file that holds it.", option->name);
    }
    buf_append_str(out, STR(" *Needs a restart.* |\n"));
}

/* A table for each engine that has keys of its own. */
static void append_engines(struct buf *out)
{
    const struct bus_engine *engine;
    for (size_t i = 0; (engine = bus_engine_at(i)); i++) {
        if (engine->option_count > 0) {
            buf_printf(out, "\n### With `engine: %s`\n\nSee [bus-%s.md](bus-%s.md).\n\n%s",
                       engine->name, engine->name, engine->name, table_head);
        }
        for (size_t k = 0; k < engine->option_count; k++) {
            append_option(out, &engine->options[k]);
        }
    }
}

static bool append_visit(void *arg, const struct config_visit *visit)
{
    struct page *page = arg;
    if (visit->key->map && !strchr(visit->path, '.')) {
        if (page->section == &config_schema_bus) {
            append_engines(page->out);
        }
        page->section = visit->key->map;
        append_section(page->out, visit);
    } else if (visit->key->type != CONFIG_MAP) {
        append_row(page, visit);
    }
    return false;
}

int config_schema_markdown(struct buf *out)
{
    struct settings *defaults;
    int err = settings_create_default(&defaults);
    if (err) {
        return err;
    }
    struct page page = {out, defaults, NULL};
    buf_append_str(out, str_of(preamble));
    buf_append_str(out, str_of(table_head));
    config_schema_visit(append_visit, &page);
    settings_unref(defaults);
    return buf_err(out);
}
