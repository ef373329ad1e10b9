/* Distinct users over the cluster, by app. Each worker counts its own (core/user_tally.h); the
 * node's beacons tell what these make together, as much of it a second as TELL_BYTES, on one queue
 * after the other; and what all nodes tell is merged here, so that a user of several counts once.
 *
 * While secrets are being rotated, nodes with different ones have different keys for a user: each
 * kind is counted by itself, and a user of both counts twice. A node of a version that tells no
 * users adds the number that it says.
 *
 * Which apps are beyond USER_TALLY_APPS - 1 each node decides by its own numbers, which keep the
 * order in which it learned of its apps. Nodes that learned of them by other reloads may differ:
 * then an app has a count of those nodes alone that tell it by its name, the rest are among the
 * others, and a user of both counts twice in the total. A restart puts that right. */
#include "base/err.h"
#include "base/mem.h"
#include "core/cluster_private.h"

enum {
    TELL_BYTES = 8 * 1024,
    MERGES = 256, /* a tick: some 3 µs each, of registers */
    RECOUNT_MS = 1000,
    MAX_APPS = 256,
    KEY_TAGS = 64,
};

/* What a node told last of one app. */
struct told_users {
    uint32_t app;
    struct buf wire;
};

struct teller {
    uint8_t key_tag;
    bool tells;
    uint32_t count;
    struct told_users apps[USER_TALLY_APPS];
};

struct cluster_users {
    struct user_tally *workers[HUB_MAX_WORKERS]; /* what each said last */
    struct user_tally *own;                      /* of all of them, as of the last tick */
    bool own_is_stale;                           /* a worker has said something since */
    uint32_t told_at;                            /* which of its apps the next beacon begins with */
    struct teller *tellers[CLUSTER_MAX_NODES];   /* by slot; NULL: it has told nothing */
    uint32_t look_at;                            /* which of the next are looked at next */
    struct app_users {
        uint32_t app;
        bool is_changed;
        uint64_t due_ms; /* not counted anew before */
        uint64_t count;  /* under the cluster's lock, with the next two */
    } apps[MAX_APPS];
    uint32_t app_count;
    uint64_t total;
};

int users_create(struct cluster *cluster)
{
    cluster->users = mem_zalloc(sizeof(*cluster->users));
    return cluster->users ? 0 : ERR_NO_MEMORY;
}

static void free_told(struct told_users *told)
{
    mem_account(MEM_TABLES, -(int64_t)told->wire.cap);
    buf_fini(&told->wire);
}

static void destroy_teller(struct teller *teller)
{
    for (uint32_t i = 0; teller && i < teller->count; i++) {
        free_told(&teller->apps[i]);
    }
    mem_free(teller);
}

void users_destroy(struct cluster *cluster)
{
    struct cluster_users *users = cluster->users;
    if (!users) {
        return;
    }
    for (uint32_t i = 0; i < HUB_MAX_WORKERS; i++) {
        user_tally_destroy(users->workers[i]);
    }
    for (uint32_t slot = 0; slot < CLUSTER_MAX_NODES; slot++) {
        destroy_teller(users->tellers[slot]);
    }
    user_tally_destroy(users->own);
    mem_free(users);
}

/* ---- what is known ---- */

static struct app_users *find_app(struct cluster_users *users, uint32_t app)
{
    for (uint32_t i = 0; i < users->app_count; i++) {
        if (users->apps[i].app == app) {
            return &users->apps[i];
        }
    }
    return NULL;
}

/* It is to be counted anew. More apps than there is room for are of a peer that has gone mad. */
static void note_change(struct cluster *cluster, uint32_t app)
{
    struct cluster_users *users = cluster->users;
    struct app_users *found = find_app(users, app);
    if (!found && users->app_count < MAX_APPS) {
        pthread_mutex_lock(&cluster->lock);
        found = &users->apps[users->app_count++];
        *found = (struct app_users){.app = app};
        pthread_mutex_unlock(&cluster->lock);
    }
    if (found) {
        found->is_changed = true;
    }
}

/* An app that nobody of here uses any more stays, as one without users. */
static struct user_tally *merge_workers(const struct cluster_users *users)
{
    struct user_tally *own = user_tally_create(0);
    int err = own ? 0 : ERR_NO_MEMORY;
    for (uint32_t i = 0; users->own && i < users->own->count && !err; i++) {
        err = user_tally_of(own, users->own->apps[i].app) ? 0 : ERR_NO_MEMORY;
    }
    for (uint32_t i = 0; i < HUB_MAX_WORKERS && !err; i++) {
        err = users->workers[i] ? user_tally_merge(own, users->workers[i]) : 0;
    }
    if (err) {
        user_tally_destroy(own);
        return NULL;
    }
    return own;
}

