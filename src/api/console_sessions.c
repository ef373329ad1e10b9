#include "api/console_sessions.h"

#include <openssl/crypto.h>
#include <openssl/rand.h>

#include "proto/base64.h"

static bool is_of(const struct console_session *session, const uint8_t key[DIGEST_SHA256_LEN])
{
    return session->is_used && memcmp(session->key, key, sizeof(session->key)) == 0;
}

/* key NULL: of all. Returns the one that was idle longest, NULL when there is none. */
static struct console_session *find_idlest(struct console_sessions *sessions, const uint8_t *key,
                                           int *out_count)
{
    struct console_session *idlest = NULL;
    *out_count = 0;
    for (int i = 0; i < CONSOLE_SESSIONS_MAX; i++) {
        struct console_session *session = &sessions->items[i];
        if (session->is_used && (!key || is_of(session, key))) {
            *out_count += 1;
            idlest = !idlest || session->seen_ms < idlest->seen_ms ? session : idlest;
        }
    }
    return idlest;
}

static struct console_session *find_room(struct console_sessions *sessions,
                                         const uint8_t key[DIGEST_SHA256_LEN])
{
    int count;
    struct console_session *own = find_idlest(sessions, key, &count);
    if (count >= CONSOLE_SESSIONS_OF_KEY) {
        return own;
    }
    for (int i = 0; i < CONSOLE_SESSIONS_MAX; i++) {
        if (!sessions->items[i].is_used) {
            return &sessions->items[i];
        }
    }
    return find_idlest(sessions, NULL, &count);
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
    session.number = ++sessions->numbers;
    struct console_session *room = find_room(sessions, key);
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
