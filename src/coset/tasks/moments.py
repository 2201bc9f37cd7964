"""Moments or means: what the head of a rotation-equivariant network keeps of a digit's shape.

One P4 network (four group convolutions of 8 channels over C(4), 24 x 24 input, 12 x 12 maps) on 600 digits at random angles;
rows differ in the head only: spatial means, or the magnitudes of orthogonal moments, with equal numbers of parameters
(within 5 %) and layer norm in both. J. Singh & C. Singh, arXiv 2209.10944.
Contract: SO(2) on images leaves the class alone.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from coset.contract import Contract, evaluating
from coset.data.rotated_digits import SIZE, rotated_digits, turn_images
from coset.groups.finite import C
from coset.groups.matrix import SO
from coset.models.images.group_cnn import GroupCNN
from coset.objectives.supervised import Supervised
from coset.recipe import Data, Recipe
from coset.reps.fields import Field
from coset.reps.image import Image
from coset.task import Method, Task

WIDTHS = (8, 8, 8, 8)
ANGLES = 36  #: of an orbit
#: head, order, width of the hidden layer: chosen so that all networks have the same number of parameters within 5 %
HEADS = {
    "average pool": ("pool", 0, 135),
    "zernike": ("zernike", 5, 16),
    "pseudo-zernike": ("pseudo-zernike", 4, 13),
    "fourier-mellin": ("fourier-mellin", 3, 12),
}


def p4(head: str, order: int, hidden: int, data: Data) -> GroupCNN:
    """The network of this task with one of the heads."""
    size, classes = data.info["size"], data.info["classes"]
    return GroupCNN(C(4), WIDTHS, kernel=3, head=head, order=order, hidden=hidden, norm="layer", size=size, classes=classes)


@torch.no_grad()
def error_percent(model: Any, data: Data) -> float:
    """Share of test digits, each at a random angle, that are misread."""
    with evaluating(model):
        return 100 * (_logits(model, data.test["x"]).argmax(-1) != data.test["y"]).double().mean().item()


@torch.no_grad()
def orbit_std(model: Any, data: Data) -> float:
    """Standard deviation over 36 angles of the probability of the true class, averaged over digits."""
    count = data.info["orbit"]
    source, y = data.test["source"][:count], data.test["y"][:count]
    with evaluating(model):
        orbit = []
        for k in range(ANGLES):
            angle = torch.full((count,), 2 * torch.pi * k / ANGLES, dtype=torch.float64)
            p = _logits(model, turn_images(source, angle)).double().softmax(-1)
            orbit.append(p[torch.arange(count), y])
    return torch.stack(orbit).std(0).mean().item()


def _logits(model: Any, x: Tensor) -> Tensor:
    return torch.cat([model(part) for part in x.split(256)])


NOTES = {
    "average pool": "The mean over the image is invariant and forgets where everything was.",
    "zernike": "Moments of higher order keep the shape; only its angle is lost.",
    "pseudo-zernike": "More radial detail at the same order.",
    "fourier-mellin": "Angular and radial order are free of each other; the singular centre costs accuracy.",
}

task = Task(
    contracts=(Contract(SO(2), Field(("B", "1"), Image(size=SIZE, disc=True)), "B x 10 x scalar"),),
    data=rotated_digits,
    objective=Supervised("cross_entropy"),
    metrics={"error_percent": error_percent, "orbit_std": orbit_std},
    methods=tuple(
        Method(
            name,
            partial(p4, head, order, hidden),
            axes=(("model", "P4 CNN"), ("head", name)),
            source="cohen2016" if head == "pool" else "singh2022",
            note=NOTES[name],
        )
        for name, (head, order, hidden) in HEADS.items()
    ),
    recipe={
        "smoke": Recipe(epochs=2, optimizer="adam"),
        "cpu": Recipe(epochs=40, optimizer="adam"),
        "full": Recipe(epochs=40, optimizer="adam"),
    },
    lower_is_better=True,
)
