#include "base/log_rate.h"

#include <stddef.h>
#include <string.h>

/* FNV-1a: the names are our own literals, nobody can choose them to collide. */
static uint32_t hash_of(const char *event)
{
    uint32_t hash = 2166136261u;
    for (; *event; event++) {
        hash = (hash ^ (unsigned char)*event) * 16777619u;
    }
    return hash;
}

static struct log_rate_entry *find_or_add(struct log_rate *rate, const char *event)
{
    uint32_t at = hash_of(event) % LOG_RATE_EVENTS;
    for (uint32_t tries = 0; tries < LOG_RATE_EVENTS; tries++) {
        struct log_rate_entry *entry = &rate->entries[(at + tries) % LOG_RATE_EVENTS];
        if (!entry->event) {
            entry->event = event;
            return entry;
        }
        if (entry->event == event || strcmp(entry->event, event) == 0) {
            return entry;
        }
    }
    return &rate->others;
}

bool log_rate_allow(struct log_rate *rate, const char *event, int level, uint64_t now_ms,
                    uint64_t *out_suppressed)
{
    struct log_rate_entry *entry = find_or_add(rate, event);
    if (now_ms - entry->window_start_ms >= LOG_RATE_WINDOW_MS) {
        entry->window_start_ms = now_ms;
        entry->spoken = 0;
    }
    if (entry->spoken >= LOG_RATE_LINES) {
        entry->suppressed++;
        entry->level = level;
        rate->is_holding = true;
        return false;
    }
    entry->spoken++;
    *out_suppressed = entry->suppressed;
    entry->suppressed = 0;
    return true;
}

bool log_rate_keep(struct log_rate *rate, const char *event, uint64_t now_ms)
{
    struct log_rate_entry *entry = find_or_add(rate, event);
    if (entry->keep_ms > now_ms + (LOG_RATE_KEEP - 1) * LOG_RATE_KEEP_MS) {
        return false;
    }
    entry->keep_ms = (entry->keep_ms > now_ms ? entry->keep_ms : now_ms) + LOG_RATE_KEEP_MS;
    return true;
}

static bool take_held(struct log_rate_entry *entry, uint64_t now_ms,
                      struct log_rate_entry *out_entry)
{
    if (entry->suppressed == 0 || now_ms - entry->window_start_ms < LOG_RATE_WINDOW_MS) {
        return false;
    }
    *out_entry = *entry;
    entry->suppressed = 0;
    return true;
}

bool log_rate_next(struct log_rate *rate, uint64_t now_ms, struct log_rate_entry *out_entry)
{
    bool is_holding = false;
    for (uint32_t i = 0; i < LOG_RATE_EVENTS && rate->is_holding; i++) {
        if (take_held(&rate->entries[i], now_ms, out_entry)) {
            return true;
        }
        is_holding |= rate->entries[i].suppressed > 0;
    }
    if (take_held(&rate->others, now_ms, out_entry)) {
        return true;
    }
    rate->is_holding = is_holding || rate->others.suppressed > 0;
    return false;
}
