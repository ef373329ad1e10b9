/* A ticket's id: what the business system keeps and pushes to. It says when the ticket expires and
 * carries a keyed check, so that any node can tell a good one without a store; it opens nothing,
 * the ticket itself does. "t_" and 28 letters of base64url over 21 bytes: expiry (wall, ms) 6,
 * chance 7, check 8 (of the app too). Pure. */
#ifndef TIDEGATE_CORE_TICKET_ID_H
#define TIDEGATE_CORE_TICKET_ID_H

#include <stdbool.h>
#include <stdint.h>

#include "base/siphash.h"
#include "base/str.h"

enum { TICKET_ID_LEN = 30, TICKET_ID_CHANCE = 7 };

/* Writes TICKET_ID_LEN letters and a NUL. chance: random bytes. */
void ticket_id_format(char out[TICKET_ID_LEN + 1], const struct siphash_key *key, uint32_t app_hash,
                      uint64_t expires_ms, const uint8_t chance[TICKET_ID_CHANCE]);

/* Whether it is an id of the app, made with this key. */
bool ticket_id_check(const struct siphash_key *key, uint32_t app_hash, struct str text);

/* When it says that it expires, unchecked; 0 for what is no id. */
uint64_t ticket_id_expires_ms(struct str text);

#endif
