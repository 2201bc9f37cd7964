"""The ``cpu`` backend of symmetric contractions: calls the kernels of :mod:`coset.ops.backends.llvm.polynomial`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from coset.errors import InputError
from coset.ops.backends.llvm import polynomial, threads
from coset.ops.backends.llvm.buffers import pool
from coset.ops.backends.llvm.builder import Builder
from coset.ops.backends.llvm.compiler import Library, load
from coset.ops.backends.llvm.targets import Target, choose
from coset.ops.polynomial import Polynomials

LARGEST = 6000
"""Slots up to which straight-line code is made; compiling more would take longer than anybody waits."""
_NAMES = {torch.float32: "float32", torch.float64: "float64"}


def supports(p: Polynomials, x: Tensor, w: Tensor) -> str | None:
    """None, or why the kernels cannot run these polynomials on these tensors."""
    if x.device.type != "cpu":
        return f"the tensors are on {x.device.type}"
    if x.dtype not in _NAMES:
        return f"dtype {x.dtype} is not float32 or float64"
    if len(p.slots) > LARGEST:
        return f"{len(p.slots)} coefficients are more than the {LARGEST} that are compiled into straight-line code"
    return None


@dataclass(frozen=True)
class Call:
    """What the kernels share in one call: nodes sorted by species, and how the channels are cut into blocks."""

    p: Polynomials
    dtype: torch.dtype
    pointer: Tensor
    order: Tensor
    channels: int
    lanes: int

    @property
    def blocks(self) -> int:
        return -(-self.channels // self.lanes)

    @property
    def species(self) -> int:
        return len(self.pointer) - 1

    def slots(self) -> Tensor:
        """Room for the packed slots of all species."""
        return pool.empty((self.species, self.blocks, len(self.p.slots), self.lanes), self.dtype)

    def run(self, kernel: str, variant: str, work: int, *tensors: Tensor) -> None:
        """The kernel over all blocks of channels, divided among threads."""
        library = _library(self.p, kernel, bool(variant), _NAMES[self.dtype], self.channels, self.lanes)
        function = library.function(kernel, 6 + len(tensors))
        sizes = (self.species, self.blocks)
        addresses = [t.data_ptr() for t in (self.pointer, self.order, *tensors)]
        self._divide(work, lambda _, first, last: function(first, last, *sizes, *addresses))

    def mix(self, w: Tensor) -> Tensor:
        """The packed slots of the species that occur; the others are left undefined and never read."""
        a, (slots, weights, factors) = self.slots(), _table(self.p, self.dtype)
        self._mixing("mix", (len(self.p.slots), self.p.weights), slots, weights, factors, w, a)
        return a

    def unmix(self, ga: Tensor) -> Tensor:
        """The cotangent of the weights; zero for species that do not occur."""
        gw = torch.zeros(self.species, self.p.weights, self.channels, dtype=self.dtype)
        slots, weights, factors = _table(self.p, self.dtype)
        self._mixing("unmix", (self.p.weights, len(self.p.slots)), weights, slots, factors, ga, gw)
        return gw

    def _mixing(self, name: str, rows: tuple[int, int], *tensors: Tensor) -> None:
        function = _mixer(_NAMES[self.dtype], self.channels, self.lanes).function(name, 9 + len(tensors))
        sizes = (self.species, self.blocks, self.pointer.data_ptr(), self.order.data_ptr(), len(self.p.terms), *rows)
        addresses = [t.data_ptr() for t in tensors]
        work = len(self.p.terms) * self.channels * self.species
        self._divide(work, lambda _, first, last: function(first, last, *sizes, *addresses))

    def _divide(self, work: int, call) -> None:
        parts = min(threads.parts(work), self.blocks)
        threads.run(call, [part * self.blocks // parts for part in range(parts + 1)])


def forward(p: Polynomials, x: Tensor, w: Tensor, species: Tensor) -> Tensor:
    """``(nodes, outputs, channels)``."""
    call, x, w = _prepare(p, x, w, species)
    out = pool.empty((len(x), p.outputs, call.channels), x.dtype)
    call.run("forward", "", _work(p, x, 1), x, call.mix(w), out)
    return out


def gradient(
    p: Polynomials, x: Tensor, w: Tensor, species: Tensor, grad: Tensor, needs_weights: bool
) -> tuple[Tensor, Tensor | None]:
    """The cotangents of ``x`` and, if asked for, of ``w``."""
    call, x, w = _prepare(p, x, w, species)
    gx, ga = pool.empty(x.shape, x.dtype), call.slots() if needs_weights else x
    variant = "weights" if needs_weights else ""
    call.run("gradient", variant, _work(p, x, 3), x, call.mix(w), grad.contiguous(), gx, ga)
    return gx, call.unmix(ga) if needs_weights else None


def second(
    p: Polynomials, x: Tensor, w: Tensor, species: Tensor, grad: Tensor, dx: Tensor | None, dw: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """The derivatives of ``<dx, gx> + <dw, gw>`` with respect to ``x``, ``w`` and ``grad``."""
    call, x, w = _prepare(p, x, w, species)
    along = torch.zeros_like(x) if dx is None else dx.contiguous()
    a = call.mix(w)
    da = a if dw is None else call.mix(dw.contiguous())
    hx, ha, out = pool.empty(x.shape, x.dtype), call.slots(), pool.empty(grad.shape, x.dtype)
    variant = "" if dw is None else "weights"
    call.run("second", variant, _work(p, x, 8), x, a, grad.contiguous(), along, da, hx, ha, out)
    return hx, call.unmix(ha), out


def _prepare(p: Polynomials, x: Tensor, w: Tensor, species: Tensor) -> tuple[Call, Tensor, Tensor]:
    channels = x.shape[-1]
    numbers = species.numpy()
    pointer = np.zeros(len(w) + 1, dtype=np.int64)
    try:
        counts = np.bincount(numbers, minlength=len(w))
        np.cumsum(counts, out=pointer[1:])
    except ValueError:  # a negative species, or one too large for the counts
        check_species(int(numbers.min()), int(numbers.max()), len(w))
        raise
    order = np.argsort(numbers.astype(np.int16) if len(w) < 1 << 15 else numbers, kind="stable")  # radix sort if it is short
    lanes = min(choose().lanes(_NAMES[x.dtype]), 1 << (channels.bit_length() - 1))
    call = Call(p, x.dtype, torch.from_numpy(pointer), torch.from_numpy(order), channels, lanes)
    return call, x.contiguous(), w.contiguous()


def check_species(least: int, greatest: int, count: int) -> None:
    """InputError for a species without weights."""
    if least < 0 or greatest >= count:
        raise InputError(f"weights are given for {count} species, 0..{count - 1}; the nodes have {least}..{greatest}")


def _work(p: Polynomials, x: Tensor, passes: int) -> int:
    return passes * p.operations * len(x) * x.shape[-1]


@lru_cache(maxsize=256)
def _library(p: Polynomials, kernel: str, weights: bool, dtype: str, channels: int, lanes: int) -> Library:
    def write(target: Target) -> str:
        k = Builder(dtype, lanes)
        if kernel == "forward":
            polynomial.write_forward(k, p, channels)
        elif kernel == "gradient":
            polynomial.write_gradient(k, p, channels, weights=weights)
        else:
            polynomial.write_second(k, p, channels, weights=weights)
        return k.text

    return load(("polynomial", p.shape_key, kernel, weights, dtype, channels, lanes), write, sources=(polynomial.__file__,))


@lru_cache(maxsize=16)
def _mixer(dtype: str, channels: int, lanes: int) -> Library:
    def write(target: Target) -> str:
        k = Builder(dtype, lanes)
        polynomial.write_mix(k, channels)
        return k.text

    return load(("mix", dtype, channels, lanes), write, sources=(polynomial.__file__,))


@lru_cache(maxsize=64)
def _table(p: Polynomials, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Slot, weight and factor of every term."""
    slots, weights, factors = map(torch.from_numpy, p.mixing)
    return slots, weights, factors.to(dtype)
