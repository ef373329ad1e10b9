#include <stdio.h>
#include <sys/random.h>

#include "base/err.h"
#include "bus/zookeeper_private.h"
#include "net/resolve.h"

enum { PATIENCE_MS = 2000 }; /* how long a slow name is waited for, when others are known */

/* Nodes that start together don't all take the first server. */
static void shuffle(struct zk_addrs *addrs)
{
    for (uint32_t i = addrs->count; i > 1; i--) {
        uint32_t random = 0;
        if (getrandom(&random, sizeof(random), 0) != sizeof(random)) {
            return; /* as they are, then */
        }
        struct addr swap = addrs->list[i - 1];
        addrs->list[i - 1] = addrs->list[random % i];
        addrs->list[random % i] = swap;
    }
}

static void cancel(struct zk_addrs *addrs)
{
    for (uint32_t i = 0; i < ZK_SERVERS_MAX; i++) {
        resolve_cancel(addrs->lookups[i].resolve);
        addrs->lookups[i].resolve = NULL;
    }
    addrs->open = 0;
    loop_timer_stop(addrs->loop, &addrs->patience);
}

static void finish(struct zk_addrs *addrs)
{
    cancel(addrs);
    shuffle(addrs);
    addrs->on_done(addrs, addrs->problem);
}

static void on_patience(struct timer *timer)
{
    struct zk_addrs *addrs = (struct zk_addrs *)((char *)timer -
                                                 offsetof(struct zk_addrs, patience));
    if (addrs->count > 0) {
        finish(addrs);
    } else {
        loop_timer_start(addrs->loop, timer, PATIENCE_MS);
    }
}

static void on_lookup(void *owner, int err, const struct addr *found, size_t count,
                      const char *detail)
{
    struct zk_lookup *lookup = owner;
    struct zk_addrs *addrs = lookup->addrs;
    struct str server = addrs->servers->texts[lookup - addrs->lookups];
    lookup->resolve = NULL;
    if (err) {
        snprintf(addrs->problem, sizeof(addrs->problem), "%.*s: %s", STR_ARG(server), detail);
    }
    for (size_t i = 0; !err && i < count && addrs->count < ZK_ADDRS_MAX; i++) {
        addrs->list[addrs->count++] = found[i];
    }
    if (--addrs->open == 0) {
        finish(addrs);
    }
}

static int look_up_one(struct zk_addrs *addrs, size_t at)
{
    char host[256];
    uint16_t port;
    int err = zk_server_parse(addrs->servers->texts[at], host, sizeof(host), &port);
    if (err) {
        return err;
    }
    struct zk_lookup *lookup = &addrs->lookups[at];
    lookup->addrs = addrs;
    return resolve_start(&lookup->resolve, addrs->loop, host, port, on_lookup, lookup);
}

void zk_addrs_look_up(struct zk_addrs *addrs)
{
    addrs->count = addrs->next = 0;
    addrs->open = 1; /* this function's own, until all are started */
    for (size_t i = 0; i < addrs->servers->text_count && i < ZK_SERVERS_MAX; i++) {
        int err = look_up_one(addrs, i);
        if (err) {
            snprintf(addrs->problem, sizeof(addrs->problem), "%.*s: %s",
                     STR_ARG(addrs->servers->texts[i]), err_str(err));
        } else {
            addrs->open++;
        }
    }
    loop_timer_start(addrs->loop, &addrs->patience, PATIENCE_MS);
    if (--addrs->open == 0) {
        finish(addrs);
    }
}

void zk_addrs_init(struct zk_addrs *addrs, struct loop *loop, const struct bus_value *servers,
                   void (*on_done)(struct zk_addrs *addrs, const char *problem))
{
    addrs->loop = loop;
    addrs->servers = servers;
    addrs->on_done = on_done;
    addrs->patience.on_fire = on_patience;
}

void zk_addrs_fini(struct zk_addrs *addrs)
{
    cancel(addrs);
}
