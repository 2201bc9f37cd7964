"""Laws of every group. The list GROUPS is what other tests may run over."""

import math
from contextlib import suppress
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from coset.errors import ContractError
from coset.groups.euclidean import SE, Affine, E, OneParameter, Scale, T
from coset.groups.finite import C, Cayley, D, Icosahedral, Octahedral, Tetrahedral
from coset.groups.group import Elements, FiniteGroup, Group, LieGroup
from coset.groups.matrix import GL, SL, SO, SU, Lorentz, O, Sp, U
from coset.groups.orthogonal import Orthogonal
from coset.groups.parse import parse_group
from coset.groups.permutation import S
from coset.groups.product import Semidirect
from coset.groups.torus import Torus

QUATERNIONS = Cayley(
    [[0, 1, 2, 3, 4, 5, 6, 7], [1, 4, 3, 6, 5, 0, 7, 2], [2, 7, 4, 1, 6, 3, 0, 5], [3, 2, 5, 4, 7, 6, 1, 0],
     [4, 5, 6, 7, 0, 1, 2, 3], [5, 0, 7, 2, 1, 4, 3, 6], [6, 3, 0, 5, 2, 7, 4, 1], [7, 6, 1, 0, 3, 2, 5, 4]]
)  # fmt: skip


def _twist(h: Tensor, r: Tensor) -> Tensor:
    return torch.where(h == 1, -r, r) % 5


def _turn(h: Tensor, t: Tensor) -> Tensor:
    """O(2) turns translations of the plane."""
    return T(2).element(None, (h @ T(2).shift(t)[..., None])[..., 0])


FINITE: list[Group] = [
    *(C(1), C(4), C(7), D(1), D(3), D(4), Tetrahedral(), Octahedral(), Icosahedral(), Octahedral(inversion=True)),
    *(QUATERNIONS, Octahedral().subgroup([1]), D(6).subgroup(["r^2", "s"])),
    *(Torus(3, 4), Torus(1, 5), Torus(6, 6)),
]
COMPACT: list[Group] = [
    *(O(1), O(2), O(3), O(4), SO(1), SO(2), SO(3), SO(4), SO(5), U(1), U(2), SU(2), SU(3)),
    *(O(3).stabilizer([0.0, 0.0, 1.0]), SO(3).stabilizer([1.0, 2.0, 3.0]), O(2).stabilizer([1.0, 0.0])),
]
OPEN: list[Group] = [
    *(GL(1), GL(2), GL(3, positive=True), SL(2), SL(3), Sp(1), Sp(2), Lorentz(), Lorentz(restricted=True), Lorentz(2, 2)),
    *(T(1), T(3), E(2), E(3), SE(2), SE(3), Affine(2), Affine(3, positive=True)),
    *(Scale(3), Scale(2, {"tau": 1.5}), OneParameter([[0.0, -1.0], [1.0, 0.0]]), OneParameter([[0.0, 1.0], [0.0, 0.0]])),
]
MADE: list[Group] = [
    *(S(1), S(4), C(4) * SO(3), E(3) * S(3), SO(2) * C(2) * Scale(2)),
    *(Semidirect(C(5), C(2), _twist), Semidirect(T(2), O(2), _turn)),
]
GROUPS: list[Group] = [*FINITE, *COMPACT, *OPEN, *MADE]

every_group = pytest.mark.parametrize("group", GROUPS, ids=str)
seeds = given(seed=st.integers(0, 2**32 - 1))
few = settings(max_examples=5, deadline=None, database=None)


def draw(group: Group, n: int, seed: int):
    return group.sample(n, generator=torch.Generator().manual_seed(seed))


def size(g) -> float:
    """The largest entry: what absolute tolerances are relative to."""
    return max([1.0, *(float(part.abs().max()) for part in parts_of(g) if part.numel())])


