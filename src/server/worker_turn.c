/* What goes to the bus thread and comes back, and the end of a turn. */
#include "base/clock.h"
#include "core/presence.h"
#include "core/publish.h"
#include "server/stats.h"
#include "server/worker_private.h"
#include "server/ws_protocol.h"
#include "server/ws_session.h"

enum { CORK_FROM = 2, TURN_ROUNDS = 3 };

void worker_post(struct worker *worker, struct mail *mail)
{
    mailbox_post(&worker->mailbox, mail);
}

void worker_send_to_hub(struct worker *worker, struct mail *mail)
{
    mail_chain_add(&worker->to_hub, mail);
}

void worker_on_ring(struct mail *mail)
{
    struct worker *worker = MAIL_OWNER(mail, struct worker, ring_mail);
    atomic_store_explicit(&worker->ring_posted, false, memory_order_release);
    worker->ring_ready = true;
}

void worker_wake(struct worker *worker)
{
    if (worker == worker_current()) {
        worker->ring_ready = true;
        return;
    }
    if (!atomic_exchange_explicit(&worker->ring_posted, true, memory_order_acq_rel)) {
        mailbox_post(&worker->mailbox, &worker->ring_mail);
    }
}

void worker_give_back(struct worker *worker, struct mail_chain *done)
{
    if (worker != worker_current()) {
        mailbox_post_chain(&worker->mailbox, done->first, done->last);
        return;
    }
    while (done->first) {
        struct mail *mail = done->first;
        done->first = mail->next;
        mail_chain_add(&worker->done, mail);
    }
}

static void run_interest(struct mail *mail)
{
    struct interest_batch *batch = MAIL_OWNER(mail, struct interest_batch, mail);
    struct worker *worker = batch->owner;
    hub_interest(worker->gateway->hub, batch);
}

static void send_interest(void *owner, struct interest_batch *batch)
{
    struct worker *worker = owner;
    batch->owner = worker;
    batch->mail.run = run_interest;
    worker_send_to_hub(worker, &batch->mail);
}

static void run_catch_up(struct mail *mail)
{
    struct worker *worker = MAIL_OWNER(mail, struct worker, catch_up_mail);
    hub_catch_up(worker->gateway->hub, worker->index);
}

/* One is under way at most: the shard asks again only after its answer. */
static void ask_catch_up(void *owner)
{
    struct worker *worker = owner;
    worker->catch_up_mail.run = run_catch_up;
    worker_send_to_hub(worker, &worker->catch_up_mail);
}

static void on_shard_timer(struct timer *timer)
{
    struct worker *worker = (struct worker *)((char *)timer - offsetof(struct worker, shard_timer));
    worker->ring_ready = true;
}

static void ask_run(void *owner, uint32_t delay_ms)
{
    struct worker *worker = owner;
    worker->shard_timer.on_fire = on_shard_timer;
    loop_timer_start(worker->loop, &worker->shard_timer, delay_ms);
}

static void run_note(struct mail *mail)
{
    struct presence_note *note = MAIL_OWNER(mail, struct presence_note, mail);
    presence_take_note(note->cluster, note);
}

/* With the note that will tell that the user is gone: for that, memory must not be out. */
static struct presence_note *make_notes(struct worker *worker, uint64_t key, struct str user)
{
    struct presence_note *note = presence_note_create(key, user);
    struct presence_note *spare = note ? presence_note_create(0, STR("")) : NULL;
    if (!spare) {
        presence_note_destroy(note);
        return NULL;
    }
    spare->mail.next = worker->spare_notes;
    worker->spare_notes = &spare->mail;
    return note;
}

/* There is one for each user that was told. */
static struct presence_note *take_spare(struct worker *worker, uint64_t key)
{
    struct mail *mail = worker->spare_notes;
    worker->spare_notes = mail->next;
    struct presence_note *note = MAIL_OWNER(mail, struct presence_note, mail);
    note->key = key;
    return note;
}

