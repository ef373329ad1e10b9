/* One connection of `tidegate tail`, from the connect to its end. Blocking; the main thread. */
#ifndef TIDEGATE_CLI_TAIL_SESSION_H
#define TIDEGATE_CLI_TAIL_SESSION_H

#include "base/backoff.h"
#include "cli/secret.h"
#include "cli/tail_options.h"
#include "cli/tail_state.h"
#include "cli/tail_verdict.h"
#include "cli/ws_link.h"

struct tail {
    struct tail_options options;
    struct tail_state state; /* outlives connections: what a resume needs */
    struct tail_sink sink;
    struct secret token;
    struct backoff backoff;
    bool ever_connected;
    int output_err; /* stdout can't be written: nothing more makes sense */

    /* Of the connection at hand. */
    struct ws_link *link;
    uint64_t heard_ms; /* when the peer was last heard */
    uint64_t asked_ms; /* our ping left; 0: none is out */
    uint64_t leave_ms; /* its planned end; 0: none */
};

/* Connects, says hello, prints what comes and answers it, until the connection ends for whatever
 * reason. The verdict says what to do next. */
struct tail_verdict tail_session_run(struct tail *tail);

/* True when the token file holds another token than the one in use, which is then the new one. */
bool tail_renew_token(struct tail *tail);

#endif
