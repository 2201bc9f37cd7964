"""Handwritten digits, trained upright and tested at every angle: what each kind of symmetry buys and costs.

Contract: the class of a digit does not change under SO(2) (but for 6 and 9, which is part of the lesson). Every row sees
the same 1200 upright digits and is tested at 72 angles: the first 150 test digits at size ``cpu``, all 597 at ``full``; the
upright, noisy and shifted columns always take all of them. Data: scikit-learn's digits, or
``--data mnist=FILE``. Setting and calibration: :mod:`coset.data.digits`.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from coset.audits.orbits import OrbitResult, orbits
from coset.contract import Contract, evaluating, frozen
from coset.data.digits import center_logits, digits, digits_contract
from coset.groups.finite import C
from coset.groups.matrix import SO, O
from coset.models.images.cnn import CNN
from coset.models.images.group_cnn import GroupCNN
from coset.models.images.harmonic_cnn import HarmonicCNN
from coset.models.images.moments_cnn import MomentsNet
from coset.objectives.constrained import Constrained
from coset.objectives.penalized import Penalized
from coset.objectives.supervised import Supervised
from coset.reps.fields import Field
from coset.reps.image import Image
from coset.symmetrizers.augment import AugmentationSpace, Augmented, Jitter
from coset.symmetrizers.average import OrbitAverage
from coset.symmetrizers.canonical import Canonicalize, PrincipalAxis
from coset.symmetrizers.frames import FrameAverage
from coset.symmetrizers.regularize import OutputRegularizer
from coset.task import Data, Method, Recipe, Stage, Task

ANGLES = 72
PICTURES = 40  #: test images that the report can show

turns = digits_contract(SO(2))
quarter_turns = digits_contract(C(4))
base = Supervised("cross_entropy", contract=turns)
space = AugmentationSpace(turns)


def seen(group: Any) -> Contract:
    """What wrappers act on: the 16-pixel image that a model sees, turned in its disc."""
    return Contract(group, Field(("B", "1"), Image(disc=True)), "B x 10 x scalar", view=center_logits)


# ------------------------------------------------------------------------------------------------ models


def cnn(data: Data) -> nn.Module:
    """The plain network, 33.9 thousand weights."""
    return CNN()


def canonicalized(data: Data) -> nn.Module:
    """The same network behind a principal-axis canonicalizer."""
    return Canonicalize(CNN(), seen(SO(2)), canonicalizer=PrincipalAxis())


def framed(data: Data) -> nn.Module:
    """The same network averaged over the two frames of SO(2)."""
    return FrameAverage(CNN(), seen(SO(2)))


def framed_with_mirrors(data: Data) -> nn.Module:
    """The same network averaged over the four frames of O(2)."""
    return FrameAverage(CNN(), seen(O(2)))


def zernike(data: Data) -> nn.Module:
    """Zernike magnitudes to order 8, as many as 16 pixels resolve."""
    return MomentsNet("zernike", 8)


def pseudo_zernike(data: Data) -> nn.Module:
    """Pseudo-Zernike magnitudes to order 7."""
    return MomentsNet("pseudo-zernike", 7)


def fourier_mellin(data: Data) -> nn.Module:
    """Orthogonal Fourier-Mellin magnitudes to order 7."""
    return MomentsNet("fourier-mellin", 7)


def zernike_phases(data: Data) -> nn.Module:
    """Zernike moments to order 8 with their relative phases."""
    return MomentsNet("zernike", 8, phases=True)


def harmonic(data: Data) -> nn.Module:
    """Circular harmonics up to frequency 2."""
    return HarmonicCNN()


def group_cnn(data: Data) -> nn.Module:
    """Group convolutions over C(8) with steerable 5 x 5 kernels."""
    return GroupCNN("C(8)", (4, 6, 10))


def average_orbit(model: nn.Module, data: Data) -> tuple[nn.Module, Data]:
    """Wrap a trained network: at test time the mean of its beliefs over eight turns."""
    return OrbitAverage(model, seen(SO(2)), n=8, pool="probabilities"), data


# ------------------------------------------------------------------------------------------------ metrics


class Once:
    """An evaluation that several metrics read: kept for the last model and data it was made for."""

    def __init__(self, evaluate: Callable[[Any, Data], Any]) -> None:
        self.evaluate = evaluate
        self.key: tuple[Any, ...] = ()
        self.value: Any = None

    def __call__(self, model: Any, data: Data) -> Any:
        """``evaluate(model, data)``, once."""
        if not self.key or self.key[0]() is not model or self.key[1]() is not data:
            self.key, self.value = (), None
            self.value = self.evaluate(model, data)
            self.key = (weakref.ref(model), weakref.ref(data))
        return self.value


def logits(model: Any, x: Tensor, *, batch: int = 512) -> Tensor:
    """Outputs in eval mode, a batch at a time."""
    with evaluating(model), frozen(model), torch.no_grad():
        return torch.cat([model(part) for part in x.split(batch)])


def orbit(model: Any, data: Data) -> OrbitResult:
    """Probability of the true class along the orbit, 72 angles, of the first ``info["orbit"]`` test images."""
    count = data.info["orbit"]
    x, y = data.test["x"][:count], data.test["y"][:count]
    found = orbits(model, x, turns, elements=SO(2).grid(ANGLES), metric="probability", truth=y, keep=False)
    found.pictures = data.test["upright"][:PICTURES, 0].clamp(0, 1).numpy()
    return found


evaluated = Once(orbit)


def hits(model: Any, data: Data) -> np.ndarray:
    """Whether the class is right, (samples, angles)."""
    found = evaluated(model, data)
    return found.classes == found.labels[:, None]


def orbit_accuracy(model: Any, data: Data) -> float:
    """Mean accuracy over the orbit, percent."""
    return 100 * float(hits(model, data).mean())


def worst_accuracy(model: Any, data: Data) -> float:
    """Accuracy at the worst of the 72 angles, percent."""
    return 100 * float(hits(model, data).mean(0).min())


def accuracy_on(name: str) -> Callable[[Any, Data], float]:
    """Accuracy on one version of the whole test set, percent."""

    def metric(model: Any, data: Data) -> float:
        return 100 * float((logits(model, data.test[name]).argmax(-1) == data.test["y"]).double().mean())

    return metric


# ------------------------------------------------------------------------------------------------ rows


def augmented(*, weight: float | None = None, within: float | None = None) -> Augmented:
    """Uniform random turns, by at most ``within`` radians if given; with ``weight`` beside the clean loss."""
    return Augmented(base, turns, family=None if within is None else Jitter(SO(2), within), weight=weight)


def softened(strength: float) -> Penalized:
    """The relative change of the logits under random turns, penalised."""
    return Penalized(base, OutputRegularizer(turns, strength))


AUGMENT = Stage(augmented())
AVERAGE = Stage(prepare=average_orbit, loop=None)

methods = (
    Method("plain", cnn, axes={"model": "cnn", "symmetry": "none"}, note="Trained upright, it knows nothing of turned digits."),
    Method(
        "augmented, 20 epochs", cnn, (AUGMENT,), axes={"model": "cnn", "symmetry": "augmentation"},
        note="Random turns teach the orbit, at the price of upright accuracy while training is short.",
    ),
    Method(
        "augmented, 60 epochs", cnn, (Stage(augmented(), {"epochs": 60}),), axes={"model": "cnn", "symmetry": "augmentation"},
        note="Three times the training closes most of that gap: compare augmentation at equal time, not equal epochs.",
    ),
    Method(
        "clean + uniform, weight 1", cnn, (Stage(augmented(weight=1.0)),), axes={"model": "cnn", "symmetry": "augmentation"},
        note="The control for the next row: most of its gain is the clean term, not the constraint.",
    ),
    Method(
        "constrained augmentation", cnn, (Stage(Constrained(base, space, 0.2, M=2, eta=5e-3)),),
        axes={"model": "cnn", "symmetry": "augmentation"}, source="hounie2023",
        note="The weight of the turned loss is a multiplier that training finds: it need not be searched.",
    ),
    Method(
        "soft regularizer, weight 1", cnn, (Stage(softened(1.0)),), axes={"model": "cnn", "symmetry": "soft"}, source="kim2023",
        note="Asked only to change little when turned, without labels there: more symmetric, not as accurate.",
    ),
    Method(
        "soft regularizer, weight 3", cnn, (Stage(softened(3.0)),), axes={"model": "cnn", "symmetry": "soft"}, source="kim2023",
        note="A smaller error than augmentation and still less accurate: low error is not correctness.",
    ),
    Method(
        "plain + orbit average", cnn, (Stage(), AVERAGE), axes={"model": "cnn", "symmetry": "averaging"},
        note="Exactly invariant to quarter turns and useless: averaging a network that was never taught the orbit.",
    ),
    Method(
        "augmented + orbit average", cnn, (AUGMENT, AVERAGE), axes={"model": "cnn", "symmetry": "averaging"},
        note="The same average of a network that was: a third of the error, for eight forward passes.",
    ),
    Method(
        "canonicalized", canonicalized, axes={"model": "cnn", "symmetry": "canonicalization"}, source="kaba2023",
        note="Turned upright by its principal axis first. Clean centered digits flatter it: see the noise and shift columns.",
    ),
    Method(
        "frame averaging, SO(2)", framed, axes={"model": "cnn", "symmetry": "frames"}, source="puny2022",
        note="Two frames instead of one upright guess: no sign to decide, twice the cost.",
    ),
    Method(
        "frame averaging, O(2)", framed_with_mirrors, axes={"model": "cnn", "symmetry": "frames"}, source="puny2022",
        note="The wrong group: a mirrored digit is no digit, and forcing mirrors costs accuracy.",
    ),
    Method(
        "circular-harmonic CNN", harmonic, axes={"model": "harmonic", "symmetry": "steerable"}, source="worrall2017",
        note="Every layer promises all of SO(2); the pixel grid keeps it at quarter turns and breaks it between.",
    ),
    Method(
        "C8 convolution", group_cnn, axes={"model": "group cnn", "symmetry": "group convolution"},
        source="cohen2016, weiler2018",
        note="Exact at 90 degrees by construction, but trained upright it learns to read the grid between its angles.",
    ),
    Method(
        "C8 convolution + jitter", group_cnn, (Stage(augmented(within=math.pi / 8)),),
        axes={"model": "group cnn", "symmetry": "group convolution"}, source="cohen2016, weiler2018",
        note="Turning by at most half a step in training mends that: the layers carry it to the whole circle.",
    ),
    Method(
        "Zernike magnitudes", zernike, axes={"model": "moments", "symmetry": "moments"}, source="singh2022",
        note="No learned filters, trained in a second: symmetric to the pixel grid, but magnitudes forget the layout.",
    ),
    Method(
        "pseudo-Zernike magnitudes", pseudo_zernike, axes={"model": "moments", "symmetry": "moments"}, source="singh2022",
        note="More radial polynomials for each frequency: denser, and more sensitive to noise at the rim.",
    ),
    Method(
        "Fourier-Mellin magnitudes", fourier_mellin, axes={"model": "moments", "symmetry": "moments"}, source="singh2022",
        note="Many frequencies at few radial orders: the coarse grid hurts it most near the center.",
    ),
    Method(
        "Zernike + relative phases", zernike_phases, axes={"model": "moments", "symmetry": "moments"}, source="singh2022",
        note="Phases relative to each other are invariant too, and bring back what magnitudes forget.",
    ),
)  # fmt: skip

task = Task(
    contracts=(turns, quarter_turns),
    data=digits,
    objective=base,
    metrics={
        "orbit_percent": orbit_accuracy,
        "upright_percent": accuracy_on("upright"),
        "worst_angle_percent": worst_accuracy,
        "noise_percent": accuracy_on("noise_20"),
        "shift_percent": accuracy_on("shift_1"),
    },
    methods=methods,
    recipe={"smoke": Recipe(epochs=2), "cpu": Recipe(), "full": Recipe()},
    findings={"orbit": evaluated},
)
