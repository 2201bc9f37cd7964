"""What a tensor product can express: which paths it has, how many free bilinear maps it reaches, and whether it is equivariant.

An equivariant bilinear map ``B: X x Y -> Z`` of irreps is a sum over paths (l1, l2, l3) of Clebsch-Gordan products with one
number each. A fast product reaches fewer of these numbers. Measured, for any callable, ours or foreign:

- *interactability*: does some choice of weights make the block (l1, l2) -> l3 non-zero? Root mean square of the block over
  random weights and inputs, above 1e-6 of the largest.
- *expressivity*: the dimension of the set of bilinear maps that are reached when the product stands between equivariant linear
  layers, ``C B(A x, A' y)``: the rank of ``d vec(B) / d weights`` at random weights (the largest of some draws, singular values
  above 1e-6 of the first). The upper bound is the number of Clebsch-Gordan paths.

Xie, Daigavane, Kotak & Smidt, The Price of Freedom: Exploring Expressivity and Runtime Tradeoffs in Equivariant Tensor
Products, ICML 2025.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from coset.audits.bilinear import Bilinear, Feature, Layout
from coset.audits.precision import at_dtype
from coset.errors import InputError, unknown
from coset.groups.matrix import SO, O
from coset.records import Finding

PROBES, ZERO = 4, 1e-6  #: random inputs per block; what counts as zero, relative to the largest
MOST_WEIGHTS = 4096


@dataclass
class Expressivity(Finding):
    """What a product reaches of what irreps allow."""

    irreps_1: list[str]
    irreps_2: list[str]
    irreps_out: list[str]
    interacts: np.ndarray  #: (inputs 1, inputs 2, outputs) bool
    allowed: np.ndarray  #: the same for all Clebsch-Gordan products under the group
    norms: np.ndarray  #: root mean square of every block, relative to the largest
    expressivity: int
    bound: int  #: number of Clebsch-Gordan paths, multiplicities counted
    weights: int  #: of the product and of the linear layers around it
    equivariance_error: float  #: largest relative error over random elements of the group
    bilinearity_error: float
    group: str
    flags: list[str] = field(default_factory=list)

    @property
    def paths(self) -> int:
        """Blocks that interact."""
        return int(self.interacts.sum())

    def __str__(self) -> str:
        text = (
            f"expressivity {self.expressivity} of at most {self.bound}, "
            f"{self.paths} of {int(self.allowed.sum())} blocks interact, "
            f"{self.group} to {self.equivariance_error:.1e}"
        )
        return "; ".join([text, *self.flags])

    def plot(self) -> Any:
        """A panel per output irrep: 1 where inputs interact, 1/2 where the group would allow it, 0 elsewhere."""
        from coset.figures.heatmap import heatmap

        shown = np.where(self.interacts, 1.0, np.where(self.allowed, 0.5, 0.0))
        panels = {f"into {name}": shown[:, :, k] for k, name in enumerate(self.irreps_out)}
        rows, columns = range(len(self.irreps_1)), range(len(self.irreps_2))
        return heatmap(panels, list(rows), list(columns), labels=("first irrep", "second irrep"), label="interacts",
                       limit=(0.0, 1.0), title=f"expressivity {self.expressivity} / {self.bound}")  # fmt: skip


def expressivity(
    op: Callable[..., Any],
    irreps_1: Any,
    irreps_2: Any,
    irreps_out: Any,
    *,
    group: SO | O | None = None,
    weights: Sequence[tuple[int, ...]] = (),
    layout: Layout = "rows",
    draws: int = 5,
    seed: int = 0,
) -> Expressivity:
    """Rate ``op(x1, x2, *weights)``, bilinear in its first two arguments, under ``group`` (SO(3); or O(3), which sees parity).

    ``layout`` says how it takes features: ``rows`` ``(n, rows, channels)`` (the operations of this package), or flat ``(n,
    dim)`` with blocks ``ir_mul`` (channels fastest) or ``mul_ir`` (e3nn). Its weights are the parameters of a module and
    tensors of the shapes ``weights``, passed after the inputs. One channel tells most; more are measured as they are.

    Raises InputError for output irreps that no pair of inputs reaches, for an op that is not bilinear and for one with more
    than 4096 weights. An op that is not equivariant within 1e-3 is rated and flagged.
    """
    group = SO(3) if group is None else group
    if group not in (SO(3), O(3)):
        raise InputError(f"expressivity: the group is SO(3) or O(3), got {group}")
    if layout not in ("rows", "ir_mul", "mul_ir"):
        raise unknown("layout", layout, ["rows", "ir_mul", "mul_ir"])
    sides = tuple(Feature.of(irreps, parity=group == O(3)) for irreps in (irreps_1, irreps_2, irreps_out))
    allowed = allowed_paths(*sides)
    for k, kind in enumerate(sides[2].kinds):
        if not allowed[:, :, k].any():
            raise InputError(f"expressivity: no pair of irreps of {irreps_1} and {irreps_2} makes {_name(kind)}; leave it out")
    op = at_dtype(op, torch.float64)
    names = tuple(name for name, p in op.named_parameters() if p.requires_grad) if isinstance(op, nn.Module) else ()
    product = Bilinear(op, sides, layout, tuple(map(tuple, weights)), names)  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(seed)
    linear = _bilinearity(product, generator)
    if not linear < ZERO:
        raise InputError(f"expressivity: {_called(op)} is not bilinear (relative error {linear:.1e}); only products are rated")
    error = _equivariance(product, generator, reflect=group == O(3))
    norms = _norms(product, generator)
    rank, size = _rank(product, allowed, generator, draws)
    flags = [f"not equivariant: relative error {error:.1e}"] if error > 1e-3 else []
    names_of = [[_name(kind) for kind in side.kinds] for side in sides]
    return Expressivity(
        irreps_1=names_of[0], irreps_2=names_of[1], irreps_out=names_of[2],
        interacts=norms > ZERO, allowed=allowed, norms=norms, expressivity=rank, bound=_count(sides, allowed), weights=size,
        equivariance_error=error, bilinearity_error=linear, group=str(group), flags=flags,
    )  # fmt: skip


def allowed_paths(first: Feature, second: Feature, out: Feature) -> np.ndarray:
    """Where the triangle rule and parity allow a path, (kinds 1, kinds 2, kinds out) bool."""
    return np.array([
        [[abs(a - b) <= c <= a + b and p * q == r for c, r in out.kinds] for b, q in second.kinds] for a, p in first.kinds
    ]).reshape(len(first.kinds), len(second.kinds), len(out.kinds))  # fmt: skip


def _count(sides: Sequence[Feature], allowed: np.ndarray) -> int:
    """Clebsch-Gordan paths with multiplicities."""
    a, b, c = (np.array([side.multiplicity(kind) for kind in side.kinds]) for side in sides)
    return int(np.einsum("ijk,i,j,k->", allowed.astype(int), a, b, c))


def _inputs(side: Feature, n: int, generator: torch.Generator) -> Tensor:
    return torch.randn(n, sum(side.sizes), generator=generator, dtype=torch.float64)


def _relative(gap: Tensor, want: Tensor) -> float:
    return float(gap.norm() / want.norm().clamp(min=1e-300))


@torch.no_grad()
def _bilinearity(product: Bilinear, generator: torch.Generator) -> float:
    """``B(2x + x', y) - 2 B(x, y) - B(x', y)``, and the same in y; relative."""
    weights = product.draw(generator, linears=False)
    x, u = (_inputs(product.sides[0], 4, generator) for _ in range(2))
    y, v = (_inputs(product.sides[1], 4, generator) for _ in range(2))
    left, right = product(2 * x + u, y, weights), product(x, 2 * y + v, weights)
    base = product(x, y, weights)
    return max(
        _relative(left - 2 * base - product(u, y, weights), left), _relative(right - 2 * base - product(x, v, weights), right)
    )


@torch.no_grad()
def _equivariance(product: Bilinear, generator: torch.Generator, *, reflect: bool) -> float:
    """``B(g x, g y) - g B(x, y)`` for random g; relative, the largest."""
    weights = product.draw(generator, linears=False)
    first, second, out = product.sides
    x, y = _inputs(first, 4, generator), _inputs(second, 4, generator)
    worst = 0.0
    for i, turn in enumerate(SO(3).sample(4, generator=generator, dtype=torch.float64)):
        sign = -1 if reflect and i % 2 else 1
        want = out.turn(product(x, y, weights), turn, sign)
        worst = max(worst, _relative(product(first.turn(x, turn, sign), second.turn(y, turn, sign), weights) - want, want))
    return worst


@torch.no_grad()
def _norms(product: Bilinear, generator: torch.Generator, *, draws: int = 8) -> np.ndarray:
    """Root mean square of every block over inputs; the largest over draws of the weights; relative to the largest block."""
    first, second, out = product.sides
    rows = torch.stack([first.mask(kind) for kind in first.kinds])
    columns = torch.stack([second.mask(kind) for kind in second.kinds])
    outs = torch.stack([out.mask(kind) for kind in out.kinds])
    a = rows.repeat_interleave(len(columns) * PROBES, 0)
    b = columns.repeat(len(rows), 1).repeat_interleave(PROBES, 0)
    found = torch.zeros(len(rows), len(columns), len(outs), dtype=torch.float64)
    for _ in range(draws):
        weights = product.draw(generator, linears=False)
        y = product(a * _inputs(first, len(a), generator), b * _inputs(second, len(b), generator), weights)
        power = (y.square() @ outs.T).unflatten(0, (len(rows), len(columns), PROBES)).mean(2)
        found = torch.maximum(found, power.sqrt())
    return (found / found.max().clamp(min=1e-300)).numpy()


def _rank(product: Bilinear, allowed: np.ndarray, generator: torch.Generator, draws: int) -> tuple[int, int]:
    """The rank of the Jacobian of the bilinear map with respect to all weights, and how many weights there are.

    The map is read off at random inputs, enough to tell its paths apart, and differentiated along random directions of these
    outputs: both are linear sketches that keep the rank.
    """
    first, second, _ = product.sides
    best, size, bound = 0, 0, _count(product.sides, allowed)
    into = np.einsum("ijk,i,j->k", allowed.astype(int), *([s.multiplicity(k) for k in s.kinds] for s in (first, second)))
    for _ in range(draws):
        weights = [w.requires_grad_() for w in product.draw(generator, linears=True)]
        size = sum(w.numel() for w in weights)
        if size > MOST_WEIGHTS:
            raise InputError(f"expressivity: {size} weights are too many to rate; measure one channel at a time")
        pairs = min(8 + int(into.max()), 512)
        values = product.between_linears(_inputs(first, pairs, generator), _inputs(second, pairs, generator), weights)
        slopes = [_slope(values, weights, generator) for _ in range(min(size, bound) + 8)]
        found = torch.linalg.svdvals(torch.stack(slopes))
        best = max(best, int((found > ZERO * found[0]).sum()))
        if best >= min(size, bound):
            break
    return best, size


def _slope(values: Tensor, weights: Sequence[Tensor], generator: torch.Generator) -> Tensor:
    """The gradient of one random combination of the values, ``(weights,)``."""
    direction = torch.randn(values.shape, generator=generator, dtype=torch.float64)
    slopes = torch.autograd.grad(values, weights, direction, retain_graph=True, allow_unused=True)
    return torch.cat([(torch.zeros_like(w) if s is None else s).flatten() for s, w in zip(slopes, weights, strict=True)])


def _name(kind: tuple[int, int]) -> str:
    return f"{kind[0]}{'e' if kind[1] > 0 else 'o'}"


def _called(op: Any) -> str:
    return type(op).__name__ if not hasattr(op, "__name__") else op.__name__
