#include "cli/interrupt.h"

#include <errno.h>
#include <signal.h>
#include <time.h>

#include "base/clock.h"
#include "base/err.h"

static volatile sig_atomic_t raised;

static void note(int signal_number)
{
    raised = 1;
}

int interrupt_watch(void)
{
    struct sigaction action = {.sa_handler = note};
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    sigset_t ours;
    sigemptyset(&ours);
    sigaddset(&ours, SIGINT);
    sigaddset(&ours, SIGTERM);
    /* Blocked but in ppoll: a signal between the question and the wait is not lost. */
    if (sigprocmask(SIG_BLOCK, &ours, NULL) || sigaction(SIGINT, &action, NULL) ||
        sigaction(SIGTERM, &action, NULL) || sigaction(SIGPIPE, &ignore, NULL)) {
        return -errno;
    }
    return 0;
}

/* A signal that is held back by a busy descriptor counts too: ppoll need not deliver it. */
bool interrupt_raised(void)
{
    sigset_t pending;
    sigemptyset(&pending);
    sigpending(&pending);
    return raised || sigismember(&pending, SIGINT) == 1 || sigismember(&pending, SIGTERM) == 1;
}

static int poll_once(struct pollfd *fds, unsigned count, uint64_t wait_ms)
{
    struct timespec wait = {.tv_sec = (time_t)(wait_ms / 1000),
                            .tv_nsec = (long)(wait_ms % 1000) * 1000000};
    sigset_t during;
    sigprocmask(SIG_SETMASK, NULL, &during);
    sigdelset(&during, SIGINT);
    sigdelset(&during, SIGTERM);
    int ready = ppoll(fds, count, &wait, &during);
    return ready < 0 ? -errno : ready;
}

int interrupt_poll(struct pollfd *fds, unsigned count, uint64_t deadline_ms)
{
    for (;;) {
        if (interrupt_raised()) {
            return ERR_CANCELED;
        }
        uint64_t now_ms = clock_monotonic_ms();
        int ready = poll_once(fds, count, deadline_ms > now_ms ? deadline_ms - now_ms : 0);
        if (interrupt_raised()) {
            return ERR_CANCELED;
        }
        if (ready != -EINTR && (ready != 0 || clock_monotonic_ms() >= deadline_ms)) {
            return ready;
        }
    }
}
