"""PONITA: convolutions on positions x orientations, for points with scalars and vectors in the plane and in space.

Features are functions of a position and an orientation; kernels depend on invariants of a pair of those only, so no product of
irreps is needed. The network itself, which potentials share, is in :mod:`coset.nn.position_orientation`.

Bekkers, Vadgama, Hesselink, van der Linden & Romero, Fast, Expressive SE(n) Equivariant Networks through Weight-Sharing in
Position-Orientation Space, ICLR 2024, arXiv 2310.02970. Contracts: translations and permutations exactly. On a grid of
orientations exactly the finite group that permutes it and, up to a bound that falls with its size, E(3) (SE(2) in the plane);
with edges for orientations, or none, E(3) exactly. The bounds are for weights as they are drawn, measured. Differs from the
paper: grids are Platonic solids or Fibonacci spirals, not charges that repel each other; the embedding has a bias, so that a
node without scalars still sends; kernels may see scalars of edges; and see :mod:`coset.nn.orientation_spaces`.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from coset.errors import InputError
from coset.nn.orientation_spaces import pairs_within
from coset.nn.particles import INPUTS, OUTPUTS, all_pairs, check_particles, check_sizes
from coset.nn.position_orientation import Places, PositionOrientation, promises
from coset.ops.scatter import scatter_sum

Level = Literal["node", "graph"]


class PONITA(PositionOrientation):
    """``pos (N, n)``, ``scalars (N, a)``, ``vectors (N, b, n)``, ``batch (N,)`` to ``scalars (N, k)``, ``vectors (N, m, n)``.

    ``orientations`` is the size of the grid, ``"edges"`` (the point-cloud mode: one place per edge) or 0 (positions only,
    called PNITA in the paper). With ``level="graph"`` outputs are sums over each graph. Nodes of a graph see each other up to
    ``radius`` (in units of ``pos``; None: all do), unless ``edge_index`` is given. ``exact=True`` promises only what holds
    exactly, and more than translations and permutations. ``extra_invariants`` and ``chirality`` (for SE(3)) are for
    ``"edges"``. ``kernels`` is the size of the kernel basis (default: ``hidden``); with ``edge_scalars`` kernels also see that
    many numbers of an edge, ``edge_attr (E, d)``, and edges must be given.

    Raises InputError for sizes below 1, positions that are not in 2D or 3D, vectors without orientations to project them on;
    ContractError for ``exact=True`` with a grid that no rotation maps onto itself.
    """

    def __init__(
        self,
        scalars: int = 1,
        vectors: int = 1,
        *,
        out_scalars: int = 1,
        out_vectors: int = 1,
        edge_scalars: int = 0,
        hidden: int = 32,
        layers: int = 3,
        orientations: Places = 12,
        space: int = 3,
        level: Level = "node",
        radius: float | None = None,
        kernels: int | None = None,
        degree: int = 3,
        widening: int = 4,
        layer_scale: float | None = None,
        extra_invariants: bool = False,
        chirality: bool = False,
        exact: bool = False,
    ) -> None:
        config: dict[str, Any] = {name: value for name, value in locals().items() if name not in ("self", "__class__")}
        check_sizes(
            "PONITA", scalars=scalars, hidden=hidden, layers=layers, widening=widening, outputs=out_scalars + out_vectors
        )
        if min(vectors, out_scalars, out_vectors, edge_scalars) < 0 or level not in ("node", "graph"):
            raise InputError(f"PONITA: numbers of tensors are >= 0, level is 'node' or 'graph'; got {vectors}, {level!r}")
        super().__init__(
            scalars, vectors, out_scalars=out_scalars, out_vectors=out_vectors, edge_scalars=edge_scalars, hidden=hidden,
            layers=layers, orientations=orientations, space=space, radius=radius, kernels=kernels, degree=degree,
            widening=widening, layer_scale=layer_scale, extra_invariants=extra_invariants, chirality=chirality,
        )  # fmt: skip
        self.config, self.sizes, self.level = config, (scalars, vectors, edge_scalars), level
        inputs = {"pos": "N x position", "scalars": f"N x {scalars} x scalar"}
        inputs |= {"vectors": f"N x {vectors} x vector"} if vectors else {}
        inputs |= {"edge_index": "2 x E -> N", "edge_attr": f"E x {edge_scalars} x scalar"} if edge_scalars else {}
        inputs["batch"] = "N -> B"
        of = "N" if level == "node" else "B"
        outputs = {"scalars": f"{of} x {out_scalars} x scalar"} if out_scalars else {}
        outputs |= {"vectors": f"{of} x {out_vectors} x vector"} if out_vectors else {}
        self.contracts = promises(orientations, space, inputs, outputs, chiral=chirality, exact=exact)

    def forward(
        self,
        pos: Tensor,
        scalars: Tensor,
        vectors: Tensor | None = None,
        batch: Tensor | None = None,
        edge_index: Tensor | None = None,
        edge_attr: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Outputs by name; ``edge_index`` (source, target) replaces the pairs within ``batch`` (one graph where left out)."""
        self._check(pos, scalars, vectors, edge_index, edge_attr)
        if batch is None:
            batch = torch.zeros(len(pos), dtype=torch.int64, device=pos.device)
        if edge_index is None:
            edge_index = pairs_within(batch)
        apart = edge_index[0] != edge_index[1]  # loops are added further down
        edge_index, edge_attr = edge_index[:, apart], None if edge_attr is None else edge_attr[apart]
        r = pos.index_select(0, edge_index[0]) - pos.index_select(0, edge_index[1])
        out = self.nodes(r, edge_index, scalars, vectors, edge_attr)
        if self.level == "graph":
            graphs = int(batch.max()) + 1 if len(batch) else 0
            out = {name: scatter_sum(value, batch, graphs) for name, value in out.items()}
        return out

    def _check(
        self, pos: Tensor, scalars: Tensor, vectors: Tensor | None, edge_index: Tensor | None, edge_attr: Tensor | None
    ) -> None:
        """InputError unless the tensors have the shapes that the model was made for."""
        a, b, d = self.sizes
        if pos.ndim != 2 or pos.shape[1] != self.dim:
            raise InputError(
                f"PONITA: expected positions (N, {self.dim}), got {tuple(pos.shape)}; space={self.dim} was asked for"
            )
        if scalars.shape != (len(pos), a):
            raise InputError(f"PONITA: expected scalars ({len(pos)}, {a}), got {tuple(scalars.shape)}")
        if (vectors is None) is (b > 0) or (vectors is not None and vectors.shape != (len(pos), b, self.dim)):
            got = None if vectors is None else tuple(vectors.shape)
            raise InputError(f"PONITA: expected vectors ({len(pos)}, {b}, {self.dim}), got {got}")
        edges = None if edge_index is None else edge_index.shape[-1]
        if (edge_attr is None) is (d > 0) or (edge_attr is not None and edge_attr.shape != (edges, d)):
            got = None if edge_attr is None else tuple(edge_attr.shape)
            raise InputError(f"PONITA: expected edge_attr ({edges}, {d}) beside edge_index, got {got}")


