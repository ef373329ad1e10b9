"""What monitoring costs: the share of the gateway's CPU that counts and observes.

On a machine that is busy or noisy two runs differ by more than the 2 % in question, so nothing is timed: the
gateway runs under callgrind, which counts instructions exactly, while it is pushed to as fast as it can and
scraped every second. That is user space alone; the kernel's part, most of the CPU of a push or a delivery,
has no monitoring in it. So the share of all CPU is the share of instructions times the part of the CPU that
is the gateway's own, which a second run without callgrind tells. What counting functions call (libc, buffers,
the registry) is theirs. Two things are not seen: the clock, which the real machine reads without a system
call (some 25 ns a look), and additions inlined into other functions.
"""

import contextlib
import re
import subprocess
import threading
import urllib.request
from pathlib import Path

import servers

# What only counts or observes, with all that it calls. Scrapes are not in it: under callgrind a second holds
# some thirtieth of the work, so each would weigh thirty times. One takes 0.2 ms: 0.02 % of a core a second.
ROOTS = re.compile(
    r"^(?!metrics_(render|visit))(stats_|metrics?_|meter_|custom_|families_|count_reason|find_route|series_of|"
    r"status_class|user_tally_|hll_|count_slots|users_t|tell_fan_out|push_spans_|span_|otlp_|statsd)"
)
# What counts beside other work: its own instructions alone.
BESIDE = re.compile(
    r"^(hub_probe_|note_written$|is_timed$|stamp$|on_fan_out|on_returned|on_foreign|measure$)"
)
NAMED = re.compile(r"^(c?fn)=\((\d+)\)(?: (.*))?$")


@contextlib.contextmanager
def scraped(url: str):
    """A scrape each second, as Prometheus at its most eager."""
    done = threading.Event()

    def scrape():
        while not done.wait(1):
            with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=20) as answer:
                answer.read()

    thread = threading.Thread(target=scrape)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def read_record(record):
    """Yields (caller, callee, instructions) of what a callgrind file has; callee None: the caller's own."""
    names, function, called, after_calls = {}, None, None, False
    for line in Path(record).read_text().splitlines():
        if match := NAMED.match(line):
            kind, number, name = match.groups()
            names.setdefault(number, name)
            if kind == "fn":
                function = names[number]
            else:
                called = names[number]
        elif line.startswith("calls="):
            after_calls = True
        elif function and line and line[0] in "0123456789+-*":
            yield function, called if after_calls else None, int(line.split()[-1])
            after_calls = False


def read_share(record) -> tuple[float, dict[str, int]]:
    """Per cent of all instructions, and the functions that they are in."""
    total, found = 0, {}
    for caller, callee, count in read_record(record):
        if callee is None:
            total += count
        is_entry = callee and ROOTS.match(callee) and not ROOTS.match(caller)
        is_beside = callee is None and BESIDE.match(caller)
        if is_entry or is_beside:
            name = callee or caller
            found[name] = found.get(name, 0) + count
    return 100 * sum(found.values()) / total, found


def cpu_ticks(pid: int) -> tuple[int, int]:
    """Of the process so far: its own, and the kernel's for it."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]), int(fields[12])


def own_part(binary: Path, build: Path, folder: Path, args: list[str]) -> float:
    """How much of the gateway's CPU is its own, and not the kernel's, under the same load at full speed."""
    with servers.gateway(binary, folder) as server:
        pid = server.processes[0].pid
        server.load(build, args)
        before = cpu_ticks(pid)
        server.load(build, args)
        own, kernels = (after - start for after, start in zip(cpu_ticks(pid), before, strict=True))
    return own / max(own + kernels, 1)


def count(binary: Path, build: Path, folder: Path, args: list[str]) -> dict:
    """The figures of the load, and the shares. What the start and the first connects take is not counted."""
    record = folder / "monitoring.callgrind"
    under = ("valgrind", "-q", "--tool=callgrind", f"--callgrind-out-file={record}")
    own = own_part(binary, build, folder, args)
    with servers.gateway(binary, folder, under) as server, scraped(server.admin_url + "/metrics"):
        server.load(build, args)
        subprocess.run(
            ["callgrind_control", "-z", str(server.processes[0].pid)], capture_output=True, check=True
        )
        figures = server.load(build, args)
    share, functions = read_share(record)
    return {**figures, "share": share, "cpu_share": share * own, "functions": functions}
