#include "server/admission.h"

#include "base/mem.h"

enum {
    RETRY_MAX_S = 30,
    RETRY_BASE_MIN_MS = 500,
    RETRY_BASE_MAX_MS = 10000,
    ACCEPTS_A_CONNECT = 2,
    REST_MAX_US = 1000000,
};

void admission_init(struct admission *admission, const struct siphash_key *key)
{
    *admission = (struct admission){.key = *key};
    for (int i = 0; i < ADMISSION_SHARDS; i++) {
        pthread_mutex_init(&admission->shards[i].lock, NULL);
        u64map_init(&admission->shards[i].counts);
    }
}

void admission_fini(struct admission *admission)
{
    for (int i = 0; i < ADMISSION_SHARDS; i++) {
        u64map_fini(&admission->shards[i].counts);
        pthread_mutex_destroy(&admission->shards[i].lock);
    }
}

uint64_t admission_key_of_user(const struct admission *admission, uint16_t app, struct str user)
{
    struct siphash_key key = {admission->key.k0 + app, admission->key.k1};
    uint64_t hash = siphash(&key, user.ptr, user.len);
    return hash ? hash : 1;
}

uint64_t admission_key_of_ip(const struct admission *admission, const struct addr *addr)
{
    struct siphash_key key = {~admission->key.k0, admission->key.k1};
    uint64_t hash = siphash(&key, addr->ip, sizeof(addr->ip));
    return hash ? hash : 1;
}

static struct admission_shard *shard_of(struct admission *admission, uint64_t key)
{
    return &admission->shards[(key >> 56) % ADMISSION_SHARDS];
}

bool admission_take(struct admission *admission, uint64_t key, uint64_t limit)
{
    if (!limit) {
        return true;
    }
    struct admission_shard *shard = shard_of(admission, key);
    pthread_mutex_lock(&shard->lock);
    uint64_t *count = u64map_put(&shard->counts, key);
    bool taken = count && *count < limit;
    if (taken) {
        (*count)++;
    } else if (count && *count == 0) {
        u64map_remove(&shard->counts, key);
    }
    pthread_mutex_unlock(&shard->lock);
    return taken;
}

void admission_give(struct admission *admission, uint64_t key)
{
    struct admission_shard *shard = shard_of(admission, key);
    pthread_mutex_lock(&shard->lock);
    uint64_t *count = u64map_find(&shard->counts, key);
    if (count && --*count == 0) {
        u64map_remove(&shard->counts, key);
        u64map_shrink(&shard->counts);
    }
    pthread_mutex_unlock(&shard->lock);
}

bool admission_take_session(struct admission *admission, uint64_t limit)
{
    uint64_t before = atomic_fetch_add_explicit(&admission->sessions, 1, memory_order_relaxed);
    if (limit && before >= limit) {
        admission_give_session(admission);
        return false;
    }
    return true;
}

void admission_give_session(struct admission *admission)
{
    atomic_fetch_sub_explicit(&admission->sessions, 1, memory_order_relaxed);
}

uint64_t admission_sessions(const struct admission *admission)
{
    return atomic_load_explicit(&admission->sessions, memory_order_relaxed);
}

bool admission_memory_is_short(uint64_t limit_bytes)
{
    return limit_bytes && (uint64_t)mem_accounted_total() >= limit_bytes / 100 * 85;
}

bool admission_take_rate(struct admission *admission, uint64_t per_second, uint64_t now_ms)
{
    return !per_second ||
           rate_take(&admission->connects, per_second, per_second, now_ms * 1000) == 0;
}

bool admission_take_up(struct admission *admission, struct str sid, uint64_t per_second,
                       uint64_t burst, uint64_t now_ms)
{
    uint64_t hash = siphash(&admission->key, sid.ptr, sid.len);
    return !per_second ||
           rate_take(&admission->ups[hash % ADMISSION_UPS], per_second, burst, now_ms * 1000) == 0;
}

/* 0 to most, any of them. */
static uint64_t draw(struct admission *admission, uint64_t most)
{
    uint64_t count = atomic_fetch_add_explicit(&admission->draws, 1, memory_order_relaxed);
    return siphash(&admission->key, &count, sizeof(count)) % (most + 1);
}

unsigned admission_retry_after_s(struct admission *admission, uint64_t per_second, uint64_t now_ms)
{
    uint64_t line_us = rate_spend(&admission->refused, per_second, 1, now_ms * 1000,
                                  (uint64_t)(RETRY_MAX_S - 1) * 1000000);
    return 1 + (unsigned)draw(admission, line_us / 1000000);
}

unsigned admission_rest_ms(struct admission *admission, uint64_t per_second, uint64_t now_ms)
{
    uint64_t accepts = per_second * ACCEPTS_A_CONNECT;
    uint64_t over_us = accepts ? rate_spend(&admission->accepts, accepts, accepts, now_ms * 1000,
                                            REST_MAX_US)
                               : 0;
    return (unsigned)((over_us + 999) / 1000);
}

unsigned admission_spread_s(struct admission *admission, unsigned mean_s)
{
    return 1 + (unsigned)draw(admission, 2 * ((uint64_t)mean_s - 1));
}

unsigned admission_retry_base_ms(const struct admission *admission, uint64_t per_second)
{
    uint64_t ms = per_second ? admission_sessions(admission) * 1000 / per_second : 0;
    ms = ms > RETRY_BASE_MIN_MS ? ms : RETRY_BASE_MIN_MS;
    return (unsigned)(ms < RETRY_BASE_MAX_MS ? ms : RETRY_BASE_MAX_MS);
}
