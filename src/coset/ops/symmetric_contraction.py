"""Symmetric contraction: the many-body product of atomic cluster expansions, with weights per species and channel.

    B[n, M, c] = sum_(nu <= correlation)  sum_p  w[z(n), p, c]  sum_(i..)  U^nu_p[M; i_1 .. i_nu]  x[n, i_1, c] .. x[n, i_nu, c]

for every output irrep, where the ``U^nu_p`` are an orthonormal basis of the symmetric equivariant tensors
(:mod:`coset.ops.symmetric_basis`). Product after product of the same feature with itself costs ``rows^nu`` numbers; collected
into monomials it is a small polynomial per output (:mod:`coset.ops.polynomial`).

>>> product = symmetric_contraction("8x0e+8x1o+8x2e", "8x0e+8x1o", 3)
>>> x, species = torch.randn(5, 9, 8), torch.tensor([0, 1, 1, 0, 2])
>>> product(x, torch.randn(3, product.paths_total, 8), species).shape      # (nodes, rows out, channels)
torch.Size([5, 4, 8])

Backends: ``"cpu"`` kernels, ``"torch"``, ``"reference"``; ``"auto"`` takes the kernels where they run, else torch, and
:meth:`SymmetricContraction.choose` says why. First and second derivatives run on the kernels, higher ones in torch.

Source: Batatia et al., MACE: Higher Order Equivariant Message Passing Neural Networks (2022), eq. 10 and 11.
"""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from coset.errors import InputError
from coset.ops.backends import polynomial as torch_backend
from coset.ops.backends.llvm import contraction as kernels
from coset.ops.backends.select import AUTO, BackendWarning, Choice, requested
from coset.ops.contraction_autograd import contract
from coset.ops.polynomial import Monomial, Polynomials, make_polynomials
from coset.ops.symmetric_basis import Block, symmetric_basis
from coset.reps.irreps import Irrep, Irreps

HIGHEST = 4
"""The largest correlation."""


@dataclass(frozen=True)
class Paths:
    """The weights ``start .. start + count - 1``: one per coupling of ``order`` features to copy ``copy`` of ``irrep``."""

    irrep: Irrep
    copy: int
    order: int
    start: int
    count: int


@dataclass(frozen=True, eq=False)
class SymmetricContraction:
    """``(x (nodes, rows, C), weights (species, paths_total, C), species (nodes,)) -> (nodes, rows_out, C)``.

    ``paths`` lists the weights, for each copy of each output irrep the orders 1, 2, ..; ``polynomials`` is what is computed.
    """

    irreps_in: Irreps
    irreps_out: Irreps
    correlation: int
    paths: tuple[Paths, ...]
    polynomials: Polynomials
    _tables: dict[tuple, torch_backend.Tables] = field(repr=False)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SymmetricContraction):
            return NotImplemented
        mine, theirs = ((c.irreps_in, c.irreps_out, c.paths, c.polynomials.key) for c in (self, other))
        return mine == theirs

    def __hash__(self) -> int:
        return hash(self.polynomials.key)

    @property
    def paths_total(self) -> int:
        """How many weights a species has per channel."""
        return self.polynomials.weights

    @property
    def rows(self) -> int:
        """Rows of the input."""
        return self.polynomials.variables

    @property
    def rows_out(self) -> int:
        """Rows of the output."""
        return self.polynomials.outputs

    def __call__(self, x: Tensor, weights: Tensor, species: Tensor, *, backend: str = AUTO) -> Tensor:
        """The contraction at every node; ``species`` are integers below ``len(weights)``.

        One floating dtype and one device (under autocast float32 or wider: the powers of ``x`` need its range). InputError says
        what does not fit.
        """
        if torch.is_autocast_enabled(x.device.type):
            dtype = torch.promote_types(torch.promote_types(x.dtype, weights.dtype), torch.float32)
            x, weights = x.to(dtype), weights.to(dtype)
        self._check(x, weights, species)
        choice = self.choose(x, weights, backend=backend)
        chosen = choice.backend
        if "do not run it" in choice.reason and x.is_cpu and not torch.compiler.is_compiling():
            _warn_once(f"{self} runs on plain torch; {choice.reason}")
        if chosen == "cpu":
            return contract(x, weights, species, self.polynomials.key)
        if not torch.compiler.is_compiling() and species.numel():
            kernels.check_species(int(species.min()), int(species.max()), len(weights))
        if chosen == "reference":
            return torch_backend.reference(self.polynomials, x, weights, species)
        return torch_backend.plain(self._table(x), x, weights, species)

    def choose(self, x: Tensor, weights: Tensor, *, backend: str = AUTO) -> Choice:
        """The backend for these tensors and the reason. InputError if a named one cannot run them."""
        backend = backend if torch.compiler.is_compiling() else requested(backend)  # dynamo cannot read context variables
        if backend in ("torch", "reference"):
            return Choice(backend, "asked for")
        obstacle = kernels.supports(self.polynomials, x, weights)
        if backend == AUTO:
            return (
                Choice("cpu", "compiled kernels") if obstacle is None else Choice("torch", f"kernels do not run it: {obstacle}")
            )
        if backend != "cpu":
            raise InputError(f"symmetric contractions have the backends cpu, torch and reference, not {backend!r}")
        if obstacle is not None:
            raise InputError(f"backend 'cpu' does not run {self}: {obstacle}; 'auto' finds one that does")
        return Choice("cpu", "asked for")

    def split(self, weights: Tensor) -> list[Tensor]:
        """``weights`` cut along :attr:`paths` into ``(species, count, C)`` each; ``torch.cat(parts, 1)`` undoes it."""
        return list(weights.split([group.count for group in self.paths], 1))

    def __str__(self) -> str:
        return f"symmetric contraction {self.irreps_in} -> {self.irreps_out}, correlation {self.correlation}"

    def _table(self, x: Tensor) -> torch_backend.Tables:
        if torch.compiler.is_compiling():  # a compiler makes constants of it
            return self._tables[torch.float64, "cpu"].to(x.dtype, x.device)
        key = (x.dtype, str(x.device))
        if key not in self._tables:
            self._tables[key] = self._tables[torch.float64, "cpu"].to(x.dtype, x.device)
        return self._tables[key]

    def _check(self, x: Tensor, weights: Tensor, species: Tensor) -> None:
        if x.ndim != 3 or x.shape[1] != self.rows:
            raise InputError(f"{self} takes x (nodes, {self.rows}, channels), got {tuple(x.shape)}")
        if weights.ndim != 3 or weights.shape[1] != self.paths_total or weights.shape[2] != x.shape[2]:
            listed = ", ".join(f"{group.count} of order {group.order} for {group.irrep}" for group in self.paths)
            expected = f"(species, {self.paths_total}, {x.shape[2]})"
            raise InputError(f"{self} takes weights {expected}, {listed}; got {tuple(weights.shape)}")
        if species.ndim != 1 or len(species) != len(x) or species.is_floating_point():
            got = f"{species.dtype} {tuple(species.shape)}"
            raise InputError(f"species are {len(x)} integers, one per node (one-hot rows: argmax(-1)), got {got}")
        if weights.dtype != x.dtype or not x.is_floating_point() or weights.device != x.device:
            raise InputError(f"x and weights have one floating dtype and device, got {x.dtype} and {weights.dtype}")


