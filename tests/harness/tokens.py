"""Makes tokens, right ones and wrong ones."""

import base64
import hashlib
import hmac
import json
import time

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from harness.gateway import AUDIENCE, HMAC_SECRET, ISSUER


def encode(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def claims(user="42", lifetime=600, **changes):
    """The claims of a right token; a change to None leaves a claim out."""
    now = int(time.time())
    wanted = {"iss": ISSUER, "aud": AUDIENCE, "sub": user, "iat": now, "exp": now + lifetime, **changes}
    return {name: value for name, value in wanted.items() if value is not None}


def sign(algorithm, key, data):
    """key: bytes for HS256, a private key of `cryptography` for the others."""
    if algorithm == "HS256":
        return hmac.new(key, data, hashlib.sha256).digest()
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(data, padding.PKCS1v15(), hashes.SHA256())
    if isinstance(key, ec.EllipticCurvePrivateKey):
        r, s = decode_dss_signature(key.sign(data, ec.ECDSA(hashes.SHA256())))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")
    assert isinstance(key, ed25519.Ed25519PrivateKey)
    return key.sign(data)


def mint(payload=None, algorithm="HS256", key=None, header=None):
    """A token: the claims (or `claims()`), signed; `header` is laid over the usual one."""
    head = {"alg": algorithm, "typ": "JWT", **(header or {})}
    parts = [json.dumps(head), json.dumps(claims() if payload is None else payload)]
    signed = ".".join(encode(part.encode()) for part in parts)
    return f"{signed}.{encode(sign(algorithm, key or HMAC_SECRET.encode(), signed.encode()))}"
