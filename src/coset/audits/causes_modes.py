"""Modes that stand between a model and torch: single operations done otherwise, wherever in the model they are called.

They see functions as well as modules, and need no copy of the model. A rule is a function ``rule(func, *args, **kwargs)``
that answers in place of ``func``; rules are found by the function's name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

Rule = Callable[..., Any]

LOW = (torch.float32, torch.float16, torch.bfloat16)
DIMENSIONS = (1, 2, 3)
CONVOLUTIONS = tuple(f"conv{n}d" for n in DIMENSIONS)
MAX_POOLS = tuple(f"max_pool{n}d" for n in DIMENSIONS)
AVERAGE_POOLS = tuple(f"avg_pool{n}d" for n in DIMENSIONS)
DROPOUTS = (
    "dropout", "dropout_", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_dropout", "feature_alpha_dropout",
)  # fmt: skip
DRAWS = ("randn", "randn_like", "rand", "rand_like", "normal_", "uniform_")
POINTWISE = (
    "relu", "relu_", "relu6", "leaky_relu", "elu", "selu", "celu", "gelu", "silu", "mish", "tanh", "sigmoid", "softplus",
    "hardtanh", "softsign", "hardswish", "hardsigmoid", "logsigmoid", "clamp", "abs", "sin", "cos", "prelu",
)  # fmt: skip
PRODUCTS = ("matmul", "__matmul__", "__rmatmul__", "bmm", "mm", "mv", "einsum")


class Instead(TorchFunctionMode):
    """Functions of these names are answered by rules; ``seen`` is called with the name and result of every other."""

    def __init__(self, rules: Mapping[str, Rule], seen: Callable[[str, Any], None] | None = None) -> None:
        super().__init__()
        self.rules, self.seen = rules, seen

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if (rule := self.rules.get(name)) is not None:
            return rule(func, *args, **kwargs)
        out = func(*args, **kwargs)
        if self.seen is not None:
            self.seen(name, out)
        return out


class Wide(TorchDispatchMode):
    """Whatever is cast below float64 stays float64, constants made on the way included; counts the casts in ``casts``."""

    def __init__(self, casts: list[str] | None = None, where: Callable[[], str] = lambda: "") -> None:
        super().__init__()
        self.casts, self.where = casts if casts is not None else [], where

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # to skip it, torch would load its whole compiler first, for seconds

    def __enter__(self) -> Any:
        self.default = torch.get_default_dtype()
        torch.set_default_dtype(torch.float64)
        return super().__enter__()

    def __exit__(self, *args: Any) -> None:
        super().__exit__(*args)
        torch.set_default_dtype(self.default)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if kwargs.get("dtype") in LOW:
            if func is torch.ops.aten._to_copy.default and args[0].dtype is torch.float64:
                self.casts.append(self.where())
            kwargs["dtype"] = torch.float64
        inplace = func._schema.name.endswith("_")
        first = args[0] if inplace and args else None
        widened = tree_map(_widened, args)
        return func(*((first, *widened[1:]) if first is not None else widened), **tree_map(_widened, kwargs))


def _widened(value: Any) -> Any:
    return value.to(torch.float64) if isinstance(value, Tensor) and value.dtype in LOW else value


# ---------------------------------------------------------------------------------------------------- randomness


def settled() -> Instead:
    """No dropout."""
    return Instead(dict.fromkeys(DROPOUTS, lambda _func, x, *_, **__: x))


def batch_free(*, plain: bool = False) -> Instead:
    """No statistics of a batch: a batch norm uses its running mean and variance, or 0 and 1 where ``plain``."""

    def rule(func: Any, x: Tensor, running_mean: Any = None, running_var: Any = None, weight: Any = None, bias: Any = None,
             training: bool = False, momentum: float = 0.1, eps: float = 1e-5, *_: Any, **__: Any) -> Any:  # fmt: skip
        if training and (plain or running_mean is None or running_var is None):
            running_mean, running_var = x.new_zeros(x.shape[1]), x.new_ones(x.shape[1])
        return functional.batch_norm(x, running_mean, running_var, weight, bias, False, momentum, eps)

    return Instead({"batch_norm": rule})


def noiseless() -> Instead:
    """Random draws are replaced by what they are on average."""

    def rule(func: Any, *args: Any, **kwargs: Any) -> Any:
        drawn = func(*args, **kwargs)
        value = 0.5 if "rand" in func.__name__ and "randn" not in func.__name__ else 0.0
        return drawn.detach().fill_(value) if func.__name__.endswith("_") else torch.full_like(drawn, value)

    return Instead(dict.fromkeys(DRAWS, rule))


# ---------------------------------------------------------------------------------------------------- grids


def wrap(x: Tensor, axis: int, left: int, right: int) -> Tensor:
    """``x`` continued periodically along one axis."""
    size = x.shape[axis]
    return x.index_select(axis, torch.arange(-left, size + right, device=x.device) % size)


def circular() -> Instead:
    """Convolutions, pooling and padding continue the grid periodically instead of by zeros."""

    def convolution(
        func: Any, x: Tensor, weight: Tensor, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
        groups: int = 1,
    ) -> Any:  # fmt: skip
        dims = weight.ndim - 2
        for i, (left, right) in enumerate(sides(padding, dilation, weight.shape[2:])):
            x = wrap(x, x.ndim - dims + i, left, right)
        return func(x, weight, bias, stride, 0, dilation, groups)

    def pool(func: Any, x: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, *rest: Any, **more: Any) -> Any:
        dims = int(func.__name__[-2])
        for i, size in enumerate(each(padding, dims)):
            x = wrap(x, x.ndim - dims + i, size, size)
        return func(x, kernel_size, stride, 0, *rest, **more)

    def pad(func: Any, x: Tensor, pad: Sequence[int], mode: str = "constant", value: Any = None) -> Any:
        if mode == "circular":
            return func(x, pad, mode, value)
        for i in range(len(pad) // 2):
            x = wrap(x, x.ndim - 1 - i, max(pad[2 * i], 0), max(pad[2 * i + 1], 0))
        return functional.pad(x, [min(size, 0) for size in pad])

    return Instead(dict.fromkeys(CONVOLUTIONS, convolution) | dict.fromkeys(MAX_POOLS + AVERAGE_POOLS, pool) | {"pad": pad})


def unstrided(facts: list[tuple[int, int, int]] | None = None) -> Instead:
    """Steps that do not fit the grid are taken at every pixel and averaged down to the same size.

    A window of size k steps s over n + 2p pixels; where ``(n + 2p - k) mod s`` is not 0 the last pixels are never a
    centre, and a flipped image is sampled elsewhere. ``facts`` receives (stride, size, remainder) of every such step.
    """
    facts = facts if facts is not None else []

    def step(func: Any, x: Tensor, dims: int, stride: Any, windows: Sequence[int], dense: Callable[[], Tensor]) -> Any:
        at, sizes = each(stride, dims), x.shape[x.ndim - dims :]
        rest = [w % s for w, s in zip(windows, at, strict=True)]
        if not any(rest):
            return None
        place = next(i for i, r in enumerate(rest) if r)
        facts.append((at[place], sizes[place], rest[place]))
        out = dense()
        down = [w // s + 1 for w, s in zip(windows, at, strict=True)]
        return getattr(functional, f"adaptive_avg_pool{dims}d")(out, down)

    def convolution(
        func: Any, x: Tensor, weight: Tensor, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
        groups: int = 1,
    ) -> Any:  # fmt: skip
        dims = weight.ndim - 2
        pads, gaps = sides(padding, dilation, weight.shape[2:]), each(dilation, dims)
        sizes = x.shape[x.ndim - dims :]
        windows = [n + sum(p) - d * (k - 1) - 1 for n, p, d, k in zip(sizes, pads, gaps, weight.shape[2:], strict=True)]
        made = step(
            func, x, dims, stride, windows, lambda: func(x, weight, bias, 1, padding, dilation, groups)
        )  # fmt: skip
        return func(x, weight, bias, stride, padding, dilation, groups) if made is None else made

    def pool(func: Any, x: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, *rest: Any, **more: Any) -> Any:
        dims = int(func.__name__[-2])
        kernel, pads = each(kernel_size, dims), each(padding, dims)
        windows = [n + 2 * p - k for n, p, k in zip(x.shape[x.ndim - dims :], pads, kernel, strict=True)]
        steps = kernel_size if stride is None or (isinstance(stride, (list, tuple)) and not stride) else stride
        made = step(func, x, dims, steps, windows, lambda: func(x, kernel_size, 1, padding, *rest, **more))
        return func(x, kernel_size, stride, padding, *rest, **more) if made is None else made

    return Instead(dict.fromkeys(CONVOLUTIONS, convolution) | dict.fromkeys(MAX_POOLS + AVERAGE_POOLS, pool))


def each(value: Any, dims: int) -> list[int]:
    """One number for every axis."""
    values = [int(v) for v in value] if isinstance(value, (list, tuple)) else [int(value)]
    return values * dims if len(values) == 1 else values


def sides(padding: Any, dilation: Any, kernel: Sequence[int]) -> list[tuple[int, int]]:
    """Pixels added on both sides of every axis; ``"same"`` and ``"valid"`` spelled out."""
    dims = len(kernel)
    if padding == "valid":
        return [(0, 0)] * dims
    if padding == "same":
        totals = [d * (k - 1) for d, k in zip(each(dilation, dims), kernel, strict=True)]
        return [(total // 2, total - total // 2) for total in totals]
    return [(p, p) for p in each(padding, dims)]


def without_coordinates() -> Instead:
    """Coordinates that are made on the way (``linspace``, a floating ``arange``) are all zero."""

    def rule(func: Any, *args: Any, **kwargs: Any) -> Any:
        made = func(*args, **kwargs)
        return torch.zeros_like(made) if made.is_floating_point() else made

    return Instead({"linspace": rule, "arange": rule})
