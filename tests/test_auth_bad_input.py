"""Section A: credentials, tenants, and what the gateway writes down. A9 is a unit test of server/api_key."""

import functools
import http.server
import json
import random
import re
import string
import subprocess
import threading
import time

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from harness.clients import V1Client
from harness.gateway import AUDIENCE, HMAC_SECRET, ISSUER, USER_HEADER, Gateway, wait_for
from harness.harmless import SUPPRESSED, check_harmless
from harness.tokens import claims, encode, mint, sign
from harness.wire import CLOSE, PING, TEXT, V1, Wire, frame, get, upgrade_request
from websockets.exceptions import ConnectionClosed

V1_HEADER = ("Sec-WebSocket-Protocol", V1)


def upgrade_status(gateway, headers=(), path="/v1/ws"):
    with Wire(gateway.client_port, timeout=10 * gateway.slowness) as wire:
        return wire.request(upgrade_request(path, [V1_HEADER, *headers]))


def hello_close_code(gateway, token):
    """The code that a hello with this token is closed with; None when it is welcomed."""
    with Wire(gateway.client_port, timeout=10 * gateway.slowness) as wire:
        wire.upgrade("/v1/ws", [V1_HEADER])
        wire.send(frame(TEXT, json.dumps({"t": "hello", "v": 1, "token": token}).encode()))
        got = wire.read_frame()
        return got.close_code if got.opcode == CLOSE else None


# A1

FOREIGN_ORIGINS = {
    "suffix": "https://www.example.com.evil.example",
    "prefix": "https://evilwww.example.com",
    "parent": "https://example.com",
    "child": "https://a.www.example.com",
    "null": "null",
    "empty": "",
    "port": "https://www.example.com:8443",
    "scheme": "http://www.example.com",
    "http_default_port": "http://www.example.com:443",
    "trailing_dot": "https://www.example.com.",
    "trailing_slash": "https://www.example.com/",
    "path": "https://www.example.com/page",
    "user": "https://www.example.com@evil.example",
    "star": "*",
    "list": "https://www.example.com https://evil.example",
    "unicode": "https://www.exаmple.com".encode().decode("latin-1"),
}
EQUAL_ORIGINS = ["https://www.example.com", "HTTPS://WWW.EXAMPLE.COM", "https://www.example.com:443"]


@pytest.mark.parametrize("origin", FOREIGN_ORIGINS.values(), ids=FOREIGN_ORIGINS)
def test_a1_another_origin_is_403(gateway, origin):
    def attack():
        assert upgrade_status(gateway, [("Origin", origin)]).status == 403

    check_harmless(gateway, attack, reason="origin_refused")


def test_a1_two_origins_are_refused(gateway):
    both = [("Origin", "https://www.example.com"), ("Origin", "https://evil.example")]
    assert upgrade_status(gateway, both).status in (400, 403)


@pytest.mark.smoke
@pytest.mark.parametrize("origin", EQUAL_ORIGINS)
def test_a1_an_equal_origin_passes(gateway, origin):
    assert upgrade_status(gateway, [("Origin", origin)]).status == 101


# A3

PAGE = b"""<!doctype html><title>page</title><script>
"use strict";
window.seen = [];
window.knock = (url) => {
  const socket = new WebSocket(url, "tidegate.v1.json");
  socket.onopen = () => { seen.push("open"); socket.send('{"t":"hello","v":1}'); };
  socket.onmessage = (event) => seen.push(JSON.parse(event.data).user);
  socket.onerror = () => seen.push("error");
};
</script>"""


class Page(http.server.BaseHTTPRequestHandler):
    """The site that the user is signed in to: it sets the cookie, for every port of this machine."""

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(PAGE)))
        self.send_header("Set-Cookie", f"session={mint(claims('ada'))}; Path=/; HttpOnly")
        self.end_headers()
        self.wfile.write(PAGE)

    def log_message(self, *_):
        pass


@pytest.fixture
def page_origin():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def knock(browser, origin, gateway):
    """Opens the page, which opens the socket; returns what the page saw first."""
    browser.switch_to.new_window("tab")
    browser.get_log("browser")
    browser.get(origin + "/")
    browser.execute_script("window.knock(arguments[0])", gateway.ws_url())
    seen = functools.partial(browser.execute_script, "return window.seen")
    return wait_for(lambda: len(seen()) >= 2 and seen() or "error" in seen() and seen(), 15, "anything")


