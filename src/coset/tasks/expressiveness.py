"""Which graphs can a network tell apart at all? Random weights on pairs that are not isomorphic, beside the exact bound.

Contract: S("N"), exact for every row. A pair counts as separated where outputs differ by more than 1e-8 of their size in
float64; ``beyond_bound`` counts pairs that exact refinement (:mod:`coset.topology.refinement`) says no weights can separate
(colour refinement for GIN and order 2, refinement inside ego networks for SPEN); it must be 0. ``relabeled`` is what a new
numbering of the nodes changes. Nothing is trained. Graphs: :mod:`coset.data.small_graphs`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import torch
from torch import nn

from coset.audits.separation import THRESHOLD, Separation, distances, separation
from coset.contract import Contract
from coset.data.graphs import Graphs
from coset.data.small_graphs import PAIRS, SmallGraph
from coset.errors import InputError
from coset.groups.permutation import S
from coset.models.graphs.gin import GIN
from coset.models.graphs.ign import IGN
from coset.models.graphs.spen import SPEN
from coset.nn.graph_input import GRAPHS, LOGITS
from coset.task import Data, Method, Recipe, Request, Task
from coset.topology.refinement import ego_refinement, wl1

WIDTHS, HEAD = (8, 8, 8, 8), (16,)
BUCKETS = (3, 4, 5, 7, 16)  #: sizes of ego networks; that of a rook's graph in two steps is the whole board


def data(request: Request) -> Data:
    """The pairs; nothing to train on. InputError for a data file."""
    if request.files:
        raise InputError(f"the graphs of this table are fixed; it takes no data file, got {request.files[0][0]!r}")
    everyone = Graphs([graph.sample() for pair in PAIRS.values() for graph in pair])
    return Data(everyone, PAIRS, sample(everyone.joined(6)), info={"features": 1, "classes": 4})


def sample(given: Any) -> dict[str, Any]:
    """The inputs of a graph or of a batch, without its label."""
    whole = given.sample() if isinstance(given, SmallGraph) else given
    return {name: whole[name] for name in GRAPHS}


def gin(data: Data) -> nn.Module:
    """Message passing."""
    return GIN(**data.info, hidden=16, layers=3)


def dense(data: Data) -> nn.Module:
    """The same layers on whole graphs."""
    return IGN(**data.info, widths=WIDTHS, head=HEAD)


def spen(k: int, data: Data) -> nn.Module:
    """Ego networks of k steps."""
    return SPEN(**data.info, k=k, widths=WIDTHS, head=HEAD, buckets=BUCKETS)


@lru_cache(maxsize=256)
def allowed(name: str, k: int) -> bool:
    """Whether exact refinement tells the pair apart: inside k-hop ego networks, or for k = 0 of the whole graph (1-WL)."""
    graphs = [(graph.edge_index, graph.nodes) for graph in PAIRS[name]]
    return len(set(ego_refinement(graphs, k) if k else wl1(graphs))) > 1


@lru_cache(maxsize=2)
def gaps(model: Any) -> dict[str, float]:
    """The relative distance of the two outputs, by pair."""
    return distances(model, {name: (sample(a), sample(b)) for name, (a, b) in PAIRS.items()})


def separated(name: str, model: Any, data: Data) -> float:
    """1 where the model tells this pair apart, else 0."""
    return float(gaps(model)[name] > THRESHOLD)


def pairs_separated(model: Any, data: Data) -> float:
    """How many pairs the model tells apart."""
    return sum(separated(name, model, data) for name in PAIRS)


def beyond_bound(model: Any, data: Data) -> float:
    """Pairs told apart although exact refinement forbids it: a bug, or more than the declared basis."""
    k = getattr(model, "k", 0)
    return sum(separated(name, model, data) for name in PAIRS if not allowed(name, k))


def relabeled(model: Any, data: Data) -> float:
    """The largest relative distance between a graph and itself with other numbers at its nodes."""
    generator = torch.Generator().manual_seed(0)
    graphs = {graph.name: graph for pair in PAIRS.values() for graph in pair}
    orders = {name: torch.randperm(graph.nodes, generator=generator) for name, graph in graphs.items()}
    same = {name: (sample(graph), sample(graph.relabel(orders[name]))) for name, graph in graphs.items()}
    return max(distances(model, same).values())


def picture(model: Any, data: Data) -> Separation:
    """All distances, drawn."""
    k = getattr(model, "k", 0)
    pairs = {name: (sample(a), sample(b)) for name, (a, b) in PAIRS.items()}
    bound = f"refinement in {k}-hop ego networks" if k else "colour refinement"
    return separation(model, pairs, {name: allowed(name, k) for name in pairs}, bound=bound)


def column(name: str) -> str:
    """The pair as a metric's name."""
    return name.replace(" | ", "/").replace(" ", "")


def row(name: str, build: Callable[[Data], nn.Module], model: str, source: str, note: str) -> Method:
    """A network with random weights."""
    return Method(name, build, stages=(), axes={"model": model}, source=source, note=note)


methods = (
    row("GIN", gin, "message passing", "xu2019", "Colour refinement, which is blind here."),
    row("global order 2", dense, "order 2, dense", "maron2019",
        "n^2 features, and no more than colour refinement."),
    row("SPEN, 1 step", partial(spen, 1), "order 2, ego networks", "mitton2021",
        "Triangles and squares; not pentagons, and not what order 2 misses inside an ego network."),
    row("SPEN, 2 steps", partial(spen, 2), "order 2, ego networks", "mitton2021",
        "Pentagons, too; the ego networks of prism and K33 are the whole graphs, where order 2 is blind."),
)  # fmt: skip

task = Task(
    contracts=(Contract(S("N"), GRAPHS, LOGITS),),
    data=data,
    objective=None,
    metrics={
        "pairs_separated": pairs_separated,
        **{column(name): partial(separated, name) for name in PAIRS},
        "beyond_bound": beyond_bound,
        "relabeled": relabeled,
    },
    methods=methods,
    recipe={size: Recipe(epochs=1) for size in ("smoke", "cpu", "full")},
    findings={"separation": picture},
)
