#include "api/gather.h"

#include "base/clock.h"
#include "base/mem.h"

/* What ties a gather to other nodes. */
struct gather_private {
    struct cluster_question question; /* of ours */
    struct cluster_ask *asked;        /* of another node; NULL: ours */
    struct gather_part folded;        /* for it */
    struct mail mail;                 /* takes it to the bus thread */
    uint16_t app;                     /* ours */
};

static void free_gather(struct gather *gather)
{
    for (uint32_t i = 0; i < gather->worker_parts; i++) {
        mem_account(MEM_HTTP, -(int64_t)gather->parts[i].accounted);
        buf_fini(&gather->parts[i].text);
    }
    buf_fini(&gather->of_nodes->folded.text);
    cluster_question_drop_replies(&gather->of_nodes->question);
    mem_free(gather->node_parts);
    mem_free(gather->of_nodes);
    mem_free((char *)gather->name.ptr);
    mem_free(gather);
}

/* ---- the answer to another node ---- */

/* What is too long is cut between two items. */
static bool cut_text(struct buf *text, size_t max, size_t unit)
{
    if (text->len <= max) {
        return false;
    }
    text->len = unit ? max / unit * unit : max;
    while (!unit && text->len > 0 && text->data[text->len - 1] != '\0') {
        text->len--;
    }
    return true;
}

/* Inside the gate. */
static void run_answer(struct mail *mail)
{
    struct gather_private *of_nodes = MAIL_OWNER(mail, struct gather_private, mail);
    struct gather *gather = of_nodes->question.owner;
    struct cluster *cluster = gather->asker->gateway->cluster;
    struct gather_part *folded = &of_nodes->folded;
    struct cluster_reply_body reply = {.is_part = buf_err(&folded->text) != 0};
    if (cut_text(&folded->text, cluster_reply_bytes(cluster), gather->kind->unit)) {
        reply.is_part = true;
    }
    memcpy(reply.counts, folded->counts, sizeof(reply.counts));
    reply.text = buf_str(&folded->text);
    cluster_answer(cluster, of_nodes->asked, &reply, clock_monotonic_ms());
    free_gather(gather);
}

static void answer_node(struct gather *gather)
{
    struct gather_private *of_nodes = gather->of_nodes;
    gather->kind->fold(gather, &of_nodes->folded);
    for (uint32_t i = 0; i < gather->worker_parts; i++) {
        int err = buf_err(&gather->parts[i].text);
        of_nodes->folded.text.err = err ? err : of_nodes->folded.text.err;
    }
    if (!gather->asker->gateway->cluster) {
        cluster_ask_destroy(of_nodes->asked);
        free_gather(gather);
        return;
    }
    of_nodes->mail.run = run_answer;
    worker_send_to_hub(gather->asker, &of_nodes->mail);
}

void gather_fold(struct gather *gather, struct gather_part *out)
{
    for (uint32_t i = 0; i < gather->worker_parts; i++) {
        for (int count = 0; count < GATHER_COUNTS; count++) {
            out->counts[count] += gather->parts[i].counts[count];
        }
        buf_append_str(&out->text, buf_str(&gather->parts[i].text));
    }
}

/* ---- parts ---- */

static void close_one(struct gather *gather)
{
    if (--gather->open > 0) {
        return;
    }
    if (gather->of_nodes->asked) {
        answer_node(gather);
    } else {
        gather->kind->finish(gather);
        free_gather(gather);
    }
}

static void run_back(struct mail *mail)
{
    close_one(MAIL_OWNER(mail, struct gather_part, mail)->gather);
}

/* Apps have numbers of their own on each node. False: this one does not have it, and needs it. */
static bool find_app(struct gather_part *part)
{
    const struct gather_private *of_nodes = part->gather->of_nodes;
    const struct tenants *tenants = part->worker->tenants;
    part->app = of_nodes->app;
    if (!of_nodes->asked || part->gather->kind->is_of_node) {
        return true;
    }
    for (uint32_t i = 0; i < tenants->count; i++) {
        part->app = tenants->items[i].id;
        if (shard_has_app(part->worker->shard, part->app) &&
            shard_app_hash(part->worker->shard, part->app) == of_nodes->asked->body.app) {
            return true;
        }
    }
    return false;
}

void gather_part_hold(struct gather_part *part)
{
    part->is_held = true;
}

void gather_part_done(struct gather_part *part)
{
    part->accounted = sizeof(*part) + part->text.cap;
    mem_account(MEM_HTTP, (int64_t)part->accounted);
    part->mail.run = run_back;
    worker_post(part->gather->asker, &part->mail);
}

static void run_ask(struct mail *mail)
{
    struct gather_part *part = MAIL_OWNER(mail, struct gather_part, mail);
    if (find_app(part)) {
        part->gather->kind->ask(part);
    }
    if (!part->is_held) {
        gather_part_done(part);
    }
}

/* ---- other nodes ---- */

static void take_reply(struct gather *gather, struct gather_part *part,
                       const struct cluster_reply *reply)
{
    *part = (struct gather_part){.gather = gather};
    memcpy(part->counts, reply->counts, sizeof(part->counts));
    part->text.data = (uint8_t *)reply->text.ptr;
    part->text.len = reply->text.len;
}

