"""A plain transformer keeps translations and permutations, learns rotations, and takes forces from a head or the energy."""

import pytest
import torch

from coset import testing
from coset.errors import InputError
from coset.models.atoms.transip import SIZES, TransIP, slots
from coset.train.checkpoint import load_model, save_model

SMALL = {"width": 16, "layers": 1, "heads": 2}
KINDS = {
    "direct": {},
    "gradient": {"conservative": True},
    "linear": {"transform": "linear"},
    "wigner": {"transform": "wigner"},
    "untaught": {"transform": None},
}


def made(**options):
    torch.manual_seed(0)
    return TransIP(**{**SMALL, **options}).double().eval()


def molecules(seed=0):
    """Two molecules of three and five atoms, their atoms mixed."""
    g = torch.Generator().manual_seed(seed)
    return {
        "pos": torch.randn(8, 3, generator=g, dtype=torch.float64),
        "z": torch.tensor([1, 6, 8, 1, 1, 6, 8, 6]),
        "batch": torch.tensor([1, 0, 1, 1, 0, 1, 1, 0]),
    }


@pytest.mark.parametrize("kind", KINDS)
def test_contracts(kind):
    report = testing.check(made(**KINDS[kind]))
    claims = {one.contract: one.claim for one in report.checked}
    assert claims.pop("SO(3) on the latent", "learned" if kind == "untaught" else None) == "learned"
    assert claims == {"T(3)": "exact", 'S("N")': "exact", "SO(3)": "learned"}
    assert report.errors["SO(3)"] > 1e-2
    assert max(report.errors["T(3)"], report.errors['S("N")']) < 1e-12


class Uncentered(TransIP):
    """Sees where a molecule is."""

    def centered(self, pos, batch, count):
        return pos


class Numbered(TransIP):
    """Sees which atom came first."""

    def represent(self, graph, pos, told):
        return super().represent(graph, pos + slots(graph.batch, graph.structures)[0].unsqueeze(-1), told)


@pytest.mark.parametrize(("twin", "broken"), [(Uncentered, r"T\(3\)"), (Numbered, r'S\("N"\)')], ids=["translation", "order"])
def test_broken_twins_are_caught(twin, broken):
    torch.manual_seed(0)
    with pytest.raises(testing.Broken, match=f"contract {broken}"):
        testing.check(twin(**SMALL))


def test_atoms_may_stand_in_any_order_among_molecules():
    model, x = made(), molecules()
    mixed = model(**x)
    for b in range(2):
        mine = x["batch"] == b
        alone = model(x["pos"][mine], x["z"][mine])
        assert torch.allclose(mixed["energy"][b], alone["energy"][0], atol=1e-12)
        for name in ("forces", "latent", "energies"):
            assert torch.allclose(mixed[name][mine], alone[name], atol=1e-12)


def test_far_away_it_is_the_same_molecule_in_single_precision():
    model, x = made().float(), molecules()
    x["pos"] = x["pos"].float().mul(64).round() / 64  # on a grid that is exact far away, too
    near, far = model(**x), model(**{**x, "pos": x["pos"] + 1024})
    for name in ("energy", "forces"):
        assert (near[name] - far[name]).norm() <= 1e-5 * near[name].norm()


