/* Mode pubsub: one queue, which is one channel. A script counts each record, in a key, and
 * publishes it with its number and the epoch, so that the numbers are the order on the channel,
 * equal on every node, and what a node has missed is missing numbers. Nothing is kept.
 *
 * What passed at the end shows by the counter: each survey (after the links were made) and each
 * tick asks for it, then sends PING on the listening link: what had been published before comes
 * before the answer.
 *
 * A server that starts again, or a replica that takes over, may have lost the end of the counter
 * and would give its numbers twice. It has another run_id: the first survey there skips numbers
 * that nobody can have seen, and all nodes see a hole. */
#include <inttypes.h>
#include <stdio.h>

#include "base/err.h"
#include "bus/redis_frame.h"
#include "bus/redis_private.h"

/* KEYS: epoch, counter, run. ARGV: a candidate, the epoch one knows or "", the number seen last.
 * Answer: the epoch, the counter. */
static const char survey_script[] =
    "local epoch = redis.call('GET', KEYS[1])\n"
    "if epoch and not (epoch:match('^%w+$') and #epoch <= 64) then epoch = false end\n"
    "local counter = tonumber(redis.call('GET', KEYS[2]) or '0')\n"
    "if not counter or counter < 0 or counter > 2 ^ 52 then\n"
    "  counter, epoch = 0, false\n"
    "  redis.call('SET', KEYS[2], '0')\n"
    "end\n"
    "local run = redis.call('INFO', 'server'):match('run_id:(%x+)') or ''\n"
    "local last = redis.call('GET', KEYS[3])\n"
    "if last ~= run then\n"
    "  if last then\n"
    "    counter = counter + 2 ^ 32\n"
    "    redis.call('SET', KEYS[2], string.format('%.0f', counter))\n"
    "  end\n"
    "  redis.call('SET', KEYS[3], run)\n"
    "end\n"
    "if not epoch or (epoch == ARGV[2] and counter < tonumber(ARGV[3])) then\n"
    "  epoch = ARGV[1]\n"
    "  redis.call('SET', KEYS[1], epoch)\n"
    "end\n"
    "return {epoch, string.format('%.0f', counter)}\n";

/* KEYS: epoch, counter. ARGV: the channel, the record. Answer: the counter. */
static const char publish_script[] =
    "local epoch = redis.call('GET', KEYS[1])\n"
    "if not epoch then return redis.error_reply('NOEPOCH the epoch is gone') end\n"
    "local n = string.format('%.0f', redis.call('INCR', KEYS[2]))\n"
    "redis.call('PUBLISH', ARGV[1], epoch .. ' ' .. n .. ' ' .. ARGV[2])\n"
    "return n\n";

static void survey(struct redis_bus *redis);

/* ---- in ---- */

static struct bus_pos place(uint64_t counter)
{
    return (struct bus_pos){counter, 0};
}

/* Everything before next has been, or is lost. */
static void skip_to(struct redis_bus *redis, uint64_t next)
{
    if (next > redis->seen + 1) {
        redis->bus.callbacks->on_hole(redis->bus.owner, 0, place(redis->seen), place(next),
                                      BUS_HOLE_LOST);
        redis->seen = next - 1;
    }
}

static void take_frame(struct redis_bus *redis, const struct redis_frame *frame)
{
    if (frame->counter <= redis->seen) {
        return; /* of before the start */
    }
    skip_to(redis, frame->counter);
    redis->seen = frame->counter;
    if (frame->record.len == 0) {
        bus_count(&redis->bus.stats.skipped, 1);
    }
    bus_count(&redis->bus.stats.bytes_in, frame->record.len);
    redis->bus.callbacks->on_record(redis->bus.owner, 0, place(frame->counter), frame->record, 0);
}

/* Records of the previous epoch may still be on their way; for those of a next one the survey is
 * asked, and whatever passes until it answers is before the start. */
static void take_foreign(struct redis_bus *redis, const struct redis_frame *frame)
{
    if (str_equal(frame->epoch, str_of(redis->previous_epoch))) {
        return;
    }
    if (frame->counter > redis->passed) {
        redis->passed = frame->counter;
    }
    if (redis->phase == REDIS_RUNNING && !redis->must_survey) {
        survey(redis);
    }
}

