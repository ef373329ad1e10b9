#include "server/police.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"
#include "core/event.h"
#include "core/publish.h"
#include "core/receipt.h"
#include "server/stats.h"
#include "server/ws_protocol.h"

/* A word to the other sessions of the user, and what comes of it. */
struct word {
    struct worker_pending pending;
    struct worker *worker;
    struct publish *publish;
    struct receipt *receipt; /* counts the other sessions */
    struct timer timer;
    enum event_kind kind;
    uint32_t slot;
    uint32_t generation;
    bool is_published;
    bool is_timed_out;
    bool is_told; /* what came of it */
};

/* ---- what comes of it ---- */

static void let_out(struct worker *worker, struct session *session)
{
    if (!ws_session_is_held_back(session)) {
        return;
    }
    ws_session_let_out(worker, session);
    if (session->state == SESSION_REPLAYING || session->state == SESSION_LIVE) {
        ws_protocol_tell_opened(worker, session);
    }
}

static void on_opened(struct worker *worker, struct session *session,
                      const struct session_policy *policy, struct session_count older)
{
    if (session_policy_rejects(policy, older)) {
        ws_session_doom(worker, session, WS_CLOSE_SESSION_LIMIT);
        return;
    }
    let_out(worker, session);
    shard_session_admit(worker->shard, session, older);
}

static void on_ranked(struct worker *worker, struct session *session,
                      const struct session_policy *policy, struct session_count younger)
{
    if (session_policy_evicts(policy, younger)) {
        ws_session_doom(worker, session, WS_CLOSE_REPLACED);
    } else {
        shard_session_ranked(worker->shard, session, younger);
    }
}

static struct session_count read_count(struct receipt *receipt)
{
    return (struct session_count){
        .all = atomic_load_explicit(&receipt->matched, memory_order_acquire),
        .same_device = atomic_load_explicit(&receipt->written, memory_order_acquire)};
}

static bool is_certain(const struct word *word)
{
    bool failed = word->is_published && word->publish->verdict == PUBLISH_FAILED;
    return !failed && !word->is_timed_out && receipt_is_complete(word->receipt);
}

/* NULL: it has ended meanwhile. */
static struct session *session_of(const struct word *word, struct session_policy *out_policy)
{
    struct shard *shard = word->worker->shard;
    struct session *session = shard_session_find(shard, word->slot, word->generation);
    struct session_rank rank;
    return session && shard_session_policy(shard, session, out_policy, &rank) ? session : NULL;
}

/* Where nobody is refused it is enough that the bus has the word. */
static void let_out_early(const struct word *word)
{
    struct session_policy policy;
    struct session *session = word->kind == EVENT_OPEN ? session_of(word, &policy) : NULL;
    if (session && !session_policy_asks_first(&policy)) {
        let_out(word->worker, session);
    }
}

static void tell(struct word *word)
{
    struct worker *worker = word->worker;
    struct session_policy policy;
    struct session *session = session_of(word, &policy);
    word->is_told = true;
    loop_timer_stop(worker->loop, &word->timer);
    if (!session) {
        return;
    }
    if (!is_certain(word)) {
        stats_police_unsure(worker, session);
    }
    if (word->kind == EVENT_OPEN) {
        on_opened(worker, session, &policy, read_count(word->receipt));
    } else {
        on_ranked(worker, session, &policy, read_count(word->receipt));
    }
}

/* ---- a word's life ---- */

static void free_word(struct word *word)
{
    if (word->receipt) {
        word->receipt->request = NULL; /* a report that comes later finds nobody */
    }
    worker_remove_pending(&word->pending);
    receipt_unref(word->receipt);
    publish_destroy(word->publish);
    mem_account(MEM_BUS, -(int64_t)sizeof(*word));
    mem_free(word);
}

static bool waits_for_receipt(const struct word *word)
{
    return word->publish->verdict == PUBLISH_ACCEPTED &&
           atomic_load_explicit(&word->receipt->open, memory_order_acquire) > 0;
}

static void go_on(struct word *word)
{
    bool is_done = word->is_published && (word->is_timed_out || !waits_for_receipt(word));
    if (!word->is_told && (is_done || word->is_timed_out)) {
        tell(word);
    }
    if (is_done) {
        free_word(word);
    }
}

static void on_published(struct publish *publish)
{
    struct word *word = publish->owner;
    word->is_published = true;
    let_out_early(word);
    go_on(word);
}

static void on_timer(struct timer *timer)
{
    struct word *word = (struct word *)((char *)timer - offsetof(struct word, timer));
    word->is_timed_out = true;
    go_on(word);
}

/* The worker ends: nothing will be reported any more. The publish came back before that. */
static void cancel(struct worker_pending *pending)
{
    struct word *word = (struct word *)((char *)pending - offsetof(struct word, pending));
    loop_timer_stop(word->worker->loop, &word->timer);
    free_word(word);
}