def test_gradient_forces_are_those_of_the_energy_and_direct_ones_are_not():
    x, way = molecules(), torch.randn(8, 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    for model, conservative in ((made(conservative=True), True), (made(), False)):
        ahead, behind = (model(**{**x, "pos": x["pos"] + s * 1e-5 * way})["interaction"].sum() for s in (1, -1))
        gap = (ahead - behind) / 2e-5 + (model(**x)["forces"] * way).sum()
        assert (abs(gap.item()) < 1e-8) == conservative
        assert model.conservative == conservative


def test_inference_mode_changes_nothing():
    for options in ({}, {"conservative": True}):
        model, x = made(**options), molecules()
        want = model(**x)["forces"].detach()
        with torch.inference_mode():
            assert torch.equal(model(**x)["forces"], want)


def test_forces_that_are_gradients_can_be_trained():
    model, x = made(conservative=True, transform=None).train(), molecules()
    loss = model(**x)["forces"].square().sum()
    slopes = torch.autograd.grad(loss, list(model.layers.parameters()))
    way = [torch.randn_like(p) for p in model.layers.parameters()]
    change = sum((s * w).sum() for s, w in zip(slopes, way, strict=True))
    values = []
    for side in (1, -2):
        with torch.no_grad():
            for p, w in zip(model.layers.parameters(), way, strict=True):
                p += side * 1e-5 * w
        values.append(model(**x)["forces"].square().sum().item())
    assert change.item() == pytest.approx((values[0] - values[1]) / 2e-5, rel=1e-6)


def test_charge_and_spin_are_seen_and_edges_are_not():
    model, x = made(), molecules()
    plain = model(**x)["energy"]
    edges = model(**x, edge_index=torch.tensor([[0, 1], [1, 0]]), shift=torch.zeros(2, 3))
    assert torch.equal(edges["energy"], plain)
    for name in ("charge", "spin"):
        told = model(**x, **{name: torch.tensor([0, 1])})["energy"]
        assert told[0] == plain[0]
        assert abs(told[1] - plain[1]) > 1e-4


def test_statistics_enter_energies_and_forces():
    plain, x = made(), molecules()
    scaled = made(references=[-1.0, -2.0, -3.0], scale=[2.0, 3.0, 4.0], shift=0.5)
    factor = torch.tensor([2.0, 3.0, 4.0], dtype=torch.float64)[torch.tensor([0, 1, 2, 0, 0, 1, 2, 1])]
    before, after = plain(**x), scaled(**x)
    assert torch.allclose(after["forces"], factor.unsqueeze(-1) * before["forces"])
    assert torch.allclose(after["energies"], factor * before["energies"] + 0.5)
    lone = scaled.reference_energy(x["z"], x["batch"])
    assert lone.tolist() == [-2 - 1 - 2, -1 - 3 - 1 - 2 - 3]
    assert torch.allclose(after["energy"], after["interaction"] + lone)


def test_saved_and_loaded(tmp_path):
    for options in KINDS.values():
        model = made(**options)
        save_model(tmp_path, model)
        assert torch.equal(load_model(tmp_path)(**molecules())["forces"], model(**molecules())["forces"])


def test_stress_of_a_molecule_is_the_derivative_by_strain():
    model, x = made(conservative=True), molecules()
    cell = 20 * torch.eye(3, dtype=torch.float64).expand(2, 3, 3)
    inside = {"cell": cell, "edge_index": torch.tensor([[0], [1]]), "shift": torch.zeros(1, 3, dtype=torch.int64)}
    strain = torch.zeros(2, 3, 3, dtype=torch.float64, requires_grad=True)
    pull = torch.eye(3, dtype=torch.float64) + 0.5 * (strain + strain.mT)
    energy = model(**{**x, "pos": (x["pos"].unsqueeze(1) @ pull[x["batch"]]).squeeze(1)})["interaction"].sum()
    (slope,) = torch.autograd.grad(energy, strain)
    assert slope.abs().max() > 1e-3
    assert (model(**x, **inside)["stress"] - slope / 20**3).abs().max() < 1e-12
    assert model.train()(**x, **inside)["stress"].requires_grad
    direct = made()(**x, **inside)["stress"]
    assert torch.equal(direct, direct.mT)
    assert direct.abs().max() > 0


def test_published_sizes():
    with torch.device("meta"):
        large = sum(p.numel() for p in TransIP(transform=None, **SIZES["large"]).parameters())
    assert 80e6 < large < 90e6


def test_bad_input():
    model, x = made(max_atoms=5), molecules()
    cell = 20 * torch.eye(3, dtype=torch.float64).expand(2, 3, 3)
    with pytest.raises(InputError, match="not periodic structures"):
        model(**x, cell=cell)
    with pytest.raises(InputError, match="not periodic structures"):
        model(**x, cell=cell, edge_index=torch.tensor([[0], [1]]), shift=torch.tensor([[1, 0, 0]]))
    wide = model(**x, cell=cell, edge_index=torch.tensor([[0], [1]]), shift=torch.tensor([[0, 0, 0]]))
    assert torch.equal(wide["energy"], model(**x)["energy"])
    with pytest.raises(InputError, match="1 of 8 atoms have positions that are NaN"):
        model(**{**x, "pos": x["pos"].index_fill(0, torch.tensor([2]), torch.nan)})
    with pytest.raises(InputError, match="a molecule has 5 atoms, the most is max_atoms=4"):
        made(max_atoms=4)(**x)
    with pytest.raises(InputError, match="one number for each of 2 molecules"):
        model(**x, charge=torch.tensor([1]))
    with pytest.raises(InputError, match=r"elements \[7\] are unknown"):
        model(**{**x, "z": torch.full((8,), 7)})
    with pytest.raises(InputError, match="would fit"):
        TransIP(width=16, heads=2, transform="wigner", irreps="1x0+1x1")
    with pytest.raises(InputError, match="at least one layer"):
        TransIP(layers=0)
    with pytest.raises(InputError, match="heads divide"):
        TransIP(width=16, heads=3)
