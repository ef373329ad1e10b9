/* A session's id says where the session lives, so that a push to it needs no table, and carries a
 * keyed check, so that ids can't be guessed. "s_" and 28 letters of base64url over 21 bytes: node
 * 4, worker 1, slot 4, generation 4, check 8. Pure. */
#ifndef TIDEGATE_CORE_SID_H
#define TIDEGATE_CORE_SID_H

#include <stdbool.h>
#include <stdint.h>

#include "base/siphash.h"
#include "base/str.h"

enum { SID_LEN = 30 };

struct sid {
    uint32_t node;
    uint8_t worker;
    uint32_t slot;
    uint32_t generation;
};

/* Writes SID_LEN letters and a NUL. */
void sid_format(char out[SID_LEN + 1], const struct siphash_key *key, const struct sid *sid);

/* False when it is not an id made with this key (the node's own). */
bool sid_parse(struct sid *out_sid, const struct siphash_key *key, struct str text);

#endif
