/* What of this machine keeps a gateway from holding many sessions: limits, the kernel's settings,
 * memory, the clock. */
#ifndef TIDEGATE_CLI_DOCTOR_LOCAL_H
#define TIDEGATE_CLI_DOCTOR_LOCAL_H

#include <stdint.h>

#include "cli/doctor_report.h"

struct doctor_local {
    const char *root;   /* before /proc and /sys: "" but in tests */
    const char *pid;    /* whose limits: "self", or the running gateway's */
    uint64_t sessions;  /* that this node is to hold */
    const char *config; /* a configuration to check; NULL: none */
    const char *self;   /* the program that checks it: "/proc/self/exe" */
};

void doctor_check_local(const struct doctor_local *local, struct doctor_report *report);

#endif
