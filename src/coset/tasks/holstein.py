"""Forces of electrons on a lattice, learned from 16 configurations: what its symmetries and that of half filling save.

Contracts: D(4) about the center, all shifts of the torus, and the change of sign of the distortions, under which the forces of
the half-filled Holstein model are odd. Labels come from exact diagonalization (:mod:`coset.data.holstein`), and so does the
judge of the last metric, a quench on a lattice four times as large. Fan & Chern, 2026, arXiv 2601.04104, without published
figures. ``--set samples=4`` trains on four configurations.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from coset.audits.coarsening import Coarsening, coarsening, growth_deviation
from coset.contract import Contract, evaluating, frozen
from coset.data.holstein import BATH, MODEL, holstein, quench
from coset.groups.finite import D
from coset.models.atoms.lattice import LatticeForceField
from coset.nn.lattice_conv import lattice_field
from coset.objectives.supervised import Supervised
from coset.reps.action import Scalar
from coset.reps.lattice import Shifts, SignChange
from coset.symmetrizers.augment import Augmented
from coset.task import Data, Method, Recipe, Stage, Task, fit
from coset.train.full_batch import full_batch

FIELD = lattice_field(Scalar())
points, shifts, half_filling = (Contract(group, FIELD, FIELD) for group in (D(4), Shifts(), SignChange()))
base = Supervised("mse")
CHANNELS = 6  #: of D(4): 7957 parameters
EQUAL, WIDE = 17, 48  #: of the plain network: 8314 parameters, and eight times as many as D(4)


def network(data: Data, *, group: str = "D(4)", channels: int = CHANNELS, odd: bool = False, energy: bool = False) -> nn.Module:
    """The network of every row, as deep as the data's lattices allow."""
    return LatticeForceField(
        group=group,
        channels=channels,
        depth=data.info["depth"],
        half_filling_z2=odd,
        conservative=energy,
        scale=MODEL.amplitude,
    )


def train(model: Any, objective: Any, data: Data, recipe: Recipe, run: Any = None) -> Any:
    """Whole batches without Lightning where the configurations fit into one, else the default loop."""
    count = min(filter(None, [recipe.samples, len(data.train["x"])]))
    return (full_batch if count <= recipe.batch else fit)(model, objective, data, recipe, run)


def forces(model: Any, x: Tensor, *, batch: int = 16) -> Tensor:
    """Electronic forces in eval mode."""
    with evaluating(model), frozen(model):
        return torch.cat([model(part).detach() for part in x.split(batch)])


def error(model: Any, data: Data) -> float:
    """Root mean square error of the electronic forces, relative to their root mean square."""
    y = data.test["y"]
    return float((forces(model, data.test["x"]) - y).norm() / y.norm())


def oddness(model: Any, data: Data) -> float:
    """``|f(-q) + f(q)| / 2 |f(q)|`` of the forces on test configurations."""
    one, other = forces(model, data.test["x"]), forces(model, -data.test["x"])
    return float((one + other).norm() / (2 * one.norm()))


def quenched(model: Any, data: Data) -> dict[str, Tensor]:
    """The judge's quench by the model's forces, in its precision."""
    kind = next(model.parameters()).dtype
    with evaluating(model), frozen(model):
        return quench(model, data.test["quench"].to(kind), len(data.test["order"]) - 1)


def deviation(model: Any, data: Data) -> float:
    """Largest difference of the order parameter from that by exact forces, percent of it, over the quench."""
    return 100 * growth_deviation(quenched(model, data)["order"], data.test["order"])


def growth(model: Any, data: Data) -> Coarsening:
    """The curves behind the deviation."""
    return coarsening(
        quenched(model, data), {name: data.test[name] for name in ("order", "domain", "phi")}, BATH.dt, title="Quench"
    )


stages = (Stage(loop=train),)
methods = (
    Method("plain", partial(network, group="C(1)", channels=EQUAL), stages, axes={"symmetry": "shifts"},
           note="A periodic CNN of as many parameters: it learns the eight orientations one by one."),
    Method("plain, augmented", partial(network, group="C(1)", channels=EQUAL), (Stage(Augmented(base, points), loop=train),),
           axes={"symmetry": "shifts, D4 by augmentation"},
           note="Every step turns every configuration: in 500 steps of whole batches as accurate as D4, and never exact."),
    Method("plain, 8x wider", partial(network, group="C(1)", channels=WIDE), stages, axes={"symmetry": "shifts"},
           note="The maps of D4 without its ties, eight times the parameters: no better at 16 configurations."),
    Method("D4", network, stages, axes={"symmetry": "p4m"}, source="fan2026", note="All of the lattice's symmetries."),
    Method("D4 x Z2", partial(network, odd=True), stages, axes={"symmetry": "p4m x Z2"}, source="fan2026",
           note="And that of half filling: every configuration counts twice."),
    Method("conservative D4", partial(network, energy=True), stages, axes={"symmetry": "p4m, energy"},
           note="Forces as the gradient of local energies: free of curl, at the price of a derivative within the derivative."),
)  # fmt: skip

task = Task(
    contracts=(points, shifts, half_filling),
    data=holstein,
    objective=base,
    metrics={"relative_rmse": error, "oddness_error": oddness, "quench_percent": deviation},
    methods=methods,
    recipe={
        "smoke": Recipe(epochs=2, batch=64, lr=1e-3, optimizer="adam", schedule="cosine", weight_decay=0.0),
        "cpu": Recipe(epochs=500, batch=64, lr=5e-3, optimizer="adam", schedule="cosine", weight_decay=0.0),
        "full": Recipe(epochs=100, batch=16, lr=1e-3, optimizer="adam", schedule="cosine", weight_decay=0.0),
    },
    findings={"growth": growth},
    lower_is_better=True,
)
