"""Is a model trivial? The zero function passes every test of symmetry, so that its error says nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from coset.contract import Contract, frozen
from coset.errors import CosetError
from coset.reps.action import Labels

#: relative change below which an output counts as never varying
LEAST = {torch.float64: 1e-12, torch.float32: 1e-6}


def why_trivial(f: Callable[..., Any], contract: Contract, x: Mapping[str, Tensor], *, seed: int = 0) -> str:
    """Why the output says nothing about symmetry: it vanishes, or never varies; empty if it does vary.

    The input is perturbed at random (all that floats), replaced by normal numbers, shuffled along its first axis, and its
    labels are made equal; one change of the output is enough. Outputs beyond the shape of the first (a ragged count) count as
    change.
    """
    generator = torch.Generator().manual_seed(seed)

    def call(inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        with frozen(f):
            return {name: value.detach() for name, value in contract.call(f, inputs, seed=seed).items()}

    first = call(x)
    changed, vanishes = False, all(not bool(value.abs().max() > 0) for value in first.values() if value.numel())
    for inputs in _variations(contract, x, generator):
        try:
            other = call(inputs)
        except (CosetError, RuntimeError, ValueError, IndexError, ArithmeticError):
            continue  # an input outside the model's domain teaches nothing
        vanishes = vanishes and all(not bool(value.abs().max() > 0) for value in other.values() if value.numel())
        changed = changed or any(_differs(first[name], other[name]) for name in first)
        if changed:
            return ""
    if vanishes:
        return "trivial: the output vanishes on every input tried, so an error of zero says nothing"
    return "trivial: the output does not vary with the input, so an error of zero says nothing"


def _differs(a: Tensor, b: Tensor) -> bool:
    if a.shape != b.shape:
        return True
    if not torch.isfinite(b).all():
        return False
    gap, size = (a - b).abs().double().norm(), torch.maximum(a.abs().double().norm(), b.abs().double().norm())
    return bool(gap > LEAST.get(a.dtype, 1e-3) * size)


def _variations(contract: Contract, x: Mapping[str, Tensor], generator: torch.Generator) -> list[dict[str, Tensor]]:
    """Inputs near and far; fields that hold no floating numbers (pointers, labels) stay."""
    out = []
    for size in (0.1, 1.0, None, 1e-3):  # the last for models whose domain is narrow
        made = {}
        for name, value in x.items():
            declared = contract.inputs.of(name)
            if not value.is_floating_point() or not declared.kind.floating or declared.target is not None:
                made[name] = value
                continue
            spread = value.std() if value.numel() > 1 and bool(value.std() > 0) else value.abs().max() + 1
            noise = torch.randn(value.shape, generator=generator, dtype=torch.float64).to(value)
            if value.ndim > 1 and value.shape[-1] == value.shape[-2] and torch.equal(value, value.mT):
                noise = (noise + noise.mT) / 2**0.5  # an adjacency, a metric: stays one
            made[name] = noise * spread if size is None else value + size * spread * noise
        out.append(made)
    free = [name for name, value in x.items() if value.ndim and contract.inputs.of(name).target is None]
    orders = {name: _shuffle(len(x[name]), generator).to(x[name].device) for name in free}
    out.append({name: value[orders[name]] if name in orders else value for name, value in x.items()})
    for name in free:
        if isinstance(kind := contract.inputs.of(name).kind, Labels):  # one label everywhere, one field at a time
            out += [{**x, name: torch.full_like(x[name], value)} for value in {kind.values[0], kind.values[-1]}]
    return out


def _shuffle(n: int, generator: torch.Generator) -> Tensor:
    """A random order of n things that moves some of them."""
    order = torch.randperm(n, generator=generator)
    return order.roll(1) if torch.equal(order, torch.arange(n)) else order
