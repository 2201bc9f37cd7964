"""For tests of downloads: a loopback server that answers as told, with ranges, breaks and refusals."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


class Web:
    """``files`` by path, and how it misbehaves.

    ``breaks`` are numbers of bytes after which a connection is cut, one per request; ``codes`` are answers in place of the
    file, one per request; ``asked`` keeps (path, Range, If-Range) of every request.
    """

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.files: dict[str, bytes] = {}
        self.breaks: list[int] = []
        self.codes: list[int] = []
        self.asked: list[tuple[str, str | None, str | None]] = []
        self.ranges, self.tags, self.lengths = True, True, True


class Answers(BaseHTTPRequestHandler):
    web: Web
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        web, wanted, same = self.web, self.headers.get("Range"), self.headers.get("If-Range")
        web.asked.append((self.path, wanted, same))
        code = web.codes.pop(0) if web.codes else 200
        content = web.files.get(self.path)
        if code != 200 or content is None:
            self.send_response(code if code != 200 else 404)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        tag = f'"{hash(content):x}"'
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and web.ranges and same in (None, tag) else 0
        if start and start >= len(content):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(content)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        if web.tags:
            self.send_header("ETag", tag)
        self.send_header("Content-Length", str(len(content) - start)) if web.lengths else None
        self.send_header("Connection", "close")
        self.end_headers()
        rest = content[start:]
        self.wfile.write(rest[: web.breaks.pop(0)] if web.breaks else rest)
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def web():
    """A server on this machine, gone after the test."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    server.RequestHandlerClass = type("Own", (Answers,), {"web": Web(server.server_address[1])})
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server.RequestHandlerClass.web
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
