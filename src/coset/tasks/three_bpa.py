"""3BPA, a flexible drug-like molecule of 27 atoms at 300 K: potentials where dihedral angles matter.

    coset compare three_bpa --data three_bpa=FOLDER

Contracts: E(3) and permutations of atoms, exact. Where the folder holds the published test files (``test_300K``, ``test_600K``,
``test_1200K``) the first of these is used; else 400 of the 500 training configurations train, 50 validate and 50 test (seed 0).
Data: Kovacs et al., J. Chem. Theory Comput. 17 (2021), in BOTNet-datasets (dataset_3BPA). Rows and metrics as in
:mod:`coset.tasks.potential`.
"""

from __future__ import annotations

from dataclasses import replace

from coset.data.atomic_sets import folder_of, frames_in
from coset.interop.potential_metrics import metrics
from coset.task import Data, Request
from coset.tasks import potential

WHERE = "github.com/davkovacs/BOTNet-datasets (dataset_3BPA)"


def three_bpa(request: Request) -> Data:
    """See the module."""
    if request.size == "smoke" and not request.files:
        return potential.stand_in(request, {"test": 1})
    folder = folder_of(request, "three_bpa", WHERE)
    rest, valid = potential.set_aside(frames_in(folder, "train_300K"), 50)
    published = any(folder.glob("test_300K.*"))
    train, test = (rest, frames_in(folder, "test_300K")) if published else potential.set_aside(rest, 50)
    return potential.assemble(request, train, valid, {"test": test}, isolated=frames_in(folder, "iso_atoms"))


task = replace(potential.task, methods=potential.methods, data=three_bpa, metrics=metrics(["test"]))