static void on_message(struct redis_bus *redis, const struct redis_reply *message)
{
    struct redis_frame frame;
    if (!redis_frame_read(&frame, redis_reply_item(message, 2)->text)) {
        bus_count(&redis->bus.stats.skipped, 1);
    } else if (str_equal(frame.epoch, str_of(redis->epoch))) {
        take_frame(redis, &frame);
    } else {
        take_foreign(redis, &frame);
    }
}

/* ---- what was missed at the end ---- */

static void on_pong(void *owner, uint32_t tag, const struct redis_reply *reply)
{
    struct redis_bus *redis = owner;
    if (reply->type == REDIS_REPLY_IS_ERROR) {
        redis_connect_refuse(redis, reply);
        return;
    }
    if (--redis->pongs == 0) {
        skip_to(redis, redis->told + 1);
        redis_bus_set_up(redis);
    }
}

static void ask_pong(struct redis_bus *redis, uint64_t told)
{
    struct str ping[] = {STR("PING")};
    redis->told = told;
    int err = redis_link_send(redis->reader, ping, 1, on_pong, 0, 0);
    if (err) {
        redis_connect_drop(redis, err_str(err));
        return;
    }
    redis->pongs++;
    redis_link_flush(redis->reader);
}

static void on_ticked(void *owner, uint32_t tag, const struct redis_reply *reply)
{
    struct redis_bus *redis = owner;
    uint64_t told = 0;
    if (reply->type != REDIS_REPLY_IS_ARRAY) {
        redis_connect_refuse(redis, reply);
        return;
    }
    bool is_number = str_to_u64(redis_reply_item(reply, 1)->text, REDIS_FRAME_MAX_COUNTER, &told);
    bool is_same = str_equal(redis_reply_item(reply, 0)->text, str_of(redis->epoch));
    if (redis->must_survey) {
        return; /* under way */
    }
    if (is_same && is_number && told >= redis->seen_then) {
        ask_pong(redis, told);
    } else {
        survey(redis);
    }
}

static void tick(struct redis_bus *redis)
{
    char keys[2][REDIS_NAME_MAX + 16];
    struct str get[] = {STR("MGET"), redis_bus_key(redis, keys[0], ":epoch"),
                        redis_bus_key(redis, keys[1], ":counter")};
    redis->seen_then = redis->seen;
    redis_connect_check_role(redis);
    redis_link_send(redis->command, get, 3, on_ticked, 0, 0);
}

/* ---- the survey ---- */

static void start_over(struct redis_bus *redis, uint64_t counter)
{
    bool had_another = redis->previous_epoch[0] != '\0';
    if (had_another) {
        redis->bus.callbacks->on_hole(redis->bus.owner, 0, place(redis->seen), place(counter + 1),
                                      BUS_HOLE_EPOCH);
    }
    redis->seen = counter;
    redis->passed = 0;
    redis->bus.callbacks->on_start(redis->bus.owner, 0, bus_pos_behind(counter));
}

static void on_survey(void *owner, uint32_t tag, const struct redis_reply *reply)
{
    struct redis_bus *redis = owner;
    struct str epoch = redis_reply_item(reply, 0)->text;
    uint64_t counter;
    if (!redis_frame_is_epoch(epoch) ||
        !str_to_u64(redis_reply_item(reply, 1)->text, REDIS_FRAME_MAX_COUNTER, &counter)) {
        redis_connect_refuse(redis, reply);
        return;
    }
    redis->must_survey = false;
    if (redis_bus_set_epoch(redis, epoch)) {
        start_over(redis, counter > redis->passed ? counter : redis->passed);
    }
    ask_pong(redis, counter);
    if (redis->phase == REDIS_SURVEYING) {
        redis_connect_run(redis);
    }
}

