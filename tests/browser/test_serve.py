"""The live audit page in a real browser: a drag between the elements of the grid is answered by the model itself."""

import json
import threading

import pytest
import torch

from coset.audits.live import Live
from coset.cli.audit_page import Shown, write_page
from coset.contract import Contract
from coset.groups.parse import parse_group
from coset.interop.serve import Server
from coset.interop.target import load_target

NETS = """
from pathlib import Path
import torch
from torch import nn

torch.manual_seed(0)
cnn = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5)).double()

def moody(x):
    if Path(__file__).with_name("raise").exists():
        raise ValueError("out of cheese")
    return cnn(x)
"""


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A server of one page, the same model asked here, and the folder of its source."""
    base = tmp_path_factory.mktemp("serve")
    (base / "nets.py").write_text(NETS)
    x = torch.randn(12, 1, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    contract, f = Contract(parse_group("SO(2)"), "image", "invariant"), load_target(f"{base}/nets.py:cnn")
    shown = [Shown("nets.py:cnn", f, None), Shown("nets.py:other", lambda x: x.flatten(1)[:, :5].tanh(), None)]
    shown.append(Shown("nets.py:net", f, None))
    write_page(base / "runs/digits/audit.html", shown, x, contract, data=None, labels=None, how=(None, None, 64, 0))
    with Server(base / "runs", {"cnn": f"{base}/nets.py:moody", "net": f"{base}/nets.py:cnn"}, port=0) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server, Live(f, x, contract), base
        server.shutdown()
        thread.join()


@pytest.fixture
def net(served):
    """The module that the page's model ``net`` is, asked here."""
    return served[1]


@pytest.fixture
def live_page(open_context, served):
    """``live_page(hash, look)``: the page that has heard from its model; an error of its script fails the test."""
    errors = []

    def opened(address="", look=""):
        page = open_context(errors, look)
        page.goto(f"{served[0].address}audit/digits{address}")
        page.locator("#live", has_text="ms").wait_for(timeout=60_000)
        return page

    yield opened
    assert [error for error in errors if "422" not in error] == []


def slide(page, value):
    page.locator("#bar input[type=range]").evaluate(
        "(node, v) => { node.value = v; node.dispatchEvent(new Event('input', { bubbles: true })); }", value
    )


def read(page, word):
    """The number beside the slider, once the slider is named so."""
    page.locator("#bar .slides output", has_text=word).wait_for()
    page.locator("#bar .reading small", has_text="now").wait_for()
    return float(page.locator("#reading").inner_text())


def test_a_drag_between_elements_asks_the_model(live_page, served):
    _, live, _ = served
    page = live_page("#sample=7&element=3")
    for place, word in ((12.4, "62°"), (40.25, "201.25°"), (5, "25°")):
        slide(page, place)
        name = word if place != 40.25 else "201°"
        assert read(page, name) == pytest.approx(live.ask(live.element(at=[place]), 7).error, rel=6e-3)
    assert "computed just now" in page.locator("#response figcaption").inner_text()
    page.locator("#bar .live button", has_text="random element").click()
    page.locator("#bar .reading small", has_text="now").wait_for()
    assert page.locator("#response canvas").count() >= 2


