"""One request of ``coset serve``: who asks, what, within which limits; see :mod:`coset.interop.serve` for the answers."""

from __future__ import annotations

import contextlib
import io
import json
import os
import select
import socket
import time
import traceback
from http.cookies import CookieError, SimpleCookie
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit

from coset.errors import InputError
from coset.interop.serve_jobs import Refused
from coset.interop.serve_questions import NEEDED, Patient, Question
from coset.records import SCHEMA

if TYPE_CHECKING:
    from coset.interop.serve import Server

BODY, ADDRESS, HEADERS = 16_384, 2_048, 16_384  #: bytes of a request
BLOCK = 2**18  #: bytes of a file that are sent at once
IDLE = 15.0  #: seconds within which a whole request arrives, and a connection takes what is sent
NOTHING = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; img-src data: blob:; "
#: a page that was found runs its scripts without an origin: it can ask nothing of this server
SANDBOX = NOTHING + "style-src 'unsafe-inline'; script-src 'unsafe-inline'; sandbox allow-scripts allow-downloads"
JSON = "application/json"


class Handler(BaseHTTPRequestHandler):
    """GET for pages and files, POST for questions; every refusal is a line of JSON."""

    server: Server
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "coset", ""
    timeout = IDLE
    disable_nagle_algorithm = True  # an answer of two writes would wait for the reader otherwise

    def setup(self) -> None:
        """Read with a deadline."""
        super().setup()
        self.rfile.close()
        self.patient = Patient(self.connection, IDLE)
        self.rfile = io.BufferedReader(self.patient)

    def handle_one_request(self) -> None:
        """The next request of the connection."""
        self.patient.end = time.monotonic() + IDLE
        super().handle_one_request()

    def do_GET(self) -> None:
        """A page or a file."""
        self._guard(self._get)

    def do_HEAD(self) -> None:
        """As GET, without a body."""
        self._guard(self._get)

    def do_POST(self) -> None:
        """A question."""
        self._guard(self._post)

    def _guard(self, answer: Any) -> None:
        try:
            self._check()
            answer()
        except Refused as error:
            self._refuse(error.status, error.kind, str(error))
        except InputError as error:
            self._refuse(404, "address", str(error))
        except (ConnectionError, TimeoutError):  # whoever asked has gone
            self.close_connection = True
        except Exception as error:  # a fault of ours: told where the server runs, and it goes on
            traceback.print_exc()
            self._refuse(500, "fault", f"this is a fault of coset ({type(error).__name__}); the server's terminal says more")

    # ------------------------------------------------------------------ who asks

    def _check(self) -> None:
        """Sizes, Host, Origin and token, in this order; raises Refused."""
        if len(self.path) > ADDRESS:
            raise Refused(414, "request", f"an address has at most {ADDRESS} characters")
        if sum(len(name) + len(value) for name, value in self.headers.items()) > HEADERS:
            raise Refused(431, "request", f"headers have at most {HEADERS} characters")
        hosts = self.headers.get_all("Host", [])
        if len(hosts) != 1 or not self.server.answers_to(hosts[0]):
            raise Refused(403, "origin", "this server is not called so; open the address that coset serve printed")
        origin = self.headers.get("Origin")
        if origin is not None and urlsplit(origin).netloc != hosts[0]:
            raise Refused(403, "origin", "only pages of this server may ask it")
        if not self._known():
            raise Refused(401, "token", "open the address with the token that coset serve printed")

    def _known(self) -> bool:
        if not self.server.token:
            return True
        said = [self.headers.get("X-Coset-Token", ""), self.headers.get("Authorization", "").removeprefix("Bearer ")]
        said += parse_qs(urlsplit(self.path).query).get("token", [])[:1]
        with contextlib.suppress(CookieError):
            cookie = SimpleCookie(self.headers.get("Cookie", "")).get(self._cookie())
            said += [cookie.value] if cookie else []
        return any(self.server.knows(word) for word in said)

    def _cookie(self) -> str:
        return f"coset-{self.server.server_address[1]}"  # cookies do not tell ports apart

    # ------------------------------------------------------------------ pages and files

    def _get(self) -> None:
        self._no_body()
        split = urlsplit(self.path)
        if self.server.token and "token" in parse_qs(split.query):
            self._welcome(split.path)
            return
        path = unquote(split.path, errors="strict") if _decodes(split.path) else ""
        if path == "/":
            self._send(200, self.server.index(), "text/html; charset=utf-8", NOTHING + "style-src 'unsafe-inline'")
        elif path.startswith("/audit/"):
            page, script = self.server.page(path.removeprefix("/audit/"))
            policy = f"{NOTHING}style-src 'unsafe-inline'; connect-src 'self'; script-src {script}"
            self._send(200, page, "text/html; charset=utf-8", policy)
        elif path.startswith("/files/"):
            self._file(path.removeprefix("/files/"))
        elif path.removeprefix("/api/") in NEEDED:
            raise Refused(405, "request", "questions are asked by POST")
        else:
            raise Refused(404, "address", "nothing is here; / lists the folder")

    def _welcome(self, path: str) -> None:
        """Keep the token in a cookie, and out of the address."""
        self.send_response(303)
        self.send_header("Set-Cookie", f"{self._cookie()}={self.server.token}; HttpOnly; SameSite=Strict; Path=/")
        self.send_header("Location", "/" + path.lstrip("/\\"))
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("Cache-Control", "no-store")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _file(self, path: str) -> None:
        descriptor, size, kind = self.server.folder.static(path)
        with os.fdopen(descriptor, "rb") as stream:
            self._head(200, size, kind, SANDBOX)
            if self.command != "HEAD":
                while size > 0 and (block := stream.read(min(BLOCK, size))):
                    self.wfile.write(block)
                    size -= len(block)
                self.close_connection = self.close_connection or size > 0  # the file has shrunk meanwhile

    # ------------------------------------------------------------------ questions

    def _post(self) -> None:
        what = self.path.removeprefix("/api/")
        if not self.path.startswith("/api/") or what not in NEEDED:
            raise Refused(404, "address", f"questions are asked at {', '.join(f'/api/{name}' for name in NEEDED)}")
        question = Question.of(what, self._body())
        found = self.server.jobs.run(question.job, question.key, client=question.client, turn=question.turn, there=self._there)
        status = 422 if "failed" in found else 200
        self._send(status, json.dumps(found, separators=(",", ":"), allow_nan=False).encode(), JSON, NOTHING)

    def _body(self) -> dict[str, Any]:
        """The object that was sent; what cannot be read ends the connection."""
        close, self.close_connection = self.close_connection, True
        if self.headers.get("Content-Type", "").partition(";")[0].strip().lower() != JSON:
            raise Refused(415, "request", f"expected Content-Type: {JSON}")
        lengths = self.headers.get_all("Content-Length", [])
        if self.headers.get("Transfer-Encoding") or len(lengths) != 1:
            raise Refused(411, "request", "expected one Content-Length and no Transfer-Encoding")
        if not (lengths[0].isascii() and lengths[0].isdigit()):
            raise Refused(400, "request", "Content-Length is no number")
        if len(lengths[0]) > 9 or int(lengths[0]) > BODY:
            raise Refused(413, "request", f"a question has at most {BODY} bytes")
        text = self.rfile.read(int(lengths[0]))
        if len(text) < int(lengths[0]):
            raise ConnectionError("the body broke off")
        try:
            found = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise Refused(400, "request", "the body is no JSON") from error
        if not isinstance(found, dict):
            raise Refused(400, "request", "the body is no JSON object")
        self.close_connection = close
        return found

    def _no_body(self) -> None:
        if self.headers.get("Content-Length", "0") != "0" or self.headers.get("Transfer-Encoding"):
            self.close_connection = True
            raise Refused(413, "request", "this address takes no body")

    def _there(self) -> bool:
        """Whether the connection still stands: one that can be read and holds nothing was closed."""
        try:
            readable, _, _ = select.select([self.connection], [], [], 0)
            return not readable or bool(self.connection.recv(1, socket.MSG_PEEK))
        except (OSError, ValueError):
            return False

    # ------------------------------------------------------------------ answering

    def _head(self, status: int, size: int, kind: str, policy: str, more: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {
            "Content-Type": kind, "Content-Length": str(size), "Content-Security-Policy": policy,
            "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store",
            "Cross-Origin-Resource-Policy": "same-origin", **(more or {}),
        }.items():  # fmt: skip
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()

    def _send(self, status: int, content: bytes, kind: str, policy: str, more: dict[str, str] | None = None) -> None:
        self._head(status, len(content), kind, policy, more)
        if self.command != "HEAD":
            self.wfile.write(content)

    def _refuse(self, status: int, kind: str, message: str) -> None:
        # what was sent may not have been read, and who is not known may not hold a connection
        self.close_connection |= status in (401, 403, 414, 431, 500) or (status == 404 and self.command == "POST")
        content = json.dumps({"schema": SCHEMA, "failed": {"kind": kind, "message": message}}).encode()
        with contextlib.suppress(OSError):
            self._send(status, content, JSON, NOTHING, {"Retry-After": "1"} if status in (429, 503) else None)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Refusals of the standard library (malformed requests, other methods), said as ours."""
        self.close_connection = True
        self.command = getattr(self, "command", None) or "GET"
        self.request_version = "HTTP/1.1"
        self._refuse(code, "request", message or "malformed request")

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing is logged: addresses may hold the token."""


def _decodes(path: str) -> bool:
    try:
        unquote(path, errors="strict")
    except UnicodeDecodeError:
        return False
    return True
