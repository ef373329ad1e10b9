"""What must hold for every attack, whatever it is."""

from harness.gateway import wait_for

RSS_GROWTH = 1 << 20
SUPPRESSED = "tidegate_log_lines_suppressed_total"
MAX_LOG_LINES = 40  # two rounds; an event may speak ten times a second


def check_harmless(gateway, attack, *, reason=None, settle=10, once=False, rss_growth=RSS_GROWTH):
    """Runs attack() twice and checks that nobody else noticed.

    A bystander's pushes arrive in time during and after; the descriptors are all back; the second round
    leaves the resident memory where the first left it (not with a sanitizer, which keeps what is freed).
    reason: the label of the counter that must have moved, or several of which one must; a log line must
    name it too, rate-limited. None where there is nothing to tell.
    """
    before, logged = gateway.metrics(), len(gateway.log())
    with gateway.bystander():
        run_attack(gateway, attack, settle, once, rss_growth)
    assert gateway.is_alive()
    if reason:
        reasons = {reason} if isinstance(reason, str) else set(reason)
        check_counter(gateway, before, reasons)
        check_log(gateway, before, logged, reasons)


def run_attack(gateway, attack, settle, once, rss_growth):
    fds = gateway.fds()
    attack()
    fds_return(gateway, fds, settle)
    if once:
        return
    first, fds = gateway.rss(), gateway.fds()
    attack()
    fds_return(gateway, fds, settle)
    if gateway.preset == "release":
        assert gateway.rss() <= first + rss_growth, f"RSS grew from {first} to {gateway.rss()}"


def fds_return(gateway, fds, seconds):
    """Back to what it was, or below it: what the test itself had closed just before may still have been open.
    An attack that leaks would show in its second round."""
    wait_for(lambda: gateway.fds() <= fds, seconds, f"{fds} descriptors again, as before the attack")


def check_counter(gateway, before, reasons):
    moved = gateway.metrics().moved(before)
    found = [series for series in moved if series[1].get("reason") in reasons]
    assert found, f"no counter with a reason of {reasons} moved; moved: {moved}"


def check_log(gateway, before, logged, reasons):
    """Right behind other tests the line may have fallen to the rate limit, which then has counted it."""

    def lines():
        return [line for line in gateway.log()[logged:] if any(reason in line["msg"] for reason in reasons)]

    def nothing():
        return f"a log line that names one of {reasons}; there are {gateway.log()[logged:][:5]}"

    held_back = gateway.metrics().get(SUPPRESSED) - before.get(SUPPRESSED)
    wait_for(lambda: lines() or held_back, 3, nothing)
    assert len(lines()) <= MAX_LOG_LINES, f"{len(lines())} lines for one attack"
