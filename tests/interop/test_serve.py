"""coset serve over a loopback socket: what it answers, what it survives, and the command."""

import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from coset.audits.live import Live
from coset.cli.app import run
from coset.contract import Contract
from coset.errors import InputError
from coset.groups.parse import parse_group
from coset.interop import serve as module
from coset.interop.serve import Server
from coset.interop.serve_worker import Studio, answer
from coset.interop.target import load_target
from coset.report.audit_page import read_payload, script_hash
from coset.report.audit_payload import unpack


@pytest.fixture
def mood(place):
    """``mood("raise")``: how the model behaves from now on."""
    yield (place / "mood").write_text
    (place / "mood").unlink(missing_ok=True)


def test_what_can_be_asked(web, served):
    status, told = web.ask(served, "open")
    assert (status, told["axes"], told["draw"]) == (200, [True], True)
    assert told["models"] == [{"name": "cnn", "live": True, "why": ""}]


def test_an_answer_is_the_definition(web, served, place):
    status, told = web.ask(served, at=[12.4], whole=True)
    assert (status, told["name"], told["count"], told["schema"]) == (200, "62°", 1, 1)
    f = load_target(f"{place}/nets.py:cnn")
    contract = Contract(parse_group("SO(2)"), "image", "invariant")
    x = torch.from_numpy(np.load(place / "runs" / "digits" / "samples.npz")["input"])
    gx = contract.act(contract.group.exp(torch.tensor([np.deg2rad(62)])), x)[3]
    values = {side: unpack(told[side][""]) for side in ("x", "gx", "got", "want")}
    assert np.allclose(values["x"], x[3], atol=1e-12)
    assert np.allclose(values["gx"], gx, atol=1e-12)
    assert np.allclose(values["got"], f(gx.unsqueeze(0)).detach()[0], atol=1e-12)
    assert np.allclose(values["want"], f(x).detach()[3], atol=1e-12)
    gap = np.linalg.norm(values["got"] - values["want"]) / np.linalg.norm(values["want"])
    assert told["error"] == pytest.approx(gap, rel=1e-9)


def test_on_the_grid_it_agrees_with_the_page(web, served, place):
    page = read_payload(place / "runs" / "digits" / "audit.html")
    errors = unpack(page["models"][0]["quantities"][0]["values"])
    for s, k in ((0, 0), (7, 5), (11, 71)):
        told = web.ask(served, sample=s, at=[k])[1]
        assert told["error"] == pytest.approx(errors[s, k], rel=1e-5, abs=1e-12)
        assert told["name"] == page["grid"]["names"][k]
    told = web.ask(served, sample=-1, at=[5])[1]
    assert (told["count"], told["gx"]) == (12, {})
    assert told["error"] == pytest.approx(errors[:, 5].mean(), rel=1e-5)
    assert web.ask(served, draw=5)[1]["name"] == web.ask(served, draw=5)[1]["name"] != web.ask(served, draw=6)[1]["name"]


def test_whole_orbits_and_layers_are_answered(web, place):
    x = torch.from_numpy(np.load(place / "runs" / "digits" / "samples.npz")["input"])
    live = Live(load_target(f"{place}/nets.py:cnn"), x, Contract(parse_group("SO(2)"), "image", "invariant"))
    with web.serving(place / "runs", targets={"cnn": f"{place}/nets.py:cnn"}) as server:
        status, told = web.ask(server, "orbit", sample=3)
        assert (status, told["dtype"], len(told["places"])) == (200, "float64", 356)
        assert unpack(told["errors"]) == pytest.approx(live.orbit(3).errors, rel=1e-5, abs=1e-12)
        single = web.ask(server, "orbit", sample=3, dtype="float32")[1]
        assert 0 < np.abs(unpack(single["errors"]) - unpack(told["errors"])).max() < 1e-4
        status, told = web.ask(server, "orbit", sample=-1)
        assert unpack(told["errors"]) == pytest.approx(live.whole().errors, rel=1e-5, abs=1e-12)
        assert unpack(told["embedding"]).shape == (12, 2)
        status, told = web.ask(server, "ladder", sample=3, at=[12.4], dtype="bfloat16")
        assert (status, told["alone"], told["offender"]) == (200, True, "0")
        assert [sorted(layer["errors"]) for layer in told["layers"]] == [["bfloat16", "float32", "float64"]] * 4
        want = [layer.error for layer in live.ladder(live.element(at=[12.4]), 3)]
        assert [layer["errors"]["float64"] for layer in told["layers"]] == pytest.approx(want, rel=1e-9)
        for what, asked, says in (
            ("ladder", {}, "either at or draw"), ("orbit", {"at": [1]}, "unknown: at"),
            ("orbit", {"dtype": "f8"}, "dtype: expected"),
        ):  # fmt: skip
            status, told = web.ask(server, what, **asked)
            assert (status, says in told["failed"]["message"]) == (400, True), told


