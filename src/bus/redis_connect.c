/* Finding the master and linking to it: hosts or Sentinels are tried one after the other, and after
 * a round in vain the next one waits. A server that is no master (any more) is left, wherever that
 * shows; what was on its links is then tried at the next one. */
#include <stdio.h>

#include "base/err.h"
#include "base/log.h"
#include "bus/redis_private.h"

enum { SOON_MS = 100 };

static void try_next(struct redis_bus *redis);

/* ---- the end of a try, or of a link ---- */

static void close_links(struct redis_bus *redis)
{
    redis_link_close(redis->sentinel);
    redis_link_close(redis->command);
    redis_link_close(redis->reader);
    redis->sentinel = redis->command = redis->reader = NULL;
    atomic_store_explicit(&redis->bus.stats.links, 0, memory_order_relaxed);
    loop_timer_stop(redis->loop, &redis->tick);
}

static void on_retry(struct timer *timer)
{
    try_next((struct redis_bus *)((char *)timer - offsetof(struct redis_bus, retry)));
}

static uint32_t host_count(const struct redis_bus *redis)
{
    return redis->config.sentinel_count ? redis->config.sentinel_count : redis->config.host_count;
}

/* The others of a round are tried at once; then, or after links that worked, with some delay. */
static bool is_round_over(struct redis_bus *redis, bool had_links)
{
    redis->host++;
    if (!had_links && ++redis->tried < host_count(redis)) {
        return false;
    }
    redis->tried = 0;
    return true;
}

/* A few tries soon, then one a second or two; the first after links that lasted is at once. */
static uint64_t retry_delay_ms(struct redis_bus *redis, bool had_links)
{
    uint64_t chance = redis_bus_random(redis);
    if (had_links && redis->backoff.tries == 0) {
        redis->backoff.tries = 1;
        return SOON_MS - chance % (SOON_MS / 2 + 1);
    }
    return backoff_next_ms(&redis->backoff, chance);
}

/* Only the last reason of a round is told, so that people see one, not each in turn. */
static void lose(struct redis_bus *redis, const char *reason)
{
    if (redis->phase == REDIS_AWAY) {
        return;
    }
    bool had_links = redis->phase == REDIS_RUNNING;
    bool is_over = is_round_over(redis, had_links);
    redis->phase = REDIS_AWAY;
    close_links(redis);
    redis_publish_lost(redis);
    redis->retry.on_fire = on_retry;
    loop_timer_start(redis->loop, &redis->retry, is_over ? retry_delay_ms(redis, had_links) : 0);
    if (had_links) {
        log_warn("bus.link_lost", "%s", reason);
    }
    if (is_over) {
        redis_bus_set_down(redis, reason);
    }
}

void redis_connect_drop(struct redis_bus *redis, const char *why)
{
    char reason[REDIS_REASON_MAX], address[REDIS_ADDRESS_TEXT_MAX];
    snprintf(reason, sizeof(reason), "%s: %s",
             redis_address_format(redis_link_address(redis->command), address), why);
    lose(redis, reason);
}

void redis_connect_refuse(struct redis_bus *redis, const struct redis_reply *error)
{
    char why[REDIS_LINK_REASON_MAX];
    redis_connect_drop(redis, redis_link_explain(error, why));
}

void redis_connect_stop(struct redis_bus *redis)
{
    loop_timer_stop(redis->loop, &redis->retry);
    close_links(redis);
    redis->phase = REDIS_AWAY;
}

static void on_role(void *owner, uint32_t tag, const struct redis_reply *reply)
{
    struct redis_bus *redis = owner;
    if (reply->type == REDIS_REPLY_IS_ERROR) {
        redis_connect_refuse(redis, reply);
    } else if (!str_equal(redis_reply_item(reply, 0)->text, STR("master"))) {
        redis_connect_drop(redis, "it is no master any more");
    }
}

void redis_connect_check_role(struct redis_bus *redis)
{
    struct str words[] = {STR("ROLE")};
    redis_link_send(redis->command, words, 1, on_role, 0, 0);
}

/* The link that calls is gone already. */
static void on_sentinel_close(void *owner, int err, const char *reason)
{
    struct redis_bus *redis = owner;
    char text[REDIS_REASON_MAX];
    redis->sentinel = NULL;
    snprintf(text, sizeof(text), "sentinel %s", reason);
    lose(redis, text);
}

static void on_command_close(void *owner, int err, const char *reason)
{
    struct redis_bus *redis = owner;
    redis->command = NULL;
    lose(redis, reason);
}

static void on_reader_close(void *owner, int err, const char *reason)
{
    struct redis_bus *redis = owner;
    redis->reader = NULL;
    if (err == ERR_TOO_LARGE) {
        redis_read_less(redis);
    }
    lose(redis, reason);
}

/* ---- links ---- */

static void on_message(void *owner, const struct redis_reply *message)
{
    struct redis_bus *redis = owner;
    redis->mode->on_message(redis, message);
}

static void on_tick(struct timer *timer)
{
    struct redis_bus *redis = (struct redis_bus *)((char *)timer -
                                                   offsetof(struct redis_bus, tick));
    loop_timer_start(redis->loop, &redis->tick, REDIS_TICK_MS);
    redis->backoff.tries = 0; /* the links last */
    redis->unsent |= redis->refused;
    redis->refused = 0;
    redis->mode->tick(redis);
    redis_publish_flush(redis);
}

