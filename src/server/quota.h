/* What one app may use of this node, so that it can't use up what the others need: pushes a second,
 * sessions, and calls that wait for messages. The counts outlive a reload, which may change the
 * limits. Any thread. */
#ifndef TIDEGATE_SERVER_QUOTA_H
#define TIDEGATE_SERVER_QUOTA_H

#include "base/rate.h"
#include "core/settings.h"

struct quota {
    atomic_uint refs;
    struct rate pushes;
    atomic_uint_fast64_t sessions; /* counted without a limit too: a reload may bring one */
    atomic_uint_fast64_t waits;
};

/* With one reference; NULL when memory is out. */
struct quota *quota_create(void);
struct quota *quota_ref(struct quota *quota);
void quota_unref(struct quota *quota); /* NULL is fine */

/* One push; 0, or the seconds (at least 1) after which there may be one again. */
unsigned quota_take_push(struct quota *quota, const struct settings_quotas *limits,
                         uint64_t now_us);

/* False, and nothing is counted: the app has as many as it may. */
bool quota_take_session(struct quota *quota, const struct settings_quotas *limits);
void quota_give_session(struct quota *quota);

/* The same of calls that wait for messages; max is limits.message_waits. */
bool quota_take_wait(struct quota *quota, uint64_t max);
void quota_give_wait(struct quota *quota);

#endif
