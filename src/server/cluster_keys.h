/* The keys that the nodes of a cluster share, made from its secrets (`cluster.secrets`): the first
 * secret makes and signs, both verify, so that secrets can be exchanged one node after the other.
 * Without any secret the node draws keys of its own, and is a cluster of one. */
#ifndef TIDEGATE_SERVER_CLUSTER_KEYS_H
#define TIDEGATE_SERVER_CLUSTER_KEYS_H

#include <stdbool.h>
#include <stdint.h>

#include "core/settings.h"
#include "core/sid.h"
#include "core/target.h"
#include "proto/seal.h"
#include "server/grant.h"
#include "server/ticket.h"

enum { CLUSTER_KEYS_MAX = 2 };

struct cluster_keys {
    struct target_space space;
    struct siphash_key sid_keys[CLUSTER_KEYS_MAX];
    uint8_t grant_keys[CLUSTER_KEYS_MAX][GRANT_KEY_LEN];
    uint8_t seal_keys[CLUSTER_KEYS_MAX][SEAL_KEY_LEN]; /* what nodes tell each other in secret */
    uint8_t ticket_keys[CLUSTER_KEYS_MAX][SIGNED_KEY_LEN];
    struct siphash_key ticket_id_keys[CLUSTER_KEYS_MAX];
    uint32_t count; /* 1 or 2 */
};

/* 0, or ERR_UNAVAILABLE when the system has no randomness. */
int cluster_keys_make(struct cluster_keys *out_keys, const struct settings_cluster *cluster);

/* What tells in events whose keys theirs are; two secrets in use at once must differ in it. */
uint8_t cluster_keys_tag(struct str secret);

/* A session id of any node of the cluster. */
bool cluster_keys_parse_sid(const struct cluster_keys *keys, struct sid *out_sid, struct str text);

/* As seal_read, with the keys in turn. */
int cluster_keys_open_seal(const struct cluster_keys *keys, struct buf *out, struct str about,
                           struct str sealed);

/* Whether it is a ticket's id of the app. */
bool cluster_keys_check_ticket_id(const struct cluster_keys *keys, uint32_t app_hash,
                                  struct str text);

/* As ticket_read, with the keys in turn. */
int cluster_keys_read_ticket(const struct cluster_keys *keys, struct ticket *out_ticket,
                             char memory[TICKET_MEMORY], struct str text, uint64_t now_ms);

/* As grant_read, with the keys in turn. */
int cluster_keys_read_grant(const struct cluster_keys *keys, struct grant *out_grant,
                            char memory[GRANT_MEMORY], struct str text, uint64_t now_ms);

#endif
