"""Laws of irreps as kinds of field: identity, composition, inverse, dtype, batches, floor, norm; every group and layout."""

import pytest
import torch

from coset.groups.euclidean import SE, E, T
from coset.groups.finite import C, D, Icosahedral, Octahedral, Tetrahedral
from coset.groups.matrix import SU
from coset.groups.orthogonal import SO, O
from coset.groups.product import Power
from coset.reps.fields import Field, Fields
from coset.reps.irreps import Irreps

SPACE = Irreps("2x0e+3x1o+0o+2x2e+1e+3o")
EXACT = [
    *((SPACE, group) for group in (O(3), SO(3), E(3), SE(3), T(3), Octahedral(), Icosahedral(inversion=True))),
    *((Irreps(SPACE, layout="mul_ir"), group) for group in (O(3), SE(3), Tetrahedral())),
    *((Irreps("2x0+3x1+4", SO(3)), group) for group in (SO(3), SE(3), Icosahedral())),
    *((Irreps("2x0+3x1+4", SO(2), layout="mul_ir"), group) for group in (SO(2), SE(2), C(6))),
    *((Irreps("2x0e+0o+3x1+4", O(2)), group) for group in (O(2), E(2), D(5), SO(2))),
    (Irreps("2x0+3x1/2+1", SU(2)), SU(2)),
    (Irreps("2xA2+3xE", D(4)), D(4)),
    (Irreps("2xG+H", Icosahedral()), Icosahedral()),
    (Irreps("A+2xE2", C(5), layout="mul_ir"), C(5)),
]


def name(value):
    return str(value)


@pytest.mark.parametrize(("kind", "group"), EXACT, ids=name)
def test_identity_composition_inverse_and_norm(kind, group):
    draw = torch.Generator().manual_seed(6)
    field, x = Field(("N",), kind), kind.randn(2, generator=draw)
    unit = group.move(group.identity(dtype=torch.float64), field, x, {})
    assert (unit - x).abs().max() <= 1e-14 * 2
    g, h = group.sample(5, generator=draw, dtype=torch.float64), group.sample(5, generator=draw, dtype=torch.float64)
    once = group.move(group.compose(g, h), field, x.unsqueeze(0), {})
    twice = group.move(g, field, group.move(h, field, x.unsqueeze(0), {}), {})
    assert once.shape == (5, *x.shape)
    assert (once - twice).abs().max() <= 1e-13
    undone = group.move(group.inverse(g), field, group.move(g, field, x.unsqueeze(0), {}), {})
    assert (undone - x).abs().max() <= 1e-13
    assert (once.norm(dim=-1) - x.norm(dim=-1)).abs().max() <= 1e-13


@pytest.mark.parametrize(("kind", "group"), EXACT, ids=name)
def test_dtype_batches_and_floor(kind, group):
    draw = torch.Generator().manual_seed(7)
    field, x = Field(("N",), kind), kind.randn(2, generator=draw, dtype=torch.float32)
    g = group.sample(4, generator=draw)
    together = group.move(g, field, x.unsqueeze(0), {})
    assert together.dtype == x.dtype
    for i in range(4):
        assert torch.allclose(group.move(g[i], field, x, {}), together[i], rtol=1e-5, atol=1e-5)
    own = group.move(g[:2], field, x, {})
    for i in range(2):
        assert torch.allclose(own[i], together[i, i], rtol=1e-5, atol=1e-5)
    assert kind.floor(group, g, x.unsqueeze(0)).shape == (4,)
    assert kind.floor(group, g, x.unsqueeze(0)).max() == 0


def test_every_graph_by_its_own_rotation(generator):
    fields = Fields({"h": "N x 2x0e+1o", "batch": "N -> B"})
    x = fields.example({"N": 5, "B": 2}, generator=generator)
    group = Power(O(3), "B").bind(fields, x)
    g = group.sample(3, generator=generator)
    moved = group.move(g, fields.of("h"), x["h"].unsqueeze(0), x)
    for n in range(5):
        one = O(3).move(g[1][x["batch"][n]], Field((), fields.of("h").kind), x["h"][n], x)
        assert torch.allclose(moved[1, n], one, atol=1e-13)


def test_broken_twin_moving_by_the_inverse_is_caught():
    class Backwards(Irreps):
        def transform(self, g, x):
            return super().transform(g.mT, x)

    with pytest.raises(AssertionError):
        test_identity_composition_inverse_and_norm(Backwards("2x1o+1x2e"), O(3))
