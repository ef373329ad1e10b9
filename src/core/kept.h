/* What must outlive the window: revocations, and the life of tickets (who claimed one, that it is
 * over, results that wait for it). Each entry is an event as it first came, with its first position
 * and an expiry. The hub keeps them as they arrive (hub_kept.c), and the cluster's first node
 * publishes each again, under the same id, before the last copy of it would leave the window: so a
 * node that starts later reads it back with the window. A repeat changes nothing for who knows it.
 *
 * An entry is known by its kind, its key (target_key of what it is about) and the event's id.
 * Memory is bounded by app, in three budgets, so that neither results that wait nor the traffic of
 * tickets keep a token from being revoked. A publisher asks kept_reserve before it publishes, and
 * is refused when that is over the budget; what is on the bus already is taken up to twice the
 * budget, since all nodes reserve without knowing of each other.
 *
 * To keep another kind of event: give it an id of its own, an expiry (time_ms + header.ttl_ms) and
 * a line in the table of hub_kept.c. Its event goes the usual way to all workers it concerns, and,
 * where it is told again and the node does not know it, once more, with EVENT_IS_AGAIN. A publish
 * of it says so by publish->keeps, which makes hub_publish ask for room (ERR_TOO_MANY).
 *
 * Belongs to whoever is inside the hub's gate. Times are arguments: now_ms monotonic, wall_ms. */
#ifndef TIDEGATE_CORE_KEPT_H
#define TIDEGATE_CORE_KEPT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/siphash.h"
#include "base/timer_wheel.h"
#include "core/message.h"

struct kept; /* kept.c */

enum kept_kind {
    KEPT_REVOCATION, /* no user; expires by itself */
    KEPT_CLAIM,
    KEPT_END,
    KEPT_RESULT, /* a message to a ticket */
    KEPT_VOID,   /* and that one was cancelled */
    KEPT_KINDS,
};

enum kept_budget {
    KEPT_RESULTS,
    KEPT_TICKETS, /* claims, ends, and what was cancelled */
    KEPT_OTHERS,
    KEPT_BUDGETS,
};

enum {
    KEPT_RESULT_BYTES = 64 * 1024 * 1024, /* of an app, if the options say 0 */
    KEPT_TICKET_BYTES = 16 * 1024 * 1024,
    KEPT_OTHER_BYTES = 16 * 1024 * 1024,
};

struct kept_entry {
    enum kept_kind kind;
    uint64_t key;
    uint64_t expires_ms;     /* wall */
    struct message *message; /* its position is the first one */
    void *owner;             /* with the next three, of who uses the kind; 0 at first */
    struct kept_entry *next, *prev;
    uint32_t mark;
    /* The store's. */
    struct kept_entry *newer, *older; /* by when it was looked at last */
    uint64_t seen_ms;                 /* the bus got its newest copy */
    uint64_t looked_ms;
    uint64_t place;
    struct kept *kept;
    struct timer timer;
};

struct kept_options {
    uint64_t budgets[KEPT_BUDGETS]; /* bytes of an app; 0: as above */
    struct siphash_key hash_key;
    uint64_t now_ms;
    /* The entry expires now and is dropped behind it. NULL is fine. */
    void (*on_expire)(void *owner, struct kept_entry *entry);
    void *owner;
};

enum kept_verdict {
    KEPT_NEW,
    KEPT_KNOWN,
    KEPT_EXPIRED, /* already */
    KEPT_FULL,
    KEPT_NO_MEMORY,
};

/* Read by any thread (relaxed). */
struct kept_stats {
    atomic_uint_fast64_t entries[KEPT_KINDS];
    atomic_uint_fast64_t bytes[KEPT_BUDGETS];
    atomic_uint_fast64_t refused[KEPT_BUDGETS]; /* publishes, by kept_reserve */
    atomic_uint_fast64_t lost;  /* from the bus: over twice the budget, or memory was out */
    atomic_uint_fast64_t again; /* entries published again */
};

int kept_create(struct kept **out_kept, const struct kept_options *options);
void kept_destroy(struct kept *kept);
struct kept_stats *kept_get_stats(struct kept *kept);

/* An event to be kept; borrowed, and copied where it is new. */
struct kept_offer {
    struct str encoded;
    const struct event *event; /* decoded from it */
    uint32_t queue;
    struct bus_pos first; /* where it stood first */
    enum kept_kind kind;
    uint64_t key;
    uint64_t expires_ms; /* wall */
    uint64_t now_ms, wall_ms;
    uint64_t age_ms; /* of this copy on the bus: not 0 while a start reads back */
    bool is_due;     /* so old that it is to be told again at once */
};

/* The entry is in *out_entry when it is new or known. A known one counts as seen. */
enum kept_verdict kept_take(struct kept *kept, const struct kept_offer *offer,
                            struct kept_entry **out_entry);

/* NULL when there is none. */
struct kept_entry *kept_find(const struct kept *kept, enum kept_kind kind, uint64_t key,
                             struct str id);

/* It is over before its time. */
void kept_drop(struct kept *kept, struct kept_entry *entry);

/* What an event of so many bytes, for one target, takes of a budget. */
uint64_t kept_bytes(size_t encoded_len);

/* Whether that much more may be published; if so it is set aside until kept_release, which its
 * publisher calls once it came back or failed. */
bool kept_reserve(struct kept *kept, enum kept_budget budget, uint32_t app, uint64_t bytes);
void kept_release(struct kept *kept, enum kept_budget budget, uint32_t app, uint64_t bytes);

/* What expires does so now. */
void kept_advance(struct kept *kept, uint64_t now_ms);

/* What the bus got interval_ms ago or longer and lives on when the window, which keeps it for
 * retain_ms, has lost it. Not due for another interval, in which it should come back. NULL: none.
 */
struct kept_entry *kept_next_due(struct kept *kept, uint64_t now_ms, uint64_t wall_ms,
                                 uint64_t interval_ms, uint64_t retain_ms);

/* The bus did not take it: it is due as before, if it is still there. place: the entry's. */
void kept_not_told(struct kept *kept, uint64_t place);

#endif
