#include "app/config.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "app/config_bus.h"
#include "app/config_env.h"
#include "app/config_read.h"
#include "app/config_rules.h"
#include "base/err.h"
#include "base/siphash.h"

extern char **environ;

/* With its slash at the end; "" when the file is named without a folder. */
static struct str folder_of(struct str file)
{
    const char *slash = file.len > 0 ? memrchr(file.ptr, '/', file.len) : NULL;
    return slash ? str_make(file.ptr, (size_t)(slash - file.ptr) + 1) : STR("");
}

/* stat is NULL when the text is no file's. */
static int parse(struct settings **out_settings, struct str yaml, char *const *env,
                 struct config_report *report, const struct stat *stat)
{
    struct config_tree tree = {0};
    struct config_reader reader = {.report = report, .folder = folder_of(report->file)};
    int err = settings_create_default(&reader.settings);
    if (err) {
        return err;
    }
    err = config_tree_parse(&tree, yaml, report);
    if (!err && tree.root) {
        config_read_map(&reader, &config_schema, tree.root, reader.settings);
    }
    if (!err) {
        config_env_apply(&reader, env);
        config_bus_read(&reader, &tree, env);
        config_rules_check(&reader, &tree);
    }
    if (reader.has_inline_secret && stat && (stat->st_mode & (S_IRGRP | S_IROTH))) {
        config_report_add(report, true, (struct config_place){0}, STR(""),
                          "holds secrets, and others than the owner may read it (mode %03o)",
                          stat->st_mode & 0777);
    }
    config_tree_fini(&tree);
    err = err ? err : reader.err ? reader.err : report->err;
    if (err || report->mistakes > 0) {
        settings_unref(reader.settings);
        return err ? err : ERR_SYNTAX;
    }
    *out_settings = reader.settings;
    return 0;
}

int config_parse(struct settings **out_settings, struct str yaml, char *const *env,
                 struct config_report *report)
{
    return parse(out_settings, yaml, env, report, NULL);
}

/* Reads no more than one byte over the limit, which is what tells that it is too large. */
static int read_text(int fd, struct buf *out)
{
    while (out->len <= CONFIG_TREE_MAX_BYTES) {
        uint8_t *room = buf_reserve(out, 16384);
        if (!room) {
            return buf_err(out);
        }
        ssize_t len = read(fd, room, 16384);
        if (len < 0 && errno == EINTR) {
            continue;
        }
        if (len <= 0) {
            return len < 0 ? -errno : 0;
        }
        out->len += (size_t)len;
    }
    return 0;
}

/* For comparing: the same on every node, and exact as a double. */
static uint64_t hash_of(struct str text)
{
    static const struct siphash_key open = {0, 0};
    return siphash(&open, text.ptr, text.len) >> 16;
}

static int load_file(struct settings **out_settings, const char *path, struct config_report *report,
                     struct buf *text)
{
    struct stat info;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    int err = fd < 0 || fstat(fd, &info) != 0 ? -errno : read_text(fd, text);
    if (fd >= 0) {
        close(fd);
    }
    if (err) {
        if (err != ERR_NO_MEMORY) {
            config_report_add(report, false, (struct config_place){0}, STR(""), "can't be read: %s",
                              err_str(err));
        }
        return err;
    }
    err = parse(out_settings, buf_str(text), environ, report, &info);
    if (!err) {
        (*out_settings)->hash = hash_of(buf_str(text));
    }
    return err;
}

int config_load_report(struct settings **out_settings, const char *path,
                       struct config_report *report)
{
    if (!path) {
        return parse(out_settings, STR(""), environ, report, NULL);
    }
    struct buf text = {0};
    int err = load_file(out_settings, path, report, &text);
    if (text.data) {
        explicit_bzero(text.data, text.len);
    }
    buf_fini(&text);
    return err;
}

int config_load(struct settings **out_settings, const char *path, struct buf *remarks)
{
    struct config_report report;
    config_report_init(&report, path ? str_of(path) : STR("configuration"));
    int err = config_load_report(out_settings, path, &report);
    config_report_lines(&report, remarks);
    config_report_fini(&report);
    return err;
}

struct difference {
    const uint8_t *old_settings;
    const uint8_t *new_settings;
    struct buf *out;
    bool has_one;
};

static bool differs(const struct config_visit *visit, const uint8_t *a, const uint8_t *b)
{
    switch (visit->key->type) {
    case CONFIG_TEXT: return !str_equal(*(const struct str *)a, *(const struct str *)b);
    case CONFIG_BOOL: return *(const bool *)a != *(const bool *)b;
    case CONFIG_CHOICE: return *(const int *)a != *(const int *)b;
    default: return *(const uint64_t *)a != *(const uint64_t *)b;
    }
}

static void append_name(struct difference *difference, const char *start, const char *name)
{
    buf_printf(difference->out, "%s%s%s", difference->has_one ? ", " : "", start, name);
    difference->has_one = true;
}

static bool append_difference(void *arg, const struct config_visit *visit)
{
    struct difference *difference = arg;
    if (config_visit_is_single(visit) && visit->key->needs_restart &&
        differs(visit, difference->old_settings + visit->offset,
                difference->new_settings + visit->offset)) {
        append_name(difference, "", visit->path);
    }
    return false;
}

static bool secrets_differ(const struct settings_cluster *a, const struct settings_cluster *b)
{
    bool differ = a->secret_count != b->secret_count;
    for (size_t i = 0; i < a->secret_count && !differ; i++) {
        differ = !str_equal(a->secrets[i].id, b->secrets[i].id) ||
                 !str_equal(a->secrets[i].material, b->secrets[i].material);
    }
    return differ;
}

/* Of another engine it is said already that the engine is another. */
static void append_bus_differences(struct difference *difference, const struct settings_bus *a,
                                   const struct settings_bus *b)
{
    const struct bus_engine *engine = bus_engine_find(a->engine);
    if (!str_equal(a->engine, b->engine) || !a->values || !b->values) {
        return;
    }
    for (size_t i = 0; i < engine->option_count; i++) {
        if (!config_bus_equal(&a->values[i], &b->values[i])) {
            append_name(difference, "bus.", engine->options[i].name);
        }
    }
}

void config_reload_diff(const struct settings *old_settings, const struct settings *new_settings,
                        struct buf *needs_restart)
{
    struct difference difference = {(const uint8_t *)old_settings, (const uint8_t *)new_settings,
                                    needs_restart, false};
    config_schema_visit(append_difference, &difference);
    append_bus_differences(&difference, &old_settings->bus, &new_settings->bus);
    if (secrets_differ(&old_settings->cluster, &new_settings->cluster)) {
        append_name(&difference, "", "cluster.secrets");
    }
}
