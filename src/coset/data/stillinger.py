"""Structures labelled by a formula: crystals, clusters and molecules of two species with pair and three-body forces.

    E = sum_(i<j) e A (B s^-p - 1) exp(1 / (s - a))
      + sum_i sum_(j<k) e L (cos t_jik + 1/3)^2 exp(g / (s_ij - a) + g / (s_ik - a))

with ``s = r / sigma``: the potential of Stillinger and Weber (Phys. Rev. B 31, 5262, 1985; silicon's numbers), whose bond
length and strength depend on both species. All derivatives are continuous and vanish at the cutoff ``1.8 sigma``. Labels are
exact: what a model misses is its own. Frames are those of :mod:`coset.data.structures`, in eV and angstrom.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from coset.errors import InputError
from coset.ops.periodic import edge_vectors, neighbor_list

SPECIES = (14, 32)  #: stand-ins: silicon, and a larger, softer one
SIGMA = ((2.0951, 2.18), (2.18, 2.26))  #: angstrom
EPSILON = ((2.1683, 2.0), (2.0, 1.85))  #: eV
A, B, P, RANGE, LAMBDA, GAMMA = 7.049556277, 0.6022245584, 4.0, 1.8, 21.0, 1.2
CUTOFF = RANGE * SIGMA[1][1]  #: angstrom; no interaction is longer


def stillinger_energy(vectors: Tensor, edge_index: Tensor, species: Tensor) -> Tensor:
    """The energy of a structure: ``vectors`` (E, 3) of directed edges, all that are shorter than ``CUTOFF``; differentiable."""
    source, target = edge_index
    r = vectors.norm(dim=-1)
    sigma, epsilon = (torch.tensor(table, dtype=r.dtype)[species[source], species[target]] for table in (SIGMA, EPSILON))
    s = r / sigma
    inside = s < RANGE - 1e-3
    gap = torch.where(inside, s - RANGE, -torch.ones_like(s))
    pair = torch.where(inside, epsilon * A * (B * s**-P - 1) * (1 / gap).exp(), torch.zeros_like(s))
    wing = torch.where(inside, (GAMMA / gap).exp(), torch.zeros_like(s))
    first, second = _angles(target)
    cosine = (vectors[first] * vectors[second]).sum(-1) / (r[first] * r[second])
    bend = (epsilon[first] * epsilon[second]).sqrt() * LAMBDA * (cosine + 1 / 3).square() * wing[first] * wing[second]
    return 0.5 * pair.sum() + bend.sum()


def _angles(target: Tensor) -> tuple[Tensor, Tensor]:
    """Pairs of different edges into one atom, each once."""
    same = torch.nonzero(target[:, None] == target[None, :])
    return tuple(same[same[:, 0] < same[:, 1]].T)


def labelled(pos: Tensor, z: Tensor, *, cell: Tensor | None = None) -> dict[str, Any]:
    """A frame with energy, forces and, in a periodic ``cell`` (3, 3), stress; ``z`` are atomic numbers out of ``SPECIES``."""
    if not set(z.tolist()) <= set(SPECIES):
        raise InputError(f"stillinger: species are {SPECIES}, got {sorted(set(z.tolist()))}")
    pos = pos.double()
    edge_index, shift = neighbor_list(pos, CUTOFF, cell=cell, periodic=cell is not None)
    strain = torch.zeros(3, 3, dtype=torch.float64, requires_grad=True)
    x = pos.clone().requires_grad_()
    stretch = torch.eye(3, dtype=torch.float64) + 0.5 * (strain + strain.T)
    box = None if cell is None else cell.double() @ stretch
    vectors = edge_vectors(x @ stretch, edge_index, shift=shift, cell=None if box is None else box[None])
    energy = stillinger_energy(vectors, edge_index, (z == SPECIES[1]).long())
    slope, virial = torch.autograd.grad(energy, (x, strain))
    frame: dict[str, Any] = {"pos": pos, "z": z, "energy": energy.detach(), "forces": -slope}
    if cell is not None:
        frame |= {
            "cell": cell.double(),
            "periodic": (True, True, True),
            "stress": virial / torch.linalg.det(cell.double()).abs(),
        }
    return frame


def crystals(count: int, *, seed: int = 0, noise: float = 0.08, strain: float = 0.03) -> list[dict[str, Any]]:
    """Zinc-blende cells of 2 to 8 atoms with random species, strained and displaced (angstrom)."""
    g = torch.Generator().manual_seed(seed)
    primitive = torch.tensor([[0.0, 0.5, 0.5], [0.5, 0.0, 0.5], [0.5, 0.5, 0.0]], dtype=torch.float64) * 5.5
    basis = torch.tensor([[0.0, 0.0, 0.0], [0.25, 0.25, 0.25]], dtype=torch.float64) * 5.5
    frames = []
    for _ in range(count):
        repeat = int(torch.randint(1, 5, (), generator=g))
        cells = torch.arange(repeat, dtype=torch.float64)[:, None] * primitive[0]
        pos = (basis[None] + cells[:, None]).reshape(-1, 3)
        box = primitive.clone()
        box[0] = box[0] * repeat
        stretch = torch.eye(3, dtype=torch.float64) + strain * torch.randn(3, 3, generator=g, dtype=torch.float64)
        pos = pos @ stretch + noise * torch.randn(pos.shape, generator=g, dtype=torch.float64)
        frames.append(labelled(pos, _species(len(pos), g), cell=box @ stretch))
    return frames


def clusters(count: int, atoms: int = 8, *, seed: int = 0, noise: float = 0.15) -> list[dict[str, Any]]:
    """Random compact clusters, relaxed for a few steps of steepest descent and shaken by ``noise`` (angstrom)."""
    g = torch.Generator().manual_seed(seed)
    frames = []
    for _ in range(count):
        pos, z = _packed(atoms, g), _species(atoms, g)
        for _ in range(15):
            force = labelled(pos, z)["forces"]
            pos = pos + 0.02 * force / (1 + 0.1 * force.norm(dim=-1, keepdim=True))
        frames.append(labelled(pos + noise * torch.randn(pos.shape, generator=g, dtype=torch.float64), z))
    return frames


def _species(count: int, g: torch.Generator) -> Tensor:
    return torch.tensor(SPECIES)[torch.randint(2, (count,), generator=g)]


def _packed(count: int, g: torch.Generator) -> Tensor:
    """Points no nearer than 2.1 angstrom, each new one at a bond's distance from one that is there."""
    points = [torch.zeros(3, dtype=torch.float64)]
    while len(points) < count:
        direction = torch.randn(3, generator=g, dtype=torch.float64)
        new = points[int(torch.randint(len(points), (), generator=g))] + 2.4 * direction / direction.norm()
        if min(float((new - old).norm()) for old in points) > 2.1:
            points.append(new)
    return torch.stack(points)
