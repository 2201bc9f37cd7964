"""Spherical harmonics as PyTorch sees them: the polynomial that torch differentiates, and the kernels with their derivatives.

With ``g`` the cotangent of ``Y(v)`` and ``h`` that of its gradient, the kernels (:mod:`coset.ops.backends.llvm.harmonics`) give

    Y(v),     G(v, g) = sum_j g_j dY_j/dv,     S(v, g, h) = (d/dv, d/dg) <h, G(v, g)>,

each the derivative of the one before. The derivative of ``S`` is taken from the polynomial by torch, to any order. Only ``v``,
``g`` and ``h`` are ever saved. Ops: ``coset::harmonics``, ``coset::harmonics_gradient``, ``coset::harmonics_second``, with fake
kernels and autograd; on plain tensors the same rules run as autograd functions, at a third of the overhead.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import Function

from coset.ops.backends.llvm import harmonics
from coset.ops.solid_harmonics import SHORTEST, Kind, explicit_harmonics, solid_harmonics, width

KERNEL_LMAX = 12  #: beyond, the text of a kernel grows too long to compile while one waits


def polynomial(kind: Kind, v: Tensor) -> Tensor:
    """``(..., K)`` by the recursion of :mod:`coset.ops.solid_harmonics` in plain torch operations."""
    return _stack(kind, v, solid_harmonics, SHORTEST[str(v.dtype)[6:]])


def explicit(kind: Kind, v: Tensor) -> Tensor:
    """The oracle: explicit sums, in float64; vectors ``v`` of float32 or float64."""
    return _stack(kind, v.double(), explicit_harmonics, SHORTEST[str(v.dtype)[6:]]).to(v.dtype)


def _stack(kind: Kind, v: Tensor, formula: Callable[..., list[Any]], shortest: float) -> Tensor:
    degrees, normalize, normalization = kind
    if normalize:
        v = _direction(v, shortest)
    x, y, z = v.unbind(-1)
    values = formula(degrees, x, y, z, normalization)
    if not values:
        return v[..., :0]
    if not any(isinstance(f, Tensor) for f in values):  # constants depend on v all the same, for torch
        values = [f + 0 * x for f in values]
    return torch.stack([f if isinstance(f, Tensor) else torch.full_like(x, f) for f in values], -1)


def _direction(v: Tensor, shortest: float) -> Tensor:
    """``v / |v|``, and 0 with derivatives 0 where ``v`` is too short."""
    square = v.square().sum(-1, keepdim=True)
    long = square > shortest**2
    return torch.where(long, v / torch.where(long, square, torch.ones_like(square)).sqrt(), torch.zeros_like(v))


def apply_kernel(kind: Kind, v: Tensor) -> Tensor:
    """``Y(v)``."""
    if _watched(v):
        return torch.ops.coset.harmonics(v, *kind)
    return _Value.apply(kind, v) if torch.is_grad_enabled() and v.requires_grad else _value(kind, v)


def _gradient_of(kind: Kind, v: Tensor, g: Tensor) -> Tensor:
    if _watched(v, g):
        return torch.ops.coset.harmonics_gradient(v, g, *kind)
    recorded = torch.is_grad_enabled() and (v.requires_grad or g.requires_grad)
    return _Gradient.apply(kind, v, g) if recorded else _gradient(kind, v, g)


def _second_of(kind: Kind, v: Tensor, g: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
    if _watched(v, g, h):
        return torch.ops.coset.harmonics_second(v, g, h, *kind)
    return _Second.apply(kind, v, g, h) if torch.is_grad_enabled() else _second(kind, v, g, h)


def _third_of(kind: Kind, inputs: Sequence[Tensor], cotangents: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """The cotangents of ``v``, ``g``, ``h`` from those of the two results of ``S``, by the polynomial."""
    further = torch.is_grad_enabled()
    with torch.enable_grad():
        # aliases: derivatives by one of the three must not follow the others back to where they come from
        v, g, h = (x.view_as(x) if x.requires_grad else x.detach().requires_grad_() for x in inputs)
        (gradient,) = torch.autograd.grad(polynomial(kind, v), v, g, create_graph=True, materialize_grads=True)
        second = torch.autograd.grad(gradient, (v, g), h, create_graph=True, materialize_grads=True)
        # a result that is constant, such as the second derivative of degree 1, has no graph
        pairs = [(s, c) for s, c in zip(second, cotangents, strict=True) if s.requires_grad]
        if not pairs:
            return tuple(torch.zeros_like(x) for x in (v, g, h))
        results, given = zip(*pairs, strict=True)
        return torch.autograd.grad(results, (v, g, h), given, create_graph=further, materialize_grads=True)


def _watched(*tensors: Tensor) -> bool:
    """Whether somebody traces: then the ops must be seen."""
    if torch.compiler.is_compiling() or torch._C._len_torch_dispatch_stack():
        return True
    return not all(type(x) is Tensor or type(x) is torch.nn.Parameter for x in tensors)


# ---------------------------------------------------------------------- kernels on tensors of any leading shape


def _value(kind: Kind, v: Tensor) -> Tensor:
    return harmonics.value(kind, v.reshape(-1, 3)).view(*v.shape[:-1], width(kind))


def _gradient(kind: Kind, v: Tensor, g: Tensor) -> Tensor:
    return harmonics.gradient(kind, v.reshape(-1, 3), g.reshape(v.numel() // 3, width(kind))).view(v.shape)


def _second(kind: Kind, v: Tensor, g: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
    dv, dg = harmonics.second(kind, v.reshape(-1, 3), g.reshape(v.numel() // 3, width(kind)), h.reshape(-1, 3))
    return dv.view(v.shape), dg.view(g.shape)


class _Value(Function):
    @staticmethod
    def forward(ctx: Any, kind: Kind, v: Tensor) -> Tensor:
        ctx.save_for_backward(v)
        ctx.kind = kind
        return _value(kind, v)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple:
        (v,) = ctx.saved_tensors
        return None, _gradient_of(ctx.kind, v, g)


class _Gradient(Function):
    @staticmethod
    def forward(ctx: Any, kind: Kind, v: Tensor, g: Tensor) -> Tensor:
        ctx.save_for_backward(v, g)
        ctx.kind = kind
        return _gradient(kind, v, g)

    @staticmethod
    def backward(ctx: Any, h: Tensor) -> tuple:
        v, g = ctx.saved_tensors
        return (None, *_second_of(ctx.kind, v, g, h))


class _Second(Function):
    @staticmethod
    def forward(ctx: Any, kind: Kind, v: Tensor, g: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(v, g, h)
        ctx.kind = kind
        return _second(kind, v, g, h)

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple:
        return (None, *_third_of(ctx.kind, ctx.saved_tensors, cotangents))


# ---------------------------------------------------------------------- the same as ops


def _register(name: str, tensors: Sequence[str], results: int, kernel: Callable, fake: Callable, backward: Callable) -> None:
    """One op ``coset::name`` of the listed tensors and a kind, with its fake kernel and its derivative."""
    count, result = len(tensors), "Tensor" if results == 1 else f"({', '.join(['Tensor'] * results)})"
    listed = ", ".join(f"Tensor {x}" for x in tensors)
    _LIBRARY.define(f"{name}({listed}, int[] degrees, bool normalize, str normalization) -> {result}")

    def run(*args: Any) -> Any:
        return kernel(_kind(args[count:]), *args[:count])

    def shapes(*args: Any) -> Any:
        return fake(_kind(args[count:]), *args[:count])

    def setup(ctx: Any, inputs: tuple, output: Any) -> None:
        ctx.save_for_backward(*inputs[:count])
        ctx.kind = _kind(inputs[count:])

    def differentiate(ctx: Any, *cotangents: Tensor) -> tuple:
        found = backward(ctx.kind, ctx.saved_tensors, cotangents)
        return (*((found,) if isinstance(found, Tensor) else found), None, None, None)

    _LIBRARY.impl(name, run, "CPU")
    torch.library.register_fake(f"coset::{name}", shapes, lib=_LIBRARY)
    torch.library.register_autograd(f"coset::{name}", differentiate, setup_context=setup, lib=_LIBRARY)


def _kind(args: Sequence[Any]) -> Kind:
    degrees, normalize, normalization = args
    return tuple(degrees), normalize, normalization


_LIBRARY = torch.library.Library("coset", "FRAGMENT")
_register(
    "harmonics",
    ["v"],
    1,
    _value,
    lambda kind, v: v.new_empty(*v.shape[:-1], width(kind)),
    lambda kind, saved, cotangents: _gradient_of(kind, *saved, *cotangents),
)
_register(
    "harmonics_gradient",
    ["v", "g"],
    1,
    _gradient,
    lambda kind, v, g: v.new_empty(v.shape),
    lambda kind, saved, cotangents: _second_of(kind, *saved, *cotangents),
)
_register(
    "harmonics_second",
    ["v", "g", "h"],
    2,
    _second,
    lambda kind, v, g, h: (v.new_empty(v.shape), v.new_empty(g.shape)),
    _third_of,
)
