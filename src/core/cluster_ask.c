/* Questions: sent to all nodes or one, answered by who is there, gathered until all have or the
 * time is over. */
#include "base/err.h"
#include "base/mem.h"
#include "core/cluster_private.h"

/* However long another node says that it waits. */
enum { LONGEST_ANSWER_MS = 60 * 1000 };

/* ---- what clients cause ---- */

static bool is_of_clients(uint8_t kind)
{
    return kind == CLUSTER_KIND_OF_CLIENTS;
}

static bool room_has(const struct room *room, size_t bytes, uint32_t max_count)
{
    return room->count < max_count / CLIENTS_SHARE &&
           room->bytes + bytes <= MAX_ASKS_BYTES / CLIENTS_SHARE;
}

static void room_take(struct room *room, size_t bytes)
{
    room->count++;
    room->bytes += bytes;
}

static void room_give(struct room *room, size_t bytes)
{
    room->count--;
    room->bytes -= bytes;
}

/* ---- the asker's side ---- */

static void run_done(struct mail *mail)
{
    struct cluster_question *question = MAIL_OWNER(mail, struct cluster_question, mail);
    question->on_done(question);
}

static void hand_back(struct cluster *cluster, struct cluster_question *question)
{
    question->mail.run = run_done;
    hub_give_back(cluster->hub, question->worker, &question->mail);
}

static uint32_t count_nodes(const uint64_t bits[NODE_WORDS])
{
    uint32_t count = 0;
    for (int i = 0; i < NODE_WORDS; i++) {
        count += (uint32_t)__builtin_popcountll(bits[i]);
    }
    return count;
}

static void unlink_question(struct cluster *cluster, struct cluster_question *question)
{
    *(question->prev ? &question->prev->next : &cluster->questions) = question->next;
    if (question->next) {
        question->next->prev = question->prev;
    }
    cluster->question_count--;
    if (is_of_clients(question->kind)) {
        room_give(&cluster->of_clients, question->payload.len);
    }
}

static void finish(struct cluster *cluster, struct cluster_question *question, bool is_complete)
{
    unlink_question(cluster, question);
    if (question->publish) {
        question->publish->owner = NULL;
    }
    cluster->reply_bytes -= question->reply_bytes;
    question->expected = count_nodes(question->asked);
    question->is_complete = question->is_complete && is_complete;
    hand_back(cluster, question);
}

/* Nobody has heard it. */
static void refuse(struct cluster *cluster, struct cluster_question *question)
{
    question->is_refused = true;
    finish(cluster, question, false);
}

static void finish_if_done(struct cluster *cluster, struct cluster_question *question)
{
    if (question->has_come && count_nodes(question->open) == 0) {
        finish(cluster, question, true);
    }
}

static bool whom_to_ask(struct cluster *cluster, const struct cluster_question *question,
                        uint32_t queue, struct node_set *out_set)
{
    bool all = members_expected(cluster, queue, out_set);
    if (question->only == 0) {
        return all;
    }
    uint32_t slot = members_find(cluster, question->only);
    bool is_there = slot && node_set_has(out_set, slot);
    *out_set = (struct node_set){{0}};
    if (is_there) {
        node_set_add(out_set, slot);
    }
    return is_there || (slot == 0 && all);
}

/* False: there may be others. */
static bool expect_nodes(struct cluster *cluster, struct cluster_question *question, uint32_t queue)
{
    struct node_set nodes;
    bool all = whom_to_ask(cluster, question, queue, &nodes);
    for (int i = 0; i < NODE_WORDS; i++) {
        question->asked[i] |= nodes.bits[i];
        question->open[i] |= nodes.bits[i] & ~question->heard[i];
    }
    return all;
}

/* The bus did not take it: nobody will answer. */
static void on_sent(struct publish *publish)
{
    struct cluster_question *question = publish->owner;
    bool has_failed = publish->verdict == PUBLISH_FAILED;
    publish_destroy(publish);
    if (!question) {
        return;
    }
    question->publish = NULL;
    if (has_failed && !question->is_out) {
        refuse(question->cluster, question);
    } else if (has_failed && !question->has_come) {
        finish(question->cluster, question, false);
    }
}

