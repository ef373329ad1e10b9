/* What the sources of stats share; nobody else includes it. */
#ifndef TIDEGATE_SERVER_STATS_PRIVATE_H
#define TIDEGATE_SERVER_STATS_PRIVATE_H

#include <stdbool.h>
#include <stddef.h>

#include "server/families.h"

struct gateway;
struct tenant;

enum { STATS_APPS = 64 }; /* the last one stands for all that are beyond */

/* A series without labels that is read when it is asked for. */
struct stats_reader {
    const struct metric_family *family;
    double (*read)(void *arg);
    size_t arg; /* handed to read, as a pointer */
};

/* stats_readers.c: makes the series; they are read from now on, or (attach false) no longer. */
void stats_set_table(const struct stats_reader *table, size_t count, bool attach);

/* stats.c: makes what is counted of the app, so that it is there as 0. */
void stats_make_app(const struct tenant *tenant);

/* stats_process.c */
void stats_init_process(void);

/* stats_apps.c */
void stats_drop_apps(void);

/* stats_bus.c */
void stats_set_bus_readers(struct gateway *gateway, bool attach);

/* stats_kept.c */
void stats_set_kept_readers(struct gateway *gateway, bool attach);

/* stats_cluster.c */
void stats_set_cluster_readers(struct gateway *gateway, bool attach);

#endif
