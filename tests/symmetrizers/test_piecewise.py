"""Piecewise frame averages are exact for parts and for finer partitions, not for coarser ones, around any point network."""

import pytest
import torch
from torch import nn

from coset.contract import Contract
from coset.errors import ContractError, InputError
from coset.groups.euclidean import SE, E, T
from coset.symmetrizers.piecewise import EachPart, PiecewiseFrameAverage
from coset.testing import Broken, assert_equivariant, check

INPUTS = {"pos": "N x position", "part": "N -> K", "speed": "N x vector"}
OUTPUTS = {"label": "N x 3 x scalar", "push": "N x vector", "goal": "N x position"}
BASES = [pytest.param(E(3), id="E(3)"), pytest.param(SE(3), id="SE(3)"), pytest.param(E(2), id="E(2)")]


class Cloud(nn.Module):
    """Any network of whole clouds, blind to symmetry."""

    def __init__(self, n=3):
        super().__init__()
        torch.manual_seed(0)
        self.n = n
        self.inner = nn.Sequential(nn.Linear(4 * n, 16), nn.Tanh(), nn.Linear(16, 3 + 2 * n)).double()

    def forward(self, pos, speed):
        whole = [x.mean(1, keepdim=True).expand_as(x) for x in (pos.sin(), speed.square())]
        y = self.inner(torch.cat([pos, speed, *whole], -1))
        return {"label": y[..., :3], "push": y[..., 3 : 3 + self.n], "goal": y[..., 3 + self.n :]}


class Wrapped(EachPart):
    """The parts themselves are no input of the cloud network."""


def average(base, **options):
    return PiecewiseFrameAverage(Wrapped(Cloud(base.n)), Contract(base ** "K", INPUTS, OUTPUTS), **options)


def sample(generator, n=3, sizes=(9, 14, 20)):
    part = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    pos, speed = torch.randn(2, len(part), n, generator=generator, dtype=torch.float64)
    return {"pos": pos, "part": part, "speed": speed}


@pytest.mark.parametrize("base", BASES)
def test_parts_may_move_on_their_own(base, generator):
    assert max(check(average(base), sample(generator, base.n)).errors.values()) < 1e-10


@pytest.mark.parametrize("base", BASES)
def test_parts_of_one_two_and_three_points_are_exact_too(base, generator):
    model, x = average(base), sample(generator, base.n, sizes=(1, 2, 3, 1, 2))
    assert assert_equivariant(model, model.promised, x, samples=8).error < 1e-9
    still = {**x, "speed": torch.zeros_like(x["speed"])}
    assert assert_equivariant(model, model.promised, still, samples=8).error < 1e-9


def test_what_has_no_axis_gets_no_component(generator):
    """Points of a line: vectors that come out lie along it under E(3), where a mirror forbids all else."""
    line = torch.randn(1, 3, generator=generator, dtype=torch.float64)
    pos = torch.linspace(-1, 2, 7, dtype=torch.float64)[:, None] * line
    x = {"pos": pos, "part": torch.zeros(7, dtype=torch.long), "speed": pos.roll(1, 0)}
    push = average(E(3))(**x)["push"]
    assert torch.linalg.cross(push, line.expand_as(push)).abs().max() < 1e-12 < 1e-3 < push.abs().max()


class Regrouped(nn.Module):
    """The average over another partition than that by which the points move."""

    def __init__(self, model, regroup):
        super().__init__()
        self.model, self.regroup = model, regroup

    def forward(self, pos, part, speed):
        return self.model(pos=pos, part=self.regroup(part), speed=speed)


def halves(part):
    return 2 * part + torch.arange(len(part)) % 2


def merged(part):
    return part.clamp(min=1) - 1


def test_a_finer_partition_is_exact_and_a_coarser_one_is_broken(generator):
    x, own = sample(generator), Contract(E(3) ** "K", INPUTS, OUTPUTS)
    assert assert_equivariant(Regrouped(average(E(3)), halves), own, x, samples=8).error < 1e-10
    coarse = Regrouped(average(E(3)), merged)
    with pytest.raises(Broken, match="does not keep"):
        assert_equivariant(coarse, own, x, samples=4)
    assert_equivariant(coarse, Contract(E(3) ** "K", INPUTS, OUTPUTS, "broken", 1e-2), x, samples=4)


class Leaky(Wrapped):
    """A twin whose parts see how large the others are."""

    def forward(self, pos, part, **named):
        return super().forward(pos + 0.1 * pos.square().mean(0), part, **named)


class Fixed(PiecewiseFrameAverage):
    """A twin whose frames leave out the eigenvectors."""

    def combine(self, x, sizes, elements, weights, group=None):
        elements = elements.clone()
        elements[..., :3, :3] = torch.eye(3, dtype=elements.dtype)
        return super().combine(x, sizes, elements, weights, group)


def test_twins_are_caught(generator):
    contract = Contract(E(3) ** "K", INPUTS, OUTPUTS)
    with pytest.raises(Broken, match="must not see each other"):
        check(PiecewiseFrameAverage(Leaky(Cloud()), contract), sample(generator))
    with pytest.raises(Broken, match="relative error"):
        check(Fixed(Wrapped(Cloud()), contract), sample(generator))


