"""A model asked live says what the audit recorded on the grid, and what the definition says off it."""

import math

import pytest
import torch

from coset.audits.live import Live, element_at, path
from coset.audits.recording import record
from coset.contract import Contract
from coset.errors import InputError
from coset.groups.parse import parse_group

CASES = {
    "circle": ("SO(2)", "image", "invariant", (9, 1, 8, 8), lambda x: x.flatten(1)[:, :5].tanh()),
    "finite": ("D(4)", "image", "image", (9, 1, 8, 8), lambda x: x.cumsum(-1)),
    "torus": ("Torus(8, 8)", "periodic_image", "periodic_image", (5, 1, 8, 8), lambda x: x.cumsum(-1)),
    "shifts": ("T(2)", "image", "image", (5, 1, 8, 8), lambda x: x.cumsum(-1)),
    "space": ("SO(3)", "B x N x position", "B x N x vector", (5, 4, 3), lambda x: x * x[..., :1]),
    "mirrors": ("O(3)", "B x 1x0e+1x1o", "B x 1x1o", (9, 4), lambda x: x[:, 1:].cumsum(-1)),
    "cycles": ('S("N")', "B x N x 2 x scalar", "B x scalar", (9, 6, 2), lambda x: x[:, 0].sum(-1) + x.sum((1, 2))),
    "mixing": ("SO(2)", "image", "image", (5, 1, 6, 6), lambda x: x.cumsum(-1) + x.mean(0)),
    "single": ("E(3)", "N x position", "N x vector", (6, 3), lambda x: (x - x.mean(0)) * torch.tensor([1.0, 1.0, 1.1]).to(x)),
}


