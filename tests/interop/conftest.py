"""For tests of coset serve: a folder of runs with an audit page, and a server of it on a loopback socket."""

import contextlib
import http.client
import json
import socket
import threading
from types import SimpleNamespace

import pytest
import torch

from coset.cli.audit_page import Shown, write_page
from coset.contract import Contract
from coset.groups.parse import parse_group
from coset.interop.serve import Server
from coset.interop.target import load_target

NETS = """
import os, time
from pathlib import Path
import torch
from torch import nn

torch.manual_seed(0)
cnn = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5)).double()
MOOD = Path(__file__).with_name("mood")

def moody(x):
    mood = MOOD.read_text() if MOOD.exists() else ""
    print("a model may print")
    if mood == "raise":
        raise ValueError("out of <b>cheese</b>")
    if mood == "exit":
        os._exit(3)
    if mood == "hang":
        time.sleep(60)
    return cnn(x)
"""


SECRET = "the-secret-of-another-folder"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder of runs with an audit of one model over the circle, and things beside it that are nobody's business."""
    base = tmp_path_factory.mktemp("serve")
    (base / "nets.py").write_text(NETS)
    (base / "secret.html").write_text(SECRET)
    audit = base / "runs" / "digits"
    x = torch.randn(12, 1, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    contract = Contract(parse_group("SO(2)"), "image", "invariant")
    shown = [Shown("nets.py:cnn", load_target(f"{base}/nets.py:cnn"), None)]
    write_page(audit / "audit.html", shown, x, contract, data=None, labels=None, how=(None, None, 64, 0))
    (audit / "audit.json").write_text(json.dumps({"verdict": "FAIL", "error": 0.8, "contract": "SO(2): image -> scalar"}))
    run_folder = base / "runs" / "compare"
    run_folder.mkdir()
    (run_folder / "report.html").write_text("<script>document.title = 'a report'</script>")
    (run_folder / "results.jsonl").write_text("{}\n")
    return base


@contextlib.contextmanager
def serving(root, **how):
    server = Server(root, port=0, **how)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture(scope="module")
def served(place):
    """With the model behind it; it answers within 1.5 s or is ended."""
    with serving(place / "runs", targets={"cnn": f"{place}/nets.py:moody"}, seconds=1.5) as server:
        yield server


@pytest.fixture(scope="module")
def bare(place):
    """Without a model."""
    with serving(place / "runs") as server:
        yield server


def request(server, method, path, body=None, connection=None, **headers):
    """Status, headers and body."""
    own = connection or http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=60)
    own.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
    response = own.getresponse()
    content = response.read()
    if connection is None:
        own.close()
    return response.status, response.headers, content


def ask(server, what="at", connection=None, headers=None, **asked):
    """Status and document."""
    asked = {"page": "digits", "part": 0, **({"model": 0, "sample": 3} if what != "open" else {}), **asked}
    told = {"Content-Type": "application/json", **(headers or {})}
    status, _, content = request(server, "POST", f"/api/{what}", json.dumps(asked), connection, **told)
    return status, json.loads(content)


def raw(server, data, *, wait=True):
    """What comes back for these bytes."""
    with socket.create_connection(server.server_address[:2], timeout=20) as one:
        one.sendall(data)
        out = b""
        while wait and (part := one.recv(65536)):
            out += part
    return out


@pytest.fixture(scope="module")
def web():
    """How to serve a folder and how to ask."""
    return SimpleNamespace(serving=serving, request=request, ask=ask, raw=raw)