@lru_cache(maxsize=256)
def _warn_once(message: str) -> None:
    warnings.warn(message, BackendWarning, stacklevel=3)


def symmetric_contraction(irreps_in: Any, irreps_out: Any, correlation: int) -> SymmetricContraction:
    """The contraction of up to ``correlation`` (1 to 4) features of ``irreps_in`` to ``irreps_out``, all couplings once.

    A block of ``q * C`` copies, C the greatest common divisor of all multiplicities, counts as ``q`` blocks per channel.
    Raises InputError for a correlation outside 1..4 and for an output irrep that no order reaches (parity).
    """
    irreps_in, irreps_out = Irreps(irreps_in), Irreps(irreps_out)
    if not isinstance(correlation, int) or not 1 <= correlation <= HIGHEST:
        raise InputError(f"correlation is an integer from 1 to {HIGHEST}, got {correlation!r}")
    return _build(irreps_in, irreps_out, correlation)


@lru_cache(maxsize=32)
def _build(irreps_in: Irreps, irreps_out: Irreps, correlation: int) -> SymmetricContraction:
    blocks, outputs = _blocks(irreps_in, irreps_out)
    wanted = sorted({block.irrep for block in outputs}, key=lambda ir: (ir.l, ir.p))
    bases = [symmetric_basis(blocks, wanted, order) for order in range(1, correlation + 1)]
    tables: list[list[list[Table]]] = []
    for block in outputs:
        if not any(basis[block.irrep] for basis in bases):
            raise InputError(
                f"no product of up to {correlation} features of {irreps_in} contains {block.irrep}: "
                "check its parity, or raise the correlation"
            )
        tables.append([[_table(covariant) for covariant in basis[block.irrep]] for basis in bases])
    return _assemble(irreps_in, irreps_out, blocks, outputs, tables)


Table = dict[tuple[int, Monomial], float]
"""One coupling: (component of the output, monomial) -> coefficient."""


def _table(covariant: list[dict[Monomial, float]]) -> Table:
    return {(m, monomial): value for m, polynomial in enumerate(covariant) for monomial, value in polynomial.items()}