def random(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def made(name, **more):
    group, inputs, outputs, shape, f = CASES[name]
    x, contract = random(*shape), Contract(parse_group(group), inputs, outputs)
    return Live(f, x, contract, **more), f, x, contract


@pytest.mark.parametrize("name", CASES)
def test_on_the_grid_it_says_what_was_recorded(name):
    live, f, x, contract = made(name)
    seen, whole = record(f, x, contract), contract.origin(x)
    assert live.grid.axes == seen.grid.axes
    assert live.count == len(seen.errors)
    for k in {0, 1, len(seen.grid) // 2, len(seen.grid) - 1}:
        at = [float(v) for v in torch.unravel_index(torch.tensor(k), live.grid.shape)]
        g = live.element(at=at)
        for s in {0, live.count // 2, live.count - 1}:
            moment = live.ask(g, s)
            assert moment.error == pytest.approx(seen.errors[s, k], rel=1e-9, abs=1e-12)
            assert torch.allclose(moment.x[""], (whole if live.count == 1 else whole[s]), atol=1e-12)
            gap = moment.got[""] - moment.want[""]
            assert torch.allclose(gap, seen.residuals[s][""][k].to(gap), atol=1e-12)
        assert live.ask(g).error == pytest.approx(seen.errors[:, k].mean(), rel=1e-9, abs=1e-12)
        assert live.ask(g).floor == pytest.approx(seen.floors[k], abs=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_a_whole_orbit_is_what_each_element_says(name):
    live, f, x, contract = made(name)
    seen, last = record(f, x, contract), live.count - 1
    assert live.whole().errors == pytest.approx(seen.errors, rel=1e-9, abs=1e-12)
    curve = live.orbit(last)
    if not len(curve.places):
        assert curve.errors == pytest.approx(seen.errors[last], rel=1e-9, abs=1e-12)
        at = [0.0] * len(live.grid.shape)
        assert curve.floors[0] == pytest.approx(live.ask(live.element(at=at), last).floor, abs=1e-12)
        return
    assert name in ("circle", "mixing"), "between elements of one angle only"
    assert len(curve.places) == len(curve.errors) == len(curve.floors) == 71 * 5 + 1
    assert curve.errors[::5] == pytest.approx(seen.errors[last], rel=1e-9, abs=1e-12)
    for i in (3, 201, 352):
        assert curve.errors[i] == pytest.approx(live.ask(live.element(at=[curve.places[i]]), last).error, rel=1e-9)


def test_layers_are_those_of_one_sample_at_one_element():
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Conv2d(1, 3, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(108, 4)).double()
    x, contract = random(9, 1, 8, 8), Contract(parse_group("SO(2)"), "image", "invariant")
    live = Live(net, x, contract)
    g = live.element(at=[12.4])
    for sample in (0, 4, 8):
        rungs = live.ladder(g, sample)
        assert [rung.name for rung in rungs] == ["0", "1", "2", "3"]
        alone = Live(net, x[[sample, sample]], contract).ladder(g)
        assert [rung.error for rung in rungs] == pytest.approx([rung.error for rung in alone], rel=1e-9)
    assert rungs[0].error != pytest.approx(live.ladder(g, 0)[0].error, rel=1e-3)
    with pytest.raises(InputError, match="sample: expected 0 to 8"):
        live.ladder(g, 9)
    with pytest.raises(InputError, match="layers are those of an"):
        made("circle")[0].ladder(g, 0)


def test_in_single_precision_it_rounds():
    live, *_ = made("finite", dtype="float32")
    errors = made("finite")[0].orbit(3).errors
    assert live.orbit(3).errors == pytest.approx(errors, rel=1e-4)
    assert (live.orbit(3).errors != errors).any()


def test_between_elements_it_is_the_definition():
    live, f, x, contract = made("circle")
    g = live.element(at=[12.4])
    turn = torch.tensor([[math.cos(a := math.radians(62)), -math.sin(a)], [math.sin(a), math.cos(a)]], dtype=torch.float64)
    assert torch.allclose(g, turn, atol=1e-12)
    moment = live.ask(g, 4)
    assert moment.name == "62°"
    assert torch.allclose(moment.gx[""], contract.act(g, x[4]), atol=1e-12)
    assert torch.allclose(moment.got[""], f(contract.act(g, x[4]).unsqueeze(0))[0], atol=1e-12)
    assert torch.allclose(moment.want[""], f(contract.origin(x[4]).unsqueeze(0))[0], atol=1e-12)


def test_a_path_goes_by_equal_steps():
    group = parse_group("SO(3)")
    a, b = group.sample(2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    half = group.compose(group.inverse(a), path(group, a, b, 0.5))
    assert torch.allclose(group.compose(a, group.compose(half, half)), b, atol=1e-12)
    assert torch.allclose(path(group, a, b, 0.0), a, atol=1e-12)
    assert torch.allclose(path(group, a, b, 1.0), b, atol=1e-12)


def test_positions_on_two_axes():
    live = made("shifts")[0]
    shift = live.group.shift(live.element(at=[4.5, 6.25]))
    assert torch.allclose(shift, torch.tensor([2.25, 0.5], dtype=torch.float64) * 2 / 8, atol=1e-12)


def test_no_path_is_said():
    mirrors, finite = made("mirrors")[0], made("finite")[0]
    signs = torch.linalg.det(mirrors.grid.elements).sign()
    k = int(torch.nonzero(signs[1:] != signs[:-1])[0])
    with pytest.raises(InputError, match="no path leads"):
        mirrors.element(at=[k + 0.5])
    with pytest.raises(InputError, match="no elements between"):
        finite.element(at=[0.5])
    assert (mirrors.paths(), finite.paths()) == ([True], [False])


@pytest.mark.parametrize("at", [[], [-1.0], [72.0], [0.0, 0.0], [float("nan")]])
def test_positions_off_the_grid_are_refused(at):
    live = made("circle")[0]
    with pytest.raises(InputError, match="at: expected 1 numbers"):
        element_at(live.group, live.grid, at)


def test_a_drawn_element_depends_on_its_seed_alone():
    for name in ("circle", "cycles", "finite"):
        live = made(name)[0]
        assert torch.equal(torch.as_tensor(live.element(draw=3)), torch.as_tensor(live.element(draw=3)))
    assert not torch.equal(made("space")[0].element(draw=3), made("space")[0].element(draw=4))
    with pytest.raises(InputError, match="sample: expected 0 to 8"):
        live.ask(live.element(draw=0), 9)
