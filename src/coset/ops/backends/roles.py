"""How plain PyTorch reads a plan: three wide operands, small matrices between them, and where the blocks are.

Input operands and output enter a multilinear sum alike: any of them may be the one that is computed. Among those with channels
("wide", at most three) two are *tied*, ``b`` and ``c``, with few pairs of rows ``q = (b_q, c_q)`` in use, and one is *free*,
``a``. The others ("narrow") only enter the matrix ``M[q, i] = sum_t c_t prod(narrow rows of t)``. With

    V_q = b_q c_q,    U_q = sum_i M[q, i] a_i          (channel by channel)

every wish is one line: ``a = M^T V``, ``c_q += U_q b_q``, ``b_q += U_q c_q``, and ``dM = V a^T`` summed over channels for the
narrow ones. Rows that no term connects fall into blocks. For a channelwise product ``a`` are the messages, ``b`` the weights,
``c`` the features and the blocks its paths: all edges of a receiver enter one matrix product.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from coset.ops.plan import ITEM, SHARED, Operand, Plan


@dataclass(frozen=True, eq=False)
class Block:
    """Pairs and free rows that terms connect: ``a`` the free rows, ``c`` the rows of the pairs, sorted by their ``b``.

    ``b`` lists each row once; it belongs to the next few pairs, and ``runs`` says to how many: ``(rows of b, pairs each)`` for
    every stretch of rows with equally many. ``matrix`` ``(narrow tuples, pairs * free rows)`` gives M from the products of the
    narrow operands.
    """

    a: np.ndarray
    b: np.ndarray
    c: np.ndarray
    runs: tuple[tuple[int, int], ...]
    matrix: np.ndarray


@dataclass(frozen=True, eq=False)
class Roles:
    """Which operand (by its column in the terms; the output is the last) plays which part; None if nobody does."""

    operands: tuple[Operand, ...]
    a: int | None
    b: int | None
    c: int
    narrow: tuple[int, ...]
    tuples: np.ndarray  #: rows of the narrow operands, one distinct combination per line
    blocks: tuple[Block, ...]

    @property
    def widest(self) -> int:
        """Pairs in the largest block."""
        return max((len(block.c) for block in self.blocks), default=1)


def roles_of(plan: Plan) -> Roles | None:
    """The parts of a plan's operands; None if more than three are wide, or one is written so that no block structure helps."""
    operands = (*plan.inputs, plan.output)
    wide = [place for place, operand in enumerate(operands) if operand.channels]
    if len(wide) > 3:
        return None
    table = plan.table
    a, b, c = _parts(operands, wide, table)
    narrow = tuple(place for place in range(len(operands)) if place not in (a, b, c))
    tuples, combination = _distinct(table[:, list(narrow)])
    pairs, pair = _distinct(table[:, [c] if b is None else [b, c]])
    free, freed = _distinct(table[:, [a]] if a is not None else table[:, :0])
    values = np.asarray(plan.coefficients)
    blocks = []
    for members in _components(pair, freed, len(pairs), len(free)):
        qs, q = np.unique(pair[members], return_inverse=True)
        rows, i = np.unique(freed[members], return_inverse=True)
        matrix = np.zeros((len(tuples), len(qs), len(rows)))
        np.add.at(matrix, (combination[members], q, i), values[members])
        rows_b, lengths = np.unique(pairs[qs, 0] if b is not None else np.zeros(len(qs), int), return_counts=True)
        runs = tuple((len(list(group)), int(length)) for length, group in groupby(lengths))
        rows_a = free[rows, 0] if a is not None else np.zeros(1, int)
        blocks.append(Block(rows_a, rows_b, pairs[qs, -1], runs, matrix.reshape(len(tuples), -1)))
    return Roles(operands, a, b, c, narrow, tuples, tuple(blocks))


def _parts(operands: Sequence[Operand], wide: list[int], table: np.ndarray) -> tuple[int | None, int | None, int]:
    """Free, and the tied pair, the one with fewer rows first."""
    if not wide:
        return None, None, len(operands) - 1
    gathered = [place for place in wide if operands[place].index not in (ITEM, SHARED)]
    if len(wide) < 3:
        free = None if len(wide) == 1 else (gathered or wide)[-1]
        return free, None, next(place for place in wide if place != free)
    pairs = {free: len(_distinct(table[:, [place for place in wide if place != free]])[0]) for free in wide}
    # a sum over the items of a row saves half of the memory traffic
    free = min(reversed(wide), key=lambda place: pairs[place] * (1 if place in gathered else 2))
    b, c = sorted((place for place in wide if place != free), key=lambda place: len(np.unique(table[:, place])))
    return free, b, c


def _distinct(columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct lines and, for every line, which it is."""
    if not columns.shape[1]:
        return columns[:1], np.zeros(len(columns), int)
    lines, which = np.unique(columns, axis=0, return_inverse=True)
    return lines, which.ravel()


def _components(pair: np.ndarray, free: np.ndarray, pairs: int, rows: int) -> list[np.ndarray]:
    """The terms of each set of pairs and free rows that hang together."""
    graph = coo_matrix((np.ones(len(pair)), (pair, pairs + free)), shape=(pairs + rows, pairs + rows))
    _, label = connected_components(graph, directed=False)
    return [np.flatnonzero(label[pair] == component) for component in np.unique(label[pair])]