def from_tensors(irreps_in: Any, irreps_out: Any, tensors: Sequence[Sequence[Tensor]]) -> SymmetricContraction:
    """The contraction with given coupling tensors, dependent or not, one weight for each.

    ``tensors[b][nu - 1]`` is ``(2L + 1, rows, .., rows, paths)`` with ``nu`` axes of rows, for block ``b`` of ``irreps_out``;
    the first axis may be missing where ``L = 0``. They need not be symmetric: only the symmetric part acts. InputError names
    the tensor that does not fit.
    """
    irreps_in, irreps_out = Irreps(irreps_in), Irreps(irreps_out)
    blocks, outputs = _blocks(irreps_in, irreps_out)
    if len(tensors) != len(outputs):
        raise InputError(f"{irreps_out} has {len(outputs)} blocks, got coupling tensors for {len(tensors)}")
    rows = sum(len(block.rows) for block in blocks)
    tables = []
    for block, orders in zip(outputs, tensors, strict=True):
        tables.append([_couplings(u, block.irrep, rows, order) for order, u in enumerate(orders, 1)])
    return _assemble(irreps_in, irreps_out, blocks, outputs, tables)


def _couplings(u: Tensor, irrep: Irrep, rows: int, order: int) -> list[Table]:
    """A dense coupling tensor as one table per path: equal monomials collected, what cancels dropped."""
    paths = u.shape[-1]
    if u.numel() != irrep.dim * rows**order * paths:
        expected = (irrep.dim, *(rows,) * order, paths)
        raise InputError(f"the coupling tensor of order {order} to {irrep} has shape {expected}, got {tuple(u.shape)}")
    noise = 32 * torch.finfo(u.dtype).eps * float(u.abs().max()) if u.numel() else 0.0
    u = u.detach().cpu().double().reshape(irrep.dim, *(rows,) * order, paths)
    tables: list[Table] = [defaultdict(float) for _ in range(paths)]
    places = u.nonzero()
    for (m, *variables, path), value in zip(places.tolist(), u[tuple(places.T)].tolist(), strict=True):
        tables[path][m, tuple(sorted(variables))] += value
    return [{key: value for key, value in table.items() if abs(value) > noise} for table in tables]


def from_mace(module: Any) -> tuple[SymmetricContraction, list[Tensor]]:
    """What a ``SymmetricContraction`` module of mace-torch computes, and its parameters in the order of ``paths``.

    ``torch.cat(parameters, 1)`` are the weights; one-hot species become integers by ``argmax(-1)``; its features
    ``(nodes, C, rows)`` are ours transposed, and so is each output block. Read by structure; the package is not imported.
    InputError if an attribute is missing.
    """
    for name in ("irreps_in", "irreps_out", "contractions"):
        if not hasattr(module, name):
            raise InputError(
                f"a symmetric contraction of mace-torch has the attribute {name!r}; {type(module).__name__} has none"
            )
    tensors, parameters = [], []
    for part in module.contractions:
        buffers = dict(part.named_buffers())
        orders = range(1, part.correlation + 1)
        tensors.append([buffers[f"U_matrix_{order}"] for order in orders])
        # it keeps the weights of the highest order apart, the others from high to low
        parameters += [*reversed(list(part.weights)), part.weights_max]
    return from_tensors(str(module.irreps_in), str(module.irreps_out), tensors), parameters


def _blocks(irreps_in: Irreps, irreps_out: Irreps) -> tuple[list[Block], list[Block]]:
    """The irreps of one channel with their rows: copy ``j`` of ``q`` has the rows ``start + m * q + j``."""
    if not len(irreps_in) or not len(irreps_out):
        raise InputError(f"a contraction needs input and output irreps, got {str(irreps_in)!r} and {str(irreps_out)!r}")
    channels = (irreps_in + irreps_out).channels()
    found: tuple[list[Block], list[Block]] = ([], [])
    for irreps, blocks in zip((irreps_in, irreps_out), found, strict=True):
        start = 0
        for copies, irrep in irreps.over(channels):
            for j in range(copies):
                blocks.append(Block(irrep, tuple(start + m * copies + j for m in range(irrep.dim))))
            start += copies * irrep.dim
    return found


def _assemble(
    irreps_in: Irreps, irreps_out: Irreps, blocks: list[Block], outputs: list[Block], tables: list[list[list[Table]]]
) -> SymmetricContraction:
    """Weights numbered block by block, order by order; ``tables[block][order - 1][path]``."""
    terms: dict[tuple[int, Monomial, int], float] = {}
    paths: list[Paths] = []
    start = 0
    copies: dict[Irrep, int] = defaultdict(int)
    for block, orders in zip(outputs, tables, strict=True):
        for order, couplings in enumerate(orders, 1):
            for weight, table in enumerate(couplings, start):
                terms |= {(block.rows[m], monomial, weight): value for (m, monomial), value in table.items()}
            paths.append(Paths(block.irrep, copies[block.irrep], order, start, len(couplings)))
            start += len(couplings)
        copies[block.irrep] += 1
    variables, results = (sum(len(block.rows) for block in group) for group in (blocks, outputs))
    polynomials = make_polynomials(variables, results, start, terms)
    correlation = max(map(len, tables))
    tables64 = {(torch.float64, "cpu"): torch_backend.Tables.of(polynomials)}
    return SymmetricContraction(irreps_in, irreps_out, correlation, tuple(paths), polynomials, tables64)
