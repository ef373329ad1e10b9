#include "app/config_rules.h"

#include <stdio.h>

#include "app/config_metrics.h"
#include "bus/bus.h"
#include "server/cluster_keys.h"

struct rules {
    struct config_reader *reader;
    const struct config_tree *tree;
    const struct settings *settings;
};

static void mistake(const struct rules *rules, const char *path, bool is_warning, const char *text)
{
    const struct config_node *node = config_tree_find(rules->tree, str_of(path));
    config_report_add(rules->reader->report, is_warning,
                      node ? node->place : (struct config_place){0}, str_of(path), "%s", text);
}

static bool has_key_with(const struct settings *settings, uint32_t scopes)
{
    for (size_t i = 0; i < settings->app_count; i++) {
        const struct settings_app *app = &settings->apps[i];
        for (size_t k = 0; k < app->api_key_count; k++) {
            if (app->api_keys[k].scopes & scopes) {
                return true;
            }
        }
    }
    return false;
}

static void check_listeners(const struct rules *rules)
{
    const struct settings_listen *listen = &rules->settings->listen;
    if (!config_address_is_local(listen->api) && !has_key_with(rules->settings, UINT32_MAX)) {
        mistake(rules, "listen.api", false,
                "expected an address on loopback (127.0.0.1, [::1]), as no app has api_keys");
    }
    if (!config_address_is_local(listen->admin) &&
        !has_key_with(rules->settings, SETTINGS_SCOPE_ADMIN)) {
        mistake(rules, "listen.admin", false,
                "expected an address on loopback (127.0.0.1, [::1]), as no API key has the scope "
                "admin");
    }
}

static void check_debug(const struct rules *rules)
{
    const struct settings *settings = rules->settings;
    if (config_address_is_local(settings->listen.client)) {
        return;
    }
    const char *text = "expected false, as listen.client is not on loopback (127.0.0.1, [::1])";
    if (settings->debug.echo) {
        mistake(rules, "debug.echo", false, text);
    }
    if (settings->debug.demo) {
        mistake(rules, "debug.demo", false, text);
    }
}

static void check_limits(const struct rules *rules)
{
    const struct settings_limits *limits = &rules->settings->limits;
    if (limits->header_line_bytes > limits->header_bytes) {
        mistake(rules, "limits.header_line", false, "expected at most limits.header");
    }
    if (limits->message_bytes > limits->session_queue_bytes) {
        mistake(rules, "limits.message", true,
                "larger than limits.session_queue: the largest messages reach only clients that "
                "read at once");
    }
    if (limits->message_bytes > limits->body_bytes) {
        mistake(rules, "limits.message", true,
                "larger than limits.body: the largest messages can't be pushed");
    }
    if (limits->message_bytes > rules->settings->window.max_bytes / 4) {
        mistake(rules, "limits.message", false, "expected at most a quarter of window.max_bytes");
    }
}

/* Without one, each node would draw its own: no grant of one would hold on another, and each would
 * look for other keys than the rest. */
static void check_shared_secret(const struct rules *rules)
{
    const struct bus_engine *engine = bus_engine_find(rules->settings->bus.engine);
    if (engine->nodes && rules->settings->cluster.secret_count == 0) {
        char text[256];
        snprintf(text, sizeof(text),
                 "the engine %s needs a secret that all nodes share: make a file with "
                 "`openssl rand -hex 32`, and name it in an item with \"id\" and \"file\"",
                 engine->name);
        mistake(rules, "cluster.secrets", false, text);
    }
}

static void check_secret_ids(const struct rules *rules)
{
    const struct settings_cluster *cluster = &rules->settings->cluster;
    if (cluster->secret_count == 2 && cluster->secrets[0].id.len > 0 &&
        str_equal(cluster->secrets[0].id, cluster->secrets[1].id)) {
        mistake(rules, "cluster.secrets", false, "expected two different ids");
    }
}

/* Events say by a few bits of it whose keys theirs are. */
static void check_secret_tags(const struct rules *rules)
{
    const struct settings_cluster *cluster = &rules->settings->cluster;
    if (cluster->secret_count == 2 && cluster->secrets[0].material.len > 0 &&
        cluster->secrets[1].material.len > 0 &&
        cluster_keys_tag(cluster->secrets[0].material) ==
            cluster_keys_tag(cluster->secrets[1].material)) {
        mistake(rules, "cluster.secrets", false,
                "the two secrets look alike to the nodes (one pair in 64 does): make another with "
                "`openssl rand -hex 32`");
    }
}

static void check_app_names(const struct rules *rules)
{
    const struct settings *settings = rules->settings;
    for (size_t i = 0; i < settings->app_count; i++) {
        struct str name = settings->apps[i].name;
        if (name.len > 0 && settings_find_app(settings, name) != &settings->apps[i]) {
            mistake(rules, "apps", false, "two apps have the same name");
        }
    }
}

static bool is_known_hash(const struct settings *settings, size_t app_index, size_t key_index)
{
    const uint8_t *hash = settings->apps[app_index].api_keys[key_index].hash;
    for (size_t i = 0; i <= app_index; i++) {
        const struct settings_app *app = &settings->apps[i];
        size_t count = i == app_index ? key_index : app->api_key_count;
        for (size_t k = 0; k < count; k++) {
            if (memcmp(app->api_keys[k].hash, hash, sizeof(app->api_keys[k].hash)) == 0) {
                return true;
            }
        }
    }
    return false;
}

/* A key says which app it is for, so one key can't be for two. */
static void check_key_hashes(const struct rules *rules)
{
    static const uint8_t unset[32];
    const struct settings *settings = rules->settings;
    for (size_t i = 0; i < settings->app_count; i++) {
        for (size_t k = 0; k < settings->apps[i].api_key_count; k++) {
            const uint8_t *hash = settings->apps[i].api_keys[k].hash;
            if (memcmp(hash, unset, sizeof(unset)) != 0 && is_known_hash(settings, i, k)) {
                mistake(rules, "apps", false, "two API keys have the same hash");
            }
        }
    }
}

void config_rules_check(struct config_reader *reader, const struct config_tree *tree)
{
    const struct rules rules = {reader, tree, reader->settings};
    check_listeners(&rules);
    check_debug(&rules);
    check_limits(&rules);
    check_shared_secret(&rules);
    check_secret_ids(&rules);
    check_secret_tags(&rules);
    check_app_names(&rules);
    check_key_hashes(&rules);
    config_metrics_check(reader, tree);
}
