"""What happened in a run, in order: what pushers were answered, what each client saw, which faults came when.

An event is a dict with `t` (seconds since the run began), `e` (what) and more:

    session   s user targets            a client; targets: what is pushed to it, as "u:NAME" and "g:NAME"
    push      n id targets              the first attempt begins
    answer    n node status pos code    an attempt ended; status 0: no answer
    pushed    n outcome                 accepted (a 2xx came), unknown, or refused (4xx)
    open      s c node                  connection c is welcomed: resumed epoch pos asked (to resume)
    msg       s c n id pos shown        shown: the client showed it; else it dropped a repeat
    pos       s c pos                   positions moved on
    gap       s c q from to why epoch     q "*": all queues; epoch: of the history that begins
    goaway    s c
    close     s c code why              the connection ended; after open or, with code 0, before it
    fault     what                      one begins or ends, in words; "parting": clients leave for good
"""

import json
import time


class History:
    """Append-only. One thread writes it."""

    def __init__(self):
        self.events = []
        self.began = time.monotonic()

    def note(self, kind, **fields):
        self.events.append({"t": round(time.monotonic() - self.began, 4), "e": kind, **fields})

    def write(self, path):
        with open(path, "w") as file:
            for event in self.events:
                file.write(json.dumps(event, separators=(",", ":")) + "\n")


def read(path):
    """The events of a file that write() made."""
    with open(path) as file:
        return [json.loads(line) for line in file]
