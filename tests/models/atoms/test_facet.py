"""Facet keeps its promises, starts as the identity, has a smooth energy with true forces and stress, refuses bad crystals."""

import dataclasses

import pytest
import torch

from coset.data.stillinger import crystals
from coset.data.structures import join, sample_of
from coset.errors import InputError
from coset.groups.euclidean import E
from coset.groups.orthogonal import O
from coset.models.atoms.facet import RADIAL, Facet
from coset.nn.grid_mlp import refit
from coset.ops.index import Edges
from coset.ops.periodic import neighbor_list
from coset.testing import Broken, check
from coset.train.checkpoint import load_model, save_model

F64 = torch.float64
R_MAX = 4.2
TINY = {"hidden": "4x0e+4x1o+4x2e", "layers": 1, "last": 4, "network": (8,), "basis": 4, "width": 4}


def made(kind=Facet, *, gain=1.0, **options):
    """A model whose blocks act: at first their norms have gain 0."""
    torch.manual_seed(0)
    model = kind(r_max=R_MAX, **TINY | options).double().eval()
    for block in model.blocks:
        block.norm.gain.data.fill_(gain)
    return model


@pytest.fixture(scope="module")
def sample():
    return join([sample_of(frame, R_MAX, dtype=F64) for frame in crystals(3, seed=1)])


class Stretched(Facet):
    """A twin that sees space shorter along z."""

    def energies(self, graph):
        shorter = graph.vectors * torch.tensor([1.0, 1.0, 0.8]).to(graph.vectors)
        return super().energies(dataclasses.replace(graph, vectors=shorter))


@pytest.mark.parametrize("update", ["grid", "gate"])
def test_promises_hold(update):
    model = made(update=update)
    found = check(model)
    claims = {one.contract: one.claim for one in found.checked}
    assert claims.pop("E(3)") == ("approximate" if update == "grid" else "exact")
    assert set(claims.values()) == {"exact"}
    assert len(claims) == (3 if update == "grid" else 1)


@pytest.mark.parametrize("update", ["grid", "gate"])
def test_a_stretched_space_is_caught(update):
    with pytest.raises(Broken, match=r"E\(3\)"):
        check(made(Stretched, update=update))


def changes(model, sample, count=4):
    """The largest relative changes of energies and forces under rotations and reflections."""
    plain, gaps = model(**sample), []
    for g in O(3).sample(count, generator=torch.Generator().manual_seed(0), dtype=F64).to(sample["pos"]):
        turned = model(**sample | {"pos": sample["pos"] @ g.T, "cell": sample["cell"] @ g.T})
        pairs = [(turned["energy"], plain["energy"]), (turned["forces"], plain["forces"] @ g.T)]
        gaps.append([float((a - b).norm() / b.norm()) for a, b in pairs])
    return [max(column) for column in zip(*gaps, strict=True)]


def test_energies_are_invariant_as_far_as_the_sheet_asks(sample):
    wide = {"hidden": "16x0e+8x1o+8x2e", "layers": 2, "width": 16}
    single = {name: value.float() if value.is_floating_point() else value for name, value in sample.items()}
    energy, forces = changes(made(grid=(18, 17), **wide).float(), single)
    assert energy < 1e-4
    assert forces > 1e-6, "it is the grid that is seen, not rounding"
    assert changes(made(grid=(36, 34), **wide), sample)[0] < 1e-6


def test_errors_and_bound_fall_with_the_grid(sample):
    models = [made(grid=grid, hidden="8x0e+8x1o+8x2e") for grid in ((6, 8), (10, 18), (18, 36))]
    bounds = [model.contracts[0].bound for model in models]
    errors = [changes(model, sample)[1] for model in models]
    assert all(error < bound for error, bound in zip(errors, bounds, strict=True))
    assert errors[0] > 10 * errors[1] > 100 * errors[2]
    assert bounds[0] > 10 * bounds[1] > 100 * bounds[2]