def test_a3_a_foreign_page_with_the_users_cookie_gets_nothing(make_gateway, browser, page_origin):
    cookie = {"auth": {"cookie": "session", "anonymous": False}}
    ours = make_gateway(app={**cookie, "origins": [page_origin]})
    foreign = make_gateway(app={**cookie, "origins": ["https://www.example.com"]})
    # The cookie alone opens the socket of the page's own gateway, so it was sent to the other one too.
    assert knock(browser, page_origin, ours) == ["open", "ada"]
    assert knock(browser, page_origin, foreign) == ["error"]
    words = [entry["message"] for entry in browser.get_log("browser")]
    assert any("403" in word for word in words), words
    assert foreign.metrics().get("tidegate_handshakes_refused_total", reason="origin_refused") == 1


def test_a3_a_cookie_without_an_origin_is_403(make_gateway):
    gateway = make_gateway(app={"auth": {"cookie": "session"}})
    cookie = ("Cookie", f"session={mint()}")
    check = functools.partial(upgrade_status, gateway)
    assert check([cookie]).status == 403
    assert check([cookie, ("Origin", "https://www.example.com")]).status == 101


# A4

RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC_KEY = ec.generate_private_key(ec.SECP256R1())
ED_KEY = ed25519.Ed25519PrivateKey.generate()
OTHER_RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)


def pem(key):
    return key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


JWT = {
    "issuer": ISSUER,
    "audience": AUDIENCE,
    "keys": [
        {"alg": "HS256", "kid": "hmac", "secret": HMAC_SECRET},
        {"alg": "RS256", "kid": "rsa", "pem": pem(RSA_KEY).decode()},
        {"alg": "ES256", "kid": "ec", "pem": pem(EC_KEY).decode()},
        {"alg": "EdDSA", "kid": "ed", "pem": pem(ED_KEY).decode()},
    ],
}
CONFIG = {"limits": {"message": "256KiB"}}


@pytest.fixture(scope="module")
def strict_gateway(request, tmp_path_factory):
    """Wants a token by one of four keys."""
    app = {"auth": {"jwt": JWT}}
    gateway = Gateway(request.config.getoption("preset"), tmp_path_factory.mktemp("strict"), CONFIG, app=app)
    gateway.start()
    yield gateway
    gateway.stop()


def raw_token(header, payload, signature):
    parts = [part if isinstance(part, bytes) else json.dumps(part).encode() for part in (header, payload)]
    return ".".join([*map(encode, parts), encode(signature)])


def hmac_token(header=None, payload=None, text=None):
    """Signed with the right secret, whatever it says; text: the first two parts as they are."""
    head = {"alg": "HS256", "kid": "hmac"} if header is None else header
    parts = [
        part if isinstance(part, bytes) else json.dumps(part).encode() for part in (head, payload or claims())
    ]
    signed = text or ".".join(map(encode, parts))
    return f"{signed}.{encode(sign('HS256', HMAC_SECRET.encode(), signed.encode()))}"


def loose_bits(token):
    """The same bytes in base64url with other unused bits at the end, which no encoder makes."""
    alphabet = string.ascii_uppercase + string.ascii_lowercase + string.digits + "-_"
    assert len(token.rsplit(".", 1)[1]) % 4 == 3  # two unused bits
    return token[:-1] + alphabet[alphabet.index(token[-1]) | 1]


