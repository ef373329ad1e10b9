"""A web site of an application: files, and a path that gives its visitors tokens."""

import contextlib
import http.server
import mimetypes
import threading
import urllib.parse

from harness import tokens


@contextlib.contextmanager
def serving_site(files, answers=None):
    """files: path → a file, or a folder where the path ends with "/". answers: path → a function of the
    query's values that returns text. `/token?user=NAME` is there always. Yields the origin."""
    answers = {"/token": lambda query: tokens.mint(tokens.claims(query["user"][0])), **(answers or {})}

    def find(path):
        for start, place in files.items():
            if start.endswith("/") and path.startswith(start) and ".." not in path:
                return place / path[len(start) :]
            if path == start:
                return place
        return None

    class Site(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            parts = urllib.parse.urlsplit(self.path)
            place = find(parts.path)
            if parts.path in answers:
                self.answer(
                    200, "text/plain", answers[parts.path](urllib.parse.parse_qs(parts.query)).encode()
                )
            elif place and place.is_file():
                self.answer(200, mimetypes.guess_type(place.name)[0] or "text/plain", place.read_bytes())
            else:
                self.answer(404, "text/plain", b"nothing here")

        def answer(self, status, kind, body):
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Site)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
