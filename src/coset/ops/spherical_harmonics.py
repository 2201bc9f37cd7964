"""Spherical harmonics of vectors, with derivatives of any order, on four backends that agree.

    Y_l(v)  for normalize=True:  a function of the direction v / |v|;   for normalize=False:  the polynomial r^l Y_l

Basis: polar axis y, ``m = -l..l``, so that degree 1 is (x, y, z) times a constant (the basis of e3nn), and
``Y_l(R v) = D^l(R) Y_l(v)`` with ``D`` of :mod:`coset.reps.wigner`. Formulas: :mod:`coset.ops.solid_harmonics`.

The zero vector has no direction. There, and for vectors shorter than 1e-12 (float32) or 1e-100 (float64), normalized harmonics
of degree above 0 are 0 and all derivatives are 0; degree 0 is its constant as everywhere. Solid harmonics are smooth at zero.

==============  =====================================================================================================
``"cpu"``       generated vector code, compiled on first use (float32 and float64, degrees to 12); keeps only ``v`` for the
                backward pass. Third and higher derivatives use the polynomials below.
``"torch"``     the recursion in plain PyTorch: any device, ``torch.func``; half precision is computed in float32
``"reference"`` explicit sums in float64: the oracle
``"auto"``      ``"cpu"`` where it runs, else ``"torch"``
==============  =====================================================================================================

Autocast does not change them: they are computed in the dtype of the vectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from coset.errors import InputError, unknown
from coset.ops.backends.select import AUTO, Choice, requested
from coset.ops.harmonic_derivatives import KERNEL_LMAX, apply_kernel, explicit, polynomial
from coset.ops.solid_harmonics import NORMALIZATIONS

BACKENDS = ("cpu", "torch", "reference", AUTO)


def spherical_harmonics(
    degrees: int | Sequence[int] | Any,
    vectors: Tensor,
    *,
    normalize: bool = True,
    normalization: str = "component",
    backend: str = AUTO,
) -> Tensor:
    """Harmonics ``(..., sum of 2 l + 1)`` of vectors ``(..., 3)`` in any unit, in their dtype and on their device.

    ``degrees`` is ``lmax`` (0, 1, ..., lmax), a sequence of degrees, kept in its order, or Irreps, whose parities must be those
    of a vector, ``(-1)^l``, or all even (of an axial vector). ``normalization``: ``"component"`` (every harmonic has mean
    square 1 on the unit sphere), ``"integral"`` (its square integrates to 1), ``"norm"`` (the squares of a degree sum to 1).

    InputError for another shape, an integer or complex dtype, a bad degree or parity, and a backend that cannot do it.
    """
    kind = (parse_degrees(degrees), bool(normalize), normalization)
    if normalization not in NORMALIZATIONS:
        raise unknown("normalization", normalization, NORMALIZATIONS)
    if vectors.ndim < 1 or vectors.shape[-1] != 3:
        raise InputError(f"spherical_harmonics: vectors are (..., 3), got {tuple(vectors.shape)}")
    if not vectors.is_floating_point():
        raise InputError(
            f"spherical_harmonics: vectors are real floating-point numbers, got {vectors.dtype}; convert with .float()"
        )
    compute = {"cpu": apply_kernel, "torch": polynomial, "reference": explicit}[choose(kind[0], vectors, backend).backend]
    if vectors.dtype not in (torch.float32, torch.float64):
        return compute(kind, vectors.float()).to(vectors.dtype)
    return compute(kind, vectors)


def parse_degrees(degrees: Any) -> tuple[int, ...]:
    """The degrees that :func:`spherical_harmonics` is asked for, one by one."""
    if type(degrees) is int and degrees >= 0:
        return tuple(range(degrees + 1))
    if isinstance(degrees, int):
        chosen = (degrees,)
    elif hasattr(degrees, "ls"):
        parities = {(ir.l, ir.p) for _, ir in degrees}
        if any(p != (-1) ** l for l, p in parities) and any(p != 1 for _, p in parities):
            raise InputError(f"the harmonics of a vector have parity (-1)^l, those of an axial vector are even; got {degrees}")
        chosen = tuple(degrees.ls)
    else:
        chosen = tuple(degrees)
    if bad := [l for l in chosen if isinstance(l, bool) or not isinstance(l, int) or l < 0]:
        raise InputError(f"a degree of spherical harmonics is a whole number of at least 0, got {bad[0]!r}")
    return chosen


def choose(degrees: tuple[int, ...], vectors: Tensor, backend: str = AUTO) -> Choice:
    """The backend for these vectors and why. InputError if the one that is asked for cannot do it."""
    if backend not in BACKENDS:
        raise unknown("backend", backend, BACKENDS)
    obstacle = _obstacle(degrees, vectors)
    if backend == AUTO and not torch.compiler.is_compiling():
        backend = requested(AUTO)  # what a surrounding `use` says
        backend = backend if backend in BACKENDS else AUTO
    if backend == "cpu" and obstacle:
        raise InputError(f"spherical_harmonics: the cpu kernels cannot do it: {obstacle}; backend='auto' finds one that can")
    if backend != AUTO:
        return Choice(backend, "asked for")
    if obstacle:
        return Choice("torch", f"the cpu kernels cannot do it: {obstacle}")
    return Choice("cpu", "generated kernels for cpu tensors")


def _obstacle(degrees: tuple[int, ...], vectors: Tensor) -> str | None:
    """None, or why the kernels cannot do it."""
    if vectors.device.type != "cpu":
        return f"the vectors are on {vectors.device.type}"
    if vectors.dtype not in (torch.float32, torch.float64):
        return f"the vectors are {vectors.dtype}, not float32 or float64"
    if max(degrees, default=0) > KERNEL_LMAX:
        return f"degree {max(degrees)} is above {KERNEL_LMAX}"
    if not torch.compiler.is_compiling() and torch._C._functorch.peek_interpreter_stack() is not None:
        return "inside torch.func they have no rule"
    return None
