"""The alignment loss vanishes on an exactly equivariant latent, moves any other, and is augmentation at weight 0."""

import pytest
import torch
from torch import nn

from coset.data.structures import Structures
from coset.data.toy_molecules import SPECIES, labelled, toy_molecules
from coset.errors import InputError
from coset.groups.matrix import SO, O
from coset.models.atoms.transip import TransIP
from coset.nn.latent_transform import LatentTransform
from coset.objectives.energy_forces import EnergyForces
from coset.objectives.latent_equivariance import LatentEquivariance, joined, observed, turned
from coset.ops.scatter import scatter_sum
from coset.ops.spherical_harmonics import spherical_harmonics

BASE = EnergyForces(10.0, 10.0, shape="l2")


@pytest.fixture(scope="module")
def batch():
    data = Structures(toy_molecules(4, seed=3), 5.0, dtype=torch.float64)
    return data.collate([data[i] for i in range(4)])


def made(**options):
    torch.manual_seed(0)
    return TransIP(SPECIES, **{"width": 18, "layers": 1, "heads": 2, **options}).double().train()


class Exact(nn.Module):
    """A latent of scalars, vectors and quadrupoles: sums of harmonics over pairs, one of each."""

    def __init__(self, transform):
        super().__init__()
        self.latent, self.transform, self.factor = nn.Identity(), transform, nn.Parameter(torch.ones((), dtype=torch.float64))

    def reference_energy(self, z, batch):
        return torch.zeros(int(batch.max()) + 1, dtype=torch.float64)

    def forward(self, pos, z, edge_index, batch, **rest):
        gap = pos[edge_index[0]] - pos[edge_index[1]]
        weight = (-gap.square().sum(-1, keepdim=True)).exp()
        h = self.latent(self.factor * scatter_sum(weight * spherical_harmonics(2, gap), edge_index[1], len(pos)))
        energy = scatter_sum(h[:, 0], batch, int(batch.max()) + 1)
        return {"interaction": energy, "energy": energy, "forces": h[:, 1:4]}


@pytest.mark.parametrize("measure", ["square", "contrastive"])
@pytest.mark.parametrize("group", [SO(3), O(3)], ids=["SO(3)", "O(3)"])
def test_an_exactly_equivariant_latent_is_aligned_by_wigner_matrices(batch, measure, group):
    model = Exact(LatentTransform(9, "wigner", reflections=group == O(3)))
    objective = LatentEquivariance(BASE, 1.0, measure=measure, group=group, seed=0, invariance=1.0)
    terms = objective(model, batch)
    assert terms["invariance"] < 1e-10
    if measure == "square":
        assert terms["alignment"] < 1e-10
        model.transform.irreps = type(model.transform.irreps)("9x0e" if group == O(3) else "9x0", group)
        assert objective(model, batch)["alignment"] > 0.1  # the same latent does not stand still
    else:
        wrong = objective.alignment(model, torch.eye(9).double(), torch.eye(9).double().flip(0), torch.eye(3).expand(9, 3, 3))
        right = objective.alignment(model, torch.eye(9).double(), torch.eye(9).double(), torch.eye(3).expand(9, 3, 3))
        assert right < 1e-3 < 5 < wrong


@pytest.mark.parametrize("kind", ["mlp", "linear", "wigner"])
@pytest.mark.parametrize("measure", ["square", "contrastive"])
def test_backbone_and_transform_both_learn(batch, kind, measure):
    model = made(transform=kind)
    objective = LatentEquivariance(BASE, 1.0, measure=measure, seed=0)
    first, second, relative = objective.copies(batch)
    h = observed(model, joined(first, second), "latent")[1]
    gap = objective.alignment(model, *h.chunk(2), relative[batch["batch"]])
    gap.backward()
    for part in (model.layers, model.embed, model.place_of, *([] if kind == "wigner" else [model.transform])):
        assert all(
            p.grad is not None and p.grad.abs().max() > 0 for name, p in part.named_parameters() if "kv.bias" not in name
        )
    assert all(p.grad is None for p in model.energy.parameters())


def test_the_loss_is_what_the_formula_says(batch):
    model, objective = made(), LatentEquivariance(BASE, 0.7, seed=0)
    first, second, relative = LatentEquivariance(BASE, 0.7, seed=0).copies(batch)
    answers = [model(**{n: x[n] for n in ("pos", "z", "batch")}) for x in (first, second)]
    tasks = [
        sum(BASE.weights[n] * e for n, e in BASE.errors(model, y, x).items())
        for y, x in zip(answers, (first, second), strict=True)
    ]
    h, there = (y["latent"] for y in answers)
    moved = torch.stack([model.transform(row, relative[b]) for row, b in zip(h, batch["batch"], strict=True)])
    gap = (moved - there).square().sum(-1).mean() / 18  # the latent has root mean square 1
    assert objective(model, batch)["loss"].item() == pytest.approx((tasks[0] + tasks[1] + 0.7 * gap).item(), rel=1e-9)
    one = LatentEquivariance(BASE, 0.7, seed=0, both=False)
    assert one(model, batch)["loss"].item() == pytest.approx((tasks[0] + 0.7 * gap).item(), rel=1e-9)
    twin = LatentEquivariance(BASE, 0.0, seed=0, layer="nowhere", transform="nowhere")
    assert twin(model, batch)["loss"].item() == pytest.approx((tasks[0] + tasks[1]).item(), rel=1e-9)