def test_there_are_as_many_frames_as_signs(generator):
    x = sample(generator)
    for base, count in ((E(3), 8), (SE(3), 4)):
        model = average(base)
        elements, weights = model.frame(x, model.contract)
        assert elements.shape[:2] == (count, 3)
        assert weights.sum() == 1
        if count == 4:
            assert torch.allclose(torch.linalg.det(SE(3).linear(elements)), torch.ones(4, 3, dtype=torch.float64))


def test_drawn_frames_average_to_all(generator):
    x = sample(generator)
    model = average(E(3), draw=1).train()
    torch.manual_seed(0)
    drawn = torch.stack([model(**x)["label"] for _ in range(200)]).mean(0)
    assert (drawn - average(E(3)).eval()(**x)["label"]).abs().max() < 0.15
    assert torch.equal(model.eval()(**x)["label"], average(E(3)).eval()(**x)["label"])


def test_equal_axes_are_reported(generator):
    corners = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0], dtype=torch.float64)] * 3)
    other = torch.randn(8, 3, generator=generator, dtype=torch.float64)
    x = {"pos": torch.cat([corners, other]), "part": torch.arange(16) // 8, "speed": torch.zeros(16, 3).double()}
    assert torch.equal(average(E(3)).frame_holds(x), torch.arange(16) >= 8)


def test_soft_memberships_mix_what_their_parts_say(generator):
    x = sample(generator)
    model = average(E(3))
    hard = nn.functional.one_hot(x["part"]).double()
    sure = model.soft(hard, pos=x["pos"], speed=x["speed"])
    for name, value in model(**x).items():
        assert torch.allclose(sure[name], value, atol=1e-12)
    other = (x["part"] + 1) % 3
    both = 0.75 * hard[:1] + 0.25 * nn.functional.one_hot(other).double()[:1]
    memberships = torch.cat([both, hard[1:]])
    mixed = model.soft(memberships, pos=x["pos"], speed=x["speed"])["label"]
    assert (mixed - sure["label"]).abs().max() > 1e-6
    alone = {name: torch.cat([value[:1], value]) for name, value in x.items()}
    alone["part"][0] = other[0]
    by_hand = model(**alone)["label"]
    assert torch.allclose(mixed[0], 0.25 * by_hand[0] + 0.75 * by_hand[1], atol=1e-12)
    with pytest.raises(InputError, match="sum to 1"):
        model.soft(2 * hard, pos=x["pos"], speed=x["speed"])


class Weighed(EachPart):
    """The cloud network does not see the weights; the frames do."""

    def forward(self, pos, part, speed, mass):
        return super().forward(pos, part, speed=speed)


def test_weights_count_points_in_the_frames(generator):
    contract = Contract(E(3) ** "K", {**INPUTS, "mass": "N x scalar"}, OUTPUTS)
    model = PiecewiseFrameAverage(Weighed(Cloud()), contract, weight="mass")
    x = sample(generator, sizes=(9, 14))
    x["speed"] = torch.zeros_like(x["speed"])
    x["mass"] = torch.ones(23, dtype=torch.float64)
    double = {name: torch.cat([value, value[:1]]) for name, value in x.items()}
    heavy = {**x, "mass": x["mass"].clone()}
    heavy["mass"][0] = 2
    (V, _, center, _), (W, _, middle, _) = (model.frame.axes(y, contract) for y in (double, heavy))
    assert torch.allclose(center, middle, atol=1e-12)
    assert torch.allclose((V.mT @ W).abs(), torch.eye(3, dtype=torch.float64).expand(2, 3, 3), atol=1e-9)
    assert assert_equivariant(model, contract, heavy, samples=4).error < 1e-10
    # memberships take the place of the weights
    part = nn.functional.one_hot(x["part"]).double()
    part[0] = torch.tensor([0.25, 0.75])
    whole = {name: torch.cat([value[:1], value]) for name, value in x.items()}
    whole["part"][0], whole["mass"][:2] = 1, torch.tensor([0.75, 0.25])
    y, by_hand = model.soft(part, pos=x["pos"], speed=x["speed"])["label"], model(**whole)["label"]
    assert torch.allclose(y[0], 0.75 * by_hand[0] + 0.25 * by_hand[1], atol=1e-12)


def test_gradients_reach_points_and_network(generator):
    x = sample(generator, sizes=(1, 2, 9))
    x["pos"].requires_grad_(True)
    model = average(E(3))
    model(**x)["goal"].square().sum().backward()
    assert torch.isfinite(x["pos"].grad).all()
    assert all(torch.isfinite(p.grad).all() and p.grad.abs().sum() > 0 for p in model.parameters())


def test_bad_contracts_and_input_are_refused(generator):
    with pytest.raises(ContractError, match="FrameAverage"):
        PiecewiseFrameAverage(Cloud(), Contract(E(3), INPUTS, OUTPUTS))
    with pytest.raises(ContractError, match="the group is"):
        PiecewiseFrameAverage(Cloud(), Contract(T(3) ** "K", INPUTS, OUTPUTS))
    with pytest.raises(ContractError, match="pointer to parts"):
        PiecewiseFrameAverage(Cloud(), Contract(E(3) ** "K", {"pos": "K x position"}, {"goal": "K x position"}))
    with pytest.raises(InputError, match="draw"):
        average(E(3), draw=0)
    x = sample(generator)
    with pytest.raises(InputError, match="NaN"):
        average(E(3))(**{**x, "pos": x["pos"] * torch.nan})
    with pytest.raises(InputError, match="one part for each"):
        EachPart(Cloud())(x["pos"], x["part"][:4], speed=x["speed"])
