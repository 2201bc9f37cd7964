"""Symmetry in machine learning: measure it, impose it, learn it, compare.

>>> import coset
>>> contract = coset.Contract(coset.SO(3), {"pos": "N x vector"}, "scalar")
>>> contract.factors() == (contract,)
True

The names below are the promised ones. Each is imported when it is first used, so that ``import coset`` costs nothing and
the command line can answer without torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from coset import testing
    from coset.audits.discover import scan
    from coset.audits.equivariance import audit
    from coset.audits.orbits import orbits
    from coset.comparison import compare
    from coset.contract import Contract, attach
    from coset.groups.euclidean import SE, Affine, E, Scale, T
    from coset.groups.finite import C, D, Icosahedral, Octahedral, Tetrahedral
    from coset.groups.matrix import GL, SL, SO, O
    from coset.groups.permutation import S
    from coset.interop.potential_file import load_calculator
    from coset.nn.accelerate import accelerate
    from coset.reps.fields import Field, Fields
    from coset.reps.irreps import Irreps
    from coset.symmetrizers.symmetrize import symmetrize
    from coset.task import Method, Recipe, Stage, Task

__all__ = [
    "GL", "SE", "SL", "SO", "Affine", "C", "Contract", "D", "E", "Field", "Fields", "Icosahedral", "Irreps", "Method", "O",
    "Octahedral", "Recipe", "S", "Scale", "Stage", "T", "Task", "Tetrahedral", "accelerate", "attach", "audit", "compare",
    "load_calculator", "orbits", "scan", "symmetrize", "testing",
]  # fmt: skip

_HOMES = {
    "coset.audits.discover": ("scan",),
    "coset.audits.equivariance": ("audit",),
    "coset.audits.orbits": ("orbits",),
    "coset.comparison": ("compare",),
    "coset.contract": ("Contract", "attach"),
    "coset.groups.euclidean": ("Affine", "E", "SE", "Scale", "T"),
    "coset.groups.finite": ("C", "D", "Icosahedral", "Octahedral", "Tetrahedral"),
    "coset.groups.matrix": ("GL", "O", "SL", "SO"),
    "coset.groups.permutation": ("S",),
    "coset.interop.potential_file": ("load_calculator",),
    "coset.nn.accelerate": ("accelerate",),
    "coset.reps.fields": ("Field", "Fields"),
    "coset.reps.irreps": ("Irreps",),
    "coset.symmetrizers.symmetrize": ("symmetrize",),
    "coset.task": ("Method", "Recipe", "Stage", "Task"),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("coset")
    if name == "testing":
        return import_module("coset.testing")
    if name not in _HOME:
        raise AttributeError(f"module 'coset' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOME[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})