def test_every_block_is_the_identity_at_first(sample, generator):
    model, edges = made(gain=0.0), Edges(torch.tensor([[0, 1], [1, 2]]), 4)
    sh, r = torch.randn(2, 9, generator=generator, dtype=F64), torch.full((2,), 2.0, dtype=F64)
    h = model.embed(torch.tensor([0, 1, 1, 0]))
    for block in model.blocks:
        assert torch.equal(block(h, sh, r, edges), refit(h, block.irreps_in, block.irreps_out))
        h = refit(h, block.irreps_in, block.irreps_out)
    assert not model(**sample)["forces"].any()


def test_forces_and_stress_are_slopes(sample):
    model, step = made(), 1e-5
    out = model(**sample)
    generator = torch.Generator().manual_seed(3)
    way = torch.randn(sample["pos"].shape, generator=generator, dtype=F64)
    ahead, behind = (model(**sample | {"pos": sample["pos"] + side * step * way})["energy"].sum() for side in (1, -1))
    assert abs((ahead - behind) / (2 * step) + (out["forces"] * way).sum()) < 1e-7
    strain = torch.randn(3, 3, generator=generator, dtype=F64)
    strain = 0.5 * (strain + strain.T)

    def strained(size):
        stretch = torch.eye(3, dtype=F64) + size * strain
        return model(**sample | {"pos": sample["pos"] @ stretch, "cell": sample["cell"] @ stretch})["energy"]

    slope = (strained(step) - strained(-step)) / (2 * step)
    volume = torch.linalg.det(sample["cell"]).abs()
    assert ((out["stress"] * strain).sum((1, 2)) * volume - slope).norm() < 1e-6 * slope.norm()


def dimer(model, length):
    """Energy, slope and curvature of two atoms at a distance."""
    r = torch.tensor(length, dtype=F64, requires_grad=True)
    pos = torch.stack([torch.zeros(3, dtype=F64), r * torch.tensor([0.6, 0.0, 0.8], dtype=F64)])
    edges = torch.tensor([[0, 1], [1, 0]]) if length < model.r_max else torch.zeros(2, 0, dtype=torch.int64)
    energy = model(pos, torch.tensor([14, 32]), edges)["energy"].sum()
    if not edges.numel():
        return float(energy.detach()), 0.0, 0.0
    (slope,) = torch.autograd.grad(energy, r, create_graph=True)
    (curvature,) = torch.autograd.grad(slope, r)
    return float(energy.detach()), float(slope.detach()), float(curvature)


@pytest.mark.parametrize("envelope", ["exponential", "polynomial", "smooth"])
@pytest.mark.parametrize("radial", RADIAL)
def test_the_energy_has_two_derivatives_at_the_cutoff(radial, envelope):
    model = made(radial=radial, envelope=envelope, update="gate")
    outside, inside = dimer(model, R_MAX + 1e-6), dimer(model, R_MAX - 1e-4)
    assert max(abs(a - b) for a, b in zip(outside, inside, strict=True)) < 1e-4
    assert abs(dimer(model, 0.85 * R_MAX)[0] - outside[0]) > 1e-4


def test_padding_weighs_nothing_and_second_derivatives_are_finite(sample):
    model = made()
    padding = torch.full((2, 3), 1)
    padded = sample | {
        "edge_index": torch.cat([sample["edge_index"], padding], 1),
        "shift": torch.cat([sample["shift"], torch.zeros(3, 3, dtype=torch.int64)]),
        "pos": sample["pos"].clone().requires_grad_(),
    }
    plain, out = model(**sample), model(**padded)
    assert torch.allclose(out["energy"], plain["energy"], rtol=1e-12)
    assert torch.allclose(out["forces"], plain["forces"], rtol=1e-10, atol=1e-12)
    total = out["forces"].square().sum() + out["stress"].square().sum()
    for slope in torch.autograd.grad(total, [padded["pos"], *model.parameters()], allow_unused=True):
        assert slope is None or bool(slope.isfinite().all())