GOOD_TOKENS = {
    "hs256": lambda: hmac_token(),
    "rs256": lambda: mint(algorithm="RS256", key=RSA_KEY, header={"kid": "rsa"}),
    "es256": lambda: mint(algorithm="ES256", key=EC_KEY, header={"kid": "ec"}),
    "eddsa": lambda: mint(algorithm="EdDSA", key=ED_KEY, header={"kid": "ed"}),
}
BAD_TOKENS = {
    "none": lambda: raw_token({"alg": "none"}, claims(), b""),
    "none_with_kid": lambda: raw_token({"alg": "none", "kid": "hmac"}, claims(), b""),
    "None": lambda: raw_token({"alg": "None"}, claims(), b""),
    "nOnE": lambda: raw_token({"alg": "nOnE", "kid": "hmac"}, claims(), b"x"),
    "alg_unknown": lambda: hmac_token({"alg": "HS512", "kid": "hmac"}),
    "alg_lower": lambda: hmac_token({"alg": "hs256", "kid": "hmac"}),
    "alg_missing": lambda: hmac_token({"kid": "hmac"}),
    "alg_number": lambda: hmac_token({"alg": 256, "kid": "hmac"}),
    "rsa_key_as_secret": lambda: mint(header={"kid": "rsa"}, key=pem(RSA_KEY)),
    "rsa_key_as_secret_stripped": lambda: mint(header={"kid": "rsa"}, key=pem(RSA_KEY).strip()),
    "rs256_by_another_key": lambda: mint(algorithm="RS256", key=OTHER_RSA_KEY, header={"kid": "rsa"}),
    "rs256_with_the_hmac_kid": lambda: mint(algorithm="RS256", key=RSA_KEY, header={"kid": "hmac"}),
    "own_key_in_jwk": lambda: mint(
        algorithm="EdDSA",
        key=(own := ed25519.Ed25519PrivateKey.generate()),
        header={"jwk": {"kty": "OKP", "crv": "Ed25519", "x": encode(own.public_key().public_bytes_raw())}},
    ),
    "kid_path": lambda: hmac_token({"alg": "HS256", "kid": "../../../dev/null"}),
    "kid_nul": lambda: hmac_token({"alg": "HS256", "kid": "hmac\0"}),
    "kid_array": lambda: hmac_token({"alg": "HS256", "kid": ["hmac"]}),
    "kid_unknown": lambda: hmac_token({"alg": "HS256", "kid": "nobody"}),
    "crit": lambda: hmac_token({"alg": "HS256", "kid": "hmac", "crit": ["exp"]}),
    "crit_empty": lambda: hmac_token({"alg": "HS256", "kid": "hmac", "crit": []}),
    "b64": lambda: hmac_token({"alg": "HS256", "kid": "hmac", "b64": False, "crit": ["b64"]}),
    "two_algs": lambda: hmac_token(b'{"alg":"none","alg":"HS256","kid":"hmac"}'),
    "exp_missing": lambda: hmac_token(payload=claims(exp=None)),
    "exp_past": lambda: hmac_token(payload=claims(lifetime=-1)),
    "exp_text": lambda: hmac_token(payload=claims(exp="9999999999")),
    "exp_negative": lambda: hmac_token(payload=claims(exp=-1)),
    "exp_twice": lambda: hmac_token(payload=b'{"exp":1,' + json.dumps(claims()).encode()[1:]),
    "nbf_future": lambda: hmac_token(payload=claims(nbf=int(time.time()) + 300)),
    "sub_missing": lambda: hmac_token(payload=claims(sub=None)),
    "sub_empty": lambda: hmac_token(payload=claims(sub="")),
    "sub_nul": lambda: hmac_token(payload=claims(sub="ada\0min")),
    "sub_number": lambda: hmac_token(payload=claims(sub=42)),
    "sub_long": lambda: hmac_token(payload=claims(sub="x" * 300)),
    "iss_other": lambda: hmac_token(payload=claims(iss="https://evil.example")),
    "aud_other": lambda: hmac_token(payload=claims(aud="others")),
    "payload_array": lambda: hmac_token(payload=[claims()]),
    "payload_no_json": lambda: hmac_token(payload=b"{"),
    "payload_deep": lambda: hmac_token(payload=b'{"x":' + b"[" * 5000 + b"]" * 5000 + b"}"),
    "padded": lambda: GOOD_TOKENS["hs256"]() + "=",
    "loose_bits": lambda: loose_bits(GOOD_TOKENS["hs256"]()),
    "base64_not_url": lambda: hmac_token(text=encode(b'{"alg":"HS256","kid":"hmac"}') + ".ab+/"),
    "signature_empty": lambda: GOOD_TOKENS["hs256"]().rsplit(".", 1)[0] + ".",
    "signature_cut": lambda: GOOD_TOKENS["hs256"]()[:-4],
    "signature_missing": lambda: GOOD_TOKENS["hs256"]().rsplit(".", 1)[0],
    "four_parts": lambda: GOOD_TOKENS["hs256"]() + ".x",
    "ecdsa_zero": lambda: raw_token({"alg": "ES256", "kid": "ec"}, claims(), bytes(64)),
    "ecdsa_order": lambda: raw_token(
        {"alg": "ES256", "kid": "ec"},
        claims(),
        bytes.fromhex("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551") * 2,
    ),
    "ecdsa_short": lambda: raw_token({"alg": "ES256", "kid": "ec"}, claims(), b"\1"),
    "eddsa_zero": lambda: raw_token({"alg": "EdDSA", "kid": "ed"}, claims(), bytes(64)),
    "encrypted": lambda: "eyJhbGciOiJkaXIiLCJlbmMiOiJBMTI4R0NNIn0..AAAA.AAAA.AAAA",
    "dots": lambda: "..",
    "rubbish": lambda: "rubbish",
}


