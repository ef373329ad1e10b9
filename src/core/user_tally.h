/* Which users have sessions, by app, so that those of several workers and nodes can be put together
 * and counted once each: a core/hll.h for each app. A worker makes one of its table from time to
 * time; as users leave, it begins anew each time. One thread at a time. */
#ifndef TIDEGATE_CORE_USER_TALLY_H
#define TIDEGATE_CORE_USER_TALLY_H

#include <stdint.h>

#include "base/mail.h"
#include "core/hll.h"

enum {
    USER_TALLY_APPS = 64,
    USER_TALLY_OTHERS = 0, /* stands for apps beyond */
};

struct user_tally {
    struct mail mail; /* its holder's, with the next two */
    void *owner;
    uint32_t worker;
    uint32_t count, cap;
    struct user_tally_app {
        uint32_t app; /* target_app_hash, or USER_TALLY_OTHERS */
        struct hll users;
    } * apps;
};

/* NULL when memory is out. */
struct user_tally *user_tally_create(uint32_t worker);
void user_tally_destroy(struct user_tally *tally);

/* The app's users, made when absent; the others' when there are too many apps. NULL: no memory. */
struct hll *user_tally_of(struct user_tally *tally, uint32_t app);
const struct hll *user_tally_find(const struct user_tally *tally, uint32_t app); /* or NULL */

/* key: the user's target_key. 0 or ERR_NO_MEMORY. */
int user_tally_add(struct user_tally *tally, uint32_t app, uint64_t key);
int user_tally_merge(struct user_tally *into, const struct user_tally *from);

#endif
