/* Counts distinct things, of which each is told by a hash, in 4 KiB at most: a HyperLogLog
 * (Flajolet and others, 2007) with the estimator of Ertl (2017), which needs no tables and holds
 * from nothing to billions. The counts of several places are merged, and what is in more than one
 * counts once.
 *
 * Up to HLL_SPARSE things the hashes themselves are kept, and the count is exact (but for two of
 * equal 32 bits); above it the standard error is 1.6 % (1.04 / √4096). Nothing can be taken out:
 * who loses things begins anew. Pure: no allocation. */
#ifndef TIDEGATE_CORE_HLL_H
#define TIDEGATE_CORE_HLL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"

enum {
    HLL_REGISTERS = 4096,
    HLL_SPARSE = 768, /* as many as take no more on the wire than registers */
    HLL_WIRE_MAX = 1 + HLL_REGISTERS / 4 * 3, /* bytes */
};

/* All zero: empty. */
struct hll {
    uint32_t count; /* of words */
    bool is_dense;
    union {
        uint32_t words[HLL_SPARSE]; /* ascending */
        uint8_t registers[HLL_REGISTERS];
    };
};

/* hash: uniform in its upper 61 bits, which are all that counts. */
void hll_add(struct hll *hll, uint64_t hash);
/* from: another than into. */
void hll_merge(struct hll *into, const struct hll *from);
uint64_t hll_count(const struct hll *hll);
bool hll_is_equal(const struct hll *hll, const struct hll *other); /* kept the same way, too */

/* Appends it: one byte that tells the form, then the words, or the registers at 6 bits each. 0 or
 * the buffer's error. */
int hll_write(struct buf *out, const struct hll *hll);

/* Merges what hll_write wrote into a count. False, and nothing has changed: it is not sound. */
bool hll_merge_wire(struct hll *into, struct str wire);

#endif
