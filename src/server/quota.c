#include "server/quota.h"

#include "base/mem.h"

enum { US_A_SECOND = 1000000 };

struct quota *quota_create(void)
{
    struct quota *quota = mem_zalloc(sizeof(*quota));
    if (quota) {
        atomic_init(&quota->refs, 1);
    }
    return quota;
}

struct quota *quota_ref(struct quota *quota)
{
    atomic_fetch_add_explicit(&quota->refs, 1, memory_order_relaxed);
    return quota;
}

void quota_unref(struct quota *quota)
{
    if (quota && atomic_fetch_sub_explicit(&quota->refs, 1, memory_order_acq_rel) == 1) {
        mem_free(quota);
    }
}

unsigned quota_take_push(struct quota *quota, const struct settings_quotas *limits, uint64_t now_us)
{
    uint64_t rate = limits->pushes_per_second;
    if (!rate) {
        return 0;
    }
    uint64_t burst = limits->push_burst ? limits->push_burst : rate;
    uint64_t wait_us = rate_take(&quota->pushes, rate, burst, now_us);
    return (unsigned)((wait_us + US_A_SECOND - 1) / US_A_SECOND);
}

bool quota_take_session(struct quota *quota, const struct settings_quotas *limits)
{
    uint64_t before = atomic_fetch_add_explicit(&quota->sessions, 1, memory_order_relaxed);
    if (limits->sessions && before >= limits->sessions) {
        quota_give_session(quota);
        return false;
    }
    return true;
}

void quota_give_session(struct quota *quota)
{
    atomic_fetch_sub_explicit(&quota->sessions, 1, memory_order_relaxed);
}

bool quota_take_wait(struct quota *quota, uint64_t max)
{
    bool has_room = atomic_fetch_add_explicit(&quota->waits, 1, memory_order_relaxed) < max;
    if (!has_room) {
        quota_give_wait(quota);
    }
    return has_room;
}

void quota_give_wait(struct quota *quota)
{
    atomic_fetch_sub_explicit(&quota->waits, 1, memory_order_relaxed);
}