def test_statistics_are_what_learned_scales_start_from(sample):
    model = made(scale=[2.0, 3.0], shift=[0.5, -0.5])
    plain = made()
    own, other = model(**sample)["energies"], plain(**sample)["energies"]
    z = sample["z"] == 32
    assert torch.allclose(own, torch.where(z, 3.0, 2.0) * other + torch.where(z, -0.5, 0.5), rtol=1e-5)
    model.stretch.data.fill_(-50.0)
    model.offset.data.zero_()
    assert (model(**sample)["energies"] - torch.where(z, -0.5, 0.5)).abs().max() < 1e-12, "a scale is positive, however small"


def test_saved_and_loaded_it_is_the_same(tmp_path, sample):
    model = made(radial="knots", envelope="smooth")
    save_model(tmp_path, model)
    again = load_model(tmp_path).double().eval()
    assert again.config == model.config
    assert again.contracts == model.contracts
    assert torch.equal(again(**sample)["forces"], model(**sample)["forces"])


def test_a_lone_atom_among_its_images_has_a_stress():
    cell = 3.0 * torch.eye(3, dtype=F64)
    pos, z = torch.zeros(1, 3, dtype=F64), torch.tensor([14])
    edges, shift = neighbor_list(pos, R_MAX, cell=cell, periodic=True)
    out = made()(pos, z, edges, shift, cell[None])
    assert out["stress"].abs().max() > 1e-4
    with pytest.raises(InputError, match="one atom in a cell"):
        made()(pos, z, edges[:, :0], shift[:0], cell[None])
    assert made()(pos, z, edges[:, :0])["energy"].isfinite().all(), "without a cell nobody asks for a stress"


def test_bad_graphs_are_refused(sample):
    model = made()
    with pytest.raises(InputError, match="r_max"):
        model(**sample | {"pos": 3.0 * sample["pos"], "cell": 3.0 * sample["cell"]})
    flat = sample["cell"].clone()
    flat[1, 2] = flat[1, 0] + flat[1, 1]
    with pytest.raises(InputError, match="cell 1 has volume"):
        model(**sample | {"cell": flat})
    pos, z = torch.zeros(2, 3, dtype=F64), torch.tensor([14, 14])
    with pytest.raises(InputError, match="on top of each other"):
        model(pos, z, torch.tensor([[0, 1], [1, 0]]))


def test_a_mirror_image_of_a_crystal_is_a_crystal(sample):
    """Its cell is left-handed: right, not refused."""
    model, mirror = made(), torch.diag(torch.tensor([1.0, -1.0, 1.0], dtype=F64))
    out, other = model(**sample), model(**sample | {"pos": sample["pos"] @ mirror, "cell": sample["cell"] @ mirror})
    assert torch.allclose(out["energy"], other["energy"], rtol=1e-12)
    assert torch.allclose(mirror @ out["stress"] @ mirror, other["stress"], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"hidden": "4x0e+4x1e"}, "parity"),
        ({"hidden": "4x0e+4x1o+4x1e"}, "parity"),
        ({"hidden": "4x0e+4x2e"}, "degrees 0, 1"),
        ({"grid": (5, 18)}, "at least 6 x 6"),
        ({"radial": "splines"}, "did you mean"),
        ({"envelope": "cosine"}, "envelope"),
        ({"update": "mlp"}, "update"),
        ({"knots": 4}, "knots"),
        ({"layers": -1}, "layers"),
    ],
    ids=lambda given: given if isinstance(given, str) else next(iter(given)) + str(next(iter(given.values()))),
)
def test_bad_settings_are_refused(options, words):
    with pytest.raises(InputError, match=words):
        made(**options)


def test_the_group_is_named_in_its_promises():
    groups = [contract.group for contract in made().contracts]
    assert groups[0] == E(3)
    assert groups[2].order == 8
