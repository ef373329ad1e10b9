/* A node of a second process: this program again, with a loop and memory of its own. It publishes
 * too, and in the end hands over what it was answered and what it saw, for the audit. */
#ifndef TIDEGATE_TESTS_BUS_PEER_H
#define TIDEGATE_TESTS_BUS_PEER_H

#include "rig.h"

struct peer; /* peer.c */

/* It writes `each` records on each queue, once it was told to begin, and ends when it has seen
 * `all_each` times as many as there are queues. */
struct peer *peer_start(size_t each, size_t all_each);
bool peer_is_up(const struct peer *peer); /* its node is, and waits for the word */
void peer_begin(struct peer *peer);
bool peer_has_ended(struct peer *peer);

/* Behind its end: adds its node and its writers to the rig, as if they had been here. */
void peer_join(struct peer *peer);

/* The second process: argv from "--peer" on. Returns its exit code. */
int peer_main(int argc, char **argv);

#endif
