"""Products of irreps through a decomposition of rank R: cheaper than all paths, equivariant as far as the fit goes.

All Clebsch-Gordan paths of degrees up to L with equal weight are one tensor ``T[i, j, k]`` of side ``d = (L+1)^2``. With
``T ~ sum_r A[i, r] B[j, r] C[k, r]`` (:mod:`coset.ops.cp`) the product is

    z[k] = sum_r C[k, r] (sum_i A[i, r] x[i]) (sum_j B[j, r] y[j]),     O(R d) per channel instead of O(L^6)

Lin et al., Tensor Decomposition Networks, NeurIPS 2025, arXiv 2507.01131. The factors are fitted once and kept.

**Certified error.** ``error = |CP - T| / |T|`` (Frobenius) is measured in float64 and travels with the factors. The product is
linear in the tensor, so its root mean square deviation from an equivariant one is at most about twice that, which is what
:meth:`Decomposition.contract` promises.

**Gauge.** Signs and sizes of the path blocks are conventions for a product of all paths, but the rank that they need depends on
them. ``"norm"``: every block has norm 1 (the published choice). ``"unit"``: its largest entry is 1, so that for L = 1 the
product is ``(a, u) x (b, v) -> (a b + u . v, a v + b u + u x v)``, which has rank 7 exactly. ``"fitted"``: one scale per path
is fitted together with the factors. The scales are part of what the layer computes and are stored with it.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from coset.contract import Contract
from coset.errors import ContractError, InputError
from coset.groups.orthogonal import SO
from coset.ops.cp import CP, cp_als
from coset.records import load_arrays, write_atomically
from coset.reps.clebsch_gordan import wigner_3j
from coset.reps.fields import Field
from coset.reps.irreps import Irreps

Gauge = Literal["norm", "unit", "fitted"]
Mode = Literal["uvu", "uvw", "uvv", "uuw", "uuu"]
MODES: tuple[Mode, ...] = ("uvu", "uvw", "uvv", "uuw", "uuu")
EXACT = 1e-12  #: a relative error below this is rounding
COUPLING = "all paths, real 3j of unit norm, polar axis y"  #: what the stored factors decompose


def coupling(lmax: int) -> tuple[Tensor, Tensor, tuple[tuple[int, int, int], ...]]:
    """All paths of degrees up to ``lmax``: the sum of their unit-norm blocks ``(d, d, d)``, every entry's path, the paths."""
    if lmax < 0:
        raise InputError(f"coupling: degrees start at 0, got lmax {lmax}")
    degrees = range(lmax + 1)
    paths = tuple((a, b, c) for a in degrees for b in degrees for c in range(abs(a - b), min(a + b, lmax) + 1))
    side = (lmax + 1) ** 2
    tensor = torch.zeros(side, side, side, dtype=torch.float64)
    labels = torch.zeros(side, side, side, dtype=torch.int64)
    for place, path in enumerate(paths):
        block = tuple(slice(degree**2, (degree + 1) ** 2) for degree in path)
        tensor[block], labels[block] = wigner_3j(*path), place
    return tensor, labels, paths


def rank_schedule(lmax: int, schedule: Literal["linear", "quadratic", "log", "full"] = "quadratic") -> int:
    """The published ranks: ``7 L``, ``7 L^2``, ``16 floor(ln (L+1)^2)``, and ``(L+1)^4``, which is always exact."""
    most = (lmax + 1) ** 4
    logarithm = 16 * int(np.log((lmax + 1) ** 2))
    ranks = {"linear": 7 * lmax, "quadratic": 7 * lmax**2, "log": logarithm, "full": most}
    if schedule not in ranks:
        raise InputError(f"rank_schedule: one of {', '.join(ranks)}, got {schedule!r}")
    return min(max(ranks[schedule], 1), most)


@dataclass(frozen=True)
class Request:
    """What is decomposed and how it is fitted: the key of the cache. ``scales`` sets the gauge path by path."""

    lmax: int
    rank: int
    gauge: Gauge = "unit"
    scales: tuple[float, ...] = ()
    starts: int = 6
    sweeps: int = 800
    seed: int = 0

    def __post_init__(self) -> None:
        most = (self.lmax + 1) ** 4
        if not 1 <= self.rank <= most:
            raise InputError(f"decompose: for lmax {self.lmax} the rank lies in 1..{most}, got {self.rank}")
        if self.gauge not in ("norm", "unit", "fitted"):
            raise InputError(f"decompose: gauge is 'norm', 'unit' or 'fitted', got {self.gauge!r}")
        if self.scales and len(self.scales) != (paths := len(coupling(self.lmax)[2])):
            raise InputError(f"decompose: lmax {self.lmax} has {paths} paths, got {len(self.scales)} scales")

    def text(self) -> str:
        """One line of JSON."""
        return json.dumps({"coupling": COUPLING, **self.__dict__}, sort_keys=True)


