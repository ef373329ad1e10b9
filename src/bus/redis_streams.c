/* Mode streams: a queue is a stream NAME:qI, a record an entry with one field. What is published
 * trims its stream to the window; reading is redis_read.c's.
 *
 * The survey is one script, so that what it says of all streams is of one moment. It compares what
 * this node has seen with what is there. An entry that was seen and is gone, though older ones are
 * there or the stream's last id is below it, was not trimmed: the server has lost its end (a crash
 * without appendfsync always, a replica that lacked it). Then, and where the epoch's key is gone,
 * the script sets a new epoch, unless another node did before. Every node asks for the epoch with
 * each survey and each tick, so those that had not seen the lost end hear of it too, within a
 * second, and all announce it to their sessions. */
#include <inttypes.h>
#include <stdio.h>

#include "base/err.h"
#include "base/log.h"
#include "bus/redis_frame.h"
#include "bus/redis_private.h"

enum {
    MARGIN_MS = 10000,       /* kept beyond the window: clocks, and nodes that start right now */
    SEQ_RUNS_HIGH = 1 << 19, /* of 1 << REDIS_ID_SEQ_BITS */
    TRIM_LEAST_MS = 5000,
};

/* KEYS: the epoch's, then the queues'. ARGV: a candidate, the epoch one knows or "", the window in
 * ms, then for each queue the id known or "". Answer: the epoch, the server's clock in ms as a
 * text, then for each queue what redis_facts_read wants. A stream whose last id is out of range
 * could never take a record again: it goes, and the epoch with it. */
static const char survey_script[] =
    "local function before(a, b)\n"
    "  local am, as = a:match('^(%d+)%-(%d+)$')\n"
    "  local bm, bs = b:match('^(%d+)%-(%d+)$')\n"
    "  am, as, bm, bs = tonumber(am), tonumber(as), tonumber(bm), tonumber(bs)\n"
    "  return am < bm or (am == bm and as < bs)\n"
    "end\n"
    "local t = redis.call('TIME')\n"
    "local now = t[1] * 1000 + math.floor(t[2] / 1000)\n"
    "local start = string.format('%.0f', math.max(now - tonumber(ARGV[3]), 0))\n"
    "local epoch = redis.call('GET', KEYS[1])\n"
    "if epoch and not (epoch:match('^%w+$') and #epoch <= 64) then epoch = false end\n"
    "local broken = false\n"
    "local out = {'', string.format('%.0f', now)}\n"
    "for i = 2, #KEYS do\n"
    "  local key, known = KEYS[i], ARGV[i + 2]\n"
    "  local trim = redis.pcall('XTRIM', key, 'MINID', '=', '0')\n"
    "  if type(trim) == 'table' then\n"
    "    if trim.err:match('syntax') then\n"
    "      return redis.error_reply('OLD mode streams needs Redis 6.2 or newer')\n"
    "    end\n"
    "    return trim\n"
    "  end\n"
    "  local facts = {'0-0', '', '', '', '0', 0}\n"
    "  if redis.call('EXISTS', key) == 1 then\n"
    "    local list, info = redis.call('XINFO', 'STREAM', key), {}\n"
    "    for j = 1, #list, 2 do info[list[j]] = list[j + 1] end\n"
    "    local last = info['last-generated-id']\n"
    "    if not before(last, '8796093022207-0') then\n"
    "      redis.call('DEL', key)\n"
    "      broken = true\n"
    "    else\n"
    "      local floor = redis.call('XREVRANGE', key, start, '-', 'COUNT', 1)\n"
    "      local added = info['entries-added']\n"
    "      facts = {last, info['first-entry'] and info['first-entry'][1] or '',\n"
    "        floor[1] and floor[1][1] or '', info['max-deleted-entry-id'] or '',\n"
    "        added and string.format('%.0f', added) or '', info['length']}\n"
    "    end\n"
    "  end\n"
    "  if known ~= '' and #redis.call('XRANGE', key, known, known) == 0 and\n"
    "      (before(facts[1], known) or #redis.call('XRANGE', key, '-', known, 'COUNT', 1) > 0) then\n"
    "    broken = true\n"
    "  end\n"
    "  out[i + 1] = facts\n"
    "end\n"
    "if not epoch or (broken and (epoch == ARGV[2] or ARGV[2] == '')) then\n"
    "  epoch = ARGV[1]\n"
    "  redis.call('SET', KEYS[1], epoch)\n"
    "end\n"
    "out[1] = epoch\n"
    "return out\n";

