/* A session gets a message once, however many of its targets it matches: who got one that has
 * several targets is remembered until all its parts were seen, or for some seconds. */
#include "base/mem.h"
#include "core/shard_private.h"

enum { KEEP_MS = 5000 };

static uint64_t key_of(const struct shard *shard, const struct event *event)
{
    return siphash(&shard->options.sid_key, event->id.ptr, event->id.len) ^ event->header.app;
}

/* The list is in the order of until_ms. */
static void link_newest(struct shard *shard, struct served *served)
{
    served->until_ms = shard->now_ms + KEEP_MS;
    served->next = NULL;
    served->prev = shard->served_newest;
    *(served->prev ? &served->prev->next : &shard->served_oldest) = served;
    shard->served_newest = served;
}

static void unlink_served(struct shard *shard, struct served *served)
{
    *(served->prev ? &served->prev->next : &shard->served_oldest) = served->next;
    *(served->next ? &served->next->prev : &shard->served_newest) = served->prev;
}

static void forget(struct shard *shard, struct served *served)
{
    unlink_served(shard, served);
    u64map_remove(&shard->served, served->key);
    u64map_fini(&served->sessions);
    mem_free(served);
}

static struct served *find_or_add(struct shard *shard, uint64_t key)
{
    uint64_t *place = u64map_put(&shard->served, key);
    if (!place || *place) {
        return place ? (struct served *)(uintptr_t)*place : NULL;
    }
    struct served *served = mem_zalloc(sizeof(*served));
    if (!served) {
        u64map_remove(&shard->served, key);
        return NULL;
    }
    *place = (uint64_t)(uintptr_t)served;
    served->key = key;
    link_newest(shard, served);
    return served;
}

/* NULL when it has one target only, or memory is out. */
struct served *served_begin(struct shard *shard, const struct event *event)
{
    if (event->header.target_count == 1 && event->parts == 1) {
        return NULL;
    }
    struct served *served = find_or_add(shard, key_of(shard, event));
    if (served) {
        served->casts++;
    }
    return served;
}

/* Whether the session has got it; from now on it has. */
bool served_note(struct served *served, const struct session *session)
{
    uint64_t *seen = u64map_put(&served->sessions, session->generation * 0x9e3779b97f4a7c15u);
    if (!seen) {
        served->incomplete = true;
        return false;
    }
    bool before = *seen;
    *seen = 1;
    return before;
}

void served_end(struct shard *shard, struct served *served, const struct event *event)
{
    uint64_t all = UINT64_MAX >> (EVENT_MAX_PARTS - event->parts);
    served->casts--;
    served->parts_seen |= 1ull << event->part;
    if (served->parts_seen == all && served->casts == 0) {
        forget(shard, served);
    } else {
        unlink_served(shard, served);
        link_newest(shard, served);
    }
}

/* Parts whose queues concern nobody here never arrive. */
void served_sweep(struct shard *shard)
{
    struct served *next;
    for (struct served *served = shard->served_oldest; served && served->until_ms <= shard->now_ms;
         served = next) {
        next = served->next;
        if (served->casts == 0) {
            forget(shard, served);
        }
    }
}

void served_destroy_all(struct shard *shard)
{
    while (shard->served_oldest) {
        forget(shard, shard->served_oldest);
    }
    u64map_fini(&shard->served);
}
