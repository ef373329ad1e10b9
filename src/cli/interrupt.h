/* Ctrl-C (SIGINT) and SIGTERM as a question that waits can ask. Without interrupt_watch they end
 * the process as usual. The main thread alone. */
#ifndef TIDEGATE_CLI_INTERRUPT_H
#define TIDEGATE_CLI_INTERRUPT_H

#include <poll.h>
#include <stdbool.h>
#include <stdint.h>

/* From now on the two signals are noted, and noticed only in interrupt_poll. SIGPIPE is ignored.
 * Returns 0 or -errno. */
int interrupt_watch(void);

bool interrupt_raised(void);

/* Waits until one of fds is ready or the deadline (of clock_monotonic_ms()) has come. Returns how
 * many are ready; 0 at the deadline; ERR_CANCELED once interrupted, at once also when it was before
 * the call; -errno. count 0 just waits. */
int interrupt_poll(struct pollfd *fds, unsigned count, uint64_t deadline_ms);

#endif