static void note_own_changes(struct cluster *cluster, const struct user_tally *before)
{
    const struct user_tally *own = cluster->users->own;
    for (uint32_t i = 0; i < own->count; i++) {
        const struct hll *was = before ? user_tally_find(before, own->apps[i].app) : NULL;
        if (!was || !hll_is_equal(was, &own->apps[i].users)) {
            note_change(cluster, own->apps[i].app);
        }
    }
}

/* Once for all workers that have said something. Without memory it is as it was, until the next
 * tick. */
static void refresh_own(struct cluster *cluster)
{
    struct cluster_users *users = cluster->users;
    struct user_tally *own = users->own_is_stale ? merge_workers(users) : NULL;
    if (own) {
        struct user_tally *before = users->own;
        users->own = own;
        users->own_is_stale = false;
        note_own_changes(cluster, before);
        user_tally_destroy(before);
    }
}

void cluster_take_tally(struct cluster *cluster, struct user_tally *tally)
{
    struct cluster_users *users = cluster->users;
    ASSERT(tally->worker < HUB_MAX_WORKERS);
    user_tally_destroy(users->workers[tally->worker]);
    users->workers[tally->worker] = tally;
    users->own_is_stale = true;
}

/* ---- beacons ---- */

static int write_app(const struct user_tally *own, uint32_t index, struct buf *scratch,
                     struct buf *out)
{
    buf_clear(scratch);
    if (hll_write(scratch, &own->apps[index].users)) {
        return ERR_NO_MEMORY;
    }
    struct cluster_users_item item = {own->apps[index].app, buf_str(scratch)};
    return cluster_write_users(out, &item);
}

/* As many as fit, the next time the next ones. The tick that sends beacons has merged the workers.
 */
int users_tell(struct cluster *cluster, struct buf *out)
{
    struct cluster_users *users = cluster->users;
    const struct user_tally *own = users->own;
    struct buf scratch = {0};
    int err = 0;
    for (uint32_t i = 0; own && i < own->count && !err; i++) {
        if (out->len + HLL_WIRE_MAX > TELL_BYTES) {
            break;
        }
        err = write_app(own, users->told_at++ % own->count, &scratch, out);
    }
    buf_fini(&scratch);
    return err;
}

static struct told_users *find_told(struct teller *teller, uint32_t app)
{
    for (uint32_t i = 0; i < teller->count; i++) {
        if (teller->apps[i].app == app) {
            return &teller->apps[i];
        }
    }
    return NULL;
}

static struct told_users *find_or_add_told(struct teller *teller, uint32_t app)
{
    struct told_users *told = find_told(teller, app);
    if (!told && teller->count < USER_TALLY_APPS) {
        told = &teller->apps[teller->count++];
        *told = (struct told_users){.app = app};
    }
    return told;
}

static bool is_sound(const struct cluster_users_item *item)
{
    struct hll any = {0};
    return hll_merge_wire(&any, item->count);
}

static void keep_item(struct cluster *cluster, struct teller *teller,
                      const struct cluster_users_item *item)
{
    struct told_users *told = find_or_add_told(teller, item->app);
    if (!told) {
        return;
    }
    free_told(told);
    told->wire = (struct buf){0};
    buf_append_str(&told->wire, item->count); /* without memory: none, until its next beacon */
    mem_account(MEM_TABLES, (int64_t)told->wire.cap);
    note_change(cluster, item->app);
}

/* Most say the same as the last time, which was sound. */
static void take_item(struct cluster *cluster, struct teller *teller,
                      const struct cluster_users_item *item)
{
    const struct told_users *told = find_told(teller, item->app);
    if (told && told->wire.len && str_equal(buf_str(&told->wire), item->count)) {
        return;
    }
    if (is_sound(item)) {
        keep_item(cluster, teller, item);
    } else {
        cluster_add(&cluster->stats.bad, 1);
    }
}

void users_on_beacon(struct cluster *cluster, uint32_t slot, const struct cluster_beacon *beacon)
{
    struct teller **place = &cluster->users->tellers[slot];
    struct cluster_users_item item;
    struct str rest = beacon->user_counts;
    if (!*place) {
        *place = mem_zalloc(sizeof(**place));
    }
    if (!*place) {
        return;
    }
    (*place)->tells = beacon->tells_users;
    (*place)->key_tag = beacon->key_tag % KEY_TAGS;
    while (cluster_next_users(&rest, &item)) {
        take_item(cluster, *place, &item);
    }
}

