#include "server/admission.h"

#include "base/mem.h"

void admission_init(struct admission *admission, const struct siphash_key *key)
{
    admission->key = *key;
    atomic_init(&admission->sessions, 0);
    atomic_init(&admission->api_connections, 0);
    for (int i = 0; i < ADMISSION_SHARDS; i++) {
        pthread_mutex_init(&admission->shards[i].lock, NULL);
        u64map_init(&admission->shards[i].counts);
    }
    pthread_mutex_init(&admission->rate_lock, NULL);
    admission->rate_tokens_milli = 0;
    admission->rate_ms = 0;
}

void admission_fini(struct admission *admission)
{
    for (int i = 0; i < ADMISSION_SHARDS; i++) {
        u64map_fini(&admission->shards[i].counts);
        pthread_mutex_destroy(&admission->shards[i].lock);
    }
    pthread_mutex_destroy(&admission->rate_lock);
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
    if (!per_second) {
        return true;
    }
    pthread_mutex_lock(&admission->rate_lock);
    /* Loops read the clock once a turn, so another worker's may be ahead of ours. */
    uint64_t since = admission->rate_ms < now_ms ? admission->rate_ms : now_ms;
    uint64_t elapsed = admission->rate_ms ? now_ms - since : 1000;
    uint64_t most = per_second * 1000;
    uint64_t added = elapsed >= 1000 ? most : elapsed * per_second;
    uint64_t tokens = admission->rate_tokens_milli + added;
    tokens = tokens > most ? most : tokens;
    bool taken = tokens >= 1000;
    admission->rate_tokens_milli = taken ? tokens - 1000 : tokens;
    admission->rate_ms += now_ms - since;
    pthread_mutex_unlock(&admission->rate_lock);
    return taken;
}