static struct publish *make_publish(struct cluster *cluster,
                                    const struct cluster_question *question, uint32_t queue)
{
    struct cluster_ask_body ask = {.id = question->id,
                                   .within_ms = question->limit_ms,
                                   .app = question->app,
                                   .kind = question->kind,
                                   .payload = question->payload};
    struct buf body = {0};
    struct publish *publish = cluster_write_ask(&body, &ask)
                                  ? NULL
                                  : cluster_make_publish(cluster, EVENT_ASK, question->only, queue,
                                                         buf_str(&body), question->until_ms);
    buf_fini(&body);
    return publish;
}

/* It may be finished after that, and is the asker's at the end of the turn. */
static void send_question(struct cluster *cluster, struct cluster_question *question,
                          uint32_t queue)
{
    question->publish = make_publish(cluster, question, queue);
    if (!question->publish) {
        refuse(cluster, question);
        return;
    }
    question->publish->owner = question;
    question->publish->on_done = on_sent;
    question->publish->yields = is_of_clients(question->kind);
    cluster_publish(cluster, question->publish);
    question->is_out = true;
}

static void link_question(struct cluster *cluster, struct cluster_question *question)
{
    question->prev = NULL;
    question->next = cluster->questions;
    if (question->next) {
        question->next->prev = question;
    }
    cluster->questions = question;
    cluster->question_count++;
    if (is_of_clients(question->kind)) {
        room_take(&cluster->of_clients, question->payload.len);
    }
}

static bool has_room_to_ask(const struct cluster *cluster, const struct cluster_question *question)
{
    return cluster->question_count < MAX_QUESTIONS &&
           (!is_of_clients(question->kind) ||
            room_has(&cluster->of_clients, question->payload.len, MAX_QUESTIONS));
}

void cluster_ask(struct cluster *cluster, struct cluster_question *question, uint64_t now_ms)
{
    cluster->now_ms = now_ms;
    question->cluster = cluster;
    question->id = ++cluster->last_question;
    question->until_ms = now_ms + question->limit_ms;
    question->is_complete = true;
    bool has_room = has_room_to_ask(cluster, question);
    link_question(cluster, question);
    int queue = cluster->is_shared ? cluster_pick_queue(cluster) : ERR_UNAVAILABLE;
    if (cluster->is_shared && !has_room) {
        cluster_add(&cluster->stats.questions_short, 1);
        refuse(cluster, question);
        return;
    }
    if (queue < 0) {
        finish(cluster, question, !cluster->is_shared);
        return;
    }
    expect_nodes(cluster, question, (uint32_t)queue);
    send_question(cluster, question, (uint32_t)queue);
}

static struct cluster_question *find_question(const struct cluster *cluster, uint64_t id)
{
    struct cluster_question *question = cluster->questions;
    while (question && question->id != id) {
        question = question->next;
    }
    return question;
}

static size_t bytes_of_reply(struct str text)
{
    return sizeof(struct cluster_reply) + text.len;
}

static struct cluster_reply *create_reply(uint32_t boot, const struct cluster_reply_body *body)
{
    size_t bytes = bytes_of_reply(body->text);
    struct cluster_reply *reply = mem_alloc(bytes);
    if (!reply) {
        return NULL;
    }
    mem_account(MEM_HTTP, (int64_t)bytes);
    char *text = (char *)(reply + 1);
    memcpy(text, body->text.ptr, body->text.len);
    *reply = (struct cluster_reply){.boot = boot, .text = {text, body->text.len}};
    memcpy(reply->counts, body->counts, sizeof(reply->counts));
    return reply;
}

static bool has_room_for(struct cluster *cluster, struct str text)
{
    if (text.len <= CLUSTER_REPLY_BYTES &&
        cluster->reply_bytes + bytes_of_reply(text) <= MAX_REPLIES_BYTES) {
        return true;
    }
    cluster_add(&cluster->stats.questions_short, 1);
    return false;
}

static bool keep_reply(struct cluster *cluster, struct cluster_question *question, uint32_t boot,
                       const struct cluster_reply_body *body)
{
    struct cluster_reply *reply = has_room_for(cluster, body->text) ? create_reply(boot, body)
                                                                    : NULL;
    if (!reply) {
        return false;
    }
    cluster->reply_bytes += bytes_of_reply(reply->text);
    question->reply_bytes += bytes_of_reply(reply->text);
    reply->next = question->replies;
    question->replies = reply;
    return true;
}

