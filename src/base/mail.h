/* What one thread hands to another: an intrusive node whose run() is called on the receiver's
 * thread. net/mailbox carries it; core makes mails without knowing how they travel. */
#ifndef TIDEGATE_BASE_MAIL_H
#define TIDEGATE_BASE_MAIL_H

#include <stddef.h>

/* Embedded in what is sent; the receiver owns it once posted. */
struct mail {
    struct mail *next;
    void (*run)(struct mail *mail);
};

/* A chain that gathers during one turn of a loop and is posted with one wake-up. */
struct mail_chain {
    struct mail *first;
    struct mail *last;
};

static inline void mail_chain_add(struct mail_chain *chain, struct mail *mail)
{
    mail->next = NULL;
    if (chain->last) {
        chain->last->next = mail;
    } else {
        chain->first = mail;
    }
    chain->last = mail;
}

/* The object whose member the mail is. */
#define MAIL_OWNER(mail, type, member) ((type *)((char *)(mail)-offsetof(type, member)))

#endif
