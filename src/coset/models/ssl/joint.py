"""Backbone and projector of Barlow Twins and VICReg: features without labels that ignore how a view was taken.

Zbontar, Jing, Misra, LeCun & Deny, Barlow Twins, ICML 2021, arXiv 2103.03230; Bardes, Ponce & LeCun, VICReg, ICLR 2022, arXiv
2105.04906. Both are one network, ``projector(backbone(x))``, under different losses
(:mod:`coset.objectives.joint_embedding`); :meth:`JointEncoder.represent` is what is used afterwards. Any backbone that gives
features ``(B, d)`` will do: images, clouds of points, graphs.
Contracts: SO(3) on recorded views of a thing, invariant, learned; S("B") exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from coset.contract import Contract, FieldsLike
from coset.groups.group import Family
from coset.groups.matrix import SO
from coset.nn.projector import features_of, projector
from coset.nn.resnet import ResNet
from coset.reps.action import Recorded
from coset.reps.fields import Field

PHOTOGRAPHS = Field(("B", "3"), Recorded(2))  #: images that nobody can turn


class JointEncoder(nn.Module):
    """Samples to embeddings ``(B, widths[-1])`` by ``backbone`` (a small ResNet by default) and projector.

    ``features`` is what the backbone gives (its own ``features`` by default), ``inputs`` what it takes, ``group`` what moves
    the views (both for the contract). ``bias`` before the norms of the projector: VICReg's has it, Barlow's has not. Raises
    InputError for sizes below 1 and a backbone whose number of features is not known.
    """

    def __init__(
        self, backbone: nn.Module | None = None, widths: Sequence[int] = (512, 512, 512), *, features: int | None = None,
        bias: bool = False, inputs: FieldsLike = PHOTOGRAPHS, group: Family | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.config: dict[str, Any] = {
            "backbone": backbone, "widths": list(widths), "features": features, "bias": bias, "inputs": inputs, "group": group,
        }  # fmt: skip
        self.backbone = ResNet() if backbone is None else backbone
        self.features = features_of(self.backbone, features)
        self.projector = projector(self.features, widths, bias=bias)
        self.contracts = (Contract(group or SO(3), inputs, f"B x {widths[-1]} x scalar", "learned"),)

    def represent(self, *args: Any, **named: Tensor) -> Tensor:
        """Features ``(B, features)``."""
        return self.backbone(*args, **named)

    def forward(self, *args: Any, **named: Tensor) -> Tensor:
        """Embeddings."""
        return self.projector(self.represent(*args, **named))
