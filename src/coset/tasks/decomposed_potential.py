"""Clusters under a Stillinger-Weber formula: products of irreps by decompositions of falling rank, against all of their paths.

Contracts: SE(3) and permutations of atoms. Clusters of 8 atoms of two species, 200 to train on and 200 to test; forces are
exact derivatives of the formula (:mod:`coset.data.stillinger`). All rows are :class:`~coset.models.atoms.tdn.TDN` with degrees
up to 2 and equal channels; at rank 32 the products of this degree are exact to 1e-5, at rank 20 to a tenth. ``--data train=FILE
--data test=FILE`` takes structures of one's own. Without published figures for this setting.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from coset.contract import Contract
from coset.data.stillinger import clusters
from coset.groups.euclidean import SE
from coset.groups.permutation import S
from coset.interop.potential_metrics import metrics
from coset.models.atoms.tdn import TDN
from coset.nn.potential import OUTPUTS, graph_inputs
from coset.objectives.energy_forces import EnergyForces
from coset.task import Data, Method, Recipe, Request, Task
from coset.tasks import potential
from coset.tasks.crystals import equivariance_error

CUTOFF = 4.5  #: angstrom; the formula ends at 4.07
ATOMS = 8
COUNTS = {"smoke": (12, 6, 6), "cpu": (200, 40, 200), "full": (2000, 200, 1000)}  #: training, validation and test clusters
NETWORKS: dict[str, dict[str, Any]] = {
    "smoke": {"channels": 4, "layers": 1, "heads": 2, "alpha": 4, "basis": 8, "radial": 8, "feedforward": 8},
    "cpu": {"channels": 16, "layers": 2, "heads": 4, "feedforward": 32},
    "full": {"channels": 64, "layers": 4, "heads": 4, "basis": 128, "radial": 64, "feedforward": 128},
}
sides = {**graph_inputs(range(1, 119))}, {name: OUTPUTS[name] for name in ("energy", "forces")}


def data(request: Request) -> Data:
    """Generated clusters, or the user's files."""
    if request.files:
        found = potential.own_data(request)
    else:
        count = 5 if request.size == "smoke" else ATOMS
        sets = [clusters(n, count, seed=3 * request.seed + place) for place, n in enumerate(COUNTS[request.size])]
        found = potential.assemble(request, sets[0], sets[1], {"test": sets[2]}, cutoff=CUTOFF)
    return replace(found, info={**found.info, "mirrors": False})


def tdn(data: Data, **options: Any) -> TDN:
    """A network sized for the request, with the statistics of the training set."""
    return potential.built(partial(TDN, lmax=2, **options), NETWORKS, data)


methods = (
    Method("all paths", partial(tdn, rank=None), axes={"product": "all paths"}, source="lin2025",
           note="The product that decompositions approximate, path by path and exact."),
    Method("rank 32", partial(tdn, rank=32), axes={"product": "rank 32"}, source="lin2025",
           note="As many outer products as the tensor needs, to 1e-5."),
    Method("rank 28", partial(tdn, rank=28), axes={"product": "rank 28"}, source="lin2025",
           note="The published schedule, 7 L^2."),
    Method("rank 20", partial(tdn, rank=20), axes={"product": "rank 20"}, source="lin2025",
           note="A tenth of the tensor is missing, and with it the symmetry; training pays for it in part."),
    Method("rank 32, direct forces", partial(tdn, rank=32, forces="direct"),
           axes={"product": "rank 32", "forces": "direct"}, source="lin2025",
           note="A head for forces: no derivative to take, and no energy that they are the gradient of."),
)  # fmt: skip

recipe = {
    "smoke": Recipe(epochs=2, batch=4, lr=3e-3, weight_decay=0.0, clip=10.0, ema=0.9),
    "cpu": Recipe(epochs=30, batch=10, lr=5e-3, weight_decay=1e-4, clip=10.0, ema=0.99),
    "full": Recipe(epochs=200, batch=16, lr=2e-3, weight_decay=1e-4, clip=10.0, ema=0.999),
}

task = Task(
    contracts=tuple(Contract(group, *sides) for group in (SE(3), S("N"))),
    data=data,
    objective=EnergyForces(10.0, 1.0, shape="huber", delta=0.01),
    metrics={**metrics(["test"], per_atom=True), "equivariance_error": equivariance_error},
    methods=methods,
    recipe=recipe,
    lower_is_better=True,
    options=("cutoff",),
)
