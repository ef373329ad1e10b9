/* Of the messages of one collapse key to the same targets a session that comes back needs the
 * newest alone. The hub knows it; the one before is marked, and replays pass it over. */
#include "core/hub_private.h"

/* Without memory an older one is replayed, too. */
void hub_supersede(struct hub *hub, struct message *message)
{
    uint64_t *newest = u64map_put(&hub->collapses, event_collapse_key(&message->event));
    if (!newest) {
        return;
    }
    if (*newest) {
        message_add_fate((struct message *)(uintptr_t)*newest, MESSAGE_IS_SUPERSEDED);
    }
    *newest = (uint64_t)(uintptr_t)message;
}

/* It leaves the window. */
void hub_forget_collapse(struct hub *hub, const struct message *message)
{
    if (message->event.collapse.len == 0) {
        return;
    }
    uint64_t key = event_collapse_key(&message->event);
    const uint64_t *newest = u64map_find(&hub->collapses, key);
    if (newest && *newest == (uint64_t)(uintptr_t)message) {
        u64map_remove(&hub->collapses, key);
        u64map_shrink(&hub->collapses);
    }
}
