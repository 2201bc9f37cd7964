"""The verb: the right wrapper for the group and the fields, what it bought, and errors that list the ways there are."""

import pytest
import torch
from torch import nn

from coset.contract import Contract
from coset.errors import ContractError, InputError
from coset.groups.euclidean import E, Scale
from coset.groups.finite import C, D
from coset.groups.matrix import SL, SO
from coset.groups.permutation import S
from coset.recipe import Data, Recipe
from coset.symmetrizers.average import GroupAverage, OrbitAverage
from coset.symmetrizers.canonical import Canonicalize
from coset.symmetrizers.frames import FrameAverage
from coset.symmetrizers.symmetrize import Bought, Match, hows, symmetrize
from coset.testing import check


def net(inputs, outputs, seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layers = nn.Linear(inputs, 16), nn.Tanh(), nn.Linear(16, outputs)
    return nn.Sequential(nn.Flatten(), *layers).double()


def drawn(*shape, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def loop(model, objective, data, recipe):
    """Full-batch descent: stands for the Lightning loop of a higher floor."""
    optimizer = torch.optim.Adam(model.parameters(), lr=recipe.lr)
    for _ in range(recipe.epochs):
        optimizer.zero_grad()
        objective(model.train(), data.train)["loss"].backward()
        optimizer.step()
    return model.eval()


IMAGES = "B x image", "B x 3 x scalar"
POINTS = "B x N x position", "B x 3 x scalar"


@pytest.mark.parametrize(
    ("contract", "ways"),
    [
        (Contract(D(4), *IMAGES), ("average", "augment", "regularize")),
        (Contract(SO(2), *IMAGES), ("average", "frames", "canonicalize", "augment", "regularize")),
        (Contract(E(3), *POINTS), ("frames", "canonicalize", "augment", "regularize")),
        (Contract(E(3) * Scale(3), *POINTS), ("frames", "canonicalize", "augment", "regularize")),
        (Contract(S("N"), "B x N x N x scalar", "B x 3 x scalar"), ("average", "frames", "augment", "regularize")),
        (Contract(S("N"), *POINTS), ("average", "augment", "regularize")),
        (Contract(SL(2), "B x N x vector", "B x 3 x scalar"), ("augment", "regularize")),
    ],
)
def test_the_ways_that_a_group_has(contract, ways):
    assert hows(contract) == ways
    for how in {"average", "frames", "canonicalize"} - set(ways):
        with pytest.raises(ContractError, match=f"possible: {ways[0]}"):
            symmetrize(net(36, 3), contract, how)


@pytest.mark.parametrize(
    ("how", "contract", "x", "kind", "passes"),
    [
        ("average", Contract(D(4), *IMAGES), drawn(4, 6, 6), GroupAverage, 8),
        ("frames", Contract(SO(3), *POINTS), drawn(4, 12, 3), FrameAverage, 0),
        ("canonicalize", Contract(E(3), *POINTS), drawn(4, 12, 3), Canonicalize, 1),
    ],
)
def test_exact_wrappers_and_what_they_bought(how, contract, x, kind, passes, tmp_path):
    f = symmetrize(net(36, 3), contract, how, data=x)
    assert isinstance(f, kind)
    assert (f.bought.how, f.bought.claim, f.bought.passes, f.bought.trained) == (how, "exact", passes, False)
    assert f.bought.after < 1e-12 < 1e-2 < f.bought.before
    check(f, x)
    assert Bought.load(f.bought.save(tmp_path / "bought.npz")) == f.bought


def test_a_continuous_group_is_averaged_over_a_grid_and_says_so():
    f = symmetrize(net(144, 3), Contract(SO(2), *IMAGES), elements=12)
    assert isinstance(f, OrbitAverage)
    assert (f.bought.claim, f.bought.passes, f.bought.before) == ("approximate", 12, None)
    check(f, drawn(2, 12, 12), Contract(C(4), *IMAGES))


@pytest.mark.parametrize("how", ["augment", "regularize"])
def test_training_needs_no_labels(how):
    x = torch.cat([drawn(64, 6, 6), drawn(64, 6, 6, seed=2)])
    plain = net(36, 3)
    f = symmetrize(
        net(36, 3), Contract(C(4), *IMAGES), how, data=x, train=loop, recipe=Recipe(epochs=150, lr=1e-2), strength=10
    )
    assert (f.bought.claim, f.bought.trained) == ("learned", True)
    assert f.bought.after < 0.7 * f.bought.before
    assert not torch.allclose(f(x), plain(x))
    assert f.contracts[0].claim == "learned"


def test_training_on_labels_with_an_objective_of_ones_own():
    contract = Contract(C(4), "B x image", "B x image")
    x = drawn(64, 5, 5)
    data = Data({"x": x, "y": 2 * x}, None, x[:8])
    conv = nn.Sequential(nn.Unflatten(1, (1, 5)), nn.Conv2d(1, 1, 3, padding=1), nn.Flatten(1, 2)).double()
    f = symmetrize(
        conv, contract, "augment", data=data, objective=Match(contract), train=loop, recipe=Recipe(epochs=200, lr=0.03)
    )
    assert (f(x) - 2 * x).square().mean() < 0.1
    assert f.bought.after < 0.5 * f.bought.before


def test_bad_input():
    contract, x = Contract(D(4), *IMAGES), drawn(4, 6, 6)
    with pytest.raises(InputError, match="how is one of"):
        symmetrize(net(36, 3), contract, "magic")
    with pytest.raises(InputError, match="needs data"):
        symmetrize(net(36, 3), contract, "augment", train=loop)
    with pytest.raises(InputError, match="training loop"):
        symmetrize(net(36, 3), contract, "regularize", data=x)
    with pytest.raises(InputError, match="torch module"):
        symmetrize(lambda x: x[:, 0, :3], contract, "augment", data=x, train=loop)
    with pytest.raises(InputError, match="size is one of"):
        symmetrize(net(36, 3), contract, "augment", data=x, train=loop, size="huge")