@dataclass(frozen=True, eq=False)
class Decomposition:
    """Factors of the coupling of all paths; ``scales`` relative to unit-norm blocks, in the order of :func:`coupling`."""

    request: Request
    factors: tuple[Tensor, Tensor, Tensor]
    scales: tuple[float, ...]
    error: float

    @property
    def exact(self) -> bool:
        """Whether the product is equivariant to rounding."""
        return self.error < EXACT

    def tensor(self) -> Tensor:
        """The equivariant tensor ``(d, d, d)`` that the factors approximate."""
        dense, labels, _ = coupling(self.request.lmax)
        return dense * torch.tensor(self.scales, dtype=torch.float64)[labels]

    def contract(self, claim: Literal["exact", "approximate"] = "approximate", *, channels: int = 1) -> Contract:
        """SO(3) on ``x`` (``channels`` of every degree) and ``y`` (one), flat features; the bound is twice the error.

        ContractError for an exact claim that the factors do not keep.
        """
        x, y = (Irreps([(mul, degree) for degree in range(self.request.lmax + 1)], SO(3)) for mul in (channels, 1))
        inputs, outputs = {"x": Field(("N",), x), "y": Field(("N",), y)}, Field(("N",), x)
        if claim == "exact" or self.exact:
            if not self.exact:
                raise ContractError(
                    f"a decomposition of rank {self.request.rank} for lmax {self.request.lmax} has error {self.error:.1e}: its "
                    f"claim is 'approximate'; exact at rank {rank_schedule(self.request.lmax, 'full')}"
                )
            return Contract(SO(3), inputs, outputs)
        return Contract(SO(3), inputs, outputs, "approximate", 2 * self.error)

    def save(self, path: str | Path) -> None:
        """Factors, scales, error and the request in one ``.npz``, written whole or not at all."""
        stream = io.BytesIO()
        arrays = {name: factor.numpy() for name, factor in zip("ABC", self.factors, strict=True)}
        np.savez(stream, request=self.request.text(), scales=np.array(self.scales), error=self.error, **arrays)  # type: ignore[arg-type]
        write_atomically(path, stream.getvalue())

    @staticmethod
    def load(path: str | Path, request: Request) -> Decomposition:
        """The factors in a file. InputError if they were made for another request, or do not have the error they state."""
        stored = load_arrays(path)
        try:
            text, error = str(stored["request"]), float(stored["error"])
            factors = tuple(torch.from_numpy(stored[name]) for name in "ABC")
            scales = tuple(stored["scales"].tolist())
        except (KeyError, TypeError, ValueError) as wrong:
            raise InputError(f"{path} holds no factors of this library ({wrong}); delete it") from wrong
        if text != request.text():
            raise InputError(f"{path}: holds factors for {text}, asked for {request.text()}; name another file or fit again")
        found = Decomposition(request, (factors[0], factors[1], factors[2]), scales, error)
        size = found.tensor().shape
        if [tuple(factor.shape[:-1]) for factor in factors] != [(n,) for n in size] or len({f.shape[-1] for f in factors}) > 1:
            shapes = [tuple(factor.shape) for factor in factors]
            raise InputError(f"{path}: factors of shapes {shapes} are none of a tensor {tuple(size)}: delete the file")
        measured = _error(found.factors, found.tensor())
        if not abs(measured - error) <= 1e-9 + 1e-6 * error:
            raise InputError(f"{path}: states the error {error:.3e}, measured {measured:.3e}: the file is damaged, delete it")
        return found


def _error(factors: Sequence[Tensor], tensor: Tensor) -> float:
    a, b, c = factors
    return float((torch.einsum("ir,jr,kr->ijk", a, b, c) - tensor).norm() / tensor.norm())


def decompose(request: Request, *, cache: str | Path | None = None) -> Decomposition:
    """The best of several fits, read from ``cache`` (a folder) where the same request was fitted before.

    Without a folder the result is kept for this process only. Seconds for ``lmax <= 3``.
    """
    if cache is None:
        return _decompose(request)
    path = Path(cache) / f"cp-{hashlib.sha256(request.text().encode()).hexdigest()[:24]}.npz"
    if path.is_file():
        return Decomposition.load(path, request)
    found = _decompose(request)
    found.save(path)
    return found


