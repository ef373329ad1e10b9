/* How an app's webhooks are read, and what must hold in each. */
#include "api/webhook_sign.h"
#include "app/config_material.h"
#include "app/config_read.h"

enum { DEFAULT_TIMEOUT_MS = 10 * 1000, DEFAULT_GIVE_UP_MS = 3600 * 1000 };

void config_events_read(struct config_reader *reader, const struct config_key *key,
                        const struct config_node *node, void *object)
{
    struct settings_webhook *webhook = object;
    config_bits_read(reader, node, settings_event_parse,
                     "session.opened, session.closed, user.online, user.offline, "
                     "message.undelivered, client.message",
                     &webhook->events);
}

void config_webhook_secret_finish(struct config_reader *reader, const struct config_node *node,
                                  void *object)
{
    const struct settings_secret *secret = object;
    config_cluster_secret_finish(reader, node, object);
    if (!webhook_secret_is_sound(secret->material)) {
        config_read_mistake(reader, node->place,
                            "expected Base64 of 24 bytes or more behind \"whsec_\"");
    }
}

void config_webhook_finish(struct config_reader *reader, const struct config_node *node,
                           void *object)
{
    struct settings_webhook *webhook = object;
    webhook->timeout_ms = webhook->timeout_ms ? webhook->timeout_ms : DEFAULT_TIMEOUT_MS;
    webhook->give_up_ms = webhook->give_up_ms ? webhook->give_up_ms : DEFAULT_GIVE_UP_MS;
    if (webhook->secret_count == 0 && config_tree_child(node, STR("secrets"))) {
        config_read_mistake(reader, node->place, "expected a secret in \"secrets\"");
    }
}