/* ---- what the survey says ---- */

/* The clock is read now, the server's was read before: trimming is late by that, never early. */
static void set_clock(struct redis_bus *redis, uint64_t server_ms)
{
    redis->server_ms = (int64_t)server_ms - (int64_t)loop_now_ms(redis->loop);
}

static void start_queue(struct redis_bus *redis, uint32_t index, const struct redis_facts *facts)
{
    struct bus_pos from;
    struct redis_queue *queue = &redis->queues[index];
    queue->read = queue->known = redis_facts_start(facts, &from);
    queue->is_started = true;
    redis->bus.callbacks->on_start(redis->bus.owner, index, from);
}

/* Another history: reading goes on where both may agree. What is behind that comes, what was seen
 * and is lost was announced by the epoch. */
static void restart_queue(struct redis_bus *redis, uint32_t index, const struct redis_facts *facts)
{
    struct redis_queue *queue = &redis->queues[index];
    struct bus_pos seen = redis_id_pos(queue->known);
    if (redis_id_compare(facts->last, queue->read) < 0) {
        queue->read = facts->last;
    }
    queue->known = queue->read;
    uint64_t hi = redis_id_pos(queue->read).hi;
    redis->bus.callbacks->on_hole(redis->bus.owner, index, seen, (struct bus_pos){hi + 1, 0},
                                  BUS_HOLE_EPOCH);
    redis->bus.callbacks->on_start(redis->bus.owner, index, bus_pos_behind(hi));
}

static void check_hole(struct redis_bus *redis, uint32_t index, const struct redis_facts *facts)
{
    struct redis_queue *queue = &redis->queues[index];
    struct redis_id resume;
    if (!redis_facts_hole(facts, queue->read, queue->index, &resume)) {
        return;
    }
    struct bus_pos from = redis_id_pos(queue->read), to = redis_id_pos(resume);
    queue->read = resume;
    redis->bus.callbacks->on_hole(redis->bus.owner, index, from, (struct bus_pos){to.hi + 1, 0},
                                  BUS_HOLE_EXPIRED);
}

/* When the end has been read, the number of entries up to it is known. */
static void pin_queue(struct redis_bus *redis, uint32_t index, const struct redis_facts *facts)
{
    struct redis_queue *queue = &redis->queues[index];
    queue->pin = facts->last;
    queue->pin_added = facts->is_counted ? (int64_t)facts->added : -1;
    queue->is_caught_up = redis_id_compare(queue->read, queue->pin) >= 0;
    queue->index = queue->is_caught_up ? queue->pin_added : -1;
    queue->complete_ms = loop_now_ms(redis->loop);
}

static void apply_facts(struct redis_bus *redis, uint32_t index, const struct redis_facts *facts,
                        bool is_other_epoch)
{
    struct redis_queue *queue = &redis->queues[index];
    if (!queue->is_started) {
        start_queue(redis, index, facts);
    } else if (is_other_epoch) {
        restart_queue(redis, index, facts);
    } else {
        check_hole(redis, index, facts);
    }
    pin_queue(redis, index, facts);
}

static bool read_survey(struct redis_facts *out_facts, uint32_t queues,
                        const struct redis_reply *reply)
{
    for (uint32_t i = 0; i < queues; i++) {
        if (!redis_facts_read(&out_facts[i], redis_reply_item(reply, 2 + i))) {
            return false;
        }
    }
    return true;
}