static void on_replies(struct cluster_question *question)
{
    struct gather *gather = question->owner;
    uint32_t count = 0;
    gather->node_parts = question->replied
                             ? mem_zalloc(sizeof(struct gather_part) * question->replied)
                             : NULL;
    for (struct cluster_reply *reply = question->replies; reply && gather->node_parts;
         reply = reply->next) {
        take_reply(gather, &gather->node_parts[count++], reply);
    }
    gather->is_complete = question->is_complete && count == question->replied;
    gather->is_refused = question->is_refused;
    gather->part_count += count;
    close_one(gather);
}

static void run_question(struct mail *mail)
{
    struct cluster_question *question = MAIL_OWNER(mail, struct cluster_question, mail);
    const struct gather *gather = question->owner;
    cluster_ask(gather->asker->gateway->cluster, question, clock_monotonic_ms());
}

static void ask_nodes(struct gather *gather, struct api_call *call, uint32_t boot)
{
    struct cluster_question *question = &gather->of_nodes->question;
    question->worker = call->worker->index;
    question->on_done = on_replies;
    question->only = boot;
    question->limit_ms = GATHER_LIMIT_MS;
    question->app = shard_app_hash(call->worker->shard, call->tenant->id);
    question->kind = gather->kind->number;
    question->payload = gather->name;
    question->mail.run = run_question;
    worker_send_to_hub(call->worker, &question->mail);
}

/* ---- the start ---- */

static struct gather *create(struct worker *asker, const struct gather_kind *kind, uint32_t parts,
                             struct str name)
{
    struct gather *gather = mem_zalloc(sizeof(*gather) + sizeof(struct gather_part) * parts);
    struct gather_private *of_nodes = mem_zalloc(sizeof(*of_nodes));
    char *copy = mem_strndup(name.ptr, name.len);
    if (!gather || !of_nodes || !copy) {
        mem_free(gather);
        mem_free(of_nodes);
        mem_free(copy);
        return NULL;
    }
    of_nodes->question.owner = gather;
    gather->of_nodes = of_nodes;
    gather->asker = asker;
    gather->kind = kind;
    gather->name = str_make(copy, name.len);
    gather->is_complete = true;
    gather->part_count = gather->worker_parts = gather->open = parts;
    return gather;
}

static void ask_workers(struct gather *gather, int only)
{
    struct gateway *gateway = gather->asker->gateway;
    uint32_t count = gather->worker_parts;
    for (uint32_t i = 0; i < count; i++) {
        struct gather_part *part = &gather->parts[i];
        part->gather = gather;
        part->worker = &gateway->workers[only >= 0 ? (uint32_t)only : i];
        part->mail.run = run_ask;
        worker_post(part->worker, &part->mail);
    }
}

static int pick_worker(const struct gateway *gateway, const struct gather_kind *kind,
                       struct str name)
{
    return kind->pick_worker ? kind->pick_worker(gateway, name) : GATHER_ALL;
}

bool gather_try_at(struct api_call *call, const struct gather_kind *kind, uint32_t boot,
                   struct str name)
{
    const struct gateway *gateway = call->worker->gateway;
    bool has_own = boot == 0 || boot == gateway->boot;
    bool has_others = boot != gateway->boot && cluster_is_shared(gateway->cluster);
    int only = has_own ? pick_worker(gateway, kind, name) : GATHER_ALL;
    uint32_t parts = only >= 0 ? 1 : gateway->worker_count;
    struct gather *gather = create(call->worker, kind, has_own ? parts : 0, name);
    if (!gather) {
        return false;
    }
    gather->exchange = call->exchange;
    gather->of_nodes->app = call->tenant->id;
    if (has_others) {
        gather->open++;
        ask_nodes(gather, call, boot);
    }
    ask_workers(gather, only);
    return true;
}

void gather_start_at(struct api_call *call, const struct gather_kind *kind, uint32_t boot,
                     struct str name)
{
    if (!gather_try_at(call, kind, boot, name)) {
        http_answer_retry(call->exchange, 503, "overloaded", "The gateway is short of memory.", 1);
    }
}

void gather_start(struct api_call *call, const struct gather_kind *kind, struct str name)
{
    gather_start_at(call, kind, 0, name);
}

void gather_answer(struct gateway *gateway, const struct gather_kind *kind, struct cluster_ask *ask)
{
    struct worker *asker = &gateway->workers[ask->body.id % gateway->worker_count];
    int only = pick_worker(gateway, kind, ask->body.payload);
    struct gather *gather = create(asker, kind, only >= 0 ? 1 : gateway->worker_count,
                                   ask->body.payload);
    if (!gather) {
        struct cluster_reply_body reply = {.is_part = true};
        cluster_answer(gateway->cluster, ask, &reply, clock_monotonic_ms());
        return;
    }
    gather->of_nodes->asked = ask;
    ask_workers(gather, only);
}

uint32_t gather_nodes(const struct gather *gather)
{
    return 1 + gather->of_nodes->question.expected;
}

uint64_t gather_sum(struct gather *gather, int count)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < gather->part_count; i++) {
        sum += gather_part_at(gather, i)->counts[count];
    }
    return sum;
}
