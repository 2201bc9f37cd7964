"""Crystals under a Stillinger-Weber formula: what splines for radial networks, and an MLP on the sphere, change in Facet.

Contracts: E(3) and permutations of atoms. Cells of 2 to 8 atoms of two species, 300 to train on and 200 to test; energies,
forces and stresses are exact derivatives of the formula (:mod:`coset.data.stillinger`). All rows are
:class:`~coset.models.atoms.facet.Facet`, the two node updates at equal numbers of parameters. ``--data train=FILE --data
test=FILE`` takes crystals of one's own, as :mod:`coset.tasks.potential` does. Without published figures for this setting.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from coset.audits.precision import at_dtype
from coset.contract import evaluating, frozen
from coset.data.stillinger import crystals
from coset.data.structures import join
from coset.groups.orthogonal import O
from coset.interop.potential_metrics import metrics, stress_error
from coset.models.atoms.facet import SIZES, Facet
from coset.objectives.energy_forces import EnergyForces
from coset.task import Data, Method, Recipe, Request, Task
from coset.tasks import potential

CUTOFF = 4.2  #: angstrom; the formula ends at 4.07
COUNTS = {"smoke": (12, 6, 6), "cpu": (300, 40, 200), "full": (3000, 300, 1000)}  #: training, validation and test crystals
FACETS: dict[str, dict[str, Any]] = {
    "smoke": {"hidden": "4x0e+4x1o+4x2e", "layers": 1, "last": 4, "network": (8,), "width": 4, "grid": (6, 6)},
    "cpu": {"hidden": "16x0e+16x1o+16x2e", "layers": 2, "last": 16, "width": 8},
    "full": SIZES["small"],
}
SAMPLES = 8  #: test structures that are turned, each by so many elements


class Labelled:
    """Energy, forces and, where the batch has it, stress."""

    def __init__(self) -> None:
        # errors of about 10 meV and more count linearly: the published loss saturates, squares follow the worst structure
        self.whole = EnergyForces(10.0, 1.0, 1.0, shape="huber", delta=0.01)
        self.without = EnergyForces(10.0, 1.0, shape="huber", delta=0.01)

    def denominators(self, batch: Mapping[str, Tensor]) -> dict[str, int]:
        """Of either loss."""
        return self.whole.denominators(batch)

    def __call__(self, model: Any, batch: Mapping[str, Tensor], shares: Mapping[str, float] | None = None) -> dict[str, Tensor]:
        return (self.whole if "stress" in batch else self.without)(model, batch, shares)


def data(request: Request) -> Data:
    """Generated crystals, or the user's files."""
    if request.files:
        return potential.own_data(request)
    train, valid, test = (crystals(n, seed=3 * request.seed + place) for place, n in enumerate(COUNTS[request.size]))
    return potential.assemble(request, train, valid, {"test": test}, cutoff=CUTOFF)


def facet(data: Data, **options: Any) -> Facet:
    """A Facet sized for the request, with the statistics of the training set."""
    return potential.built(partial(Facet, **options), FACETS, data)


def turned(model: Any, data: Data) -> tuple[dict[str, Tensor], list[tuple[Tensor, dict[str, Tensor]]]]:
    """Answers to a few test structures, and to them turned: pairs of an orthogonal matrix and what came of it, float64."""
    test, wide = data.test["test"], at_dtype(model, torch.float64)
    sample = join([potential.sample_without_labels(test[i]) for i in range(min(SAMPLES, len(test)))])
    draws = O(3).sample(SAMPLES, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    if not data.info.get("mirrors", True):
        draws = draws * torch.linalg.det(draws).view(-1, 1, 1)
    with evaluating(wide), frozen(wide):
        plain = wide(**sample)
        pairs = [(g, wide(**sample | {"pos": sample["pos"] @ g.T, "cell": sample["cell"] @ g.T})) for g in draws]
    return plain, pairs


def invariance_error(model: Any, data: Data) -> float:
    """Root mean square change of energies under rotations and reflections, meV per atom, in float64."""
    plain, pairs = turned(model, data)
    per_atom = 1000 * len(plain["energy"]) / len(plain["energies"])
    gaps = torch.stack([answer["interaction"] - plain["interaction"] for _, answer in pairs])
    return per_atom * float(gaps.square().mean().sqrt())


def equivariance_error(model: Any, data: Data) -> float:
    """Root mean square over rotations of ``|F(g x) - g F(x)| / |F(x)|``, in float64."""
    plain, pairs = turned(model, data)
    gaps = torch.stack([(answer["forces"] - plain["forces"] @ g.T).norm() for g, answer in pairs])
    return float(gaps.square().mean().sqrt() / plain["forces"].norm())


def stress_mae(model: Any, data: Data) -> float:
    """Mean absolute error of stress components, meV/A^3; NaN for test data without stress."""
    return stress_error(model, data, on="test") if "stress" in data.test["test"].labels else float("nan")


methods = (
    Method("Facet, radial networks, gate", partial(facet, radial="network", update="gate"),
           axes={"radial": "network", "update": "gate"}, source="batzner2022",
           note="A network of Bessel functions at every edge and gated features: NequIP's choices in Facet's frame."),
    Method("Facet, splines, gate", partial(facet, update="gate"), axes={"radial": "spline", "update": "gate"},
           source="miklaucic2025", note="Coefficients of splines learned directly: a look-up and four products."),
    Method("Facet", facet, axes={"radial": "spline", "update": "grid"}, source="miklaucic2025",
           note="An MLP at every point of the sphere: a few parts in a thousand of symmetry for what a gate cannot say."),
    Method("Facet, knots", partial(facet, radial="knots"), axes={"radial": "knots", "update": "grid"}, source="miklaucic2025",
           note="Networks read at the knots of a spline: their smoothness at the cost of a table."),
)  # fmt: skip

recipe = {
    "smoke": Recipe(epochs=2, batch=4, lr=5e-3, weight_decay=0.0, clip=10.0, ema=0.9),
    "cpu": Recipe(epochs=20, batch=10, lr=1e-2, weight_decay=1e-3, clip=10.0, ema=0.99),
    "full": Recipe(epochs=200, batch=32, lr=5e-3, weight_decay=1e-3, clip=0.4, ema=0.999),
}

task = Task(
    contracts=potential.contracts,
    data=data,
    objective=Labelled(),
    metrics={
        **metrics(["test"], per_atom=True),
        "stress_mae_mev_a3": stress_mae,
        "invariance_mev_atom": invariance_error,
    },
    methods=methods,
    recipe=recipe,
    lower_is_better=True,
    options=("cutoff",),
)
