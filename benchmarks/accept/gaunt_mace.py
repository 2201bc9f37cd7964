"""MACE by Gaunt products: the time of its many-body step beside the coupled one, and what accuracy it costs (gaunt sheet, b).

    python benchmarks/accept/gaunt_mace.py --data FOLDER

Times are of energies' gradients (``gradient``) and of a training step on them (``step``), 150 atoms, one thread, float32, calls
taking turns in one process; a ratio above 1 says that Gaunt is faster. ``fused`` is this library's kernel for couplings,
``eager`` the same couplings by tensor operations. Accuracy: the rows MACE and MACE (Gaunt) of acetylacetone at equal sizes,
epochs and seed, one thread; FOLDER holds the public files. The sheet's other half, products of two operands, is in
``gaunt.py``.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from coset.errors import InputError
from coset.nn.gaunt_many_body import GauntManyBody
from coset.nn.irreps_product import ManyBody
from coset.recipe import Request
from coset.report.acceptance import Bound, main
from coset.reps.irreps import Irreps
from coset.tasks.acac import task
from coset.train.fit import fit
from coset.train.run import Run

BESIDE = str(Path(__file__).resolve().parents[3] / "shared" / "data" / "atoms" / "botnet_acac")
CASES = ((2, 3, 32), (3, 3, 32), (3, 3, 128), (4, 3, 32), (3, 4, 32))  #: lmax, correlation, channels
ATOMS, SPECIES = 150, 3
ROWS = {"coupled": "MACE", "gaunt": "MACE (Gaunt)"}

BOUNDS = (
    Bound("ratio.force_mae_300k", "<=", 1.15, "gaunt sheet (b), not tried, of another network; published for 3BPA: 1.05"),
    Bound("ratio.force_mae_600k", "<=", 1.15, "gaunt sheet (b), not tried, of another network; published for 3BPA: 1.02"),
    Bound("force_gap", "<=", 1e-5, "forces are the gradient of the energy"),
)


def eager(layer: ManyBody, x: Tensor, z: Tensor) -> Tensor:
    """A coupled step without the kernel."""
    contraction = layer.contraction
    y = contraction(x.unflatten(-1, (contraction.rows, layer.channels)), layer.weight, z, backend="torch")
    return layer.linear(y.flatten(-2))


def gradient(step: Callable[[Tensor, Tensor], Tensor], x: Tensor, z: Tensor, *, twice: bool = False) -> None:
    """A gradient by the input and, with ``twice``, of its square by everything."""
    x = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(step(x, z).square().sum(), x, create_graph=twice)
    if twice:
        slope.square().sum().backward()


def times(lmax: int, correlation: int, channels: int, *, repeats: int = 12) -> dict[str, float]:
    """The least processor time of each form in milliseconds, and what couplings take of what Gaunt takes."""
    generator = torch.Generator().manual_seed(0)
    irreps = Irreps([(channels, (l, (-1) ** l)) for l in range(lmax + 1)])
    x, z = torch.randn(ATOMS, irreps.dim, generator=generator), torch.randint(SPECIES, (ATOMS,), generator=generator)
    out = f"{channels}x0e+{channels}x1o"
    fused, gaunt = (kind(irreps, out, SPECIES, correlation=correlation) for kind in (ManyBody, GauntManyBody))
    steps = {"fused": fused, "eager": partial(eager, fused), "gaunt": gaunt}
    best: dict[str, float] = {}
    for _ in range(repeats + 2):
        for name, step in steps.items():
            for what, twice in (("gradient", False), ("step", True)):
                began = time.process_time()
                gradient(step, x, z, twice=twice)
                spent = 1e3 * (time.process_time() - began)
                best[f"{name} {what}"] = min(best.get(f"{name} {what}", spent), spent)
    ratios = {
        f"{name} / gaunt, {what}": best[f"{name} {what}"] / best[f"gaunt {what}"]
        for name in ("fused", "eager")
        for what in ("gradient", "step")
    }
    return {name: round(value, 3) for name, value in (best | ratios).items()}


def trained(name: str, sets: Any, epochs: int, seed: int) -> dict[str, Any]:
    """One row on acetylacetone."""
    torch.manual_seed(seed)
    model, run = task.method(name).build(sets), Run(seed=seed)
    began = time.process_time()
    model = fit(model, task.objective, sets, task.recipe["cpu"].override({"epochs": epochs}), run)
    seconds = time.process_time() - began
    kept = [key for key in task.metrics if key.startswith(("force", "energy", "microseconds"))]
    return {key: task.metrics[key](model, sets) for key in kept} | {
        "cpu_seconds": round(seconds, 1), "steps": run.trace.steps, "parameters": sum(p.numel() for p in model.parameters())
    }  # fmt: skip


def measure(*, data: str = BESIDE, epochs: int = 60, seed: int = 0) -> dict[str, Any]:
    """Times of the many-body step, and both potentials with their ratios."""
    if not Path(data).is_dir():
        raise InputError(f"no folder {data}; name the public files of acetylacetone with --data")
    torch.set_num_threads(1)
    sets = task.data(Request("cpu", seed, (("acac", Path(data)),)))
    for part in (sets.train, sets.valid):
        part.collate([part[i] for i in range(len(part))])  # neighbors are searched before the clock starts
    speed = {f"lmax {lmax}, power {nu}, {channels} channels": times(lmax, nu, channels) for lmax, nu, channels in CASES}
    figures: dict[str, Any] = {kind: trained(name, sets, epochs, seed) for kind, name in ROWS.items()}
    keys = {f"force_mae_{at}": f"force_mae_{at}_mev_a" for at in ("300k", "600k")} | {"seconds": "cpu_seconds"}
    ratio = {name: figures["gaunt"][key] / figures["coupled"][key] for name, key in keys.items()}
    return figures | {"milliseconds": speed, "ratio": ratio, "force_gap": figures["gaunt"]["force_gap"]}


if __name__ == "__main__":
    main("gaunt_mace", __doc__, measure, BOUNDS)
