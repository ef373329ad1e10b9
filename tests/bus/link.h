/* The wire between the nodes and one server of the bus: it listens where clients are told to
 * connect and carries everything to where the server is, until it is told to fail. What was held
 * back by a fault goes on when it is over, as TCP would do behind a broken network. On the rig's
 * loop. */
#ifndef TIDEGATE_TESTS_BUS_LINK_H
#define TIDEGATE_TESTS_BUS_LINK_H

#include "net/addr.h"
#include "net/loop.h"

struct link; /* link.c */

enum link_fault {
    LINK_CARRIES,
    LINK_CUT,     /* connections are reset, and nobody listens */
    LINK_DEAF,    /* nothing gets to the server; what it says arrives */
    LINK_MUTE,    /* nothing comes from the server; what it is told arrives */
    LINK_DEAD,    /* neither; connections stand, new ones are accepted */
    LINK_BABBLES, /* new connections get bytes that no server says */
};

int link_create(struct link **out_link, struct loop *loop, const struct addr *told,
                const struct addr *bound);
void link_destroy(struct link *link);

/* For all connections, those to come too. A fault that never touches an established connection
 * (BABBLES) resets it first. 0 or -errno: the port can't be had again. */
int link_set(struct link *link, enum link_fault fault);

/* Connections of this moment are left alone by faults until it carries again: who is connected
 * stays so. */
void link_spare(struct link *link);

uint64_t link_accepted(const struct link *link); /* connections ever */

#endif
