/* Who is signed in to the console. A session is a random cookie, of which only the hash is kept,
 * and the hash of the API key that it was opened with: what its holder may do is what that key may
 * now, so a key that a reload takes away ends its sessions. Pure: the time is an argument. */
#ifndef TIDEGATE_API_CONSOLE_SESSIONS_H
#define TIDEGATE_API_CONSOLE_SESSIONS_H

#include "core/settings.h"
#include "proto/digest.h"

/* Over them a new one takes the place of the one, of its key or of all, that was idle longest. */
enum { CONSOLE_SESSIONS_MAX = 64, CONSOLE_SESSIONS_OF_KEY = 8 };

enum { CONSOLE_COOKIE_LEN = 43 /* 256 bits in base64url */ };

struct console_session {
    uint8_t cookie[DIGEST_SHA256_LEN]; /* its hash */
    uint8_t key[DIGEST_SHA256_LEN];    /* as configured */
    uint64_t begun_ms, seen_ms;
    uint64_t number; /* no other has had it; from 1 */
    bool is_used;
};

struct console_sessions {
    struct console_session items[CONSOLE_SESSIONS_MAX];
    uint64_t numbers; /* given so far */
};

/* Writes the cookie and a NUL. NULL: the system has no randomness. */
struct console_session *console_sessions_begin(struct console_sessions *sessions,
                                               const uint8_t key[DIGEST_SHA256_LEN],
                                               uint64_t now_ms,
                                               char out_cookie[CONSOLE_COOKIE_LEN + 1]);

/* The session of the cookie, which is seen by this; NULL: there is none, or it was idle, or there
 * at all, for too long. Compares in constant time. */
struct console_session *console_sessions_find(struct console_sessions *sessions, struct str cookie,
                                              const struct settings_console *settings,
                                              uint64_t now_ms);

/* When it ends if it is not seen any more. */
uint64_t console_session_ends_ms(const struct console_session *session,
                                 const struct settings_console *settings);

/* NULL is fine. */
void console_session_end(struct console_session *session);

#endif
