"""Suspects of images: zeros at the border that tell where it is, and steps that do not fit the grid."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from coset.audits.causes_modes import circular, unstrided
from coset.audits.causes_trial import Setting, Trial, under
from coset.groups.torus import Torus

PADDING, STRIDE = "padding", "stride"

STEPS = {2: "second", 3: "third", 4: "fourth", 8: "eighth"}  #: strides, and products of them, that are looked for


def padding(setting: Setting) -> Iterator[Trial]:
    """Zero padding under shifts that wrap around."""
    if not isinstance(setting.contract.group, Torus):
        return
    share = _at_border(setting)
    told = f" ({share:.0%} of the error stands at the border)" if share is not None else ""
    yield Trial(
        PADDING, under(circular),
        f"zeros at the border tell the model where it is{told}: with the images continued periodically the error falls from "
        "{before} to {after}",
        "padding_mode='circular' in every convolution (and circular padding before every pooling)",
        facts={"share at the border": share} if share is not None else {},
    )  # fmt: skip


def stride(setting: Setting) -> Iterator[Trial]:
    """Steps: shifts by whole steps keep what others break; a grid that the steps do not fit is no flip's own image."""
    group = setting.contract.group
    if isinstance(group, Torus):
        for step in (s for s in STEPS if group.h % s == 0 and group.w % s == 0 and max(group.h, group.w) > s):
            yield Trial(
                STRIDE, _whole_steps(group, step),
                f"only every {STEPS[step]} pixel is looked at, so that shifts are seen in steps of {step}: at multiples "
                "of that the error falls from {before} to {after}",
                "stride 1 with a global average, or a polyphase (APS) or blurred pooling instead of the stride",
                facts={"stride": float(step)},
            )  # fmt: skip
        return
    facts: list[tuple[int, int, int]] = []
    with unstrided(facts):
        try:
            setting.call()
        except Exception:  # the trial itself tells
            facts = []
    if facts:
        step, size, rest = facts[0]
        yield Trial(
            STRIDE, under(unstrided),
            f"steps of {step} over {size} pixels leave {rest} over, so that a turned or flipped image is sampled at other "
            "pixels: with every pixel looked at and averaged the error falls from {before} to {after}",
            f"a size with size + 2 padding - kernel divisible by {step} (such as {size + step - rest}), or stride 1 and a "
            "pooling whose windows fit",
            facts={"stride": float(step), "size": float(size), "left over": float(rest)},
        )  # fmt: skip
    for more in (1, 2, 3):
        yield Trial(
            STRIDE, _enlarged(more),
            f"pixels are left out in steps that do not fit the grid: with images larger by {more} the error falls from "
            "{before} to {after}",
            f"resize or pad the images by {more}, or pool with windows that fit",
            facts={"larger by": float(more)},
        )  # fmt: skip


def _whole_steps(group: Torus, step: int) -> Any:
    @contextmanager
    def undo(setting: Setting) -> Iterator[Setting]:
        moves = [(step, 0), (0, step), (step, step)]
        g = group.shifts(torch.tensor([m for m in moves if m[0] < max(group.h, 2) or m[1]]))
        yield replace(setting, g=g)

    return undo


def _enlarged(more: int) -> Any:
    @contextmanager
    def undo(setting: Setting) -> Iterator[Setting]:
        x = dict(setting.x)
        for name, declared in setting.contract.inputs:
            if not declared.still and declared.kind.axes >= 2 and x[name].ndim >= 3:
                flat = x[name].reshape(-1, 1, *x[name].shape[-2:])
                x[name] = functional.pad(flat, (0, more, 0, more), mode="replicate").reshape(
                    *x[name].shape[:-2], x[name].shape[-2] + more, x[name].shape[-1] + more
                )
        yield replace(setting, x=x)

    return undo


def _at_border(setting: Setting) -> float | None:
    """Share of the squared error within an eighth of the image's border, of outputs that are images; None without any."""
    for name, declared in setting.contract.outputs:
        if declared.still or declared.kind.axes != 2:
            continue
        gap: Tensor = setting.contract.residual(setting.f, setting.x, setting.g[0])[name].detach().square()
        height, width = gap.shape[-2:]
        # the border of the image and, after the shift, that of its moved copy
        ring = torch.zeros(height, width, dtype=torch.bool, device=gap.device)
        deep = max(1, min(height, width) // 8)
        for rows in (slice(0, deep), slice(height - deep, height)):
            ring[rows] = True
        for columns in (slice(0, deep), slice(width - deep, width)):
            ring[:, columns] = True
        down, right = setting.contract.group.steps(setting.g[0]).tolist()  # type: ignore[attr-defined]
        ring = ring | ring.roll((down, right), (0, 1))
        whole = float(gap.sum())
        return float(gap[..., ring].sum()) / whole if whole else None
    return None