def law_of_a_group(group: Group, seed: int) -> None:
    g, h, k = (draw(group, 6, seed + i) for i in range(3))
    unit = group.identity()
    tolerance = 1e-12 * size(g) * size(h) * size(k)
    assert group.batch_shape(g) == (6,)
    assert group.batch_shape(unit) == ()
    assert len(g) == 6

    def same(a, b):
        assert group.equal(a, b, tolerance=tolerance).all()

    gh = group.compose(g, h)
    assert group.contains(gh, tolerance=1e-9 * size(gh) ** 2).all()
    assert group.contains(group.inverse(g), tolerance=1e-9 * size(group.inverse(g)) ** 2).all()
    same(group.compose(gh, k), group.compose(g, group.compose(h, k)))
    same(group.compose(unit, g), g)
    same(group.compose(g, unit), g)
    back = group.inverse(g)
    tolerance = 1e-12 * size(g) * size(back)
    same(group.compose(g, back), unit)
    same(group.compose(back, g), unit)
    assert bool(group.equal(g[2], group.compose(g, unit)[2], tolerance=tolerance))


def law_of_generators(group: Group, seed: int) -> None:
    generators = group.generators()
    assert group.contains(generators, tolerance=1e-9).all()
    if isinstance(group, FiniteGroup) and group.order > 1:
        assert group.subgroup(generators).order == group.order


def law_of_linear(group: Group, seed: int) -> None:
    """``linear`` is a homomorphism, with ``shift`` an affine one."""
    g, h = draw(group, 6, seed), draw(group, 6, seed + 1)
    a, b = group.linear(g), group.linear(h)
    scale = size(a) * size(b)
    product = group.compose(g, h)
    torch.testing.assert_close(group.linear(product), a @ b, atol=1e-12 * scale, rtol=0)
    moved = (a @ group.shift(h)[..., None])[..., 0] + group.shift(g)
    torch.testing.assert_close(group.shift(product), moved, atol=1e-12 * scale * size(moved), rtol=0)
    eye = torch.eye(a.shape[-1], dtype=a.dtype)
    torch.testing.assert_close(group.linear(group.identity()), eye, atol=0, rtol=0)


