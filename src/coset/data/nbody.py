"""Charged particles in free space: five charges, soft-core Coulomb forces, where are they a while later?

The benchmark of Satorras et al. (EGNN, 2021) and Puny et al. (frame averaging, 2022), generated: positions and velocities
are Gaussian, charges ±1, unit masses, and

    a_i = sum_j q_i q_j (x_i - x_j) / (|x_i - x_j|² + softening²)^{3/2},

integrated by leapfrog in float64. The law of motion is invariant under E(3) and under permutations of the particles, so
the map from the state at time 0 to the positions at ``time`` is equivariant under both.
"""

from __future__ import annotations

import torch
from torch import Tensor

from coset.errors import InputError
from coset.recipe import Data, Request

SIZES = {"smoke": (60, 60, 60), "cpu": (500, 500, 500), "full": (3000, 2000, 2000)}  #: train, valid, test
PARTICLES, TIME, STEP, SOFTENING = 5, 1.0, 0.005, 0.3


def forces(x: Tensor, charge: Tensor, *, softening: float = SOFTENING) -> Tensor:
    """Coulomb forces, shape ``(..., n, 3)``, of unit charges ``(..., n)`` at ``x`` ``(..., n, 3)``."""
    gap = x.unsqueeze(-2) - x.unsqueeze(-3)
    strength = charge.unsqueeze(-1) * charge.unsqueeze(-2) * (gap.square().sum(-1) + softening**2) ** -1.5
    return (strength.unsqueeze(-1) * gap).sum(-2)


def simulate(x: Tensor, v: Tensor, charge: Tensor, *, time: float = TIME, step: float = STEP) -> tuple[Tensor, Tensor]:
    """Positions and velocities after ``time`` by leapfrog (kick-drift-kick); symplectic, so the energy does not drift."""
    if not 0 < step <= time:
        raise InputError(f"simulate: expected 0 < step <= time, got step {step} and time {time}")
    a = forces(x, charge)
    for _ in range(round(time / step)):
        v = v + 0.5 * step * a
        x = x + step * v
        a = forces(x, charge)
        v = v + 0.5 * step * a
    return x, v


def energy(x: Tensor, v: Tensor, charge: Tensor, *, softening: float = SOFTENING) -> Tensor:
    """Kinetic plus potential energy, shape ``(...)``."""
    gap = (x.unsqueeze(-2) - x.unsqueeze(-3)).square().sum(-1) + softening**2
    pairs = charge.unsqueeze(-1) * charge.unsqueeze(-2) * gap.rsqrt()
    inside = torch.diagonal(pairs, dim1=-2, dim2=-1).sum(-1)
    return 0.5 * v.square().sum((-2, -1)) + 0.5 * (pairs.sum((-2, -1)) - inside)


def sample(count: int, *, generator: torch.Generator, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """``count`` systems: ``pos, vel, y (count, 5, 3)``, ``charge (count, 5)``; y is where the particles are at ``TIME``."""
    shape = (count, PARTICLES, 3)
    x = torch.randn(shape, generator=generator, dtype=torch.float64)
    v = 0.5 * torch.randn(shape, generator=generator, dtype=torch.float64)
    charge = torch.randint(2, shape[:2], generator=generator).double() * 2 - 1
    y, _ = simulate(x, v, charge)
    return {name: value.to(dtype) for name, value in {"pos": x, "vel": v, "charge": charge, "y": y}.items()}


def nbody(request: Request) -> Data:
    """Train, valid and test systems; ``audit`` holds the inputs of some of the test. InputError for a data file."""
    if request.files:
        raise InputError(f"nbody systems are generated; they take no data file, got {request.files[0][0]!r}")
    generator = torch.Generator().manual_seed(1000 + request.seed)
    train, valid, test = (sample(count, generator=generator) for count in SIZES[request.size])
    audit = {name: test[name][:32] for name in ("pos", "vel", "charge")}
    return Data(train, test, audit, valid, {"particles": PARTICLES})
