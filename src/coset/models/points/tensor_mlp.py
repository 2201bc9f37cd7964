"""A multilayer perceptron whose features are scalars, vectors and rank-2 tensors of R^3, as symmetric as one asks for.

Its weights are dense: on the declared features every group of R^3 acts, so a weight regulariser can pull it towards any
candidate (PER), or :func:`coset.symmetrizers.regularize.impose` can make it exact. Between the linear maps stand a bilinear
map ``T += v v^T`` and sigmoid gates, both equivariant for O(3) and so for every subgroup.
Kim, Lee, Yang & Lee, ICML 2023, arXiv 2306.00356 (code kim-hyunsu/PER, on Finzi et al.'s EMLP and residual pathway priors).
Contract: O(3), a learned promise when free and an exact one with ``symmetry``. Differs from the paper: no free path in
the nonlinearity, so that weights at distance zero are functions at error zero.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from coset.contract import Claim, Contract
from coset.errors import InputError, unknown
from coset.groups.group import Group
from coset.groups.matrix import O
from coset.reps.defining import tensor
from coset.reps.intertwiners import reynolds
from coset.reps.representation import Representation
from coset.symmetrizers.regularize import impose

Start = Literal["plain", "halfsoft", "rpp"]
Ranks = tuple[int, int, int]  #: how many scalars, vectors and rank-2 tensors
#: share of the equivariant part and of the whole weight at the start
STARTS: dict[str, tuple[float, float]] = {"plain": (0.0, 1.0), "halfsoft": (0.5, 0.5), "rpp": (1.0, 0.1)}
#: the groups between which a regulariser chooses: the O(2) that keeps one axis
CANDIDATES: dict[str, Group] = {
    f"O(2){axis}": O(3).stabilizer(torch.eye(3, dtype=torch.float64)[i]) for i, axis in enumerate("xyz")
}
#: what ``symmetry`` names: those, and the largest group, of which they are subgroups
GROUPS: dict[str, Group] = {"O(3)": O(3), **CANDIDATES}


def width(ranks: Ranks) -> int:
    """Numbers in a feature: one for a scalar, three for a vector, nine for a rank-2 tensor."""
    return ranks[0] + 3 * ranks[1] + 9 * ranks[2]


def allocation(group: Group, ranks: Ranks) -> Representation:
    """How ``group`` acts on a feature of these ranks; InputError for an empty one."""
    parts = [n * tensor(group, rank) for rank, n in enumerate(ranks) if n]
    if not parts:
        raise InputError(f"a feature has at least one scalar, vector or tensor, got {ranks}")
    out = parts[0]
    for part in parts[1:]:
        out = out + part
    return out


class SoftLinear(nn.Linear):
    """A dense linear map between features of declared ranks; starts orthogonal, mixed with its O(3) part by ``start``."""

    def __init__(self, ranks_in: Ranks, ranks_out: Ranks, *, start: Start = "plain") -> None:
        if start not in STARTS:
            raise unknown("start", start, STARTS)
        super().__init__(width(ranks_in), width(ranks_out))
        self.ranks = (ranks_in, ranks_out)
        with torch.no_grad():
            nn.init.orthogonal_(self.weight)
            self.bias.uniform_(0, 1).div_(self.out_features**0.5)
            strict, whole = STARTS[start]
            if strict:
                self.weight.copy_(strict * reynolds(self.weight, *self.reps(O(3))) + whole * self.weight)

    def reps(self, group: Group) -> tuple[Representation, Representation]:
        """What ``group`` does to the input and to the output."""
        return allocation(group, self.ranks[0]), allocation(group, self.ranks[1])


class TensorMLP(nn.Module):
    """``mass`` (B, n) and ``pos`` (B, n, 3) to a rank-2 tensor ``(B, 3, 3)``.

    ``hidden`` counts scalars, vectors and rank-2 tensors, ``layers`` the hidden ones; ``symmetry`` is ``"free"`` or a name
    in ``GROUPS``. The buffer ``strengths`` is written by the objective that tunes one strength for each candidate.
    """

    def __init__(
        self, bodies: int = 5, *, hidden: Ranks = (24, 12, 8), layers: int = 3, symmetry: str = "free", start: Start = "plain"
    ) -> None:
        super().__init__()
        if symmetry not in ("free", *GROUPS):
            raise unknown("symmetry", symmetry, ("free", *GROUPS))
        if bodies < 1 or layers < 1 or hidden[2] > hidden[1]:
            raise InputError(
                f"TensorMLP: bodies and layers >= 1 and no more tensors than vectors, got {bodies}, {layers}, {hidden}"
            )
        self.config = {"bodies": bodies, "hidden": tuple(hidden), "layers": layers, "symmetry": symmetry, "start": start}
        self.hidden: Ranks = tuple(hidden)  # type: ignore[assignment]
        gates: Ranks = (hidden[0] + hidden[1] + hidden[2], hidden[1], hidden[2])
        sizes: list[Ranks] = [(bodies, bodies, 0)] + [self.hidden] * layers
        self.layers = nn.ModuleList(SoftLinear(sizes[i], gates, start=start) for i in range(layers))
        self.last = SoftLinear(self.hidden, (0, 0, 1), start=start)
        self.register_buffer("strengths", torch.zeros(len(CANDIDATES), dtype=torch.float64))
        if symmetry != "free":
            impose(self, GROUPS[symmetry])

    @property
    def contracts(self) -> tuple[Contract, ...]:
        """O(3), learned, while free; the group imposed, exact."""
        name = str(self.config["symmetry"])
        group, claim = (GROUPS["O(3)"], "learned") if name == "free" else (GROUPS[name], "exact")
        return (contract(group, bodies=int(self.config["bodies"]), claim=claim),)  # type: ignore[arg-type, call-overload]

    def forward(self, mass: Tensor, pos: Tensor) -> Tensor:
        """The predicted tensor ``(B, 3, 3)``."""
        n0, n1, n2 = self.hidden
        x = torch.cat([mass, pos.flatten(-2)], -1)
        for layer in self.layers:
            s, gate, v, t = layer(x).split([n0, n1 + n2, 3 * n1, 9 * n2], -1)
            v, t = v.unflatten(-1, (n1, 3)), t.unflatten(-1, (n2, 3, 3))
            t = t + v[..., :n2, :, None] * v[..., :n2, None, :]
            gate = torch.sigmoid(gate).unsqueeze(-1)
            v, t = v * gate[..., :n1, :], t * gate[..., n1:, :, None]
            x = torch.cat([s * torch.sigmoid(s), v.flatten(-2), t.flatten(-3)], -1)
        return self.last(x).unflatten(-1, (3, 3))


def contract(group: Group, *, bodies: int = 5, claim: Claim = "learned", name: str = "") -> Contract:
    """A promise about ``group`` on masses, positions about the origin and the tensor returned."""
    fields = {"mass": f"B x {bodies} x scalar", "pos": f"B x {bodies} x vector"}
    return Contract(group, fields, "B x tensor(2)", claim, 1e-3 if claim == "broken" else None, name=name)
