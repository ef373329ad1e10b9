#include "server/hub_gate.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "core/hub.h"

/* A hub without a bus: flushing it does nothing, so that what the gate itself does shows. */

enum { SENDERS = 4, MAILS = 20000 };

struct numbered {
    struct mail mail;
    int sender;
    int number;
};

struct sender {
    pthread_t thread;
    struct hub_gate *gate;
    int id;
    struct numbered mails[MAILS];
};

static struct sender senders[SENDERS];
static int next_expected[SENDERS];
static int inside; /* written without atomics: only ever one thread may be in run_mail */
static int ran;

static void run_mail(struct mail *mail)
{
    struct numbered *numbered = MAIL_OWNER(mail, struct numbered, mail);
    assert_int_equal(inside++, 0);
    assert_int_equal(numbered->number, next_expected[numbered->sender]++);
    ran++;
    inside--;
}

static void ignore_wake(void *owner, uint32_t worker)
{
}

static void ignore_done(void *owner, uint32_t worker, struct mail_chain *done)
{
}

static void ignore_state(void *owner, bool up, const char *reason)
{
}

static const struct hub_callbacks callbacks = {
    .wake = ignore_wake, .give_back = ignore_done, .on_bus_state = ignore_state};

static struct hub *make_hub(void)
{
    struct hub *hub;
    struct hub_options options = {.workers = 1,
                                  .queues = 1,
                                  .window_bytes = 1024,
                                  .window_age_ms = 1000,
                                  .backlog_bytes = 1024,
                                  .record_bytes = 1024,
                                  .ring_slots = 64,
                                  .boot = 1};
    assert_int_equal(hub_create(&hub, &options, &callbacks, NULL), 0);
    return hub;
}

static void *send_all(void *arg)
{
    struct sender *sender = arg;
    for (int i = 0; i < MAILS; i += 2) {
        struct mail_chain chain = {NULL, NULL};
        for (int k = i; k < i + 2; k++) {
            sender->mails[k] = (struct numbered){{NULL, run_mail}, sender->id, k};
            mail_chain_add(&chain, &sender->mails[k].mail);
        }
        hub_gate_send(sender->gate, &chain);
    }
    return NULL;
}

static void one_thread_at_a_time_runs_every_mail_in_its_senders_order(void **state)
{
    struct loop *loop;
    struct mailbox mailbox;
    struct hub_gate gate;
    struct hub *hub = make_hub();
    assert_int_equal(loop_create(&loop), 0);
    assert_int_equal(mailbox_init(&mailbox, loop), 0);
    hub_gate_init(&gate, hub, &mailbox, true);
    for (int i = 0; i < SENDERS; i++) {
        senders[i].gate = &gate;
        senders[i].id = i;
        assert_int_equal(pthread_create(&senders[i].thread, NULL, send_all, &senders[i]), 0);
    }
    for (int i = 0; i < SENDERS; i++) {
        pthread_join(senders[i].thread, NULL);
    }
    /* What a sender left to the bus thread after its rounds. */
    assert_int_equal(loop_turn(loop, 0), 0);
    while (hub_gate_turn(&gate)) {
    }
    assert_int_equal(ran, SENDERS * MAILS);
    mailbox_fini(&mailbox);
    loop_destroy(loop);
    hub_destroy(hub);
}

static void a_closed_gate_leaves_everything_to_the_bus_thread(void **state)
{
    struct loop *loop;
    struct mailbox mailbox;
    struct hub_gate gate;
    struct hub *hub = make_hub();
    static struct numbered numbered;
    assert_int_equal(loop_create(&loop), 0);
    assert_int_equal(mailbox_init(&mailbox, loop), 0);
    hub_gate_init(&gate, hub, &mailbox, false);
    ran = 0;
    next_expected[0] = 0;
    numbered = (struct numbered){{NULL, run_mail}, 0, 0};
    struct mail_chain chain = {NULL, NULL};
    mail_chain_add(&chain, &numbered.mail);
    hub_gate_send(&gate, &chain);
    assert_int_equal(ran, 0);
    assert_int_equal(loop_turn(loop, 0), 0);
    assert_int_equal(ran, 1);
    mailbox_fini(&mailbox);
    loop_destroy(loop);
    hub_destroy(hub);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_thread_at_a_time_runs_every_mail_in_its_senders_order),
        cmocka_unit_test(a_closed_gate_leaves_everything_to_the_bus_thread),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
