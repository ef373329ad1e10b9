/* Which users are here, counted anew from the table some slots at a time, since who leaves can't be
 * taken out of a count. */
#include "base/err.h"
#include "core/shard_private.h"

/* By this node's number of it: see core/cluster_users.c for where nodes differ. */
static uint32_t app_of(const struct shard *shard, uint16_t app)
{
    return app < USER_TALLY_APPS - 1 ? shard->apps[app].hash : (uint32_t)USER_TALLY_OTHERS;
}

static int count_slots(struct shard *shard, uint32_t end)
{
    int err = 0;
    for (; shard->tally_cursor < end && !err; shard->tally_cursor++) {
        const struct user *user = user_at(shard, shard->tally_cursor);
        if (user->name.key && user->name.count > 0) {
            err = user_tally_add(shard->tally, app_of(shard, user->name.app), user->name.key);
        }
    }
    return err;
}

static void drop(struct shard *shard)
{
    user_tally_destroy(shard->tally);
    shard->tally = NULL;
}

static bool begin(struct shard *shard)
{
    if (!shard->users_changed) {
        return false;
    }
    shard->tally = user_tally_create(shard->options.worker);
    shard->tally_cursor = 1;
    shard->users_changed = !shard->tally;
    return shard->tally;
}

/* Who comes or goes meanwhile is for the next count. */
enum shard_tally shard_tally_users(struct shard *shard, struct user_tally **out_tally)
{
    if (!shard->tally && !begin(shard)) {
        return SHARD_TALLY_IDLE;
    }
    uint32_t limit = slab_limit(&shard->users.slab);
    bool is_last = limit <= shard->tally_cursor + SHARD_TALLY_SLOTS;
    if (count_slots(shard, is_last ? limit : shard->tally_cursor + SHARD_TALLY_SLOTS)) {
        shard->users_changed = true;
        drop(shard);
        return SHARD_TALLY_IDLE;
    }
    if (!is_last) {
        return SHARD_TALLY_MORE;
    }
    *out_tally = shard->tally;
    shard->tally = NULL;
    return SHARD_TALLY_DONE;
}
