/* What the end of a connection means for `tidegate tail`: stop, or come back, and when. Pure. */
#ifndef TIDEGATE_CLI_TAIL_VERDICT_H
#define TIDEGATE_CLI_TAIL_VERDICT_H

#include <stdint.h>

enum tail_action {
    TAIL_STOP,
    TAIL_RETRY,     /* after the back-off */
    TAIL_RETRY_NOW, /* planned: the gateway asked for it */
    TAIL_NEW_TOKEN, /* with another token, else stop */
};

struct tail_verdict {
    enum tail_action action;
    int exit_code;     /* when it stops, or may not reconnect */
    const char *words; /* what happened and what to do next; static */
};

/* By the close code of the WebSocket (RFC 6455 7.4 and tidegate's 40xx to 43xx). */
struct tail_verdict tail_judge_close(uint16_t code);

/* By the HTTP status of a refused upgrade. */
struct tail_verdict tail_judge_status(int status);

/* By an error of the connection once it stood. */
struct tail_verdict tail_judge_error(int err);

#endif
