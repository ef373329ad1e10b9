/* Who runs the hub. An engine with descriptors has the bus thread run it; one without
 * (bus_engine.any_thread) lets whichever thread has something for the hub run it at once, one at a
 * time: the same path, in the same order, without waking a thread to publish and another to be
 * told.
 *
 * Mails wait in a stack. Whoever adds some tries to enter: inside, it runs all that wait and
 * flushes the hub. Who finds the gate taken goes on: the one inside looks again after leaving. */
#ifndef TIDEGATE_SERVER_HUB_GATE_H
#define TIDEGATE_SERVER_HUB_GATE_H

#include <stdatomic.h>
#include <stdbool.h>

#include "net/mailbox.h"

struct hub;

struct hub_gate {
    _Atomic(struct mail *) waiting; /* newest first */
    atomic_bool is_taken;
    atomic_bool is_called; /* the bus thread was asked to go on */
    bool is_open;          /* any thread may enter; else only the bus thread, by its mailbox */
    struct hub *hub;
    struct mailbox *mailbox; /* of the bus thread; borrowed */
    struct mail call;
};

void hub_gate_init(struct hub_gate *gate, struct hub *hub, struct mailbox *mailbox, bool is_open);

/* Any thread. The hub's callbacks for the calling worker may run inside. */
void hub_gate_send(struct hub_gate *gate, struct mail_chain *chain);

/* The bus thread, at the end of its turn; true: call it again. Also to run what waits when all
 * threads are gone. */
bool hub_gate_turn(struct hub_gate *gate);

#endif
