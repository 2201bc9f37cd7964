"""The real mace-torch, in the environment whose interpreter ``COSET_MACE_PYTHON`` names; it cannot share one with e3nn 0.6."""

import json
import os
import subprocess

import pytest

SCRIPT = """
import copy, json, sys, warnings
warnings.simplefilter("ignore")
import numpy as np, torch
torch.set_num_threads(1)
torch.serialization.add_safe_globals([slice])
from e3nn import o3
from mace import modules
from coset.nn.accelerate import accelerate, report_of
from coset.nn.foreign_example import example_crystal

def model(block, dtype):
    torch.manual_seed(0)
    torch.set_default_dtype(dtype)
    made = modules.ScaleShiftMACE(
        atomic_inter_scale=1.3, atomic_inter_shift=0.1, r_max=4.0, num_bessel=8, num_polynomial_cutoff=5, max_ell=3,
        interaction_cls=getattr(modules, block), interaction_cls_first=getattr(modules, block), num_interactions=2,
        num_elements=3, hidden_irreps=o3.Irreps("16x0e+16x1o"), MLP_irreps=o3.Irreps("16x0e"),
        gate=torch.nn.functional.silu, atomic_energies=np.zeros(3), avg_num_neighbors=25.0, atomic_numbers=[1, 6, 8],
        correlation=3, radial_MLP=[16, 16])
    torch.set_default_dtype(torch.float32)
    return made

found = {}
for block in sys.argv[1:]:
    original = model(block, torch.float64)
    fast = accelerate(copy.deepcopy(original), report=None, rounds=1)
    report, data = report_of(fast), example_crystal(original)
    results = [which(dict(data), training=True, compute_stress=True) for which in (original, fast)]
    gaps = {k: float((results[1][k] - results[0][k]).abs().max() / results[0][k].abs().max())
            for k in ("interaction_energy", "forces", "stress")}
    edges = [which(dict(data), compute_edge_forces=True)["edge_forces"] for which in (original, fast)]
    gaps["edge_forces"] = float((edges[1] - edges[0]).abs().max() / edges[0].abs().max())
    for which, result in zip((original, fast), results):
        (result["forces"].square().sum() + result["stress"].square().sum()).backward()
    gaps["gradients"] = max(
        float((p.grad - q.grad).abs().max() / q.grad.abs().max().clamp(min=1e-30))
        for p, q in zip(fast.parameters(), original.parameters()) if q.grad is not None and q.grad.abs().max() > 1e-12)
    untouched = model(block, torch.float64)
    untouched.load_state_dict(fast.state_dict())
    found[block] = {"gaps": gaps, "swapped": sorted({what for _, what in report.swapped}), "kept": report.kept}
print(json.dumps(found))
"""
BLOCKS = ("RealAgnosticInteractionBlock", "RealAgnosticResidualInteractionBlock", "RealAgnosticDensityInteractionBlock")
UNKNOWN = "RealAgnosticResidualNonLinearInteractionBlock"


@pytest.fixture(scope="module")
def found():
    python = os.environ.get("COSET_MACE_PYTHON")
    if not python:
        pytest.skip("COSET_MACE_PYTHON names no interpreter with mace-torch")
    done = subprocess.run([python, "-c", SCRIPT, *BLOCKS, UNKNOWN], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.parametrize("block", [*BLOCKS, UNKNOWN])
def test_energy_forces_stress_and_gradients_of_a_force_loss(found, block):
    gaps = found[block]["gaps"]
    assert max(gaps[name] for name in ("interaction_energy", "forces", "stress", "edge_forces")) < 1e-10
    assert gaps["gradients"] < 1e-8


@pytest.mark.slow
def test_whole_blocks_are_replaced_and_unknown_ones_named(found):
    for block in BLOCKS:
        assert {block, "EquivariantProductBasisBlock", "SphericalHarmonics"} <= set(found[block]["swapped"])
    assert "there is no replacement" in dict(map(tuple, found[UNKNOWN]["kept"]))["interactions.0"]