@lru_cache(maxsize=64)
def _decompose(request: Request) -> Decomposition:
    tensor, labels, paths = coupling(request.lmax)
    scales = torch.tensor(request.scales or [1.0] * len(paths), dtype=torch.float64)
    if request.gauge == "unit" and not request.scales:
        largest = torch.zeros(len(paths), dtype=torch.float64).scatter_reduce(
            0, labels.flatten(), tensor.abs().flatten(), "amax"
        )
        scales = 1 / largest
    fitting = {"starts": request.starts, "sweeps": request.sweeps, "seed": request.seed}
    blocks = labels if request.gauge == "fitted" else None
    found: CP = cp_als(tensor * scales[labels], request.rank, blocks=blocks, **fitting)
    scales = scales * found.scales if blocks is not None else scales
    a, b, c = found.factors
    return Decomposition(request, (a, b, c), tuple(scales.tolist()), found.error)


# ------------------------------------------------------------------------------------------------ products


def cp_product(x: Tensor, y: Tensor, factors: Sequence[Tensor], mode: Mode = "uvu", weight: Tensor | None = None) -> Tensor:
    """``x`` ``(..., d, U)`` times ``y`` ``(..., d, V)`` by factors ``(d, R)``; ``weight`` is shared or has the leading axes of
    x.

    ======  ===================  =============================================
    mode    weight               out, with ``a = A^T x``, ``b = B^T y``
    ======  ===================  =============================================
    uvu     (U, V); none if V=1  ``C sum_v w_uv a_u b_v``, U channels
    uvv     (U, V); none if U=1  ``C sum_u w_uv a_u b_v``, V channels
    uvw     (U, V, W)            ``C sum_uv w_uvw a_u b_v``, W channels
    uuw     (U, W)               ``C sum_u w_uw a_u b_u``, W channels
    uuu     (U) or none          ``C w_u a_u b_u``, U channels
    ======  ===================  =============================================

    The sums run in this order and never form the dense tensor. InputError for shapes that do not fit.
    """
    a_in, b_in, c_out = (factor.to(x) for factor in factors)
    _check_product(x, y, (a_in, b_in), mode, weight)
    a, b = a_in.mT @ x, b_in.mT @ y  # (..., R, U), (..., R, V)
    if mode == "uvu":
        h = a * (b if weight is None else b @ weight.mT)
    elif mode == "uvv":
        h = b * (a if weight is None else a @ weight)
    elif mode == "uuu":
        h = a * b if weight is None else a * b * weight.unsqueeze(-2)
    elif weight is None:
        raise InputError(f"cp_product: mode {mode!r} mixes channels and needs a weight")
    elif mode == "uuw":
        h = (a * b) @ weight
    else:
        mixed = (a @ weight.flatten(-2)).unflatten(-1, weight.shape[-2:])  # (..., R, V, W)
        h = (mixed * b.unsqueeze(-1)).sum(-2)
    return c_out @ h


def _check_product(x: Tensor, y: Tensor, factors: tuple[Tensor, Tensor], mode: Mode, weight: Tensor | None) -> None:
    if mode not in MODES:
        raise InputError(f"cp_product: mode is one of {', '.join(MODES)}, got {mode!r}")
    for name, value, factor in zip(("x", "y"), (x, y), factors, strict=True):
        if value.ndim < 2 or value.shape[-2] != len(factor):
            raise InputError(f"cp_product: {name} is (..., {len(factor)}, channels), got {tuple(value.shape)}")
    u, v = x.shape[-1], y.shape[-1]
    if mode in ("uuw", "uuu") and u != v:
        raise InputError(f"cp_product: mode {mode!r} pairs equal channels, x has {u} and y has {v}")
    if weight is None:
        if (mode == "uvu" and v != 1) or (mode == "uvv" and u != 1):
            raise InputError(f"cp_product: mode {mode!r} of {u} and {v} channels needs a weight (..., {u}, {v})")
        return
    want = {"uvu": (u, v), "uvv": (u, v), "uvw": (u, v), "uuw": (u,), "uuu": (u,)}[mode]
    extra = mode in ("uvw", "uuw")
    got = tuple(weight.shape[-len(want) - extra : weight.ndim - extra])
    if got != want or weight.ndim < len(want) + extra:
        shape = (*want, "W") if extra else want
        raise InputError(
            f"cp_product: the weight of mode {mode!r} is (..., {', '.join(map(str, shape))}), got {tuple(weight.shape)}"
        )
