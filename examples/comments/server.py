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
import re
import threading
import time
import urllib.parse
import urllib.request

HERE = pathlib.Path(__file__).parent
FILES = {
    "/": (HERE / "web/index.html", "text/html; charset=utf-8"),
    "/app.js": (HERE / "web/app.js", "text/javascript"),
    "/style.css": (HERE.parent / "style.css", "text/css"),
}
SDK = HERE.parent.parent / "sdk/js"
NAME = re.compile(r"[A-Za-z0-9_-]{1,32}")
ARTICLE = "article:7"

comments = []
writing = threading.Lock()


def push(message):
    """One HTTP call: 202 means that the gateway's bus has it. Raises OSError when not: try again."""
    request = urllib.request.Request(
        os.environ["TIDEGATE_API"] + "/v1/messages",
        json.dumps(message).encode(),
        {"Authorization": f"Bearer {os.environ['TIDEGATE_API_KEY']}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=5) as answer:
        return json.load(answer)


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
    """page: the tag of the page that wrote it, which shows it already."""
    with writing:
        comment = {"id": len(comments) + 1, "author": author, "text": text, "time": int(time.time() * 1000)}
        comments.append(comment)
    number = comment["id"]
    push(
        {
            "to": {"groups": [ARTICLE]},
            "except": {"origin": page},
            "type": "comment.created",
            "id": f"comment-{number}",  # a repeat of this call is harmless
            "data": comment,
        }
    )
    mentioned = sorted(set(re.findall(r"@([A-Za-z0-9_-]{1,32})", text)) - {author})
    if mentioned:
        push({"to": {"users": mentioned}, "type": "mention", "id": f"mention-{number}", "data": comment})
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
            self.answer_json(200, comments)
        elif path == "/push-token" and self.user():
            self.answer(200, token(self.user()).encode(), "text/plain")
        else:
            self.answer_json(401 if path == "/push-token" else 404, {})

    def do_POST(self):
        body = self.rfile.read(min(int(self.headers.get("Content-Length", 0)), 10000))
        is_own = self.headers.get("Content-Type") == "application/json"  # which no form can send
        if self.path != "/comments" or not is_own or not self.user():
            self.answer_json(403, {})
            return
        try:
            asked = json.loads(body)
            comment = add_comment(self.user(), str(asked["text"])[:2000], str(asked.get("page", "")))
            self.answer_json(201, comment)
        except (ValueError, KeyError, TypeError):
            self.answer_json(400, {})
        except OSError as error:  # it is kept, and shown by the next GET; readers learn of it late
            self.answer_json(202, {"late": str(error)})

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
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def policy_sources():
    client = os.environ["TIDEGATE_CLIENT"]
    return f"{client} {client.replace('http', 'ws', 1)}"


def main():
    host, port = os.environ.get("LISTEN", "127.0.0.1:8090").rsplit(":", 1)
    http.server.ThreadingHTTPServer.daemon_threads = True
    http.server.ThreadingHTTPServer((host, int(port)), Handler).serve_forever()


if __name__ == "__main__":
    main()
