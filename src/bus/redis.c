/* The Redis engine: the functions of struct bus_engine, and what the core is told. */
#include <stdarg.h>
#include <stdio.h>
#include <sys/random.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/siphash.h"
#include "bus/engines.h"
#include "bus/redis_private.h"

struct str redis_bus_key(const struct redis_bus *redis, char out[REDIS_NAME_MAX + 16],
                         const char *format, ...)
{
    struct str name = redis->config.name;
    memcpy(out, name.ptr, name.len);
    va_list args;
    va_start(args, format);
    int len = vsnprintf(out + name.len, 16, format, args);
    va_end(args);
    ASSERT(len > 0 && len < 16);
    return str_make(out, name.len + (size_t)len);
}

/* xorshift64: for jitter, where nobody gains by guessing it. */
uint64_t redis_bus_random(struct redis_bus *redis)
{
    redis->random ^= redis->random << 13;
    redis->random ^= redis->random >> 7;
    redis->random ^= redis->random << 17;
    return redis->random;
}

void redis_bus_draw_epoch(struct redis_bus *redis, char out[17])
{
    uint64_t chance;
    if (getrandom(&chance, sizeof(chance), 0) != sizeof(chance)) {
        chance = redis_bus_random(redis);
    }
    snprintf(out, 17, "%016llx", (unsigned long long)chance);
}

bool redis_bus_set_epoch(struct redis_bus *redis, struct str epoch)
{
    if (str_equal(epoch, str_of(redis->epoch))) {
        return false;
    }
    memcpy(redis->previous_epoch, redis->epoch, sizeof(redis->epoch));
    memcpy(redis->epoch, epoch.ptr, epoch.len);
    redis->epoch[epoch.len] = '\0';
    redis->bus.callbacks->on_epoch(redis->bus.owner, epoch);
    return true;
}

static void tell_queues(struct redis_bus *redis, bool up)
{
    for (uint32_t i = 0; i < redis->bus.queues; i++) {
        redis->bus.callbacks->on_queue_state(redis->bus.owner, i, up);
    }
}

void redis_bus_set_up(struct redis_bus *redis)
{
    if (redis->is_up) {
        return;
    }
    redis->is_up = true;
    redis->reason[0] = '\0';
    tell_queues(redis, true);
    redis->bus.callbacks->on_state(redis->bus.owner, true, "");
}

/* Told again when the reason is another one: people look at it. */
void redis_bus_set_down(struct redis_bus *redis, const char *reason)
{
    bool was_up = redis->is_up;
    if (!was_up && strcmp(redis->reason, reason) == 0) {
        return;
    }
    redis->is_up = false;
    snprintf(redis->reason, sizeof(redis->reason), "%s", reason);
    if (was_up) {
        tell_queues(redis, false);
    }
    redis->bus.callbacks->on_state(redis->bus.owner, false, redis->reason);
}

/* What nodes must have alike. The key is no secret: equal on every node, and that is all. */
static uint64_t layout_of(const struct redis_bus *redis)
{
    static const struct siphash_key key = {0x7265646973627573u, 1};
    char text[REDIS_NAME_MAX + 32];
    int len = snprintf(text, sizeof(text), "%u %u %.*s", redis->config.mode, redis->bus.queues,
                       STR_ARG(redis->config.name));
    return siphash(&key, text, (size_t)len);
}

static void name_client(struct redis_bus *redis, const struct bus_options *options)
{
    int len = snprintf(redis->client_name, sizeof(redis->client_name), "tidegate-%.40s-%u",
                       options->node.len ? options->node.ptr : "", options->boot);
    for (int i = 0; i < len && redis->client_name[i]; i++) {
        char c = redis->client_name[i];
        redis->client_name[i] = c > ' ' && c < 127 ? c : '_'; /* Redis allows no other */
    }
}

static void fill_bus(struct redis_bus *redis, const struct bus_options *options,
                     const struct bus_callbacks *callbacks, void *owner)
{
    bool keeps = redis->config.mode == REDIS_MODE_STREAMS;
    redis->mode = keeps ? &redis_streams_mode : &redis_pubsub_mode;
    redis->bus.engine = &bus_redis_engine;
    redis->bus.callbacks = callbacks;
    redis->bus.owner = owner;
    redis->bus.queues = keeps ? options->queues : 1;
    redis->bus.max_record = REDIS_MAX_RECORD;
    redis->bus.failover_after_ms = UINT64_MAX;
    redis->bus.is_lossy = !keeps;
    redis->bus.layout = layout_of(redis);
}

static void fill_queues(struct redis_bus *redis)
{
    for (uint32_t i = 0; i < BUS_MAX_QUEUES; i++) {
        redis->queues[i].end = &redis->queues[i].first;
    }
}

static int redis_create(struct bus **out_bus, struct loop *loop, const struct bus_options *options,
                        const struct bus_callbacks *callbacks, void *owner)
{
    ASSERT(options->queues >= 1 && options->queues <= BUS_MAX_QUEUES);
    struct redis_bus *redis = mem_zalloc(sizeof(*redis));
    if (!redis) {
        return ERR_NO_MEMORY;
    }
    size_t option;
    const char *problem;
    int err = redis_config_init(&redis->config, options, &option, &problem);
    if (err) {
        mem_free(redis);
        return err;
    }
    redis->loop = loop;
    redis->window_age_ms = options->window_age_ms;
    redis->only_queue = UINT32_MAX;
    redis->random = (uint64_t)options->boot << 32 | (uint32_t)(uintptr_t)redis | 1;
    redis->backoff = (struct backoff){REDIS_RETRY_BASE_MS, REDIS_RETRY_MAX_MS, 0};
    name_client(redis, options);
    fill_bus(redis, options, callbacks, owner);
    fill_queues(redis);
    redis_connect_start(redis);
    *out_bus = &redis->bus;
    return 0;
}

static int redis_check(const struct bus_options *options, size_t *out_option,
                       const char **out_problem)
{
    struct redis_config config;
    int err = redis_config_init(&config, options, out_option, out_problem);
    if (!err) {
        redis_config_fini(&config);
    }
    return err;
}

static void redis_destroy(struct bus *bus)
{
    struct redis_bus *redis = (struct redis_bus *)bus;
    redis_connect_stop(redis);
    redis_publish_cancel(redis);
    redis_config_fini(&redis->config);
    mem_free(redis);
}

static int redis_publish(struct bus *bus, struct bus_publish *publish)
{
    return redis_publish_add((struct redis_bus *)bus, publish);
}

static void redis_flush(struct bus *bus)
{
    redis_publish_flush((struct redis_bus *)bus);
}

const struct bus_engine bus_redis_engine = {
    .name = "redis",
    .replay = true,
    .lossless = true,
    .nodes = true,
    .broker = true,
    .options = redis_config_options,
    .option_count = REDIS_CONFIG_OPTIONS,
    .check = redis_check,
    .create = redis_create,
    .destroy = redis_destroy,
    .publish = redis_publish,
    .flush = redis_flush,
};
