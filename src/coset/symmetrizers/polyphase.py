"""Polyphase anchoring as a canonicalizer, and vision transformers of any origin made exactly shift-invariant.

In use::

    model = anchor_vit(vit)                      # a ViT or Twins as timm builds them: its three pieces are replaced
    model = anchor_vit(vit, full=True)           # nothing is replaced but the first: invariant as it is, positions and all
    model = Canonicalize(net, contract, canonicalizer=PolyphaseAnchor(4))    # the same for any network

A strided network cannot tell shifts by its stride from each other, so that a roll to the strongest phase is all it needs to
be symmetric; a network that also reads absolute positions needs the roll to one fixed place (``full``). The contract is exact
under Torus(H, W) wherever no two phases tie. Ding et al., 2023, arXiv 2306.07470; :mod:`coset.nn.polyphase` says what differs.
"""

from __future__ import annotations

import math
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from coset.contract import Contract, evaluating, frozen
from coset.errors import ContractError, InputError
from coset.groups.torus import Torus
from coset.nn.polyphase import Rolls, anchor, clear, roll_tokens
from coset.reps.fields import Field
from coset.reps.torus import PeriodicImage
from coset.symmetrizers.average import Frame
from coset.symmetrizers.canonical import Canonicalizer
from coset.symmetrizers.members import base
from coset.symmetrizers.vit_parts import Conversion, convert, recording

TOLERANCE = 1e-9  #: relative, float64: what a converted network may change under a shift


class PolyphaseFrame(Frame):
    """One shift for every image: its strongest phase modulo ``stride``, or its strongest patch (``full``), to the origin."""

    def __init__(self, stride: int, *, full: bool = True, batch: str | None = None) -> None:
        super().__init__(batch=batch)
        if stride < 1:
            raise InputError(f"PolyphaseFrame: stride is at least 1, got {stride}")
        self.stride, self.full = stride, full

    def covers(self, contract):
        if not self.full:
            raise ContractError(
                f"an anchor modulo {self.stride} leaves shifts by {self.stride}: average or canonicalize with full=True, or "
                f"convert the network with anchor_vit"
            )
        return contract.group

    def forward(self, x, contract):
        image, group = self._image(x, contract)
        found = anchor(image, self.stride, full=self.full, layer="PolyphaseAnchor")
        self.seen.samples += len(image)
        self.seen.tied += int((~clear(found.margin, image.dtype)).sum())
        return group.shifts(found.steps).unsqueeze(0), found.margin.new_ones(1)

    def regular(self, x, contract):
        image, _ = self._image(x, contract)
        good = clear(anchor(image, self.stride, full=self.full, layer="PolyphaseAnchor").margin, image.dtype)
        return bool(good) if self.members(x, contract).index is None else good

    def _image(self, x: Any, contract: Contract) -> tuple[Tensor, Torus]:
        """The image that decides, as (members, H, W, channels), and the group of its pixels."""
        name = next((n for n, d in contract.inputs if isinstance(d.kind, PeriodicImage)), None)
        group = base(contract.group)
        if name is None or not isinstance(group, Torus) or tuple(x[name].shape[-2:]) != (group.h, group.w):
            raise ContractError(
                f"PolyphaseAnchor needs an input of the kind periodic_image and the Torus of its pixels; got {contract.inputs} "
                f"under {contract.group}"
            )
        lone = self.members(x, contract).index is None
        image = x[name].unsqueeze(0) if lone else x[name]
        return image.reshape(len(image), -1, group.h, group.w).movedim(1, -1), group


class PolyphaseAnchor(Canonicalizer):
    """``anchor(x, contract) -> (x_canonical, element)``: the image rolled to its origin, and the shift that leads back.

    With ``full`` (needed by :class:`~coset.symmetrizers.canonical.Canonicalize`) one image of every orbit is left, else one
    up to shifts by ``stride``. Arguments and errors as :class:`PolyphaseFrame`.
    """

    def __init__(self, stride: int, *, full: bool = True, batch: str | None = None) -> None:
        super().__init__(PolyphaseFrame(stride, full=full, batch=batch))
        self.config: dict[str, Any] = {"stride": stride, "full": full, "batch": batch}


