/* Whether the bus is up, and if not, why: for /readyz, the log and people. Written inside the hub's
 * gate, read by any thread. */
#ifndef TIDEGATE_SERVER_BUS_HEALTH_H
#define TIDEGATE_SERVER_BUS_HEALTH_H

#include <pthread.h>
#include <stdbool.h>

enum { BUS_HEALTH_TEXT = 256 /* bytes, its NUL included; what is longer is cut */ };

struct bus_health {
    pthread_mutex_t lock;
    const char *engine; /* borrowed */
    bool is_up;
    char reason[BUS_HEALTH_TEXT]; /* why not; "" while it is up */
};

/* Not up, since nothing has been heard yet. */
void bus_health_init(struct bus_health *health, const char *engine);
void bus_health_fini(struct bus_health *health);

/* What the engine says. Logs bus.up or bus.down when that is another state or another reason than
 * before. */
void bus_health_set(struct bus_health *health, bool up, const char *reason);

/* Any thread: false and the reason, when the bus is not up. */
bool bus_health_is_up(struct bus_health *health, char out_reason[BUS_HEALTH_TEXT]);

#endif
