"""The channelwise product inside message passing as cuEquivariance carries it out, ``naive`` where there is no GPU.

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

LAYOUTS = ("ir_mul", "mul_ir")


def available() -> str | None:
    """None, or why it cannot be used."""
    return None if importlib.util.find_spec("cuequivariance_torch") else "cuequivariance-torch is not installed (extra 'peers')"


class Convolution:
    """``tp``, which reads ``source`` and sums into ``target`` with weights per edge, through ``ChannelWiseTensorProduct``."""

    def __init__(
        self, tp: TensorProduct, dtype: torch.dtype = torch.float32, *, layout: str = "ir_mul", method: str = "naive"
    ) -> None:
        cue = require("cuequivariance", extra="peers")
        torch_side = require("cuequivariance_torch", extra="peers")
        self.tp, self.layout = tp, layout
        first, second = (
            cue.Irreps("O3", "+".join(f"{mul}x{ir}" for mul, ir in irreps)) for irreps in (tp.irreps_in, tp.irreps_filter)
        )
        kept = [cue.O3(ir.l, ir.p) for _, ir in tp.irreps_out]
        with cue.assume(cue.O3, getattr(cue, layout)):
            self.module: Any = torch_side.ChannelWiseTensorProduct(
                first, second, kept, layout=getattr(cue, layout), shared_weights=False, dtype=dtype, method=method
            )

    def inputs(self, x: Tensor, s: Tensor, w: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Operands in the layout asked for; weights flat."""
        if self.layout == "ir_mul":
            return x.flatten(1), s, w.flatten(1)
        dims = [ir.dim for _, ir in self.tp.irreps_in]
        return torch.cat([block.transpose(1, 2).flatten(1) for block in x.split(dims, 1)], 1), s, w.flatten(1)

    def output(self, y: Tensor) -> Tensor:
        """Its output as ``(nodes, rows, C)``, rows as in ``tp``."""
        blocks: dict[Any, list[Tensor]] = {}
        C, at = self.tp.channels, 0
        for path in self.tp.paths:
            dim = path.irreps[2].dim
            block = y[:, at : at + C * dim]
            block = block.unflatten(1, (dim, C)) if self.layout == "ir_mul" else block.unflatten(1, (C, dim)).transpose(1, 2)
            blocks.setdefault(path.irreps[2], []).append(block)
            at += C * dim
        return torch.cat([torch.stack(parts, 2).flatten(1, 2) for parts in blocks.values()], 1)

    def __call__(self, x: Tensor, s: Tensor, w: Tensor, edges: Mapping[str, Index]) -> Tensor:
        """The sum of messages, in its layout."""
        messages = self.module(x[edges["source"].values], s, w)
        return messages.new_zeros(edges["target"].size, messages.shape[1]).index_add(0, edges["target"].values, messages)