void users_on_gone(struct cluster *cluster, uint32_t slot)
{
    struct teller *teller = cluster->users->tellers[slot];
    for (uint32_t i = 0; teller && i < teller->count; i++) {
        note_change(cluster, teller->apps[i].app);
    }
    destroy_teller(teller);
    cluster->users->tellers[slot] = NULL;
}

/* ---- the count ---- */

/* Those that other nodes with such keys have. Returns how many nodes that were. */
static uint32_t merge_told(struct cluster_users *users, uint32_t app, uint8_t tag, struct hll *into)
{
    uint32_t merged = 0;
    for (uint32_t slot = 1; slot < CLUSTER_MAX_NODES; slot++) {
        struct teller *teller = users->tellers[slot];
        struct told_users *told = teller && teller->key_tag == tag ? find_told(teller, app) : NULL;
        if (told && hll_merge_wire(into, buf_str(&told->wire))) {
            merged++;
        }
    }
    return merged;
}

static uint64_t tags_of(const struct cluster *cluster)
{
    uint64_t tags = 1ull << hub_get_options(cluster->hub)->space.tag % KEY_TAGS;
    for (uint32_t slot = 1; slot < CLUSTER_MAX_NODES; slot++) {
        const struct teller *teller = cluster->users->tellers[slot];
        tags |= teller ? 1ull << teller->key_tag : 0;
    }
    return tags;
}

/* Returns how many counts were merged. */
static uint32_t count_app(struct cluster *cluster, struct app_users *app)
{
    struct cluster_users *users = cluster->users;
    uint8_t own_tag = hub_get_options(cluster->hub)->space.tag % KEY_TAGS;
    const struct hll *own = users->own ? user_tally_find(users->own, app->app) : NULL;
    uint32_t merged = 1;
    uint64_t count = 0;
    uint64_t tags = tags_of(cluster);
    for (uint8_t tag = 0; tags; tag++, tags >>= 1) {
        struct hll all = {0};
        if (!(tags & 1)) {
            continue;
        }
        merged += merge_told(users, app->app, tag, &all);
        if (tag == own_tag && own) {
            hll_merge(&all, own);
        }
        count += hll_count(&all);
    }
    pthread_mutex_lock(&cluster->lock);
    app->count = count;
    pthread_mutex_unlock(&cluster->lock);
    app->is_changed = false;
    app->due_ms = cluster->now_ms + RECOUNT_MS;
    return merged;
}

/* Nodes that were heard and tell no users. */
static uint64_t count_of_old_nodes(const struct cluster *cluster)
{
    uint64_t count = 0;
    for (uint32_t slot = 1; slot < CLUSTER_MAX_NODES; slot++) {
        const struct teller *teller = cluster->users->tellers[slot];
        bool is_old = members_is_there(&cluster->members[slot]) && teller && !teller->tells;
        count += is_old ? cluster->members[slot].node.users : 0;
    }
    return count;
}

static void count_total(struct cluster *cluster)
{
    struct cluster_users *users = cluster->users;
    uint64_t total = count_of_old_nodes(cluster);
    for (uint32_t i = 0; i < users->app_count; i++) {
        total += users->apps[i].count;
    }
    pthread_mutex_lock(&cluster->lock);
    users->total = total;
    pthread_mutex_unlock(&cluster->lock);
}

void users_tick(struct cluster *cluster)
{
    struct cluster_users *users = cluster->users;
    uint32_t merged = 0;
    refresh_own(cluster);
    for (uint32_t i = 0; i < users->app_count && merged < MERGES; i++) {
        struct app_users *app = &users->apps[users->look_at++ % users->app_count];
        bool is_due = app->is_changed && cluster->now_ms >= app->due_ms;
        merged += is_due ? count_app(cluster, app) : 0;
    }
    count_total(cluster);
}

/* ---- any thread ---- */

uint64_t cluster_users(struct cluster *cluster, uint32_t app)
{
    pthread_mutex_lock(&cluster->lock);
    const struct app_users *found = find_app(cluster->users, app);
    uint64_t count = found ? found->count : 0;
    pthread_mutex_unlock(&cluster->lock);
    return count;
}

uint64_t cluster_all_users(struct cluster *cluster)
{
    pthread_mutex_lock(&cluster->lock);
    uint64_t total = cluster->users->total;
    pthread_mutex_unlock(&cluster->lock);
    return total;
}
