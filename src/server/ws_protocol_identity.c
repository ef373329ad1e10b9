/* Whose session it is, and for how long. */
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"
#include "server/revoked.h"
#include "server/stats.h"
#include "server/ws_protocol_private.h"

static void put_groups(struct ws_extra *extra, struct str *groups, size_t count, size_t bytes)
{
    mem_free(extra->groups);
    extra->groups = groups;
    extra->group_count = (uint32_t)count;
    extra->group_bytes = (uint32_t)bytes;
    ws_session_account_extra(extra);
}

static int keep_groups(struct ws_extra *extra, const struct credential *credential)
{
    size_t count = credential->group_count;
    count = count < WS_GROUPS_KEPT ? count : WS_GROUPS_KEPT;
    size_t bytes = sizeof(struct str) * count;
    for (size_t i = 0; i < count; i++) {
        bytes += credential->groups[i].len;
    }
    struct str *groups = mem_alloc(bytes);
    if (!groups) {
        return ERR_NO_MEMORY;
    }
    char *text = (char *)(groups + count);
    for (size_t i = 0; i < count; i++) {
        memcpy(text, credential->groups[i].ptr, credential->groups[i].len);
        groups[i] = str_make(text, credential->groups[i].len);
        text += groups[i].len;
    }
    put_groups(extra, groups, count, bytes);
    return 0;
}

int ws_protocol_keep_rights(struct worker *worker, struct session *session,
                            const struct credential *credential)
{
    struct ws_extra *extra = credential->group_count ? ws_session_extra(worker, session)
                                                     : ws_session_peek_extra(worker, session);
    if (credential->group_count) {
        return extra ? keep_groups(extra, credential) : ERR_NO_MEMORY;
    }
    if (extra) {
        put_groups(extra, NULL, 0, 0);
    }
    return 0;
}

void ws_protocol_keep_expiry(struct worker *worker, struct session *session, uint64_t exp_ms)
{
    struct session_cold *cold = shard_session_cold(worker->shard, session);
    uint64_t seconds = exp_ms / 1000;
    cold->expires_s = seconds > UINT32_MAX ? UINT32_MAX : (uint32_t)seconds;
}

int ws_protocol_keep_token(struct worker *worker, struct session *session,
                           const struct credential *credential)
{
    return credential->issued_ms ? shard_session_set_token(worker->shard, session, credential->jti,
                                                           credential->issued_ms)
                                 : 0;
}

static int count_user(struct worker *worker, struct session *session, struct str user)
{
    uint64_t limit = ws_protocol_limits(worker)->sessions_per_user;
    if (!limit) {
        return 0;
    }
    struct ws_extra *extra = ws_session_extra(worker, session);
    if (!extra) {
        return ERR_NO_MEMORY;
    }
    uint64_t key = admission_key_of_user(&worker->gateway->admission, session->app, user);
    if (!admission_take(&worker->gateway->admission, key, limit)) {
        ws_session_doom(worker, session, WS_CLOSE_SESSION_LIMIT);
        return ERR_EXISTS;
    }
    extra->user_key = key;
    return 0;
}

static int keep_identity(struct worker *worker, struct session *session,
                         const struct credential *credential)
{
    if (credential->group_count == 0 && credential->user.len > 0) {
        return 0; /* the user's entry says it all */
    }
    struct ws_extra *extra = ws_session_extra(worker, session);
    if (!extra) {
        return ERR_NO_MEMORY;
    }
    extra->is_identified = true;
    return credential->group_count ? keep_groups(extra, credential) : 0;
}

int ws_protocol_identify(struct worker *worker, struct session *session,
                         const struct credential *credential)
{
    int err = keep_identity(worker, session, credential);
    if (!err && credential->user.len > 0) {
        err = count_user(worker, session, credential->user);
        err = err ? err : shard_session_set_user(worker->shard, session, credential->user);
    }
    err = err ? err : ws_protocol_keep_token(worker, session, credential);
    if (!err && credential->exp_ms) {
        ws_protocol_keep_expiry(worker, session, credential->exp_ms);
    }
    return err;
}

bool ws_protocol_is_identified(const struct worker *worker, const struct session *session)
{
    const struct ws_extra *extra = ws_session_peek_extra(worker, session);
    return session->user || (extra && extra->is_identified);
}

enum credential_refusal ws_protocol_read_token(struct worker *worker, const struct session *session,
                                               struct str token, struct credential *out_credential)
{
    const struct tenant *tenant = ws_protocol_tenant(worker, session);
    if (!tenant->settings) {
        *out_credential = (struct credential){0};
        return CREDENTIAL_REFUSED_NONE; /* the app was taken out of the configuration */
    }
    struct keyset *keys = keyring_get(tenant->keyring);
    struct credential_context context = {.app = tenant->settings,
                                         .limits = ws_protocol_limits(worker),
                                         .keys = keys,
                                         .now_ms = clock_wall_ms()};
    enum credential_refusal refusal = credential_from_token(out_credential, &context, token);
    keyset_unref(keys);
    refusal = revoked_check(worker, session->app, out_credential, refusal);
    stats_auth(refusal, out_credential);
    if (out_credential->is_kid_unknown) {
        keyring_want_refresh(tenant->keyring);
    }
    return refusal;
}
