"""Frames of clouds and images from the eigenvectors of their covariance, and the wrapper that averages over frames.

With center c and axes V (see :mod:`coset.symmetrizers.principal`) the frame is

    F = {(V diag(s), c) : s in {-1, 1}^d}           2^d elements for O(d), E(d),
        the half of them with det(V diag(s)) = 1    for SO(d), SE(d),
        {(1, c)}                                    for T(d).

An image is the cloud of its pixels, weighted by their ink. The frame is equivariant wherever the spectrum is simple. Where
two eigenvalues meet no finite frame exists, and ``policy`` says what happens: ``raise``, ``warn`` (the sample is counted
and averaged over the frame that eigh happened to return), or ``weighted`` (a mean over ``rotations`` random rotations
inside the eigenspace: approximate). Frame averages are not continuous there.

Puny et al., Frame Averaging for Invariant and Equivariant Network Design, ICLR 2022, arXiv 2110.03336. The policies,
weighted frames and image frames are additions of this library.
"""

from __future__ import annotations

import warnings
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from coset.contract import Contract
from coset.errors import ContractError, InputError
from coset.groups.group import Family, Group
from coset.groups.permutation import S
from coset.symmetrizers.average import Average, Frame, Pool, Seen, Subset
from coset.symmetrizers.clouds import Source, read_cloud
from coset.symmetrizers.members import base, spatial
from coset.symmetrizers.principal import (
    Axes,
    Centered,
    Cloud,
    Geometry,
    centralized,
    gap_tolerance,
    geometry,
    pca_frame,
    principal_axes,
    radius,
    random_blocks,
    sign_choices,
)
from coset.symmetrizers.sort_frames import SortFrame

Policy = Literal["raise", "warn", "weighted"]