@pytest.mark.smoke
@pytest.mark.parametrize("make", GOOD_TOKENS.values(), ids=GOOD_TOKENS)
def test_a4_a_right_token_of_each_kind_passes(strict_gateway, make):
    assert upgrade_status(strict_gateway, [("Authorization", f"Bearer {make()}")]).status == 101
    assert hello_close_code(strict_gateway, make()) is None


def told_by(answer):
    """All that an answer says but the id of its request."""
    body = {name: value for name, value in json.loads(answer.body).items() if name != "request_id"}
    return body, [(name, value) for name, value in answer.headers if name.lower() != "x-request-id"]


@pytest.mark.parametrize("make", BAD_TOKENS.values(), ids=BAD_TOKENS)
def test_a4_a_wrong_token_is_401_or_4004_and_nothing_is_told(strict_gateway, make):
    plain = upgrade_status(strict_gateway, [("Authorization", "Bearer rubbish")])
    before, logged = strict_gateway.metrics(), len(strict_gateway.log())
    token = make()
    answer = upgrade_status(strict_gateway, [("Authorization", f"Bearer {token}")])
    if len(token) < 8000:  # a longer one has no place in a header line
        assert answer.status == 401
        assert told_by(answer) == told_by(plain)
    assert hello_close_code(strict_gateway, token) == 4004
    moved = strict_gateway.metrics().moved(before)
    assert [labels for name, labels, _ in moved if name == "tidegate_auth_results_total"], moved
    if not strict_gateway.metrics().get(SUPPRESSED) > before.get(SUPPRESSED):
        wait_for(lambda: strict_gateway.log()[logged:], 3, "a line in the log")
    assert token not in strict_gateway.stderr() or token == ".."


def test_a4_a_token_of_64_kib_is_refused(strict_gateway):
    token = hmac_token(payload=claims(more="x" * 49152))
    assert len(token) > 65536

    def attack():
        assert upgrade_status(strict_gateway, [("Authorization", f"Bearer {token}")]).status in (401, 431)
        assert hello_close_code(strict_gateway, token) == 4004

    check_harmless(strict_gateway, attack, reason=("header_line_too_long", "unauthorized", "token_invalid"))


def test_a4_two_authorization_headers_are_401(strict_gateway):
    good = ("Authorization", f"Bearer {GOOD_TOKENS['hs256']()}")

    def attack():
        assert upgrade_status(strict_gateway, [good, good]).status == 401
        assert upgrade_status(strict_gateway, [good, ("Authorization", "Basic YTpi")]).status == 401

    check_harmless(strict_gateway, attack, reason="unauthorized")


def test_a4_a_token_is_never_taken_from_the_url(make_gateway):
    gateway = make_gateway(app={"auth": {"anonymous": False}})
    assert upgrade_status(gateway, [], f"/v1/ws?token={mint()}").status == 101  # v1 may still say hello
    with Wire(gateway.client_port) as wire:
        raw = wire.request(upgrade_request(f"/v1/ws?token={mint()}&access_token={mint()}"))
        assert raw.status == 401


# A6


