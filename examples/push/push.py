"""push.py USER TEXT: one push from Python's standard library."""

import json
import os
import sys
import time
import urllib.error
import urllib.request
import uuid


def push(user, data, tries=5):
    """Returns when the gateway has it. The id makes a second try harmless: the message is delivered once."""
    message = {"to": {"users": [user]}, "type": "note", "id": str(uuid.uuid4()), "data": data}
    request = urllib.request.Request(
        os.environ["TIDEGATE_API"] + "/v1/messages",
        json.dumps(message).encode(),
        {"Authorization": "Bearer " + os.environ["TIDEGATE_API_KEY"], "Content-Type": "application/json"},
    )
    while True:
        tries -= 1
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            if error.code not in (429, 503) or not tries:
                raise
            time.sleep(float(error.headers.get("Retry-After", 1)))
        except OSError:
            if not tries:
                raise
            time.sleep(1)


if __name__ == "__main__":
    print(push(sys.argv[1], {"text": sys.argv[2]})["id"])