class PCAFrame(Frame):
    """Principal axes of every member for T, O, SO, E, SE in any dimension, alone or times Scale.

    ``source`` names the fields that the cloud is read from (by default the first position, vector or image, and a field
    called ``mask``; several vectors per point all count). ``group`` narrows the contract's group to one of its factors.
    Axes are detached unless ``differentiable``: derivatives of eigenvectors grow like 1/gap.

    Raises ContractError for groups without this frame, InputError as :func:`pca_frame` and under policy ``raise``.
    """

    def __init__(
        self,
        group: Group | None = None,
        *,
        policy: Policy = "warn",
        gap_tol: float | None = None,
        rotations: int = 8,
        differentiable: bool = False,
        source: Source | None = None,
        batch: str | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(batch=batch)
        if policy not in get_args(Policy):
            raise InputError(f"PCAFrame: policy is one of {', '.join(get_args(Policy))}; got {policy!r}")
        if rotations < 1 or (gap_tol is not None and gap_tol < 0):
            raise InputError(f"PCAFrame: expected rotations >= 1 and gap_tol >= 0, got {rotations} and {gap_tol}")
        if differentiable:
            warnings.warn("differentiable frames: gradients of eigenvectors grow like 1 / gap", stacklevel=2)
        self.group, self.policy, self.gap_tol, self.rotations = group, policy, gap_tol, rotations
        self.differentiable, self.source, self.seed = differentiable, source, seed

    def geometry(self, contract: Contract) -> Geometry:
        """What of a motion the frame fixes; ContractError for a group that it does not cover."""
        return geometry(self.group or base(contract.group))

    def acting(self, contract, x) -> Group:
        return self.geometry(contract).group

    def covers(self, contract) -> Family:
        known = self.geometry(contract)
        return contract.group if base(contract.group) == known.covers else known.covers

    def cloud(self, x: Any, contract: Contract) -> Cloud:
        """The points that the frame is read from, ``(members, n, d)``."""
        known = self.geometry(contract)
        cloud = read_cloud(
            x, contract, self.members(x, contract), self.source or Source(), shifts=known.shifts, detach=not self.differentiable
        )
        if cloud.x.shape[-1] != known.n:
            raise ContractError(f"{known.covers} moves R^{known.n}, the points have {cloud.x.shape[-1]} coordinates")
        return cloud

    def degenerate(self, gaps: Tensor, dtype: torch.dtype) -> Tensor:
        """Which consecutive eigenvalues count as equal, ``(members, d - 1)``."""
        return gaps.detach() < (gap_tolerance(dtype) if self.gap_tol is None else self.gap_tol)

    def regular(self, x, contract):
        if not self.geometry(contract).turns:
            return True
        cloud = self.cloud(x, contract)
        good = ~self.degenerate(pca_frame(*cloud).gaps, cloud.x.dtype).any(-1)
        return bool(good) if self.members(x, contract).index is None else good

    def forward(self, x, contract):
        known, cloud = self.geometry(contract), self.cloud(x, contract)
        self.seen.samples += len(cloud.x)
        centered = centralized(*cloud)
        if known.turns:
            V = self._resolved(principal_axes(centered), cloud.x.dtype)
            turns, weights = self.orient(V, centered, known, cloud.x.dtype)
        else:
            turns = torch.eye(known.n).to(centered.center).expand(1, len(cloud.x), -1, -1)
            weights = turns.new_ones(1)
        return known.element(turns, centered.center, radius(centered) if known.scales else None), weights

    def orient(self, V: Tensor, cloud: Centered, known: Geometry, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """The turns ``(F, members, d, d)`` and weights from choices of axes ``(rotations, members, d, d)``."""
        turns = (V * sign_choices(V, proper=known.proper).unsqueeze(-2)).flatten(0, 1)
        return turns, turns.new_full((len(turns),), 1.0 / len(turns))

    def _resolved(self, axes: Axes, dtype: torch.dtype) -> Tensor:
        """The policy for degenerate members: axes ``(1, members, d, d)``, or ``rotations`` choices of them."""
        equal = self.degenerate(axes.gaps, dtype)
        bad = equal.any(-1)
        count = int(bad.sum())
        self.seen.degenerate += count
        if not count:
            return axes.V.unsqueeze(0)
        found = (
            f"{count} of {len(bad)} samples have equal principal moments (smallest relative gap "
            f"{float(axes.gaps.detach().min()):.1e}; the first is number {int(bad.nonzero()[0])}): no frame of finitely "
            f"many elements is equivariant there"
        )
        if self.policy == "raise":
            raise InputError(f"{found}; use policy='weighted' or 'warn', or leave them out")
        if self.policy == "warn":
            warnings.warn(f"{found}, and their outputs depend on how they are turned", stacklevel=2)
            return axes.V.unsqueeze(0)
        return axes.V @ random_blocks(equal, self.rotations, seed=self.seed).to(axes.V)


def frame_for(contract: Contract, *, policy: Policy = "warn", batch: str | None = None, seed: int = 0) -> Frame:
    """The frame of the contract's group on its inputs: principal axes of points and images, sorting for permutations.

    Raises ContractError, naming what there is, for any other group.
    """
    if isinstance(base(contract.group), S):
        frame: Frame = SortFrame(seed=seed, batch=batch)
    elif spatial(contract.inputs) is not None:
        frame = PCAFrame(policy=policy, batch=batch, seed=seed)
    else:
        raise ContractError(f"no frame is known for {contract.group} on {contract.inputs}; average over a finite group instead")
    frame.covers(contract)
    return frame


class FrameAverage(Average):
    """``model`` averaged over the frame of its input: exactly equivariant wherever the frame is well defined.

    ``frame`` is chosen by the contract if None, with ``policy`` for degenerate samples. ``draw`` elements per member are
    drawn in training instead of all (unbiased for linear heads). Samples met, degenerate and tied are counted in
    :attr:`seen`.

    Raises ContractError and InputError as :class:`Average` and :class:`PCAFrame`.
    """

    def __init__(
        self,
        model: Any,
        contract: Contract,
        *,
        frame: Frame | None = None,
        policy: Policy = "warn",
        draw: int | None = None,
        batch: str | None = None,
        pool: Pool = "outputs",
        seed: int = 0,
    ) -> None:
        chosen = frame or frame_for(contract, policy=policy, batch=batch, seed=seed)
        super().__init__(model, contract, chosen if draw is None else Subset(chosen, draw, seed=seed), pool=pool)
        # as it is rebuilt from a file: the drawing is part of the frame then
        self.config |= {"policy": policy, "draw": None, "seed": seed}

    @property
    def seen(self) -> Seen:
        """Samples met so far, degenerate and tied ones among them."""
        return self.frame.seen


__all__ = ["FrameAverage", "PCAFrame", "Policy", "Source", "frame_for", "pca_frame"]
