/* Records on their way out. One a queue is on the wire; over a lost link nobody knows what became
 * of it, so it goes again, byte for byte, until its deadline. */
#include "base/err.h"
#include "base/log.h"
#include "bus/redis_private.h"

static void start_first(struct redis_bus *redis, uint32_t index);

static struct bus_publish *take_first(struct redis_bus *redis, uint32_t index)
{
    struct redis_queue *queue = &redis->queues[index];
    struct bus_publish *publish = queue->first;
    loop_timer_stop(redis->loop, &queue->deadline);
    queue->first = publish->next;
    if (!queue->first) {
        queue->end = &queue->first;
    }
    queue->is_on_wire = queue->is_uncertain = false;
    redis->unsent &= ~(1ull << index);
    redis->refused &= ~(1ull << index);
    if (queue->first) {
        start_first(redis, index);
    }
    return publish;
}

static void fail_first(struct redis_bus *redis, uint32_t index, int err)
{
    struct bus_publish *publish = take_first(redis, index);
    publish->on_done(publish, err, (struct bus_pos){0, 0});
}

/* Never sent: certainly not in the queue. Else nobody knows, and its answer, if one comes, is no
 * longer waited for. */
static void on_deadline(struct timer *timer)
{
    struct redis_queue *queue = (struct redis_queue *)((char *)timer -
                                                       offsetof(struct redis_queue, deadline));
    uint32_t index = queue->first->queue;
    struct redis_bus *redis = (struct redis_bus *)((char *)(queue - index) -
                                                   offsetof(struct redis_bus, queues));
    bool is_known = !queue->is_on_wire && !queue->is_uncertain;
    queue->stale_answers += queue->is_on_wire;
    fail_first(redis, index, is_known ? ERR_UNAVAILABLE : ERR_TIMEOUT);
}

static void start_first(struct redis_bus *redis, uint32_t index)
{
    struct redis_queue *queue = &redis->queues[index];
    uint64_t now_ms = loop_now_ms(redis->loop), deadline_ms = queue->first->deadline_ms;
    redis->unsent |= 1ull << index;
    if (deadline_ms) {
        queue->deadline.on_fire = on_deadline;
        loop_timer_start(redis->loop, &queue->deadline,
                         deadline_ms > now_ms ? deadline_ms - now_ms : 0);
    }
}

int redis_publish_add(struct redis_bus *redis, struct bus_publish *publish)
{
    ASSERT(publish->queue < redis->bus.queues);
    if (publish->record.len > redis->bus.max_record) {
        return ERR_TOO_LARGE;
    }
    struct redis_queue *queue = &redis->queues[publish->queue];
    bool is_first = queue->first == NULL;
    publish->next = NULL;
    *queue->end = publish;
    queue->end = &publish->next;
    if (is_first) {
        start_first(redis, publish->queue);
    }
    return 0;
}

static void send_first(struct redis_bus *redis, uint32_t index)
{
    struct redis_queue *queue = &redis->queues[index];
    if (redis->mode->send(redis, index)) {
        return; /* no memory, or much waits: with the next flush */
    }
    redis->unsent &= ~(1ull << index);
    queue->is_on_wire = true;
    if (queue->is_uncertain) {
        bus_count(&redis->bus.stats.retries, 1);
    }
}

void redis_publish_flush(struct redis_bus *redis)
{
    if (redis->phase != REDIS_RUNNING) {
        return;
    }
    for (uint64_t left = redis->unsent; left; left &= left - 1) {
        send_first(redis, (uint32_t)__builtin_ctzll(left));
    }
    redis_link_flush(redis->command);
    redis_link_flush(redis->reader);
}

bool redis_publish_take_answer(struct redis_bus *redis, uint32_t index)
{
    struct redis_queue *queue = &redis->queues[index];
    if (queue->stale_answers > 0) {
        queue->stale_answers--;
        return false;
    }
    return queue->is_on_wire;
}

void redis_publish_done(struct redis_bus *redis, uint32_t index, struct bus_pos pos)
{
    struct bus_publish *publish = take_first(redis, index);
    redis->is_refusing = false;
    bus_count(&redis->bus.stats.bytes_out, publish->record.len);
    publish->on_done(publish, 0, pos);
}

/* Once, until it takes one again. */
static void log_refusal(struct redis_bus *redis, const struct redis_reply *error)
{
    if (redis->is_refusing) {
        return;
    }
    redis->is_refusing = true;
    char reason[REDIS_LINK_REASON_MAX], address[REDIS_ADDRESS_TEXT_MAX];
    log_warn("bus.publish_refused", "%s refuses records: %s",
             redis_address_format(redis_link_address(redis->command), address),
             redis_link_explain(error, reason));
}

static void put_back(struct redis_bus *redis, uint32_t index, uint64_t *mask)
{
    redis->queues[index].is_on_wire = false;
    *mask |= 1ull << index;
}

void redis_publish_put_off(struct redis_bus *redis, uint32_t index)
{
    put_back(redis, index, &redis->refused);
}

/* A refusal is certain only for what was sent once; what an earlier link may have brought is tried
 * on, since a refused repeat says nothing of it. */
void redis_publish_refused(struct redis_bus *redis, uint32_t index, bool is_ours, bool again,
                           const struct redis_reply *error)
{
    bool is_stale = redis_link_is_stale(error) || error->type != REDIS_REPLY_IS_ERROR;
    if (is_ours && (again || redis_link_is_stale(error))) {
        put_back(redis, index, &redis->unsent);
    } else if (is_ours && !is_stale) {
        log_refusal(redis, error);
        if (redis->queues[index].is_uncertain) {
            put_back(redis, index, &redis->refused);
        } else {
            fail_first(redis, index, ERR_UNAVAILABLE);
        }
    }
    if (is_stale) {
        redis_connect_refuse(redis, error);
    }
}

void redis_publish_lost(struct redis_bus *redis)
{
    redis->unsent |= redis->refused;
    redis->refused = 0;
    for (uint32_t i = 0; i < redis->bus.queues; i++) {
        struct redis_queue *queue = &redis->queues[i];
        queue->stale_answers = 0;
        if (queue->is_on_wire) {
            queue->is_on_wire = false;
            queue->is_uncertain = true;
            redis->unsent |= 1ull << i;
        }
    }
}

/* What on_done adds meanwhile goes the same way. */
void redis_publish_cancel(struct redis_bus *redis)
{
    for (uint32_t i = 0; i < redis->bus.queues; i++) {
        while (redis->queues[i].first) {
            fail_first(redis, i, ERR_CANCELED);
        }
    }
}
