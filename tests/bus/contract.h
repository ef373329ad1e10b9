/* The cases of the contract suite, a table a file. What a bus must be able to do for a case to be
 * asked of it stands beside the case; what a bus can do, it says itself (struct bus). Nothing else
 * is left out. */
#ifndef TIDEGATE_TESTS_BUS_CONTRACT_H
#define TIDEGATE_TESTS_BUS_CONTRACT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "rig.h"

enum {
    NEEDS_NODES = 1,    /* several nodes share it */
    NEEDS_REPLAY = 2,   /* what was before the start can be read */
    NEEDS_LOSSLESS = 4, /* an acknowledged record reaches each node, if late */
    NEEDS_LOSSY = 8,    /* … or it may be lost, and a hole says so */
    NEEDS_BROKER = 16,  /* a server that can be hurt */
    NEEDS_LINK = 32,    /* a server that can be told to listen apart from where clients connect */
    NEEDS_SERVERS = 64, /* two servers that hold messages */
    NEEDS_LIMIT = 128,  /* a record can be too large for it */
    NEEDS_NOTHING = 0,
};

struct contract_case {
    const char *name;
    CMUnitTestFunction run;
    unsigned needs;
    bool is_slow; /* not asked of a build that is slow itself */
};

#define CONTRACT_CASE(run, needs) \
    {                             \
#run, run, needs, false   \
    }
#define CONTRACT_SLOW_CASE(run, needs) \
    {                                  \
#run, run, needs, true         \
    }

extern const struct contract_case contract_age_begin[], contract_age_end[], contract_order[],
    contract_start[], contract_close[], contract_limits[], contract_faults[], contract_links[],
    contract_holes[], contract_poison[];

#endif
