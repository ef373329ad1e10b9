/* What the sources of tickets in the hub share; nobody else includes it.
 *   hub_tickets.c          the table, and what workers are told
 *   hub_ticket_claims.c    who has one, and the end
 *   hub_ticket_messages.c  what waits for one */
#ifndef TIDEGATE_CORE_HUB_TICKETS_PRIVATE_H
#define TIDEGATE_CORE_HUB_TICKETS_PRIVATE_H

#include "core/hub_private.h"

/* One that somebody has claimed, pushed to or ended, until it expires. */
struct hub_ticket {
    uint64_t key;
    struct kept_entry *claim; /* the one that binds it */
    struct kept_entry *end;
    struct kept_entry *first, *last; /* messages, in the order of their queue */
    struct kept_entry *unsent;       /* all before it were handed to the holder; NULL: all were */
    struct kept_entry *final;
    uint32_t message_count;
    uint32_t serial; /* of the holder: messages marked with it were handed to it */
    struct ticket_holder holder;
    bool has_holder; /* of this node */
    bool is_ready;
};

/* hub_tickets.c */
struct hub_ticket *ticket_find(const struct hub *hub, uint64_t key);
struct hub_ticket *ticket_find_or_add(struct hub *hub, uint64_t key); /* NULL: no memory */

/* Where nothing of it is kept all nodes see it as before. */
void ticket_remove_if_unused(struct hub *hub, struct hub_ticket *ticket);
void ticket_unlink_message(struct hub_ticket *ticket, struct kept_entry *entry);
bool ticket_is_holder(const struct hub_ticket *ticket, const struct ticket_holder *holder);

/* False: no memory; the message is still the caller's. */
bool ticket_tell(struct hub *hub, const struct ticket_holder *holder, enum ticket_news_kind kind,
                 struct message *message);
void ticket_drop_holder(struct hub *hub, struct hub_ticket *ticket, enum ticket_news_kind why);

/* What the holder does not have yet. Where memory is out it gets it at a tick. */
void ticket_hand_over(struct hub *hub, struct hub_ticket *ticket);

/* What an event in hand is kept as. */

#endif
