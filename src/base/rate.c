#include "base/rate.h"

enum { NS_A_US = 1000, NS_A_SECOND = 1000000000 };

static uint64_t later(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* What may be unpaid at most, with one more. */
static uint64_t credit_ns(uint64_t per_second, uint64_t burst)
{
    return burst * (NS_A_SECOND / per_second);
}

uint64_t rate_take(struct rate *rate, uint64_t per_second, uint64_t burst, uint64_t now_us)
{
    uint64_t now = now_us * NS_A_US;
    uint64_t most = now + credit_ns(per_second, burst);
    uint64_t paid = atomic_load_explicit(&rate->paid_ns, memory_order_relaxed);
    uint64_t next;
    do {
        next = later(paid, now) + NS_A_SECOND / per_second;
        if (next > most) {
            return (next - most + NS_A_US - 1) / NS_A_US;
        }
    } while (!atomic_compare_exchange_weak_explicit(&rate->paid_ns, &paid, next,
                                                    memory_order_relaxed, memory_order_relaxed));
    return 0;
}

uint64_t rate_spend(struct rate *rate, uint64_t per_second, uint64_t burst, uint64_t now_us,
                    uint64_t max_us)
{
    uint64_t now = now_us * NS_A_US;
    uint64_t most = now + credit_ns(per_second, burst);
    uint64_t limit = most + max_us * NS_A_US;
    uint64_t paid = atomic_load_explicit(&rate->paid_ns, memory_order_relaxed);
    uint64_t next;
    do {
        next = later(paid, now) + NS_A_SECOND / per_second;
        next = next < limit ? next : limit;
    } while (!atomic_compare_exchange_weak_explicit(&rate->paid_ns, &paid, next,
                                                    memory_order_relaxed, memory_order_relaxed));
    return next > most ? (next - most) / NS_A_US : 0;
}
