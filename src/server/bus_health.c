#include "server/bus_health.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"

void bus_health_init(struct bus_health *health, const char *engine)
{
    pthread_mutex_init(&health->lock, NULL);
    health->engine = engine;
    health->is_up = false;
    snprintf(health->reason, sizeof(health->reason), "nothing has been heard of it yet");
}

void bus_health_fini(struct bus_health *health)
{
    pthread_mutex_destroy(&health->lock);
}

/* True when that is news. */
static bool take(struct bus_health *health, bool up, const char *reason)
{
    char text[BUS_HEALTH_TEXT];
    snprintf(text, sizeof(text), "%s",
             up                    ? ""
             : reason && reason[0] ? reason
                                   : "no reason is known");
    pthread_mutex_lock(&health->lock);
    bool is_news = health->is_up != up || strcmp(health->reason, text) != 0;
    health->is_up = up;
    memcpy(health->reason, text, sizeof(text));
    pthread_mutex_unlock(&health->lock);
    return is_news;
}

void bus_health_set(struct bus_health *health, bool up, const char *reason)
{
    if (!take(health, up, reason)) {
        return;
    }
    if (up) {
        log_info("bus.up", "the bus (%s) is up", health->engine);
    } else {
        log_warn("bus.down", "the bus (%s) is not up: %s", health->engine, health->reason);
    }
}

bool bus_health_is_up(struct bus_health *health, char out_reason[BUS_HEALTH_TEXT])
{
    pthread_mutex_lock(&health->lock);
    bool is_up = health->is_up;
    memcpy(out_reason, health->reason, BUS_HEALTH_TEXT);
    pthread_mutex_unlock(&health->lock);
    return is_up;
}