void asks_on_own(struct cluster *cluster, uint32_t queue, struct str text)
{
    struct cluster_ask_body body;
    struct cluster_question *question = cluster_read_ask(&body, text)
                                            ? find_question(cluster, body.id)
                                            : NULL;
    if (question && !question->has_come) {
        question->has_come = true;
        bool all = expect_nodes(cluster, question, queue);
        question->is_complete = question->is_complete && all;
        finish_if_done(cluster, question);
    }
}

static void close_node(struct cluster *cluster, struct cluster_question *question, uint32_t slot,
                       bool is_complete)
{
    question->open[slot / 64] &= ~(1ull << slot % 64);
    question->is_complete = question->is_complete && is_complete;
    finish_if_done(cluster, question);
}

void asks_on_reply(struct cluster *cluster, uint32_t boot, struct str text)
{
    struct cluster_reply_body body;
    cluster_add(&cluster->stats.replies_in, 1);
    if (!cluster_read_reply(&body, text)) {
        cluster_add(&cluster->stats.bad, 1);
        return;
    }
    struct cluster_question *question = find_question(cluster, body.id);
    uint32_t slot = members_find(cluster, boot);
    uint64_t bit = 1ull << slot % 64;
    if (!question || !slot || (question->heard[slot / 64] & bit)) {
        return;
    }
    question->heard[slot / 64] |= bit;
    question->asked[slot / 64] |= bit;
    bool is_kept = keep_reply(cluster, question, boot, &body);
    question->replied += is_kept;
    close_node(cluster, question, slot, is_kept && !body.is_part);
}

void asks_on_gone(struct cluster *cluster, uint32_t slot)
{
    uint64_t bit = 1ull << slot % 64;
    for (struct cluster_question *at = cluster->questions; at;) {
        struct cluster_question *next = at->next;
        at->heard[slot / 64] &= ~bit; /* who has the slot next has not answered */
        if (at->open[slot / 64] & bit) {
            close_node(cluster, at, slot, false);
        }
        at = next;
    }
}

void asks_expire(struct cluster *cluster)
{
    for (struct cluster_question *at = cluster->questions; at;) {
        struct cluster_question *next = at->next;
        if (at->until_ms <= cluster->now_ms) {
            finish(cluster, at, false);
        }
        at = next;
    }
}

void cluster_question_drop_replies(struct cluster_question *question)
{
    while (question->replies) {
        struct cluster_reply *reply = question->replies;
        question->replies = reply->next;
        mem_account(MEM_HTTP, -(int64_t)bytes_of_reply(reply->text));
        mem_free(reply);
    }
}

/* ---- the other side ---- */

static size_t bytes_of_ask(const struct cluster_ask_body *body)
{
    return sizeof(struct cluster_ask) + body->payload.len;
}

static bool has_room_to_answer(const struct cluster *cluster, const struct cluster_ask_body *body)
{
    size_t bytes = bytes_of_ask(body);
    return cluster->ask_count < MAX_ASKS && cluster->ask_bytes + bytes <= MAX_ASKS_BYTES &&
           (!is_of_clients(body->kind) || room_has(&cluster->asks_of_clients, bytes, MAX_ASKS));
}

static void count_ask(struct cluster *cluster, const struct cluster_ask_body *body)
{
    cluster->ask_count++;
    cluster->ask_bytes += bytes_of_ask(body);
    if (is_of_clients(body->kind)) {
        room_take(&cluster->asks_of_clients, bytes_of_ask(body));
    }
}

static struct cluster_ask *create_ask(struct cluster *cluster, uint32_t boot,
                                      const struct cluster_ask_body *body)
{
    size_t bytes = bytes_of_ask(body);
    struct cluster_ask *ask = has_room_to_answer(cluster, body) ? mem_zalloc(bytes) : NULL;
    if (ask) {
        mem_account(MEM_BUS, (int64_t)bytes);
        count_ask(cluster, body);
        memcpy(ask->payload, body->payload.ptr, body->payload.len);
        ask->origin = boot;
        ask->body = *body;
        ask->body.payload.ptr = ask->payload;
    }
    return ask;
}

void cluster_ask_destroy(struct cluster_ask *ask)
{
    mem_account(MEM_BUS, -(int64_t)bytes_of_ask(&ask->body));
    mem_free(ask);
}

void asks_end(struct cluster *cluster, struct cluster_ask *ask)
{
    cluster->ask_count--;
    cluster->ask_bytes -= bytes_of_ask(&ask->body);
    if (is_of_clients(ask->body.kind)) {
        room_give(&cluster->asks_of_clients, bytes_of_ask(&ask->body));
    }
    cluster_ask_destroy(ask);
}

