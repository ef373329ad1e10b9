"""The control client: a bystander that must not notice an attack.

In a process of its own, so that the test's own work doesn't slow it down. It holds one session; while a test
watches, it pushes to that session each 20 ms and notes how long each message took.

The process (`python control.py`) reads lines from stdin: first its orders as a JSON object, then `begin` and
`report` in turn. It answers `ready` to the first two and its account as JSON to the last.
"""

import contextlib
import glob
import json
import select
import ssl
import subprocess
import sys
import time

INTERVAL = 0.02
ALLOWED_MS = 50


class Control:
    """One bystander of a gateway, for all of its tests."""

    def __init__(self, gateway, app=""):
        """app: named where there are several; the gateway's API key is one of its."""
        self.gateway = gateway
        self.process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        orders = {
            "ws_url": gateway.ws_url(f"/v1/ws?app={app}" if app else "/v1/ws"),
            "ca": gateway.tls_ca and str(gateway.tls_ca),
            "api_port": gateway.api_port,
            "key": gateway.api_key,
            "timeout": 5 * gateway.slowness,
            "gateway_pid": gateway.process.pid,
        }
        assert self._ask(json.dumps(orders)) == "ready\n", "the control client could not connect"

    def begin(self):
        assert self._ask("begin") == "ready\n", "the control client's push failed before anything began"

    def end(self):
        """All pushes since begin(), and one more now, must have arrived in time. Returns the account."""
        answer = self._ask("report")
        assert answer, "the control client died"
        account = json.loads(answer)
        assert not account["error"], f"the control client: {account['error']}"
        allowed = ALLOWED_MS * self.gateway.slowness
        assert account["worst_ms"] <= allowed, f"a bystander noticed: {account}"
        return account

    def close(self):
        self.process.communicate()

    def _ask(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline()


def waited_for_cpu(*pids):
    """Seconds for which threads of these processes were ready to run and had no core."""
    waited = 0
    for pid in pids:
        for path in glob.glob(f"/proc/{pid}/task/*/schedstat"):
            with contextlib.suppress(OSError), open(path) as stat:
                waited += int(stat.read().split()[1])
    return waited / 1e9


class Account:
    def __init__(self):
        self.taken, self.waited, self.error = [], 0.0, None

    def as_json(self):
        ordered = sorted(self.taken) or [0.0]
        return json.dumps(
            {
                "pushes": len(self.taken),
                "worst_ms": round(ordered[-1] * 1000, 2),
                "p99_ms": round(ordered[len(ordered) * 99 // 100] * 1000, 2),
                "median_ms": round(ordered[len(ordered) // 2] * 1000, 2),
                "waited_for_cpu_ms": round(self.waited * 1000, 2),
                "error": self.error,
            }
        )


class Pusher:
    """Sends one message at a time over a kept connection and waits for it on the session."""

    def __init__(self, orders, session):
        import http.client

        self.orders, self.session, self.number = orders, session, 0
        self.api = http.client.HTTPConnection("127.0.0.1", orders["api_port"], timeout=orders["timeout"])

    def push(self):
        """Returns the seconds from the call to the message."""
        self.number += 1
        body = json.dumps({"to": {"users": ["control"]}, "data": self.number})
        headers = {"Authorization": f"Bearer {self.orders['key']}", "Content-Type": "application/json"}
        start = time.monotonic()
        self.api.request("POST", "/v1/messages", body=body, headers=headers)
        answer = self.api.getresponse()
        answer.read()
        if answer.status != 202:
            raise RuntimeError(f"push {self.number}: status {answer.status}")
        while (got := json.loads(self.session.recv(timeout=self.orders["timeout"]))) != self.number:
            if not isinstance(got, int):  # a broadcast of the test's
                continue
            raise RuntimeError(f"push {self.number}: received {got}")
        return time.monotonic() - start


def watch(orders, pusher, account):
    """Pushes until a line comes on stdin, and once more after it. What a busy machine withheld from the two
    processes meanwhile is not the gateway's time."""
    asked = False
    while not asked:
        asked = bool(select.select([sys.stdin], [], [], INTERVAL)[0])
        before = waited_for_cpu(orders["gateway_pid"], "self")
        taken = pusher.push()
        waited = waited_for_cpu(orders["gateway_pid"], "self") - before
        account.taken.append(max(0, taken - waited))
        account.waited += waited


def watch_once(orders, session):
    """From `begin` to `report`."""
    account, pusher = Account(), Pusher(orders, session)
    pusher.push()
    print("ready", flush=True)
    try:
        watch(orders, pusher, account)
    except Exception as error:
        account.error = repr(error)
    sys.stdin.readline()
    pusher.api.close()
    print(account.as_json(), flush=True)


def main():
    from websockets.sync.client import connect

    orders = json.loads(sys.stdin.readline())
    trust = ssl.create_default_context(cafile=orders["ca"]) if orders["ca"] else None
    headers = {"X-User-Id": "control"}
    with connect(orders["ws_url"], ssl=trust, additional_headers=headers, compression=None) as session:
        print("ready", flush=True)
        while sys.stdin.readline():
            watch_once(orders, session)


if __name__ == "__main__":
    main()
