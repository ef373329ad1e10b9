/* Which tokens are good no longer, though their signature and their dates are: those of a user or
 * of a whole app that were issued before some moment, and single ones by their id. One table a
 * worker, so that a connect asks without a lock. Times are wall clock, in seconds, as tokens have
 * them. Keys are keyed hashes, never 0. One thread.
 *
 * What can't be remembered is not forgotten: then no token that was issued until that moment is
 * good, of any app, and whoever is refused gets a new one. At the limit the table, which all apps
 * share, is swept once a minute at most; what the folding covers goes, too, so that the next ones
 * have room again, unless all of it is single tokens. */
#ifndef TIDEGATE_CORE_REVOCATIONS_H
#define TIDEGATE_CORE_REVOCATIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/u64map.h"

/* Of a single token: it is revoked whenever it was issued. */
#define REVOCATION_OF_ALL_TIME UINT32_MAX

struct revocations {
    struct u64map entries; /* key → issued before << 32 | kept until */
    uint32_t max;
    uint32_t swept_at;     /* entries that the last sweep left */
    uint32_t swept_s;      /* when the last sweep at the limit was; 0: none yet */
    uint32_t all_before_s; /* whatever its key: no token issued before is good; 0: no such thing */
    uint64_t folded;       /* how often there was no room */
};

struct revocation {
    uint64_t key;
    uint32_t before_s; /* issued before that */
    uint32_t until_s;  /* all that it is about has expired by itself */
};

/* max: entries; more are folded. */
void revocations_init(struct revocations *revocations, uint32_t max);
void revocations_fini(struct revocations *revocations);

/* A second one for the same key only widens it. now_s: for sweeping, and where it must be folded.
 */
void revocations_add(struct revocations *revocations, const struct revocation *revocation,
                     uint32_t now_s);

/* Some are lost: no token issued until then is good. */
void revocations_cover(struct revocations *revocations, uint32_t until_s);

/* There is none. */
static inline bool revocations_are_empty(const struct revocations *revocations)
{
    return revocations->entries.count == 0 && revocations->all_before_s == 0;
}

/* Whether a token issued then is revoked by what is known of the key. */
bool revocations_have(const struct revocations *revocations, uint64_t key, uint32_t issued_s);

#endif