def test_whole_orbits_and_layers_keep_the_limits(web, served, mood):
    assert web.ask(served, at=[0])[0] == 200
    for asked in ({"sample": 3}, {"sample": -1}):
        mood("raise")
        status, told = web.ask(served, "orbit", **asked)
        assert (status, told["failed"]["kind"], "out of <b>cheese</b>" in told["failed"]["message"]) == (422, "model", True)
    mood("hang")
    assert web.ask(served, "orbit")[0] == 504
    mood("exit")
    assert web.ask(served, "orbit")[0] == 502
    mood("")
    status, told = web.ask(served, "ladder", at=[1])
    assert (status, told["failed"]["kind"]) == (422, "input")
    assert "layers are those of an nn.Module" in told["failed"]["message"]
    assert web.ask(served, "orbit", sample=12)[0] == 422
    assert web.ask(served, "orbit")[0] == 200


@pytest.mark.parametrize(
    ("asked", "status", "says"),
    [
        ({"at": [72]}, 422, "at: expected"), ({"at": [0, 0]}, 422, "at: expected"), ({"at": [0], "sample": 12}, 422, "0 to 11"),
        ({"at": [0], "model": 1}, 422, "the page has 1"), ({"at": [0], "part": 1}, 422, "the page has 1"),
        ({"at": [0], "page": "compare"}, 422, "no file"), ({"at": [0], "page": "../runs/digits"}, 422, "no file"),
        ({}, 400, "either at or draw"), ({"at": [0], "draw": 1}, 400, "either at or draw"), ({"at": []}, 400, "1 to 8"),
        ({"at": ["0"]}, 400, "1 to 8"), ({"at": [True]}, 400, "1 to 8"), ({"at": [0], "sample": 1.5}, 400, "sample"),
        ({"at": [0], "target": "os:abort"}, 400, "unknown: target"), ({"at": [0], "page": 3}, 400, "page"),
        ({"draw": -1}, 400, "draw"), ({"at": [0], "client": "c" * 65}, 400, "client"), ({"at": [float("nan")]}, 400, "finite"),
    ],
)  # fmt: skip
def test_a_wrong_question_is_answered_in_words(web, served, asked, status, says):
    found, told = web.ask(served, **asked)
    assert (found, says in told["failed"]["message"]) == (status, True), told


def test_the_list_names_what_is_there(web, bare, place):
    strange = place / "runs" / "<i>odd & <script>"
    strange.mkdir()
    (strange / "some.html").write_text("x")
    try:
        status, headers, content = web.request(bare, "GET", "/")
    finally:
        shutil.rmtree(strange)
    text = content.decode()
    assert status == 200
    assert 'href="/audit/digits"' in text
    assert "FAIL, error 0.8: SO(2): image -&gt; scalar" in text
    assert 'href="/files/compare/report.html"' in text
    assert "&lt;i&gt;odd &amp; &lt;script&gt;" in text
    assert "<script" not in text
    assert "script-src" not in headers["Content-Security-Policy"]