def law_of_exp(group: LieGroup, seed: int) -> None:
    a = 0.5 * torch.randn(6, group.dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    g = group.exp(a)
    assert group.contains(g, tolerance=1e-9 * size(g) ** 2).all()
    torch.testing.assert_close(group.log(g), a, atol=1e-11, rtol=0)
    torch.testing.assert_close(group.exp(group.log(g)), g, atol=1e-11 * size(g), rtol=0)
    assert group.equal(group.exp(torch.zeros(group.dim, dtype=torch.float64)), group.identity()).all()
    assert group.algebra().shape == (group.dim, *group.element_shape)


def tensor_power(matrices: Tensor, rank: int) -> Tensor:
    out = torch.ones(len(matrices), 1, 1, dtype=matrices.dtype)
    for _ in range(rank):
        out = torch.einsum("nij,nkl->nikjl", out, matrices).flatten(3).flatten(1, 2)
    return out


def law_of_haar(group: Group, rank: int, rule=None) -> None:
    """The mean of the tensor power is the projector onto its invariants: idempotent, and fixed by every element."""
    rule = rule or group.quadrature(rank)
    assert rule.degree >= rank
    assert group.contains(rule.elements).all()
    assert abs(float(rule.weights.sum()) - 1) < 1e-12
    assert bool((rule.weights > 0).all())
    power = tensor_power(group.linear(rule.elements), rank)
    mean = torch.einsum("n,nij->ij", rule.weights.to(power.dtype), power)
    torch.testing.assert_close(mean @ mean, mean, atol=1e-12, rtol=0)
    for h in (*draw(group, 2, 7), *group.generators()):
        by = tensor_power(group.linear(h)[None], rank)[0]
        torch.testing.assert_close(by @ mean, mean, atol=1e-12, rtol=0)
        torch.testing.assert_close(mean @ by, mean, atol=1e-12, rtol=0)


def law_of_samples(group: Group, count: int = 2000) -> None:
    """Sample means of first and second moments meet the exact Haar means within 5 standard errors."""
    matrices = group.linear(draw(group, count, 3))
    for rank in (1, 2):
        rule = group.quadrature(rank)
        exact = torch.einsum("n,nij->ij", rule.weights.to(matrices.dtype), tensor_power(group.linear(rule.elements), rank))
        sampled = tensor_power(matrices, rank)
        error = (sampled.mean(0) - exact).abs()
        assert bool((error <= 5 * sampled.std(0) / math.sqrt(count) + 1e-12).all())


# ---------------------------------------------------------------------- every group


@every_group
@seeds
@few
def test_group(group, seed):
    law_of_a_group(group, seed)


@every_group
def test_generators(group):
    law_of_generators(group, 0)


@every_group
@seeds
@few
def test_linear(group, seed):
    try:
        group.linear(group.identity()), group.shift(group.identity())
    except ContractError:
        assert isinstance(group, (Cayley, Torus)) or group in MADE
        return
    law_of_linear(group, seed)


@pytest.mark.parametrize("group", [g for g in GROUPS if isinstance(g, LieGroup)], ids=str)
@seeds
@few
def test_exp(group, seed):
    law_of_exp(group, seed)


@pytest.mark.parametrize("group", [*FINITE, *COMPACT], ids=str)
@pytest.mark.parametrize("rank", [0, 1, 2, 3])
def test_haar(group, rank):
    if isinstance(group, Cayley) or (rank == 3 and group in (SO(5), SU(3), O(4), SO(4))):
        rank = 1
    if not isinstance(group, Cayley):
        law_of_haar(group, rank)
    assert len(group.quadrature(rank)) >= 1


@pytest.mark.parametrize("group", [*FINITE, *COMPACT], ids=str)
def test_samples(group):
    if isinstance(group, Cayley):
        counts = torch.bincount(draw(group, 4000, 3), minlength=8)
        assert bool(((counts - 500).abs() < 5 * math.sqrt(500)).all())
    else:
        law_of_samples(group)


@every_group
def test_equal_by_value(group):
    if isinstance(group, Semidirect):
        assert group == Semidirect(group.normal, group.acting, group.twist)
        return
    twin = parse_group(str(group))
    assert twin == group
    assert str(twin) == str(group)
    assert hash(twin) == hash(group)
    assert sum(group == other for other in GROUPS) == 1


def parts_of(g) -> tuple[Tensor, ...]:
    return g.parts if isinstance(g, Elements) else (g,)


@every_group
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtype(group, dtype):
    kept = (dtype, dtype.to_complex(), torch.int64)
    g = group.sample(3, generator=torch.Generator().manual_seed(0), dtype=dtype)
    h = group.compose(g, group.inverse(g))
    assert group.equal(h, group.identity(dtype=dtype), tolerance=1e-4).all()
    assert group.contains(g).all()
    for x in (g, h, group.identity(dtype=dtype), group.generators(dtype=dtype)):
        assert all(part.dtype in kept for part in parts_of(x))
    if isinstance(group, LieGroup):
        a = torch.full((2, group.dim), 0.1, dtype=dtype)
        assert group.exp(a).dtype in kept
        assert group.log(group.exp(a)).dtype == dtype
        assert group.algebra(dtype=dtype).dtype in kept
    if group.compact and not isinstance(group, Cayley):
        assert group.quadrature(1).weights.dtype == torch.float64


@every_group
def test_device(group):
    """Everything is made on, and stays on, the device asked for: torch's meta device refuses to be mixed with another."""
    g = group.sample(3, device="meta")
    made = [g, group.identity(device="meta"), group.generators(device="meta"), group.compose(g, g), group.inverse(g)]
    with suppress(ContractError):
        made.append(group.linear(g))
        made.append(group.shift(g))
    with suppress(ContractError):
        rule = group.quadrature(1, device="meta")
        made += [rule.elements, rule.weights]
    with suppress(ContractError):
        made.append(group.grid(5, device="meta"))
    if isinstance(group, LieGroup):
        made += [group.algebra(device="meta"), group.exp(torch.zeros(2, group.dim, device="meta"))]
    for x in made:
        assert {part.device.type for part in parts_of(x)} == {"meta"}


@every_group
def test_samples_repeat_with_the_seed(group):
    assert group.equal(draw(group, 4, 5), draw(group, 4, 5), tolerance=0).all()
    if group.dim or 8 < group.order < math.inf:
        assert not group.equal(draw(group, 4, 5), draw(group, 4, 6), tolerance=1e-6).all()


@pytest.mark.parametrize("group", OPEN, ids=str)
def test_no_haar_mean_without_compactness(group):
    assert not group.compact
    with pytest.raises(ContractError):
        group.quadrature(2)


WITH_GRID = [*FINITE, O(1), SO(1), O(2), O(3), SO(2), SO(3), O(3).stabilizer([0.0, 1.0, 0.0]), T(1), T(3), Scale(2), OPEN[-1]]


@pytest.mark.parametrize("group", WITH_GRID, ids=str)
@given(n=st.integers(1, 40))
@few
def test_grids_start_with_the_identity(group, n):
    grid = group.grid(n)
    assert group.equal(grid[0], group.identity(), tolerance=1e-15)
    assert group.contains(grid).all()
    apart = group.equal(grid[:, None], grid[None], tolerance=1e-9)
    assert int(apart.sum()) == len(grid)  # no element twice


@given(n=st.integers(1, 24), seed=st.integers(0, 10**6))
@settings(max_examples=15, deadline=None, database=None)
def test_drawn_sizes(n, seed):
    """Groups of every size, not only those in the list."""
    for group in (C(n), D(n), O(1 + n % 5), SO(1 + n % 5), U(1 + n % 3), GL(1 + n % 4), SL(1 + n % 4), E(1 + n % 4), S(n)):
        law_of_a_group(group, seed)
        if not isinstance(group, S):
            law_of_linear(group, seed)
    law_of_a_group(Lorentz(1 + n % 3, 1 + n % 2), seed)


# ---------------------------------------------------------------------- broken twins


@dataclass(frozen=True)
class UntwistedD(D):
    """A reflection that does not turn rotations round: a group, but not this one."""

    def compose(self, g, h):
        return (g + h) % self.n + self.n * ((g // self.n + h // self.n) % 2)


@dataclass(frozen=True)
class SlippedC(C):
    """A wrong entry: 1 + 1 = 3."""

    def compose(self, g, h):
        return torch.where((g == 1) & (h == 1), 3, (g + h) % self.n)


@dataclass(frozen=True)
class SignlessSO(Orthogonal):
    """QR without the sign fix: not uniform."""

    n: int

    def _draw(self, count, generator):
        return torch.linalg.qr(torch.randn(count, self.n, self.n, generator=generator, dtype=torch.float64))[0]

    def quadrature(self, degree, *, dtype=None, device=None):
        return O(self.n).quadrature(degree)


@dataclass(frozen=True)
class LateSO(SO):
    """A rule that claims one degree too many."""

    n: int

    def quadrature(self, degree, *, dtype=None, device=None):
        rule = SO(self.n).quadrature(degree - 1)
        return type(rule)(rule.elements, rule.weights, degree)


def test_broken_twins_are_caught():
    def caught(law, *arguments) -> bool:
        with pytest.raises(AssertionError):
            law(*arguments)
        return True

    assert caught(law_of_linear, UntwistedD(3), 0)
    assert caught(lambda: [law_of_a_group(SlippedC(5), seed) for seed in range(20)])
    assert caught(law_of_samples, SignlessSO(3))
    assert caught(law_of_haar, LateSO(2), 4)
    assert caught(law_of_haar, LateSO(3), 4)
