"""Two short cycles or one long, triangles or none: graphs that colour refinement cannot tell apart.

Contract: S("N") on ragged graphs. Message passing and a dense order-2 network see the degree only and are right half of the
time; order 2 on ego networks sees the cycles inside a neighbourhood. Data: :mod:`coset.data.cycles`. The layers of
neighbourhoods are those of Mitton & Murray-Smith, arXiv 2111.11840.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import nn

from coset.contract import Contract
from coset.data.cycles import cycles
from coset.data.graphs import graph_loss
from coset.groups.permutation import S
from coset.models.graphs.gin import GIN
from coset.models.graphs.ign import IGN
from coset.models.graphs.spen import SPEN
from coset.nn.graph_input import GRAPHS, LOGITS
from coset.task import Data, Method, Recipe, Task

WIDTHS, HEAD = (8, 8, 8, 16), (32,)
BUCKETS = (3, 4, 5, 8)  #: sizes of 1-hop networks of cycles, cubic and 4-regular graphs; 2-hop networks fill the last


def gin(data: Data) -> nn.Module:
    """Message passing; colour refinement is at rest from the start here, further layers would see no more."""
    return GIN(data.info["features"], data.info["classes"], hidden=32, layers=2, dropout=0.0)


def dense(data: Data) -> nn.Module:
    """The same layers on whole graphs."""
    return IGN(data.info["features"], data.info["classes"], widths=WIDTHS, head=HEAD, dropout=0.0)


def spen(k: int, data: Data) -> nn.Module:
    """Ego networks of k steps."""
    shape: dict[str, Any] = {"widths": WIDTHS, "head": HEAD, "buckets": BUCKETS, "cap": True}
    return SPEN(data.info["features"], data.info["classes"], k=k, dropout=0.0, **shape)


def accuracy(part: str, model: Any, data: Data) -> float:
    """Test graphs of this part that are named rightly, percent."""
    return data.test[part].percent_correct(model)


methods = (
    Method("GIN", gin, axes={"model": "message passing"}, source="xu2019",
           note="As strong as colour refinement, which sees the degree only: half right, exactly."),
    Method("global order 2", dense, axes={"model": "order 2, dense"}, source="maron2019",
           note="n^2 features and still colour refinement: order 2 alone does not see a triangle."),
    Method("SPEN, 1 step", partial(spen, 1), axes={"model": "order 2, ego networks"}, source="mitton2021",
           note="Inside an ego network a triangle is an edge; 2 C4 | C8 shows in the statistics over pairs two steps apart."),
    Method("SPEN, 2 steps", partial(spen, 2), axes={"model": "order 2, ego networks"}, source="mitton2021",
           note="Larger neighbourhoods hold the cycles themselves."),
)  # fmt: skip

_recipe = Recipe(epochs=30, batch=32, lr=3e-3, optimizer="adam")

task = Task(
    contracts=(Contract(S("N"), GRAPHS, LOGITS),),
    data=cycles,
    objective=graph_loss,
    metrics={
        "accuracy_percent": partial(accuracy, "all"),
        "cycles_percent": partial(accuracy, "cycles"),
        "regular_percent": partial(accuracy, "regular"),
    },
    methods=methods,
    recipe={
        "smoke": _recipe.override({"epochs": 2, "batch": 8}),
        "cpu": _recipe,
        "full": _recipe.override({"epochs": 100}),
    },
)