def test_the_live_page_is_written_anew_under_a_policy(web, bare, place, tmp_path):
    file = place / "runs" / "digits" / "audit.html"
    kept = file.read_text()
    file.write_text(kept.replace("</body>", "<script>alert('foreign')</script></body>"))
    try:
        status, headers, content = web.request(bare, "GET", "/audit/digits")
    finally:
        file.write_text(kept)
    page = content.decode()
    assert status == 200
    assert "foreign" not in page
    assert '"live":{"page":"digits"}' in page
    policy = headers["Content-Security-Policy"]
    assert f"script-src {script_hash(page)}" in policy
    assert "default-src 'none'" in policy
    assert "connect-src 'self'" in policy
    assert not re.search(r"script-src[^;]*unsafe", policy)
    assert "live" not in read_payload(file)


@pytest.mark.parametrize(
    "content", ["", "<html>", '{"schema":1,"models":[{}]}', '{"schema":1,"models":3}', '{"schema":2,"models":[]}']
)
def test_what_is_no_page_is_told(web, bare, place, content):
    folder = place / "runs" / "odd"
    folder.mkdir()
    (folder / "audit.html").write_text(f'<script type="application/json" id="payload">{content}</script>')
    try:
        status, _, told = web.request(bare, "GET", "/audit/odd")
    finally:
        shutil.rmtree(folder)
    assert status == 404
    assert "audit.html" in json.loads(told)["failed"]["message"]


def test_a_fault_is_told_and_it_goes_on(web, bare, monkeypatch, capsys):
    with monkeypatch.context() as patch:
        patch.setattr(bare, "index", lambda: 1 / 0)
        status, _, told = web.request(bare, "GET", "/")
    assert (status, json.loads(told)["failed"]["kind"]) == (500, "fault")
    assert "ZeroDivisionError" in capsys.readouterr().err
    assert web.request(bare, "GET", "/")[0] == 200


def test_a_static_page_carries_no_live_script(place):
    assert "/api/" not in (place / "runs" / "digits" / "audit.html").read_text()


def test_files_come_as_they_are_in_a_sandbox(web, bare):
    status, headers, content = web.request(bare, "GET", "/files/compare/report.html")
    assert (status, content) == (200, b"<script>document.title = 'a report'</script>")
    assert "sandbox allow-scripts" in headers["Content-Security-Policy"]
    assert "allow-same-origin" not in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    status, headers, content = web.request(bare, "HEAD", "/files/digits/audit.json")
    assert (status, content, int(headers["Content-Length"]) > 10) == (200, b"", True)


def test_a_bad_target_ends_the_start(place):
    with pytest.raises(InputError, match=r"--model: .* has no attribute 'nothing'"):
        Server(place / "runs", {"cnn": f"{place}/nets.py:nothing"}, port=0)
    for target, says in ((f"{place}/m.pkl", "no file"), ("plain", "names no attribute")):
        assert says in answer(Studio(place / "runs", {"cnn": target}), {"do": "load", "with": {}})["failed"]["message"]


def test_a_model_that_raises_is_told_and_goes_on(web, served, mood):
    mood("raise")
    status, told = web.ask(served, at=[1])
    assert (status, told["failed"]["kind"]) == (422, "model")
    assert told["failed"]["message"] == "the model raised ValueError: out of <b>cheese</b>"
    mood("")
    assert web.ask(served, at=[1])[0] == 200


def test_a_model_that_ends_its_process_is_started_again(web, served, mood):
    web.ask(served, at=[1])
    mood("exit")
    status, told = web.ask(served, at=[1])
    assert (status, told["failed"]["kind"]) == (502, "died")
    assert "exit 3" in told["failed"]["message"]
    mood("")
    assert web.ask(served, at=[1])[0] == 200


def test_a_model_that_takes_too_long_is_ended(web, served, mood):
    assert web.ask(served, at=[1])[0] == 200
    process = served.jobs.workers[0].process
    mood("hang")
    begun = time.monotonic()
    status, told = web.ask(served, at=[1])
    assert (status, told["failed"]["kind"]) == (504, "late")
    assert time.monotonic() - begun < 10
    assert process.poll() is not None
    mood("")
    assert web.ask(served, at=[1])[0] == 200


