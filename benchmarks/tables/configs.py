"""Configurations of the channelwise product in message passing: ``(l_in, l_filter, l_out, channels)``, natural parity."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from coset.ops.index import Edges
from coset.ops.tensor_product import TensorProduct, channelwise
from coset.reps.irreps import Irreps

DEGREE = 20  #: edges per node
DEGREES = {
    "A": (0, 3, 3, 128),
    "B": (1, 3, 3, 128),
    "C": (2, 3, 3, 128),
    "D": (3, 3, 3, 128),
    "F": (2, 2, 2, 64),
    "G": (3, 3, 3, 32),
}


@dataclass(frozen=True)
class Case:
    """A configuration on a random graph with ``edges`` edges, sorted by receiver."""

    name: str
    edges: int

    @property
    def nodes(self) -> int:
        """Each receives :data:`DEGREE` edges on average."""
        return self.edges // DEGREE

    @cached_property
    def tp(self) -> TensorProduct:
        """The product."""
        l_in, l_filter, l_out, channels = DEGREES[self.name]
        first = Irreps([(channels, ir) for _, ir in Irreps.spherical_harmonics(l_in)])
        return channelwise(first, Irreps.spherical_harmonics(l_filter), Irreps.spherical_harmonics(l_out))

    @cached_property
    def graph(self) -> Edges:
        """Sources at random, targets at random and sorted."""
        generator = torch.Generator().manual_seed(0)
        source, target = torch.randint(0, self.nodes, (2, self.edges), generator=generator)
        return Edges(torch.stack([source, target.sort()[0]]), self.nodes)

    def operands(self, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor]:
        """x, s and w, drawn at random."""
        generator = torch.Generator().manual_seed(1)
        tp = self.tp
        shapes = (
            (self.nodes, tp.rows_in.count, tp.channels),
            (self.edges, tp.irreps_filter.dim),
            (self.edges, len(tp.paths), tp.channels),
        )
        x, s, w = (torch.randn(shape, generator=generator).to(dtype) for shape in shapes)
        return x, s, w

    def __str__(self) -> str:
        return f"{self.name} {DEGREES[self.name]}"
