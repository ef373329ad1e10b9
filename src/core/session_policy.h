/* How many sessions a user may have in the whole cluster, and who goes when there is one too many:
 * the rules. How sessions learn of each other is in shard.h. Pure.
 *
 * Sessions of one user stand in an order that all nodes agree on: by the time at which they began,
 * as the node that has them says it, and then by a number that is the session's alone. A session
 * that names no device is of no other's device. */
#ifndef TIDEGATE_CORE_SESSION_POLICY_H
#define TIDEGATE_CORE_SESSION_POLICY_H

#include <stdbool.h>
#include <stdint.h>

#include "core/settings.h"

enum { SESSION_POLICY_MAX = 10000 /* the highest limit */ };

struct session_policy {
    uint16_t per_user;   /* 0: no limit */
    uint16_t per_device; /* 0: no limit */
    uint8_t on_excess;   /* enum settings_on_excess */
};

/* Where a session stands among its user's. */
struct session_rank {
    uint64_t opened_ms; /* wall */
    uint64_t tie;       /* no two sessions have the same */
};

/* Of what is counted beside one session: all, and those of its own device. */
struct session_count {
    uint32_t all;
    uint32_t same_device;
};

/* What the app's settings come to. */
struct session_policy session_policy_of(const struct settings_sessions *settings);

static inline bool session_policy_is_on(const struct session_policy *policy)
{
    return policy->per_user || policy->per_device;
}

/* Whether it matters how many there are when one more comes. */
bool session_policy_asks_first(const struct session_policy *policy);

/* Whether the one that comes must go again; older: those that were there before it. */
bool session_policy_rejects(const struct session_policy *policy, struct session_count older);

/* Whether one that is there must go; younger: those that came after it. */
bool session_policy_evicts(const struct session_policy *policy, struct session_count younger);

static inline bool session_rank_is_younger(const struct session_rank *a,
                                           const struct session_rank *b)
{
    return a->opened_ms != b->opened_ms ? a->opened_ms > b->opened_ms : a->tie > b->tie;
}

#endif