static void on_survey(void *owner, uint32_t tag, const struct redis_reply *reply)
{
    struct redis_bus *redis = owner;
    struct redis_facts facts[BUS_MAX_QUEUES];
    struct str epoch = redis_reply_item(reply, 0)->text;
    uint64_t server_ms;
    if (!redis_frame_is_epoch(epoch) || !read_survey(facts, redis->bus.queues, reply) ||
        !str_to_u64(redis_reply_item(reply, 1)->text, INT64_MAX, &server_ms)) {
        redis_connect_refuse(redis, reply);
        return;
    }
    bool is_other = redis_bus_set_epoch(redis, epoch);
    set_clock(redis, server_ms);
    for (uint32_t i = 0; i < redis->bus.queues; i++) {
        apply_facts(redis, i, &facts[i], is_other);
    }
    redis->must_survey = false;
    if (redis->phase == REDIS_SURVEYING) {
        redis_connect_run(redis);
    }
    redis_read_next(redis);
}

void redis_streams_survey(struct redis_bus *redis)
{
    enum { FIXED_WORDS = 7, MAX_WORDS = FIXED_WORDS + 2 * BUS_MAX_QUEUES };
    uint32_t queues = redis->bus.queues, count = 0;
    char keys[1 + BUS_MAX_QUEUES][REDIS_NAME_MAX + 16], ids[BUS_MAX_QUEUES][REDIS_ID_TEXT_MAX];
    char key_count[8], candidate[17], age[24];
    struct str words[MAX_WORDS];
    snprintf(key_count, sizeof(key_count), "%u", 1 + queues);
    snprintf(age, sizeof(age), "%" PRIu64, redis->window_age_ms);
    redis_bus_draw_epoch(redis, candidate);
    words[count++] = STR("EVAL");
    words[count++] = str_of(survey_script);
    words[count++] = str_of(key_count);
    words[count++] = redis_bus_key(redis, keys[queues], ":epoch");
    for (uint32_t i = 0; i < queues; i++) {
        words[count++] = redis_bus_key(redis, keys[i], ":q%u", i);
    }
    words[count++] = str_of(candidate);
    words[count++] = str_of(redis->epoch);
    words[count++] = str_of(age);
    for (uint32_t i = 0; i < queues; i++) {
        struct redis_id known = redis->queues[i].known;
        words[count++] = redis_id_is_zero(known) ? STR("") : str_of(redis_id_format(known, ids[i]));
    }
    int err = redis_link_send(redis->command, words, count, on_survey, 0, 0);
    if (err) {
        redis_connect_drop(redis, err_str(err));
        return;
    }
    redis_link_flush(redis->command);
}

/* ---- out ---- */

static void begin(struct redis_bus *redis)
{
    redis->asked_ms = 0;
    redis->trim_ms = 0;
    redis->read_count = redis->read_count ? redis->read_count : 1;
    redis_streams_survey(redis);
}

/* A server whose clock was set back gives the last millisecond again and again, with sequence
 * numbers that grow; before they run out, one entry takes the next millisecond by hand. */
static bool is_high(struct redis_id id)
{
    return id.seq >= SEQ_RUNS_HIGH;
}

/* Another node had the same idea first: "The ID specified in XADD is equal or smaller than …". */
static bool is_smaller(const struct redis_reply *reply)
{
    return reply->type == REDIS_REPLY_IS_ERROR &&
           memmem(reply->text.ptr, reply->text.len, "equal or smaller", 16);
}

static const char *next_id(const struct redis_queue *queue, char out[REDIS_ID_TEXT_MAX])
{
    return is_high(queue->acked) ? redis_id_format((struct redis_id){queue->acked.ms + 1, 0}, out)
                                 : "*";
}

static void take_id(struct redis_bus *redis, uint32_t index, struct redis_id id, bool is_ours)
{
    struct redis_queue *queue = &redis->queues[index];
    queue->acked = id;
    if (redis_id_compare(id, queue->known) > 0) {
        queue->known = id;
    }
    if (is_ours && redis_id_fits(id)) {
        redis_publish_done(redis, index, redis_id_pos(id));
    } else if (is_ours) {
        redis_publish_put_off(redis, index); /* nobody takes it at that place */
    }
    if (redis_id_is_end(id)) {
        queue->acked = (struct redis_id){0, 0};
        redis->must_survey = true;
    }
}

