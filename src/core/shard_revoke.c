/* Revocations on one worker: its table, and which sessions end. An event says what is revoked:
 *   target  the user, or all of the app
 *   subject the id of a single token, or "" (then all are sessions of the app, who must look)
 *   data    issued before, in seconds, 8 bytes: of tokens by user or app
 *   time, ttl  until when it is kept */
#include <string.h>

#include "base/err.h"
#include "core/shard_private.h"

static uint64_t token_key(const struct shard *shard, uint32_t app_hash, struct str id)
{
    struct siphash_key key = {shard->options.sid_key.k0 ^ app_hash, ~shard->options.sid_key.k1};
    return id.len ? siphash(&key, id.ptr, id.len) | 1 : 0;
}

static uint32_t to_seconds(uint64_t ms)
{
    return ms / 1000 < UINT32_MAX ? (uint32_t)(ms / 1000) : UINT32_MAX;
}

int shard_session_set_token(struct shard *shard, struct session *session, struct str id,
                            uint64_t issued_ms)
{
    struct session_facts *facts = facts_make(shard, session);
    if (!facts) {
        return ERR_NO_MEMORY;
    }
    uint32_t issued = to_seconds(issued_ms);
    facts->token = token_key(shard, shard->apps[session->app].hash, id);
    facts->issued_s = issued ? issued : 1;
    return 0;
}

static bool is_revoked(const struct shard *shard, uint16_t app, uint64_t user_key, uint64_t token,
                       uint32_t issued_s)
{
    return revocations_have(&shard->revocations, user_key, issued_s) ||
           revocations_have(&shard->revocations, token, issued_s) ||
           revocations_have(&shard->revocations, shard->apps[app].all_key, issued_s);
}

bool shard_token_is_revoked(const struct shard *shard, uint16_t app, struct str user, struct str id,
                            uint64_t issued_ms)
{
    if (revocations_are_empty(&shard->revocations)) {
        return false;
    }
    uint64_t user_key = user.len ? shard_key(shard, app, TARGET_USER, user) : 0;
    return is_revoked(shard, app, user_key, token_key(shard, shard->apps[app].hash, id),
                      to_seconds(issued_ms));
}

bool session_is_revoked(const struct shard *shard, const struct session *session)
{
    const struct session_facts *facts = facts_of(shard, session);
    if (!facts || !facts->issued_s || revocations_are_empty(&shard->revocations)) {
        return false;
    }
    uint64_t user_key = session->user ? user_at(shard, session->user)->name.key : 0;
    return is_revoked(shard, session->app, user_key, facts->token, facts->issued_s);
}

static uint64_t before_of(const struct event *event)
{
    uint64_t before = 0;
    if (event->data.len == sizeof(before)) {
        memcpy(&before, event->data.ptr, sizeof(before));
    }
    return before;
}

void control_revoke(struct shard *shard, const struct message *message)
{
    const struct event *event = &message->event;
    uint64_t before = before_of(event);
    struct revocation revocation = {.key = event->header.key,
                                    .before_s = before < UINT32_MAX ? (uint32_t)before : UINT32_MAX,
                                    .until_s = to_seconds(event->time_ms + event->header.ttl_ms)};
    if (event->subject.len) {
        revocation.key = token_key(shard, event->header.app, event->subject);
        revocation.before_s = REVOCATION_OF_ALL_TIME;
    }
    uint64_t folded = shard->revocations.folded;
    revocations_add(&shard->revocations, &revocation, to_seconds(event->time_ms));
    shard_count(&shard->stats.revocations_folded, (int64_t)(shard->revocations.folded - folded));
}

/* Some until then are lost: too many tokens are refused rather than too few. */
void cover_revocations(struct shard *shard, uint64_t until_ms)
{
    if (until_ms) {
        revocations_cover(&shard->revocations, to_seconds(until_ms));
        shard_count(&shard->stats.revocations_folded, 1);
    }
}

/* A session without a token (a proxy vouches for its user) was issued when it began. Told again,
 * nobody knows how long ago the revocation was, and such sessions of then have ended with it. */
static bool is_of_revoked_user(const struct shard *shard, const struct session *session,
                               const struct message *message)
{
    const struct event *event = &message->event;
    const struct session_cold *cold = slab_at(&shard->colds, session->cold);
    uint64_t received_s = message->received_us / 1000000;
    if (event->header.flags & EVENT_IS_AGAIN || event->subject.len || !session->user ||
        user_at(shard, session->user)->name.key != event->header.key ||
        received_s < cold->opened_s) {
        return false;
    }
    uint64_t age_s = received_s - cold->opened_s;
    return event->time_ms / 1000 < before_of(event) + age_s;
}

bool revocation_ends(const struct shard *shard, const struct session *session,
                     const struct message *message)
{
    const struct session_facts *facts = facts_of(shard, session);
    return facts && facts->issued_s ? session_is_revoked(shard, session)
                                    : is_of_revoked_user(shard, session, message);
}