static void survey(struct redis_bus *redis)
{
    char keys[3][REDIS_NAME_MAX + 16], candidate[17], seen[24];
    redis->must_survey = true;
    redis_bus_draw_epoch(redis, candidate);
    snprintf(seen, sizeof(seen), "%" PRIu64, redis->seen);
    struct str words[] = {STR("EVAL"),
                          str_of(survey_script),
                          STR("3"),
                          redis_bus_key(redis, keys[0], ":epoch"),
                          redis_bus_key(redis, keys[1], ":counter"),
                          redis_bus_key(redis, keys[2], ":run"),
                          str_of(candidate),
                          str_of(redis->epoch),
                          str_of(seen)};
    int err = redis_link_send(redis->command, words, sizeof(words) / sizeof(words[0]), on_survey, 0,
                              0);
    if (err) {
        redis_connect_drop(redis, err_str(err));
        return;
    }
    redis_link_flush(redis->command);
}

/* ---- beginning ---- */

/* Channels are the server's, not the database's. */
static struct str channel(const struct redis_bus *redis, char out[REDIS_NAME_MAX + 16])
{
    return redis_bus_key(redis, out, ":%u:events", redis->config.url.db);
}

/* Without it each record carries the script along. */
static void on_loaded(void *owner, uint32_t tag, const struct redis_reply *reply)
{
    struct redis_bus *redis = owner;
    if (reply->type == REDIS_REPLY_IS_TEXT && reply->text.len < sizeof(redis->script_sha)) {
        memcpy(redis->script_sha, reply->text.ptr, reply->text.len);
        redis->script_sha[reply->text.len] = '\0';
    }
}

static void load_script(struct redis_bus *redis)
{
    struct str words[] = {STR("SCRIPT"), STR("LOAD"), str_of(publish_script)};
    redis->script_sha[0] = '\0';
    redis_link_send(redis->command, words, 3, on_loaded, 0, 0);
}

/* From here on everything published comes: what the survey counts behind it was not missed. */
static void on_subscribed(void *owner, uint32_t tag, const struct redis_reply *reply)
{
    struct redis_bus *redis = owner;
    if (!str_equal(redis_reply_item(reply, 0)->text, STR("subscribe"))) {
        redis_connect_refuse(redis, reply);
        return;
    }
    load_script(redis);
    survey(redis);
}

static void begin(struct redis_bus *redis)
{
    char name[REDIS_NAME_MAX + 16];
    struct str words[] = {STR("SUBSCRIBE"), channel(redis, name)};
    redis->pongs = 0;
    redis->passed = 0;
    redis->must_survey = false;
    int err = redis_link_send(redis->reader, words, 2, on_subscribed, 0, 0);
    if (err) {
        redis_connect_drop(redis, err_str(err));
    }
}

/* ---- out ---- */

static void on_published(void *owner, uint32_t queue, const struct redis_reply *reply)
{
    struct redis_bus *redis = owner;
    uint64_t counter;
    bool is_ours = redis_publish_take_answer(redis, queue);
    if (reply->type == REDIS_REPLY_IS_TEXT &&
        str_to_u64(reply->text, REDIS_FRAME_MAX_COUNTER, &counter)) {
        if (is_ours) {
            redis_publish_done(redis, queue, place(counter));
        }
        return;
    }
    bool again = redis_reply_is_error(reply, STR("NOSCRIPT")) ||
                 redis_reply_is_error(reply, STR("NOEPOCH"));
    if (again && redis_reply_is_error(reply, STR("NOSCRIPT"))) {
        load_script(redis);
    } else if (again && !redis->must_survey) {
        survey(redis);
    }
    redis_publish_refused(redis, queue, is_ours, again, reply);
}

static int send_record(struct redis_bus *redis, uint32_t queue)
{
    char keys[2][REDIS_NAME_MAX + 16], name[REDIS_NAME_MAX + 16];
    bool is_loaded = redis->script_sha[0] != '\0';
    struct str words[] = {is_loaded ? STR("EVALSHA") : STR("EVAL"),
                          str_of(is_loaded ? redis->script_sha : publish_script),
                          STR("2"),
                          redis_bus_key(redis, keys[0], ":epoch"),
                          redis_bus_key(redis, keys[1], ":counter"),
                          channel(redis, name),
                          redis->queues[queue].first->record};
    return redis_link_send(redis->command, words, sizeof(words) / sizeof(words[0]), on_published,
                           queue, 0);
}

const struct redis_mode redis_pubsub_mode = {
    .begin = begin, .send = send_record, .tick = tick, .on_message = on_message};
