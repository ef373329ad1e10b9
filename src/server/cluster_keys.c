#include "server/cluster_keys.h"

#include <string.h>
#include <sys/random.h>

#include "base/err.h"
#include "core/ticket_id.h"
#include "proto/digest.h"

/* One secret, several uses: each has a key of its own. */
static void derive(uint8_t out[DIGEST_SHA256_LEN], struct str secret, const char *use)
{
    digest_hmac_sha256(out, secret, use, strlen(use));
}

static struct siphash_key derive_siphash(struct str secret, const char *use)
{
    uint8_t bytes[DIGEST_SHA256_LEN];
    struct siphash_key key;
    derive(bytes, secret, use);
    memcpy(&key, bytes, sizeof(key));
    return key;
}

uint8_t cluster_keys_tag(struct str secret)
{
    uint8_t bytes[DIGEST_SHA256_LEN];
    derive(bytes, secret, "tidegate tag");
    return bytes[0] & 63;
}

static void take_secret(struct cluster_keys *keys, struct str secret)
{
    uint32_t at = keys->count++;
    keys->sid_keys[at] = derive_siphash(secret, "tidegate session ids");
    derive(keys->grant_keys[at], secret, "tidegate grants");
    derive(keys->seal_keys[at], secret, "tidegate seals");
    derive(keys->ticket_keys[at], secret, "tidegate tickets");
    keys->ticket_id_keys[at] = derive_siphash(secret, "tidegate ticket ids");
    if (at == 0) {
        keys->space.keys = derive_siphash(secret, "tidegate targets");
        keys->space.tag = cluster_keys_tag(secret);
    }
}

int cluster_keys_make(struct cluster_keys *out_keys, const struct settings_cluster *cluster)
{
    *out_keys = (struct cluster_keys){
        .space.open = derive_siphash(cluster->name, "tidegate queues")};
    for (size_t i = 0; i < cluster->secret_count && i < CLUSTER_KEYS_MAX; i++) {
        take_secret(out_keys, cluster->secrets[i].material);
    }
    if (out_keys->count == 0) {
        char own[32];
        if (getrandom(own, sizeof(own), 0) != sizeof(own)) {
            return ERR_UNAVAILABLE;
        }
        take_secret(out_keys, str_make(own, sizeof(own)));
    }
    return 0;
}

bool cluster_keys_parse_sid(const struct cluster_keys *keys, struct sid *out_sid, struct str text)
{
    for (uint32_t i = 0; i < keys->count; i++) {
        if (sid_parse(out_sid, &keys->sid_keys[i], text)) {
            return true;
        }
    }
    return false;
}

int cluster_keys_read_grant(const struct cluster_keys *keys, struct grant *out_grant,
                            char memory[GRANT_MEMORY], struct str text, uint64_t now_ms)
{
    int err = ERR_DENIED;
    for (uint32_t i = 0; i < keys->count && err == ERR_DENIED; i++) {
        err = grant_read(out_grant, memory, keys->grant_keys[i], text, now_ms);
    }
    return err;
}

int cluster_keys_open_seal(const struct cluster_keys *keys, struct buf *out, struct str about,
                           struct str sealed)
{
    int err = ERR_DENIED;
    for (uint32_t i = 0; i < keys->count && err == ERR_DENIED; i++) {
        err = seal_read(out, keys->seal_keys[i], about, sealed);
    }
    return err;
}

bool cluster_keys_check_ticket_id(const struct cluster_keys *keys, uint32_t app_hash,
                                  struct str text)
{
    for (uint32_t i = 0; i < keys->count; i++) {
        if (ticket_id_check(&keys->ticket_id_keys[i], app_hash, text)) {
            return true;
        }
    }
    return false;
}

int cluster_keys_read_ticket(const struct cluster_keys *keys, struct ticket *out_ticket,
                             char memory[TICKET_MEMORY], struct str text, uint64_t now_ms)
{
    int err = ERR_DENIED;
    for (uint32_t i = 0; i < keys->count && err == ERR_DENIED; i++) {
        err = ticket_read(out_ticket, memory, keys->ticket_keys[i], text, now_ms);
    }
    return err;
}