class ParticlePONITA(nn.Module):
    """``pos, vel (B, N, 3)``, ``charge (B, N)`` to positions ``(B, N, 3)`` at a later time.

    Charges are scalars, their products scalars of edges (as in EGNN; the paper's network has to find them), velocities
    vectors; with ``orientations=0`` (PNITA) speeds stand in for the velocities.
    Raises InputError for sizes below 1 and for particles that do not fit together.
    """

    def __init__(
        self,
        hidden: int = 32,
        layers: int = 3,
        *,
        orientations: Places = 12,
        kernels: int = 16,
        widening: int = 2,
        layer_scale: float | None = None,
    ) -> None:
        super().__init__()
        sizes: dict[str, Any] = {"hidden": hidden, "layers": layers, "orientations": orientations, "kernels": kernels}
        self.config: dict[str, Any] = sizes | {"widening": widening, "layer_scale": layer_scale}
        self.turning = orientations != 0
        given: dict[str, Any] = {"scalars": 1, "vectors": 1} if self.turning else {"scalars": 2, "vectors": 0}
        self.net = PONITA(**given, out_scalars=0, edge_scalars=1, **self.config)
        self.contracts = promises(orientations, 3, INPUTS, OUTPUTS)

    def forward(self, pos: Tensor, vel: Tensor, charge: Tensor) -> Tensor:
        """Positions at the later time."""
        check_particles(pos, vel, charge)
        x, v, q = pos.reshape(-1, 3), vel.reshape(-1, 3), charge.reshape(-1, 1)
        n = pos.shape[-2]
        edge_index = all_pairs(len(x) // max(n, 1), n, device=pos.device)
        speed = torch.sqrt(v.square().sum(-1, keepdim=True) + 1e-12)
        given = {"scalars": q, "vectors": v.unsqueeze(1)} if self.turning else {"scalars": torch.cat([q, speed], -1)}
        product = q[edge_index[0]] * q[edge_index[1]]
        return (x + self.net(x, **given, edge_index=edge_index, edge_attr=product)["vectors"][:, 0]).view(pos.shape)
