"""Piecewise frame averaging: any point network made equivariant to every part of a cloud moving rigidly on its own.

Each part k of a cloud has principal axes V_k and a center c_k of its own; with F_k = {(V_k diag(s), c_k)} over the admissible
signs, the points of part k get

    f(x)_i = mean over g in F_k of  g . phi(g^-1 . x)_i,      k the part of i,

which is exact for ``E(3) ** "K"`` (eight signs) or ``SE(3) ** "K"`` (four) if phi keeps parts apart: it may see whose points
are whose, not how parts stand to one another. :class:`EachPart` keeps them apart for a network of whole clouds. A finer
partition than the rigid parts is exact too; a coarser one is not. Atzmon, Huang, Williams & Litany, Approximately Piecewise
E(3) Equivariant Point Networks, ICLR 2024; frames as in Puny et al. (2022), arXiv 2110.03336.

Small parts need no rule of their own. The covariance is that of positions and, with a small weight, of all vector fields. What
is then left without an axis has no component of the input either, and averaging over signs cancels whatever the network puts
there. (The paper takes a random frame for parts of one point, which is not exact once they carry vectors.)
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from coset.contract import Contract
from coset.errors import ContractError, InputError
from coset.groups.euclidean import SE, E
from coset.groups.product import Power
from coset.reps.action import Position, Tensorial
from coset.symmetrizers.average import Average, Frame
from coset.symmetrizers.members import base, spatial
from coset.symmetrizers.principal import gap_tolerance, geometry, sign_choices

SHARE = 1e-3  #: weight of vector fields in a part's covariance, in squared units of length


class PartFrame(Frame):
    """Principal frames of the parts that points point into, for ``E(n) ** "K"`` and ``SE(n) ** "K"``.

    ``weight`` names a scalar field that counts points (memberships). ``draw`` of the elements are drawn for every part in
    training, by torch's global generator, instead of all: unbiased, and an augmentation. Frames are detached.
    """

    def __init__(self, *, weight: str | None = None, draw: int | None = None) -> None:
        super().__init__()
        if draw is not None and draw < 1:
            raise InputError(f"PartFrame: draw is a number of frame elements >= 1, got {draw}")
        self.weight, self.draw = weight, draw

    def forward(self, x, contract):
        V, _, center, _ = self.axes(x, contract)
        known = geometry(base(contract.group))
        signs = sign_choices(V, proper=known.proper)
        turns = V * signs.unsqueeze(-2)
        self.seen.samples += len(V)
        if self.training and self.draw is not None and self.draw < len(turns):
            chosen = torch.randint(len(turns), (self.draw, len(V)), device=V.device)
            turns = turns[chosen, torch.arange(len(V), device=V.device)]
        return known.element(turns, center), turns.new_full((len(turns),), 1.0 / len(turns))

    def regular(self, x, contract):
        """Whether a point's part has simple axes wherever it has any extent, ``(N,)``."""
        _, values, _, owner = self.axes(x, contract)
        top = values[:, -1:]
        least = gap_tolerance(x[_points(contract)].dtype) * top
        good = ((values[:, 1:] - values[:, :-1]) > least) | (values[:, 1:] <= least)
        return good.all(-1)[owner]

    @torch.no_grad()
    def axes(self, x, contract) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Axes ``(K, n, n)``, ascending moments ``(K, n)``, centers ``(K, n)``, in float64, and the part of every point."""
        name = _points(contract)
        index = contract.inputs.of(name).index[0]
        members = self.members(x, contract)
        owner = members.maps[index]
        pos = x[name].to(torch.float64)
        if not bool(torch.isfinite(pos).all()):
            raise InputError(f"{name!r}: points that are NaN or infinite have no frame")
        w = torch.ones_like(pos[:, 0]) if self.weight is None else x[self.weight].detach().to(torch.float64)
        mass = w.new_zeros(members.size).index_add(0, owner, w)
        # a part without points stands at 0
        center = pos.new_zeros(members.size, pos.shape[1]).index_add(0, owner, w.unsqueeze(-1) * pos)
        center = center / (mass + 1e-6 * (mass == 0)).unsqueeze(-1)
        apart = pos - center[owner]
        spread = w[:, None, None] * apart.unsqueeze(-1) * apart.unsqueeze(-2)
        for other, declared in contract.inputs:
            if declared.kind == Tensorial(1) and declared.index[:1] == (index,) and x[other].numel():
                v = x[other].to(torch.float64).flatten(1, -2) if x[other].ndim > 2 else x[other].to(torch.float64).unsqueeze(1)
                spread = spread + SHARE * w[:, None, None] * (v.mT @ v)
        values, V = torch.linalg.eigh(pos.new_zeros(members.size, *spread.shape[1:]).index_add(0, owner, spread))
        return V, values, center, owner


def _points(contract: Contract) -> str:
    """The name of the positions, indexed by what points into parts; ContractError where there are none."""
    name = spatial(contract.inputs)
    declared = contract.inputs.of(name) if name is not None else None
    parts = contract.group.index if isinstance(contract.group, Power) else None
    pointed = declared is not None and any(
        field.target == parts and field.index == declared.index[:1] for _, field in contract.inputs
    )
    if name is None or declared is None or not isinstance(declared.kind, Position) or not pointed:
        raise ContractError(
            f"piecewise frames need positions and a pointer to parts, as in "
            f'{{"pos": "N x position", "part": "N -> K"}}; the inputs are {contract.inputs}'
        )
    return name


class PiecewiseFrameAverage(Average):
    """``model`` averaged over the principal frames of every part: exact for ``E(3) ** "K"`` or ``SE(3) ** "K"``.

    ``contract`` declares positions ``"N x position"``, the pointer ``"N -> K"`` and whatever else moves along; ``weight`` and
    ``draw`` as in :class:`PartFrame`. :meth:`soft` averages over uncertain memberships.

    Raises ContractError for other groups or fields, InputError for inputs that do not fit.
    """

    def __init__(self, model: Any, contract: Contract, *, weight: str | None = None, draw: int | None = None) -> None:
        if not isinstance(contract.group, Power) or not isinstance(contract.group.base, (E, SE)):
            raise ContractError(
                f'PiecewiseFrameAverage: the group is E(n) ** "K" or SE(n) ** "K", got {contract.group}; '
                f"for one motion of the whole cloud use FrameAverage"
            )
        _points(contract)
        super().__init__(model, contract, PartFrame(weight=weight, draw=draw))
        self.config: dict[str, Any] = {"weight": weight, "draw": draw}

    def soft(self, memberships: Tensor, **named: Tensor) -> dict[str, Tensor]:
        """``sum_k w_ik f_k(x)_i`` for memberships ``(N, K)``: each point is in part k as far as ``w_ik`` says.

        The pointer is left out of ``named``. With a ``weight`` field the frames are weighted too (otherwise whoever has any
        membership counts fully). Exact where memberships are 0 or 1. Raises InputError unless rows sum to 1.
        """
        inputs = self.contract.inputs
        index = inputs.of(_points(self.contract)).index[0]
        total = memberships.sum(-1)
        if (
            memberships.ndim != 2
            or bool((memberships < 0).any())
            or not torch.allclose(total, torch.ones_like(total), atol=1e-5)
        ):
            raise InputError("memberships are (N, K), not negative, and sum to 1 over K for every point")
        point, part = torch.nonzero(memberships, as_tuple=True)
        share = memberships[point, part]
        given: dict[str, Tensor] = {}
        for name, declared in inputs:
            if declared.target == self.contract.group.index and declared.index == (index,):  # type: ignore[attr-defined]
                given[name] = torch.unique(part, return_inverse=True)[1]
            elif declared.target is not None:
                raise ContractError(f"soft: {name!r} ({declared}) points at points, which stand in several parts here")
            elif name == self.frame.weight:
                given[name] = share
            else:
                given[name] = named[name][point] if declared.index[:1] == (index,) else named[name]
        y = self.contract.outputs.pack(self(**given))
        out = {}
        for name, value in y.items():
            weighed = value * share.view(-1, *[1] * (value.ndim - 1)).to(value)
            out[name] = value.new_zeros(len(memberships), *value.shape[1:]).index_add(0, point, weighed)
        return out


class EachPart(nn.Module):
    """A network of whole clouds, applied to every part alone: ``model(pos (1, n_k, 3), ...)`` for each k, results in order.

    What else is given by name goes along with the points. The network returns one row per point, or a mapping of such.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self.config: dict[str, Any] = {}

    def forward(self, pos: Tensor, part: Tensor, **named: Tensor) -> Any:
        """Outputs ``(N, ...)`` for ``pos (N, 3)`` and ``part (N,)``."""
        if part.shape != pos.shape[:1]:
            raise InputError(f"EachPart: one part for each of {len(pos)} points, got {tuple(part.shape)}")
        order = part.argsort(stable=True)
        sizes = torch.unique_consecutive(part[order], return_counts=True)[1].tolist()
        columns = [value[order].split(sizes) for value in (pos, *named.values())]
        results = [
            self.model(first.unsqueeze(0), **{name: value.unsqueeze(0) for name, value in zip(named, rest, strict=True)})
            for first, *rest in zip(*columns, strict=True)
        ]
        back = order.argsort()
        if isinstance(results[0], dict):
            return {name: torch.cat([y[name].squeeze(0) for y in results])[back] for name in results[0]}
        return torch.cat([y.squeeze(0) for y in results])[back]


__all__ = ["EachPart", "PartFrame", "PiecewiseFrameAverage"]
