/* How threads talk: a mail is an intrusive node whose run() is called on the loop of the mailbox.
 * Lock-free for senders; one wake-up (eventfd) however many mails wait. Mails of one sender arrive
 * in the order sent. */
#ifndef TIDEGATE_NET_MAILBOX_H
#define TIDEGATE_NET_MAILBOX_H

#include <stdatomic.h>
#include <stdbool.h>

#include "base/mail.h"
#include "net/loop.h"

struct mailbox {
    _Atomic(struct mail *) head; /* newest first */
    struct loop_watch watch;
    struct loop *loop;
};

int mailbox_init(struct mailbox *mailbox, struct loop *loop);

/* Runs what still waits, then closes. No sender may be left. */
void mailbox_fini(struct mailbox *mailbox);

/* The loop's thread: runs what waits now, without a turn. True when there was something. */
bool mailbox_run(struct mailbox *mailbox);

/* Any thread, never fails, never blocks. */
void mailbox_post(struct mailbox *mailbox, struct mail *mail);

/* Posts a whole chain (linked by next, first is run first) with at most one wake-up. */
void mailbox_post_chain(struct mailbox *mailbox, struct mail *first, struct mail *last);

#endif
