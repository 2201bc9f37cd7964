"""The audit page in a real browser: drag and read, brush, links, dark mode, keyboard, a phone, downloads, speed."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from coset.audits.equivariance import audit
from coset.audits.recording import record
from coset.contract import Contract
from coset.groups.parse import parse_group
from coset.report.audit_page import write_audit_page
from coset.report.audit_payload import Exhibit, payload


def random(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def written(path, models, contract, x, labels=None):
    """A page of these models, and the first one's recording."""
    shown = [
        Exhibit(audit(f, x, contract, samples=16), record(f, x, contract, name=n, labels=labels)) for n, f in models.items()
    ]
    write_audit_page(path, payload(shown, title=path.stem))
    return path, shown[0].recording


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    torch.manual_seed(0)
    nets = {
        name: nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5)).double() for name in ("one", "two")
    }
    contract = Contract(parse_group("SO(2)"), "image", "invariant")
    return written(tmp_path_factory.mktemp("page") / "digits.html", nets, contract, random(40, 1, 8, 8), np.arange(40) % 5)


def slide(page, k, axis=0):
    page.locator("#bar input[type=range]").nth(axis).evaluate(
        "(node, k) => { node.value = k; node.dispatchEvent(new Event('input', { bubbles: true })); }", k
    )
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")


def reading(page):
    return float(page.locator("#reading").inner_text())


def settle(page):
    page.wait_for_timeout(300)


def test_the_slider_reads_the_error_of_every_element(open_page, digits):
    path, seen = digits
    page = open_page(path, "#sample=7")
    for k in (0, 5, 18, 71):
        slide(page, k)
        assert reading(page) == pytest.approx(seen.errors[7, k], rel=6e-3, abs=1e-12)
    assert page.locator("#bar .slides output").inner_text() == "355°"


def test_the_picture_turns_as_python_turns_it(open_page, digits):
    path, seen = digits
    page = open_page(path, "#sample=7&element=9")
    shown = (
        page.locator("#response canvas")
        .nth(1)
        .evaluate(
            "node => [...node.getContext('2d').getImageData(0, 0, node.width, node.height).data].filter((_, i) => i % 4 === 0)"
        )
    )
    x = seen.inputs[7][""]
    want = seen.contract.inputs.pack(seen.contract.act(seen.grid.elements[9], x))[""]
    levels = ((want - x.min()) / (x.max() - x.min())).clamp(0, 1).flatten() * 255
    assert np.abs(np.array(shown) - levels.numpy()).max() <= 0.6


def test_a_brush_filters_every_figure_and_escape_frees(open_page, digits):
    page = open_page(digits[0])
    box = page.locator("#samples svg.brush").bounding_box()
    page.mouse.move(box["x"] + 10, box["y"] + 10)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] - 10, steps=4)
    page.mouse.up()
    settle(page)
    caption = page.locator("#samples figcaption").inner_text()
    kept = int(caption.split(" of 40")[0].split()[-1])
    assert 0 < kept < 40
    assert f"(mean of {kept})" in page.locator("#orbit .legend").inner_text()
    assert page.locator("#worst tbody tr").count() == min(10, kept)
    page.locator("#samples svg.brush").focus()
    page.keyboard.press("Escape")
    settle(page)
    assert "40 of 40" in page.locator("#samples figcaption").inner_text()


def test_a_link_leads_back_to_the_view(open_page, digits):
    page = open_page(digits[0], "#sample=3&element=11&model=two&scale=log&cls=2")
    settle(page)
    page.locator("#orbit .tools button", has_text="link").click()
    settle(page)
    address = page.url
    assert page.evaluate("navigator.clipboard.readText()") == address
    again = open_page(digits[0], "#" + address.partition("#")[2])
    assert reading(again) == reading(page)
    assert again.locator(".models button[aria-pressed=true]").inner_text().startswith("two")
    assert "(mean of 8)" in again.locator("#orbit .legend").inner_text()
    assert again.locator("#orbit h2").is_visible()


def test_a_link_with_nonsense_opens_the_page(open_page, digits):
    page = open_page(digits[0], "#sample=9999&element=-4&model=%3Cb%3E&brush=x&scale=cubic&quantity=none&part=7&panel=nowhere")
    assert page.locator("#orbit svg").count() > 0


