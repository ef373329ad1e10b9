#include "core/user_tally.h"

#include "base/err.h"
#include "base/mem.h"

static int64_t bytes_of(uint32_t cap)
{
    return (int64_t)(sizeof(struct user_tally_app) * cap);
}

struct user_tally *user_tally_create(uint32_t worker)
{
    struct user_tally *tally = mem_zalloc(sizeof(*tally));
    if (tally) {
        tally->worker = worker;
    }
    return tally;
}

void user_tally_destroy(struct user_tally *tally)
{
    if (tally) {
        mem_account(MEM_TABLES, -bytes_of(tally->cap));
        mem_free(tally->apps);
        mem_free(tally);
    }
}

static struct user_tally_app *find(const struct user_tally *tally, uint32_t app)
{
    for (uint32_t i = 0; i < tally->count; i++) {
        if (tally->apps[i].app == app) {
            return &tally->apps[i];
        }
    }
    return NULL;
}

const struct hll *user_tally_find(const struct user_tally *tally, uint32_t app)
{
    const struct user_tally_app *found = find(tally, app);
    return found ? &found->users : NULL;
}

static bool grow(struct user_tally *tally)
{
    uint32_t cap = tally->cap ? tally->cap * 2 : 1;
    struct user_tally_app *apps = mem_realloc(tally->apps, (size_t)bytes_of(cap));
    if (apps) {
        mem_account(MEM_TABLES, bytes_of(cap) - bytes_of(tally->cap));
        tally->apps = apps;
        tally->cap = cap;
    }
    return apps;
}

/* The last place is the others'. */
struct hll *user_tally_of(struct user_tally *tally, uint32_t app)
{
    struct user_tally_app *found = find(tally, app);
    if (found) {
        return &found->users;
    }
    if (app != USER_TALLY_OTHERS && tally->count >= USER_TALLY_APPS - 1) {
        return user_tally_of(tally, USER_TALLY_OTHERS);
    }
    if (tally->count == tally->cap && !grow(tally)) {
        return NULL;
    }
    struct user_tally_app *added = &tally->apps[tally->count++];
    *added = (struct user_tally_app){.app = app};
    return &added->users;
}

/* A key's bits 29 to 31 are the same for all users: see target_key_kind. */
static uint64_t hash_of(uint64_t key)
{
    return (key >> 32 << 32) | (key & 0x1fffffff) << 3;
}

int user_tally_add(struct user_tally *tally, uint32_t app, uint64_t key)
{
    struct hll *users = user_tally_of(tally, app);
    if (!users) {
        return ERR_NO_MEMORY;
    }
    hll_add(users, hash_of(key));
    return 0;
}

int user_tally_merge(struct user_tally *into, const struct user_tally *from)
{
    for (uint32_t i = 0; i < from->count; i++) {
        struct hll *users = user_tally_of(into, from->apps[i].app);
        if (!users) {
            return ERR_NO_MEMORY;
        }
        hll_merge(users, &from->apps[i].users);
    }
    return 0;
}
