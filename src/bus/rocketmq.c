/* The bus on Apache RocketMQ, by its remoting protocol: life, and what is reported. The other
 * parts are listed in rocketmq_private.h. */
#include <stdio.h>

#include "base/err.h"
#include "base/log.h"
#include "base/mail.h"
#include "base/mem.h"
#include "base/siphash.h"
#include "bus/engines.h"
#include "bus/rocketmq_private.h"
#include "proto/json.h"

enum {
    REQUEST_TIMEOUT_MS = 3000,
    PAUSE_MS = 1000,
    TICK_MS = 500,
    TELL_AFTER_MS = 1000,               /* why it is not up yet: a start mostly takes less */
    REASON_GAP_MS = 5000,               /* between two reasons while it stays down */
    MAX_RECORD = (4 << 20) - (4 << 10), /* brokers take 4 MiB, some with the names counted in */
    PATIENCE_MS = 5000,                 /* with failover_after: never */
};

/* --- what is reported --- */

static void report_queue(struct rocketmq_queue *queue)
{
    struct bus *bus = &queue->rocketmq->bus;
    bool up = rocketmq_queue_is_settled(queue) && !queue->is_refused && !queue->is_pull_refused &&
              rocketmq_broker_takes_writes(queue->broker);
    if (up != queue->is_up) {
        queue->is_up = up;
        bus->callbacks->on_queue_state(bus->owner, queue->index, up);
    }
}

/* Whether it must be read before the node may serve. */
static bool is_awaited(const struct rocketmq_queue *queue)
{
    const struct rocketmq_broker *broker = queue->broker;
    uint64_t away_ms = rocketmq_now_ms(queue->rocketmq) - broker->away_since_ms;
    return !queue->is_read && (broker->is_up || away_ms < queue->rocketmq->patience_ms);
}

static void add_reason(char *reason, size_t cap, const char *problem)
{
    size_t len = strlen(reason);
    if (problem[0]) {
        snprintf(reason + len, cap - len, "%s%s", len ? "; " : "", problem);
    }
}

static void describe(const struct rocketmq_bus *rocketmq, char *reason, size_t cap)
{
    reason[0] = 0;
    add_reason(reason, cap, rocketmq->names.problem);
    for (uint32_t i = 0; i < rocketmq->broker_count; i++) {
        const struct rocketmq_broker *broker = &rocketmq->brokers[i];
        if (!broker->is_up || broker->problem[0]) {
            add_reason(reason, cap, broker->problem);
        } else if (!rocketmq_broker_takes_writes(broker)) {
            add_reason(reason, cap, "the topic's permission at a broker does not allow writing");
        }
    }
    if (!reason[0]) {
        snprintf(reason, cap, "reading the window back");
    }
}

static void report_state(struct rocketmq_bus *rocketmq, bool up)
{
    struct bus *bus = &rocketmq->bus;
    char reason[sizeof(rocketmq->reason)] = "";
    if (!up) {
        describe(rocketmq, reason, sizeof(reason));
    }
    uint64_t now_ms = rocketmq_now_ms(rocketmq);
    bool is_news = up != rocketmq->is_up ||
                   (!up && strcmp(reason, rocketmq->reason) != 0 && now_ms >= rocketmq->tell_ms);
    if (!is_news) {
        return;
    }
    rocketmq->is_up = up;
    rocketmq->tell_ms = now_ms + REASON_GAP_MS;
    memcpy(rocketmq->reason, reason, sizeof(reason));
    bus->callbacks->on_state(bus->owner, up, rocketmq->reason);
}

void rocketmq_report(struct rocketmq_bus *rocketmq)
{
    bool any_up = false;
    bool all_read = true;
    for (uint32_t i = 0; i < rocketmq->bus.queues; i++) {
        struct rocketmq_queue *queue = &rocketmq->queues[i];
        report_queue(queue);
        any_up = any_up || queue->is_up;
        all_read = all_read && !is_awaited(queue);
    }
    rocketmq->was_ready = rocketmq->was_ready || (any_up && all_read);
    report_state(rocketmq, any_up && rocketmq->was_ready);
}

static void on_tick(struct timer *timer)
{
    struct rocketmq_bus *rocketmq = MAIL_OWNER(timer, struct rocketmq_bus, tick);
    for (uint32_t i = 0; i < rocketmq->broker_count; i++) {
        rocketmq_broker_tick(&rocketmq->brokers[i]);
    }
    rocketmq_report(rocketmq);
    loop_timer_start(rocketmq->dial.loop, &rocketmq->tick, TICK_MS);
}

/* --- life --- */