/* Without memory the user is not followed. */
static bool on_user(void *owner, uint16_t app, uint64_t key, struct str user, bool is_there)
{
    struct worker *worker = owner;
    const struct settings_app *settings = worker->tenants->items[app].settings;
    struct presence_note *note = is_there ? make_notes(worker, key, user) : take_spare(worker, key);
    if (!note) {
        return false;
    }
    note->worker = (uint16_t)worker->index;
    note->cluster = worker->gateway->cluster;
    note->app = shard_app_hash(worker->shard, app);
    note->grace_ms = settings ? (uint32_t)settings->presence.grace_ms : 0;
    note->is_there = is_there;
    note->mail.run = run_note;
    worker_send_to_hub(worker, &note->mail);
    return true;
}

void worker_free_spare_notes(struct worker *worker)
{
    while (worker->spare_notes) {
        presence_note_destroy(take_spare(worker, 0));
    }
}

static void on_fan_out(void *owner, uint32_t sessions)
{
    stats_fan_out(sessions);
}

const struct shard_callbacks worker_shard_callbacks = {.send_interest = send_interest,
                                                       .ask_catch_up = ask_catch_up,
                                                       .ask_run = ask_run,
                                                       .on_fan_out = on_fan_out,
                                                       .on_user = on_user};

static void run_publish(struct mail *mail)
{
    struct publish *publish = MAIL_OWNER(mail, struct publish, mail);
    struct hub *hub = publish->hub;
    hub_publish(hub, publish, clock_monotonic_ms());
}

void gateway_publish(struct worker *worker, struct publish *publish)
{
    publish->worker = worker->index;
    publish->hub = worker->gateway->hub;
    publish->mail.run = run_publish;
    worker_send_to_hub(worker, &publish->mail);
}

static void tell_going(struct worker *worker)
{
    uint32_t limit = shard_slot_limit(worker->shard);
    for (int told = 0; told < SHARD_SLICE && worker->drain_cursor < limit;) {
        struct session *session = shard_session_at(worker->shard, worker->drain_cursor++);
        if (session->state != SESSION_FREE && session->state != SESSION_ENDED) {
            ws_protocol_send_goaway(worker, session);
            told++;
        }
    }
    if (worker->drain_cursor >= limit) {
        worker->drain_cursor = 0;
    }
}

void worker_run_done(struct worker *worker)
{
    while (worker->done.first) {
        struct mail *mail = worker->done.first;
        worker->done.first = mail->next;
        if (!mail->next) {
            worker->done.last = NULL;
        }
        mail->run(mail);
    }
}

static void send_to_hub(struct worker *worker)
{
    shard_flush(worker->shard);
    struct mail_chain chain = worker->to_hub;
    worker->to_hub = (struct mail_chain){NULL, NULL};
    if (chain.first) {
        hub_gate_send(&worker->gateway->gate, &chain);
    }
}

static void run_shard(struct worker *worker)
{
    if (worker->ring_ready) {
        worker->corking = shard_backlog(worker->shard) >= CORK_FROM;
        worker->ring_ready = shard_run(worker->shard, worker_now_ms(worker));
    }
}

static bool has_mail(const struct worker *worker)
{
    return worker->to_hub.first || worker->done.first;
}

/* What the turn gathered goes to the hub; what comes back at once (this worker may have run the hub
 * itself) is answered and delivered in the same turn. */
bool worker_end_turn(void *owner)
{
    struct worker *worker = owner;
    for (int round = 0; round < TURN_ROUNDS; round++) {
        send_to_hub(worker);
        worker_run_done(worker);
        run_shard(worker);
        if (!has_mail(worker)) {
            break;
        }
    }
    if (worker->drain_cursor) {
        tell_going(worker);
    }
    ws_session_flush_turn(worker);
    send_to_hub(worker);
    worker_run_done(worker);
    if (!worker->ring_ready) {
        frame_cache_clear(&worker->frames);
    }
    return worker->ring_ready || worker->drain_cursor || has_mail(worker);
}
