/* Which users are online in the cluster, with a grace time, and who tells an app of a change.
 *
 * A node says on a user's queue when its first session of the user begins and its last one ends
 * (EVENT_PRESENCE); all nodes keep the same table of who said so. A user whom no node has any more
 * stays online for the grace time of the app, so that a reload or another node is no change. Then,
 * or when a user comes of whom nobody knew, it is a change, which every node sees and one tells:
 * the first by rendezvous hashing of those whose table is complete (beacons say so). It says on the
 * queue that it did. Where that doesn't come, another node tells: what is the case is told at least
 * once, and once in quiet times. What has changed again before that is left out.
 *
 * A node that dies has its users for PRESENCE_GONE_GRACE_MS more, once it is known to be gone. A
 * node that is cut off from the bus tells nothing: its graces stand still.
 *
 * A node that sees another for the first time, or may have missed something of it, asks it for its
 * users; the answer, in pieces, replaces what was known. Nothing is said for apps that don't ask.
 *
 * Part of the cluster: runs where that runs, but for what says "any thread". */
#ifndef TIDEGATE_CORE_PRESENCE_H
#define TIDEGATE_CORE_PRESENCE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/mail.h"
#include "base/str.h"

struct cluster;

enum {
    PRESENCE_GONE_GRACE_MS = 2000, /* at least, for the users of a node that is gone */
    PRESENCE_STEP = 5000,          /* users told in a tick to who asks */
};

/* A change that this node tells. */
struct presence_change {
    bool is_online;
    uint32_t app; /* target_app_hash */
    struct str user;
    uint32_t boot; /* with serial: the name of this time online among the nodes */
    uint64_t serial;
    uint64_t since_ms;     /* wall: online since then */
    uint64_t last_seen_ms; /* wall: the last session ended; meaningful when offline */
};

/* A worker has its first session of a user, or no more. */
struct presence_note {
    struct mail mail;        /* to the bus thread; run is set by who posts it */
    struct cluster *cluster; /* the poster's */
    uint64_t key;            /* target_key of the user */
    uint32_t app;
    uint32_t grace_ms;
    uint16_t worker; /* its index, below HUB_MAX_WORKERS */
    bool is_there;
    uint16_t len; /* of the user; 0 will do when it is gone */
    char user[];
};

struct presence_note *presence_note_create(uint64_t key, struct str user);
void presence_note_destroy(struct presence_note *note);

struct presence_state {
    bool has_sessions; /* else it is in its grace time */
    uint64_t since_ms;
    uint64_t last_seen_ms;
};

/* Takes the note. */
void presence_take_note(struct cluster *cluster, struct presence_note *note);

/* Whether some app asks; how many users of the cluster are kept at most. Before, and when it is
 * off, the node follows nobody. */
void presence_set(struct cluster *cluster, bool is_on, uint64_t max_users);

/* Any thread. False: offline, or its app does not ask. */
bool presence_find(struct cluster *cluster, uint64_t key, struct presence_state *out_state);
/* Any thread: for metrics. */
uint64_t presence_users(struct cluster *cluster);

#endif
