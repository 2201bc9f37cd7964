"""The eight Tetris pieces in space: four blocks each, two of them mirror images of each other, trained upright, tested turned.

The pieces of Thomas et al., Tensor Field Networks, arXiv 1802.08219. All but the two chiral ones have a plane of symmetry:
the pair can be told apart only by an invariant that is odd under reflections.
"""

from __future__ import annotations

import torch
from torch import Tensor

from coset.errors import InputError
from coset.groups.matrix import SO
from coset.recipe import Data, Request

#: pieces by name, blocks ``(4, 3)``; the first two are mirror images
PIECES = {
    "chiral left": ((0, 0, 0), (0, 0, 1), (1, 0, 0), (1, 1, 0)),
    "chiral right": ((0, 0, 0), (0, 0, 1), (1, 0, 0), (1, -1, 0)),
    "square": ((0, 0, 0), (1, 0, 0), (0, 1, 0), (1, 1, 0)),
    "line": ((0, 0, 0), (0, 0, 1), (0, 0, 2), (0, 0, 3)),
    "corner": ((0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0)),
    "L": ((0, 0, 0), (0, 0, 1), (0, 0, 2), (0, 1, 0)),
    "T": ((0, 0, 0), (0, 0, 1), (0, 0, 2), (0, 1, 1)),
    "zigzag": ((0, 0, 0), (1, 0, 0), (1, 1, 0), (2, 1, 0)),
}
SIZES = {"smoke": (2, 2), "cpu": (10, 10), "full": (10, 100)}  #: copies of every piece in training and in the test


def pieces(dtype: torch.dtype = torch.float32) -> Tensor:
    """All pieces upright, centered, ``(8, 4, 3)``; unit blocks."""
    x = torch.tensor(list(PIECES.values()), dtype=dtype)
    return x - x.mean(1, keepdim=True)


def tetris(request: Request) -> Data:
    """Training: upright pieces, again and again. Test: every copy turned at random. InputError for a data file."""
    if request.files:
        raise InputError(f"tetris pieces are generated; they take no data file, got {request.files[0][0]!r}")
    train, test = SIZES[request.size]
    generator = torch.Generator().manual_seed(3000 + request.seed)
    upright, labels = pieces(), torch.arange(len(PIECES))
    turns = SO(3).sample(test * len(PIECES), generator=generator).to(upright)
    held = {"x": upright.repeat(test, 1, 1) @ turns.mT, "y": labels.repeat(test), "upright": upright.repeat(test, 1, 1)}
    info = {"classes": len(PIECES), "points": upright.shape[1]}
    return Data({"x": upright.repeat(train, 1, 1), "y": labels.repeat(train)}, held, held["x"][:16], None, info)
