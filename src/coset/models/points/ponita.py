"""PONITA: convolutions on positions x orientations, for points with scalars and vectors in the plane and in space.

Features are functions of a position and an orientation; kernels depend on invariants of a pair of those only, so no product of
irreps is needed:

    lift         x[i, o] = W (scalars_i, vectors_i . o)
    layer        x <- x + MLP(LayerNorm(conv(x)))                    (:mod:`coset.nn.orientation_conv`)
    read out     s = mean over layers of W_l x_l;  scalars_i = mean_o s[i, o],  vectors_i = mean_o s[i, o] o

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

from coset.contract import Contract
from coset.errors import ContractError, InputError
from coset.groups.euclidean import SE, E, T
from coset.groups.finite import D
from coset.groups.orientations import Orientations
from coset.groups.permutation import S
from coset.nn.orientation_conv import ConvNeXt
from coset.nn.orientation_spaces import Edges, Fibre, Nodes, Space, pairs_within
from coset.nn.particles import INPUTS, OUTPUTS, all_pairs, check_particles, check_sizes
from coset.ops.scatter import scatter_sum

Level = Literal["node", "graph"]


class PONITA(nn.Module):
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
        orientations: int | Literal["edges"] = 12,
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
        super().__init__()
        self.config: dict[str, Any] = {name: value for name, value in locals().items() if name not in ("self", "__class__")}
        check_sizes(
            "PONITA", scalars=scalars, hidden=hidden, layers=layers, widening=widening, outputs=out_scalars + out_vectors
        )
        if min(vectors, out_scalars, out_vectors, edge_scalars) < 0 or level not in ("node", "graph"):
            raise InputError(f"PONITA: numbers of tensors are >= 0, level is 'node' or 'graph'; got {vectors}, {level!r}")
        if orientations == 0 and vectors:
            raise InputError(
                "PONITA: orientations=0 leaves no orientation to project vectors on; pass vectors=0 and their norms"
            )
        if orientations != "edges" and (extra_invariants or chirality):
            raise InputError("PONITA: extra_invariants and chirality are of pairs of edges; pass orientations='edges'")
        self.sizes, self.dim, self.level, self.radius = (scalars, vectors, edge_scalars), space, level, radius
        self.out_scalars = out_scalars
        kernel = (space, hidden, kernels or hidden, degree, radius, edge_scalars)
        self.space: Space
        if orientations == "edges":
            self.space = Edges(*kernel, extra=extra_invariants, chiral=chirality)
        elif orientations == 0:
            self.space = Nodes(*kernel, out_vectors=out_vectors)
        else:
            self.space = Fibre(*kernel, count=orientations)
        self.embed = nn.Linear(scalars + vectors, hidden)
        self.layers = nn.ModuleList(
            ConvNeXt(self.space.conv(hidden), hidden, widening=widening, layer_scale=layer_scale) for _ in range(layers)
        )
        width = self.space.readout(out_scalars, out_vectors)
        self.readouts = nn.ModuleList(nn.Linear(hidden, width) for _ in range(layers))
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

    def nodes(
        self,
        r: Tensor,
        edge_index: Tensor,
        scalars: Tensor,
        vectors: Tensor | None = None,
        edge_attr: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Outputs per node from edge vectors ``r = x_source - x_target (E, n)``, as a periodic system gives them.

        Edges are used as they are but for those beyond the radius, and every node sees itself besides.
        """
        count = len(scalars)
        vectors = scalars.new_zeros(count, 0, self.dim) if vectors is None else vectors
        edge_attr = r.new_zeros(len(r), 0) if edge_attr is None else edge_attr
        if self.radius is not None:
            near = r.detach().square().sum(-1) < self.radius**2
            r, edge_index, edge_attr = r[near], edge_index[:, near], edge_attr[near]
        at = self.space(r, edge_index, count, edge_attr)
        x = self.embed(self.space.lift(scalars, vectors, at))
        total = x.new_zeros(())
        for layer, readout in zip(self.layers, self.readouts, strict=True):
            x = layer(x, *at.bases, at.edge_index)
            total = total + readout(x)
        own, turned = self.space.project(total / len(self.layers), at, count, self.out_scalars)
        found = {"scalars": own, "vectors": turned}
        return {name: value for name, value in found.items() if value.shape[1]}

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


def sampling_error(count: int, space: int = 3) -> float:
    """A bound on the relative error of ``count`` orientations under any motion: ``40 M^(-3/2)``, in the plane ``20 M^(-2)``.

    At most 2. Calibrated, not derived: 1.3 to 2 times the largest error of eight networks of three layers with weights as
    drawn, under four rotations each, on normal positions of deviation 1 (12 orientations: median 0.08 and largest 0.43 of
    scalars, 0.03 and 0.19 of vectors; 256: 0.001 and 0.007). Kernels vary faster far away: wider systems, larger errors.
    """
    return min(2.0, 20 / count**2 if space == 2 else 40 / count**1.5)


def promises(
    orientations: int | Literal["edges"],
    space: int,
    inputs: dict[str, str],
    outputs: Any,
    *,
    chiral: bool = False,
    exact: bool = False,
) -> tuple[Contract, ...]:
    """What a model on these orientations promises; ContractError where ``exact`` is claimed of a grid without symmetry."""
    # with shifts beside them, the permutations of points in the plane say that they are in the plane
    nodes = Contract(S("N") if space == 3 else T(2) * S("N"), inputs, outputs)
    motions = E(space) if space == 3 and not chiral else SE(space)
    if orientations in (0, "edges"):
        return (Contract(E(space) if orientations == 0 else motions, inputs, outputs), nodes)
    grid = Orientations(space, int(orientations))
    if exact and grid.symmetry is None:
        raise ContractError(
            f"exact=True: no rotation maps a grid of {orientations} orientations onto itself; take 4, 6, 8, 12 or 20, or "
            f"orientations='edges'"
        )
    found = [Contract(T(space), inputs, outputs), nodes]
    found += [Contract(grid.symmetry, inputs, outputs)] if grid.symmetry is not None else []
    if not exact:
        found.append(Contract(motions, inputs, outputs, "approximate", sampling_error(grid.count, space)))
    if space == 2:
        found.append(Contract(D(1), inputs, outputs, "broken"))
    return tuple(found)


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
        orientations: int | Literal["edges"] = 12,
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
