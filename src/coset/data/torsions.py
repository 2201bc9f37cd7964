"""Configurations of a molecule like aspirin under a formula of bonds, angles and torsions, from a thermal run.

    E = sum_bonds K/2 (r - r_0)^2 + sum_angles A/2 (cos t + 1/2)^2
      + sum_torsions [V_1 (1 + cos f) + V_2 (1 - cos 2 f)] / 2n + sum_far B e^(-r / b)

The skeleton is aspirin's thirteen heavy atoms; ``V`` belong to the bond about which n torsions turn (a negative ``V_2`` prefers
a right angle), ``far`` pairs are four bonds apart or more. What a torsion does depends on four atoms: distances of neighbors do
not tell it, directions do. Numbers are of the size of a force field's, not one's own; mirror images have one energy. Energies
in eV, lengths in angstrom, forces exact; every configuration is turned at random. Frames: :mod:`coset.data.structures`.
"""

from __future__ import annotations

from functools import cache
from itertools import combinations
from typing import Any

import torch
from torch import Tensor

from coset.errors import InputError
from coset.groups.matrix import SO
from coset.ops.langevin import Bath, simulate, start

ELEMENTS = (6,) * 7 + (8, 8, 8, 6, 8, 6)
#: bonded atoms and the length they prefer: the ring, the acid at atom 0, the ester at atom 1
BONDS = {
    (0, 1): 1.39, (1, 2): 1.39, (2, 3): 1.39, (3, 4): 1.39, (4, 5): 1.39, (0, 5): 1.39,
    (0, 6): 1.48, (6, 7): 1.22, (6, 8): 1.34, (1, 9): 1.39, (9, 10): 1.36, (10, 11): 1.21, (10, 12): 1.50,
}  # fmt: skip
TURNS = {(0, 6): (0.0, 0.3), (1, 9): (0.0, -0.2), (9, 10): (0.2, 0.4)}  #: V_1 and V_2 about the bonds that turn
FLAT = (0.0, 1.5)  #: the same about those of the ring
STRETCH, BEND, WALL, REACH = 30.0, 6.0, 50.0, 0.35  #: eV/A^2, eV, eV, A
HOT, WARM = 0.3, 0.043  #: kT in eV, before and while configurations are taken
EVERY = 50  #: steps between two configurations of one chain
SKETCH = (  #: a planar drawing to start from, angstrom
    (0.0, 0.7), (1.2, 1.4), (2.4, 0.7), (2.4, -0.7), (1.2, -1.4), (0.0, -0.7), (-1.3, 1.4), (-1.3, 2.7), (-2.5, 0.8),
    (1.2, 2.8), (2.3, 3.6), (3.4, 3.2), (2.1, 5.1),
)  # fmt: skip


@cache
def terms() -> dict[str, Any]:
    """Atoms of all bonds, angles, torsions and far pairs, ``(atoms, terms)``; V of every torsion over how many share it."""
    n = len(ELEMENTS)
    joined = torch.eye(n)
    joined[tuple(torch.tensor(list(BONDS)).T)] = 1.0
    joined = torch.maximum(joined, joined.T)
    graph = [[k for k in range(n) if k != j and joined[j, k]] for j in range(n)]
    angles = [(i, j, k) for j in range(n) for i, k in combinations(graph[j], 2)]
    torsions, weights = [], []
    for j, k in BONDS:
        ends = [(i, j, k, l) for i in graph[j] for l in graph[k] if i != k and l != j]
        torsions += ends
        weights += [[v / max(len(ends), 1) for v in TURNS.get((j, k), FLAT)]] * len(ends)
    near = torch.linalg.matrix_power(joined, 3)  # walks of up to three bonds
    far = [pair for pair in combinations(range(n), 2) if not near[pair]]
    found: dict[str, Any] = {"bonds": list(BONDS), "angles": angles, "torsions": torsions, "far": far}
    tables = {name: torch.tensor(rows).T for name, rows in found.items()}
    return tables | {"weights": torch.tensor(weights, dtype=torch.float64)}


def torsion_energy(pos: Tensor) -> Tensor:
    """Energies ``(M,)`` of configurations ``(M, 13, 3)``; differentiable."""
    index = {name: value.to(pos.device) for name, value in terms().items()}
    i, j = index["bonds"]
    rest = torch.tensor(list(BONDS.values()), dtype=pos.dtype, device=pos.device)
    total = 0.5 * STRETCH * ((pos[:, j] - pos[:, i]).norm(dim=-1) - rest).square().sum(-1)
    i, j, k = index["angles"]
    total = total + 0.5 * BEND * (_cosine(pos[:, i] - pos[:, j], pos[:, k] - pos[:, j]) + 0.5).square().sum(-1)
    i, j, k, l = index["torsions"]
    axis = pos[:, k] - pos[:, j]
    turn = _cosine(torch.linalg.cross(pos[:, i] - pos[:, j], axis), torch.linalg.cross(pos[:, l] - pos[:, k], axis))
    one, two = index["weights"].to(pos).T
    total = total + 0.5 * (one * (1 + turn) + two * 2 * (1 - turn.square())).sum(-1)
    i, j = index["far"]
    return total + WALL * (-(pos[:, j] - pos[:, i]).norm(dim=-1) / REACH).exp().sum(-1)


def labelled(pos: Tensor) -> tuple[Tensor, Tensor]:
    """Energies ``(M,)`` and forces ``(M, 13, 3)``."""
    with torch.enable_grad():
        x = pos.detach().clone().requires_grad_()
        energy = torsion_energy(x)
        (slope,) = torch.autograd.grad(energy.sum(), x)
    return energy.detach(), -slope


def torsions(count: int, *, seed: int = 0, steps: int = 1000) -> list[dict[str, Any]]:
    """``count`` configurations of independent chains, ``steps`` hot, then as many warm, the second half of which is taken from.

    Chains follow from the seed: take sets that must be independent from different seeds.
    """
    if count < 1 or steps < 2 * EVERY:
        raise InputError(f"torsions: count >= 1 and steps >= {2 * EVERY}, got {count} and {steps}")
    taken = steps // (2 * EVERY)
    chains, generator = -(-count // taken), torch.Generator().manual_seed(seed)
    q = torch.cat([torch.tensor(SKETCH), torch.zeros(len(SKETCH), 1)], -1).double().T[None, :, :, None]
    q = q + 0.1 * torch.randn(chains, 3, len(SKETCH), 1, generator=generator, dtype=q.dtype)
    hot = simulate(_force, start(_force, q, seed=seed), steps, Bath(HOT, 1.0))
    warm = Bath(WARM, 1.0)
    run = simulate(_force, start(_force, hot.q, seed=seed + 1), steps, warm, observe=lambda q, f: {"q": q})
    path = dict(run.record)["q"][-taken * EVERY + EVERY - 1 :: EVERY].flatten(0, 1).squeeze(-1).mT
    pos = path[torch.randperm(len(path), generator=generator)[:count]]
    pos = (pos - pos.mean(1, keepdim=True)) @ SO(3).sample(count, generator=generator).to(pos).mT
    z = torch.tensor(ELEMENTS)
    return [{"pos": x, "z": z, "energy": e, "forces": f} for x, e, f in zip(pos, *labelled(pos), strict=True)]


def _force(q: Tensor) -> Tensor:
    """Of the fields that :mod:`coset.ops.langevin` takes, ``(M, 3, 13, 1)``."""
    return labelled(q.squeeze(-1).mT)[1].mT.unsqueeze(-1)


def _cosine(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(-1) / (a.square().sum(-1) * b.square().sum(-1)).sqrt()
