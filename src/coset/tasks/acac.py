"""Acetylacetone, trained at 300 K and tested at 300 and 600 K: who extrapolates, and at what price per minute.

    coset compare acac --data acac=FOLDER

Contracts: E(3) and permutations of atoms, exact. 450 configurations train, 50 validate (seed 0), both test files are used.
Data and split: Batatia et al., arXiv 2205.06643; see :mod:`coset.data.atomic_sets`. Other rows, metrics and options as in
:mod:`coset.tasks.potential`.
"""

from __future__ import annotations

from dataclasses import replace

from coset.data.atomic_sets import folder_of, frames_in
from coset.interop.potential_metrics import metrics
from coset.task import Data, Request
from coset.tasks import potential

WHERE = "github.com/davkovacs/BOTNet-datasets (dataset_acac)"
TESTS = {"300K": "test_MD_300K", "600K": "test_MD_600K"}


def acac(request: Request) -> Data:
    """The published split; see the module."""
    if request.size == "smoke" and not request.files:
        return potential.stand_in(request, {name: seed for seed, name in enumerate(TESTS, 1)})
    folder = folder_of(request, "acac", WHERE)
    train, valid = potential.set_aside(frames_in(folder, "train_300K"), 50)
    tests = {name: frames_in(folder, stem) for name, stem in TESTS.items()}
    return potential.assemble(request, train, valid, tests, isolated=frames_in(folder, "isolated_atoms"))


task = replace(
    potential.task,
    data=acac,
    metrics=metrics(list(TESTS), trust=True),
)
