"""Liquid water in boxes of 192 atoms: energies and forces; dipoles and polarizabilities, a vector and a matrix to predict.

    coset compare water --data water=FILE.npz
    coset compare coset.tasks.water:dipole --data moments=FILE.npz
    coset compare coset.tasks.water:polarizability --data moments=FILE.npz

Contracts: E(3) and permutations of atoms, exact. FILE has arrays ``coord``, ``box``, ``energy``, ``force``, ``type`` and
``type_map``, the last fifth validating and testing by turns; for moments ``dipole_training_coord`` and so on
(:mod:`coset.data.array_frames`); a DeePMD folder, or a folder of them, serves as well, and without --data what
``coset data fetch water`` brought. Polarizabilities are symmetrized. Data: the examples of
DeePMD-kit (water, water_tensor).
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from coset.contract import Contract
from coset.data.array_frames import read_npz
from coset.data.atomic_statistics import elements_of
from coset.data.public_cache import cached
from coset.data.stillinger import clusters
from coset.data.structure_streams import stream_structures
from coset.data.structures import Structures, join
from coset.errors import InputError
from coset.groups.euclidean import E
from coset.groups.permutation import S
from coset.interop.potential_metrics import metrics, predictions
from coset.models.atoms.mace import MomentMACE
from coset.nn.atom_graph import graph_inputs
from coset.nn.moments import OUTPUTS
from coset.objectives.moments import MomentsLoss
from coset.task import Data, Method, Recipe, Request
from coset.tasks import potential

SIZES: dict[str, dict[str, Any]] = {
    "smoke": {"hidden": "4x0e+4x1o", "lmax": 2, "network": (8,)},
    "cpu": {"hidden": "16x0e+16x1o"},
    "full": {"hidden": "64x0e+64x1o", "lmax": 3, "correlation": 3},
}


def water(request: Request) -> Data:
    """Energies and forces; see the module."""
    if request.size == "smoke" and not request.files:
        return potential.stand_in(request, {"test": 1})
    frames = list(stream_structures(_file(request, "water")))
    rest, last = frames[: -(len(frames) // 5)], frames[-(len(frames) // 5) :]
    return potential.assemble(request, rest, last[::2], {"test": last[1::2]})


def moments(request: Request, which: str) -> Data:
    """Configurations with dipoles or polarizabilities; ``info`` holds what models are scaled by."""
    if request.size == "smoke" and not request.files:
        train, valid = _stand_in(12), _stand_in(6)
    else:
        path, short = _file(request, "moments"), {"dipole": "dipole", "polarizability": "polar"}[which]
        train, valid = (list(read_npz(path, prefix=f"{short}_{part}_")) for part in ("training", "validation"))
        train, valid = (train[:8], valid[:4]) if request.size == "smoke" else (train, valid)
    r_max = request.option("cutoff", potential.CUTOFF)
    data, test = (Structures(frames, r_max, labels=[which]) for frames in (train, valid))
    info = {"scale": request.size, "r_max": r_max, "elements": elements_of(train), "labels": (which,)} | scales(train, which)
    audit = join([potential.sample_without_labels(test[0])])
    return Data(data, {"test": test}, audit=audit, info=info)


def scales(frames: Any, which: str) -> dict[str, float]:
    """Per atom: the root mean square dipole over the root of atoms, or the mean isotropic polarizability and its spread."""
    count = torch.tensor([len(frame["z"]) for frame in frames], dtype=torch.float64)
    labels = torch.stack([frame[which] for frame in frames])
    if which == "dipole":
        return {"dipole_scale": float((labels.square().sum(-1) / count).mean().sqrt())}
    mean = labels.diagonal(dim1=-2, dim2=-1).mean(-1)
    shift = float((mean / count).mean())
    rest = labels - (shift * count).view(-1, 1, 1) * torch.eye(3, dtype=torch.float64)
    return {"polar_shift": shift, "polar_scale": max(float((rest.square().sum((-1, -2)) / count).mean().sqrt()), 1e-6)}


def moment_mace(data: Data) -> MomentMACE:
    """Sized for the request, scaled by the data."""
    kept = {name: data.info[name] for name in ("dipole_scale", "polar_scale", "polar_shift") if name in data.info}
    edges = sum(data.train[i]["edge_index"].shape[1] for i in range(len(data.train)))
    neighbors = edges / sum(len(frame["z"]) for frame in data.train.frames)
    return MomentMACE(
        data.info["elements"], data.info["r_max"], neighbors=max(neighbors, 1.0), **kept, **SIZES[data.info["scale"]]
    )


def moment_error(model: Any, data: Data, *, which: str, relative: bool = False) -> float:
    """Root mean square error of components per atom; ``relative`` to the spread of the labels about their mean, percent."""
    gaps, labels = [], []
    for out, batch in predictions(model, data.test["test"]):
        label = 0.5 * (batch[which] + batch[which].mT) if which == "polarizability" else batch[which]
        count = torch.bincount(batch["batch"]).view(-1, *[1] * (label.ndim - 1))
        gaps.append((out[which] - label) / count)
        labels.append(label / count)
    gap, label = torch.cat(gaps).double(), torch.cat(labels).double()
    error = gap.square().mean().sqrt()
    return float(100 * error / (label - label.mean(0)).square().mean().sqrt() if relative else error)


def _file(request: Request, name: str) -> Path:
    files = dict(request.files)
    if not files and (found := cached(name)) is not None:
        potential.say(f"{name}: files of {found} (coset data fetch)")
        return found
    if set(files) != {name}:
        raise InputError(f"water: give --data {name}=FILE (npz, or a DeePMD folder); got {sorted(files) or 'no file'}")
    return Path(files[name])


def _stand_in(count: int) -> list[dict[str, Any]]:
    """Clusters with the dipole of charges 1 and -1 on the two species, and a matrix like it: a formula, for size smoke."""
    frames = clusters(count, 5, seed=count)
    for frame in frames:
        charge = torch.where(frame["z"] == 14, 1.0, -1.0).double()
        arm = frame["pos"] - frame["pos"].mean(0)
        frame["dipole"] = (charge.unsqueeze(-1) * arm).sum(0)
        frame["polarizability"] = arm.T @ arm
    return frames


def _moments_task(which: str) -> Any:
    contracts = tuple(Contract(group, graph_inputs(range(1, 119)), OUTPUTS) for group in (E(3), S("N")))
    loss = MomentsLoss(**{which: 1e4 if which == "dipole" else 1e2})
    return replace(
        potential.task,
        contracts=contracts,
        data=partial(moments, which=which),
        objective=loss,
        metrics={
            f"{which}_error_percent": partial(moment_error, which=which, relative=True),
            f"{which}_rmse_per_atom": partial(moment_error, which=which),
        },
        methods=(Method("MomentMACE", moment_mace, axes={"output": which}, source="batatia2022",
                        note="Sums of atomic vectors and matrices."),),
        recipe={
            "smoke": Recipe(epochs=2, batch=4, lr=5e-3, weight_decay=0.0, clip=10.0),
            "cpu": Recipe(epochs=40, batch=4, lr=5e-3, weight_decay=0.0, clip=10.0, ema=0.99),
            "full": Recipe(epochs=400, batch=4, lr=5e-3, weight_decay=0.0, clip=10.0, ema=0.999),
        },
    )  # fmt: skip


task = replace(potential.task, methods=potential.methods, data=water, metrics=metrics(["test"], per_atom=True))
dipole, polarizability = _moments_task("dipole"), _moments_task("polarizability")
