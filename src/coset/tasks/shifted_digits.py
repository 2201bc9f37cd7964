"""Digits at multiples of four pixels in training and anywhere at test: what makes a vision transformer shift-invariant.

Contract: the class does not change under circular shifts, Torus(32, 32). Patches have four pixels, so that shifts by one to
three pixels are new to a plain transformer; all rows but one see random shifts by multiples of four, Torus(8, 8), in
training. Anchored rows: Ding et al., Reviving Shift Equivariance in Vision Transformers, 2023, arXiv 2306.07470. Data:
:mod:`coset.data.shifted_digits`, or ``--data mnist=FILE``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn

from coset.audits.orbit_result import OrbitResult
from coset.audits.shifts import circular_consistency, predicted, shift_map
from coset.data.shifted_digits import SIZE, STRIDE, shift_contract, shifted_digits
from coset.groups.torus import Torus
from coset.models.images.poly_vit import PolyViT
from coset.objectives.supervised import Supervised
from coset.symmetrizers.augment import Augmented
from coset.symmetrizers.canonical import Canonicalize
from coset.symmetrizers.polyphase import PolyphaseAnchor, anchor_vit
from coset.task import Data, Method, Recipe, Stage, Task

TWINS = ("window", "subsampled")
MAPPED = 24  #: test images behind the map of shifts

everywhere = shift_contract()
aligned = shift_contract(Torus(SIZE // STRIDE, SIZE // STRIDE))
base = Supervised("cross_entropy")


def build(attention: Any, data: Data, *, anchored: bool) -> nn.Module:
    """Four blocks of width 64 on patches of four pixels."""
    return PolyViT(attention, patch=STRIDE, anchored=anchored)


def canonicalized(data: Data) -> nn.Module:
    """The plain network on images rolled to one fixed place."""
    return Canonicalize(build("global", data, anchored=False), everywhere, canonicalizer=PolyphaseAnchor(STRIDE))


def converted(model: nn.Module, data: Data) -> tuple[nn.Module, Data]:
    """A trained plain network with its three pieces replaced, to be fine-tuned."""
    return anchor_vit(model), data


def accuracy_on(name: str) -> Callable[[Any, Data], float]:
    """Accuracy on one version of the test set, percent."""

    def metric(model: Any, data: Data) -> float:
        return 100 * float((predicted(model, data.test[name]) == data.test["y"]).double().mean())

    return metric


def drop(model: Any, data: Data) -> float:
    """Points of accuracy lost between aligned and shifted digits."""
    return accuracy_on("x")(model, data) - accuracy_on("shifted")(model, data)


def consistency(model: Any, data: Data) -> float:
    """Percent of test images given one class under two random circular shifts."""
    return circular_consistency(model, data.test["x"])


def consistency_map(model: Any, data: Data) -> OrbitResult:
    """Over shifts by 0 to 8 pixels: the share of images given their most frequent class."""
    with torch.no_grad():
        return shift_map(model, data.test["x"][:MAPPED], everywhere, down=range(9), right=range(9))


plain, plain_twins = (partial(build, attention, anchored=False) for attention in ("global", TWINS))
poly, poly_twins = (partial(build, attention, anchored=True) for attention in ("global", TWINS))

methods = (
    Method("plain ViT", plain, axes={"model": "vit", "symmetry": "none"},
           note="Learned positions and patches: at home at multiples of four pixels, lost in between."),
    Method("plain ViT, all shifts", plain, (Stage(Augmented(base, everywhere)),),
           axes={"model": "vit", "symmetry": "augmentation"},
           note="Shown every shift in training it learns most of the symmetry, and keeps none of it exactly."),
    Method("plain Twins", plain_twins, axes={"model": "twins", "symmetry": "none"}, source="chu2021",
           note="Windows and subsampled keys break shifts by whole patches, too."),
    Method("PolyViT", poly, axes={"model": "vit", "symmetry": "polyphase anchors"}, source="ding2023",
           reference={"consistency_percent": 100.0},
           note="One roll and a position convolution: exact, trained on aligned digits."),
    Method("PolyTwins", poly_twins, axes={"model": "twins", "symmetry": "polyphase anchors"}, source="ding2023",
           reference={"consistency_percent": 100.0},
           note="One anchor more, for windows of four tokens, and the subsampled keys are at home as well."),
    Method("plain ViT, converted", plain, (Stage(), Stage(recipe={"epochs": 10, "lr": 1e-3}, prepare=converted)),
           axes={"model": "vit", "symmetry": "polyphase anchors"}, source="ding2023",
           note="A trained network keeps its weights and loses its positions; a few epochs bring the accuracy back."),
    Method("canonicalized ViT", canonicalized, axes={"model": "vit", "symmetry": "canonicalization"}, source="ding2023",
           note="The strongest patch always stands in the corner: exact for any network, absolute positions and all."),
)  # fmt: skip

task = Task(
    contracts=(everywhere,),
    data=shifted_digits,
    objective=Augmented(base, aligned),
    metrics={
        "shifted_percent": accuracy_on("shifted"),
        "aligned_percent": accuracy_on("x"),
        "drop_percent": drop,
        "consistency_percent": consistency,
    },
    methods=methods,
    recipe={
        "smoke": Recipe(epochs=1, batch=32),
        "cpu": Recipe(epochs=30, batch=64, lr=2e-3, weight_decay=0.03),
        "full": Recipe(epochs=100, batch=64, lr=2e-3, weight_decay=0.03),
    },
    findings={"shifts": consistency_map},
)
