"""A server of audit pages that ask their model live, for one person or a few: standard library, safe by default.

The standard library's threading server is enough, since models run in processes of their own (:mod:`coset.interop.serve_jobs`)
and every limit below stays in our hands; Dash would bring a framework for one page and four questions.

**Addresses.** ``/`` lists the folder; ``/audit/PATH`` is the audit page of a folder, live; ``/files/PATH`` is a file as it is.

**API.** JSON by POST with ``Content-Type: application/json``; every answer holds ``schema``.

``/api/open`` ``{page, part}`` - what can be asked: ``{axes: [bool], draw: bool, models: [{name, live, why}]}``. ``page`` is the
folder's path, ``part`` the factor of the group; ``axes`` says along which axes of the grid there are elements between its own.

``/api/at`` ``{page, part, model, sample, at | draw, dtype?, whole?, client?, turn?}`` - one model (its place on the page) at
one sample (-1: the mean over all) and one element: ``at`` is a position on the grid, one number per axis, ``draw`` the seed of
a random element. The answer: ``{name, error, floor, count, gx, got, want, x}``: the element's name, the relative error, the
action's own floor, how many samples that is a mean of, and by field name, as in the page's payload (``t``, ``s``, ``d``), the
moved sample, ``f(g x)``, ``g f(x)`` and, with ``whole``, ``x``. ``dtype`` is float64, float32 or bfloat16 (else that of the
audit). Of the questions of one ``client`` the one with the highest ``turn`` wins, here and below.

``/api/orbit`` ``{page, part, model, sample, dtype?, client?, turn?}`` - along the orbit: of one sample ``{dtype, places,
errors, floors}``, ``places`` being positions on the grid's only axis (empty: the errors are those at the grid's elements); of
all (-1) ``{dtype, errors, embedding, by_output}``, ``errors`` being samples x elements.

``/api/ladder`` ``{page, part, model, sample, at | draw, dtype?, client?, turn?}`` - the layers at one element: ``{dtype,
layers, offender, tolerance, alone}``; each layer tells its ``errors`` by dtype, ``alone`` says whether they are of that sample
only.

A failure is ``{failed: {kind, message}}``: 400 ``request``, 401 ``token``, 403 ``origin``, 404 ``address``, 409 ``superseded``,
411, 413, 414, 415 and 431 ``request``, 422 ``input`` and ``model`` (the model raised), 429 and 503 ``busy`` with
``Retry-After``, 500 ``fault``, 502 ``died``, 504 ``late``.

**Safety.** Binds to 127.0.0.1 unless told otherwise; elsewhere asks for a token. Answers only to names of its own (no DNS
rebinding) and to its own pages. Takes no file, runs no file that it finds, opens no pickle, leaves its folder for nothing.
"""

from __future__ import annotations

import contextlib
import hmac
import ipaddress
import secrets
import socket
import socketserver
import threading
from collections import OrderedDict
from collections.abc import Mapping
from http.server import HTTPServer
from pathlib import Path

from coset.errors import InputError
from coset.interop.serve_folder import Folder, index_page
from coset.interop.serve_handler import Handler
from coset.interop.serve_jobs import Jobs, Refused
from coset.report.audit_page import audit_page, read_payload, script_hash

CONNECTIONS = 64  #: at once
PAGES = 4  #: that are kept ready
LARGEST = 64 * 2**20  #: bytes of a page that is shown live