def closed_at(client, seconds):
    """The close code, and when it came."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            client.read_any(timeout=deadline - time.monotonic())
        except ConnectionClosed as closed:
            return closed.rcvd.code, time.time()


@pytest.mark.smoke
def test_a6_a_token_that_expires_ends_the_session_within_a_second(gateway):
    expires = int(time.time()) + 3
    with V1Client(gateway, hello={"token": mint(claims("ada", exp=expires))}) as client:
        assert client.welcome["exp"] == expires
        assert client.read("expiring")["in_ms"] <= 3000
        code, at = closed_at(client, 10)
    assert code == 4300
    assert expires <= at <= expires + 1 * gateway.slowness
    assert gateway.metrics().get("tidegate_sessions_closed_total", reason="token_expired") >= 1


def test_a6_leeway_is_not_for_a_live_session(make_gateway):
    gateway = make_gateway(app={"auth": {"jwt": {"leeway": "5m"}}})
    expires = int(time.time()) + 3
    with V1Client(gateway, hello={"token": mint(claims("ada", exp=expires))}) as client:
        code, at = closed_at(client, 10)
    assert code == 4300
    assert at <= expires + 1 * gateway.slowness
    with V1Client(gateway, hello={"token": mint(claims("ada", lifetime=-60))}) as client:
        assert client.welcome["user"] == "ada"


def test_a6_a_refresh_keeps_the_session(gateway):
    expires = int(time.time()) + 3
    with V1Client(gateway, hello={"token": mint(claims("ada", exp=expires))}) as client:
        assert client.read("expiring")
        answer = client.ask({"t": "refresh", "token": mint(claims("ada", lifetime=600))})
        assert answer["t"] == "ok"
        wait_for(lambda: time.time() > expires + 1.5, 10, "the old expiry")
        gateway.push({"users": ["ada"]}, "still here")
        assert client.read_data() == ["still here"]


def test_a6_a_refresh_with_anothers_token_is_4003(gateway):
    def attack():
        with V1Client(gateway, hello={"token": mint(claims("ada"))}) as client:
            client.send({"t": "refresh", "re": 1, "token": mint(claims("grace"))})
            assert closed_at(client, 10)[0] == 4003

    check_harmless(gateway, attack, reason="forbidden")


def test_a6_a_refresh_with_a_bad_token_is_4004(gateway):
    def attack():
        with V1Client(gateway, hello={"token": mint(claims("ada"))}) as client:
            client.send({"t": "refresh", "re": 1, "token": mint(claims("ada", lifetime=-10))})
            assert closed_at(client, 10)[0] == 4004

    check_harmless(gateway, attack, reason="token_invalid")


# A11

INJECTIONS = {
    "newline": "a\r\nlevel=error forged",
    "json": 'a","level":"error","event":"forged',
    "ansi": "a\x1b[31mred\x1b[0m\x07",
    "separators": "a\u2028b\u2029c\x85d",
    "bidi": "a\u202eb",
    "format": "%s%n%x%99999d",
    "long": "a" * 7000,
}
BAD_UTF8 = b"a\xff\xfe\xc0\x80\xed\xa0\x80"


def header_bytes(text):
    """As far as a header may hold it."""
    return text.replace("\r", " ").replace("\n", " ").encode()


def request_bytes(injection):
    """The injection in each place of a request that bytes fit in."""
    data = injection if isinstance(injection, bytes) else header_bytes(injection)
    target = b"/" + b"".join(b"%%%02x" % byte for byte in data[:2000])
    start = upgrade_request()[:-2]
    plain = b"GET %s HTTP/1.1\r\nHost: a\r\n"
    return [
        start + b"User-Agent: " + data + b"\r\n\r\n",
        start + b"Origin: " + data + b"\r\n\r\n",
        start + b"X-User-Id: " + data + b"\r\n\r\n",
        start + b"Authorization: Bearer " + data + b"\r\n\r\n",
        start + b"Sec-WebSocket-Protocol: " + data + b"\r\n\r\n",
        start + b"Sec-WebSocket-Extensions: " + data + b"\r\n\r\n",
        plain % target + b"\r\n",
        plain % (b"/" + data) + b"\r\n",
        plain % b"/v1/ws?app=" + target + b"\r\n",
        data.split()[0] + b" / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: " + data + b"\r\n\r\n",
    ]


def provoke_lines(gateway, injection):
    for port in (gateway.client_port, gateway.api_port, gateway.admin_port):
        for data in request_bytes(injection):
            with Wire(port, timeout=5 * gateway.slowness) as wire:
                wire.send(data)
                wire.read_response()


def provoke_by_session(gateway, text):
    with Wire(gateway.client_port, timeout=10 * gateway.slowness) as wire:
        wire.upgrade("/v1/ws", [V1_HEADER])
        hello = {
            "t": "hello",
            "v": 1,
            "groups": [text],
            "origin": text,
            "device": text,
            "attrs": {text: text},
        }
        wire.send(frame(TEXT, json.dumps(hello, ensure_ascii=False).encode()))
        wire.send(frame(TEXT, json.dumps({"t": text, "re": 1, "g": text}, ensure_ascii=False).encode()))
        wire.send(frame(TEXT, json.dumps({"t": "join", "re": 1, "g": text}).encode()))
        wire.send(frame(CLOSE, b"\x0f\xa0" + text.encode()[:120]))
        wire.read_to_end()
    message = {"to": {"users": [text], "groups": [text]}, "type": text, "id": text, "data": text, text: text}
    gateway.api("POST", "/v1/messages", message)
    gateway.api("GET", "/v1/users/" + "".join(f"%{byte:02x}" for byte in text.encode()[:1000]))


@pytest.mark.parametrize("injection", [*INJECTIONS.values(), BAD_UTF8], ids=[*INJECTIONS, "bad_utf8"])
def test_a11_what_a_peer_sends_stays_inside_its_log_line(make_gateway, injection):
    gateway = make_gateway({"log": {"level": "debug"}})
    provoke_lines(gateway, injection)
    if isinstance(injection, str):
        provoke_by_session(gateway, injection)
    gateway.stop()
    gateway.check_words()  # each line is JSON
    data = gateway.stderr_path.read_bytes()
    text = data.decode()  # and UTF-8
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029]", text)
    assert all(
        line["event"] != "forged" and line["level"] in ("debug", "info", "warn", "error", "audit")
        for line in gateway.log()
    )
    assert gateway.log()


# A12


def secret_words(gateway, user_token, bad_token):
    return {
        "API key": gateway.api_key,
        "HMAC secret": HMAC_SECRET,
        "token": user_token,
        "bad token": bad_token,
        "token's signature": user_token.rsplit(".", 1)[1],
        "message": "body-of-a-message-7261",
        "wrong key": "wrong-key-5510",
        "URL secret": "url-secret-8841",
        "ticket": gateway.issued_ticket,
    }


def use_everything(gateway, token, bad_token):
    secret = "body-of-a-message-7261"
    with V1Client(gateway, hello={"token": token, "groups": ["room:1"]}) as client:
        for to in ({"users": ["ada"]}, {"groups": ["room:1"]}, {"all": True}, {"sessions": [client.sid]}):
            gateway.push(to, secret, wait="written")
            assert client.read("msg")["data"] == secret
        client.send({"t": "send", "re": 1, "type": "x", "data": secret})
        client.send({"t": "refresh", "re": 2, "token": bad_token})
        closed_at(client, 10)
    upgrade_status(gateway, [("Authorization", f"Bearer {bad_token}")])
    upgrade_status(gateway, [("Cookie", f"session={bad_token}")])
    upgrade_status(gateway, [], f"/v1/ws?token={token}&ticket=url-secret-8841")
    hello_close_code(gateway, bad_token)
    for body in (secret.encode(), {"to": {}, "data": secret}, {"to": {"users": 7}, "data": secret}):
        gateway.api("POST", "/v1/messages", body)
    gateway.api("POST", f"/v1/broadcast?nonsense={'url-secret-8841'}", secret.encode())
    gateway.api("POST", "/v1/messages", {}, {"Authorization": "Bearer wrong-key-5510"})
    gateway.admin("GET", "/console/?key=url-secret-8841", {"Authorization": "Bearer wrong-key-5510"})
    answers = operate(gateway, secret)
    with Wire(gateway.client_port) as wire:
        wire.upgrade()
        wire.send(frame(TEXT, secret.encode()) + frame(PING, secret.encode(), fin=False))
        wire.read_to_end()
    return answers


LOOKS = ("/v1/alerts", "/v1/overview", "/v1/nodes", "/v1/errors?limit=1000")


def operate(gateway, secret):
    """Acts of the audit log, by the API and from the console."""
    ticket = gateway.api("POST", "/v1/tickets", {})[2]
    gateway.api("POST", f"/v1/tickets/{ticket['id']}/messages", secret.encode())
    gateway.api("GET", f"/v1/tickets/{ticket['id']}/messages")
    gateway.api("DELETE", f"/v1/tickets/{ticket['id']}")
    gateway.api("DELETE", "/v1/users/ada/sessions?key=url-secret-8841")
    gateway.api("DELETE", "/v1/users/ada/sessions", None, {"Authorization": "Bearer wrong-key-5510"})
    gateway.issued_ticket = ticket["ticket"]
    own = [("Origin", f"http://127.0.0.1:{gateway.admin_port}"), ("X-Tidegate-Console", "1")]
    own += [("Content-Type", "application/json")]
    for key in ("wrong-key-5510", gateway.api_key):
        body = json.dumps({"key": key}).encode()
        answer = admin(gateway, "/console/session", method="POST", headers=own, body=body)
    own.append(("Cookie", answer.header("set-cookie").partition(";")[0]))
    message = json.dumps({"to": {"users": ["ada"]}, "data": secret}).encode()
    seen = [answer, admin(gateway, "/console/api/v1/messages", method="POST", headers=own, body=message)]
    assert [answer.status for answer in seen] == [200, 202]
    seen += [admin(gateway, f"/console{path}", headers=own) for path in ("/session", "/api/v1/errors")]
    assert b"errors" in seen[-1].body
    return [answer.body.decode() for answer in seen]


def test_a12_no_secret_is_ever_written_down(make_gateway, tmp_path):
    audit = tmp_path / "audit.log"
    gateway = make_gateway(
        {"log": {"level": "debug", "audit": str(audit)}}, app={"auth": {"cookie": "session"}}
    )
    token, bad_token = mint(claims("ada")), mint(claims("ada"), key=b"not the right secret at all, but long")
    pages = use_everything(gateway, token, bad_token)
    pages += [
        gateway.admin("GET", path)[2].decode() for path in ("/metrics", "/readyz", "/livez", "/console/")
    ]
    pages += [json.dumps(gateway.api("GET", path)[2]) for path in LOOKS]
    assert "api.unauthorized" in pages[-1]
    gateway.stop()
    pages.append(audit.read_text())
    for event in ("user.kick", "ticket.delete", "operator.sign_in", "message.push", "messages.read"):
        assert event in pages[-1]
    for name, word in secret_words(gateway, token, bad_token).items():
        assert word not in gateway.stderr(), f"the {name} is in the log"
        assert not any(word in page for page in pages), f"the {name} is on a page"


# A13


def scramble(rng, length=12):
    return "".join(rng.choice(string.ascii_letters + string.digits) for _ in range(length))


def knock_at_random(gateway, rng, count):
    """Pipelined, so that many fit in little time."""
    methods = ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD"]
    for port in (gateway.client_port, gateway.api_port, gateway.admin_port):
        for _ in range(count // 200):
            with Wire(port, timeout=20 * gateway.slowness) as wire:
                paths = ["/" + scramble(rng), "/v1/" + scramble(rng), "/v1/users/" + scramble(rng)]
                batch = [get(rng.choice(paths) + str(i), method=rng.choice(methods)) for i in range(199)]
                wire.send(b"".join(batch))
                wire.send(get("/", [("Connection", "close")], method=scramble(rng, 5)))
                wire.read_to_end()


def push_at_random(gateway, rng, count):
    for _ in range(count):
        name = scramble(rng)
        to = rng.choice([{"users": [name]}, {"groups": [name]}])
        gateway.push(to, 1, type=scramble(rng), id=scramble(rng))


def close_at_random(gateway, rng, count):
    for _ in range(count):
        with Wire(gateway.client_port, timeout=10 * gateway.slowness) as wire:
            wire.upgrade("/v1/ws", [(USER_HEADER, scramble(rng))])
            wire.send(frame(CLOSE, rng.randrange(3000, 5000).to_bytes(2, "big")))
            wire.read_to_end()


def test_a13_what_peers_choose_makes_no_series(gateway):
    rng = random.Random(13)

    def attack(knocks, others):
        knock_at_random(gateway, rng, knocks)
        push_at_random(gateway, rng, others)
        close_at_random(gateway, rng, others)

    attack(400, 40)
    gateway.metrics()  # makes the series of its own request
    before = gateway.metrics()
    attack(33_200, 400)  # a listener: 100,000 requests in all
    after = gateway.metrics()
    requests = [
        page.get("tidegate_http_requests_total", route="other", status="4xx") for page in (before, after)
    ]
    answered = requests[1] - requests[0]
    assert answered > 90_000
    new = {name for name, _ in after.series.keys() - before.series.keys()}
    assert len(after.series) == len(before.series), new
    assert len(after.text) <= 256 * 1024
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=after.text, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


# A15


CLOSED_DOORS = ["/v1/nodes", "/nothing/at/all"]


def admin(gateway, path, *, method="GET", host=None, headers=(), body=b""):
    if body:
        headers = [*headers, ("Content-Length", str(len(body)))]
    with Wire(gateway.admin_port, timeout=10 * gateway.slowness) as wire:
        wire.send(get(path, headers, host or f"127.0.0.1:{gateway.admin_port}", method, body))
        return wire.read_response()


def test_a15_health_and_metrics_are_open(gateway):
    for path in ("/metrics", "/livez", "/readyz"):
        assert admin(gateway, path).status == 200


@pytest.mark.parametrize("path", CLOSED_DOORS)
def test_a15_all_else_on_the_admin_listener_wants_an_admins_key(gateway, limited_gateway, path):
    bearer = ("Authorization", f"Bearer {gateway.api_key}")
    limited = ("Authorization", f"Bearer {limited_gateway.api_key}")

    def attack():
        assert admin(gateway, path).status == 401
        assert admin(gateway, path, headers=[("Authorization", "Bearer wrong")]).status == 401
        assert admin(gateway, path, headers=[bearer, bearer]).status == 401

    check_harmless(gateway, attack)
    assert admin(limited_gateway, path, headers=[limited]).status == 403
    assert admin(gateway, path, headers=[bearer]).status not in (401, 403)


def test_a15_a_form_of_another_site_is_403(gateway):
    headers = [
        ("Origin", "https://evil.example"),
        ("Content-Type", "application/x-www-form-urlencoded"),
        ("Authorization", f"Bearer {gateway.api_key}"),
    ]

    def attack():
        for path in CLOSED_DOORS:
            assert admin(gateway, path, method="POST", headers=headers, body=b"a=b").status == 403

    check_harmless(gateway, attack)


def test_a15_a_rebound_name_is_421(gateway):
    bearer = ("Authorization", f"Bearer {gateway.api_key}")

    def attack():
        for path in CLOSED_DOORS:
            assert admin(gateway, path, host="evil.example", headers=[bearer]).status == 421

    check_harmless(gateway, attack)


@pytest.fixture(scope="module")
def limited_gateway(request, tmp_path_factory):
    """Its key may push and nothing else."""
    gateway = Gateway(request.config.getoption("preset"), tmp_path_factory.mktemp("limited"))
    gateway.config["apps"][0]["api_keys"][0]["scopes"] = ["push"]
    gateway.start()
    yield gateway
    gateway.stop()


def test_a15_a_push_key_may_push_and_no_more(limited_gateway):
    message = {"to": {"users": ["a"]}, "data": 1}
    assert limited_gateway.api("POST", "/v1/messages", message)[0] == 202
    assert limited_gateway.api("GET", "/v1/users/a")[0] == 403
    assert limited_gateway.api("DELETE", "/v1/users/a/sessions")[0] == 403
    assert limited_gateway.api("GET", "/v1/groups/g")[0] == 403
    assert limited_gateway.api("POST", "/v1/messages", message, {"Authorization": "Bearer x"})[0] == 401
