"""PONITA as a potential: exact for the motions of its grid, approximate for others, exact where edges are its orientations."""

import pytest
import torch

from coset.contract import Contract
from coset.data.stillinger import crystals
from coset.data.structures import join, sample_of
from coset.errors import InputError
from coset.groups.euclidean import E, T
from coset.groups.finite import Icosahedral
from coset.groups.matrix import O
from coset.groups.permutation import S
from coset.models.atoms.ponita import PONITA
from coset.ops.scatter import scatter_sum
from coset.testing import Broken, check
from coset.train.checkpoint import load_model, save_model

F64 = torch.float64
TINY = {"hidden": 6, "layers": 2, "kernels": 6, "widening": 2}


@pytest.fixture(scope="module")
def structures():
    return join([sample_of(frame, 3.0, dtype=F64) for frame in crystals(2, seed=1)])


def made(kind=PONITA, elements=(14, 32), r_max=3.0, **given):
    torch.manual_seed(0)
    return kind(elements, r_max, **TINY | given).double()


GROUPS = {
    "icosahedron": (12, {T(3), S("N"), Icosahedral(inversion=True), E(3)}),
    "spiral": (16, {T(3), S("N"), E(3)}),
    "edges": ("edges", {E(3), S("N")}),
    "positions": (0, {E(3), S("N")}),
}


@pytest.mark.parametrize("mode", GROUPS)
def test_promises_are_kept(mode, structures):
    orientations, groups = GROUPS[mode]
    model = made(orientations=orientations)
    assert {contract.group for contract in model.contracts} == groups
    exact = {str(one) for one in model.contracts if one.claim == "exact"}
    errors = check(model, structures).errors
    assert max(error for name, error in errors.items() if name in exact) < 1e-11


class Windy(PONITA):
    """A preferred direction, for the edges."""

    def energies(self, graph):
        lean = graph.vectors @ torch.linspace(0.1, 1, 3).to(graph.vectors)
        return super().energies(graph) + 1e-4 * scatter_sum(lean.square(), graph.edges["target"].values, len(graph.species))


@pytest.mark.parametrize(("orientations", "group"), [(12, "Icosahedral"), ("edges", r"E\(3\)")])
def test_a_preferred_direction_is_caught(orientations, group, structures):
    with pytest.raises(Broken, match=group):
        check(made(Windy, orientations=orientations), structures)


def test_the_error_under_any_motion_falls_with_the_grid_and_keeps_its_bound(structures):
    errors = []
    for count in (12, 64, 256):
        model = made(orientations=count).eval().requires_grad_(False)
        contract = next(one for one in model.contracts if one.claim == "approximate")
        turns = O(3).sample(4, generator=torch.Generator().manual_seed(1)).double()
        moves = E(3).element(turns, torch.zeros(4, 3, dtype=F64))
        errors.append(max(Contract(E(3), contract.inputs, contract.outputs).error(model, structures, g) for g in moves))
        assert errors[-1] < contract.bound <= 2
    assert errors[0] > 3 * errors[1] > 9 * errors[2]


@pytest.mark.parametrize("orientations", [12, "edges", 0])
def test_stress_is_the_derivative_by_strain(orientations, structures):
    model = made(orientations=orientations)
    strain = torch.zeros(2, 3, 3, dtype=F64, requires_grad=True)
    pull = torch.eye(3, dtype=F64) + 0.5 * (strain + strain.mT)
    pos = (structures["pos"].unsqueeze(1) @ pull[structures["batch"]]).squeeze(1)
    energy = model(**structures | {"pos": pos, "cell": structures["cell"] @ pull})["interaction"].sum()
    (slope,) = torch.autograd.grad(energy, strain)
    volume = torch.linalg.det(structures["cell"]).abs().view(-1, 1, 1)
    assert slope.abs().max() > 1e-4
    assert (model(**structures)["stress"] - slope / volume).abs().max() < 1e-12


