"""Clusters under a Stillinger-Weber formula: attention with gates or products on the sphere, forces as gradients or direct.

Contracts: SE(3) and S("N"); labels are exact derivatives of a formula (:mod:`coset.data.stillinger`), so that what a network
misses is its own. All rows are :class:`~coset.models.atoms.equiformer_v3.EquiformerV3` at one size. Beside errors on test
clusters two figures say what a potential is good for: how far the total energy drifts in molecular dynamics without a
thermostat, and how far the energy jumps where the only bond of an atom passes the cutoff. Distances in angstrom, energies in
eV, times in fs. ``--data train=FILE --data test=FILE`` takes structures of one's own (extended XYZ).
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from coset.audits.energy_curves import EnergyCurves
from coset.contract import Contract, evaluating, frozen
from coset.data.stillinger import clusters
from coset.data.structures import Structures, join, read_structures
from coset.errors import InputError, require
from coset.groups.euclidean import SE
from coset.groups.permutation import S
from coset.models.atoms.equiformer_v3 import EquiformerV3, conservative_copy
from coset.objectives.denoise_atoms import DenoiseAtoms
from coset.objectives.energy_forces import LABELS, EnergyForces
from coset.ops.scatter import scatter_sum
from coset.reps.action import Labels
from coset.reps.fields import Field
from coset.task import Data, Method, Recipe, Request, Stage, Task

CUTOFF = 4.5  #: angstrom, of the networks; the formula ends at 4.07
COUNTS = {"smoke": (8, 4, 4), "cpu": (160, 24, 40), "full": (2000, 200, 400)}  #: training, validation and test clusters
STEPS = {"smoke": 10, "cpu": 500, "full": 2000}  #: of molecular dynamics
FS = 0.09822695  #: a femtosecond in angstrom * sqrt(dalton / eV), the unit of time that goes with the others
KELVIN = 8.617333e-5  #: in eV

INPUTS = {"pos": "N x position", "z": Field(("N",), Labels((14, 32))), "edge_index": "2 x E -> N", "batch": "N -> B"}
OUTPUTS = {"energy": "B x scalar", "forces": "N x vector"}
motions, exchanges = (Contract(group, INPUTS, OUTPUTS) for group in (SE(3), S("N")))
base = EnergyForces(1.0, 1.0, shape="l2")


def data(request: Request) -> Data:
    """Generated clusters of eight atoms, or the user's files ``train`` and ``test`` (a tenth of the former validates)."""
    files, counts = dict(request.files), COUNTS[request.size]
    if files:
        if set(files) != {"train", "test"}:
            raise InputError(f"cutoff_clusters: data files are 'train' and 'test', got {sorted(files)}")
        train, test = (read_structures(files[name]) for name in ("train", "test"))
        if any("cell" in frame for frame in (*train, *test)):
            raise InputError("cutoff_clusters: clusters have no cell; periodic structures are for coset train potential")
        held = max(1, len(train) // 10)
        valid, train = train[:held], train[held:]
    else:
        frames = clusters(sum(counts), seed=request.seed)
        train, valid, test = frames[: counts[0]], frames[counts[0] : -counts[2]], frames[-counts[2] :]
    elements = sorted({int(z) for frame in (*train, *valid, *test) for z in frame["z"]})
    sets = [Structures(frames, CUTOFF, labels=("energy", "forces")) for frames in (train, valid, test)]
    whole = join([sets[0][i] for i in range(len(train))])
    info = {
        "elements": elements,
        "scale": float(whole["forces"].square().mean().sqrt()),
        "shift": float(torch.stack([frame["energy"] / len(frame["z"]) for frame in train]).mean()),
        "neighbors": whole["edge_index"].shape[1] / len(whole["z"]),
        "steps": STEPS[request.size],
        "small": request.size == "smoke",
    }
    audit = join([sets[2][i] for i in range(min(3, len(sets[2])))])
    return Data(sets[0], sets[2], audit={name: audit[name] for name in INPUTS}, valid=sets[1], info=info)


def network(data: Data, **kind: Any) -> nn.Module:
    """Two layers with 16 channels of degrees 0 to 2, scaled by the forces of the training data."""
    statistics = {name: data.info[name] for name in ("elements", "scale", "shift", "neighbors")}
    small: dict[str, Any] = {"channels": 8, "hidden": 4, "feedforward": 8, "radial": 8, "layers": 1}
    return EquiformerV3(r_max=CUTOFF, **statistics, **(small if data.info["small"] else {}), **kind)


def to_gradient(model: EquiformerV3, data: Data) -> tuple[nn.Module, Data]:
    """The second stage: the direct network's body under an energy whose gradient is the forces."""
    return conservative_copy(model, keep_energy=True), data


# ---------------------------------------------------------------------------------------------------- errors on test clusters


def errors(model: Any, data: Data, name: str, *, batch: int = 40) -> Tensor:
    """``|predicted - label|`` of all test clusters, flat: of forces in eV/angstrom, of energies in eV per atom."""
    gaps = []
    with evaluating(model), frozen(model):
        for start in range(0, len(data.test), batch):
            given = join([data.test[i] for i in range(start, min(start + batch, len(data.test)))])
            out = model(**{key: value for key, value in given.items() if key not in LABELS})
            gap = out[name].double() - given[name].double()
            gaps.append((gap / torch.bincount(given["batch"]) if name == "energy" else gap).abs().flatten())
    return torch.cat(gaps)


def force_mae(model: Any, data: Data) -> float:
    """Mean absolute error of force components, meV/angstrom."""
    return 1000 * float(errors(model, data, "forces").mean())


def energy_mae(model: Any, data: Data) -> float:
    """Mean absolute error of energies, meV per atom."""
    return 1000 * float(errors(model, data, "energy").mean())


# ---------------------------------------------------------------------------------------------------- molecular dynamics


def verlet(forces: Callable[[Tensor], Tensor], x: Tensor, v: Tensor, mass: Tensor, dt: float, steps: int) -> Any:
    """Velocity Verlet: yields ``(x, v)`` after every step; symplectic, so that a smooth energy is kept for very long."""
    f = forces(x)
    for _ in range(steps):
        v = v + 0.5 * dt * f / mass
        x = x + dt * v
        f = forces(x)
        v = v + 0.5 * dt * f / mass
        yield x, v


def nve(model: Any, data: Data, *, steps: int, dt: float = 1.0, kelvin: float = 100.0, systems: int = 4) -> Tensor:
    """Total energy per atom ``(steps, systems)`` in eV along free trajectories from the first test clusters, in float64.

    ``dt`` in fs; velocities are drawn at ``kelvin``. Neighbors are searched at every step.
    """
    model = copy.deepcopy(model).double()
    given = join([data.test[i] for i in range(min(systems, len(data.test)))])
    z, graph = given["z"], given["batch"]
    count = int(graph[-1]) + 1
    pairs = torch.nonzero((graph[:, None] == graph[None, :]) & ~torch.eye(len(z), dtype=torch.bool)).T.flip(0)
    mass = torch.tensor([_mass(int(number)) for number in z], dtype=torch.float64).unsqueeze(-1)
    last: dict[str, Tensor] = {}

    def forces(x: Tensor) -> Tensor:
        near = (x[pairs[0]] - x[pairs[1]]).square().sum(-1) < model.r_max**2
        last.update(model(x, z, pairs[:, near], batch=graph))
        return last["forces"]

    noise = torch.randn(len(z), 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    totals = []
    with evaluating(model), frozen(model):
        for _, v in verlet(forces, given["pos"].double(), noise * (KELVIN * kelvin / mass).sqrt(), mass, dt * FS, steps):
            kinetic = scatter_sum(0.5 * (mass * v.square()).sum(-1), graph, count)
            totals.append((last["energy"] + kinetic) / torch.bincount(graph))
    return torch.stack(totals)


def _mass(number: int) -> float:
    return float(require("ase.data", extra="atoms").atomic_masses[number])


def drift(totals: Tensor) -> float:
    """How far total energies ``(steps, systems)`` wander: means of the last tenth less those of the first, meV per atom."""
    tenth = max(1, len(totals) // 10)
    return 1000 * float((totals[-tenth:].mean(0) - totals[:tenth].mean(0)).abs().mean())


def nve_drift(model: Any, data: Data) -> float:
    """:func:`drift` of :func:`nve`."""
    return drift(nve(model, data, steps=data.info["steps"]))


# ---------------------------------------------------------------------------------------------------- across the cutoff


def scan(model: Any, data: Data, lengths: Tensor) -> Tensor:
    """Energies in eV, float64, of a test cluster with one more atom at these ``lengths`` from its outermost atom.

    The atom stands on the ray from the center through the outermost atom, so that no other is nearer; edges beyond the model's
    cutoff are cut off, as neighbor lists do.
    """
    model = copy.deepcopy(model).double()
    pos, z = data.test[0]["pos"].double(), data.test[0]["z"]
    outward = pos - pos.mean(0)
    far = int(outward.norm(dim=1).argmax())
    ray = outward[far] / outward[far].norm()
    energies = []
    with evaluating(model), frozen(model):
        for length in lengths.double():
            x = torch.cat([pos, (pos[far] + length * ray)[None]])
            near = torch.cdist(x, x).fill_diagonal_(torch.inf) < model.r_max
            energies.append(model(x, torch.cat([z, z[far : far + 1]]), near.nonzero().T.flip(0))["energy"])
    return torch.cat(energies)


def jump(model: Any, data: Data) -> float:
    """The largest change of the energy over steps of 1e-4 angstrom across the cutoff, meV."""
    energies = scan(model, data, model.r_max + 1e-4 * torch.arange(-3, 4, dtype=torch.float64))
    return 1000 * float(energies.diff().abs().max())


def curves(model: Any, data: Data) -> EnergyCurves:
    """What both figures are made of, dynamics of a fifth of the length."""
    steps = max(2, data.info["steps"] // 5)
    lengths = torch.linspace(model.r_max - 0.3, model.r_max + 0.1, 81, dtype=torch.float64)
    totals = nve(model, data, steps=steps, systems=2)
    energies = scan(model, data, lengths).detach().numpy()
    return EnergyCurves(np.arange(1, steps + 1) / 1000, totals.detach().numpy(), lengths.numpy(), energies, model.r_max)


methods = (
    Method("gate activation", partial(network, activation="gate"), axes={"activation": "gate", "forces": "gradient"},
           source="liao2026", note="Scalars open and close channels; directions never multiply one another."),
    Method("SwiGLU-S2", network, axes={"activation": "swiglu", "forces": "gradient"}, source="liao2026",
           note="Signals multiply on the sphere; exact, because a product is all that happens there."),
    Method("SiLU on the grid", partial(network, activation="silu", exact=False),
           axes={"activation": "silu", "forces": "gradient"}, source="liao2024",
           note="The activation of EquiformerV2 on the same grids: equivariant as far as they go."),
    Method("direct forces", partial(network, forces="direct"), axes={"activation": "swiglu", "forces": "direct"},
           source="liao2026", note="A head for forces: cheaper per step, and its trajectories do not keep their energy."),
    Method("direct with DeNS, then gradient", partial(network, forces="direct", denoise=True),
           (Stage(DenoiseAtoms(base, weight=1.0)), Stage(prepare=to_gradient)),
           axes={"activation": "swiglu", "forces": "gradient"}, source="liao2026, liao2024dens",
           note="The paper's schedule: cheap direct training with denoising, then the gradient."),
)  # fmt: skip

task = Task(
    contracts=(motions, exchanges),
    data=data,
    objective=base,
    metrics={"force_mae_mev_per_a": force_mae, "energy_mae_mev_per_atom": energy_mae, "nve_drift_mev_per_atom": nve_drift,
             "cutoff_jump_mev": jump},
    methods=methods,
    findings={"energy curves": curves},
    recipe={
        "smoke": Recipe(epochs=1, batch=8, lr=3e-3),
        "cpu": Recipe(epochs=25, batch=16, lr=5e-3),
        "full": Recipe(epochs=300, batch=16, lr=3e-3),
    },
    lower_is_better=True,
)  # fmt: skip
