"""Does a learned action keep products? ``P(g h) = P(g) P(h)`` and ``P(e) = 1``, measured; SIE's predictor does not have to.

For matrices ``P(g)`` of a batch of elements, relative defects in the Frobenius norm,

    product  = |P(g h) - P(g) P(h)| / |P(g h)|,       identity = |P(e) - 1| / |1|,       inverse = |P(g) P(g^-1) - 1| / |1|,

and, since a predictor may be wrong where no embedding ever lies, the first two also on given vectors ``x`` (embeddings). A
predictor that takes motions in the axes of the body acts from the right, ``P(g h) = P(h) P(g)`` (``right=True``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from coset.errors import InputError
from coset.groups.group import Group

Act = Callable[[Any, Tensor], Tensor]  #: (elements, vectors (*batch, ..., D)) -> vectors, the batch of elements leading


@dataclass(frozen=True)
class Defect:
    """Means over pairs of elements, relative; 0 for a representation."""

    product: float
    identity: float
    inverse: float


def homomorphism_defect(act: Act, group: Group, x: Tensor, *, samples: int = 32, seed: int = 0, right: bool = False) -> Defect:
    """Of ``act(g, x)`` on vectors ``x`` (n, D), over ``samples`` random pairs of elements.

    ``x`` are embeddings, or the columns of the unit matrix (``torch.eye(D)``) for the matrices themselves. With ``right``
    ``act(g h, x)`` is compared with ``act(h, act(g, x))``. Raises InputError for no samples, vectors that are not ``(n, D)`` or
    vanish, and an ``act`` that changes their shape.
    """
    if samples < 1 or x.ndim != 2 or not bool(x.abs().max() > 0):
        raise InputError(
            f"homomorphism_defect: at least one sample and vectors (n, D) that do not vanish, got {tuple(x.shape)}"
        )
    generator = torch.Generator().manual_seed(seed)
    g, h = (group.sample(samples, generator=generator, dtype=x.dtype, device=x.device) for _ in range(2))
    lead = x.expand(samples, *x.shape)
    with torch.no_grad():
        gx, hx = act(g, lead), act(h, lead)
        if gx.shape != lead.shape:
            raise InputError(f"homomorphism_defect: the action takes vectors {tuple(lead.shape)} to {tuple(gx.shape)}")
        both = act(h, gx) if right else act(g, hx)
        whole = act(group.compose(g, h), lead)
        back = act(group.inverse(g), gx)
        still = act(group.identity(dtype=x.dtype, device=x.device), x)
    return Defect(_mean(both - whole, whole), _mean((still - x)[None], x[None]), _mean(back - lead, lead))


def _mean(gap: Tensor, want: Tensor) -> float:
    return float((gap.flatten(1).norm(dim=1) / want.flatten(1).norm(dim=1)).mean())


def recorded_error(gap: Tensor, want: Tensor) -> float:
    """``|gap| / |want - mean|`` of recorded pairs (n, D), where the mean is over pairs: 1 for the best constant prediction."""
    spread = want - want.mean(0)
    if not bool(spread.norm() > 0):
        raise InputError("recorded_error: what should be predicted is one constant, so that any error says nothing")
    return float(gap.norm() / spread.norm())
