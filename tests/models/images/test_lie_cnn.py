"""LieCNN: exact turns of the grid whatever the samples, approximate near the identity, the same function when loaded."""

import math

import pytest
import torch

from coset.contract import Contract, frozen
from coset.errors import InputError
from coset.groups.decompose import Draw
from coset.groups.finite import C
from coset.models.images import lie_cnn
from coset.models.images.lie_cnn import GROUPS, LieCNN, PlainCNN, parameters_of
from coset.nn.lie_conv import LieConv
from coset.reps.fields import Field
from coset.reps.image import Image
from coset.testing import Broken, assert_equivariant, check
from coset.train.checkpoint import load_model, save_model

SMALL = {"width": 3, "hidden": 8, "head": 16}


def network(group="GL+(2)", **changes):
    torch.manual_seed(0)
    return LieCNN(group, **SMALL | {"samples": 4} | changes)


@pytest.mark.parametrize(("group", "samples", "turns"), [*((group, 4, 4) for group in GROUPS), ("SL(2)", 6, 2)])
def test_promises(group, samples, turns):
    model = network(group, samples=samples)
    exact, near = model.contracts
    assert exact.group == C(turns)
    assert (near.claim, near.bound) == ("approximate", lie_cnn.BOUND)
    report = check(model)
    assert report.errors[f"C({turns})"] < 1e-12
    assert report.checked[1].error > 1e-4, "near the identity the promise is approximate"


def test_an_odd_number_of_samples_promises_no_turn():
    assert [contract.claim for contract in network(samples=3).contracts] == ["approximate"]


def test_turns_are_exact_at_every_draw(generator):
    model = network("SL(2)", blocks=2).double()
    x = torch.randn(2, 1, 24, 24, generator=generator, dtype=torch.float64)
    contract = Contract(C(4), Field(("B", "1"), Image()), "B x 10 x scalar")
    with frozen(model):
        for seed in (1, 2):
            draws = model.draw(seed, samples=8)
            assert assert_equivariant(lambda x, draws=draws: model.eval()(x, draws), contract, x, samples=4).error < 1e-12


class TransposedConv(LieConv):
    """A kernel that lies (h, w)."""

    def expanded(self, *given):
        return super().expanded(*given).transpose(-1, -2)


class Transposed(LieCNN):
    """A twin whose last layer lies (h, w), while all others lie (w, h)."""

    def __init__(self, **config):
        super().__init__(**config)
        self.last.__class__ = TransposedConv


class Unsampled(LieCNN):
    """A twin whose samples do not move the kernels: a plain network with a group axis."""

    def draw(self, seed=None, *, samples=None):
        generator = torch.Generator().manual_seed(0)
        given = self.sampler.chart.sample(self.sampler.count, generator=generator)
        return (Draw(given.elements, given.inverses, given.weights),) * 2


@pytest.mark.parametrize("twin", [Transposed, Unsampled], ids=["transposed", "unsampled"])
def test_broken_twins_are_caught(twin):
    torch.manual_seed(0)
    with pytest.raises(Broken, match=r"C\(4\)"):
        check(twin(**SMALL, samples=4))


def test_the_plain_network_breaks_its_contract_and_has_the_layout():
    torch.manual_seed(0)
    model = PlainCNN(6, head=16)
    report = check(model)
    assert report.checked[0].claim == "broken"
    with pytest.raises(Broken):
        check(model, contracts=network().contracts[0])
    shapes = []
    for net in (PlainCNN(3, head=16), network()):
        handles = [m.register_forward_hook(lambda m, i, o, to=[]: shapes.append(o.shape[-2:])) for m in (net.lift, net.last)]
        net.eval()(torch.randn(1, 1, 20, 20))
        for handle in handles:
            handle.remove()
    assert shapes[:2] == shapes[2:] == [torch.Size([16, 16]), torch.Size([8, 8])]


def test_equal_parameters():
    assert parameters_of(PlainCNN()) == pytest.approx(parameters_of(LieCNN()), rel=0.03)


def test_training_draws_anew_and_evaluation_does_not(generator):
    x = torch.randn(2, 1, 20, 20, generator=generator)
    model = network(dropout=0.0)
    with torch.no_grad():
        assert (model.train()(x) - model(x)).abs().max() > 1e-4
        assert torch.equal(model.eval()(x), model(x))
        assert torch.equal(model(x, model.draw(0)), model(x))
        assert (model(x, model.draw(1)) - model(x)).abs().max() > 1e-4
        assert model(x, model.draw(1, samples=7)).shape == (2, 10)
        fixed = network(dropout=0.0, resampled=False)
        assert torch.equal(fixed.train()(x), fixed(x))


