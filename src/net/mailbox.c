#include "net/mailbox.h"

#include <errno.h>
#include <stddef.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/err.h"

/* Turns a chain round and hands back its new first node; the old first then ends in tail. */
static struct mail *reverse(struct mail *chain, struct mail *tail)
{
    while (chain) {
        struct mail *next = chain->next;
        chain->next = tail;
        tail = chain;
        chain = next;
    }
    return tail;
}

bool mailbox_run(struct mailbox *mailbox)
{
    struct mail *newest = atomic_exchange_explicit(&mailbox->head, NULL, memory_order_acquire);
    struct mail *mail = reverse(newest, NULL);
    while (mail) {
        struct mail *next = mail->next; /* run() may free the mail */
        mail->run(mail);
        mail = next;
    }
    return newest != NULL;
}

static void on_wake(struct loop_watch *watch, unsigned events)
{
    struct mailbox *mailbox = (struct mailbox *)(void *)((char *)watch -
                                                         offsetof(struct mailbox, watch));
    /* Clear the eventfd before taking the mails: the other way round a wake-up could get lost. */
    eventfd_t ignored;
    (void)eventfd_read(watch->fd, &ignored);
    mailbox_run(mailbox);
}

int mailbox_init(struct mailbox *mailbox, struct loop *loop)
{
    *mailbox = (struct mailbox){.watch = {.on_ready = on_wake, .fd = -1}, .loop = loop};
    int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    int err = loop_watch(loop, &mailbox->watch, fd, LOOP_READABLE);
    if (err) {
        close(fd);
    }
    return err;
}

void mailbox_fini(struct mailbox *mailbox)
{
    while (mailbox_run(mailbox)) {
        /* A mail may have posted another one. */
    }
    int fd = mailbox->watch.fd;
    if (mailbox->loop && fd >= 0) {
        loop_unwatch(mailbox->loop, &mailbox->watch);
        close(fd);
    }
}

void mailbox_post_chain(struct mailbox *mailbox, struct mail *first, struct mail *last)
{
    last->next = NULL;
    struct mail *newest = reverse(first, NULL);
    struct mail *head = atomic_load_explicit(&mailbox->head, memory_order_relaxed);
    do {
        first->next = head;
    } while (!atomic_compare_exchange_weak_explicit(&mailbox->head, &head, newest,
                                                    memory_order_release, memory_order_relaxed));
    /* Whoever found the box empty wakes the loop. The mails may be gone by now: touch none. */
    if (!head) {
        eventfd_write(mailbox->watch.fd, 1);
    }
}

void mailbox_post(struct mailbox *mailbox, struct mail *mail)
{
    mailbox_post_chain(mailbox, mail, mail);
}
