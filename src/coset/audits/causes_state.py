"""Suspects outside the architecture: a model left in training mode, random draws, numbers of lower precision."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

from coset.audits.causes_modes import DROPOUTS, Instead, Wide, batch_free, noiseless, settled
from coset.audits.causes_trial import Setting, Trial, Where, modules_within, under
from coset.contract import relative

TRAINING, RANDOM, CAST = "training mode", "random numbers", "float32 cast"

SMALL = 1e-3  #: an error above this is no rounding of float32
ROUNDING = 1e-13  #: relative size of what the order of sums in float64 does
ROUGH = 1e-9  #: relative size of the steps at which a smooth function is a straight line


def training(setting: Setting) -> Iterator[Trial]:
    """Batch norm and dropout that still train; then all other randomness."""
    roots, called = modules_within(setting.f), set()
    with Instead({}, lambda name, _: called.add(name)):
        first = setting.call()
    drawn = _between(first, setting.call(seed=1))
    # what eval() of the model itself does not reach
    out_of_sight = [root for root in roots if root is not setting.f]
    hidden = [type(m).__name__ for root in out_of_sight for m in root.modules() if m.training and not list(m.children())]
    kinds = ", ".join(dict.fromkeys(name for name in hidden if "Norm" in name or "Drop" in name))
    told = f" ({kinds})" if kinds else ""
    varies = f"two calls on one input differ by {drawn:.1e}; " if drawn else ""

    if drawn or hidden or called & {*DROPOUTS, "batch_norm"}:
        yield Trial(
            TRAINING, _evaluated,
            f"layers behave as in training{told}: {varies}in eval mode the error falls from {{before}} to {{after}}",
            "call model.eval() before it is used, and pass training=self.training to functional dropout and batch norm",
            facts={"difference of two calls": drawn},
        )  # fmt: skip
        yield Trial(
            TRAINING, under(settled, lambda: batch_free(plain=True)),
            "batch norm divides by the statistics of the batch, as in training: with fixed ones, the same for all components, "
            "the error falls from {before} to {after}",
            "call model.eval(); if the error stays, a norm by component stands on vectors: normalize their lengths instead",
        )  # fmt: skip
    if drawn:
        yield Trial(
            RANDOM, under(noiseless),
            f"the model draws random numbers: {varies}with their mean instead the error falls from {{before}} to {{after}}",
            "make the noise a named input of the contract, or claim 'mean' or 'law' instead of 'exact'",
            facts={"difference of two calls": drawn},
        )  # fmt: skip


@contextmanager
def _evaluated(setting: Setting) -> Iterator[Setting]:
    """Every module that can be reached in eval mode, and functional dropout and batch norm likewise."""
    kept = [(module, module.training) for root in modules_within(setting.f) for module in root.modules()]
    for module, _ in kept:
        module.training = False
    try:
        with under(settled, batch_free)(setting) as calm:
            yield calm
    finally:
        for module, mode in kept:
            module.training = mode


def precision(setting: Setting) -> Iterator[Trial]:
    """Casts below float64 on the way, taken out; where the cast cannot be seen (NumPy, C++), the steps it leaves."""
    if not all(value.dtype is torch.float64 for value in setting.x.values() if value.is_floating_point()):
        return
    casts: list[str] = []
    made = 0.0
    with Where(setting.f) as where:
        try:
            with Wide(casts, lambda: where.name):
                wide = setting.call()
            made = _between(wide, setting.call())
        except RuntimeError:
            casts = []
    if casts:
        layer = next((name for name in casts if name), "")
        yield Trial(
            CAST, under(Wide),
            f"float64 is cast to a lower precision {len(casts)} times on the way{f', first in {layer}' if layer else ''}: "
            "left in float64 the error falls from {before} to {after}",
            "keep the dtype of the input: x.to(weight.dtype) on both sides, no .float(), constants by new_tensor",
            layer=layer, facts={"casts": float(len(casts))},
        )  # fmt: skip
        return
    if made > ROUNDING:
        yield Trial(
            CAST, under(Wide),
            f"numbers are made in float32 on the way, in torch's default dtype: in float64 the output differs by {made:.0e}, "
            "and the error falls from {before} to {after}",
            "make constants and features in the dtype of the input: torch.ones(n, dtype=x.dtype), x.new_zeros(n)",
            facts={"difference": made},
        )  # fmt: skip
    steps = roughness(setting) if setting.before <= SMALL else 0.0
    if steps > ROUGH / 10 and setting.before <= 300 * steps:
        yield Trial(
            CAST, None,
            f"the output moves in steps of {steps:.0e} (relative), which float64 does not: some of it is computed in float32, "
            "outside of torch's sight, and the error of {before} is of that size",
            "keep the dtype of the input: no astype(float32), and build compiled parts for float64",
            facts={"steps": steps},
        )  # fmt: skip


def roughness(setting: Setting) -> float:
    """Relative size of the second difference of the output at steps of 1e-9: rounding is 1e-15, float32 leaves 1e-8."""
    x, generator = setting.origin(), torch.Generator().manual_seed(0)
    found = 0.0
    for _ in range(3):
        way = {
            name: ROUGH * value.abs().max() * torch.randn(value.shape, generator=generator, dtype=torch.float64)
            for name, value in x.items()
            if value.is_floating_point() and setting.contract.inputs.of(name).kind.floating
        }
        ends = [
            setting.call({name: value + sign * way[name] if name in way else value for name, value in x.items()})
            for sign in (-1, 0, 1)
        ]
        for name, middle in ends[1].items():
            bend = ends[0][name] - 2 * middle + ends[2][name]
            found = max(found, float(relative(bend.detach(), middle.detach())))
    return found


def _between(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> float:
    """Largest relative difference of two outputs; inf for outputs of different shapes."""
    if any(a[name].shape != b[name].shape for name in a):
        return float("inf")
    return max((float(relative((a[name] - b[name]).detach(), a[name].detach())) for name in a), default=0.0)
