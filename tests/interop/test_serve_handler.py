"""Whom coset serve refuses: names that are not its own, strangers, paths that lead outside, and all that is too large."""

import contextlib
import json
import os
import re
import socket
import threading
import time

import pytest

from coset.interop import serve as module
from coset.interop import serve_handler as handler
from coset.interop.serve import is_loopback
from coset.interop.serve_folder import Folder
from coset.interop.serve_handler import ADDRESS, BODY, HEADERS
from coset.interop.serve_jobs import Refused

SECRET = "the-secret-of-another-folder"  # as in conftest.py


@pytest.mark.parametrize(
    ("host", "status"),
    [("127.0.0.1", 200), ("localhost:1234", 200), ("[::1]:80", 200), ("LOCALHOST", 200), ("evil.example", 403),
     ("evil.example:80", 403), ("127.0.0.1.evil.example", 403), ("localhost.evil.example", 403), ("192.168.1.7", 403),
     ("", 403), ("localhost@evil.example", 403)],
)  # fmt: skip
def test_a_rebound_name_is_refused(web, bare, host, status):
    assert web.request(bare, "GET", "/", Host=host)[0] == status


def test_hosts_must_be_said_once(web, bare):
    assert b" 403 " in web.raw(bare, b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n").splitlines()[0]
    twice = b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\nConnection: close\r\n\r\n"
    assert b" 403 " in web.raw(bare, twice).splitlines()[0]


def test_pages_of_others_are_refused(web, bare):
    port = bare.server_address[1]
    for origin in ("http://evil.example", "null", f"http://localhost:{port + 1}", f"http://127.0.0.1:{port}.evil.example"):
        assert web.ask(bare, "open", headers={"Origin": origin})[0] == 403
    assert web.request(bare, "GET", "/", Origin=f"http://127.0.0.1:{port}")[0] == 200


def test_it_stays_at_home_unless_told_otherwise(bare):
    assert bare.server_address[0] == "127.0.0.1"
    assert not bare.token
    assert [is_loopback(h) for h in ("127.0.0.1", "::1", "localhost", "0.0.0.0", "192.168.0.1", "example.org", "")] == [
        True, True, True, False, False, False, False,
    ]  # fmt: skip


def test_elsewhere_a_token_is_asked_for(web, place):
    with web.serving(place / "runs", host="0.0.0.0") as server:
        token = server.token
        assert len(token) >= 32
        assert server.address.endswith(f"?token={token}")
        for path in ("/", "/audit/digits", "/files/digits/audit.json"):
            assert web.request(server, "GET", path)[0] == 401
            assert web.request(server, "GET", f"{path}?token={token[:-1]}x")[0] == 401
        assert web.ask(server, "open")[0] == 401
        assert web.ask(server, "open", headers={"X-Coset-Token": "é"})[0] == 401
        assert web.request(server, "GET", "/", X_Coset_Token=token)[0] == 200
        assert web.request(server, "GET", "/", Authorization=f"Bearer {token}")[0] == 200
        status, headers, _ = web.request(server, "GET", f"/audit/digits?token={token}")
        assert (status, headers["Location"]) == (303, "/audit/digits")
        cookie = headers["Set-Cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=Strict" in cookie
        assert web.request(server, "GET", "/audit/digits", Cookie=cookie.partition(";")[0])[0] == 200
        assert web.request(server, "GET", "/", Host="192.168.1.7", X_Coset_Token=token)[0] == 200, (
            "an address cannot be rebound"
        )
        assert web.request(server, "GET", "/", Host="evil.example", X_Coset_Token=token)[0] == 403
        assert web.request(server, "GET", f"//evil.example?token={token}")[1]["Location"] == "/evil.example"


def test_tokens_are_compared_in_constant_time(web, place, monkeypatch):
    seen = []
    compare = module.hmac.compare_digest
    with web.serving(place / "runs", token=True) as server:
        monkeypatch.setattr(module.hmac, "compare_digest", lambda a, b: seen.append(a) or compare(a, b))
        assert web.request(server, "GET", "/", X_Coset_Token="wrong")[0] == 401
    assert b"wrong" in seen


OUTSIDE = [
    "../secret.html",
    "%2e%2e/secret.html",
    "%2e%2e%2fsecret.html",
    "..%2fsecret.html",
    "%252e%252e/secret.html",
    "..\\secret.html",
    "..%5csecret.html",
    "digits/../../secret.html",
    "digits//..//../secret.html",
    "/secret.html",
    "./../secret.html",
    "link.html",
    "linked/secret.html",
    "%00",
    "digits%00/audit.json",
    "%ff%fe",
    ".hidden.html",
    "nets.py",
    "weights.pkl",
    "compare",
    "pipe.json",
    "C:/secret.html",
    "~/secret.html",
    "digits/audit.json/",
    "sly.html",
]


@pytest.fixture
def traps(place):
    runs = place / "runs"
    (runs / "link.html").symlink_to(place / "secret.html")
    (runs / "linked").symlink_to(place)
    (runs / "sly.html").symlink_to(runs / "nets.py")
    (runs / ".hidden.html").write_text(SECRET)
    (runs / "nets.py").write_text(SECRET)
    (runs / "weights.pkl").write_text(SECRET)
    os.mkfifo(runs / "pipe.json")
    yield
    for name in ("link.html", "linked", "sly.html", ".hidden.html", "nets.py", "weights.pkl", "pipe.json"):
        (runs / name).unlink()


@pytest.mark.parametrize("path", [*OUTSIDE, "", "ABSOLUTE"])
def test_no_path_leads_outside(web, bare, place, traps, path):
    path = f"{place}/secret.html" if path == "ABSOLUTE" else path
    for front in ("/files/", "/audit/"):
        answered = web.raw(bare, f"GET {front}{path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        assert re.match(rb"HTTP/1.1 40[04] ", answered), answered[:80]
        assert SECRET.encode() not in answered
    status, told = web.ask(bare, "open", page=path)
    assert status == 422
    assert "no file" in told["failed"]["message"]


def test_a_link_that_stays_inside_is_followed(web, bare, place):
    link = place / "runs" / "again.json"
    link.symlink_to(place / "runs" / "digits" / "audit.json")
    try:
        assert web.request(bare, "GET", "/files/again.json")[0] == 200
    finally:
        link.unlink()


def test_nothing_can_be_sent_there(web, bare):
    for method in ("PUT", "DELETE", "PATCH", "OPTIONS", "CONNECT"):
        assert web.request(bare, method, "/files/new.html", b"x")[0] == 501
    for path in ("/", "/files/new.html", "/audit/digits"):
        assert web.request(bare, "POST", path, b"{}", Content_Type="application/json")[0] == 404
    assert web.request(bare, "GET", "/", b"x")[0] == 413
    assert web.request(bare, "GET", "/api/at")[0] == 405


POST = b"POST /api/at HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET /" + b"a" * ADDRESS + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 414),
        (b"GET /?" + b"a" * 70000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * HEADERS + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: a\r\n" * 200 + b"\r\n", 431),
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/9.9\r\nHost: localhost\r\n\r\n", 505),
        (POST + b"Content-Length: %d\r\n\r\n" % (BODY + 1), 413),
        (POST + b"Content-Length: " + b"9" * 40 + b"\r\n\r\n", 413),
        (POST + b"Content-Length: -1\r\n\r\n", 400),
        (POST + b"\r\n", 411),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n", 411),
        (POST.replace(b"application/json", b"text/plain") + b"Content-Length: 2\r\n\r\n{}", 415),
        (POST + b"Connection: close\r\nContent-Length: 2\r\n\r\n[]", 400),
        (POST + b"Connection: close\r\nContent-Length: 9999\r\n\r\n" + b"[" * 9999, 400),
    ],
    ids=["address", "line", "header", "headers", "nonsense", "version", "body", "digits", "negative", "length", "chunked",
         "type", "list", "deep"],
)  # fmt: skip
def test_sizes_are_bounded(web, bare, data, status):
    assert web.raw(bare, data).startswith(b"HTTP/1.1 %d " % status)
    assert web.request(bare, "GET", "/")[0] == 200


def test_a_refusal_says_when_to_come_again(web, bare, monkeypatch):
    def refused(*_, **__):
        raise Refused(429, "busy", "later")

    monkeypatch.setattr(bare.jobs, "run", refused)
    body = json.dumps({"page": "digits", "part": 0})
    status, headers, content = web.request(bare, "POST", "/api/open", body, Content_Type="application/json")
    assert (status, headers["Retry-After"], json.loads(content)["failed"]["kind"]) == (429, "1", "busy")


@pytest.mark.parametrize("start", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nX: ", POST + b"Content-Length: 999\r\n\r\n"])
def test_a_request_that_drips_in_is_cut_off(bare, monkeypatch, start):
    monkeypatch.setattr(handler, "IDLE", 0.4)
    begun = time.monotonic()
    with socket.create_connection(bare.server_address[:2], timeout=0.1) as one, contextlib.suppress(ConnectionError):
        one.sendall(start)
        while time.monotonic() - begun < 10:
            with contextlib.suppress(TimeoutError):
                if one.recv(1000) == b"":
                    break
            one.sendall(b"a" if start else b"")
    assert time.monotonic() - begun < 5


def test_connections_are_bounded(web, place):
    with web.serving(place / "runs") as server:
        server.slots = threading.BoundedSemaphore(2)
        held = [socket.create_connection(server.server_address[:2]) for _ in range(2)]
        time.sleep(0.2)
        status, headers, _ = web.request(server, "GET", "/")
        assert (status, headers["Retry-After"]) == (503, "1")
        for one in held:
            one.close()
        end = time.monotonic() + 5
        while (status := web.request(server, "GET", "/")[0]) != 200 and time.monotonic() < end:
            time.sleep(0.05)
        assert status == 200


def test_folders_are_looked_into_to_a_depth(tmp_path):
    deep = tmp_path / "a/b/c/d/e/f/g/h"
    deep.mkdir(parents=True)
    (deep / "x.html").write_text("x")
    (tmp_path / "a" / "y.html").write_text("y")
    assert [(e.path, e.file) for e in Folder(tmp_path).entries()] == [("a", "y.html")]
