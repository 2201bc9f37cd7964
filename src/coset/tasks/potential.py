"""Interatomic potentials on data of your own: one pipeline for every architecture, from two files to one table.

    coset train potential MACE --train a.extxyz --test b.extxyz --cutoff 5
    coset compare potential --methods "MACE,NequIP" --train a.extxyz --valid v.extxyz --test b.extxyz --budget 1h

Contracts: E(3) and permutations of atoms, exact. Files are extended XYZ (ASE) or npz, or large sets by ``coset data convert``,
which are read as they are needed; without ``--valid`` a tenth of the
training configurations is set aside (seed 0). ``--data isolated=FILE`` gives energies of isolated atoms, else references are
fitted. Nothing is converted: references and statistics that are used are printed with the reason. The other tasks of atoms are
this one with data of their own (:func:`assemble`).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from coset.contract import Contract
from coset.data.atomic_statistics import Statistics, describe, elements_of, names, statistics, warnings_of
from coset.data.stillinger import clusters
from coset.data.store import Store, dataset_of, open_structures
from coset.data.structures import Frame, join
from coset.errors import InputError, unknown
from coset.groups.euclidean import E
from coset.groups.permutation import S
from coset.interop.potential_metrics import metrics
from coset.models.atoms.equiformer_v3 import EquiformerV3
from coset.models.atoms.facet import Facet
from coset.models.atoms.mace import MACE
from coset.models.atoms.nequip import NequIP
from coset.models.atoms.ponita import PONITA
from coset.models.atoms.tdn import TDN
from coset.models.atoms.transip import TransIP
from coset.nn.potential import OUTPUTS, graph_inputs
from coset.objectives.energy_forces import LABELS, EnergyForces
from coset.objectives.latent_equivariance import LatentEquivariance
from coset.task import Data, Method, Recipe, Request, Stage, Task

CUTOFF = 5.0  #: angstrom
VALID = 10  #: one configuration in so many is set aside where no validation file is given,
MOST = 5000  #: but not more than these
FILES = ("train", "valid", "test", "isolated")
#: sizes of the networks by the size of the request
MACES: dict[str, dict[str, Any]] = {
    "smoke": {"hidden": "4x0e+4x1o", "lmax": 2, "correlation": 2, "network": (8,), "readout": 4},
    "cpu": {"hidden": "32x0e+32x1o"},
    "full": {"hidden": "128x0e+128x1o"},
}
NEQUIPS: dict[str, dict[str, Any]] = {
    "smoke": {"hidden": "4x0e+4x1o", "lmax": 1, "layers": 2, "network": (8,)},
    "cpu": {"hidden": "32x0e+32x1o+32x1e+32x2e", "layers": 3},
    "full": {"hidden": "64x0e+64x1o+64x1e+64x2e+64x3o", "lmax": 3, "layers": 4},
}
FACETS: dict[str, dict[str, Any]] = {
    "smoke": {"hidden": "4x0e+4x1o+4x2e", "layers": 1, "last": 4, "network": (8,), "width": 4, "grid": (6, 6)},
    "cpu": {"hidden": "32x0e+16x1o+16x2e"},
    "full": {"hidden": "128x0e+64x1o+32x2e", "last": 64},
}
EQUIFORMERS: dict[str, dict[str, Any]] = {
    "smoke": {"channels": 8, "hidden": 4, "feedforward": 8, "radial": 8, "layers": 1},
    "cpu": {"channels": 32, "hidden": 16, "feedforward": 64},
    "full": {"channels": 128, "hidden": 64, "feedforward": 512, "lmax": 4, "layers": 4, "heads": 8, "radial": 128},
}
PONITAS: dict[str, dict[str, Any]] = {
    "smoke": {"hidden": 8, "layers": 1, "kernels": 8, "widening": 2},
    "cpu": {"hidden": 48, "layers": 3},
    "full": {"hidden": 128, "layers": 5, "kernels": 256, "orientations": 20},
}
TRANSIPS: dict[str, dict[str, Any]] = {
    "smoke": {"width": 16, "layers": 1, "heads": 2},
    "cpu": {"width": 64, "layers": 3},
    "full": {"width": 256, "layers": 6, "heads": 8},
}
TDNS: dict[str, dict[str, Any]] = {
    "smoke": {"channels": 4, "layers": 1, "heads": 2, "alpha": 4, "basis": 8, "radial": 8, "feedforward": 8},
    "cpu": {"channels": 32, "feedforward": 64},
    "full": {"channels": 256, "layers": 6, "basis": 256, "feedforward": 512},
}


# ---------------------------------------------------------------------- data


def own_data(request: Request) -> Data:
    """The user's files as data; InputError that names a missing one."""
    files = dict(request.files)
    if request.size == "smoke" and not files:
        return stand_in(request, {"test": 1})
    if wrong := sorted(set(files) - set(FILES)):
        raise unknown("data file", wrong[0], FILES)
    for name in ("train", "test"):
        if name not in files:
            raise InputError(
                f"potential: no {name} data; give --{name} FILE (extended XYZ or npz); coset list tasks shows tasks with data"
            )
    frames: Sequence[Frame] = open_structures(files["train"])
    train: Sequence[Frame]
    valid: Sequence[Frame]
    if "valid" in files:
        train, valid = frames, open_structures(files["valid"])
    else:
        train, valid = set_aside(frames, min(max(1, len(frames) // VALID), MOST))
        say(f"valid: {len(valid)} of {len(frames)} training configurations set aside (seed 0), no --valid was given")
    isolated = open_structures(files["isolated"]) if "isolated" in files else ()
    test = open_structures(files["test"])
    for name, given in (("training", train), ("test", test)):
        if missing := [label for label in ("energy", "forces") if label not in given[0]]:
            raise InputError(
                f"potential: the {name} data have no {missing[0]}; the first configuration holds {sorted(given[0])}"
            )
    return assemble(request, train, valid, {"test": test}, isolated=isolated)


def stand_in(request: Request, tests: Mapping[str, int]) -> Data:
    """Clusters labelled by a formula, for size smoke without files; one set for each of ``tests`` and its seed."""
    say("no files were given: clusters labelled by a formula stand in at size smoke")
    sets = {name: clusters(6, 5, seed=seed) for name, seed in tests.items()}
    return assemble(request, clusters(12, 5, seed=0), clusters(4, 5, seed=99), sets)


def set_aside(frames: Sequence[Frame], count: int, *, seed: int = 0) -> tuple[Sequence[Frame], Sequence[Frame]]:
    """All but ``count`` frames, and these, drawn by ``seed``; InputError if nothing would be left."""
    if len(frames) <= count:
        raise InputError(f"{len(frames)} configurations are too few to set {count} aside")
    order = torch.randperm(len(frames), generator=torch.Generator().manual_seed(seed)).tolist()
    if isinstance(frames, Store):
        return frames.take(order[:-count]), frames.take(order[-count:])
    return [frames[i] for i in order[:-count]], [frames[i] for i in order[-count:]]


def assemble(
    request: Request,
    train: Sequence[Frame],
    valid: Sequence[Frame],
    tests: Mapping[str, Sequence[Frame]],
    *,
    isolated: Sequence[Frame] = (),
    cutoff: float = CUTOFF,
    few: int = 6,
) -> Data:
    """Data of a potential: :class:`Structures` to train, validate and test on, statistics, an audited structure.

    ``tests`` are named; at size ``smoke`` all sets are cut to ``few``. What is used and why is said on stderr.
    """
    r_max = request.option("cutoff", cutoff)
    if request.size == "smoke":
        train, valid, tests = train[: 2 * few], valid[:few], {name: frames[:few] for name, frames in tests.items()}
    data = dataset_of(train, r_max)
    if "energy" not in data.labels:
        raise InputError(f"training data have no energies; the first configuration holds {sorted(train[0])}")
    found = statistics(data, isolated)
    say(f"train: {describe(train)}; cutoff {r_max:g} A")
    say(f"statistics: {found}")
    for name, frames in {"train": train, "valid": valid, **tests}.items():
        for warning in warnings_of(frames):
            say(f"warning: {name}: {warning}")
        if strange := sorted(set(elements_of(frames)) - {*found.elements, *request.elements}):
            raise InputError(
                f"{name}: {names(strange)} cannot be predicted, training data hold {names(found.elements)} only; train on "
                "configurations with them, or leave these out"
            )
    labels = data.labels
    info = {"scale": request.size, "r_max": r_max, "statistics": found, "labels": labels}
    sets = {name: dataset_of(frames, r_max, labels=shared(labels, frames)) for name, frames in tests.items()}
    audit = join([sample_without_labels(next(iter(sets.values()))[0])])
    return Data(data, sets, audit=audit, valid=dataset_of(valid, r_max, labels=labels), info=info)


def shared(labels: Sequence[str], frames: Sequence[Frame]) -> list[str]:
    """Those labels that a set has too."""
    return [label for label in labels if label in frames[0]]


def sample_without_labels(sample: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What a potential takes, in float64; a molecule gets a wide cell, so that one contract serves all."""
    sample = {"cell": 100 * torch.eye(3), **sample}
    return {
        name: value.double() if value.is_floating_point() else value for name, value in sample.items() if name not in LABELS
    }


def say(text: str) -> None:
    """On stderr: results go to stdout."""
    print(text, file=sys.stderr, flush=True)


#: the symmetry of the problem: motions of structures, exchanges of atoms
contracts = tuple(Contract(group, graph_inputs(range(1, 119)), OUTPUTS) for group in (E(3), S("N")))


# ---------------------------------------------------------------------- models


def built(
    kind: Callable[..., Any], sizes: Mapping[str, Mapping[str, Any]], data: Data, *, counts: bool = True, **fixed: Any
) -> Any:
    """A potential sized for the request, with the statistics of the training set; ``counts``: it divides by neighbors."""
    found: Statistics = data.info["statistics"]
    around = {"neighbors": round(found.neighbors, 4)} if counts else {}
    return kind(
        found.elements, data.info["r_max"], references=[energy for _, energy in found.references.energies], scale=found.scale,
        shift=found.shift, **around, **sizes[data.info["scale"]], **fixed,
    )  # fmt: skip


mace, nequip, facet, equiformer, tdn = (
    partial(built, kind, sizes)
    for kind, sizes in ((MACE, MACES), (NequIP, NEQUIPS), (Facet, FACETS), (EquiformerV3, EQUIFORMERS), (TDN, TDNS))
)
gaunt_mace, direct_equiformer = partial(mace, product="gaunt"), partial(equiformer, forces="direct")
ponita, transip = (partial(built, kind, sizes, counts=False) for kind, sizes in ((PONITA, PONITAS), (TransIP, TRANSIPS)))


# ---------------------------------------------------------------------- rows

methods = (
    Method("NequIP", nequip, axes={"messages": "pairs", "features": "l <= 2"}, source="batzner2022",
           note="Three gated convolutions: the first of its kind."),
    Method("MACE", mace, axes={"messages": "four bodies", "features": "l <= 1"}, source="batatia2022",
           note="Two layers of many-body messages."),
)  # fmt: skip
standard = EnergyForces(100.0, 100.0, shape="l2")
slower = (Stage(recipe={"lr": 5e-3, "optimizer": "adamw", "schedule": "one-cycle", "weight_decay": 1e-4}),)
learned = (Stage(LatentEquivariance(standard, 0.3), {**dict(slower[0].recipe), "lr": 2e-3}),)
every = (
    *methods,
    Method("Facet", facet, slower, axes={"messages": "pairs", "features": "l <= 2"}, source="miklaucic2025",
           note="Splines for radial networks, an MLP on the sphere for nodes: approximately equivariant."),
    Method("EquiformerV3", equiformer, slower, axes={"messages": "attention", "features": "l <= 2"}, source="liao2026",
           note="Attention in the frames of edges, products on the sphere."),
    Method("TDN", tdn, slower, axes={"messages": "attention", "features": "l <= 1"}, source="lin2025",
           note="A factorized product of rank seven, exact in its gauge."),
    Method("MACE (Gaunt)", gaunt_mace, axes={"messages": "four bodies", "features": "l <= 1"}, source="luo2024",
           note="The same layers, with powers of functions on the sphere for many-body messages."),
    Method("PONITA", ponita, slower, axes={"messages": "pairs", "features": "12 orientations"}, source="bekkers2024",
           note="Convolutions on a grid of orientations: exact for the icosahedron's motions, approximate for others."),
    Method("EquiformerV3 (direct)", direct_equiformer, slower, axes={"messages": "attention", "features": "l <= 2"},
           source="liao2026", note="Forces by a head of their own: cheaper, and not conservative."),
    Method("TransIP", transip, learned, axes={"messages": "attention", "features": "learned"}, source="elhag2025",
           note="A plain transformer that is taught rotations; direct forces, molecules only."),
)  # fmt: skip

#: large steps with a slow end; what is judged is the moving average
base = Recipe(epochs=150, batch=10, lr=2e-2, optimizer="amsgrad", schedule="cosine", weight_decay=5e-7, clip=10.0, ema=0.99)
recipe = {
    "smoke": Recipe(epochs=2, batch=4, lr=5e-3, weight_decay=0.0, clip=10.0, ema=0.9),
    "cpu": base,
    "full": replace(base, epochs=1000, lr=1e-2, ema=0.999),
}

task = Task(
    contracts=contracts,
    data=own_data,
    objective=standard,
    metrics=metrics(["test"], per_atom=True, trust=True),
    methods=every,
    recipe=recipe,
    lower_is_better=True,
    options=("cutoff",),
)