static void drop_ask(struct cluster *cluster, struct cluster_ask *ask)
{
    cluster_add(&cluster->stats.asks_dropped, 1);
    asks_end(cluster, ask);
}

/* Answered at the turn's end: then it is known whether the node stood still before it. */
void asks_on_ask(struct cluster *cluster, uint32_t queue, uint32_t boot, struct str text)
{
    struct cluster_ask_body body;
    cluster_add(&cluster->stats.asks_in, 1);
    if (!cluster_read_ask(&body, text)) {
        cluster_add(&cluster->stats.bad, 1);
        return;
    }
    bool may = cluster->callbacks->on_ask && (cluster->current >> queue & 1);
    struct cluster_ask *ask = may ? create_ask(cluster, boot, &body) : NULL;
    if (!ask) {
        cluster_add(&cluster->stats.asks_dropped, 1);
        return;
    }
    ask->next = cluster->asks;
    cluster->asks = ask;
}

static struct cluster_ask *pop_ask(struct cluster *cluster)
{
    struct cluster_ask *ask = cluster->asks;
    cluster->asks = ask ? ask->next : NULL;
    return ask;
}

void asks_dispatch(struct cluster *cluster)
{
    for (struct cluster_ask *ask = pop_ask(cluster); ask; ask = pop_ask(cluster)) {
        uint32_t within_ms = ask->body.within_ms;
        ask->until_ms = cluster->now_ms +
                        (within_ms < LONGEST_ANSWER_MS ? within_ms : LONGEST_ANSWER_MS);
        cluster->callbacks->on_ask(cluster->owner, ask);
    }
}

void asks_drop_pending(struct cluster *cluster)
{
    for (struct cluster_ask *ask = pop_ask(cluster); ask; ask = pop_ask(cluster)) {
        drop_ask(cluster, ask);
    }
}

size_t cluster_reply_bytes(const struct cluster *cluster)
{
    enum { AROUND = 1024 };
    size_t record = hub_bus(cluster->hub)->max_record;
    size_t most = record > AROUND ? record - AROUND : 0;
    return most < CLUSTER_REPLY_BYTES ? most : CLUSTER_REPLY_BYTES;
}

static void on_reply_sent(struct publish *publish)
{
    struct cluster *cluster = publish->owner;
    cluster->answer_bytes -= publish->parts[0].event.len;
    publish_destroy(publish);
}

/* No backlog holds it back where the bus takes nothing, so this does. */
static void publish_reply(struct cluster *cluster, const struct cluster_ask *ask, uint32_t queue,
                          struct str text)
{
    struct publish *publish = cluster->answer_bytes + text.len > MAX_REPLIES_BYTES
                                  ? NULL
                                  : cluster_make_publish(cluster, EVENT_REPLY, ask->origin, queue,
                                                         text, ask->until_ms);
    if (!publish) {
        cluster_add(&cluster->stats.asks_dropped, 1);
        return;
    }
    cluster->answer_bytes += publish->parts[0].event.len;
    publish->owner = cluster;
    publish->on_done = on_reply_sent;
    cluster_publish(cluster, publish);
}

static void send_reply(struct cluster *cluster, const struct cluster_ask *ask,
                       const struct cluster_reply_body *reply)
{
    struct cluster_reply_body body = *reply;
    struct buf text = {0};
    int queue = cluster_pick_queue(cluster);
    body.id = ask->body.id;
    if (body.text.len > cluster_reply_bytes(cluster)) {
        body.text = STR("");
        body.is_part = true;
    }
    if (queue >= 0 && !cluster_write_reply(&text, &body)) {
        publish_reply(cluster, ask, (uint32_t)queue, buf_str(&text));
    }
    buf_fini(&text);
}

void cluster_answer(struct cluster *cluster, struct cluster_ask *ask,
                    const struct cluster_reply_body *reply, uint64_t now_ms)
{
    cluster->now_ms = now_ms;
    if (now_ms >= ask->until_ms) {
        drop_ask(cluster, ask);
        return;
    }
    send_reply(cluster, ask, reply);
    asks_end(cluster, ask);
}

void asks_drop_all(struct cluster *cluster)
{
    asks_drop_pending(cluster);
    while (cluster->questions) {
        finish(cluster, cluster->questions, false);
    }
}
