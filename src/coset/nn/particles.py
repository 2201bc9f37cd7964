"""Systems of moving particles as the models of this library take them: their fields, their checks, their pairs."""

from __future__ import annotations

import torch
from torch import Tensor

from coset.errors import InputError

#: a system of particles as every model of this task takes it
INPUTS = {"pos": "B x N x position", "vel": "B x N x vector", "charge": "B x N x scalar"}
OUTPUTS = "B x N x position"


def check_sizes(name: str, **sizes: int) -> None:
    """InputError for a size below 1."""
    if bad := {key: value for key, value in sizes.items() if value < 1}:
        raise InputError(f"{name}: sizes are at least 1, got {', '.join(f'{key} {value}' for key, value in bad.items())}")


def check_particles(pos: Tensor, vel: Tensor, charge: Tensor) -> None:
    """InputError unless ``pos`` and ``vel`` are ``(..., N, 3)`` and ``charge`` is ``(..., N)``."""
    if pos.ndim < 2 or pos.shape[-1] != 3 or vel.shape != pos.shape or charge.shape != pos.shape[:-1]:
        shapes = f"pos {tuple(pos.shape)}, vel {tuple(vel.shape)}, charge {tuple(charge.shape)}"
        raise InputError(f"particles are pos (..., N, 3), vel of the same shape and charge (..., N); got {shapes}")


def all_pairs(batch: int, n: int, *, device: torch.device | None = None) -> Tensor:
    """``edge_index`` (2, batch n (n - 1)) of complete graphs of ``n`` nodes side by side, (source, target)."""
    source, target = torch.where(~torch.eye(n, dtype=torch.bool, device=device))
    offset = torch.arange(batch, device=device).unsqueeze(-1) * n
    return torch.stack([(offset + source).flatten(), (offset + target).flatten()])
