"""As much of RocketMQ's protocol as it takes to see that a server is ready: one request, one answer."""

import base64
import hashlib
import hmac
import json
import struct

from brokers.instance import ask

CLUSTER_INFO = 106
UPDATE_CONFIG = 25


def call(address, code, body=b"", auth=""):
    """Header and body of the answer as bytes, b"" when there is none. auth: user:secret of the signature."""
    fields = {}
    if auth:
        user, _, secret = auth.partition(":")
        fields["AccessKey"] = user
        # The values in the order of their names, then the body.
        digest = hmac.new(secret.encode(), user.encode() + body, hashlib.sha1).digest()
        fields["Signature"] = base64.b64encode(digest).decode()
    header = json.dumps(
        {"code": code, "flag": 0, "language": "OTHER", "opaque": 1, "version": 513, "extFields": fields}
    ).encode()
    frame = struct.pack(">II", 4 + len(header) + len(body), len(header)) + header + body
    return ask(address, frame, _is_whole)[8:]


def _is_whole(got):
    return len(got) >= 4 and len(got) >= 4 + struct.unpack(">I", got[:4])[0]
