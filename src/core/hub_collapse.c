/* Of the messages of one collapse key to the same sessions one that comes back needs the newest
 * alone. The hub marks those before, which replays pass over, unless they are in force for longer:
 * behind a message without a ttl one of a few seconds may come, and go. So two of a key are known:
 * the one that lasts longest, and the newest, if that is another. */
#include "core/hub_private.h"

/* Of the newest, where it does not last longest. Collapse keys are odd: this is no other's. */
static uint64_t brief_key(uint64_t key)
{
    return key ^ 1;
}

static struct message *known(const struct hub *hub, uint64_t key)
{
    const uint64_t *place = u64map_find(&hub->collapses, key);
    return place ? (struct message *)(uintptr_t)*place : NULL;
}

/* Without memory the one before is replayed, too. */
static void remember(struct hub *hub, uint64_t key, struct message *message)
{
    uint64_t *place = u64map_put(&hub->collapses, key);
    if (place) {
        *place = (uint64_t)(uintptr_t)message;
    }
}

static bool lasts_as_long_as(const struct message *message, const struct message *other)
{
    return !message->expires_ms || (other->expires_ms && other->expires_ms <= message->expires_ms);
}

/* True: there is none, or it is marked. */
static bool supersede(struct message *older, const struct message *message)
{
    if (older && !lasts_as_long_as(message, older)) {
        return false;
    }
    if (older) {
        message_add_fate(older, MESSAGE_IS_SUPERSEDED);
    }
    return true;
}

void hub_supersede(struct hub *hub, struct message *message)
{
    uint64_t key = event_collapse_key(&message->event);
    struct message *brief = known(hub, brief_key(key));
    bool supersedes_brief = supersede(brief, message);
    if (!supersede(known(hub, key), message)) {
        remember(hub, brief_key(key), message);
        return;
    }
    remember(hub, key, message);
    if (brief && supersedes_brief) {
        u64map_remove(&hub->collapses, brief_key(key));
    }
}

static void forget(struct hub *hub, uint64_t key, const struct message *message)
{
    if (known(hub, key) == message) {
        u64map_remove(&hub->collapses, key);
        u64map_shrink(&hub->collapses);
    }
}

/* It leaves the window. */
void hub_forget_collapse(struct hub *hub, const struct message *message)
{
    if (message->event.collapse.len) {
        uint64_t key = event_collapse_key(&message->event);
        forget(hub, key, message);
        forget(hub, brief_key(key), message);
    }
}
