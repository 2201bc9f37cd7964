"""Germanium crystals, strained, hot, with vacancies and surfaces: potentials with energies, forces and stresses.

    coset compare germanium --data mlearn=FOLDER

Contracts: E(3) and permutations of atoms, exact. As :mod:`coset.tasks.silicon`, with the softer element.
"""

from __future__ import annotations

from coset.tasks.silicon import elemental_task

task = elemental_task("Ge")