def test_clients_that_leave_in_the_middle(web, served):
    body = json.dumps({"page": "digits", "part": 0, "model": 0, "sample": 3, "at": [1.5]}).encode()
    head = b"POST /api/at HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(
        body
    )
    for data in [head + body, head + body[:10], head, head[:30], b""] * 4:
        web.raw(served, data, wait=False)
    web.raw(served, b"GET /audit/digits HTTP/1.1\r\nHost: localhost\r\n\r\n", wait=False)
    assert web.ask(served, at=[1.5])[0] == 200
    end = time.monotonic() + 10
    while served.slots._value < module.CONNECTIONS and time.monotonic() < end:
        time.sleep(0.02)
    assert served.slots._value == module.CONNECTIONS


def memory(pid):
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads memory from /proc")
def test_a_thousand_quick_drags(web, served):
    """From eight hands at once: the newest is answered, the others are answered or given up, and memory stays."""
    statuses, lock = {}, threading.Lock()

    def drag(start, count=1000):
        connection = http.client.HTTPConnection("127.0.0.1", served.server_address[1], timeout=60)
        for turn in range(start, count, 8):
            status = web.ask(served, connection=connection, at=[turn % 71 + 0.5], client="drag", turn=turn)[0]
            with lock:
                statuses[turn] = status
        connection.close()

    def all_of_them(count):
        statuses.clear()
        served.jobs.newest.clear()
        threads = [threading.Thread(target=drag, args=(n, count)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    all_of_them(200)
    before = memory(os.getpid()), memory(served.jobs.workers[0].process.pid)
    begun = time.monotonic()
    all_of_them(1000)
    print(f"a thousand drags in {time.monotonic() - begun:.1f} s, {list(statuses.values()).count(200)} of them computed")
    assert len(statuses) == 1000
    assert set(statuses.values()) <= {200, 409}
    assert statuses[999] == 200
    grown = memory(os.getpid()) - before[0], memory(served.jobs.workers[0].process.pid) - before[1]
    assert max(grown) < 16 * 2**20, grown
    assert (served.jobs.queue, len(served.jobs.free)) == ([], 1)


def test_the_command_prints_its_address_and_ends_cleanly(place):
    command = [sys.executable, "-m", "coset", "serve", str(place / "runs"), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        line = process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:(\d+)/ ", line)
        assert found, line
        connection = http.client.HTTPConnection("127.0.0.1", int(found[1]), timeout=20)
        connection.request("GET", "/")
        assert connection.getresponse().status == 200
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
        connection.close()
    assert (process.returncode, out, err) == (0, "", "")


def test_open_opens_the_address(place, monkeypatch, capsys):
    import webbrowser

    opened = []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    monkeypatch.setattr(signal, "signal", lambda *_: None)

    def interrupted(self, **_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Server, "serve_forever", interrupted)
    assert run(["serve", str(place / "runs"), "--port", "0", "--open", "--token"]) == 0
    shown = capsys.readouterr().out
    assert opened[0] in shown
    assert "?token=" in opened[0]
    assert shown.count("token=") == 1


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (["/no/such/folder"], "no folder /no/such/folder"),
        ([".", "--port", "70000"], "--port"),
        ([".", "--host", "no.such.host.invalid", "--port", "0"], "cannot serve at no.such.host.invalid"),
        ([".", "--model", "=x"], "--model: expected TARGET"),
        ([".", "--model", "a=x", "--model", "a=y"], "each name once"),
        ([".", "--seconds", "0"], "--seconds"),
    ],
)
def test_misuse_of_the_command(line, says, capsys):
    assert run(["serve", *line]) == 2
    assert says in capsys.readouterr().err


def test_a_port_that_is_taken(bare, place):
    with pytest.raises(InputError, match="choose another --port"):
        Server(place / "runs", port=bare.server_address[1])
