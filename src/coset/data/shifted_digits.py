"""One digit on a 32 x 32 torus: in training its corner stands at multiples of four pixels, at test anywhere.

scikit-learn's digits, enlarged bicubically to 16 px (or MNIST's, at 28 px, from a file), pasted into a black frame whose
borders meet. A network with patches of four pixels sees aligned digits only, unless it is symmetric under all shifts. The
split is fixed: seeds vary training, not data.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from coset.contract import Contract
from coset.data.digits import center_logits, framed, read_mnist, scikit_scans, split_order
from coset.errors import unknown
from coset.groups.torus import Torus
from coset.recipe import Data, Request
from coset.reps.fields import Field
from coset.reps.torus import PeriodicImage, roll_image

SIZE, STRIDE, INNER = 32, 4, 16
#: training, validation and test images
SIZES = {"smoke": (64, 32, 32), "cpu": (1000, 200, 597), "full": (1000, 200, 597)}
MNIST_SIZES = {"smoke": (64, 32, 32), "cpu": (4000, 500, 1000), "full": (50000, 10000, 10000)}


def shift_contract(group: Torus | None = None, *, size: int = SIZE, channels: int = 1, classes: int = 10) -> Contract:
    """Circular shifts leave the class alone, up to a shift of all logits; ``Torus(8, 8)`` are those by multiples of four."""
    image = Field(("B", str(channels)), PeriodicImage(size))
    return Contract(group or Torus(size, size), image, f"B x {classes} x scalar", view=center_logits)


def shifted_digits(request: Request) -> Data:
    """``train``, ``valid``: ``x`` (n, 1, 32, 32), each at a random multiple of four pixels, and ``y`` (n,).

    ``test`` holds ``x`` like these and ``shifted``, the same digits anywhere; ``audit`` is 32 aligned test images. ``files``
    may name ``mnist`` as :mod:`coset.data.digits` reads it. ``info``: classes, channels, size, source. InputError for an
    unknown name or size.
    """
    given = dict(request.files)
    if wrong := sorted(set(given) - {"mnist"}):
        raise unknown("data file", wrong[0], ["mnist"])
    if request.size not in SIZES:
        raise unknown("size", request.size, SIZES)
    if given:
        (x, y), (x_test, y_test) = read_mnist(Path(given["mnist"]))
        inner, counts, source = x.shape[-1], MNIST_SIZES[request.size], "mnist"
    else:
        x, y = scikit_scans()
        order = split_order(len(y))
        x, y, inner, counts, source = x[order], y[order], INNER, SIZES[request.size], "scikit-learn digits"
        x, x_test, y, y_test = x[:1200], x[1200:], y[:1200], y[1200:]
    train = paste(x[: counts[0]], y[: counts[0]], inner, seed=1)
    rest = slice(counts[0], counts[0] + counts[1])
    valid = paste(x[rest], y[rest], inner, seed=2)
    test = paste(x_test[: counts[2]], y_test[: counts[2]], inner, seed=3)
    test["shifted"] = roll_image(test["x"], corners(len(test["y"]), 1, seed=4))
    info = {"classes": 10, "channels": 1, "size": SIZE, "source": source}
    return Data(train, test, test["x"][:32], valid, info)


def paste(x: Tensor, y: Tensor, inner: int, *, seed: int) -> dict[str, Tensor]:
    """Digits (n, 1, h, w) enlarged to ``inner`` pixels, their corners at random multiples of four: ``x`` and ``y``."""
    canvas = framed(x, inner, SIZE)
    start = (SIZE - inner) // 2 % STRIDE  # where the frame puts the corner, off the multiples of four
    return {"x": roll_image(canvas, corners(len(y), STRIDE, seed=seed) - start), "y": y}


def corners(count: int, stride: int, *, seed: int) -> Tensor:
    """Random multiples of ``stride`` on the torus, (count, 2)."""
    return stride * torch.randint(SIZE // stride, (count, 2), generator=torch.Generator().manual_seed(seed))
