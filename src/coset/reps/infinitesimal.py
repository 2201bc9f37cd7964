"""What is enough to know of a representation: its matrices at generators and its derivative at the identity."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor

from coset.errors import ContractError
from coset.groups.group import Elements, FiniteGroup, Group
from coset.groups.product import Product


def embed(product: Product, index: int, g: Any) -> Elements:
    """An element of one factor as an element of the product, the identity elsewhere."""
    batch = product.parts[index].batch_shape(g)
    units = [part.identity(dtype=torch.float64) for part in product._groups()]
    units = [unit.expand((*batch, *unit.shape)) for unit in units]
    units[index] = g
    return Elements(*units)


def _in_factor(product: Product, index: int, chart: Callable[[Tensor], Any], a: Tensor) -> Elements:
    return embed(product, index, chart(a))


def _curves(group: Any) -> list[tuple[int, Callable[[Tensor], Any]]]:
    """Exponential charts that together cover the Lie algebra: (its dimension, coordinates -> element)."""
    if isinstance(group, Product):
        own = [(i, n, chart) for i, part in enumerate(group.parts) for n, chart in _curves(part)]
        return [(n, partial(_in_factor, group, i, chart)) for i, n, chart in own]
    return [(group.dim, group.exp)] if group.dim and hasattr(group, "exp") else []


@lru_cache(maxsize=1024)
def tangent(rep: Any) -> Tensor:
    """The derivative of ``rep.matrix`` along a basis of the Lie algebra, ``(dim of the group, dim, dim)``."""
    parts = [torch.zeros(0, rep.dim, rep.dim, dtype=torch.float64)]
    for n, exp in _curves(rep.group):
        with torch.enable_grad():
            slope = torch.autograd.functional.jacobian(
                lambda a, exp=exp: rep.matrix(exp(a)), torch.zeros(n, dtype=torch.float64)
            )
        parts.append(slope.movedim(-1, 0))
    return torch.cat(parts)


def check_real(rep: Any) -> None:
    """ContractError for a representation by complex matrices."""
    if rep.matrix(rep.group.identity(dtype=torch.float64)).is_complex():
        raise ContractError(f"{rep!r} is complex; write Realified({rep}) for its action on real and imaginary parts")


@lru_cache(maxsize=1024)
def is_orthogonal(rep: Any) -> bool:
    """Whether all matrices are orthogonal, judged on generators and algebra to 1e-9."""
    unit = torch.eye(rep.dim, dtype=torch.float64)
    check_real(rep)
    steps = rep.matrix(generators(rep.group)).to(torch.float64)
    discrete = (steps @ steps.mT - unit).abs().amax() if len(steps) else torch.zeros(())
    slope = rep.algebra()
    smooth = (slope + slope.mT).abs().amax() if len(slope) else torch.zeros(())
    return bool(discrete <= 1e-9) and bool(smooth <= 1e-9)


def generators(group: Group) -> Any:
    """Discrete generators in float64; all elements of a finite group that names none."""
    own = group.generators(dtype=torch.float64)
    return group.elements() if isinstance(group, FiniteGroup) and not len(own) and group.order > 1 else own
