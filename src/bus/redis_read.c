/* Mode streams, in: XREAD over all queues on the link of its own, which waits a second for entries.
 * An answer tells of each queue what it has, or that it had nothing then. */
#include <inttypes.h>
#include <stdio.h>

#include "base/err.h"
#include "bus/redis_private.h"

enum {
    BLOCK_MS = 1000,
    MAX_ENTRIES = 256,             /* in one answer */
    SMALL_BYTES = 1024 * 1024,     /* an answer below it lets COUNT grow, */
    LARGE_BYTES = 8 * 1024 * 1024, /* and one over it makes it shrink */
    STALE_MOST_MS = 30000,
};

/* Trimming takes what is older than the window and a margin. A reader so far behind (it stood
 * still, or can't keep up) looks first whether something went that it has not read. */
static bool is_stale(const struct redis_bus *redis)
{
    uint64_t now_ms = loop_now_ms(redis->loop), most_ms = redis->window_age_ms / 2;
    most_ms = most_ms < STALE_MOST_MS ? most_ms : STALE_MOST_MS;
    most_ms = most_ms > 4 * BLOCK_MS ? most_ms : 4 * BLOCK_MS;
    for (uint32_t i = 0; i < redis->bus.queues; i++) {
        if (now_ms - redis->queues[i].complete_ms > most_ms) {
            return true;
        }
    }
    return false;
}

static void take_record(struct redis_bus *redis, uint32_t index, const struct redis_entry *entry)
{
    struct redis_queue *queue = &redis->queues[index];
    if (!entry->is_record) {
        bus_count(&redis->bus.stats.skipped, 1);
    }
    bus_count(&redis->bus.stats.bytes_in, entry->record.len);
    queue->read = entry->id;
    if (redis_id_compare(entry->id, queue->known) > 0) {
        queue->known = entry->id;
    }
    redis->must_survey = redis->must_survey || redis_id_is_end(entry->id);
    if (redis_id_fits(entry->id)) {
        redis->bus.callbacks->on_record(redis->bus.owner, index, redis_id_pos(entry->id),
                                        entry->record, entry->id.ms);
    }
}

/* How many entries there have been up to here, once the pin is passed. */
static void count_entry(struct redis_queue *queue, struct redis_id id)
{
    int order = redis_id_compare(id, queue->pin);
    if (order >= 0) {
        queue->is_caught_up = true;
    }
    if (queue->index >= 0) {
        queue->index++;
    } else if (order >= 0 && queue->pin_added >= 0) {
        queue->index = queue->pin_added + (order > 0);
    }
}

/* Ids ascend; a server that says otherwise is not believed. */
static bool take_entries(struct redis_bus *redis, uint32_t index, const struct redis_reply *entries)
{
    struct redis_queue *queue = &redis->queues[index];
    for (size_t i = 0; i < entries->count; i++) {
        struct redis_entry entry;
        if (!redis_entry_read(&entry, &entries->items[i]) ||
            redis_id_compare(entry.id, queue->read) <= 0) {
            return false;
        }
        count_entry(queue, entry.id);
        take_record(redis, index, &entry);
    }
    return true;
}

/* The number behind "NAME:q". */
static bool find_queue(const struct redis_bus *redis, struct str key, uint32_t *out_index)
{
    struct str name = redis->config.name;
    uint64_t index;
    if (key.len < name.len + 3 || !str_starts_with(key, name) ||
        memcmp(key.ptr + name.len, ":q", 2) != 0 ||
        !str_to_u64(str_make(key.ptr + name.len + 2, key.len - name.len - 2), redis->bus.queues - 1,
                    &index)) {
        return false;
    }
    *out_index = (uint32_t)index;
    return true;
}

static bool was_asked(const struct redis_bus *redis, uint32_t index)
{
    return redis->only_queue == UINT32_MAX || redis->only_queue == index;
}

static void complete_queues(struct redis_bus *redis, uint64_t full)
{
    for (uint32_t i = 0; i < redis->bus.queues; i++) {
        if (was_asked(redis, i) && !(full >> i & 1)) {
            redis->queues[i].complete_ms = redis->asked_ms;
            redis->queues[i].is_caught_up = true;
        }
    }
}

/* *out_full: bit i: queue i may have more. */
static bool take_streams(struct redis_bus *redis, const struct redis_reply *reply,
                         uint64_t *out_full)
{
    if (reply->type != REDIS_REPLY_IS_NIL && reply->type != REDIS_REPLY_IS_ARRAY) {
        return false;
    }
    for (size_t i = 0; i < reply->count; i++) {
        const struct redis_reply *stream = &reply->items[i];
        const struct redis_reply *entries = redis_reply_item(stream, 1);
        uint32_t index;
        if (!find_queue(redis, redis_reply_item(stream, 0)->text, &index) ||
            !take_entries(redis, index, entries)) {
            return false;
        }
        if (entries->count >= redis->read_count) {
            *out_full |= 1ull << index;
        }
    }
    return true;
}

static void adapt(struct redis_bus *redis, bool is_full)
{
    size_t bytes = redis_link_reply_bytes(redis->reader);
    if (bytes > LARGE_BYTES && redis->read_count > 1) {
        redis->read_count /= 2;
    } else if (bytes < SMALL_BYTES && is_full &&
               2 * redis->read_count * redis->bus.queues <= MAX_ENTRIES) {
        redis->read_count *= 2;
    }
}

