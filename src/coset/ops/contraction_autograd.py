"""Derivatives of the kernels for channelwise polynomials, and the ``torch.library`` ops that carry them.

Three ops call each other: ``coset::contraction`` gives the value ``P``, ``coset::contraction_gradient`` the derivatives of
``<g, P>``, ``coset::contraction_second`` those of ``<h_x, gx> + <h_w, gw>``. Each is one pass over the nodes and saves its
inputs only; the slots of the species are made again, which is cheap. Derivatives of the third order and above are taken in
plain PyTorch (:func:`coset.ops.backends.polynomial.plain`): force training needs two.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import Function

from coset.ops.backends import polynomial as torch_backend
from coset.ops.backends.llvm import contraction as kernels
from coset.ops.polynomial import known_polynomials


def contract(x: Tensor, w: Tensor, species: Tensor, key: str) -> Tensor:
    """The polynomials with this key at every node, by the kernels, differentiable."""
    if torch.compiler.is_compiling() or _watched(x, w):
        return torch.ops.coset.contraction(x, w, species, key)
    if torch.is_grad_enabled() and (x.requires_grad or w.requires_grad):
        return _Value.apply(x, w, species, key)
    return _value(x, w, species, key)


def _value(x: Tensor, w: Tensor, species: Tensor, key: str) -> Tensor:
    return kernels.forward(known_polynomials(key), x, w, species)


def _gradient(x: Tensor, w: Tensor, species: Tensor, grad: Tensor, key: str, weights: bool) -> tuple[Tensor, Tensor]:
    gx, gw = kernels.gradient(known_polynomials(key), x, w, species, grad, weights)
    return gx, x.new_empty(0) if gw is None else gw


def _second(
    x: Tensor, w: Tensor, species: Tensor, grad: Tensor, dx: Tensor | None, dw: Tensor | None, key: str
) -> tuple[Tensor, Tensor, Tensor]:
    return kernels.second(known_polynomials(key), x, w, species, grad, dx, dw)


def _keep(ctx: Any, inputs: Sequence[Any], output: Any) -> None:
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*(value for value in inputs if isinstance(value, Tensor)))
    ctx.present = [isinstance(value, Tensor) for value in inputs]
    ctx.rest = [value for value in inputs if not isinstance(value, Tensor)]


def _kept(ctx: Any) -> list[Any]:
    tensors, rest = iter(ctx.saved_tensors), iter(ctx.rest)
    return [next(tensors) if present else next(rest) for present in ctx.present]


def _value_backward(ctx: Any, grad: Tensor | None) -> tuple:
    x, w, species, key = _kept(ctx)
    if grad is None:
        return None, None, None, None
    weights = ctx.needs_input_grad[1] and _will_use(ctx, 1)
    gx, gw = _apply(_Gradient, _gradient, torch.ops.coset.contraction_gradient, x, w, species, grad, key, weights)
    return gx, gw if weights else None, None, None


def _gradient_backward(ctx: Any, dx: Tensor | None, dw: Tensor | None) -> tuple:
    x, w, species, grad, key, weights = _kept(ctx)
    dw = dw if weights else None
    if dx is None and dw is None:
        return (None,) * 6
    hx, hw, hg = _apply(_Second, _second, torch.ops.coset.contraction_second, x, w, species, grad, dx, dw, key)
    return hx, hw, None, hg, None, None


def _second_backward(ctx: Any, *cotangents: Tensor | None) -> tuple:
    """Third order and above: the second derivative written out in plain PyTorch and differentiated."""
    x, w, species, grad, dx, dw, key = _kept(ctx)
    again = torch.is_grad_enabled()
    with torch.enable_grad():
        point, steps = [_renamed(t) for t in (x, w, grad)], [None if t is None else _renamed(t) for t in (dx, dw)]
        tables = torch_backend.Tables.of(known_polynomials(key)).to(x.dtype, x.device)
        energy = (torch_backend.plain(tables, point[0], point[1], species) * point[2]).sum()
        first = torch.autograd.grad(energy, point[:2], create_graph=True)
        along = _paired(first, steps)
        second = torch.autograd.grad(along, point, create_graph=True)
        given = [*point, *(t for t in steps if t is not None)]
        found = iter(torch.autograd.grad(_paired(second, cotangents), given, create_graph=again, allow_unused=True))
    hx, hw, hg = (next(found) for _ in point)
    return hx, hw, None, hg, *(None if t is None else next(found) for t in steps), None


def _paired(tensors: Sequence[Tensor], others: Sequence[Tensor | None]) -> Tensor:
    """The sum of the inner products; None is zero."""
    products = [(t * other).sum() for t, other in zip(tensors, others, strict=True) if other is not None]
    return torch.stack(products).sum()


def _renamed(t: Tensor) -> Tensor:
    """The same values under a new name: an input's history through another input must not count."""
    return t.view_as(t) if t.requires_grad else t.detach().requires_grad_()


