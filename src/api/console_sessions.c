#include "api/console_sessions.h"

#include <openssl/crypto.h>
#include <openssl/rand.h>

#include "proto/base64.h"

static struct console_session *find_room(struct console_sessions *sessions)
{
    struct console_session *idlest = &sessions->items[0];
    for (int i = 0; i < CONSOLE_SESSIONS_MAX; i++) {
        struct console_session *session = &sessions->items[i];
        if (!session->is_used) {
            return session;
        }
        if (session->seen_ms < idlest->seen_ms) {
            idlest = session;
        }
    }
    return idlest;
}

struct console_session *console_sessions_begin(struct console_sessions *sessions,
                                               const uint8_t key[DIGEST_SHA256_LEN],
                                               uint64_t now_ms,
                                               char out_cookie[CONSOLE_COOKIE_LEN + 1])
{
    uint8_t random[32];
    struct console_session session = {.begun_ms = now_ms, .seen_ms = now_ms, .is_used = true};
    if (RAND_bytes(random, sizeof(random)) != 1) {
        return NULL;
    }
    base64_encode(out_cookie, random, sizeof(random), BASE64_URL);
    out_cookie[CONSOLE_COOKIE_LEN] = '\0';
    OPENSSL_cleanse(random, sizeof(random));
    if (digest_sha256(session.cookie, out_cookie, CONSOLE_COOKIE_LEN)) {
        return NULL;
    }
    memcpy(session.key, key, sizeof(session.key));
    struct console_session *room = find_room(sessions);
    *room = session;
    return room;
}

uint64_t console_session_ends_ms(const struct console_session *session,
                                 const struct settings_console *settings)
{
    uint64_t idle = session->seen_ms + settings->session_idle_ms;
    uint64_t max = session->begun_ms + settings->session_max_ms;
    return idle < max ? idle : max;
}

struct console_session *console_sessions_find(struct console_sessions *sessions, struct str cookie,
                                              const struct settings_console *settings,
                                              uint64_t now_ms)
{
    uint8_t digest[DIGEST_SHA256_LEN];
    struct console_session *found = NULL;
    if (cookie.len != CONSOLE_COOKIE_LEN || digest_sha256(digest, cookie.ptr, cookie.len)) {
        return NULL;
    }
    for (int i = 0; i < CONSOLE_SESSIONS_MAX; i++) {
        struct console_session *session = &sessions->items[i];
        if (crypto_equal(session->cookie, digest, sizeof(digest)) && session->is_used) {
            found = session;
        }
    }
    if (found && now_ms >= console_session_ends_ms(found, settings)) {
        console_session_end(found);
        return NULL;
    }
    if (found) {
        found->seen_ms = now_ms;
    }
    return found;
}

void console_session_end(struct console_session *session)
{
    if (session) {
        *session = (struct console_session){0};
    }
}
