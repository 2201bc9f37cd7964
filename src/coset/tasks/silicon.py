"""Silicon crystals, strained, hot, with vacancies and surfaces: potentials with energies, forces and stresses.

    coset compare silicon --data mlearn=FOLDER

Contracts: E(3) and permutations of atoms, exact. The published split; a tenth of the training configurations validates (seed
0). Data: :mod:`coset.data.mlearn`, which says how its stresses are to be read. The loss weighs stress; rows and other metrics
as in :mod:`coset.tasks.potential`.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from coset.data.atomic_sets import folder_of
from coset.data.mlearn import mlearn_frames
from coset.data.stillinger import crystals
from coset.interop.potential_metrics import metrics
from coset.objectives.energy_forces import EnergyForces
from coset.task import Data, Request, Task
from coset.tasks import potential

WHERE = "github.com/materialsvirtuallab/mlearn (data)"


def elemental(request: Request, element: str) -> Data:
    """One element's configurations; at size ``smoke`` without files crystals labelled by a formula."""
    if request.size == "smoke" and not request.files:
        potential.say("no files were given: crystals labelled by a formula stand in at size smoke")
        train, valid, test = (crystals(n, seed=seed) for seed, n in enumerate((12, 4, 6)))
    else:
        folder = folder_of(request, "mlearn", WHERE)
        frames: Any = mlearn_frames(folder, element, "training")
        train, valid = potential.set_aside(frames, len(frames) // potential.VALID)  # type: ignore[assignment]
        test = mlearn_frames(folder, element, "test")
    return potential.assemble(request, train, valid, {"test": test})


def elemental_task(element: str) -> Task:
    """The comparison for one element."""
    return replace(
        potential.task,
        methods=potential.methods,
        data=partial(elemental, element=element),
        objective=EnergyForces(100.0, 100.0, 100.0, shape="l2"),
        metrics=metrics(["test"], stress=True, per_atom=True),
    )


task = elemental_task("Si")
