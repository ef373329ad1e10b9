"""Redis from Debian: `main`, if asked for a `replica` of it and a `sentinel` that watches both.

Each write is on the disk before it is acknowledged (appendfsync always): what the contract suite and the
guarantees of the documentation count on.
"""

import re
import subprocess

from brokers.instance import Instance, ask, make_certificate

# The name under which a sentinel knows the set.
SENTINEL_NAME = "tidegate"


def encode(*words):
    """A command in the protocol of Redis."""
    parts = [word.encode() for word in words]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)


class Redis(Instance):
    name = "redis"
    defaults = {
        "apart": False,
        "auth": "",  # user:secret; the default user is off then
        "tls": False,  # TLS on a port of its own beside the plain one
        "replica": False,
        "sentinel": False,
        "set": [],
    }
    # The next port speaks TLS.
    port_offsets = (0, 1)

    def version(self):
        words = subprocess.run(
            ["redis-server", "--version"], capture_output=True, text=True, check=True
        ).stdout
        return "Redis " + re.search(r"v=([0-9.]+)", words)[1]

    def waves(self):
        found = [["main"]]
        if self.options["replica"] or self.options["sentinel"]:
            found.append(["replica"])
        if self.options["sentinel"]:
            found.append(["sentinel"])
        return found

    def addresses(self):
        found = super().addresses()
        if self.options["tls"]:
            for node in self.nodes():
                if node != "sentinel":
                    found[f"{node.upper()}_TLS"] = f"127.0.0.1:{self.port(node) + 1}"
                    found[f"{node.upper()}_TLS_BOUND"] = f"{self.host}:{self.port(node) + 1}"
            found["CA"] = str(self.folder / "tls" / "cert.pem")
        if self.options["sentinel"]:
            found["SENTINEL_NAME"] = SENTINEL_NAME
        return found

    def command(self, node):
        lines = [
            f"bind {self.host}",
            f"port {self.port(node)}",
            f"dir {self.node_folder(node)}",
            "protected-mode no",
            "daemonize no",
        ]
        lines += self._sentinel_lines() if node == "sentinel" else self._server_lines(node)
        file = self.node_folder(node) / "redis.conf"
        # A sentinel, or a server that was promoted, keeps what it learned in its file.
        if not (file.exists() and self.options["sentinel"]):
            file.write_text("\n".join(lines) + "\n")
        return ["redis-sentinel" if node == "sentinel" else "redis-server", str(file)]

    def _server_lines(self, node):
        lines = ["appendonly yes", "appendfsync always", 'save ""', "repl-diskless-sync-delay 0"]
        if self.options["auth"]:
            user, _, secret = self.options["auth"].partition(":")
            lines += [f"user {user} on >{secret} ~* &* +@all", "user default off"]
            lines += [f"masteruser {user}", f"masterauth {secret}"]
        if self.options["tls"]:
            make_certificate(self.folder / "tls")
            lines += [
                f"tls-port {self.port(node) + 1}",
                f"tls-cert-file {self.folder}/tls/cert.pem",
                f"tls-key-file {self.folder}/tls/key.pem",
                "tls-auth-clients no",
            ]
        if node == "replica":
            lines += [f"replicaof {self.host} {self.port('main')}"]
        return lines + [item.replace("=", " ", 1) for item in self.options["set"]]

    def _sentinel_lines(self):
        lines = [
            f"sentinel monitor {SENTINEL_NAME} {self.host} {self.port('main')} 1",
            f"sentinel down-after-milliseconds {SENTINEL_NAME} 1000",
            f"sentinel failover-timeout {SENTINEL_NAME} 3000",
        ]
        if self.options["auth"]:
            user, _, secret = self.options["auth"].partition(":")
            lines += [
                f"sentinel auth-user {SENTINEL_NAME} {user}",
                f"sentinel auth-pass {SENTINEL_NAME} {secret}",
            ]
        return lines

    def is_ready(self, node):
        login = b""
        if self.options["auth"] and node != "sentinel":
            login = encode("AUTH", *self.options["auth"].split(":", 1))
        answer = ask((self.host, self.port(node)), login + encode("INFO") + encode("QUIT"), lambda got: False)
        if node == "replica":
            return b"master_link_status:up" in answer or b"role:master" in answer
        if node == "sentinel":
            # It finds the replicas by asking the main server every 10 s, and once at its start.
            return b"status=ok" in answer and b"slaves=1" in answer
        return b"redis_version" in answer and b"loading:1" not in answer

    def client(self, arguments):
        login = []
        if self.options["auth"]:
            user, _, secret = self.options["auth"].partition(":")
            login = ["--no-auth-warning", "--user", user, "--pass", secret]
        return ["redis-cli", "-h", self.host, "-p", str(self.port("main")), *login, *arguments]
