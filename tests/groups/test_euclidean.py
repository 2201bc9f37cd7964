"""Motions, scalings and flows."""

import math

import pytest
import torch

from coset.errors import InputError
from coset.groups.euclidean import SE, Affine, E, OneParameter, Scale, T
from coset.groups.matrix import SO, O
from coset.reps.fields import Fields


@pytest.mark.parametrize("group", [T(2), E(2), E(3), SE(3), Affine(2)], ids=str)
def test_positions_move_by_both_parts_and_vectors_by_one(group, generator):
    g, h = group.sample(4, generator=generator), group.sample(4, generator=generator)
    fields = Fields({"pos": "N x position", "v": "N x vector"})
    x = torch.randn(1, 5, group.n, generator=generator, dtype=torch.float64)
    for name, shift in (("pos", 1), ("v", 0)):
        moved = group.move(g, fields.of(name), x, {})
        by_hand = x @ group.linear(g).mT + shift * group.shift(g)[:, None]
        torch.testing.assert_close(moved, by_hand, atol=1e-13, rtol=0)
        twice = group.move(group.compose(h, g), fields.of(name), x, {})
        torch.testing.assert_close(group.move(h, fields.of(name), moved, {}), twice, atol=1e-12, rtol=0)


@pytest.mark.parametrize("group", [SE(2), SE(3), SE(4)], ids=str)
def test_logarithm_is_onto_se(group, generator):
    g = group.sample(100, generator=generator)
    torch.testing.assert_close(group.exp(group.log(g)), g, atol=1e-10, rtol=0)


def test_element():
    g = E(2).element(SO(2).from_angle(0.3), torch.tensor([1.0, 2.0]).double())
    assert E(2).contains(g)
    assert E(2).shift(g).tolist() == [1.0, 2.0]
    assert T(2).element(shift=torch.zeros(4, 2)).shape == (4, 3, 3)
    assert torch.equal(T(3).element(), T(3).identity())
    assert E(3).element(torch.eye(3).float()).dtype == torch.float32
    with pytest.raises(InputError, match="expected"):
        E(3).element(torch.eye(2))


def test_contains_refuses():
    g = SE(3).identity()
    assert not SE(3).contains(2 * g)
    assert not T(3).contains(SE(3).exp(torch.ones(6).double()))
    reflected = E(3).element(-torch.eye(3).double())
    assert E(3).contains(reflected)
    assert not SE(3).contains(reflected)
    assert not T(2).contains(T(2).element(shift=torch.tensor([math.nan, 0.0]).double()))


def test_law_of_samples(generator):
    for group in (T(2, spread=3.0), SE(2, spread=3.0)):
        shift = group.shift(group.sample(4000, generator=generator))
        torch.testing.assert_close(shift.std(0), torch.full((2,), 3.0).double(), atol=0.2, rtol=0)
    scales = Scale(3, spread=0.5).sample(4000, generator=generator).log()
    assert float(scales.std()) == pytest.approx(0.5, abs=0.03)
    with pytest.raises(InputError, match="spread"):
        E(3, spread=-1)


def test_grids():
    grid = T(2, spread=1.0).grid(25)
    assert grid.shape == (25, 3, 3)
    assert T(2).shift(grid).abs().max() == 2
    grid = Scale(2).grid(9)
    assert grid[0] == 1
    steps = grid.log().sort().values.diff()
    torch.testing.assert_close(steps, steps[:1].expand(8))


def test_weights_of_scale(generator):
    """A field moves by the weight of its index, else of its kind, else by its geometry."""
    group = Scale(3, {"tau": 1.5, "scalar": 2, "N": -1})
    fields = Fields({"t": "tau x scalar", "u": "M x scalar", "n": "N x vector", "x": "M x vector", "i": "M -> N"})
    s = group.sample(4, generator=generator)
    for name, power in (("t", 1.5), ("u", 2), ("n", -1), ("x", 1)):
        x = torch.randn(1, 5, *[3] * (name in "nx"), generator=generator, dtype=torch.float64)
        moved = group.move(s, fields.of(name), x, {})
        torch.testing.assert_close(moved, s.view(-1, *[1] * (x.ndim - 1)) ** power * x, atol=1e-13, rtol=0)
        # the group law, exact to 1e-12
        twice = group.move(group.compose(s, s), fields.of(name), x, {})
        torch.testing.assert_close(group.move(s, fields.of(name), moved, {}), twice, atol=1e-12, rtol=0)
    pointer = torch.arange(5)
    assert torch.equal(group.move(s[0], fields.of("i"), pointer, {}), pointer)
    tensor = torch.randn(1, 5, 3, 3, generator=generator, dtype=torch.float64)
    moved = Scale(3).move(s, Fields("N x tensor(2)").of(""), tensor, {})
    torch.testing.assert_close(moved, s.view(-1, 1, 1, 1) ** 2 * tensor, atol=1e-12, rtol=0)


def test_weights_are_values():
    assert Scale(3, {"a": 1, "b": 2}) == Scale(3, {"b": 2.0, "a": 1.0}) == Scale(3, (("b", 2), ("a", 1)))
    assert hash(Scale(3, {"a": 1})) == hash(Scale(3, {"a": 1.0}))
    assert Scale(3, {"a": 1}) != Scale(3)
    for bad in ({"a": "much"}, {"a": math.inf}, 3):
        with pytest.raises((InputError, TypeError)):
            Scale(3, bad)


def test_flow(generator):
    """A turning flow is a rotation; a shear's flow is its polynomial."""
    t = torch.tensor([0.0, 0.7]).double()
    turn = OneParameter([[0, -1], [1, 0]])
    torch.testing.assert_close(turn.linear(t), SO(2).from_angle(t), atol=1e-15, rtol=0)
    shear = OneParameter(torch.tensor([[0.0, 1.0], [0.0, 0.0]]))
    assert shear.linear(t)[1].tolist() == [[1.0, t[1].item()], [0.0, 1.0]]
    for bad in ([[1, 2]], [1, 2], [[math.nan]], [["a"]]):
        with pytest.raises(InputError, match="OneParameter"):
            OneParameter(bad)


def test_bases():
    assert E(3).base == O(3)
    assert SE(3).base == SO(3)
    assert T(3).base is None
    with pytest.raises(InputError, match="positive numbers"):
        Scale(2).log(torch.tensor(-1.0))
