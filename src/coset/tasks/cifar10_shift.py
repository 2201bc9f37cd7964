"""CIFAR-10 under shifts of a few pixels: clean accuracy beside consistency under circular shifts and shifted crops.

Contract: the class does not change under circular shifts, Torus(32, 32); crops bring in new content, and no network is exact
there. The setting of the paper at the size of CIFAR-10: transformers with patches of four pixels, with and without polyphase
anchors, trained from scratch. Ding et al., Reviving Shift Equivariance in Vision Transformers, 2023, arXiv 2306.07470. Data:
``--data cifar10=FILE`` (:mod:`coset.data.cifar10` reads the public forms), else gratings in their place.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import nn

from coset.audits.orbit_result import OrbitResult
from coset.audits.shifts import circular_consistency, crop_consistency, predicted, random_shifts, shift_map
from coset.data.cifar10 import cifar10
from coset.data.shifted_digits import shift_contract
from coset.models.images.poly_vit import PolyViT
from coset.objectives.supervised import Supervised
from coset.symmetrizers.augment import Augmented
from coset.symmetrizers.canonical import Canonicalize
from coset.symmetrizers.polyphase import PolyphaseAnchor
from coset.task import Data, Method, Recipe, Stage, Task

TWINS = ("window", "subsampled")
SMALL: dict[str, Any] = {"widths": (64,), "depths": (4,), "heads": 4}  #: what one core trains in minutes
TINY: dict[str, Any] = {
    "widths": (192,),
    "depths": (9,),
    "heads": 3,
    "drop": 0.1,
}  #: "tiny" of the literature, for size ``full``
PATCH = 4

everywhere = shift_contract(channels=3)
base = Supervised("cross_entropy")


def build(attention: Any, data: Data, *, anchored: bool) -> PolyViT:
    """A transformer for 32 x 32 colors: width 64 and four blocks, at size ``full`` 192 and nine."""
    return PolyViT(attention, channels=3, patch=PATCH, anchored=anchored, **(TINY if data.info["full"] else SMALL))


def canonicalized(data: Data) -> nn.Module:
    """The plain network on images rolled to one fixed place."""
    return Canonicalize(build("global", data, anchored=False), everywhere, canonicalizer=PolyphaseAnchor(PATCH))


def accuracy(model: Any, data: Data) -> float:
    """Clean accuracy, percent."""
    return 100 * float((predicted(model, data.test["x"]) == data.test["y"]).double().mean())


def shifted_accuracy(model: Any, data: Data) -> float:
    """Accuracy on test images under random circular shifts, percent."""
    return 100 * float((predicted(model, random_shifts(data.test["x"])) == data.test["y"]).double().mean())


def circular(model: Any, data: Data) -> float:
    """Percent of test images given one class under two random circular shifts."""
    return circular_consistency(model, data.test["x"])


def crop(model: Any, data: Data) -> float:
    """Percent of test images given one class in two windows, up to four mirrored pixels off."""
    return crop_consistency(model, data.test["x"])


def consistency_map(model: Any, data: Data) -> OrbitResult:
    """Over shifts by 0 to 8 pixels: the share of test images given their most frequent class."""
    with torch.no_grad():
        return shift_map(model, data.test["x"][:24], everywhere, down=range(9), right=range(9))


plain, plain_twins = (partial(build, attention, anchored=False) for attention in ("global", TWINS))
poly, poly_twins = (partial(build, attention, anchored=True) for attention in ("global", TWINS))

methods = (
    Method("plain ViT", plain, axes={"model": "vit", "symmetry": "none"},
           note="Learned positions: clean accuracy is what it knows, not what a camera a pixel aside would see."),
    Method("plain ViT, all shifts", plain, (Stage(Augmented(base, everywhere)),),
           axes={"model": "vit", "symmetry": "augmentation"}, note="Every training image at a random circular shift."),
    Method("polyvit_tiny", poly, axes={"model": "vit", "symmetry": "polyphase anchors"}, source="ding2023",
           reference={"circular_percent": 100.0}, note="Exact under circular shifts; crops are helped, not mended."),
    Method("plain Twins", plain_twins, axes={"model": "twins", "symmetry": "none"}, source="chu2021",
           note="Windows of four tokens and keys from patches of two: more borders to cross."),
    Method("polytwins_tiny", poly_twins, axes={"model": "twins", "symmetry": "polyphase anchors"}, source="ding2023",
           reference={"circular_percent": 100.0},
           note="One anchor more, for windows of four tokens, and the subsampled keys are at home as well."),
    Method("canonicalized ViT", canonicalized, axes={"model": "vit", "symmetry": "canonicalization"}, source="ding2023",
           note="One place for every image keeps absolute positions: exact, but the place follows the brightest patch."),
)  # fmt: skip

task = Task(
    contracts=(everywhere,),
    data=cifar10,
    objective=base,
    metrics={
        "accuracy_percent": accuracy,
        "circular_percent": circular,
        "crop_percent": crop,
        "shifted_percent": shifted_accuracy,
    },
    methods=methods,
    recipe={
        "smoke": Recipe(epochs=1, batch=32),
        "cpu": Recipe(epochs=15, batch=64, lr=1e-3, weight_decay=0.05),
        "full": Recipe(epochs=100, batch=256, lr=1e-3, weight_decay=0.05),
    },
    findings={"shifts": consistency_map},
)
