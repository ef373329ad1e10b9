/* What the process ends with: every verb, the man page and scripts agree on these. */
#ifndef TIDEGATE_CLI_EXIT_CODE_H
#define TIDEGATE_CLI_EXIT_CODE_H

enum exit_code {
    EXIT_CODE_OK = 0,
    EXIT_CODE_REFUSED = 1,     /* the server said no, or what was checked is bad */
    EXIT_CODE_USAGE = 2,       /* arguments, environment, or a file named by them */
    EXIT_CODE_CONNECT = 3,     /* no connection, or it was lost before the answer */
    EXIT_CODE_TIMEOUT = 4,     /* connected, but no answer in time */
    EXIT_CODE_UNAVAILABLE = 5, /* the server said: later (429, 503) */
    EXIT_CODE_PROTOCOL = 6,    /* the answer is not tidegate's */
    EXIT_CODE_INTERNAL = 7,    /* memory is out, or the output can't be written */
};

#endif
