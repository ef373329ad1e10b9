/* What `tidegate doctor` found: a line a check, as it goes. Blocking. */
#ifndef TIDEGATE_CLI_DOCTOR_REPORT_H
#define TIDEGATE_CLI_DOCTOR_REPORT_H

#include <stdbool.h>

#include "base/buf.h"

enum doctor_status {
    DOCTOR_OK,
    DOCTOR_WARN, /* works, but not as it should */
    DOCTOR_FAIL,
    DOCTOR_SKIP, /* could not be looked at; what says why */
};

struct doctor_report {
    bool json; /* one object a check, {"check","status","what","fix"}, one a line */
    bool color;
    unsigned counts[DOCTOR_SKIP + 1];
    int output_err;
};

/* check: its stable id, like "local.descriptors". fix: what to do about it; NULL when there is
 * nothing to do. */
void doctor_say(struct doctor_report *report, const char *check, enum doctor_status status,
                const char *fix, const char *format, ...) __attribute__((format(printf, 5, 6)));

/* The last line of the text, and an enum exit_code: 1 when something fails. */
int doctor_report_end(struct doctor_report *report);

#endif