/* What all nodes must have alike: the meaning of a queue's number, and so of a position. */
static uint64_t hash_layout(const struct rocketmq_bus *rocketmq)
{
    static const struct siphash_key key = {0x7469646567617465, 0x726f636b65746d71};
    uint64_t hash = siphash(&key, rocketmq->topic.ptr, rocketmq->topic.len) + rocketmq->bus.queues;
    for (uint32_t i = 0; i < rocketmq->broker_count; i++) {
        struct siphash_key chained = {key.k0 ^ hash, key.k1};
        hash = siphash(&chained, rocketmq->brokers[i].name.ptr, rocketmq->brokers[i].name.len);
    }
    return hash;
}

static void write_group(struct buf *out, struct str field, struct str group)
{
    json_write_comma(out);
    buf_append_str(out, field);
    json_write_string_field(out, STR("groupName"), group);
}

/* So that the brokers' tools list this node. Nothing depends on it. */
static int write_heartbeat(struct rocketmq_bus *rocketmq, const struct bus_options *options)
{
    struct buf *out = &rocketmq->heartbeat;
    struct buf client = {0};
    buf_printf(&client, "%.*s@%08x", STR_ARG(options->node), options->boot);
    buf_append_str(out, STR("{"));
    json_write_string_field(out, STR("clientID"), buf_str(&client));
    write_group(out, STR("\"consumerDataSet\":[{"), str_of(rocketmq->consumer_group));
    buf_append_str(out, STR(",\"consumeFromWhere\":\"CONSUME_FROM_LAST_OFFSET\",\"consumeType\":"
                            "\"CONSUME_PASSIVELY\",\"messageModel\":\"BROADCASTING\","
                            "\"unitMode\":false,\"subscriptionDataSet\":[{\"classFilterMode\":"
                            "false,\"codeSet\":[],\"expressionType\":\"TAG\",\"subString\":\"*\","
                            "\"subVersion\":0,\"tagsSet\":[]"));
    json_write_string_field(out, STR("topic"), rocketmq->topic);
    buf_append_str(out, STR("}]}]"));
    write_group(out, STR("\"producerDataSet\":[{"), str_of(rocketmq->producer_group));
    buf_append_str(out, STR("}]}"));
    int err = buf_err(&client) ? buf_err(&client) : buf_err(out);
    buf_fini(&client);
    return err;
}

static int init_dial(struct rocketmq_bus *rocketmq, struct loop *loop,
                     const struct bus_value *values)
{
    const char *problem = "";
    rocketmq->dial.access_key = values[ROCKETMQ_OPTION_ACCESS_KEY].text;
    rocketmq->dial.secret_key = values[ROCKETMQ_OPTION_SECRET_KEY].text;
    rocketmq->dial.stats = &rocketmq->bus.stats;
    rocketmq->dial.request_timeout_ms = REQUEST_TIMEOUT_MS;
    rocketmq->dial.pause_ms = PAUSE_MS;
    if (!values[ROCKETMQ_OPTION_TLS].number) {
        return 0;
    }
    struct str ca = values[ROCKETMQ_OPTION_TLS_CA].text.len ? values[ROCKETMQ_OPTION_TLS_CA].text
                                                            : STR("");
    int err = stream_tls_create(&rocketmq->dial.tls, ca, values[ROCKETMQ_OPTION_TLS_VERIFY].number,
                                STR(""), STR(""), &problem);
    if (err == ERR_SYNTAX) {
        log_error("bus.tls_refused", "bus.tls_ca: %s", problem);
    }
    return err;
}

static void init_names_and_groups(struct rocketmq_bus *rocketmq)
{
    snprintf(rocketmq->producer_group, sizeof(rocketmq->producer_group), "%.*s-producer",
             STR_ARG(rocketmq->topic));
    snprintf(rocketmq->consumer_group, sizeof(rocketmq->consumer_group), "%.*s-consumer",
             STR_ARG(rocketmq->topic));
    snprintf(rocketmq->epoch, sizeof(rocketmq->epoch), "rocketmq-%016llx",
             (unsigned long long)rocketmq->bus.layout);
}

static void init_bus(struct rocketmq_bus *rocketmq, const struct bus_options *options,
                     const struct bus_callbacks *callbacks, void *owner)
{
    uint64_t failover_ms = options->values[ROCKETMQ_OPTION_FAILOVER_AFTER].number;
    rocketmq->bus.engine = &bus_rocketmq_engine;
    rocketmq->bus.callbacks = callbacks;
    rocketmq->bus.owner = owner;
    rocketmq->bus.queues = options->queues;
    rocketmq->bus.max_record = MAX_RECORD;
    rocketmq->bus.failover_after_ms = failover_ms ? failover_ms : UINT64_MAX;
    rocketmq->patience_ms = failover_ms ? failover_ms : PATIENCE_MS;
    rocketmq->tell_ms = loop_now_ms(rocketmq->dial.loop) + TELL_AFTER_MS;
    rocketmq->window_age_ms = options->window_age_ms;
    rocketmq->topic = options->values[ROCKETMQ_OPTION_TOPIC].text;
}

