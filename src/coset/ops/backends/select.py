"""Which backend executes a plan, and why.

======================  ==============================================================================================
``"cpu"``               fused gather-product-scatter kernels, compiled just in time (processors)
``"triton"``            the same fusion on a GPU
``"torch"``             plain PyTorch, any plan on any device
``"reference"``         the sum as it is written, term by term: the oracle
======================  ==============================================================================================

``"auto"`` takes the first of the kernels that supports the plan, else ``"torch"``. A backend is a module with three functions:
``supports(plan, inputs, indices)`` gives None or the reason why not, which may depend on the plan, the dtype, the device and
the number of channels and on nothing else; ``forward(plan, inputs, indices, items)`` gives the output;
``gradients(plan, inputs, grad, indices, items, needs)`` gives the cotangents of the inputs that are asked for, None elsewhere.
Tensors come in any strides.

A block of code on one backend::

    with use("reference"):
        product(plan, inputs)
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Protocol, cast

from torch import Tensor

from coset.errors import InputError, unknown
from coset.ops.index import Index
from coset.ops.plan import Plan

MODULES = {
    "cpu": "coset.ops.backends.llvm.convolution",
    "triton": "coset.ops.backends.gpu",
    "torch": "coset.ops.backends.plain",
    "reference": "coset.ops.backends.reference",
}
KERNELS = {"cpu": "cpu", "cuda": "triton"}  # device type -> the backend that is made for it
AUTO = "auto"


class BackendWarning(UserWarning):
    """A plan runs on a slower backend than its device has; the message says why."""


class Backend(Protocol):
    """What a backend's module gives."""

    def supports(self, plan: Plan, inputs: Sequence[Tensor], indices: Mapping[str, Index]) -> str | None:
        """None, or why not."""

    def forward(self, plan: Plan, inputs: Sequence[Tensor], indices: Mapping[str, Index], items: int) -> Tensor:
        """The plan's sum."""
        ...

    def gradients(
        self,
        plan: Plan,
        inputs: Sequence[Tensor],
        grad: Tensor,
        indices: Mapping[str, Index],
        items: int,
        needs: tuple[bool, ...],
    ) -> list[Tensor | None]:
        """The cotangents of the inputs that ``needs`` marks, None elsewhere."""
        ...


@dataclass(frozen=True)
class Choice:
    """A backend and the sentence that says why."""

    backend: str
    reason: str

    @property
    def module(self) -> Backend:
        """The functions that execute plans."""
        return cast(Backend, importlib.import_module(MODULES[self.backend]))

    def __str__(self) -> str:
        return f"{self.backend}: {self.reason}"


_forced: ContextVar[str] = ContextVar("coset_backend", default=AUTO)
_chosen: dict[tuple, tuple[Choice, Backend]] = {}
_warned: set[tuple[str, str]] = set()


@contextmanager
def use(backend: str) -> Iterator[None]:
    """Products called in the block, and their derivatives whenever they run, use ``backend`` unless the call names one."""
    _known(backend)
    token = _forced.set(backend)
    try:
        yield
    finally:
        _forced.reset(token)


def requested(backend: str) -> str:
    """What a call that says ``backend`` asks for, inside or outside of :func:`use`."""
    return _forced.get() if backend == AUTO else _known(backend)


def choose(plan: Plan, inputs: Sequence[Tensor], indices: Mapping[str, Index], backend: str = AUTO) -> Choice:
    """The backend for this plan and these tensors. InputError if ``backend`` is named and cannot run them."""
    if requested(backend) != AUTO:
        backend = requested(backend)
        reason = _obstacle(backend, plan, inputs, indices)
        if reason is not None:
            raise InputError(
                f"backend {backend!r} does not run {plan.label or 'this plan'}: {reason}; 'auto' finds one that does"
            )
        return Choice(backend, "asked for")
    device = inputs[0].device.type
    kernels = KERNELS.get(device)
    if kernels is None:
        return Choice("torch", f"no kernels are made for {device} tensors")
    reason = _obstacle(kernels, plan, inputs, indices)
    if reason is None:
        return Choice(kernels, f"fused kernels for {device} tensors")
    return Choice("torch", f"{kernels} kernels do not run it: {reason}")


def executor(plan: Plan, inputs: Sequence[Tensor], indices: Mapping[str, Index], backend: str) -> Backend:
    """The module that :func:`choose` means, remembered.

    Warns once per plan and reason if kernels were passed over for a plan that gathers or scatters, which they are made for;
    plans over items alone (products of nodes) are plain torch's own work.
    """
    backend = requested(backend)
    wide = next((x.shape[-1] for o, x in zip(plan.inputs, inputs, strict=True) if o.channels), 1)
    case = (plan.key, backend, inputs[0].dtype, inputs[0].device.type, wide)
    if case not in _chosen:
        choice = choose(plan, inputs, indices, backend)
        passed_over = "do not run it" in choice.reason and bool(plan.index_names)
        if passed_over and (plan.key, choice.reason) not in _warned:
            _warned.add((plan.key, choice.reason))
            warnings.warn(f"{plan.label or 'a plan'} runs on plain torch; {choice.reason}", BackendWarning, stacklevel=2)
        _chosen[case] = choice, choice.module
    return _chosen[case][1]


def explain(plan: Plan, inputs: Sequence[Tensor], indices: Mapping[str, Index] | None = None) -> dict[str, str]:
    """For every backend ``"runs"`` or why not, and under ``"auto"`` what is chosen and why."""
    indices = indices or {}
    table = {name: _obstacle(name, plan, inputs, indices) or "runs" for name in MODULES}
    return {**table, AUTO: str(choose(plan, inputs, indices))}


def _known(backend: str) -> str:
    if backend not in MODULES and backend != AUTO:
        raise unknown("backend", backend, [*MODULES, AUTO])
    return backend


def _obstacle(backend: str, plan: Plan, inputs: Sequence[Tensor], indices: Mapping[str, Index]) -> str | None:
    """None, or why this backend cannot run the plan on these tensors."""
    try:
        module = cast(Backend, importlib.import_module(MODULES[backend]))
    except ImportError as error:
        return f"it cannot be imported ({error})"
    return module.supports(plan, inputs, indices)
