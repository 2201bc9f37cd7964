"""Input for a foreign model whose owner gives none: a crystal for interatomic potentials of the mace-torch kind.

A cubic crystal of 64 atoms, the model's elements in turn, displaced at random, with about 25 neighbours each within the model's
cutoff, as the dictionary of tensors that such models take. ``edge_index`` is (source, target), and the vector of an edge is
``positions[target] - positions[source] + shifts``.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from coset.nn.foreign_reading import float_dtype

SIDE = 4  #: atoms along the edge of the cell
SPACING = 0.56  #: of the cutoff: 26 neighbours


def is_potential(model: nn.Module) -> bool:
    """Whether the model is built like those of mace-torch and takes their dictionary."""
    return all(hasattr(model, name) for name in ("atomic_numbers", "r_max", "interactions", "products", "radial_embedding"))


def example_crystal(model: Any, seed: int = 0) -> dict[str, Tensor]:
    """A crystal for a model for which :func:`is_potential` holds, in its dtype and on its device."""
    dtype, device = float_dtype(model), model.r_max.device
    generator = torch.Generator().manual_seed(seed)
    cutoff = float(model.r_max)
    cell = SIDE * SPACING * cutoff * torch.eye(3, dtype=torch.float64)
    grid = torch.cartesian_prod(*[torch.arange(SIDE)] * 3)
    positions = (grid + 0.06 * torch.randn(len(grid), 3, generator=generator)) * SPACING * cutoff
    positions = positions.to(torch.float64)
    edge_index, images = neighbours(positions, cell, cutoff)
    elements = len(model.atomic_numbers)
    species = (grid.sum(1) + SIDE * (torch.arange(len(grid)) // 2 % 2)) % elements if elements > 1 else 0 * grid[:, 0]
    data = {
        "positions": positions,
        "node_attrs": torch.eye(elements, dtype=torch.float64)[species],
        "edge_index": edge_index,
        "unit_shifts": images,
        "shifts": images @ cell,
        "cell": cell,
        "batch": torch.zeros(len(grid), dtype=torch.int64),
        "ptr": torch.tensor([0, len(grid)]),
        "head": torch.zeros(1, dtype=torch.int64),
    }
    return {name: x.to(device, dtype if x.is_floating_point() else x.dtype) for name, x in data.items()}


def neighbours(positions: Tensor, cell: Tensor, cutoff: float) -> tuple[Tensor, Tensor]:
    """Pairs closer than ``cutoff`` in a cell no shorter than it: ``edge_index`` ``(2, E)`` and lattice steps ``(E, 3)``."""
    images = torch.cartesian_prod(*[torch.tensor([-1.0, 0.0, 1.0], dtype=positions.dtype)] * 3)
    vectors = positions[None, :, None] - positions[:, None, None] + images @ cell  # source, target, image
    distance = vectors.norm(dim=-1)
    source, target, image = torch.nonzero((distance < cutoff) & (distance > 1e-6), as_tuple=True)
    return torch.stack([source, target]), images[image]
