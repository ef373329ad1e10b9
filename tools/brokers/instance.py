"""One engine's servers in one folder: its options, its ports, and the processes that run.

    FOLDER/instance.json   options and ports, chosen at the first start and kept until `clean`
    FOLDER/NODE/           a server's configuration, data, pid and words (`out`)

A server that is paused, killed or restarted keeps its folder and its port.
"""

import contextlib
import fcntl
import json
import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import time

START_SECONDS = 110
STOP_SECONDS = 20

# Below the range that the kernel takes for outgoing connections, which would be in the way of a restart.
PORTS = range(20000, 29990)

# Where clients are sent, and where a server listens that has something in between.
ANNOUNCED, APART = "127.0.0.1", "127.0.0.2"


class BrokerError(Exception):
    """What a person has to read; the command line prints it and exits with 1."""


def wait_for(what, seconds, condition):
    """Until condition() is true. Raises BrokerError when the time is over."""
    end = time.monotonic() + seconds
    pause = 0.01
    while not condition():
        if time.monotonic() > end:
            raise BrokerError(f"{what}: not within {seconds} s")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.1)


def is_free(port):
    """Nobody listens there, on whichever address."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("0.0.0.0", port))
        except OSError:
            return False
    return True


def ask(address, data, enough, seconds=2):
    """Sends data to (host, port) and returns what comes back until enough(bytes) or the end; b"": none."""
    got = b""
    with contextlib.suppress(OSError), socket.create_connection(address, seconds) as sock:
        sock.settimeout(seconds)
        sock.sendall(data)
        while not enough(got):
            piece = sock.recv(65536)
            if not piece:
                break
            got += piece
    return got


def make_certificate(folder):
    """cert.pem and key.pem for servers on loopback, once; the certificate is its own authority."""
    if (folder / "cert.pem").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    words = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=localhost"
    subprocess.run(
        words.split()
        + ["-addext", f"subjectAltName=DNS:localhost,IP:{ANNOUNCED},IP:{APART}"]
        + ["-keyout", folder / "key.pem", "-out", folder / "cert.pem"],
        check=True,
        stderr=subprocess.DEVNULL,
    )


class Instance:
    """An engine fills in the lower half; `options` are those of its first start."""

    name = ""
    defaults = {}
    # A node's further ports, by their distance from its own; they belong to it too.
    port_offsets = (0,)

    def __init__(self, folder, options=None):
        self.folder = pathlib.Path(folder).absolute() / self.name
        self.file = self.folder / "instance.json"
        kept = json.loads(self.file.read_text()) if self.file.exists() else {}
        self.options = self.defaults | kept.get("options", {})
        self.ports = kept.get("ports", {})
        if options:
            self._take(options, bool(kept))

    def _take(self, options, is_kept):
        unknown = sorted(set(options) - set(self.defaults))
        if unknown:
            raise BrokerError(f"{self.name} has no option {', '.join(unknown)}")
        changed = [key for key, value in options.items() if self.options[key] != value]
        if is_kept and changed:
            raise BrokerError(
                f"{self.folder} was set up with other options ({', '.join(changed)}): `clean` it first"
            )
        self.options |= options

    # ---- what an engine says ----

    def version(self):
        """Name and version of the server."""
        raise NotImplementedError

    def waves(self):
        """Lists of nodes: those of one list start side by side, the next list when they are ready."""
        raise NotImplementedError

    def install(self):
        """Fetches what is not there yet."""

    def command(self, node):
        """Writes the node's configuration; returns its command line."""
        raise NotImplementedError

    def environment(self, node):
        return {}

    def is_ready(self, node):
        raise NotImplementedError

    def client(self, arguments):
        """The command line of the server's own client."""
        raise NotImplementedError

    def addresses(self):
        """{"NODE": "host:port"} for clients, and "NODE_BOUND" where the node listens."""
        found = {}
        for node in self.nodes():
            key = node.upper().replace("-", "_")
            found[key] = f"{ANNOUNCED}:{self.port(node)}"
            found[f"{key}_BOUND"] = f"{self.host}:{self.port(node)}"
        return found

    # ---- nodes ----

    @property
    def host(self):
        return APART if self.options.get("apart") else ANNOUNCED

    def nodes(self):
        return [node for wave in self.waves() for node in wave]

    def chosen(self, names):
        unknown = sorted(set(names) - set(self.nodes()))
        if unknown:
            raise BrokerError(
                f"{self.name} has no node {', '.join(unknown)}; it has {', '.join(self.nodes())}"
            )
        return names or self.nodes()

    def node_folder(self, node):
        folder = self.folder / node
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def port(self, node):
        """Chosen when it is asked for the first time."""
        if node not in self.ports:
            self.ports[node] = self._free_port()
            self._save()
        return self.ports[node]

    def _free_port(self):
        taken = {port + offset for port in self.ports.values() for offset in self.port_offsets}
        for port in random.sample(PORTS, 500):
            needed = [port + offset for offset in self.port_offsets]
            if not taken.intersection(needed) and all(is_free(each) for each in needed):
                return port
        raise BrokerError(f"no free port from {PORTS.start} to {PORTS.stop}")

    def _save(self):
        self.folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps({"options": self.options, "ports": self.ports}, indent=1)
        self.file.write_text(text + "\n")

    # ---- processes ----

    def pid(self, node):
        """Of the running server, or None. Its start time tells it from a later process of the same number."""
        try:
            number, started = (self.folder / node / "pid").read_text().split()
        except (OSError, ValueError):
            return None
        return int(number) if _start_time(int(number)) == started else None

    def start(self, names):
        """Starts what does not run and returns when all of them are ready."""
        self.install()
        wanted = set(self.chosen(names))
        for node in self.nodes():
            self.port(node)
            if node in wanted and self.pid(node):
                os.kill(self.pid(node), signal.SIGCONT)
        for wave in self.waves():
            begun = [node for node in wave if node in wanted and not self.pid(node)]
            for node in begun:
                self._launch(node)
            for node in begun:
                wait_for(f"{self.name} {node} is ready", START_SECONDS, lambda each=node: self._started(each))

    def _launch(self, node):
        folder = self.node_folder(node)
        command = self.command(node)
        with open(folder / "out", "wb") as out:
            process = subprocess.Popen(
                command,
                cwd=folder,
                env=os.environ | self.environment(node),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        (folder / "pid").write_text(f"{process.pid} {_start_time(process.pid)}\n")

    def _started(self, node):
        if not self.pid(node):
            words = (self.folder / node / "out").read_text(errors="replace")[-3000:]
            raise BrokerError(f"{self.name} {node} ended while it was starting:\n{words}")
        return self.is_ready(node)

    def signal(self, names, number):
        for node in self.chosen(names):
            pid = self.pid(node)
            if not pid:
                raise BrokerError(f"{self.name} {node} does not run")
            os.kill(pid, number)

    def stop(self, names):
        """In order, side by side; by force what takes too long."""
        running = {node: self.pid(node) for node in self.chosen(names) if self.pid(node)}
        for pid in running.values():
            os.kill(pid, signal.SIGCONT)
            os.kill(pid, signal.SIGTERM)
        for node in running:
            with contextlib.suppress(BrokerError):
                wait_for(f"{node} ends", STOP_SECONDS, lambda each=node: not self.pid(each))
        self.kill([node for node in running if self.pid(node)] or None)

    def kill(self, names):
        """At once, as a crash would. None: nobody."""
        for node in names or []:
            pid = self.pid(node)
            if not pid:
                raise BrokerError(f"{self.name} {node} does not run")
            os.kill(pid, signal.SIGKILL)
        for node in names or []:
            wait_for(f"{node} ends", STOP_SECONDS, lambda each=node: not self.pid(each))

    def wipe(self, names):
        self.kill([node for node in names if self.pid(node)])
        for node in names:
            shutil.rmtree(self.folder / node, ignore_errors=True)

    def clean(self):
        if self.file.exists():
            self.kill([node for node in self.nodes() if self.pid(node)])
        shutil.rmtree(self.folder, ignore_errors=True)

    @contextlib.contextmanager
    def locked(self):
        """Two commands on one instance take turns; `clean` removes the folder, so the lock is beside it."""
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        with open(f"{self.folder}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _start_time(pid):
    """In clock ticks since the machine came up, as text; None when no such process lives."""
    try:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]