def test_what_weights_of_the_samples_change(generator):
    x = torch.randn(1, 1, 20, 20, generator=generator)
    plain, weighted = network(pool="mean"), network(pool="mean", haar_weights=True)
    weighted.load_state_dict(plain.state_dict())
    assert plain.fixed[0].weights.std() < 1e-12 < weighted.fixed[0].weights.std() or weighted.sampler.count == 4
    assert network(samples=8, haar_weights=True).fixed[0].weights.std() > 1e-4
    assert torch.isfinite(weighted.eval()(x)).all()


def test_rotations_alone_have_no_stretch():
    elements = network("SO(2)").fixed[0].elements
    torch.testing.assert_close(elements @ elements.mT, torch.eye(2).double().expand(4, 2, 2), atol=1e-12, rtol=0)
    stretched = network("SL(2)").fixed[0].elements
    torch.testing.assert_close(torch.linalg.det(stretched), torch.ones(4).double(), atol=1e-12, rtol=0)
    assert torch.linalg.det(network().fixed[0].elements).std() > 1e-2 or len(network().fixed[0].elements) == 4


def test_saved_and_loaded(tmp_path, generator):
    model = network("SL(2)", samples=6, blocks=2, size=24, seed=3).eval()
    save_model(tmp_path, model)
    again = load_model(tmp_path).eval()
    x = torch.randn(2, 1, 24, 24, generator=generator)
    assert torch.equal(again(x), model(x))
    assert again.config == model.config


COUNTS = (4, 8, 16, 32, 64)


def invariance_slope(group, turns, *, draws=10):
    """The slope of log error over log S: invariants of an image at one draw, of the moved image at another; mean pool."""
    model = network(group, pool="mean", width=2).double().eval()
    images = smooth_images(torch.eye(2).double()), smooth_images(torch.tensor([[1.002, -0.005], [0.006, 0.998]]).double())
    generator, errors = torch.Generator().manual_seed(0), []
    with torch.no_grad():
        for count in COUNTS:
            pairs = [[two(model.chart, count, turns, generator) for _ in images] for _ in range(draws)]
            ys = [torch.stack([model.features(x, pair[i]) for pair in pairs]) for i, x in enumerate(images)]
            errors.append(float((ys[1] - ys[0]).norm()))
    logs = torch.tensor([[math.log(count), math.log(error)] for count, error in zip(COUNTS, errors, strict=True)])
    logs = logs - logs.mean(0)
    return float((logs[:, 0] * logs[:, 1]).sum() / logs[:, 0].square().sum())


def two(chart, count, turns, generator):
    """Two sets of samples from one random angle on."""
    start = 2 * math.pi * float(torch.rand((), generator=generator))
    return tuple(chart.sample(count, 0.1, turns=turns, start=start, generator=generator) for _ in range(2))


@pytest.mark.slow
@pytest.mark.parametrize("group", ["GL+(2)", "SL(2)"])
def test_the_invariance_error_falls_with_the_number_of_samples(group):
    """About as one over the root: layers that are normalized after each mean are faster at few samples, determinants slower."""
    for turns in ("haar", "orbits"):
        assert -1.0 < invariance_slope(group, turns) < -0.3


def smooth_images(matrix):
    """Three blobs moved by the matrix in closed form, (1, 1, 20, 20)."""
    line = (2 * torch.arange(20).double() - 19) / 20
    y, x = torch.meshgrid(-line, line, indexing="ij")
    back = torch.linalg.inv(matrix)
    u, v = back[0, 0] * x + back[0, 1] * y, back[1, 0] * x + back[1, 1] * y
    blobs = [(0.3, 0.1, 1.0), (-0.2, 0.3, 0.7), (0.0, -0.35, -0.8)]
    return sum(c * torch.exp(-((u - a) ** 2 + (v - b) ** 2) / 0.05) for a, b, c in blobs)[None, None]


def test_bad_input():
    with pytest.raises(InputError, match="did you mean"):
        LieCNN("GL(2)")
    with pytest.raises(InputError, match="max"):
        LieCNN(pool="maximum")
    with pytest.raises(InputError, match="halved"):
        LieCNN(size=21)
    with pytest.raises(InputError, match="count"):
        LieCNN(samples=0)
    with pytest.raises(InputError, match="odd number of pixels"):
        LieCNN(kernel=1)
    with pytest.raises(InputError, match="channels"):
        LieCNN(width=0)
    with pytest.raises(InputError, match=r"expected \(B, 1, H, W\)"):
        network()(torch.randn(2, 3, 20, 20))
    assert isinstance(network().last, LieConv)
