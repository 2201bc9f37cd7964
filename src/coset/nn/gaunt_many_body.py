"""Many-body features by powers of a signal on the sphere: the Gaunt form of the step from pairs of atoms to clusters.

    B_lm = sum_(k = 1..nu) W[z, k, l] s_(k, l) proj_lm(f^k),      f = sum_lm A_lm Y_lm,      channel by channel

where :class:`~coset.nn.irreps_product.ManyBody` couples factors one after another. Powers cost O(nu L^3) on a grid and keep one
weight per degree, order and species; couplings cost O(L^(3 nu)) and keep one per path. What is lost are the paths through
pseudo-tensors, which no product of functions reaches, and the freedom to weigh the others apart.
Luo, Chen & Krishnapriyan, ICLR 2024, arXiv 2401.10216 (section on many-body products; :mod:`coset.ops.gaunt_powers`).

Differs from the published code: ``s`` makes the variance of every degree of every power 1 for independent normal ``A``, exactly
(:func:`power_scales`), so that weights start, and are trained, at one size; and a linear layer mixes channels after the sum.
"""

from __future__ import annotations

from math import comb, factorial

import numpy as np
import torch
from torch import Tensor, nn

from coset.contract import Contract
from coset.errors import InputError
from coset.groups.permutation import S
from coset.nn.irreps_blocks import IrrepsLike, as_irreps, over
from coset.nn.irreps_linear import IrrepsLinear
from coset.ops.gaunt import natural
from coset.ops.gaunt_powers import GauntPowers
from coset.reps.action import Labels
from coset.reps.fields import Field, Fields
from coset.reps.irreps import Irreps


class GauntManyBody(nn.Module):
    """``x`` ``(N, irreps_in.dim)`` with species ``z`` ``(N,)`` to ``(N, irreps_out.dim)``: powers of ``x`` up to
    ``correlation``.

    ``irreps_in`` holds every degree ``0..lmax`` once, with the parity of harmonics and one multiplicity, the channels;
    ``irreps_out`` degrees of the same parity. Contracts: the group of the irreps and permutations, exact. InputError for other
    parities (pseudo-tensors vanish in products of functions), degrees out of reach, and a correlation below 1.
    """

    scale: Tensor

    def __init__(self, irreps_in: IrrepsLike, irreps_out: IrrepsLike, species: int, *, correlation: int = 3) -> None:
        super().__init__()
        irreps_in = as_irreps(irreps_in)
        irreps_out = as_irreps(irreps_out, irreps_in.group)
        if species < 1:
            raise InputError(f"GauntManyBody: at least one species, got {species}")
        given = list(dict.fromkeys(ir for _, ir in irreps_out))
        wanted, sign = natural(Irreps([(1, ir) for ir in sorted(given, key=lambda ir: ir.l)], irreps_in.group), pad=True)
        if not sign == natural(irreps_in)[1] == 1:
            raise InputError(
                f"GauntManyBody: powers of a signal have degrees 0e, 1o, 2e, ... only; got {irreps_in} and {irreps_out}. "
                "Pseudo-tensors need coupled products"
            )
        self.channels, lmax = irreps_in.channels(), irreps_in.lmax
        self.powers = GauntPowers(lmax, wanted[-1], correlation)
        kept = [row for l in wanted for row in range(l * l, (l + 1) ** 2)]
        self.register_buffer("kept", torch.tensor(kept), persistent=False)
        scale = power_scales(lmax, wanted[-1], correlation).to(torch.get_default_dtype())
        self.register_buffer("scale", scale.unsqueeze(-1), persistent=False)
        self.weight = nn.Parameter(torch.randn(species, correlation, wanted[-1] + 1, self.channels) / correlation)
        between = Irreps([(self.channels, (l, (-1) ** l)) for l in wanted], irreps_in.group)
        self.linear = IrrepsLinear(between, irreps_out)
        inputs = Fields({"x": over("N", irreps_in), "z": Field(("N",), Labels(tuple(range(species))))})
        self.contracts = tuple(Contract(group, inputs, over("N", irreps_out)) for group in (irreps_in.group, S("N")))

    kept: Tensor

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        """See the class; ``z`` integers in ``0..species-1``."""
        y = self.powers(x.unflatten(-1, (-1, self.channels)), self.weight * self.scale, z)
        return self.linear(y.index_select(-2, self.kept).flatten(-2))


def power_scales(lmax: int, lout: int, order: int) -> Tensor:
    """Factors ``(order, lout + 1)`` float64 that give the coefficients of every power mean square 1 (1 where they vanish).

    For coefficients of variance 1 the signal is normal with covariance ``c(t) = sum_l (2l + 1) P_l(t)`` at cosine ``t``, and
    ``E[f^k f'^k] = sum_j j! C(k, j)^2 ((k - j - 1)!!)^2 c(1)^(k - j) c(t)^j`` over j of the parity of k, whose Legendre
    coefficients ``1/2 int . P_l dt`` are what is asked.
    """
    nodes, weights = np.polynomial.legendre.leggauss((order * lmax + lout) // 2 + 1)
    legendre = np.polynomial.legendre.legvander(nodes, max(lmax, lout)).T  # (degrees, nodes)
    count = 2 * np.arange(lmax + 1) + 1
    c, top = count @ legendre[: lmax + 1], float(count.sum())
    power = np.empty((order, lout + 1))
    for k in range(1, order + 1):
        terms = [factorial(j) * (comb(k, j) * _pairings(k - j)) ** 2 * top ** (k - j) * c**j for j in range(k % 2, k + 1, 2)]
        power[k - 1] = 0.5 * (legendre[: lout + 1] * (np.sum(terms, 0) * weights)).sum(1)
    found = torch.from_numpy(power)
    return torch.where(found > 1e-9, found, torch.ones_like(found)).rsqrt()


def _pairings(n: int) -> int:
    """Ways to pair ``n`` things, ``(n - 1)!!`` for even n."""
    return factorial(n) // (2 ** (n // 2) * factorial(n // 2))