def test_the_orbit_and_the_layers_follow_the_sample_and_the_precision(live_page, served, net):
    page = live_page("#sample=5&element=3&model=net")
    caption = page.locator("#orbit figcaption", has_text="Sample 5 was measured just now.")
    caption.wait_for()
    names = page.locator("#orbit .legend").inner_text()
    assert "net, sample 5, now" in names
    line = page.locator("#orbit path[stroke-width='2.4']").get_attribute("d")
    assert line.count("L") == 71 * 5, "a whole degree from point to point"
    page.locator("#ladder figcaption", has_text="Measured just now at 15°, sample 5").wait_for()
    want = {layer.name: layer.error for layer in net.ladder(net.element(at=[3]), 5)}
    with page.expect_download() as waiting:
        page.locator("#ladder .tools button", has_text="JSON").click()
    told = {row["layer"]: row for row in json.loads(waiting.value.path().read_text())}
    assert {name: row["error"] for name, row in told.items()} == pytest.approx(want, rel=1e-6, abs=1e-12)
    assert all({"float64", "float32"} <= set(row) for row in told.values())
    page.locator(".live select").select_option("float32")
    page.locator("#orbit figcaption", has_text="just now in float32. Means are those of the audit, in float64").wait_for()
    page.locator("#bar .reading small", has_text="now in float32").wait_for()
    page.locator(".live select").select_option("bfloat16")
    page.locator(".live button", has_text="all samples").click()
    page.locator("#orbit figcaption", has_text="So were all samples.").wait_for()
    assert "measured just now in bfloat16" in page.locator("#samples figcaption").inner_text()
    with page.expect_download() as waiting:
        page.locator("#worst .tools button", has_text="JSON").click()
    means = {row["sample"]: row["mean"] for row in json.loads(waiting.value.path().read_text())}
    f, x, contract = net.source
    coarse, fine = Live(f, x, contract, dtype="bfloat16").whole().errors, net.whole().errors
    assert [means[s] for s in range(12)] == pytest.approx(coarse[:, 1:].mean(1), rel=1e-5)
    assert [means[s] for s in range(12)] != pytest.approx(fine[:, 1:].mean(1), rel=1e-5)


def test_quick_drags_end_at_the_last(live_page, served):
    _, live, _ = served
    page = live_page("#sample=2")
    page.locator("#bar input[type=range]").evaluate(
        """async node => { for (let i = 0; i < 300; i++) {
            node.value = (i * 7.31) % 70;
            node.dispatchEvent(new Event("input", { bubbles: true }));
            if (i % 10 === 0) await new Promise(requestAnimationFrame);
        } node.value = 30.6; node.dispatchEvent(new Event("input", { bubbles: true })); }"""
    )
    assert read(page, "153°") == pytest.approx(live.ask(live.element(at=[30.6]), 2).error, rel=6e-3)


def test_a_link_leads_back_between_the_elements(live_page):
    page = live_page("#sample=7&element=3")
    slide(page, 12.4)
    value = read(page, "62°")
    page.wait_for_timeout(400)
    assert "beyond=12.4" in page.url
    page.reload()
    assert read(page, "62°") == value


def test_a_model_that_raises_and_one_that_is_not_there_are_told(live_page, served):
    base = served[2]
    page = live_page("#sample=7&element=3")
    (base / "raise").write_text("")
    slide(page, 33.3)
    page.locator("#live", has_text="the model raised ValueError: out of cheese").wait_for()
    (base / "raise").unlink()
    slide(page, 12.4)
    assert read(page, "62°") > 0
    page.locator(".models button", has_text="other").click()
    page.locator("#live", has_text="--model other=TARGET").wait_for()


@pytest.mark.parametrize("look", ["light", "dark", "phone"])
def test_in_every_light_and_width(live_page, look, axe, shot):
    page = live_page("#sample=7&element=3", look)
    slide(page, 12.4)
    read(page, "62°")
    assert page.evaluate("document.documentElement.scrollWidth") == page.viewport_size["width"]
    shot(page, f"live-{look}")
    assert axe(page) == []


def test_the_list_of_pages_is_plain_to_all(open_context, served, axe, shot):
    page = open_context([])
    page.goto(served[0].address)
    assert page.locator("a", has_text="digits").count() == 1
    shot(page, "served-folder")
    assert axe(page) == []


def test_figures_still_come_as_files(live_page):
    page = live_page("#sample=7&element=3")
    slide(page, 12.4)
    read(page, "62°")
    for kind, start in (("PNG", b"\x89PNG"), ("SVG", b"<svg"), ("CSV", b"sample,element")):
        with page.expect_download() as waiting:
            page.locator("#response .tools button", has_text=kind).click()
        assert waiting.value.path().read_bytes().startswith(start)