static void on_added(void *owner, uint32_t index, const struct redis_reply *reply)
{
    struct redis_bus *redis = owner;
    struct redis_queue *queue = &redis->queues[index];
    struct redis_id id;
    bool is_ours = redis_publish_take_answer(redis, index);
    if (reply->type == REDIS_REPLY_IS_TEXT && redis_id_parse(&id, reply->text)) {
        take_id(redis, index, id, is_ours);
        return;
    }
    bool again = is_high(queue->acked) && is_smaller(reply);
    if (again) {
        queue->acked = (struct redis_id){0, 0};
    }
    redis_publish_refused(redis, index, is_ours, again, reply);
}

/* Old entries go with what comes. ~: whole nodes of the tree at a time, which costs next to
 * nothing. The cut is by the server's clock, which made the ids. */
static const char *cut(const struct redis_bus *redis, char out[24])
{
    int64_t now_ms = (int64_t)loop_now_ms(redis->loop) + redis->server_ms;
    int64_t kept_ms = (int64_t)redis->window_age_ms + MARGIN_MS;
    snprintf(out, 24, "%" PRId64, now_ms > kept_ms ? now_ms - kept_ms : 0);
    return out;
}

static int send_record(struct redis_bus *redis, uint32_t index)
{
    struct redis_queue *queue = &redis->queues[index];
    char key[REDIS_NAME_MAX + 16], min_id[24], id[REDIS_ID_TEXT_MAX];
    struct str words[] = {STR("XADD"),
                          redis_bus_key(redis, key, ":q%u", index),
                          STR("MINID"),
                          STR("~"),
                          str_of(cut(redis, min_id)),
                          str_of(next_id(queue, id)),
                          redis_entry_field,
                          queue->first->record};
    return redis_link_send(redis->command, words, sizeof(words) / sizeof(words[0]), on_added, index,
                           0);
}

/* ---- each second ---- */

static void on_time(void *owner, uint32_t tag, const struct redis_reply *reply)
{
    struct redis_bus *redis = owner;
    uint64_t seconds, us;
    if (str_to_u64(redis_reply_item(reply, 0)->text, 1ull << 40, &seconds) &&
        str_to_u64(redis_reply_item(reply, 1)->text, 1000000, &us)) {
        set_clock(redis, seconds * 1000 + us / 1000);
    }
}

static void on_epoch_read(void *owner, uint32_t tag, const struct redis_reply *reply)
{
    struct redis_bus *redis = owner;
    if (reply->type == REDIS_REPLY_IS_ERROR) {
        redis_connect_refuse(redis, reply);
    } else if (!str_equal(reply->text, str_of(redis->epoch))) {
        redis->must_survey = true;
    }
}

static void ignore(void *owner, uint32_t tag, const struct redis_reply *reply)
{
}

/* A queue that nothing is added to would keep its last records for ever. */
static void trim_quiet(struct redis_bus *redis)
{
    uint64_t now_ms = loop_now_ms(redis->loop);
    if (now_ms < redis->trim_ms) {
        return;
    }
    uint64_t every_ms = redis->window_age_ms / 4;
    redis->trim_ms = now_ms + (every_ms > TRIM_LEAST_MS ? every_ms : TRIM_LEAST_MS);
    for (uint32_t i = 0; i < redis->bus.queues; i++) {
        char key[REDIS_NAME_MAX + 16], min_id[24];
        struct str words[] = {STR("XTRIM"), redis_bus_key(redis, key, ":q%u", i), STR("MINID"),
                              STR("="), str_of(cut(redis, min_id))};
        redis_link_send(redis->command, words, 5, ignore, 0, 0);
    }
}

static void tick(struct redis_bus *redis)
{
    char key[REDIS_NAME_MAX + 16];
    struct str time[] = {STR("TIME")};
    struct str get[] = {STR("GET"), redis_bus_key(redis, key, ":epoch")};
    redis_connect_check_role(redis);
    redis_link_send(redis->command, time, 1, on_time, 0, 0);
    redis_link_send(redis->command, get, 2, on_epoch_read, 0, 0);
    trim_quiet(redis);
}

const struct redis_mode redis_streams_mode = {.begin = begin, .send = send_record, .tick = tick};
