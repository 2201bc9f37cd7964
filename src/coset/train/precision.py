"""Why models of atoms are not trained in mixed precision, and the refusal.

bfloat16 keeps 8 bits. Rounded to it, an edge vector of 2 A is wrong by 4 mA, an energy of 1 eV by 2 meV, and a feature that is
rounded component by component is no longer the rotated feature: positions, energies, products and linear maps of irreps are
out. What is left are networks of invariants; with the radial networks of MACE alone in bfloat16, everything else in float32,
forces change by 1 to 3 percent (tests/train/test_precision.py measures it), which is more than the error of a trained
potential, and a step on the CPU is slower. So there is nothing that exactness allows: 32 or 64, and memory is saved by
``accumulate`` and ``edges``, which change nothing. Other models take whatever Lightning does.
"""

from __future__ import annotations

from typing import Any

from coset.errors import InputError
from coset.nn.atom_graph import AtomModel

FULL = ("32", "32-true", "64", "64-true")


def check_precision(model: Any, precision: str) -> None:
    """InputError for a model of atoms and a precision that would round its positions, energies or forces."""
    if isinstance(model, AtomModel) and precision not in FULL:
        raise InputError(
            f"recipe: precision {precision!r} would round positions and energies of {type(model).__name__}, and its forces by "
            "percents; a model of atoms trains in 32 or 64 (accumulate and edges save memory)"
        )
