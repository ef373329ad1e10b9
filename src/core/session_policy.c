#include "core/session_policy.h"

static uint16_t to_limit(uint64_t value)
{
    return (uint16_t)(value < SESSION_POLICY_MAX ? value : SESSION_POLICY_MAX);
}

/* A device that takes the place of its older self has one session. */
struct session_policy session_policy_of(const struct settings_sessions *settings)
{
    struct session_policy policy = {.per_user = to_limit(settings->per_user),
                                    .per_device = to_limit(settings->per_device),
                                    .on_excess = (uint8_t)settings->on_excess};
    if (policy.on_excess == SETTINGS_EXCESS_SAME_DEVICE && session_policy_is_on(&policy)) {
        policy.per_device = 1;
    }
    return policy;
}

bool session_policy_asks_first(const struct session_policy *policy)
{
    return policy->on_excess == SETTINGS_EXCESS_REJECT ||
           (policy->on_excess == SETTINGS_EXCESS_SAME_DEVICE && policy->per_user);
}

static bool is_over(uint16_t limit, uint32_t others)
{
    return limit && others >= limit;
}

/* The two sums are read one behind the other, and still grow when a deadline reads them. */
static uint32_t others_of(struct session_count count)
{
    return count.all > count.same_device ? count.all - count.same_device : 0;
}

bool session_policy_rejects(const struct session_policy *policy, struct session_count older)
{
    switch (policy->on_excess) {
    case SETTINGS_EXCESS_REJECT:
        return is_over(policy->per_user, older.all) ||
               is_over(policy->per_device, older.same_device);
    case SETTINGS_EXCESS_SAME_DEVICE: /* its own device's give way */
        return is_over(policy->per_user, others_of(older));
    default: return false;
    }
}

bool session_policy_evicts(const struct session_policy *policy, struct session_count younger)
{
    if (policy->on_excess == SETTINGS_EXCESS_REJECT) {
        return false;
    }
    bool counts_all = policy->on_excess == SETTINGS_EXCESS_OLDEST;
    return (counts_all && is_over(policy->per_user, younger.all)) ||
           is_over(policy->per_device, younger.same_device);
}
