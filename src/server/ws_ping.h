/* What is in a ping, and comes back in its pong: when it was sent, under a code that nobody else
 * can make, so that the way there and back is measured without a word kept for it. */
#ifndef TIDEGATE_SERVER_WS_PING_H
#define TIDEGATE_SERVER_WS_PING_H

#include <stdbool.h>
#include <stdint.h>

#include "base/siphash.h"
#include "base/str.h"

enum { WS_PING_BYTES = 8, WS_PING_LONGEST_US = 60 * 1000 * 1000 };

/* session: what tells it from others, so that one can't show another's. */
void ws_ping_write(char out[WS_PING_BYTES], const struct siphash_key *key, uint64_t session,
                   uint64_t now_us);

/* False: it is not the answer to a ping of ours to this session, or came later than the longest. */
bool ws_ping_read(uint64_t *out_us, struct str payload, const struct siphash_key *key,
                  uint64_t session, uint64_t now_us);

#endif