static void init_parts(struct rocketmq_bus *rocketmq, const struct bus_options *options)
{
    const struct bus_value *brokers = &options->values[ROCKETMQ_OPTION_BROKERS];
    const struct bus_value *servers = &options->values[ROCKETMQ_OPTION_NAME_SERVERS];
    rocketmq->broker_count = (uint32_t)brokers->text_count;
    for (uint32_t i = 0; i < rocketmq->broker_count; i++) {
        rocketmq_broker_init(&rocketmq->brokers[i], rocketmq, brokers->texts[i]);
    }
    for (uint32_t i = 0; i < rocketmq->bus.queues; i++) {
        rocketmq_queue_init(&rocketmq->queues[i], rocketmq, i);
        rocketmq->queues[i].broker->queue_count++;
    }
    rocketmq->bus.layout = hash_layout(rocketmq);
    rocketmq->bus.is_nameless = true; /* a broker does not say that it was set up anew */
    init_names_and_groups(rocketmq);
    rocketmq_names_init(&rocketmq->names, rocketmq, servers->texts, servers->text_count);
    rocketmq->tick.on_fire = on_tick;
    loop_timer_start(rocketmq->dial.loop, &rocketmq->tick, TICK_MS);
}

static void destroy(struct bus *bus)
{
    struct rocketmq_bus *rocketmq = (struct rocketmq_bus *)bus;
    loop_timer_stop(rocketmq->dial.loop, &rocketmq->tick);
    rocketmq_names_fini(&rocketmq->names);
    for (uint32_t i = 0; i < bus->queues; i++) {
        rocketmq_queue_fini(&rocketmq->queues[i]);
    }
    for (uint32_t i = 0; i < rocketmq->broker_count; i++) {
        rocketmq_broker_fini(&rocketmq->brokers[i]);
    }
    stream_tls_unref(rocketmq->dial.tls);
    buf_fini(&rocketmq->heartbeat);
    mem_account(MEM_BUS, -(int64_t)sizeof(*rocketmq));
    mem_free(rocketmq);
}

static int create(struct bus **out_bus, struct loop *loop, const struct bus_options *options,
                  const struct bus_callbacks *callbacks, void *owner)
{
    ASSERT(rocketmq_options_check(options, NULL, NULL) == 0);
    struct rocketmq_bus *rocketmq = mem_zalloc(sizeof(*rocketmq));
    if (!rocketmq) {
        return ERR_NO_MEMORY;
    }
    mem_account(MEM_BUS, sizeof(*rocketmq));
    rocketmq->dial.loop = loop;
    init_bus(rocketmq, options, callbacks, owner);
    int err = init_dial(rocketmq, loop, options->values);
    if (!err) {
        init_parts(rocketmq, options);
        err = write_heartbeat(rocketmq, options);
    }
    if (err) {
        destroy(&rocketmq->bus);
        return err;
    }
    *out_bus = &rocketmq->bus;
    return 0;
}

static int publish(struct bus *bus, struct bus_publish *publish)
{
    struct rocketmq_bus *rocketmq = (struct rocketmq_bus *)bus;
    ASSERT(publish->queue < bus->queues);
    struct rocketmq_queue *queue = &rocketmq->queues[publish->queue];
    ASSERT(!queue->publish);
    if (publish->record.len > bus->max_record) {
        return ERR_TOO_LARGE;
    }
    if (publish->record.len == 0) {
        return ERR_SYNTAX; /* a message has at least one byte */
    }
    queue->publish = publish;
    queue->is_sent = false;
    rocketmq->unsent |= 1ull << publish->queue;
    return 0;
}

static void flush(struct bus *bus)
{
    struct rocketmq_bus *rocketmq = (struct rocketmq_bus *)bus;
    while (rocketmq->unsent) {
        rocketmq_queue_send(&rocketmq->queues[__builtin_ctzll(rocketmq->unsent)]);
    }
}

const struct bus_engine bus_rocketmq_engine = {
    .name = "rocketmq",
    .replay = true,
    .lossless = true,
    .nodes = true,
    .broker = true,
    .options = rocketmq_options,
    .option_count = ROCKETMQ_OPTIONS,
    .check = rocketmq_options_check,
    .create = create,
    .destroy = destroy,
    .publish = publish,
    .flush = flush,
};
