"""Networks on positions x orientations: lift, convolutions, readouts; edge vectors in, scalars and vectors of nodes out.

    lift         x[i, o] = W (scalars_i, vectors_i . o)
    layer        x <- x + MLP(LayerNorm(conv(x)))                    (:mod:`coset.nn.orientation_conv`)
    read out     s = mean over layers of W_l x_l;  scalars_i = mean_o s[i, o],  vectors_i = mean_o s[i, o] o

The engine of PONITA for points and for atoms, and what such a network can promise (:func:`promises`). Bekkers et al., ICLR
2024, arXiv 2310.02970.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from torch import Tensor, nn

from coset.contract import Contract
from coset.errors import ContractError, InputError
from coset.groups.euclidean import SE, E, T
from coset.groups.finite import D
from coset.groups.orientations import Orientations
from coset.groups.permutation import S
from coset.nn.orientation_conv import ConvNeXt
from coset.nn.orientation_spaces import Edges, Fibre, Nodes, Space

Places = int | Literal["edges"]  #: a grid of so many orientations, one place per edge, or (0) positions only


class PositionOrientation(nn.Module):
    """``layers`` layers of ``hidden`` channels on the places that ``orientations`` names (:mod:`coset.nn.orientation_spaces`).

    Kernels are made of ``kernels`` basis functions (default: ``hidden``) of monomials up to ``degree``, and end at ``radius``;
    ``edge_scalars`` numbers of an edge stand beside the invariants. InputError for vectors without orientations to project them
    on, and for invariants of pairs of edges elsewhere.
    """

    def __init__(
        self, scalars: int, vectors: int, *, out_scalars: int, out_vectors: int, edge_scalars: int = 0, hidden: int = 32,
        layers: int = 3, orientations: Places = 12, space: int = 3, radius: float | None = None, kernels: int | None = None,
        degree: int = 3, widening: int = 4, layer_scale: float | None = None, extra_invariants: bool = False,
        chirality: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        if orientations == 0 and vectors:
            raise InputError(
                "PONITA: orientations=0 leaves no orientation to project vectors on; pass vectors=0 and their norms"
            )
        if orientations != "edges" and (extra_invariants or chirality):
            raise InputError("PONITA: extra_invariants and chirality are of pairs of edges; pass orientations='edges'")
        self.dim, self.radius, self.out_scalars = space, radius, out_scalars
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


def sampling_error(count: int, space: int = 3) -> float:
    """A bound on the relative error of ``count`` orientations under any motion: ``40 M^(-3/2)``, in the plane ``20 M^(-2)``.

    At most 2. Calibrated, not derived: 1.3 to 2 times the largest error of eight networks of three layers with weights as
    drawn, under four rotations each, on normal positions of deviation 1 (12 orientations: median 0.08 and largest 0.43 of
    scalars, 0.03 and 0.19 of vectors; 256: 0.001 and 0.007). Kernels vary faster far away: wider systems, larger errors.
    """
    return min(2.0, 20 / count**2 if space == 2 else 40 / count**1.5)


def promises(
    orientations: Places,
    space: int,
    inputs: Mapping[str, Any],
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
