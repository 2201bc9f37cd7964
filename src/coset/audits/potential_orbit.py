"""The answers of a potential while a structure is turned once around: errors in energy and forces over the angle.

    e_k = | E(R_k x) - E* | / N,      f_k = mean_(i,a) | (R_k^-1 F(R_k x) - F*)_ia |,      R_k about AXIS by 360 k / K degrees

``E*``, ``F*`` are the labels, where a structure has any; beside that always the consensus of the K answers turned back, their
mean (:mod:`coset.audits.consensus`): 0 where nothing depends on the direction in space. Both in meV, per atom and per angstrom.
Errors over orbits are NERO plots: Zhao et al., arXiv 2305.19889.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from coset.audits.potential import Frame, Scene, turned
from coset.groups.rotations import rotation_from_vector

AXIS = (1.0, 2.0, 3.0)  #: no symmetry axis of a lattice, and along no coordinate that a network may prefer


@dataclass
class Orbit:
    """``angles`` (K,) in degrees; errors (frames, K) in meV per atom and meV per angstrom, against labels NaN without them."""

    angles: np.ndarray
    energy: np.ndarray  #: from the consensus
    forces: np.ndarray
    energy_labels: np.ndarray  #: from the labels
    forces_labels: np.ndarray


def orbit(scene: Scene, count: int = 24) -> Orbit:
    """Every frame at ``count`` angles about one axis, from 0 on."""
    angles = 2 * math.pi * torch.arange(count, dtype=torch.float64) / count
    axis = torch.tensor(AXIS, dtype=torch.float64)
    matrices = rotation_from_vector(angles[:, None] * axis / axis.norm())
    rows = []
    for _, frame in scene.each():
        answers = [scene.answer(turned(frame, matrix)) for matrix in matrices]
        energy = torch.stack([out["energy"] for out in answers])
        forces = torch.stack([out["forces"] @ matrix for out, matrix in zip(answers, matrices, strict=True)])
        rows.append([_energy(energy, energy.mean(), frame), _forces(forces, forces.mean(0)),
                     _energy(energy, frame.get("energy"), frame), _forces(forces, frame.get("forces"))])  # fmt: skip
    columns = (np.stack([row[i] for row in rows]) for i in range(4))
    return Orbit(torch.rad2deg(angles).numpy(), *columns)


def _energy(found: Tensor, want: Tensor | None, frame: Frame) -> np.ndarray:
    if want is None:
        return np.full(len(found), np.nan)
    return (1e3 * (found - want).abs() / len(frame["z"])).numpy()


def _forces(found: Tensor, want: Tensor | None) -> np.ndarray:
    if want is None or not found.shape[1]:
        return np.full(len(found), np.nan)
    return (1e3 * (found - want).abs().mean((1, 2))).numpy()
