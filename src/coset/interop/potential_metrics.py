"""What tasks of atoms measure of a trained potential: errors, conservation, smoothness, drift, speed, memory.

Metrics are functions ``(model, data)`` of a :class:`~coset.nn.potential.Potential` and of data whose ``test`` holds
:class:`~coset.data.structures.Structures` by name; :func:`metrics` chooses them for a task. Forces in meV per angstrom,
energies in meV, stress in meV per cubic angstrom.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from coset.audits.cutoff import continuity
from coset.audits.memory import peak_bytes
from coset.audits.precision import at_dtype
from coset.data.structures import Structures
from coset.interop.ase import Calculator, atoms_of, surface
from coset.interop.dynamics import run
from coset.objectives.energy_forces import LABELS
from coset.recipe import Data

Metric = Callable[[Any, Data], float]
RUN = {"smoke": 20, "cpu": 2000, "full": 20_000}  #: steps of half a femtosecond at constant energy: 1 ps, 10 ps
TEMPERATURE = 300.0  #: kelvin
TOGETHER = 10  #: structures of the batch that speed and memory are measured on


def metrics(
    tests: Sequence[str], *, energies: Sequence[str] = (), stress: bool = False, per_atom: bool = False, trust: bool = False
) -> dict[str, Metric]:
    """Errors on every test set (forces of the first are the headline), of ``energies`` alone on others; conservation, speed.

    With ``trust`` also what dynamics depend on: the jump of the curvature at the cutoff, the drift of a run at constant
    energy, and memory.
    """
    found: dict[str, Metric] = {}
    unit = "mev_atom" if per_atom else "mev"
    for name in tests:
        end = "" if len(tests) == 1 else f"_{name.lower()}"
        found[f"force_mae{end}_mev_a"] = partial(force_error, on=name)
        found[f"force_rmse{end}_mev_a"] = partial(force_error, on=name, root=True)
        found[f"energy_mae{end}_{unit}"] = partial(energy_error, on=name, per_atom=per_atom)
        if trust:
            found[f"energy_rmse{end}_{unit}"] = partial(energy_error, on=name, per_atom=per_atom, root=True)
        if stress:
            found[f"stress_mae{end}_mev_a3"] = partial(stress_error, on=name)
    for name in energies:
        found[f"energy_mae_{name.lower()}_{unit}"] = partial(energy_error, on=name, per_atom=per_atom)
    found["force_gap"] = force_gap
    if trust:
        found |= {"cutoff_jump_ev_a2": cutoff_jump, "drift_mev_atom_ps": drift}
    found["microseconds_per_atom"] = microseconds_per_atom
    return found | {"peak_mb": peak_megabytes} if trust else found


# ---------------------------------------------------------------------- errors


def predictions(model: Any, data: Structures, *, atoms: int = 400) -> Iterator[tuple[dict[str, Tensor], dict[str, Tensor]]]:
    """Pairs (output, batch) over a set, in batches of about ``atoms`` atoms; eval mode, no graph kept."""
    size = max(1, atoms // int(data.counts().max()))
    for start in range(0, len(data), size):
        batch = data.collate([data[i] for i in range(start, min(start + size, len(data)))])
        with torch.no_grad():
            yield model(**inputs_of(batch)), batch


def inputs_of(batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A batch without its labels."""
    return {name: value for name, value in batch.items() if name not in LABELS}


def force_error(model: Any, data: Data, *, on: str, root: bool = False) -> float:
    """Mean absolute or root mean square error of force components on one test set, meV/A."""
    return _size(
        torch.cat([(out["forces"] - batch["forces"]).flatten() for out, batch in predictions(model, data.test[on])]), root
    )


def energy_error(model: Any, data: Data, *, on: str, per_atom: bool = False, root: bool = False) -> float:
    """Mean absolute or root mean square error of energies, meV per structure or per atom."""
    gaps = []
    for out, batch in predictions(model, data.test[on]):
        label = batch["energy"] - model.reference_energy(batch["z"], batch["batch"])
        count = torch.bincount(batch["batch"]) if per_atom else 1
        gaps.append((out["interaction"].double() - label) / count)
    return _size(torch.cat(gaps), root)