class _Value(Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Tensor:
        _keep(ctx, inputs, None)
        return _value(*inputs)

    backward = staticmethod(_value_backward)


class _Gradient(Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> tuple[Tensor, Tensor]:
        _keep(ctx, inputs, None)
        return _gradient(*inputs)

    backward = staticmethod(_gradient_backward)


class _Second(Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> tuple[Tensor, Tensor, Tensor]:
        _keep(ctx, inputs, None)
        return _second(*inputs)

    backward = staticmethod(_second_backward)


def _apply(function: type[Function], run: Callable, op: Any, *inputs: Any) -> Any:
    """Straight to the kernels on plain tensors, through the op where somebody traces: a third of the overhead."""
    tensors = [value for value in inputs if isinstance(value, Tensor)]
    if _watched(*tensors):
        return op(*inputs)
    return function.apply(*inputs) if torch.is_grad_enabled() else run(*inputs)


def _watched(*tensors: Tensor) -> bool:
    """A tracing mode or a subclass of tensors is at work."""
    ordinary = all(type(t) is Tensor or type(t) is torch.nn.Parameter for t in tensors)
    return not ordinary or torch._C._len_torch_dispatch_stack() > 0


def _will_use(ctx: Any, which: int) -> bool:
    """Whether this run of the engine wants the gradient: forces need none of the weights. Asks by a private call of torch."""
    ask = getattr(torch._C, "_will_engine_execute_node", None)
    try:
        node = ctx.next_functions[which][0]
        return ask is None or node is None or ask(node)
    except (RuntimeError, AttributeError, IndexError):
        return True  # the call raises instead of answering for a leaf that is wanted


_LIBRARY = torch.library.Library("coset", "FRAGMENT")
_INPUTS = "Tensor x, Tensor w, Tensor species"
_LIBRARY.define(f"contraction({_INPUTS}, str key) -> Tensor")
_LIBRARY.define(f"contraction_gradient({_INPUTS}, Tensor grad, str key, bool weights) -> (Tensor, Tensor)")
_LIBRARY.define(f"contraction_second({_INPUTS}, Tensor grad, Tensor? dx, Tensor? dw, str key) -> (Tensor, Tensor, Tensor)")


def _fake_value(x: Tensor, w: Tensor, species: Tensor, key: str) -> Tensor:
    return x.new_empty(x.shape[0], known_polynomials(key).outputs, x.shape[2])


def _fake_gradient(x: Tensor, w: Tensor, species: Tensor, grad: Tensor, key: str, weights: bool) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape), x.new_empty(w.shape if weights else 0)


def _fake_second(x: Tensor, w: Tensor, species: Tensor, grad: Tensor, *_: Any) -> tuple[Tensor, Tensor, Tensor]:
    return x.new_empty(x.shape), x.new_empty(w.shape), x.new_empty(grad.shape)


for _name, _kernel, _fake, _backward in (
    ("contraction", _value, _fake_value, _value_backward),
    ("contraction_gradient", _gradient, _fake_gradient, _gradient_backward),
    ("contraction_second", _second, _fake_second, _second_backward),
):
    _LIBRARY.impl(_name, _kernel, "CPU")
    torch.library.register_fake(f"coset::{_name}", _fake, lib=_LIBRARY)
    torch.library.register_autograd(f"coset::{_name}", _backward, setup_context=_keep, lib=_LIBRARY)
