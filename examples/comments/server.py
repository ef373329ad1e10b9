#!/usr/bin/env python3
"""Live comments on an article: a business system in Python's standard library.

It keeps comments (in memory) and tells tidegate of each one by HTTP; it never sees a socket of a browser.

    TIDEGATE_API         where to push, such as http://127.0.0.1:8081
    TIDEGATE_API_KEY     a key of scope push
    TIDEGATE_CLIENT      where browsers connect, such as http://127.0.0.1:8080
    TIDEGATE_JWT_SECRET  what tokens are signed with: the same as auth.jwt.keys of the app
    LISTEN               127.0.0.1:8090
"""

import base64
import hashlib
import hmac
import http.cookies
import http.server
import json
import os
import pathlib
import queue
import re
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid

HERE = pathlib.Path(__file__).parent
FILES = {
    "/": (HERE / "web/index.html", "text/html; charset=utf-8"),
    "/app.js": (HERE / "web/app.js", "text/javascript"),
    "/style.css": (HERE.parent / "style.css", "text/css"),
}
SDK = HERE.parent.parent / "sdk/js"
NAME = re.compile(r"[A-Za-z0-9_-]{1,32}")
ARTICLE = "article:7"

BODY_MAX = 10_000
COMMENTS_MAX = 1000
PATIENCE = 300  # seconds that a push is tried again for

comments = []
outbox = queue.Queue(1000)  # what the gateway has not got yet, in the order of the comments
writing = threading.Lock()


def push(message):
    """One HTTP call: 202 means that the gateway's bus has it."""
    request = urllib.request.Request(
        os.environ["TIDEGATE_API"] + "/v1/messages",
        json.dumps(message).encode(),
        {"Authorization": f"Bearer {os.environ['TIDEGATE_API_KEY']}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=5) as answer:
        return json.load(answer)


def push_patiently(message):
    """The id in the message makes a repeat harmless: readers get it once."""
    deadline, pause = time.monotonic() + PATIENCE, 0.2
    while True:
        try:
            return push(message)
        except OSError as error:
            is_refused = isinstance(error, urllib.error.HTTPError) and error.code < 500 and error.code != 429
            if is_refused or time.monotonic() > deadline:
                print(f"{message['id']} is not pushed: {error}", file=sys.stderr)
                return None
        time.sleep(pause)
        pause = min(pause * 2, 5)


def empty_outbox():
    """One thread, so that readers see comments in the order in which they are kept."""
    while True:
        push_patiently(outbox.get())


def send(message):
    """While the gateway is away for so long that this is full, readers learn of it by their next GET."""
    try:
        outbox.put_nowait(message)
    except queue.Full:
        print(f"{message['id']} is not pushed: too many wait", file=sys.stderr)


def token(user):
    """A JSON Web Token (RFC 7519) that says to the gateway who its visitor is, for ten minutes."""

    def encode(data):
        return base64.urlsafe_b64encode(data).rstrip(b"=")

    now = int(time.time())
    claims = {"sub": user, "iat": now, "exp": now + 600}
    signed = encode(b'{"alg":"HS256","typ":"JWT"}') + b"." + encode(json.dumps(claims).encode())
    secret = os.environ["TIDEGATE_JWT_SECRET"].encode()
    return (signed + b"." + encode(hmac.digest(secret, signed, hashlib.sha256))).decode()


def add_comment(author, text, page):
    """page: the tag of the page that wrote it, which shows it already. Ids are never used again, also not by
    the next process: the gateway takes an id that it knows for a repeat, which nobody is shown."""
    comment = {"id": str(uuid.uuid4()), "author": author, "text": text}
    created = {"to": {"groups": [ARTICLE]}, "type": "comment.created", "id": comment["id"], "data": comment}
    if page:
        created["except"] = {"origin": page}
    mentioned = sorted(set(re.findall(r"@([A-Za-z0-9_-]{1,32})", text)) - {author})
    with writing:
        last = comments[-1]["time"] if comments else 0
        comment["time"] = max(int(time.time() * 1000), last + 1)
        comments.append(comment)
        del comments[:-COMMENTS_MAX]
        send(created)
        if mentioned:
            send(
                {
                    "to": {"users": mentioned},
                    "type": "mention",
                    "id": f"mention-{comment['id']}",
                    "data": comment,
                }
            )
    return comment


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def user(self):
        """Who is signed in. A demonstration: the cookie is the name; a real one is a session."""
        jar = http.cookies.SimpleCookie(self.headers.get("Cookie", ""))
        name = jar["user"].value if "user" in jar else ""
        return name if NAME.fullmatch(name) else None

    def do_GET(self):
        path = urllib.parse.urlsplit(self.path).path
        if path in FILES:
            self.answer(200, FILES[path][0].read_bytes(), FILES[path][1])
        elif re.fullmatch(r"/sdk/[a-z]+\.js", path) and (SDK / path[5:]).is_file():
            self.answer(200, (SDK / path[5:]).read_bytes(), "text/javascript")
        elif path == "/settings":
            self.answer_json(200, {"gateway": os.environ["TIDEGATE_CLIENT"], "group": ARTICLE})
        elif path == "/comments":
            with writing:
                kept = list(comments)
            self.answer_json(200, kept)
        elif path == "/push-token" and self.user():
            self.answer(200, token(self.user()).encode(), "text/plain")
        else:
            self.answer_json(401 if path == "/push-token" else 404, {})

    def do_POST(self):
        length = self.headers.get("Content-Length", "")
        if not re.fullmatch(r"[0-9]{1,9}", length) or int(length) > BODY_MAX:
            self.close_connection = (
                True  # what follows is not read, and must not be taken for the next request
            )
            self.answer_json(413 if length.isdigit() else 411, {})
            return
        body = self.rfile.read(int(length))
        is_own = self.headers.get("Content-Type") == "application/json"  # which no form can send
        if self.path != "/comments" or not is_own or not self.user():
            self.answer_json(403, {})
            return
        try:
            asked = json.loads(body)
            comment = add_comment(self.user(), str(asked["text"])[:2000], str(asked.get("page", ""))[:64])
            self.answer_json(201, comment)  # it is kept: whether readers know already is another matter
        except (ValueError, KeyError, TypeError, RecursionError):
            self.answer_json(400, {})

    def answer_json(self, status, value):
        self.answer(status, json.dumps(value).encode(), "application/json")

    def answer(self, status, body, kind):
        self.send_response(status)
        for name, value in {
            "Content-Type": kind,
            "Content-Length": str(len(body)),
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
            "Content-Security-Policy": f"default-src 'self'; connect-src 'self' {policy_sources()}",
        }.items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def policy_sources():
    client = os.environ["TIDEGATE_CLIENT"]
    return f"{client} {client.replace('http', 'ws', 1)}"


def main():
    host, port = os.environ.get("LISTEN", "127.0.0.1:8090").rsplit(":", 1)
    threading.Thread(target=empty_outbox, daemon=True).start()
    http.server.ThreadingHTTPServer.daemon_threads = True
    http.server.ThreadingHTTPServer((host, int(port)), Handler).serve_forever()


if __name__ == "__main__":
    main()
