"""Many structures in one call are the structures one by one, whatever the bound on memory is."""

import pytest
import torch

pytest.importorskip("ase")

from coset.data.stillinger import clusters, crystals
from coset.errors import InputError
from coset.interop import evaluation
from coset.interop.ase import Calculator, atoms_of, surface
from coset.interop.evaluation import evaluate
from coset.models.atoms.mace import MACE


def make(seed=0, r_max=4.0):
    torch.manual_seed(seed)
    return MACE((14, 32), r_max, hidden="4x0e+4x1o", lmax=1, correlation=2, references=(-100.25, -200.5)).double()


FRAMES = [*crystals(3), *clusters(2, 5), *crystals(2, seed=1)]


@pytest.mark.parametrize("edges", [1, 300, 10**9])
def test_a_batch_is_its_members(edges):
    one = surface(Calculator(make()))
    for answer, frame in zip(evaluate(make(), FRAMES, edges=edges), FRAMES, strict=True):
        want = one(frame)
        assert set(answer) - {"energies"} == set(want)
        for name, value in want.items():
            assert torch.allclose(answer[name], value, atol=1e-11, rtol=0), name
        assert torch.isclose(answer["energies"].sum(), answer["energy"])


def test_memory_is_bounded(monkeypatch):
    asked = []
    called = evaluation.Committee.__call__

    def watch(self, graphs):
        asked.append(max(graph["edge_index"].shape[1] for graph in graphs))
        return called(self, graphs)

    monkeypatch.setattr(evaluation.Committee, "__call__", watch)
    evaluate(make(), FRAMES, edges=500)
    assert max(asked) <= 500
    assert 1 < len(asked) < len(FRAMES)


def test_a_committee_spreads():
    answers = evaluate([make(0), make(1, 3.5)], FRAMES)
    parts = [evaluate(make(0), FRAMES), evaluate(make(1, 3.5), FRAMES)]
    for answer, a, b in zip(answers, *parts, strict=True):
        assert torch.allclose(answer["forces"], (a["forces"] + b["forces"]) / 2, atol=1e-13)
        assert torch.allclose(answer["forces_std"], (a["forces"] - b["forces"]).abs() / 2**0.5, atol=1e-13)
        assert torch.isclose(answer["energy_std"], (a["energy"] - b["energy"]).abs() / 2**0.5)


def test_atoms_of_ase_are_frames():
    answers = evaluate(make(), [atoms_of(frame) for frame in FRAMES])
    assert torch.allclose(
        torch.stack([a["energy"] for a in answers]), torch.stack([a["energy"] for a in evaluate(make(), FRAMES)])
    )
    assert evaluate(make(), []) == []


def test_the_frame_at_fault_is_named():
    bad = {**FRAMES[0], "z": torch.full_like(FRAMES[0]["z"], 79)}
    with pytest.raises(InputError, match=r"configuration 1: elements \[79\]"):
        evaluate(make(), [FRAMES[0], bad])
    bad = {**FRAMES[0], "pos": FRAMES[0]["pos"] * float("nan")}
    with pytest.raises(InputError, match=r"configuration 2: .*NaN"):
        evaluate(make(), [*FRAMES[:2], bad])