class AnchoredViT(nn.Module):
    """A copy of ``model`` with its strided layers anchored; logits (B, classes) of images (B, C, H, W) as before.

    ``size`` (a number or H, W) is read off the patch embedding where it says so. ``changed`` and ``unknown`` list what was
    replaced and what was not understood, by path. Raises InputError for what :func:`anchor_vit` refuses.
    """

    def __init__(
        self, model: nn.Module, *, size: int | tuple[int, int] | None = None, full: bool = False, strict: bool = True
    ) -> None:
        super().__init__()
        if not isinstance(model, nn.Module) or isinstance(model, torch.jit.ScriptModule):
            raise InputError(f"anchor_vit takes a torch.nn.Module with parts to replace, got {type(model).__name__}")
        self.model = deepcopy(model)
        found = convert(self.model, size, full=full)
        if strict and found.unknown:
            told = "; ".join(f"{path}: {why}" for path, why in found.unknown)
            raise InputError(
                f"{type(model).__name__} holds what anchor_vit does not know: {told}. Pass strict=False to leave it"
            )
        self.changed, self.unknown = found.changed, found.unknown
        self.config: dict[str, Any] = {"size": list(found.size), "full": full, "strict": strict}
        self.contracts = (self._promise(found, strict),)

    def _promise(self, found: Conversion, strict: bool) -> Contract:
        """The contract, measured on noise in float64 at a few shifts; a claim of ``learned`` where it fails and may."""
        group, inputs = Torus(*found.size), Field(("B", str(found.channels)), PeriodicImage(found.size))
        error, shape = _defect(self.model, found)
        if len(shape) != 2:
            raise InputError(f"anchor_vit converts classifiers: expected logits (B, classes), got an output of shape {shape}")
        outputs = f"B x {shape[1]} x scalar"
        if error <= TOLERANCE:
            return Contract(group, inputs, outputs, where=self.no_near_tie)
        if strict:
            raise InputError(
                f"the converted network still depends on where the image stands (relative change {error:.1e}): it holds "
                f"positions or borders that its structure does not show; try full=True, or strict=False to keep it"
            )
        return Contract(group, inputs, outputs, "learned")

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        return self.model(x)

    def margin(self, x: Tensor) -> Tensor:
        """The smallest relative margin of all anchors for every sample, (B,), float64."""
        weight = next(self.model.parameters())
        with torch.no_grad(), evaluating(self.model), recording(self.model) as rolls:
            self.model(x.to(weight))
        return x.new_ones(len(x), dtype=torch.float64) if rolls.margin is None else rolls.margin

    def no_near_tie(self, x: Tensor) -> Tensor:
        """On which samples the promise holds: no two phases are as strong as each other up to rounding."""
        return clear(self.margin(x), next(self.model.parameters()).dtype)


def _defect(model: nn.Module, found: Conversion) -> tuple[float, tuple[int, ...]]:
    """The largest relative change of the output at four shifts of noise images without near ties, and the output's shape.

    Weights are perturbed first: a table of positions or a head that starts at zero would hide what training makes of it.
    """
    twin = deepcopy(model).double().cpu()
    (height, width), generator = found.size, torch.Generator().manual_seed(0)
    x = torch.randn(2, height, width, found.channels, generator=generator, dtype=torch.float64)
    with torch.no_grad(), evaluating(twin), frozen(twin):
        for weight in twin.parameters():
            weight.add_(0.02 * torch.randn(weight.shape, generator=generator, dtype=weight.dtype))
        with recording(twin) as rolls:
            y = twin(x.movedim(-1, 1))
        if not isinstance(y, Tensor):
            return 0.0, ()
        good = clear(y.new_ones(2) if rolls.margin is None else rolls.margin, y.dtype)
        worst = 0.0 if bool(good.any()) else math.inf
        for down, right in ((1, 0), (0, 1), (height // 2 + 1, width // 3), (height - 3, width // 2 + 1)):
            moved = twin(roll_tokens(x, torch.tensor([[down, right]] * 2)).movedim(-1, 1))
            if bool(good.any()):
                worst = max(worst, float((moved - y)[good].norm() / y[good].norm()))
    return worst, tuple(y.shape)


def anchor_vit(
    model: nn.Module, *, size: int | tuple[int, int] | None = None, full: bool = False, strict: bool = True
) -> AnchoredViT:
    """A shift-invariant copy of a vision transformer, read by structure: nothing is imported from where it comes from.

    - convolutions of patches (kernel = stride: patch embedding, merging, keys of subsampled attention) get an anchor;
    - blocks with windowed attention (``attn.ws`` or ``window_size``) roll their whole map to an anchor of the window;
    - absolute positions (``pos_embed`` and the like) are taken out, a circular position convolution is put in, starting at
      zero: fine-tune it;
    - convolutions that pad with zeros pad around the border.

    ``full`` does none of this: the image itself is moved to one fixed place, and the network keeps its positions. The result
    is tried on noise in float64 before it is returned. ``strict=False`` leaves unknown strided layers as they are and claims
    nothing. Raises InputError for a network without patch embedding, unknown strided layers or positions (all are listed),
    borders that cannot be wrapped, an output that is no logits, and sizes that a stride does not divide.
    """
    return AnchoredViT(model, size=size, full=full, strict=strict)


__all__ = ["AnchoredViT", "PolyphaseAnchor", "PolyphaseFrame", "Rolls", "anchor_vit"]