def stress_error(model: Any, data: Data, *, on: str) -> float:
    """Mean absolute error of stress components, meV/A^3."""
    return _size(torch.cat([(out["stress"] - batch["stress"]).flatten() for out, batch in predictions(model, data.test[on])]))


def _size(gaps: Tensor, root: bool = False) -> float:
    """In thousandths."""
    gaps = 1e3 * gaps.double()
    return float(gaps.square().mean().sqrt() if root else gaps.abs().mean())


# ---------------------------------------------------------------------- what dynamics depend on


def force_gap(model: Any, data: Data, *, step: float = 1e-4, directions: int = 6) -> float:
    """``|F + dE/dx|`` over ``|F|`` along random directions by central differences, float64: 0 if forces are conservative."""
    wide: Any = at_dtype(model, torch.float64)
    sample, wide = data.audit, wide.eval()
    generator = torch.Generator().manual_seed(0)
    gaps, sizes = [], []
    for _ in range(directions):
        way = torch.randn(sample["pos"].shape, generator=generator, dtype=torch.float64)
        ahead, behind = (wide(**sample | {"pos": sample["pos"] + side * step * way}) for side in (1, -1))
        slope = (ahead["interaction"] - behind["interaction"]).sum() / (2 * step)
        work = (wide(**sample)["forces"] * way).sum()
        gaps.append(float(slope + work) ** 2)
        sizes.append(float(work) ** 2)
    return (sum(gaps) / sum(sizes)) ** 0.5


def cutoff_jump(model: Any, data: Data) -> float:
    """The largest jump of the energy's second derivative where an atom crosses the cutoff, eV/A^2 (:mod:`coset.audits.cutoff`).

    0 up to the rounding of differences for an energy that is twice differentiable; of the pairs of elements in the first frame.
    """
    checks, _ = continuity(surface(Calculator(model)), [first_structure(data)], model.r_max)
    found = {check.name: check for check in checks}
    jump = found.get("cutoff: curvature")
    return float("nan") if jump is None else jump.error


def drift(model: Any, data: Data, *, steps: int = 0) -> float:
    """Absolute slope of the total energy at constant energy, meV per atom and ps, float64.

    ``steps`` of 0.5 fs (by the size of the request: :data:`RUN`) from the first test structure at 300 K. NaN where the atoms
    fly apart, as direct forces can make them.
    """
    atoms = atoms_of(first_structure(data))
    atoms.calc = Calculator(model)
    try:
        motion = run(atoms, steps or RUN[data.info["scale"]], temperature=TEMPERATURE, timestep=0.5, every=4)
    except ValueError:
        return float("nan")
    return abs(motion.drift)


def first_structure(data: Data) -> Any:
    """The first structure of the first test set, floating values in float64."""
    frame = next(iter(data.test.values())).frames[0]
    return {name: v.double() if isinstance(v, Tensor) and v.is_floating_point() else v for name, v in frame.items()}


# ---------------------------------------------------------------------- price


def microseconds_per_atom(model: Any, data: Data, *, repeats: int = 5) -> float:
    """Processor time of energy and forces over the atoms of a batch, the least of several, microseconds."""
    inputs = _batch(data)
    best = float("inf")
    for _ in range(repeats + 1):
        began = time.process_time()
        with torch.no_grad():
            model(**inputs)
        best = min(best, time.process_time() - began)
    return 1e6 * best / len(inputs["z"])


def peak_megabytes(model: Any, data: Data) -> float:
    """What energy and forces of that batch add to the process's memory at their peak, MB."""
    inputs = _batch(data)

    def call() -> None:
        with torch.no_grad():
            model(**inputs)

    return peak_bytes(call, inputs["pos"].device) / 1e6


def _batch(data: Data) -> dict[str, Tensor]:
    test = next(iter(data.test.values()))
    return inputs_of(test.collate([test[i % len(test)] for i in range(TOGETHER)]))
