"""How a rotation may act on hidden features: a network, a matrix written by a network, or Wigner matrices.

    mlp:     T(h, R) = h + MLP([h, vec R])        two hidden layers, token by token
    linear:  T(h, R) = (1 + M(R)) h               M an MLP of vec R: products of rotations can be compared with products of T
    wigner:  T(h, R) = D(R) h                     fixed, block-diagonal: an action, without parameters

The first two are learned and need not keep products, ``T(R1) T(R2) = T(R1 R2)``; :mod:`coset.audits.homomorphism` measures by
how much they fail. Elhag et al., Learning Inter-Atomic Potentials without Explicit Equivariance, 2025, arXiv 2510.00027;
forms and widths are our reconstruction.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from coset.errors import InputError, unknown
from coset.groups.matrix import SO, O
from coset.reps.irreps import Irreps

TRANSFORMS = ("mlp", "linear", "wigner")
SLACK = 1e-3  #: by how much R^T R may differ from 1


class LatentTransform(nn.Module):
    """``h`` (*batch, ..., width) and rotations ``R`` (*batch, 3, 3) to ``T(h, R)``, in the shape of ``h``.

    ``irreps`` ("8x0+7x1+7x2"; with ``reflections`` "8x0e+7x1o+7x2e") is for ``wigner``; without it degrees 0, 1 and 2 share
    the width. With ``reflections`` matrices of determinant -1 are taken too. InputError for an unknown kind, irreps that do
    not fill the width, and matrices that are not orthogonal or improper.
    """

    def __init__(self, width: int = 64, kind: str = "mlp", *, irreps: str | None = None, reflections: bool = False) -> None:
        super().__init__()
        if kind not in TRANSFORMS:
            raise unknown("latent transform", kind, TRANSFORMS)
        if width < 1 or (irreps is not None and kind != "wigner"):
            raise InputError(f"LatentTransform: width >= 1, irreps for kind='wigner' only; got {width}, {irreps!r}, {kind!r}")
        self.config: dict[str, Any] = {"width": width, "kind": kind, "irreps": irreps, "reflections": reflections}
        self.width, self.kind, self.group = width, kind, O(3) if reflections else SO(3)
        if kind == "wigner":
            self.irreps = Irreps(irreps or shared_irreps(width, reflections), self.group)
            if self.irreps.dim != width:
                raise InputError(
                    f"LatentTransform: {self.irreps} have {self.irreps.dim} components, the latent {width}; "
                    f"{shared_irreps(width, reflections)} would fit"
                )
        else:
            inputs, outputs = (width + 9, width) if kind == "mlp" else (9, width * width)
            last = nn.Linear(width, outputs)
            with torch.no_grad():  # start near the identity
                last.weight *= 0.1
                last.bias.zero_()
            self.net = nn.Sequential(nn.Linear(inputs, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), last)

    def forward(self, h: Tensor, rotation: Tensor) -> Tensor:
        """``T(h, R)``; leading axes of ``rotation`` stand for leading axes of ``h``."""
        self.check(h, rotation)
        if self.kind == "wigner":
            return self.irreps.transform(rotation.to(h), h)
        flat = rotation.to(next(self.net.parameters())).flatten(-2)
        between = [1] * (h.ndim - flat.ndim)
        if self.kind == "mlp":
            told = flat.view(*flat.shape[:-1], *between, 9).expand(*h.shape[:-1], 9)
            return h + self.net(torch.cat([h.to(flat), told], -1)).to(h)
        matrix = self.net(flat).to(h).view(*flat.shape[:-1], *between, self.width, self.width)
        return h + (matrix @ h.unsqueeze(-1)).squeeze(-1)

    def check(self, h: Tensor, rotation: Tensor) -> None:
        """InputError for features or matrices that do not fit."""
        if h.shape[-1:] != (self.width,) or rotation.shape[-2:] != (3, 3) or h.ndim < rotation.ndim - 1:
            raise InputError(
                f"LatentTransform: h (*batch, ..., {self.width}) and R (*batch, 3, 3), got {tuple(h.shape)} and "
                f"{tuple(rotation.shape)}"
            )
        wide = rotation.detach().double()
        gap = (wide @ wide.mT - torch.eye(3, dtype=torch.float64, device=wide.device)).abs()
        if wide.numel() and not bool(gap.max() < SLACK):
            raise InputError("LatentTransform: R is a rotation matrix (R^T R = 1), this one is not orthogonal")
        if self.group == SO(3) and bool((torch.linalg.det(wide) < 0).any()):
            raise InputError(
                "LatentTransform: an improper R (determinant -1) is no rotation; reflections=True makes a transform for O(3)"
            )


class Acting:
    """A transform as an action, ``(g, x) -> g . x``, for :class:`coset.reps.action.Learned` and the audit of products."""

    def __init__(self, transform: nn.Module) -> None:
        self.transform = transform

    def __call__(self, g: Tensor, x: Tensor) -> Tensor:
        """``T(x, g)``."""
        return self.transform(x, g)


def shared_irreps(width: int, reflections: bool = False) -> str:
    """Degrees 0, 1 and 2 in equal numbers, what is left over as scalars: ``"8x0+7x1+7x2"`` for 64."""
    each = width // 9
    names = ("0e", "1o", "2e") if reflections else ("0", "1", "2")
    counts = (width - 8 * each, each, each)
    return "+".join(f"{count}x{name}" for count, name in zip(counts, names, strict=True) if count)
