"""Laws of every kind of field under every group it knows: identity, composition, dtype, batches, floor."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from coset.errors import ContractError
from coset.groups.euclidean import SE, Affine, E, Scale, T
from coset.groups.finite import C, D, Icosahedral, Octahedral
from coset.groups.matrix import GL, SL, Lorentz
from coset.groups.orthogonal import SO, O
from coset.groups.permutation import S
from coset.groups.product import Power
from coset.groups.torus import Torus
from coset.reps.action import Fibre, Fixed, Kind, Position, Scalar, Tensorial
from coset.reps.defining import Vector
from coset.reps.exchange import Exchange
from coset.reps.fields import Field, Fields
from coset.reps.image import Image
from coset.reps.induced import Regular, RegularAxis
from coset.reps.sequence import Sequence
from coset.reps.torus import PeriodicImage

GEOMETRIC = [
    SO(2),
    O(2),
    SO(3),
    O(3),
    E(2),
    SE(3),
    T(3),
    Affine(2),
    Scale(3),
    GL(2),
    SL(2),
    Lorentz(),
    C(6),
    D(5),
    Octahedral(),
]
CARTESIAN = [Scalar(), Fixed(), *(Tensorial(k, parity) for k in range(4) for parity in (False, True)), Position()]
#: kinds that move entries only, with the groups under which they do
GRID = [
    *((Image(), group) for group in (C(1), C(2), C(4), D(1), D(2), D(4))),
    *((Fibre(fibre, Image()), D(4)) for fibre in (Tensorial(1), Tensorial(2), Tensorial(0, parity=True), RegularAxis())),
    *((Sequence(), group) for group in (C(4), C(8), D(4), D(8))),
    *((PeriodicImage(), group) for group in (Torus(6, 8), Torus(3, 2), Torus(2, 1))),
    (Fibre(Tensorial(2), PeriodicImage()), Torus(3, 6)),
    *((RegularAxis(), group) for group in (C(5), D(4), Icosahedral(), Exchange("a", "b"))),
]
EXACT = [(kind, group) for kind in CARTESIAN for group in GEOMETRIC] + GRID


def name(value):
    return str(value)


def data(kind: Kind, group, lead=(2,), dtype=torch.float64):
    draw = torch.Generator().manual_seed(5)
    if isinstance(group, (C, D, Exchange)) or not hasattr(group, "n"):
        space = 3 if isinstance(group, (Octahedral, Icosahedral)) else 2
    else:
        space = Vector(group).dim
    if isinstance(kind, Image):
        shape = (7, 7)
    elif isinstance(kind, PeriodicImage):
        shape = (6, 8)
    elif isinstance(kind, Sequence):
        shape = (8,)
    elif isinstance(kind, RegularAxis):
        shape = (int(group.order),)
    elif isinstance(kind, Fibre):
        return data(kind.fibre, group, (*lead,), dtype)[..., None, None] * torch.randn(6, 6, generator=draw, dtype=dtype)
    else:
        shape = kind.shape(space)
    return torch.randn(*lead, *shape, generator=draw, dtype=dtype)


@pytest.mark.parametrize(("kind", "group"), EXACT, ids=name)
def test_identity_and_composition(kind, group):
    x = data(kind, group)
    field = Field(("N",), kind)
    assert torch.equal(group.move(group.identity(dtype=torch.float64), field, x, {}), x)
    draw = torch.Generator().manual_seed(6)
    g, h = group.sample(5, generator=draw), group.sample(5, generator=draw)
    once = group.move(group.compose(g, h), field, x.unsqueeze(0), {})
    twice = group.move(g, field, group.move(h, field, x.unsqueeze(0), {}), {})
    assert once.shape == (5, *x.shape)
    assert (once - twice).abs().max() <= 1e-11 * (1 + once.abs().max())
    if (kind, group) in GRID and not isinstance(getattr(kind, "fibre", None), Tensorial):
        assert torch.equal(once, twice)  # entries change places, nothing is computed
    undone = group.move(group.inverse(g), field, group.move(g, field, x.unsqueeze(0), {}), {})
    assert (undone - x).abs().max() <= 1e-10 * (1 + once.abs().max())


@pytest.mark.parametrize(("kind", "group"), EXACT, ids=name)
def test_dtype_batches_and_floor(kind, group):
    x = data(kind, group, dtype=torch.float32)
    field = Field(("N",), kind)
    g = group.sample(4, generator=torch.Generator().manual_seed(7))
    together = group.move(g, field, x.unsqueeze(0), {})
    assert together.dtype == torch.float32
    for i in range(4):
        assert torch.allclose(group.move(g[i], field, x, {}), together[i], rtol=1e-5, atol=1e-5)
    own = group.move(g[:2], field, x, {})  # one element for each of the two rows
    for i in range(2):
        assert torch.allclose(own[i], together[i, i], rtol=1e-5, atol=1e-5)
    assert kind.floor(group, g, x.unsqueeze(0)).shape == (4,)
    assert kind.floor(group, g, x.unsqueeze(0)).max() == 0


def smooth(size):
    """Two bumps inside the disc, wide enough for the grid."""
    c = (2 * torch.arange(size, dtype=torch.float64) + 1 - size) / size
    bump = lambda x, y, w: torch.exp(-((c - x) ** 2 + (-c[:, None] - y) ** 2) / (2 * w**2))  # noqa: E731
    return bump(0.3, 0.1, 0.2) - 0.7 * bump(-0.2, -0.3, 0.25)


@settings(max_examples=30, deadline=None)
@given(
    a=st.floats(-math.pi, math.pi), b=st.floats(-math.pi, math.pi), size=st.integers(16, 33),
    mode=st.sampled_from(["bilinear", "bicubic"]), flip=st.booleans(),
)  # fmt: skip
def test_interpolated_images_compose_within_three_floors(a, b, size, mode, flip):
    """The factor 3: once, twice and the product each err by about half of what there and back again does."""
    group, kind, x = O(2), Image(mode=mode), smooth(size)
    g, h = (SO(2).from_angle(torch.tensor(angle, dtype=torch.float64)) for angle in (a, b))
    h = h @ torch.diag(torch.tensor([1.0, -1.0], dtype=torch.float64)) if flip else h
    once = kind.move(group, g @ h, x, {})
    twice = kind.move(group, g, kind.move(group, h, x, {}), {})
    error = (once - twice).norm() / x.norm()
    floors = [kind.floor(group, k, x) for k in (g, h, g @ h)]
    assert error <= 3 * max(floors) + 1e-7
    assert max(floors) < 0.2


@settings(max_examples=20, deadline=None)
@given(s=st.floats(-8, 8), t=st.floats(-8, 8), length=st.sampled_from([7, 9, 15]), seed=st.integers(0, 10**6))
def test_fractional_shifts_of_odd_periodic_sequences_are_exact(s, t, length, seed):
    x = torch.randn(3, length, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    g, h = (T(1).element(shift=torch.tensor([v], dtype=torch.float64)) for v in (s, t))
    kind = Sequence()
    twice = kind.move(T(1), g, kind.move(T(1), h, x, {}), {})
    once = kind.move(T(1), g @ h, x, {})
    assert (once - twice).abs().max() <= 1e-7 * (1 + x.abs().max())  # whole steps are snapped at 1e-9
    assert kind.floor(T(1), g, x) <= 1e-7


@pytest.mark.parametrize("kind", [Sequence(periodic=False), Sequence()], ids=str)
def test_even_or_open_sequences_compose_within_three_floors(kind):
    t = torch.arange(24, dtype=torch.float64)
    x = torch.exp(-((t - 11) ** 2) / 18)
    g, h = (T(1).element(shift=torch.tensor([v], dtype=torch.float64)) for v in (1.4, -2.7))
    error = (kind.move(T(1), g @ h, x, {}) - kind.move(T(1), g, kind.move(T(1), h, x, {}), {})).norm() / x.norm()
    assert error <= 3 * max(kind.floor(T(1), k, x) for k in (g, h, g @ h)) + 1e-12


MOLECULES = {
    "pos": "N x position",
    "arm": "N x 2 x vector",
    "batch": "N -> B",
    "pair": "B -> M",
    "field": "B x vector",
    "k": "M x scalar",
}


@pytest.mark.parametrize("base", [E(3), O(3), D(4), Scale(2)], ids=str)
@pytest.mark.parametrize("index", ["B", "M"])
def test_a_power_moves_every_member_by_its_own_element(base, index, generator):
    space = Vector(base).dim
    fields = Fields(MOLECULES)
    x = fields.example({"N": 7, "B": 4, "M": 2}, space=space, generator=generator)
    group = Power(base, index).bind(fields, x)
    g = group.sample(3, generator=generator)
    member = {"B": x["batch"], "M": x["pair"][x["batch"]]}[index]
    for name in ("pos", "arm"):
        moved = group.move(g, fields.of(name), x[name].unsqueeze(0), x)
        for n in range(7):
            one = base.move(g[1][member[n]], Field((), fields.of(name).kind), x[name][n], x)
            assert torch.allclose(moved[1, n], one, atol=1e-12)
    assert torch.equal(group.move(g[0], fields.of("k"), x["k"], x), x["k"])
    assert torch.equal(group.move(group.identity(dtype=torch.float64), fields.of("pos"), x["pos"], x), x["pos"])
    h = group.sample(3, generator=generator)
    once = group.move(group.compose(g, h), fields.of("arm"), x["arm"].unsqueeze(0), x)
    twice = group.move(g, fields.of("arm"), group.move(h, fields.of("arm"), x["arm"].unsqueeze(0), x), x)
    assert torch.allclose(once, twice, atol=1e-11)


def test_a_power_refuses_what_belongs_to_no_member(generator):
    fields = Fields({**MOLECULES, "sun": "3 x vector"})
    x = fields.example({"N": 7, "B": 4, "M": 2}, generator=generator)
    group = Power(O(3), "B").bind(fields, x)
    with pytest.raises(ContractError, match="which member"):
        group.move(group.sample(1, generator=generator)[0], fields.of("sun"), x["sun"], x)
    with pytest.raises(ContractError, match="open"):
        Power(O(3), "B").sample(1)


@settings(max_examples=25, deadline=None)
@given(nodes=st.integers(1, 7), edges=st.integers(0, 9), graphs=st.integers(1, 3), seed=st.integers(0, 10**6))
def test_permutations_within_fibres_keep_every_graph(nodes, edges, graphs, seed):
    draw = torch.Generator().manual_seed(seed)
    fields = Fields({"h": "N x 2 x scalar", "a": "N x N x scalar", "edge_index": "2 x E -> N", "batch": "N -> B"})
    nodes = max(nodes, graphs)
    x = fields.example({"N": nodes, "E": edges, "B": graphs}, generator=draw)
    group = S("N", within="B").bind(fields, x)
    p, q = group.sample(2, generator=draw)

    def act(g, x):
        return {name: group.move(g, declared, x[name], x) for name, declared in fields}

    moved = act(p, x)
    assert torch.equal(moved["batch"], x["batch"])
    assert torch.equal(moved["h"][moved["edge_index"]], x["h"][x["edge_index"]])
    assert torch.equal(moved["a"], x["a"][p][:, p])
    twice, once = act(p, act(q, x)), act(group.compose(p, q), x)
    for name in x:
        assert torch.equal(twice[name], once[name])


def test_broken_twin_rotating_the_wrong_way_is_caught(generator):
    class Backwards(Image):
        def move(self, group, g, x, given):
            turned = super().move(group, group.inverse(g), x, given)
            return turned

    with pytest.raises(AssertionError):
        test_identity_and_composition(Backwards(), D(4))


def test_the_regular_word_agrees_with_the_regular_representation(generator):
    group = D(3)
    x = torch.randn(4, 6, generator=generator)
    g = group.elements()
    assert torch.equal(RegularAxis().move(group, g, x.unsqueeze(0), {}), Regular(group).act(g, x.unsqueeze(0)))
