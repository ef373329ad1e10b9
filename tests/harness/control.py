"""The control client: a bystander that must not notice an attack.

In a process of its own, so that the test's own work doesn't slow it down. It holds one session, pushes to
it each 20 ms and notes how long each message took. Started as `python control.py`, it reads its orders as a
JSON object from stdin, says `ready`, and answers a line on stdin with its account.
"""

import json
import pathlib
import select
import subprocess
import sys
import time

INTERVAL = 0.02
ALLOWED_MS = 50


class Control:
    """Watches a gateway while a `with` lasts; at its end all pushes must have arrived in time."""

    def __init__(self, gateway):
        self.gateway = gateway

    def __enter__(self):
        self.process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        orders = {
            "ws_port": self.gateway.client_port,
            "api_port": self.gateway.api_port,
            "key": self.gateway.api_key,
            "timeout": 5 * self.gateway.slowness,
        }
        self._say(json.dumps(orders))
        assert self.process.stdout.readline() == "ready\n", "the control client could not connect"
        return self

    def __exit__(self, kind, *_):
        self._say("report")
        answer = self.process.stdout.readline()
        self.process.communicate()
        if kind:
            return
        assert answer, "the control client died"
        self.account = json.loads(answer)
        assert not self.account["error"], f"the control client: {self.account['error']}"
        # What its own timer was late by is the machine's doing, not the gateway's.
        allowed = ALLOWED_MS * self.gateway.slowness + self.account["late_ms"]
        assert self.account["worst_ms"] <= allowed, f"a bystander noticed: {self.account}"

    def _say(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()


class Account:
    def __init__(self):
        self.taken, self.late, self.error = [], [0.0], None

    def as_json(self):
        ordered = sorted(self.taken) or [0.0]
        return json.dumps(
            {
                "pushes": len(self.taken),
                "worst_ms": round(ordered[-1] * 1000, 2),
                "median_ms": round(ordered[len(ordered) // 2] * 1000, 2),
                "late_ms": round(max(self.late) * 1000, 2),
                "error": self.error,
            }
        )


def push_once(orders, api, session, number):
    """Sends one message over the kept connection and waits for it on the session; returns the seconds."""
    body = json.dumps({"to": {"users": ["control"]}, "data": number})
    start = time.monotonic()
    headers = {"Authorization": f"Bearer {orders['key']}", "Content-Type": "application/json"}
    api.request("POST", "/v1/messages", body=body, headers=headers)
    answer = api.getresponse()
    answer.read()
    if answer.status != 202:
        raise RuntimeError(f"push {number}: status {answer.status}")
    got = json.loads(session.recv(timeout=orders["timeout"]))
    if got != number:
        raise RuntimeError(f"push {number}: received {got}")
    return time.monotonic() - start


def watch(orders, api, session, account):
    """Pushes until a line comes on stdin, and once more after it."""
    number = 0
    while True:
        due = time.monotonic() + INTERVAL
        asked = select.select([sys.stdin], [], [], INTERVAL)[0]
        if not asked:
            account.late.append(time.monotonic() - due)
        account.taken.append(push_once(orders, api, session, number))
        number += 1
        if asked:
            return


def main():
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
    import http.client

    from websockets.sync.client import connect

    orders = json.loads(sys.stdin.readline())
    account = Account()
    url = f"ws://127.0.0.1:{orders['ws_port']}/v1/ws"
    with connect(url, additional_headers={"X-User-Id": "control"}, compression=None) as session:
        api = http.client.HTTPConnection("127.0.0.1", orders["api_port"], timeout=orders["timeout"])
        push_once(orders, api, session, -1)
        print("ready", flush=True)
        try:
            watch(orders, api, session, account)
        except Exception as error:
            account.error = repr(error)
            sys.stdin.readline()
        print(account.as_json(), flush=True)


if __name__ == "__main__":
    main()
