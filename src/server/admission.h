/* How many sessions there are, in all and a user and an address, over all workers: who may still
 * come in. Counting a user or an address takes a short lock, and only where its limit is set. Any
 * thread. */
#ifndef TIDEGATE_SERVER_ADMISSION_H
#define TIDEGATE_SERVER_ADMISSION_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/siphash.h"
#include "base/u64map.h"
#include "net/addr.h"

enum { ADMISSION_SHARDS = 16 };

struct admission {
    struct siphash_key key;
    atomic_uint_fast64_t sessions;
    atomic_uint_fast64_t api_connections;
    struct admission_shard {
        pthread_mutex_t lock;
        struct u64map counts;
    } shards[ADMISSION_SHARDS];
    pthread_mutex_t rate_lock;
    uint64_t rate_tokens_milli; /* connects that may come now, in thousandths */
    uint64_t rate_ms;
};

void admission_init(struct admission *admission, const struct siphash_key *key);
void admission_fini(struct admission *admission);

/* Names for the counts. Never 0. */
uint64_t admission_key_of_user(const struct admission *admission, uint16_t app, struct str user);
uint64_t admission_key_of_ip(const struct admission *admission, const struct addr *addr);

/* Counts one more; false, and nothing is counted, when the limit (0: none, then nothing is kept) is
 * reached or memory is out. */
bool admission_take(struct admission *admission, uint64_t key, uint64_t limit);
void admission_give(struct admission *admission, uint64_t key);

bool admission_take_session(struct admission *admission, uint64_t limit);
void admission_give_session(struct admission *admission);
uint64_t admission_sessions(const struct admission *admission);

/* Accounted memory is at 85 % of the limit (0: none). */
bool admission_memory_is_short(uint64_t limit_bytes);

/* One connect more at this rate a second, with a burst of one second's worth; 0: no limit. */
bool admission_take_rate(struct admission *admission, uint64_t per_second, uint64_t now_ms);

#endif
