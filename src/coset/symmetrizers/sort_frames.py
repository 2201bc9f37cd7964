"""A frame for permutations of the nodes of a graph: sort them by the eigenvectors of its Laplacian.

For every distinct eigenvalue of ``L = D - A`` a node has one number that no choice of basis changes, ``|u_i|``, or the
length of its row in the eigenspace. Rounded to two decimals and joined with its own scalar features they are its row;
rows are sorted lexicographically, and the frame is all permutations that sort them. Nodes with equal rows form blocks:
up to ``samples`` permutations are all listed, beyond that so many are drawn (seeded), and the sample counts as tied.

Puny et al., ICLR 2022, arXiv 2110.03336, section 4 and the official code. Node features as tie breakers are our addition.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from coset.contract import Contract
from coset.errors import ContractError, InputError
from coset.groups.group import Family
from coset.groups.permutation import S
from coset.symmetrizers.average import Frame
from coset.symmetrizers.members import base


class Graph(NamedTuple):
    """Adjacency ``(n, n)``, node features ``(n, k)`` and mask ``(n,)`` or None, on the CPU."""

    adjacency: Tensor
    features: Tensor
    mask: Tensor | None


class SortFrame(Frame):
    """Elements ``(F, members, n)`` of ``S("N")`` for adjacency matrices ``"B x N x N x scalar"`` (or one ``"N x N x scalar"``).

    Ragged graphs, ``edge_index`` ``"2 x E -> N"`` beside ``"N -> B"``, get elements ``(F, N)`` that sort all graphs at once.
    A field called ``mask`` over the nodes keeps padding behind the others.
    """

    def __init__(self, samples: int = 10, *, decimals: int = 2, seed: int = 0, batch: str | None = None) -> None:
        super().__init__(batch=batch)
        if samples < 1:
            raise InputError(f"SortFrame: samples is a number of permutations >= 1, got {samples}")
        self.samples, self.decimals, self.seed = samples, decimals, seed

    def acting(self, contract, x) -> S:
        return replace(_letters(contract), within=None).bind(contract.inputs, x)

    def regular(self, x, contract):
        graphs, _, batched = self._graphs(x, contract)
        exact = torch.tensor([_count(blocks) <= self.samples for blocks in map(self._blocks, graphs)])
        return exact if batched else bool(exact[0])

    def forward(self, x, contract):
        graphs, owner, _ = self._graphs(x, contract)
        generator = torch.Generator().manual_seed(self.seed)
        lists = [self._sorted(self._blocks(graph), generator) for graph in graphs]
        self.seen.samples += len(lists)
        device = next(iter(x.values())).device
        if owner is None:
            many = max(map(len, lists))
            order = torch.stack([rows[torch.arange(many) % len(rows)] for rows in lists], 1)
            weights = torch.stack([(torch.arange(many) < len(rows)).double() / len(rows) for rows in lists], 1)
            return torch.argsort(order, -1).to(device), weights.to(device)
        # one permutation of all nodes: graph after graph, every graph in each of its own orders equally often
        many = math.lcm(*map(len, lists))
        if many > self.samples:
            many = max(map(len, lists))
            self.seen.tied += sum(many % len(rows) > 0 for rows in lists)
        places = [torch.nonzero(owner == b).squeeze(-1) for b in range(len(lists))]
        orders = [torch.cat([at[rows[i % len(rows)]] for at, rows in zip(places, lists, strict=True)]) for i in range(many)]
        return torch.argsort(torch.stack(orders), -1).to(device), torch.full(
            (many,), 1 / many, dtype=torch.float64, device=device
        )

    # ------------------------------------------------------------------ one graph

    def _blocks(self, graph: Graph) -> list[list[int]]:
        """Nodes in sorted order, those with equal rows together."""
        adjacency, features, mask = graph
        values, vectors = torch.linalg.eigh(torch.diag(adjacency.sum(-1)) - adjacency)
        apart = torch.diff(values) > 1e-6 * values.abs().max().clamp(min=1)
        space = torch.cat([apart.new_zeros(1), apart]).long().cumsum(0)
        square = torch.zeros(len(values), int(space[-1]) + 1, dtype=torch.float64).index_add(1, space, vectors.square())
        rows = [torch.round(square.sqrt(), decimals=self.decimals), features]
        if mask is not None:
            padding = ~mask.bool()
            rows = [padding.double().unsqueeze(-1), *rows, (padding * torch.arange(len(mask))).double().unsqueeze(-1)]
        rank = torch.unique(torch.cat(rows, -1) + 0.0, dim=0, return_inverse=True)[1]
        return [torch.nonzero(rank == r).squeeze(-1).tolist() for r in range(int(rank.max()) + 1)]

    def _sorted(self, blocks: list[list[int]], generator: torch.Generator) -> Tensor:
        """The permutations that sort the rows, all or ``samples`` of them: ``(F, n)``."""
        if _count(blocks) <= self.samples:
            choices = itertools.product(*(itertools.permutations(block) for block in blocks))
            return torch.tensor([list(itertools.chain.from_iterable(choice)) for choice in choices])
        self.seen.tied += 1
        drawn = [
            [block[i] for block in blocks for i in torch.randperm(len(block), generator=generator).tolist()]
            for _ in range(self.samples)
        ]
        return torch.tensor(drawn)

    def _graphs(self, x: Mapping[str, Tensor], contract: Contract) -> tuple[list[Graph], Tensor | None, bool]:
        """Every graph; the graph of every node if they are ragged; whether there is a batch."""
        group, members = self.acting(contract, x), self.members(x, contract)
        named = {name: x[name].detach().cpu() for name, _ in contract.inputs}
        features, mask = _node_features(named, contract, group.index)
        for name, declared in contract.inputs:
            if declared.target == group.index and len(declared.index) == 2 and declared.index[0] == "2":
                owner = members.maps.get(group.index, torch.zeros(group.n, dtype=torch.int64)).cpu()
                split = _split(named[name], owner, features.reshape(group.n, -1), members.size)
                return split, owner, members.index is not None
            if declared.index[-2:] == (group.index, group.index) and declared.still:
                adjacency = named[name].double()
                if not torch.equal(adjacency, adjacency.mT):
                    raise InputError(f"{name or 'input'!r}: expected symmetric adjacency matrices; symmetrize them, A + A^T")
                if members.index is None:
                    return [Graph(adjacency, features, mask)], None, False
                masks = [None] * len(adjacency) if mask is None else list(mask)
                return [Graph(*each) for each in zip(adjacency, features, masks, strict=True)], None, True
        raise self._no_graph(contract)

    def covers(self, contract: Contract) -> Family:
        group = _letters(contract)
        if not any(
            (d.target == group.index and d.index[0] == "2") or (d.index[-2:] == (group.index,) * 2 and d.still)
            for _, d in contract.inputs
        ):
            raise self._no_graph(contract)
        return contract.group

    @staticmethod
    def _no_graph(contract: Contract) -> ContractError:
        return ContractError(
            f"a sort frame needs an adjacency 'N x N x scalar' or edges '2 x E -> N'; the inputs are {contract.inputs}"
        )


def _letters(contract: Contract) -> S:
    group = base(contract.group)
    if not (isinstance(group, S) and isinstance(group.index, str)):
        raise ContractError(f"a sort frame is for permutations of an index, such as S('N'); the group is {group}")
    return group


def _node_features(named: Mapping[str, Tensor], contract: Contract, index: Any) -> tuple[Tensor, Tensor | None]:
    """Scalars that nodes bring along, ``(..., n, k)``, and their mask."""
    found, mask, lead = [], None, torch.Size()
    for name, declared in contract.inputs:
        if declared.target is not None or not declared.still or declared.ragged or index not in declared.index:
            continue
        axis = declared.index.index(index)
        lead = named[name].shape[: axis + 1]
        if declared.index.count(index) == 1 and name == "mask":
            mask = named[name]
        elif declared.index.count(index) == 1:
            found.append(named[name].double().reshape(*lead, -1))
    return torch.cat([torch.zeros(*lead, 0, dtype=torch.float64), *found], -1), mask


def _split(edges: Tensor, owner: Tensor, features: Tensor, count: int) -> list[Graph]:
    """The graphs of a ragged batch."""
    graphs = []
    for b in range(count):
        at = torch.nonzero(owner == b).squeeze(-1)
        place = torch.full_like(owner, -1).scatter(0, at, torch.arange(len(at)))
        ends = place[edges[:, owner[edges[0]] == b]]
        adjacency = torch.zeros(len(at), len(at), dtype=torch.float64)
        adjacency.index_put_((ends[0], ends[1]), torch.ones(ends.shape[1], dtype=torch.float64), accumulate=True)
        graphs.append(Graph(adjacency + adjacency.T, features[at], None))
    return graphs


def _count(blocks: list[list[int]]) -> float:
    """How many permutations sort these blocks."""
    return math.prod(math.factorial(len(block)) if len(block) < 20 else math.inf for block in blocks)
