"""As much of RocketMQ's protocol as it takes to see that a server is ready, and to fill it: one request, one
answer."""

import base64
import hashlib
import hmac
import json
import struct

from brokers.instance import ask

SEND_MESSAGE = 310
CLUSTER_INFO = 106
UPDATE_CONFIG = 25


def call(address, code, body=b"", auth="", fields=None):
    """Header and body of the answer as bytes, b"" when there is none. auth: user:secret of the signature."""
    fields = dict(fields or {})
    if auth:
        user, _, secret = auth.partition(":")
        fields["AccessKey"] = user
        # The values in the order of their names, then the body.
        values = "".join(fields[name] for name in sorted(fields)).encode()
        digest = hmac.new(secret.encode(), values + body, hashlib.sha1).digest()
        fields["Signature"] = base64.b64encode(digest).decode()
    header = json.dumps(
        {"code": code, "flag": 0, "language": "OTHER", "opaque": 1, "version": 513, "extFields": fields}
    ).encode()
    frame = struct.pack(">II", 4 + len(header) + len(body), len(header)) + header + body
    return ask(address, frame, _is_whole)[8:]


def send(address, topic, body, auth=""):
    """Stores a message in the topic's first queue; the topic is made when it is missing."""
    values = {"a": "tests", "b": topic, "c": "TBW102", "d": "1", "e": "0", "f": "0", "g": "0", "h": "0"}
    return call(address, SEND_MESSAGE, body, auth, values)


def _is_whole(got):
    return len(got) >= 4 and len(got) >= 4 + struct.unpack(">I", got[:4])[0]
