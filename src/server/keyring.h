/* The current key set of an app. Keys from the configuration are there at once; key sets that are
 * named by URL are fetched in the background, again each refresh_ms (± 10 %, so that nodes don't
 * ask together), and sooner after a failure or when a token names an unknown key. A set that can't
 * be fetched or read changes nothing: the old one stays.
 *
 * Lives on the main loop; keyring_get and keyring_want_refresh are for any thread. */
#ifndef TIDEGATE_SERVER_KEYRING_H
#define TIDEGATE_SERVER_KEYRING_H

#include "net/fetch.h"
#include "net/mailbox.h"
#include "server/keyset.h"

struct keyring; /* keyring.c */

enum {
    KEYRING_REFETCH_MS = 60000, /* unknown keys cause one fetch in so long at most */
    KEYRING_RETRY_MS = 1000,    /* after a failure; doubles up to KEYRING_REFETCH_MS */
    KEYRING_FETCH_TIMEOUT_MS = 10000,
    KEYRING_SET_BYTES = 256 * 1024,
};

/* All borrowed until keyring_destroy. */
struct keyring_options {
    struct loop *loop;
    struct fetcher *fetcher;
    struct mailbox *mailbox; /* of the same loop */
    const struct settings_app *app;
    uint64_t refetch_ms; /* 0: KEYRING_REFETCH_MS; others are for tests */
    uint64_t retry_ms;   /* 0: KEYRING_RETRY_MS */
};

/* 0, or the error of a configured key as keyset_add_configured tells it, logged with its place. */
int keyring_create(struct keyring **out_keyring, const struct keyring_options *options);

/* No other thread may use it any more. Sets that were handed out live on. */
void keyring_destroy(struct keyring *keyring);

/* A reference to the current set, maybe an empty one; give it to keyset_unref. Any thread. */
struct keyset *keyring_get(struct keyring *keyring);

/* A token named a key that the set does not have: fetch again, at most once in refetch_ms. Cheap
 * when asked often. Any thread. */
void keyring_want_refresh(struct keyring *keyring);

/* Each URL has been fetched at least once (or there is none). On the loop. */
bool keyring_is_complete(const struct keyring *keyring);

#endif
