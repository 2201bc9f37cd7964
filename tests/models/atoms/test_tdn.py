"""TDN is as equivariant as its factors, exact where they are; a smooth energy with true forces, or direct ones that say so."""

import dataclasses
from itertools import pairwise

import pytest
import torch

from coset.data.stillinger import clusters
from coset.data.structures import join, sample_of
from coset.errors import ContractError, InputError
from coset.groups.orthogonal import SO
from coset.models.atoms.tdn import LAYERED, TDN
from coset.testing import Broken, check
from coset.train.checkpoint import load_model, save_model

F64 = torch.float64
R_MAX = 4.0
TINY = {"channels": 4, "layers": 1, "heads": 2, "alpha": 4, "basis": 6, "radial": 8, "feedforward": 6, "neighbors": 4.0}


def made(kind=TDN, **options):
    torch.manual_seed(0)
    return kind((14, 32), R_MAX, **TINY | options).double().eval()


@pytest.fixture(scope="module")
def sample():
    return join([sample_of(frame, R_MAX, dtype=F64) for frame in clusters(3, 5, seed=1)])


class Tilted(TDN):
    """A twin that sees space longer along z."""

    def energies(self, graph):
        longer = graph.vectors * torch.tensor([1.0, 1.0, 1.1]).to(graph.vectors)
        return super().energies(dataclasses.replace(graph, vectors=longer))


EXACT = {
    "rank 7 of degree 1": {},
    "all paths": {"lmax": 2, "rank": None},
    "full rank": {"rank": 16, "gauge": "norm", "claim": "exact"},
    "direct": {"forces": "direct"},
}


@pytest.mark.parametrize("form", EXACT)
def test_exact_factors_make_an_exact_network(form):
    found = check(made(**EXACT[form]))
    assert {one.claim for one in found.checked} == {"exact"}
    assert max(found.errors.values()) < 1e-10


def test_a_tilted_space_is_caught():
    with pytest.raises(Broken, match=r"SE\(3\)"):
        check(made(Tilted))


def gap(model, sample, count=4):
    """Root mean square over rotations of the relative change of forces."""
    plain = model(**sample)["forces"]
    gaps = [
        (model(**sample | {"pos": sample["pos"] @ g.T})["forces"] - plain @ g.T).norm() / plain.norm()
        for g in SO(3).sample(count, generator=torch.Generator().manual_seed(0), dtype=F64)
    ]
    return float(torch.stack(gaps).square().mean().sqrt())


def test_symmetry_is_as_good_as_the_rank(sample):
    models = [made(lmax=2, rank=rank) for rank in (12, 20, 28, 32)]
    gaps, bounds = [gap(model, sample) for model in models], [model.contracts[0].bound for model in models]
    assert all(a > 1.5 * b for a, b in pairwise(gaps))
    assert all(g < bound for g, bound in zip(gaps, bounds, strict=True))
    assert gaps[1] > 1000 * gaps[3]
    for model in models:
        assert model.contracts[0].bound == pytest.approx(2 * model.error * LAYERED)
        assert model.contracts[0].claim == "approximate"
        assert [contract.claim for contract in model.contracts[1:]] == ["exact", "exact"]


def test_approximate_networks_keep_their_bound():
    assert check(made(lmax=2, rank=28, layers=2)).errors["SE(3)"] > 1e-4


def test_an_exact_claim_below_full_rank_is_refused():
    with pytest.raises(ContractError, match=r"rank 6 .* approximately"):
        made(rank=6, claim="exact")
    with pytest.raises(ContractError, match="rank 28"):
        made(lmax=2, rank=28, claim="exact")


