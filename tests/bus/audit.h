/* Compares what writers were answered with what nodes saw, and fails the case where the bus broke
 * its word:
 *   - each publish is answered, once
 *   - an acknowledged record is at its position on each node, or the node's start is behind it, or
 *     a hole was told that covers it; a lossless bus has no holes
 *   - a record that failed for good (any error but ERR_TIMEOUT and ERR_CANCELED) is on no node
 *   - all nodes have the same records at the same positions of each queue
 *   - the records of a writer come in the order they were published, but for repeats */
#ifndef TIDEGATE_TESTS_BUS_AUDIT_H
#define TIDEGATE_TESTS_BUS_AUDIT_H

#include "writer.h"

struct audit {
    struct node *const *nodes;
    size_t node_count;
    struct writer *const *writers;
    size_t writer_count;
    bool may_have_holes;
};

void audit_run(const struct audit *audit);

/* Whether each node has each acknowledged record by now, or says why not: the moment to audit. */
bool audit_is_settled(const struct audit *audit);

/* How many acknowledged records the node saw, and how many a hole covers. */
void audit_count(const struct audit *audit, const struct node *node, size_t *out_seen,
                 size_t *out_in_holes);

#endif
