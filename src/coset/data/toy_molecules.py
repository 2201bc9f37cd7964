"""Generated molecules of 5 to 9 atoms and three species in many shapes, labelled by a formula and all standing upright.

    E = sum_(i<j) D_ij [(1 - e^(-a (r_ij - b_ij)))^2 - 1]
      + sum_i sum_(j<k) K (cos t_jik - c_i)^2 w_ij w_ik,          w_ij = exp(-(r_ij / 1.5 b_ij)^4)

a Morse well for every pair and a spring for every angle between bonds, with depth, length and angle by species. All functions
are smooth and labels are exact: what a model misses is its own. Every molecule lies in the frame of its principal axes, the
longest along x, signs fixed by third moments, so that a model that is told nothing of rotations can learn from the pose;
:func:`tumbled` gives test sets in which poses are Haar-random. Frames are those of :mod:`coset.data.structures`, in eV and
angstrom.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from coset.data.structures import Frame
from coset.errors import InputError
from coset.groups.matrix import SO
from coset.symmetrizers.principal import pca_frame

SPECIES = (6, 7, 8)  #: stand-ins, not carbon, nitrogen and oxygen
RADIUS = (0.76, 0.70, 0.64)  #: angstrom; two of them make a bond
DEPTH = (2.0, 1.7, 1.4)  #: eV; of a pair the geometric mean
COSINE = (-0.5, -1 / 3, -0.2)  #: of the angle that an atom prefers
STEEPNESS, SPRING = 1.0, 1.0  #: per angstrom; eV


def toy_energy(pos: Tensor, species: Tensor) -> Tensor:
    """Energies ``(M,)`` of molecules of one size: ``pos`` (M, n, 3), ``species`` (M, n) from 0 on; differentiable."""
    radius, depth, cosine = (torch.tensor(table, dtype=pos.dtype)[species] for table in (RADIUS, DEPTH, COSINE))
    n = pos.shape[-2]
    apart = ~torch.eye(n, dtype=torch.bool)
    gap = pos.unsqueeze(-3) - pos.unsqueeze(-2)  # (M, i, j, 3), from i to j
    r = torch.where(apart, gap.square().sum(-1), 1.0).sqrt()
    bond = radius.unsqueeze(-1) + radius.unsqueeze(-2)
    well = (1 - (-STEEPNESS * (r - bond)).exp()).square() - 1
    pairs = (depth.unsqueeze(-1) * depth.unsqueeze(-2)).sqrt() * well * apart
    bonded = (-((r / (1.5 * bond)) ** 4)).exp() * apart
    unit = gap / r.unsqueeze(-1)
    first = (bonded.unsqueeze(-2) @ unit).squeeze(-2)  # sums over j of w_ij u_ij, and below of w_ij u_ij u_ij^T
    second = (bonded.unsqueeze(-1) * unit).mT @ unit
    # (u_ij . u_ik - c)^2 multiplied out, summed over all j and k, without the terms j = k
    angles = (
        second.square().sum((-2, -1)) - 2 * cosine * first.square().sum(-1) + (cosine * bonded.sum(-1)).square()
        - (1 - cosine).square() * bonded.square().sum(-1)
    )  # fmt: skip
    return 0.5 * pairs.sum((-2, -1)) + 0.5 * SPRING * angles.sum(-1)  # each pair and each angle stands twice


def labelled(pos: Tensor, species: Tensor) -> tuple[Tensor, Tensor]:
    """Energies ``(M,)`` and forces ``(M, n, 3)``."""
    with torch.enable_grad():
        x = pos.detach().clone().requires_grad_()
        energy = toy_energy(x, species)
        (slope,) = torch.autograd.grad(energy.sum(), x)
    return energy.detach(), -slope


def upright(pos: Tensor) -> Tensor:
    """Molecules ``(M, n, 3)`` centered, the longest principal axis along x, the shortest along z, by a rotation.

    Third moments along x and y are positive; the sign of z follows, since reflections are not allowed.
    """
    axes = pca_frame(pos)
    x = (pos - axes.center.unsqueeze(-2)) @ axes.V.flip(-1)
    sign = torch.where(x.pow(3).sum(-2) < 0, -1.0, 1.0).to(x)
    sign[..., 2] = sign[..., 0] * sign[..., 1] * torch.linalg.det(axes.V.flip(-1)).sign()
    return x * sign.unsqueeze(-2)


def toy_molecules(
    count: int, *, seed: int = 0, kinds: int = 10, sizes: tuple[int, int] = (5, 9), noise: float = 0.2
) -> list[dict[str, Any]]:
    """``count`` shapes of ``kinds`` molecules, of ``sizes[0]`` to ``sizes[1]`` atoms in turn.

    A kind is a compact random cluster after forty steps of steepest descent; a shape of it has ``noise`` (angstrom) added to
    every coordinate. The kinds follow from the seed: what should share them is split off one list.
    """
    if min(count, kinds) < 1 or not 3 <= sizes[0] <= sizes[1] or not noise >= 0:
        raise InputError(
            f"toy_molecules: count and kinds >= 1, sizes from 3 on in order, noise >= 0; got {count}, {kinds}, {sizes}, {noise}"
        )
    g = torch.Generator().manual_seed(seed)
    drawn = torch.randint(kinds, (count,), generator=g)
    frames: list[dict[str, Any]] = [{} for _ in range(count)]
    for kind in range(kinds):
        n = sizes[0] + kind % (sizes[1] - sizes[0] + 1)
        species = torch.randint(len(SPECIES), (1, n), generator=g)
        rest = _relaxed(_grown(species, g), species)
        chosen = (drawn == kind).nonzero().flatten().tolist()
        shapes = rest + noise * torch.randn(len(chosen), n, 3, generator=g, dtype=rest.dtype)
        pos = upright(shapes) if chosen else shapes
        energy, forces = labelled(pos, species.expand(len(chosen), n))
        for place, x, e, f in zip(chosen, pos, energy, forces, strict=True):
            frames[place] = {"pos": x, "z": torch.tensor(SPECIES)[species[0]], "energy": e, "forces": f}
    return frames


def tumbled(frames: Sequence[Frame], *, seed: int = 0) -> list[dict[str, Any]]:
    """The same molecules, each turned with its forces by a Haar-random rotation about the origin; for molecules alone."""
    if any("cell" in frame for frame in frames):
        raise InputError("tumbled: structures with a cell are not molecules; turn cell and stress along with them")
    turns = SO(3).sample(len(frames), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return [
        {**frame, **{name: frame[name] @ g.T for name in ("pos", "forces", "dipole") if name in frame}}
        for frame, g in zip(frames, turns, strict=True)
    ]


def _grown(species: Tensor, g: torch.Generator, *, trials: int = 40) -> Tensor:
    """Each new atom at a bond's length from one that is there, the first of ``trials`` places that is free, else the freest."""
    molecules, n = species.shape
    radius = torch.tensor(RADIUS, dtype=torch.float64)[species]
    pos = torch.zeros(molecules, n, 3, dtype=torch.float64)
    rows = torch.arange(molecules)
    for new in range(1, n):
        to = torch.randint(new, (molecules, trials), generator=g)
        way = torch.randn(molecules, trials, 3, generator=g, dtype=torch.float64)
        length = (radius[rows[:, None], to] + radius[:, new : new + 1]).unsqueeze(-1)
        places = pos[rows[:, None], to] + length * way / way.norm(dim=-1, keepdim=True)
        apart = torch.cdist(places, pos[:, :new]) / (radius[:, None, :new] + radius[:, new, None, None])
        room = apart.amin(-1).clamp(max=0.95)
        pos[:, new] = places[rows, room.argmax(-1)]
    return pos


def _relaxed(pos: Tensor, species: Tensor, *, steps: int = 40) -> Tensor:
    for _ in range(steps):
        force = labelled(pos, species)[1]
        pos = pos + 0.02 * force / (1 + 0.2 * force.norm(dim=-1, keepdim=True))
    return pos
