/* How many sessions there are, in all and a user and an address, over all workers: who may still
 * come in. Counting a user or an address takes a short lock, and only where its limit is set. Any
 * thread. */
#ifndef TIDEGATE_SERVER_ADMISSION_H
#define TIDEGATE_SERVER_ADMISSION_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/rate.h"
#include "base/siphash.h"
#include "base/u64map.h"
#include "net/addr.h"

enum { ADMISSION_SHARDS = 16, ADMISSION_UPS = 4096 };

struct admission {
    struct siphash_key key;
    atomic_uint_fast64_t sessions;
    atomic_uint_fast64_t api_connections;
    struct admission_shard {
        pthread_mutex_t lock;
        struct u64map counts;
    } shards[ADMISSION_SHARDS];
    struct rate connects; /* that were let in */
    struct rate refused;  /* that wait for their turn: how long that will take */
    struct rate accepts;  /* of the listeners */
    atomic_uint_fast64_t draws;
    struct rate ups[ADMISSION_UPS]; /* of sessions elsewhere; two may share one */
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

/* A storm of connects meets two limits, both of limits.accept_rate (per_second; 0: none). Those
 * that are let in are per_second, with a burst of one second's worth; others are refused, and told
 * to come back so late that there is room for all who were refused. And twice as many connections
 * are accepted, so that refusing has its bound too: the others wait in the kernel. */
bool admission_take_rate(struct admission *admission, uint64_t per_second, uint64_t now_ms);

/* For who was just refused: 1 to 30 s, drawn, the longer the more were. */
unsigned admission_retry_after_s(struct admission *admission, uint64_t per_second, uint64_t now_ms);

/* A connection was accepted: for how many ms no other should be. */
unsigned admission_rest_ms(struct admission *admission, uint64_t per_second, uint64_t now_ms);

/* A client speaks here for a session of another node, which is asked through the bus: as often as
 * the session itself may send. per_second 0: no limit. */
bool admission_take_up(struct admission *admission, struct str sid, uint64_t per_second,
                       uint64_t burst, uint64_t now_ms);

/* Around a mean, which is at least 1: clients that are refused at one time come back at several. */
unsigned admission_spread_s(struct admission *admission, unsigned mean_s);

/* What clients should wait for at first when they lose this node, so that all of them find room at
 * others: 500 ms to 10 s, the longer the more there are. */
unsigned admission_retry_base_ms(const struct admission *admission, uint64_t per_second);

#endif
