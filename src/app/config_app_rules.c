/* What must hold between the keys of one app. */
#include "app/config_material.h"
#include "app/config_read.h"

enum { DEFAULT_GRACE_MS = 10 * 1000 };

void config_trusted_header_finish(struct config_reader *reader, const struct config_node *node,
                                  void *object)
{
    struct settings_trusted_header *header = object;
    if (header->name.len > 0 && header->from_count == 0) {
        config_read_mistake(reader, node->place,
                            "expected \"from\" with the proxy's addresses beside \"name\"");
    }
}

void config_auth_finish(struct config_reader *reader, const struct config_node *node, void *object)
{
    struct settings_auth *auth = object;
    if (auth->cookie.len > 0 && auth->jwt.key_count == 0) {
        config_read_mistake(reader, config_tree_place(node, STR("cookie")),
                            "a cookie carries a token: expected jwt.keys to verify it with");
    }
}

void config_sessions_finish(struct config_reader *reader, const struct config_node *node,
                            void *object)
{
    const struct settings_sessions *sessions = object;
    if (sessions->on_excess == SETTINGS_EXCESS_SAME_DEVICE && sessions->per_device > 1) {
        config_read_mistake(reader, config_tree_place(node, STR("per_device")),
                            "with on_excess: same_device a device has one session: expected 1");
    }
}

static bool has_origin(const struct settings_app *app, struct str origin)
{
    for (size_t i = 0; i < app->origin_count; i++) {
        if (str_equal(app->origins[i], origin)) {
            return true;
        }
    }
    return false;
}

/* Browsers send cookies along from any page: without a list of pages, every page in the world could
 * act for the user. */
static void check_cookie_origins(struct config_reader *reader, const struct config_node *node,
                                 const struct settings_app *app)
{
    if (app->auth.cookie.len == 0) {
        return;
    }
    if (app->origin_count == 0 || has_origin(app, STR("*"))) {
        config_read_mistake(reader, config_tree_place(node, STR("origins")),
                            "auth.cookie needs \"origins\" that names the pages, without \"*\"");
    }
}

static void check_key_names(struct config_reader *reader, const struct config_node *node,
                            const struct settings_app *app)
{
    for (size_t i = 0; i < app->api_key_count; i++) {
        for (size_t j = 0; j < i; j++) {
            struct str name = app->api_keys[i].name;
            if (name.len > 0 && str_equal(name, app->api_keys[j].name)) {
                config_read_mistake(reader, config_tree_place(node, STR("api_keys")),
                                    "two keys are named \"%.*s\"", STR_ARG(name));
            }
        }
    }
}

static void check_kids(struct config_reader *reader, const struct config_node *node,
                       const struct settings_jwt *jwt)
{
    for (size_t i = 0; i < jwt->key_count; i++) {
        for (size_t j = 0; j < i; j++) {
            struct str kid = jwt->keys[i].kid;
            if (kid.len > 0 && str_equal(kid, jwt->keys[j].kid)) {
                char quoted[CONFIG_QUOTE_MAX];
                config_read_mistake(reader, config_tree_place(node, STR("auth")),
                                    "two keys in auth.jwt.keys have the kid %s",
                                    config_quote(kid, quoted));
            }
        }
    }
}

static bool says_grace(const struct config_node *node)
{
    const struct config_node *presence = config_tree_child(node, STR("presence"));
    return presence && config_tree_child(presence, STR("grace"));
}

void config_app_finish(struct config_reader *reader, const struct config_node *node, void *object)
{
    struct settings_app *app = object;
    for (size_t i = 0; i < app->webhook_count; i++) {
        app->webhook_events |= app->webhooks[i].events;
    }
    app->presence.enabled |= (app->webhook_events &
                              (SETTINGS_EVENT_USER_ONLINE | SETTINGS_EVENT_USER_OFFLINE)) != 0;
    if (!says_grace(node)) {
        app->presence.grace_ms = DEFAULT_GRACE_MS;
    }
    check_cookie_origins(reader, node, app);
    check_key_names(reader, node, app);
    check_kids(reader, node, &app->auth.jwt);
}
