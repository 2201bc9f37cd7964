"""The channelwise product inside message passing as OpenEquivariance carries it out: fused kernels, on a GPU only."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from coset.errors import require
from coset.ops.backends.adapters.e3nn import Convolution as Layout
from coset.ops.index import Index
from coset.ops.tensor_product import TensorProduct


def available() -> str | None:
    """None, or why it cannot be used."""
    if importlib.util.find_spec("openequivariance") is None:
        return "openequivariance is not installed"
    return None if torch.cuda.is_available() else "openequivariance has kernels for GPUs only"


class Convolution(Layout):
    """``tp`` with weights per edge through ``TensorProductConv``, in e3nn's layout: copies before components."""

    def __init__(self, tp: TensorProduct, dtype: torch.dtype = torch.float32) -> None:
        oeq: Any = require("openequivariance", extra="peers")
        super().__init__(tp, dtype)
        made = self.module
        problem = oeq.TPProblem(
            str(made.irreps_in1),
            str(made.irreps_in2),
            str(made.irreps_out),
            [(p.i_in1, p.i_in2, p.i_out, p.connection_mode, p.has_weight) for p in made.instructions],
            shared_weights=False,
            internal_weights=False,
        )
        self.convolution = oeq.TensorProductConv(problem, deterministic=False)

    def __call__(self, x: Tensor, s: Tensor, w: Tensor, edges: Mapping[str, Index]) -> Tensor:
        """The sum of messages, in e3nn's layout."""
        return self.convolution(x, s, w, edges["target"].values, edges["source"].values)
