"""Channelwise polynomials in plain PyTorch: the oracle, term by term, and a fast form that compiles and differentiates.

The fast form makes the monomials of each degree from those one degree lower, ``x_i x_j x_k = (x_i x_j) x_k``, multiplies each
by its coefficient ``a[z, slot]`` and sums. It holds ``nodes x slots of one output x channels`` numbers at a time.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate, pairwise

import torch
from torch import Tensor

from coset.ops.polynomial import Monomial, Polynomials


def reference(p: Polynomials, x: Tensor, w: Tensor, species: Tensor) -> Tensor:
    """The sum as it is written. Shapes and dtype as in :class:`coset.ops.symmetric_contraction.SymmetricContraction`."""
    rows = [torch.zeros_like(x[:, 0]) for _ in range(p.outputs)]
    for (output, monomial, weight), coefficient in zip(p.terms, p.coefficients, strict=True):
        product = coefficient * w[species, weight]
        for v in monomial:
            product = product * x[:, v]
        rows[output] = rows[output] + product
    return torch.stack(rows, 1) if rows else x[:, :0]


@dataclass(frozen=True, eq=False)
class Tables:
    """What :func:`plain` needs of the polynomials, as tensors of one dtype on one device.

    ``products[d]``: for the monomials of degree ``d + 2`` the place of the first ``d + 1`` factors, and the last factor.
    """

    mixing: Tensor
    products: tuple[tuple[Tensor, Tensor], ...]
    places: tuple[Tensor, ...]
    bounds: tuple[int, ...]

    def to(self, dtype: torch.dtype, device: torch.device) -> Tables:
        """The same elsewhere."""
        products = tuple((parents.to(device), last.to(device)) for parents, last in self.products)
        places = tuple(places.to(device) for places in self.places)
        return Tables(self.mixing.to(device, dtype), products, places, self.bounds)

    @staticmethod
    def of(p: Polynomials) -> Tables:
        """In float64 on the CPU."""
        place: dict[Monomial, int] = {(v,): v for v in range(p.variables)}
        products, below = [], 0
        for degree in range(2, p.degree + 1):
            listed = sorted({monomial[:degree] for _, monomial in p.slots if len(monomial) >= degree})
            parents = [place[monomial[:-1]] - below for monomial in listed]
            products.append((_integers(parents), _integers([monomial[-1] for monomial in listed])))
            below = len(place)
            place |= {monomial: below + k for k, monomial in enumerate(listed)}
        bounds = tuple(accumulate((sum(o == output for o, _ in p.slots) for output in range(p.outputs)), initial=0))
        found = [place[monomial] for _, monomial in p.slots]
        places = tuple(_integers(found[a:b]) for a, b in pairwise(bounds))
        return Tables(torch.from_numpy(p.matrix()), tuple(products), places, bounds)


def plain(tables: Tables, x: Tensor, w: Tensor, species: Tensor) -> Tensor:
    """The same as :func:`reference`."""
    monomials = [x]
    for parents, last in tables.products:
        monomials.append(monomials[-1].index_select(1, parents) * x.index_select(1, last))
    powers = torch.cat(monomials, 1)
    slots = torch.matmul(tables.mixing, w)
    rows = []
    for k, places in enumerate(tables.places):
        mine = slots[:, tables.bounds[k] : tables.bounds[k + 1]].index_select(0, species)
        rows.append((mine * powers.index_select(1, places)).sum(1))
    return torch.stack(rows, 1)


def _integers(values: list[int]) -> Tensor:
    return torch.tensor(values, dtype=torch.int64)