def test_keys_alone_reach_everything(open_page, digits):
    page = open_page(digits[0], "#sample=7&element=10")
    page.locator("#orbit svg.pick").first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    settle(page)
    assert page.locator("#bar .slides output").inner_text() == "60°"
    assert page.evaluate("document.activeElement.classList.contains('pick')"), "what is drawn anew keeps the focus"
    page.locator("#worst tbody tr").nth(2).focus()
    page.keyboard.press("Enter")
    settle(page)
    assert page.locator("#worst tbody tr[aria-selected=true]").count() == 1
    page.locator("#samples svg.brush").focus()
    before = page.locator("#bar input[type=number]").input_value()
    walked = set()
    for key in ("ArrowLeft", "ArrowUp", "ArrowRight", "ArrowDown"):
        page.keyboard.press(key)
        settle(page)
        walked.add(page.locator("#bar input[type=number]").input_value())
    assert walked - {before}
    found = page.evaluate(
        "[...document.querySelectorAll('button, a, input, select, [role=slider]')].every(node => node.tabIndex >= 0)"
    )
    assert found


def test_everything_that_acts_has_a_name(open_page, digits):
    page = open_page(digits[0])
    nameless = page.evaluate(
        """() => [...document.querySelectorAll("button, input, select, [role=slider], [role=img]")]
        .filter(node => !node.getAttribute("aria-label") && !node.closest("label")?.textContent.trim())
        .filter(node => !node.textContent.trim())
        .map(node => node.outerHTML)"""
    )
    assert nameless == []
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map(node => node.id)")
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("look", ["light", "dark", "phone"])
def test_in_every_light_and_width(open_page, digits, look, axe, shot):
    page = open_page(digits[0], look=look)
    assert page.evaluate("document.documentElement.scrollWidth") == page.viewport_size["width"]
    assert page.evaluate("document.documentElement.dataset.theme") == ("dark" if look == "dark" else "light")
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, ground[4:-1].split(","))) < 200) == (look == "dark")
    shot(page, f"audit-{look}")
    assert axe(page) == []


def test_the_theme_can_be_switched(open_page, digits):
    page = open_page(digits[0])
    page.locator("#top button").click()
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"


def test_every_figure_comes_as_files(open_page, digits):
    page = open_page(digits[0], "#sample=7")
    for panel in ("orbit", "samples", "response", "worst", "breakdown", "models"):
        for kind in ("SVG", "PNG", "CSV", "JSON"):
            with page.expect_download() as waiting:
                page.locator(f"#{panel} .tools button", has_text=kind).click()
            data = waiting.value.path().read_bytes()
            if kind == "PNG":
                assert data.startswith(b"\x89PNG")
            elif kind == "SVG":
                assert b"<svg" in data
            elif kind == "JSON":
                assert json.loads(data)
            else:
                assert data.count(b"\n") > 1
    with page.expect_download() as waiting:
        page.locator("#orbit .tools button", has_text="JSON").click()
    told = json.loads(waiting.value.path().read_text())
    assert told[5]["one, sample 7"] == pytest.approx(digits[1].errors[7, 5], rel=1e-6)


OTHERS = {
    "tiles": ("D(4)", "image", "image", (30, 1, 8, 8), lambda x: x.cumsum(-1)),
    "octahedron": ("Octahedral()", "B x N x position", "B x N x vector", (30, 4, 3), lambda x: x * x[..., :1]),
    "letters": ('S("N")', "B x N x 2 x scalar", "B x scalar", (30, 4, 2), lambda x: x[:, 0].sum(-1) + x.sum((1, 2))),
    "shifts": ("Torus(8, 8)", "periodic_image", "periodic_image", (30, 1, 8, 8), lambda x: x.cumsum(-1)),
    "rotations": (
        "SO(3)",
        "B x N x position",
        "B x tensor(2)",
        (30, 5, 3),
        lambda x: torch.einsum("bni,bnj->bij", x, x).cumsum(-1),
    ),
    "mirrors": ("O(3)", "B x N x position", "B x N x vector", (30, 5, 3), lambda x: x * x[..., :1]),
    "cycles": ('S("N")', "B x N x 2 x scalar", "B x scalar", (30, 6, 2), lambda x: x[:, 0].sum(-1) + x.sum((1, 2))),
    "sequence": ("C(12)", "sequence", "sequence", (30, 2, 12), lambda x: x.cumsum(-1)),
    "irreps": ("O(3)", "B x 1x0e+1x1o", "B x 1x1o", (30, 4), lambda x: x[:, 1:].cumsum(-1)),
    "single": ("E(3)", "N x position", "N x vector", (6, 3), lambda x: x - x.mean(0) * torch.tensor([1.0, 1.0, 1.1]).to(x)),
}


