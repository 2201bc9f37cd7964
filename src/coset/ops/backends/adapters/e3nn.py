"""The channelwise product inside message passing as e3nn carries it out: gather, ``TensorProduct``, scatter.

Conversions between layouts are kept outside of the call: :meth:`Convolution.inputs` and :meth:`Convolution.output`.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from coset.errors import require
from coset.ops.index import Index
from coset.ops.tensor_product import TensorProduct


def available() -> str | None:
    """None, or why it cannot be used."""
    return None if importlib.util.find_spec("e3nn") else "e3nn is not installed (extra 'peers')"


class Convolution:
    """``tp``, which reads ``source`` and sums into ``target`` with weights per edge, through e3nn's modules."""

    def __init__(self, tp: TensorProduct, dtype: torch.dtype = torch.float32) -> None:
        o3 = require("e3nn.o3", extra="peers")
        self.tp = tp
        first, second = ([(mul, (ir.l, ir.p)) for mul, ir in irreps] for irreps in (tp.irreps_in, tp.irreps_filter))
        out = [(tp.channels, (path.irreps[2].l, path.irreps[2].p)) for path in tp.paths]
        steps = [(path.first[0], path.second[0], place, "uvu", True) for place, path in enumerate(tp.paths)]
        default = torch.get_default_dtype()
        torch.set_default_dtype(dtype)  # e3nn keeps its coefficients in the default dtype of its construction
        try:
            self.module: Any = o3.TensorProduct(first, second, out, steps, shared_weights=False, internal_weights=False)
        finally:
            torch.set_default_dtype(default)

    def inputs(self, x: Tensor, s: Tensor, w: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Operands in e3nn's layout, copies before components; weights flat."""
        dims = [ir.dim for _, ir in self.tp.irreps_in]
        return torch.cat([block.transpose(1, 2).flatten(1) for block in x.split(dims, 1)], 1), s, w.flatten(1)

    def output(self, y: Tensor) -> Tensor:
        """Its output as ``(nodes, rows, C)``, rows as in ``tp``."""
        blocks: dict[Any, list[Tensor]] = {}
        at = 0
        for path in self.tp.paths:
            size = self.tp.channels * path.irreps[2].dim
            block = y[:, at : at + size].unflatten(1, (self.tp.channels, -1)).transpose(1, 2)
            blocks.setdefault(path.irreps[2], []).append(block)
            at += size
        return torch.cat([torch.stack(parts, 2).flatten(1, 2) for parts in blocks.values()], 1)

    def __call__(self, x: Tensor, s: Tensor, w: Tensor, edges: Mapping[str, Index]) -> Tensor:
        """The sum of messages, in e3nn's layout."""
        messages = self.module(x[edges["source"].values], s, w)
        return messages.new_zeros(edges["target"].size, messages.shape[1]).index_add(0, edges["target"].values, messages)