/* One queue after the other until each has had an answer that fits; then all again. */
static void go_on(struct redis_bus *redis)
{
    if (redis->only_queue != UINT32_MAX && redis->queues[redis->only_queue].is_caught_up) {
        redis->only_queue++;
    }
    if (redis->only_queue >= redis->bus.queues) {
        redis->only_queue = UINT32_MAX;
    }
}

static bool is_caught_up(const struct redis_bus *redis)
{
    for (uint32_t i = 0; i < redis->bus.queues; i++) {
        if (!redis->queues[i].is_caught_up) {
            return false;
        }
    }
    return true;
}

static void on_read(void *owner, uint32_t tag, const struct redis_reply *reply)
{
    struct redis_bus *redis = owner;
    uint64_t full = 0;
    if (!take_streams(redis, reply, &full)) {
        redis_connect_refuse(redis, reply);
        return;
    }
    adapt(redis, full != 0);
    complete_queues(redis, full);
    go_on(redis);
    if (is_caught_up(redis)) {
        redis_bus_set_up(redis);
    }
    if (redis->must_survey || is_stale(redis)) {
        redis_streams_survey(redis);
    } else {
        redis_read_next(redis);
    }
}

static uint32_t add_keys(const struct redis_bus *redis, struct str *words, uint32_t count,
                         char keys[][REDIS_NAME_MAX + 16], char ids[][REDIS_ID_TEXT_MAX])
{
    uint32_t key_end = count;
    for (uint32_t i = 0; i < redis->bus.queues; i++) {
        if (was_asked(redis, i)) {
            words[key_end++] = redis_bus_key(redis, keys[i], ":q%u", i);
        }
    }
    uint32_t id_end = key_end;
    for (uint32_t i = 0; i < redis->bus.queues; i++) {
        if (was_asked(redis, i)) {
            words[id_end++] = str_of(redis_id_format(redis->queues[i].read, ids[i]));
        }
    }
    return id_end;
}

/* ---- an entry that is too large even alone ---- */

static const char skip_script[] =
    "local next = redis.call('XRANGE', KEYS[1], '(' .. ARGV[1], '+', 'COUNT', 1)\n"
    "return next[1] and next[1][1] or ''\n";

static void on_skipped(void *owner, uint32_t index, const struct redis_reply *reply)
{
    struct redis_bus *redis = owner;
    struct redis_entry entry = {.record = STR("")};
    if (reply->type != REDIS_REPLY_IS_TEXT) {
        redis_connect_refuse(redis, reply);
        return;
    }
    redis->must_skip = false;
    if (redis_id_parse(&entry.id, reply->text) &&
        redis_id_compare(entry.id, redis->queues[index].read) > 0) {
        count_entry(&redis->queues[index], entry.id);
        take_record(redis, index, &entry);
    }
    redis_read_next(redis);
}

static void skip_entry(struct redis_bus *redis)
{
    char key[REDIS_NAME_MAX + 16], id[REDIS_ID_TEXT_MAX];
    uint32_t index = redis->only_queue;
    struct str words[] = {STR("EVAL"), str_of(skip_script), STR("1"),
                          redis_bus_key(redis, key, ":q%u", index),
                          str_of(redis_id_format(redis->queues[index].read, id))};
    int err = redis_link_send(redis->command, words, 5, on_skipped, index, 0);
    if (err) {
        redis_connect_drop(redis, err_str(err));
        return;
    }
    redis_link_flush(redis->command);
}

/* ---- asking ---- */

/* While it catches up it does not wait: an answer without entries says that nothing is missing. */
static void ask(struct redis_bus *redis)
{
    enum { FIXED_WORDS = 6 };
    char keys[BUS_MAX_QUEUES][REDIS_NAME_MAX + 16], ids[BUS_MAX_QUEUES][REDIS_ID_TEXT_MAX];
    char count_text[16], block_text[16];
    struct str words[FIXED_WORDS + 2 * BUS_MAX_QUEUES] = {STR("XREAD"), STR("COUNT")};
    uint32_t count = 2;
    snprintf(count_text, sizeof(count_text), "%u", redis->read_count);
    snprintf(block_text, sizeof(block_text), "%u", BLOCK_MS);
    words[count++] = str_of(count_text);
    if (redis->is_up && redis->only_queue == UINT32_MAX) {
        words[count++] = STR("BLOCK");
        words[count++] = str_of(block_text);
    }
    words[count++] = STR("STREAMS");
    count = add_keys(redis, words, count, keys, ids);
    redis->asked_ms = loop_now_ms(redis->loop);
    int err = redis_link_send(redis->reader, words, count, on_read, 0, BLOCK_MS);
    if (err) {
        redis_connect_drop(redis, err_str(err));
        return;
    }
    redis_link_flush(redis->reader);
}

void redis_read_next(struct redis_bus *redis)
{
    if (redis->must_skip) {
        skip_entry(redis);
    } else {
        ask(redis);
    }
}

/* First one entry of one queue at a time, then not that one. */
void redis_read_less(struct redis_bus *redis)
{
    redis->must_skip = redis->only_queue != UINT32_MAX;
    if (!redis->must_skip) {
        redis->only_queue = 0;
    }
    redis->read_count = 1;
}