@pytest.mark.parametrize("name", OTHERS)
def test_every_sort_of_group_has_its_picture(open_page, tmp_path, name, axe, shot):
    group, inputs, outputs, shape, f = OTHERS[name]
    path, seen = written(tmp_path / f"{name}.html", {name: f}, Contract(parse_group(group), inputs, outputs), random(*shape))
    page = open_page(path, "#sample=0&element=1")
    assert reading(page) == pytest.approx(seen.errors[0, 1], rel=6e-3, abs=1e-9)
    assert page.locator("#orbit svg.pick").count() >= 1
    assert page.locator("#response .card").count() >= 4
    shot(page, f"audit-{name}")
    assert axe(page) == []


def test_the_graph_of_a_finite_group_is_chosen_from(open_page, tmp_path):
    group, inputs, outputs, shape, f = OTHERS["tiles"]
    path, seen = written(tmp_path / "graph.html", {"one": f}, Contract(parse_group(group), inputs, outputs), random(*shape))
    page = open_page(path, "#sample=3&element=0")
    graph = page.locator("#orbit svg.pick").first
    assert graph.locator("path[stroke-dasharray='']").count() == 8, "a turn leads on from every element"
    assert graph.locator("path[stroke-dasharray='7 4']").count() == 4, "a mirror joins two"
    for k in (6, 3):
        graph.locator("g", has_text=seen.grid.axes[0].labels[k]).first.click()
        settle(page)
        assert page.locator("#bar .slides output").inner_text() == seen.grid.axes[0].labels[k]
        assert reading(page) == pytest.approx(seen.errors[3, k], rel=6e-3, abs=1e-12)


def test_dots_tell_memory_time_or_parameters(open_page, digits):
    page = open_page(digits[0])
    dot = "[...document.querySelectorAll('#models svg circle')].map(node => Number(node.getAttribute('r')))"
    page.locator("#models select").select_option("parameters")
    settle(page)
    assert page.evaluate(dot) == [14, 14], "the two have as many"
    page.locator("#models select").select_option("seconds")
    settle(page)
    sizes = page.evaluate(dot)
    assert max(sizes) == 14
    assert min(sizes) < 14
    assert "size=seconds" in page.url
    assert "takes longer" in page.locator("#models figcaption").inner_text()


def test_forces_of_fields_without_names_stand_on_the_points(open_page, tmp_path):
    group, inputs, outputs, shape, f = OTHERS["single"]
    path, _ = written(tmp_path / "forces.html", {"one": f}, Contract(parse_group(group), inputs, outputs), random(*shape))
    page = open_page(path, "#sample=0&element=1")
    labels = page.evaluate("[...document.querySelectorAll('#response canvas')].map(node => node.getAttribute('aria-label'))")
    assert labels == ["6 points"] * 5
    kept = page.evaluate(
        """() => {
        const [, moved, got, want] = [...document.querySelectorAll("#response canvas")].map(node =>
          node.getContext("2d").getImageData(0, 0, node.width, node.height).data);
        const inked = Array.from({ length: moved.length / 4 }, (_, p) => p).filter(p => moved[4 * p + 3] === 255);
        const same = (a, p) => [0, 1, 2].every(c => a[4 * p + c] === moved[4 * p + c]);
        return [got, want].map(a => inked.filter(p => same(a, p)).length / inked.length); }"""
    )
    assert min(kept) > 0.6, "arrows on the balls of the moved points"
