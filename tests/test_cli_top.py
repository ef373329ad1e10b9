"""`tidegate top` on a terminal: a pty, whose screen is read as a person would."""

import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time

from harness.clients import V1Client
from test_cli import binary, environment

FULL, BACK = "\x1b[?1049h", "\x1b[?1049l"


class Terminal:
    """A program on a terminal of its own. `text`: all that it wrote; `frame`: what it drew last."""

    def __init__(self, command, env, columns=120, rows=30):
        self.master, slave = pty.openpty()
        self.resize(columns, rows)
        self.before = termios.tcgetattr(slave)
        self.slave = slave
        self.text = ""
        self.process = subprocess.Popen(
            command,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env={**env, "TERM": "xterm"},
            start_new_session=True,
        )

    def resize(self, columns, rows):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def read(self, seconds):
        if select.select([self.master], [], [], seconds)[0]:
            with contextlib.suppress(OSError):
                self.text += os.read(self.master, 65536).decode(errors="replace")

    @property
    def frame(self):
        drawn = self.text.rsplit("\x1b[H", 1)[-1]
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", drawn)

    def wait(self, what, seconds=10):
        deadline = time.monotonic() + seconds
        while not what(self):
            assert time.monotonic() < deadline, self.text[-4000:]
            self.read(0.1)

    def press(self, keys):
        os.write(self.master, keys.encode())

    def end(self, seconds=10):
        """The exit code, once the terminal is as it was."""
        deadline = time.monotonic() + seconds
        while self.process.poll() is None:
            assert time.monotonic() < deadline, self.text[-4000:]
            self.read(0.1)
        self.read(0.1)
        assert termios.tcgetattr(self.slave) == self.before
        return self.process.returncode


@contextlib.contextmanager
def top(gateway, *words, **options):
    command = [
        binary(gateway),
        "top",
        "--url",
        gateway.api_url("").rstrip("/"),
        "--interval",
        "300ms",
        *words,
    ]
    terminal = Terminal(command, environment(TIDEGATE_API_KEY=gateway.api_key), **options)
    try:
        yield terminal
    finally:
        terminal.process.kill()
        terminal.process.wait()
        os.close(terminal.master)
        os.close(terminal.slave)


def test_it_shows_the_cluster_sorts_and_gives_the_terminal_back(gateway):
    with V1Client(gateway, user="top"), top(gateway) as terminal:
        terminal.wait(lambda t: "q quit" in t.frame and " ready" in t.frame)
        assert terminal.text.startswith(FULL)
        for heading in ("NODE", "APP", "LATENCY", "by connections"):
            assert heading in terminal.frame
        terminal.press("u")
        terminal.wait(lambda t: "by users" in t.frame)
        terminal.press("q")
        assert terminal.end() == 0
        assert terminal.text.rstrip().endswith(BACK)


def test_it_follows_the_size_of_the_terminal(gateway):
    with top(gateway, columns=120, rows=30) as terminal:
        terminal.wait(lambda t: "q quit" in t.frame)
        assert "ALERTS" in terminal.frame
        terminal.resize(40, 6)
        terminal.wait(lambda t: "\x1b[6;1H" in t.text and "q quit" in t.frame)
        assert max(len(line) for line in terminal.frame.splitlines()) <= 40
        assert len(terminal.frame.splitlines()) <= 6
        terminal.press("q")
        assert terminal.end() == 0


def test_a_signal_gives_the_terminal_back_too(gateway):
    for number in (signal.SIGTERM, signal.SIGINT):
        with top(gateway) as terminal:
            terminal.wait(lambda t: "q quit" in t.frame)
            terminal.process.send_signal(number)
            assert terminal.end() == 0
            assert BACK in terminal.text


def test_a_gateway_that_is_away_is_told_and_found_again(make_gateway):
    gateway = make_gateway()
    with top(gateway) as terminal:
        terminal.wait(lambda t: "q quit" in t.frame)
        gateway.kill()
        terminal.wait(lambda t: "nothing listens there" in t.frame)
        assert "NODE" in terminal.frame
        gateway.revive()
        terminal.wait(lambda t: "nothing listens there" not in t.frame)
        terminal.press("q")
        assert terminal.end() == 0


def test_without_a_key_it_ends_before_it_takes_the_screen(gateway):
    with top(gateway, "--key-file", "/dev/null") as terminal:
        assert terminal.end() == 2
        assert FULL not in terminal.text
