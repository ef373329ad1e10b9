#include "server/hub_gate.h"

#include "base/clock.h"
#include "core/hub.h"

/* A worker leaves the rest to the bus thread after so many rounds for others. */
enum { ROUNDS = 3 };

static void run_call(struct mail *mail)
{
    struct hub_gate *gate = MAIL_OWNER(mail, struct hub_gate, call);
    atomic_store(&gate->is_called, false); /* the turn's end does the rest */
}

void hub_gate_init(struct hub_gate *gate, struct hub *hub, struct mailbox *mailbox, bool is_open)
{
    atomic_init(&gate->waiting, NULL);
    atomic_init(&gate->is_taken, false);
    atomic_init(&gate->is_called, false);
    gate->is_open = is_open;
    gate->hub = hub;
    gate->mailbox = mailbox;
    gate->call.run = run_call;
}

/* The chain arrives in order although the stack is newest first: it is turned round when it is
 * pushed and once more when it is taken. */
static void push(struct hub_gate *gate, const struct mail_chain *chain)
{
    struct mail *newest = NULL;
    struct mail *oldest = chain->first;
    for (struct mail *mail = chain->first; mail;) {
        struct mail *next = mail->next;
        mail->next = newest;
        newest = mail;
        mail = next;
    }
    struct mail *head = atomic_load_explicit(&gate->waiting, memory_order_relaxed);
    do {
        oldest->next = head;
    } while (!atomic_compare_exchange_weak(&gate->waiting, &head, newest));
}

static void run_waiting(struct hub_gate *gate)
{
    struct mail *newest = atomic_exchange(&gate->waiting, NULL);
    struct mail *mail = NULL;
    while (newest) {
        struct mail *older = newest->next;
        newest->next = mail;
        mail = newest;
        newest = older;
    }
    while (mail) {
        struct mail *next = mail->next;
        mail->run(mail);
        mail = next;
    }
}

/* Sequentially consistent all over: a mail pushed before a failed try is seen by the look after the
 * holder has left. */
static bool try_enter(struct hub_gate *gate)
{
    return !atomic_exchange(&gate->is_taken, true);
}

static void leave(struct hub_gate *gate)
{
    atomic_store(&gate->is_taken, false);
}

/* True when the hub has more to send at once. */
static bool run_once(struct hub_gate *gate)
{
    run_waiting(gate);
    uint64_t now_us = clock_monotonic_us();
    return hub_flush(gate->hub, now_us / 1000, now_us);
}

static void call_bus_thread(struct hub_gate *gate)
{
    if (!atomic_exchange(&gate->is_called, true)) {
        mailbox_post(gate->mailbox, &gate->call);
    }
}

void hub_gate_send(struct hub_gate *gate, struct mail_chain *chain)
{
    if (!gate->is_open) {
        mailbox_post_chain(gate->mailbox, chain->first, chain->last);
        return;
    }
    push(gate, chain);
    bool more = false;
    for (int round = 0; round < ROUNDS; round++) {
        if (!try_enter(gate)) {
            return;
        }
        more = run_once(gate);
        leave(gate);
        if (!more && !atomic_load(&gate->waiting)) {
            return;
        }
    }
    call_bus_thread(gate);
}

bool hub_gate_turn(struct hub_gate *gate)
{
    if (!try_enter(gate)) {
        return false; /* whoever is inside looks again */
    }
    bool more = run_once(gate);
    leave(gate);
    return more || atomic_load(&gate->waiting);
}