@pytest.mark.parametrize("orientations", [12, "edges", 0])
def test_energies_have_two_continuous_derivatives_at_the_cutoff(orientations):
    """A third atom leaves the sight of the first: what it adds, its slope and its curvature go to zero, the last linearly."""
    model, bonded = made(orientations=orientations), [[0, 1, 1, 2], [1, 0, 2, 1]]
    place = torch.tensor([[0.0, 0, 0], [1.2, 0.9, 0], [0, 0, 0]], dtype=F64)
    far = {"pos": place + torch.tensor([[0.0], [0], [2.999]]) * torch.tensor([1.0, 0, 0]), "z": torch.tensor([14, 32, 14])}
    alone = model(**far, edge_index=torch.tensor(bonded))

    def added(gap):
        pos = far["pos"].index_put((torch.tensor([2]), torch.tensor([0])), torch.tensor(3.0 - gap, dtype=F64)).requires_grad_()
        seen = torch.tensor([bonded[0] + [0, 2], bonded[1] + [2, 0]])
        with_it, without = (model(pos=pos, z=far["z"], edge_index=e)["interaction"].sum() for e in (seen, torch.tensor(bonded)))
        (slope,) = torch.autograd.grad(with_it - without, pos, create_graph=True)
        (curve,) = torch.autograd.grad(slope[2, 0], pos)
        return [float(x.detach().abs()) for x in (with_it - without, slope[2, 0], curve[2, 0])]

    assert alone["energy"].isfinite().all()
    near, nearer = added(1e-2), added(1e-3)
    for power, before, after in zip((3, 2, 1), near, nearer, strict=True):
        assert 0.7 * 10**power < before / after < 1.4 * 10**power


def test_padding_changes_nothing_and_edges_beyond_the_cutoff_weigh_nothing(structures):
    for orientations in (12, "edges"):
        model = made(orientations=orientations)
        count = structures["edge_index"].shape[1]
        extra = torch.tensor([[0, 0], [0, 1]])
        shift = torch.tensor([[0.0, 0, 0], [9, 9, 9]], dtype=structures["shift"].dtype)
        padded = structures | {
            "edge_index": torch.cat([structures["edge_index"], extra], 1),
            "shift": torch.cat([structures["shift"], shift]),
        }
        assert padded["edge_index"].shape[1] == count + 2
        one, two = model(**structures), model(**padded)
        assert all((one[name] - two[name]).abs().max() < 1e-12 for name in one)


def test_a_bend_is_seen_by_orientations_and_not_by_distances_alone():
    """An atom with two neighbors that do not see each other: one layer of kernels of distances cannot tell the angle."""

    def bent(angle):
        turn = torch.tensor(angle, dtype=F64)
        zero = torch.zeros((), dtype=F64)
        there = torch.stack([turn.cos(), turn.sin(), zero])
        pos = torch.stack([torch.zeros(3, dtype=F64), torch.tensor([1.9, 0, 0], dtype=F64), 1.9 * there])
        return {"pos": pos, "z": torch.tensor([14, 32, 32]), "edge_index": torch.tensor([[0, 1, 0, 2], [1, 0, 2, 0]])}

    for orientations, seen in ((12, True), ("edges", True), (0, False)):
        model = made(orientations=orientations)
        gap = model(**bent(1.9))["energy"] - model(**bent(2.6))["energy"]
        assert (float(gap.detach().abs()) > 1e-6) is seen


def test_saved_and_loaded(tmp_path, structures):
    model = made(orientations=20, layer_scale=0.1).train()
    model(**structures)  # calibrates
    save_model(tmp_path, model)
    again = load_model(tmp_path)
    assert torch.equal(again.double()(**structures)["forces"], model.eval()(**structures)["forces"])


def test_bad_input_is_named(structures):
    with pytest.raises(InputError, match="layers 0"):
        made(layers=0)
    with pytest.raises(InputError, match="elements"):
        made(elements=(14,))(**structures)
    same = structures | {"pos": structures["pos"].index_copy(0, torch.tensor([1]), structures["pos"][:1])}
    assert bool(torch.isfinite(made()(**same)["forces"]).all())
    with pytest.raises(InputError, match="has length zero"):
        made(orientations="edges")(**same | {"edge_index": torch.tensor([[0], [1]]), "shift": structures["shift"][:1] * 0})
