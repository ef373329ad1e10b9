/* What is asked for at a scrape of each app of the configuration; apps beyond the table, and what
 * is of no app that this node knows, count as `other`. */
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>

#include "base/mem.h"
#include "server/stats.h"
#include "server/stats_private.h"

static struct gateway *attached;
static struct named_app {
    uint32_t hash;   /* target_app_hash */
    char *name;      /* owned */
} named[STATS_APPS]; /* those that have series of their own; the main thread adds, any reads */
static atomic_uint named_count;

static double read_users(void *arg)
{
    return (double)hub_app_keys(attached->hub, (uint32_t)(uintptr_t)arg, TARGET_USER);
}

static double read_groups(void *arg)
{
    return (double)hub_app_keys(attached->hub, (uint32_t)(uintptr_t)arg, TARGET_GROUP);
}

static double read_cluster_users(void *arg)
{
    return (double)cluster_users(attached->cluster, (uint32_t)(uintptr_t)arg);
}

/* What the named ones leave of all. The parts are read after the whole, and may be more by then. */
static double rest_of(double all, double (*read)(void *arg))
{
    for (uint32_t i = 0; i < named_count; i++) {
        all -= read((void *)(uintptr_t)named[i].hash);
    }
    return all > 0 ? all : 0;
}

static double read_other_users(void *arg)
{
    return rest_of((double)atomic_load(&hub_get_stats(attached->hub)->users), read_users);
}

static double read_other_groups(void *arg)
{
    return rest_of((double)atomic_load(&hub_get_stats(attached->hub)->groups), read_groups);
}

static double read_other_cluster_users(void *arg)
{
    return rest_of((double)cluster_all_users(attached->cluster), read_cluster_users);
}

static const struct app_reader {
    const struct metric_family *family;
    double (*read)(void *arg);
    double (*read_other)(void *arg);
} app_readers[] = {
    {FAMILY(users), read_users, read_other_users},
    {FAMILY(groups), read_groups, read_other_groups},
    {FAMILY(cluster_users), read_cluster_users, read_other_cluster_users},
};

static void set_readers(const char *app, uint32_t hash, bool is_other, bool attach)
{
    for (size_t i = 0; i < sizeof(app_readers) / sizeof(app_readers[0]); i++) {
        const struct app_reader *reader = &app_readers[i];
        double (*read)(void *arg) = is_other ? reader->read_other : reader->read;
        metric_set_reader(metric_series(reader->family, app), attach ? read : NULL,
                          (void *)(uintptr_t)hash);
    }
}

/* Numbers of apps stay over reloads, and new ones come behind. */
void stats_set_apps(struct gateway *gateway, const struct tenants *tenants)
{
    attached = gateway;
    set_readers("other", 0, true, true);
    for (uint32_t id = named_count; id < tenants->count && id < STATS_APPS - 1; id++) {
        const struct tenant *tenant = &tenants->items[id];
        struct named_app *app = &named[id];
        app->name = mem_strndup(tenant->name, strlen(tenant->name));
        if (!app->name) {
            return; /* the next reload tries again */
        }
        app->hash = target_app_hash(&gateway->keys.space, str_of(tenant->name));
        named_count = id + 1;
        stats_make_app(tenant);
        set_readers(app->name, app->hash, false, true);
    }
}

void stats_drop_apps(void)
{
    set_readers("other", 0, true, false);
    while (named_count > 0) {
        struct named_app *app = &named[--named_count];
        set_readers(app->name, app->hash, false, false);
        mem_free(app->name);
    }
}
