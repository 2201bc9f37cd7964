"""Molecules, proteins, networks of people: which class is a graph? Ten folds of a TU set, message passing beside subgraphs.

Contract: S("N") on ragged graphs. Seed k is fold k: ``--seeds 10`` is the 10-fold protocol, fold k + 1 being held out for
choices and used for nothing else. ``--data mutag=PATH`` names a folder or zip in the public text form
(:mod:`coset.data.tu`); without one, ring systems are generated at sizes ``smoke`` and ``cpu``. Epochs are fixed; the papers'
figures beside GIN are for PROTEINS, at the epoch that is best on average over the test folds.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import nn

from coset.contract import Contract
from coset.data.graphs import graph_loss
from coset.data.tu import tu_set
from coset.groups.permutation import S
from coset.models.graphs.gin import GIN
from coset.models.graphs.ign import IGN
from coset.models.graphs.spen import SPEN
from coset.nn.graph_input import GRAPHS, LOGITS
from coset.task import Data, Method, Recipe, Task
from coset.topology.ego import buckets_of, k_hop_pairs

WIDTHS, HEAD = (16, 16, 16, 32), (64,)


def sizes(data: Data) -> dict[str, Any]:
    """Features and classes."""
    return dict(data.info)


def gin(data: Data) -> nn.Module:
    """Message passing."""
    return GIN(**sizes(data), hidden=32, layers=4)


def dense(data: Data) -> nn.Module:
    """The same layers on whole graphs."""
    return IGN(**sizes(data), widths=WIDTHS, head=HEAD)


def spen(k: int, data: Data) -> nn.Module:
    """Ego networks of k steps; sizes that are rare in the training set share weights."""
    owners = (k_hop_pairs(one["edge_index"], len(one["x"]), k)[0] for one in data.train.samples)
    seen = torch.cat([torch.bincount(owner) for owner in owners])
    return SPEN(**sizes(data), k=k, widths=WIDTHS, head=HEAD, buckets=buckets_of(seen, len(seen) // 20), cap=True)


def accuracy(model: Any, data: Data) -> float:
    """Test graphs that are named rightly, percent."""
    return data.test.percent_correct(model)


def valid_accuracy(model: Any, data: Data) -> float:
    """The same on the fold that choices are made on."""
    return data.valid.percent_correct(model)


methods = (
    Method("GIN", gin, axes={"model": "message passing"}, reference={"accuracy_percent": 76.2}, source="xu2019",
           note="Sums over neighbours; the reference is that of PROTEINS, 76.2 +- 2.8."),
    Method("SPEN, 1 step", partial(spen, 1), axes={"model": "order 2, ego networks"}, source="mitton2021",
           note="Every atom with its bonds, weights by the number of bonds."),
    Method("SPEN, 2 steps", partial(spen, 2), axes={"model": "order 2, ego networks"}, source="mitton2021",
           note="Larger neighbourhoods, more pairs, the same layers."),
    Method("global order 2", dense, axes={"model": "order 2, dense"}, source="maron2019",
           note="All pairs of a graph carry features: n^2 of them."),
)  # fmt: skip

_recipe = Recipe(epochs=40, batch=32, lr=3e-3, optimizer="adam")

task = Task(
    contracts=(Contract(S("N"), {**GRAPHS, "edge_attr": "E x D x scalar"}, LOGITS),),
    data=tu_set,
    objective=graph_loss,
    metrics={"accuracy_percent": accuracy, "valid_percent": valid_accuracy},
    methods=methods,
    recipe={
        "smoke": _recipe.override({"epochs": 2, "batch": 16}),
        "cpu": _recipe,
        "full": _recipe.override({"epochs": 150, "lr": 1e-3}),
    },
)
