/* `tidegate tail` with an API key: what was sent to a user, a group or a ticket, as the window of a
 * node has it, and what is sent from now on. Blocking; the main thread. */
#ifndef TIDEGATE_CLI_TAIL_TARGET_H
#define TIDEGATE_CLI_TAIL_TARGET_H

#include "cli/tail_options.h"
#include "cli/tail_state.h"

/* Until --count messages were shown, or Ctrl-C. state is initialized. Returns an enum exit_code. */
int tail_target_run(const struct tail_options *options, struct tail_state *state);

#endif
