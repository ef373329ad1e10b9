/* What the sources of stats share; nobody else includes it. */
#ifndef TIDEGATE_SERVER_STATS_PRIVATE_H
#define TIDEGATE_SERVER_STATS_PRIVATE_H

#include <stdbool.h>

#include "base/metrics.h"

struct gateway;

/* The series of this name and one or two labels; label2 may be NULL. */
struct metric *stats_labelled(struct metric *(*make)(const char *, const char *, const char *),
                              const char *name, const char *help, const char *label1,
                              const char *value1, const char *label2, const char *value2);

/* stats_bus.c */
void stats_set_bus_readers(struct gateway *gateway, bool attach);

/* stats_cluster.c */
void stats_set_cluster_readers(struct gateway *gateway, bool attach);

#endif