class Server(socketserver.ThreadingMixIn, HTTPServer):
    """Serve a folder; ``targets`` are models by the name that pages know them under, as TARGETs of the command line.

    ``host`` other than this machine's own asks for a token, which ``address`` carries; ``port`` 0 takes a free one. At most
    ``workers`` models run at once and ``waiting`` questions wait, ``seconds`` each. Raises InputError for a folder that is
    none, an address that cannot be had and a target that cannot be loaded.
    """

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(
        self, root: str | Path, targets: Mapping[str, str] | None = None, *, host: str = "127.0.0.1", port: int = 8000,
        token: bool = False, workers: int = 1, waiting: int = 8, seconds: float = 30.0,
    ) -> None:  # fmt: skip
        self.folder = Folder(root)
        self.host = host
        self.jobs = Jobs(self.folder.root, targets or {}, workers=workers, waiting=waiting, seconds=seconds)
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
            self.address_family = found[0]
            super().__init__((host, port), Handler)
        except (OSError, OverflowError) as error:
            raise InputError(f"cannot serve at {host}, port {port}: {error}; choose another --port or --host") from error
        self.token = secrets.token_urlsafe(24) if token or not is_loopback(host) else ""
        self.slots = threading.BoundedSemaphore(CONNECTIONS)
        self.ready: OrderedDict[tuple[str, int], tuple[bytes, str]] = OrderedDict()
        self.rendering = threading.Lock()
        try:
            if targets:
                self._try_targets()
        except BaseException:
            self.server_close()
            raise

    def _try_targets(self) -> None:
        try:
            answer = self.jobs.run({"do": "load", "with": {}}, "targets")
        except Refused as error:
            raise InputError(f"--model: {error}") from error
        if "failed" in answer:
            raise InputError(f"--model: {answer['failed']['message']}")

    @property
    def address(self) -> str:
        """Where a browser finds it, the token included."""
        host, port = self.server_address[:2]
        shown = f"[{host!s}]" if ":" in str(host) else str(host)
        if shown in ("0.0.0.0", "[::]"):
            shown = socket.gethostname()
        return f"http://{shown}:{port}/" + (f"?token={self.token}" if self.token else "")

    # ------------------------------------------------------------------ who may ask

    def answers_to(self, host: str) -> bool:
        """Whether a Host header names this server: a rebound DNS name does not.

        At this machine's own address only its own names count; elsewhere any literal address, the host given, and the
        machine's name (the token guards what lies behind).
        """
        name = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
        name = name.strip("[]").lower()
        if name == "localhost" or is_loopback(name):
            return True
        if is_loopback(self.host):
            return False
        with contextlib.suppress(ValueError):
            ipaddress.ip_address(name)
            return True
        return name in {self.host.lower(), socket.gethostname().lower()}

    def knows(self, token: str) -> bool:
        """Whether this is the token, compared in constant time; always so where none is asked for."""
        return not self.token or hmac.compare_digest(token.encode(), self.token.encode())

    # ------------------------------------------------------------------ pages

    def page(self, path: str) -> tuple[bytes, str]:
        """The live page of a folder, and its script's hash; InputError for a folder without one.

        It is written anew from the payload, so that no script of the file is run.
        """
        file = self.folder.file(f"{path}/audit.html" if path else "audit.html")
        about = file.stat()
        if about.st_size > LARGEST:
            raise InputError(f"{path}/audit.html is larger than {LARGEST >> 20} MB; open it from disk")
        key = (path, about.st_mtime_ns)
        with self.rendering:
            if key not in self.ready:
                try:
                    text = audit_page({**read_payload(file), "live": {"page": path}})
                except (KeyError, TypeError, ValueError) as error:
                    raise InputError(f"{path}/audit.html is no page written by coset audit --out") from error
                self.ready[key] = text.encode(), script_hash(text)
                while len(self.ready) > PAGES:
                    self.ready.popitem(last=False)
            self.ready.move_to_end(key)
            return self.ready[key]

    def index(self) -> bytes:
        """The list of the folder."""
        return index_page(self.folder).encode()

    # ------------------------------------------------------------------ connections

    def server_bind(self) -> None:
        """Bind, without asking the network for a name of this machine, which may take seconds."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def process_request(self, request, client_address):  # type: ignore[no-untyped-def]
        """A thread for the connection, or a refusal where there are too many."""
        if not self.slots.acquire(blocking=False):
            with contextlib.suppress(OSError):
                request.settimeout(1)
                request.sendall(
                    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                )
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:
            self.slots.release()
            raise

    def process_request_thread(self, request, client_address):  # type: ignore[no-untyped-def]
        """Give the place free when the connection ends."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.slots.release()

    def handle_error(self, request, client_address):  # type: ignore[no-untyped-def]
        """A client that went away in the middle is no news; anything else is."""
        import sys

        if not isinstance(sys.exc_info()[1], (ConnectionError, TimeoutError)):
            super().handle_error(request, client_address)

    def server_close(self) -> None:
        """Close the socket and end all processes."""
        super().server_close()
        self.jobs.close()


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