static void on_reader_ready(void *owner)
{
    struct redis_bus *redis = owner;
    redis->phase = REDIS_SURVEYING;
    atomic_store_explicit(&redis->bus.stats.links, 2, memory_order_relaxed);
    redis->mode->begin(redis);
}

void redis_connect_run(struct redis_bus *redis)
{
    redis->phase = REDIS_RUNNING;
    redis->tried = 0;
    bus_count(&redis->bus.stats.reconnects, redis->was_linked);
    redis->was_linked = true;
    redis->tick.on_fire = on_tick;
    loop_timer_start(redis->loop, &redis->tick, REDIS_TICK_MS);
    redis_publish_flush(redis);
}

static const struct redis_link_callbacks reader_callbacks = {.on_ready = on_reader_ready,
                                                             .on_close = on_reader_close};
static const struct redis_link_callbacks listener_callbacks = {
    .on_ready = on_reader_ready, .on_close = on_reader_close, .on_message = on_message};

static struct redis_link_options link_options(const struct redis_bus *redis,
                                              const struct redis_address *address)
{
    return (struct redis_link_options){.address = *address,
                                       .tls = redis->config.tls,
                                       .user = str_of(redis->config.url.user),
                                       .password = str_of(redis->config.url.password),
                                       .client_name = str_of(redis->client_name),
                                       .db = redis->config.url.db,
                                       .must_be_master = true,
                                       .timeout_ms = redis->config.timeout_ms,
                                       .max_reply = REDIS_MAX_REPLY};
}

static void check_opened(struct redis_bus *redis, int err)
{
    if (err) {
        lose(redis, err_str(err));
    }
}

static void on_command_ready(void *owner)
{
    struct redis_bus *redis = owner;
    struct redis_link_options options = link_options(redis, redis_link_address(redis->command));
    bool one_record = redis->mode->on_message || redis->only_queue != UINT32_MAX;
    options.max_reply = one_record ? REDIS_MAX_ALONE : REDIS_MAX_REPLY;
    check_opened(redis,
                 redis_link_open(&redis->reader, redis->loop, &options,
                                 redis->mode->on_message ? &listener_callbacks : &reader_callbacks,
                                 redis));
}

static const struct redis_link_callbacks command_callbacks = {.on_ready = on_command_ready,
                                                              .on_close = on_command_close};

static void open_command(struct redis_bus *redis, const struct redis_address *address)
{
    struct redis_link_options options = link_options(redis, address);
    check_opened(
        redis, redis_link_open(&redis->command, redis->loop, &options, &command_callbacks, redis));
}

/* ---- Sentinel ---- */

static bool read_address(struct redis_address *out_address, const struct redis_reply *reply)
{
    struct str host = redis_reply_item(reply, 0)->text, port = redis_reply_item(reply, 1)->text;
    uint64_t number;
    if (reply->count != 2 || host.len == 0 || host.len > REDIS_HOST_MAX ||
        memchr(host.ptr, '\0', host.len) || !str_to_u64(port, UINT16_MAX, &number)) {
        return false;
    }
    memcpy(out_address->host, host.ptr, host.len);
    out_address->host[host.len] = '\0';
    out_address->port = (uint16_t)number;
    return true;
}

static void on_master(void *owner, uint32_t tag, const struct redis_reply *reply)
{
    struct redis_bus *redis = owner;
    struct redis_address master;
    char why[REDIS_LINK_REASON_MAX];
    if (!read_address(&master, reply)) {
        bool knows_none = reply->type == REDIS_REPLY_IS_NIL;
        redis_link_fail(redis->sentinel, ERR_NOT_FOUND,
                        knows_none ? "it does not know a master of the name bus.sentinel_master"
                                   : redis_link_explain(reply, why));
        return;
    }
    redis_link_close(redis->sentinel);
    redis->sentinel = NULL;
    open_command(redis, &master);
}

static void on_sentinel_ready(void *owner)
{
    struct redis_bus *redis = owner;
    struct str words[] = {STR("SENTINEL"), STR("get-master-addr-by-name"),
                          redis->config.sentinel_master};
    int err = redis_link_send(redis->sentinel, words, 3, on_master, 0, 0);
    if (err) {
        redis_link_fail(redis->sentinel, err, err_str(err));
    }
}

static const struct redis_link_callbacks sentinel_callbacks = {.on_ready = on_sentinel_ready,
                                                               .on_close = on_sentinel_close};

static void open_sentinel(struct redis_bus *redis, const struct redis_address *address)
{
    struct redis_link_options options = link_options(redis, address);
    options.user = redis->config.sentinel_user;
    options.password = redis->config.sentinel_password;
    options.db = 0;
    options.must_be_master = false;
    options.max_reply = 64 * 1024;
    check_opened(redis, redis_link_open(&redis->sentinel, redis->loop, &options,
                                        &sentinel_callbacks, redis));
}

static void try_next(struct redis_bus *redis)
{
    uint32_t host = redis->host % host_count(redis);
    redis->phase = REDIS_CONNECTING;
    if (redis->config.sentinel_count) {
        open_sentinel(redis, &redis->config.sentinels[host]);
    } else {
        open_command(redis, &redis->config.hosts[host]);
    }
}

void redis_connect_start(struct redis_bus *redis)
{
    redis->retry.on_fire = on_retry;
    loop_timer_start(redis->loop, &redis->retry, 0);
}