def test_forces_are_slopes_of_the_energy_unless_they_say_otherwise(sample):
    way, step = torch.randn(sample["pos"].shape, generator=torch.Generator().manual_seed(3), dtype=F64), 1e-5
    for forces in ("gradient", "direct"):
        model = made(lmax=2, rank=20, forces=forces)
        ahead, behind = (model(**sample | {"pos": sample["pos"] + side * step * way})["energy"].sum() for side in (1, -1))
        slope, work = (ahead - behind) / (2 * step), (model(**sample)["forces"] * way).sum()
        assert model.conservative is (forces == "gradient")
        assert bool(abs(slope + work) < 1e-7 * abs(work)) is model.conservative
    assert "stress" not in made(forces="direct")(**sample)
    assert "stress" not in dict(made(forces="direct").contracts[0].outputs)


def test_direct_forces_need_no_derivative(sample):
    with torch.no_grad():
        assert not made(forces="direct")(**sample)["forces"].requires_grad
    model = made(forces="direct", scale=[2.0, 2.0])
    assert torch.allclose(model(**sample)["forces"], 2 * made(forces="direct")(**sample)["forces"])


@pytest.mark.parametrize("options", [{}, {"lmax": 2, "rank": 20}], ids=["degree 1", "degree 2"])
def test_the_energy_has_two_derivatives_at_the_cutoff(options, sample):
    """One more atom at the end of a cluster comes into reach: energy, slope and curvature start from what was there."""
    model = made(**options)
    pos, z = sample["pos"][:5], sample["z"][:5]
    far = int(pos[:, 0].argmax())

    def at(length):
        r = torch.tensor(length, dtype=F64, requires_grad=True)
        ray = pos[far].detach() + r * torch.tensor([1.0, 0.0, 0.0], dtype=F64)
        x = torch.cat([pos, ray[None]])
        near = torch.cdist(x.detach(), x.detach()).fill_diagonal_(torch.inf) < R_MAX
        energy = model(x, torch.cat([z, z[:1]]), near.nonzero().T.flip(0))["energy"].sum()
        (slope,) = torch.autograd.grad(energy, r, create_graph=True)
        curvature = torch.autograd.grad(slope, r)[0] if slope.requires_grad else torch.zeros(())
        return [float(value.detach()) for value in (energy, slope, curvature)]

    outside, inside = at(R_MAX + 1e-7), at(R_MAX - 1e-4)
    assert max(abs(a - b) for a, b in zip(outside, inside, strict=True)) < 1e-2
    assert abs(outside[0] - inside[0]) < 1e-8
    assert abs(at(0.8 * R_MAX)[0] - outside[0]) > 1e-4


def test_second_derivatives_are_finite(sample):
    model = made(lmax=2, rank=20).train()
    x = sample["pos"].clone().requires_grad_()
    total = model(**sample | {"pos": x})["forces"].square().sum()
    for slope in torch.autograd.grad(total, [x, *model.parameters()], allow_unused=True):
        assert slope is None or bool(slope.isfinite().all())


def test_factors_and_path_scales_are_saved(tmp_path, sample):
    model = made(lmax=2, rank=20)
    product = model.layers[0].attention.first
    product._take(dataclasses.replace(product.found, factors=tuple(1.1 * f for f in product.found.factors)))
    save_model(tmp_path, model)
    again = load_model(tmp_path).double().eval()
    assert again.config == model.config
    assert again.layers[0].attention.first.found.scales == product.found.scales
    assert len(product.found.scales) == 15
    assert torch.equal(again(**sample)["forces"], model(**sample)["forces"])
    with pytest.raises(InputError, match="build it with the rank"):
        made(lmax=2, rank=28).layers[0].attention.first.set_extra_state(product.get_extra_state())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"rank": 0}, "1..16"),
        ({"rank": 17}, "1..16"),
        ({"lmax": 0}, "lmax >= 1"),
        ({"layers": 0}, "at least one layer"),
        ({"forces": "gradients"}, "did you mean"),
        ({"claim": "certain"}, "claim"),
        ({"gauge": "units"}, "gauge"),
        ({"channels": 5}, "shared out"),
        ({"neighbors": 0.0}, "neighbors"),
    ],
    ids=lambda given: given if isinstance(given, str) else next(iter(given)) + str(next(iter(given.values()))),
)
def test_bad_settings_are_refused(options, words):
    with pytest.raises(InputError, match=words):
        made(**options)