def test_labels_turn_with_the_molecules(batch):
    g = SO(3).sample(4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    extra = {"dipole": torch.ones(4, 3).double(), "stress": torch.randn(4, 3, 3).double()}
    moved = turned({**batch, **extra}, g)
    for b in range(4):
        mine = batch["batch"] == b
        species = torch.tensor([SPECIES.index(int(z)) for z in batch["z"][mine]])
        energy, forces = labelled(moved["pos"][mine][None], species[None])
        assert energy.item() == pytest.approx(batch["energy"][b].item(), abs=1e-10)
        assert (forces[0] - moved["forces"][mine]).abs().max() < 1e-10
        assert torch.allclose(moved["dipole"][b], g[b] @ extra["dipole"][b])
        assert torch.allclose(moved["stress"][b], g[b] @ extra["stress"][b] @ g[b].T)
    apart = turned({**batch, "pos": batch["pos"] + 5.0}, g)
    assert torch.allclose(apart["pos"], moved["pos"] + 5.0)  # about the centroid, wherever it is


def test_copies_are_one_rotation_apart(batch):
    for upright in (False, True):
        first, second, relative = LatentEquivariance(BASE, upright=upright, seed=5).copies(batch)
        assert torch.allclose(turned(first, relative)["pos"], second["pos"], atol=1e-12)
        assert torch.allclose(turned(first, relative)["forces"], second["forces"], atol=1e-12)
        assert torch.equal(first["pos"], batch["pos"]) == upright
        assert len({round(float(g.trace()), 9) for g in relative}) == 4  # one for every molecule
    both = joined(first, second)
    assert both["batch"].tolist() == [*batch["batch"].tolist(), *(batch["batch"] + 4).tolist()]
    assert torch.equal(both["edge_index"][:, batch["edge_index"].shape[1] :], batch["edge_index"] + len(batch["z"]))
    assert not {"energy", "forces"} & set(both)


def test_small_features_are_no_way_out_and_detaching_stops_one_side():
    g = torch.Generator().manual_seed(0)
    here, there = (torch.randn(6, 18, generator=g, dtype=torch.float64).requires_grad_() for _ in range(2))
    model, rotation = made(transform="wigner"), SO(3).sample(6, generator=g, dtype=torch.float64)
    loss = LatentEquivariance(BASE)
    gap = loss.alignment(model, here, there, rotation)
    assert torch.allclose(loss.alignment(model, 1e-3 * here, 1e-3 * there, rotation), gap, rtol=1e-9)
    gap.backward()
    assert there.grad.norm() > 0
    there.grad = None
    LatentEquivariance(BASE, detach=True).alignment(model, here, there, rotation).backward()
    assert there.grad is None


def test_the_weight_waits_and_then_grows(batch):
    objective, model = LatentEquivariance(BASE, 1.0, start=0.3, ramp=0.2, seed=0), made()
    assert float(objective.share) == 1.0
    objective.plan(10, 10)
    seen = []
    for step in range(101):
        objective.after_step(model, step)
        seen.append(float(objective.share))
    assert seen[0] == seen[29] == 0.0
    assert seen[40] == pytest.approx(0.5)
    assert seen[50] == seen[100] == 1.0
    objective.after_step(model, 10)
    assert "alignment" not in objective(model, batch)
    again = LatentEquivariance(BASE, 1.0)
    again.load_state_dict(objective.state_dict())
    assert float(again.share) == 0.0
    sudden = LatentEquivariance(BASE, 1.0, start=0.0, ramp=0.0)
    sudden.plan(10, 10)
    assert float(sudden.share) == 1.0


def test_equal_seeds_draw_equal_copies_and_new_ones_each_step(batch):
    one, other = LatentEquivariance(BASE, 0.0, seed=1), LatentEquivariance(BASE, 1.0, seed=1)
    first = one.copies(batch)[0]["pos"]
    assert torch.equal(first, other.copies(batch)[0]["pos"])
    assert not torch.equal(first, one.copies(batch)[0]["pos"])


def test_outside_training_it_is_the_task_alone(batch):
    model = made().eval()
    assert LatentEquivariance(BASE, 1.0)(model, batch)["loss"] == BASE(model, batch)["loss"]


def test_a_transform_of_its_own_is_trained_along(batch):
    transform = LatentTransform(18, "mlp").double()
    objective = LatentEquivariance(BASE, 1.0, transform=transform)
    objective(made(transform=None), batch)["loss"].backward()
    assert all(p.grad.abs().max() > 0 for p in transform.parameters())
    assert any(p is q for p in objective.parameters() for q in transform.parameters())


def test_bad_input(batch):
    for wrong in ({"weight": -0.1}, {"weight": float("inf")}, {"invariance": -1.0}):
        with pytest.raises(InputError, match="weights are >= 0"):
            LatentEquivariance(BASE, **wrong)
    with pytest.raises(InputError, match="did you mean 'contrastive'"):
        LatentEquivariance(BASE, measure="contrast")
    for wrong in ({"start": 1.0}, {"ramp": -1.0}, {"temperature": 0.0}):
        with pytest.raises(InputError, match="0 <= start < 1"):
            LatentEquivariance(BASE, **wrong)
    with pytest.raises(InputError, match="TransIP has no submodule 'hidden'"):
        LatentEquivariance(BASE, layer="hidden")(made(), batch)
    with pytest.raises(InputError, match="TransIP has no submodule 'transform'"):
        LatentEquivariance(BASE)(made(transform=None), batch)
    with pytest.raises(InputError, match="is to give one latent"):
        LatentEquivariance(BASE, layer="layers.0")(made(), batch)
    with pytest.raises(InputError, match="improper R"):
        LatentEquivariance(BASE, group=O(3), seed=0)(made(), batch)