static void run_receipt(struct mail *mail)
{
    struct receipt *receipt = MAIL_OWNER(mail, struct receipt, mail);
    if (receipt->request) {
        go_on(receipt->request);
    }
    receipt_unref(receipt);
}

/* Any thread. */
static void deliver_receipt(struct receipt *receipt)
{
    receipt->mail.run = run_receipt;
    worker_post(receipt->owner, &receipt->mail);
}

static int attach_receipt(struct word *word)
{
    word->receipt = receipt_create(1, deliver_receipt, word->worker);
    if (!word->receipt) {
        return ERR_NO_MEMORY;
    }
    word->receipt->request = word;
    word->receipt->until_ms = worker_now_ms(word->worker) + POLICE_WAIT_MS;
    word->publish->receipt = receipt_ref(word->receipt);
    word->publish->awaits_return = true;
    return 0;
}

static struct str device_of(const struct worker *worker, const struct session *session)
{
    const struct ws_extra *extra = ws_session_peek_extra(worker, session);
    return extra && extra->device ? str_of(extra->device) : STR("");
}

static int encode(struct word *word, const struct session *session, struct session_rank rank)
{
    struct worker *worker = word->worker;
    const struct target_space *space = &worker->gateway->keys.space;
    struct publish_part *part = &word->publish->parts[0];
    struct target target = {TARGET_USER, shard_session_user(worker->shard, session)};
    uint32_t app = shard_app_hash(worker->shard, session->app);
    uint64_t key = target_key(space, app, target.kind, target.name);
    struct event event = {.kind = word->kind,
                          .parts = 1,
                          .key_tag = space->tag,
                          .time_ms = rank.opened_ms,
                          .subject = device_of(worker, session),
                          .data = str_make((const char *)&rank.tie, sizeof(rank.tie)),
                          .data_kind = EVENT_DATA_BINARY};
    event.header.app = app;
    event.header.origin = worker->gateway->boot;
    event.header.flags = EVENT_IS_CONTROL | EVENT_WANTS_RECEIPT;
    part->queue = target_queue(space, app, target.kind, target.name,
                               shard_get_options(worker->shard)->queues);
    return event_encode(&part->event, &event, &target, &key, 1, NULL, 0);
}

static int say(struct worker *worker, const struct session *session, enum event_kind kind,
               struct session_rank rank)
{
    struct word *word = mem_zalloc(sizeof(*word));
    if (!word) {
        return ERR_NO_MEMORY;
    }
    mem_account(MEM_BUS, sizeof(*word));
    word->worker = worker;
    word->kind = kind;
    word->slot = shard_session_slot(worker->shard, session);
    word->generation = session->generation;
    word->timer.on_fire = on_timer;
    word->pending.cancel = cancel;
    word->publish = publish_create(1);
    int err = word->publish ? attach_receipt(word) : ERR_NO_MEMORY;
    err = err ? err : encode(word, session, rank);
    if (err) {
        free_word(word);
        return err;
    }
    word->publish->owner = word;
    word->publish->on_done = on_published;
    word->publish->deadline_ms = worker_now_ms(worker) + worker->settings->bus.publish_timeout_ms;
    loop_timer_start(worker->loop, &word->timer, POLICE_WAIT_MS);
    worker_add_pending(worker, &word->pending);
    gateway_publish(worker, word->publish);
    return 0;
}

/* ---- sessions ---- */

static struct session_rank draw_rank(const struct worker *worker)
{
    static _Thread_local uint32_t counter;
    uint64_t boot = worker->gateway->boot;
    return (struct session_rank){.opened_ms = clock_wall_ms(),
                                 .tie = boot << 32 | worker->index << 24 | (++counter & 0xffffff)};
}

static int begin(struct worker *worker, struct session *session,
                 const struct session_policy *policy)
{
    struct session_rank rank = draw_rank(worker);
    int err = shard_session_police(worker->shard, session, policy, rank,
                                   device_of(worker, session));
    err = err ? err : ws_session_hold_back(worker, session);
    return err ? err : say(worker, session, EVENT_OPEN, rank);
}

void police_begin(struct worker *worker, struct session *session)
{
    const struct settings_app *app = worker->tenants->items[session->app].settings;
    if (!app || !session->user) {
        return;
    }
    struct session_policy policy = session_policy_of(&app->sessions);
    if (session_policy_is_on(&policy) && begin(worker, session, &policy)) {
        ws_session_doom(worker, session, WS_CLOSE_OVERLOADED);
    }
}

void police_on_excess(struct shard *shard, struct session *session)
{
    struct worker *worker = ws_worker_of(shard);
    struct session_policy policy;
    struct session_rank rank;
    if (!shard_session_policy(shard, session, &policy, &rank) ||
        say(worker, session, EVENT_RANK, rank)) {
        ws_session_doom(worker, session, WS_CLOSE_OVERLOADED);
    }
}
