#include "net/mailbox.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "base/mem.h"

enum { SENDERS = 4, MAILS_A_SENDER = 20000 };

struct letter {
    struct mail mail;
    int sender;
    int number;
};

/* What the receiver has seen; run() has no other way to reach it. */
static struct {
    struct loop *loop;
    struct mailbox *mailbox;
    int next[SENDERS];
    int out_of_order;
    int seen;
    int stop_at;
} receiver;

static void run_letter(struct mail *mail)
{
    struct letter *letter = (struct letter *)(void *)mail;
    receiver.out_of_order += letter->number != receiver.next[letter->sender];
    receiver.next[letter->sender] = letter->number + 1;
    if (++receiver.seen == receiver.stop_at) {
        loop_stop(receiver.loop);
    }
    mem_free(letter);
}

static struct letter *make_letter(int sender, int number)
{
    struct letter *letter = mem_zalloc(sizeof(*letter));
    letter->mail.run = run_letter;
    letter->sender = sender;
    letter->number = number;
    return letter;
}

static void *send_letters(void *arg)
{
    int sender = (int)(intptr_t)arg;
    for (int number = 0; number < MAILS_A_SENDER; number += 2) {
        struct letter *first = make_letter(sender, number);
        struct letter *second = make_letter(sender, number + 1);
        if (number % 3 == 0) {
            first->mail.next = &second->mail;
            mailbox_post_chain(receiver.mailbox, &first->mail, &second->mail);
        } else {
            mailbox_post(receiver.mailbox, &first->mail);
            mailbox_post(receiver.mailbox, &second->mail);
        }
    }
    return NULL;
}

static struct mailbox *setup_receiver(struct mailbox *mailbox)
{
    memset(&receiver, 0, sizeof(receiver));
    assert_int_equal(loop_create(&receiver.loop), 0);
    assert_int_equal(mailbox_init(mailbox, receiver.loop), 0);
    receiver.mailbox = mailbox;
    return mailbox;
}

static void mails_of_each_of_several_senders_arrive_once_and_in_order(void **state)
{
    struct mailbox mailbox;
    setup_receiver(&mailbox);
    receiver.stop_at = SENDERS * MAILS_A_SENDER;
    pthread_t threads[SENDERS];
    for (intptr_t i = 0; i < SENDERS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, send_letters, (void *)i), 0);
    }
    assert_int_equal(loop_run(receiver.loop), 0);
    for (int i = 0; i < SENDERS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(receiver.next[i], MAILS_A_SENDER);
    }
    assert_int_equal(receiver.out_of_order, 0);
    assert_int_equal(receiver.seen, receiver.stop_at);
    mailbox_fini(&mailbox);
    loop_destroy(receiver.loop);
}

static void a_chain_runs_from_its_first_mail_on(void **state)
{
    struct mailbox mailbox;
    setup_receiver(&mailbox);
    struct letter *letters[4];
    for (int i = 0; i < 4; i++) {
        letters[i] = make_letter(0, i);
    }
    mailbox_post(&mailbox, &letters[0]->mail);
    letters[1]->mail.next = &letters[2]->mail;
    letters[2]->mail.next = &letters[3]->mail;
    mailbox_post_chain(&mailbox, &letters[1]->mail, &letters[3]->mail);
    loop_turn(receiver.loop, 0);
    assert_int_equal(receiver.seen, 4);
    assert_int_equal(receiver.out_of_order, 0);
    mailbox_fini(&mailbox);
    loop_destroy(receiver.loop);
}

static void post_another(struct mail *mail)
{
    struct letter *letter = (struct letter *)(void *)mail;
    mailbox_post(receiver.mailbox, &make_letter(0, letter->number)->mail);
    mem_free(letter);
}

static void a_mail_posted_while_mails_run_waits_for_the_next_turn(void **state)
{
    struct mailbox mailbox;
    setup_receiver(&mailbox);
    struct letter *letter = make_letter(0, 0);
    letter->mail.run = post_another;
    mailbox_post(&mailbox, &letter->mail);
    loop_turn(receiver.loop, 0);
    assert_int_equal(receiver.seen, 0);
    loop_turn(receiver.loop, 0);
    assert_int_equal(receiver.seen, 1);
    mailbox_fini(&mailbox);
    loop_destroy(receiver.loop);
}

static void closing_runs_what_still_waits(void **state)
{
    struct mailbox mailbox;
    setup_receiver(&mailbox);
    struct letter *letter = make_letter(0, 0);
    letter->mail.run = post_another;
    mailbox_post(&mailbox, &letter->mail);
    mailbox_fini(&mailbox);
    assert_int_equal(receiver.seen, 1);
    loop_destroy(receiver.loop);
}

static void a_zeroed_mailbox_can_be_closed(void **state)
{
    struct mailbox mailbox = {.head = NULL};
    mailbox_fini(&mailbox);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mails_of_each_of_several_senders_arrive_once_and_in_order),
        cmocka_unit_test(a_chain_runs_from_its_first_mail_on),
        cmocka_unit_test(a_mail_posted_while_mails_run_waits_for_the_next_turn),
        cmocka_unit_test(closing_runs_what_still_waits),
        cmocka_unit_test(a_zeroed_mailbox_can_be_closed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
