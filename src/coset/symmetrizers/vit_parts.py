"""The parts of a foreign vision transformer that break shift symmetry, found by structure and replaced in place.

What a module is called and holds (``patch_embed.proj``, ``attn.ws``, ``pos_embed``) is the same in every version of timm;
nothing of it is imported. Ding et al., Reviving Shift Equivariance in Vision Transformers, 2023, arXiv 2306.07470.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from coset.errors import InputError
from coset.nn.polyphase import AnchoredConv2d, PositionConv, Rolls, anchor, circular

#: names under which absolute positions are kept
POSITIONS = ("pos_embed", "absolute_pos_embed", "pos_embedding", "position_embeddings", "position_embedding")
#: modules that hold positions in a way that a shift of tokens does not respect
PLACED = ("rope", "rotary_emb", "rel_pos", "rel_pos_bias", "shared_rel_pos")


@dataclass(frozen=True)
class Conversion:
    """What :func:`convert` found: size and channels of the image, replaced modules and unknown ones, by path, with a reason."""

    size: tuple[int, int]
    channels: int
    changed: tuple[tuple[str, str], ...]
    unknown: tuple[tuple[str, str], ...]


class AnchoredBlock(nn.Module):
    """A foreign block behind an anchor of its token map: ``x`` (B, N, C) with its size ``(H, W)``, or (B, H, W, C)."""

    def __init__(self, block: nn.Module, stride: int, layer: str) -> None:
        super().__init__()
        self.block, self.stride, self.layer = block, stride, layer
        self.rolls: Rolls | None = None

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Any:
        """What the block makes of the anchored map."""
        size = args[0] if args else kwargs.get("size")
        if x.ndim == 3 and size is None:
            raise InputError(f"{self.layer}: a block with windows is called with tokens (B, N, C) but without their (H, W)")
        tokens = x if x.ndim == 4 else x.unflatten(1, (int(size[0]), int(size[1])))  # type: ignore[index]
        found = anchor(tokens, self.stride, order=4, layer=self.layer)
        if self.rolls is not None:
            self.rolls.add(found, 1)
        return self.block(found.x.view(x.shape), *args, **kwargs)


class Placed(nn.Module):
    """A patch embedding (B, C, H, W) -> (B, C', h, w) and a circular position convolution that starts at zero."""

    def __init__(self, patches: nn.Module, width: int) -> None:
        super().__init__()
        self.patches, self.position = patches, PositionConv(width)
        for weight in self.position.parameters():
            nn.init.zeros_(weight)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens as a map, told of their neighbors."""
        return self.position(self.patches(x).movedim(1, -1)).movedim(-1, 1)


def convert(model: nn.Module, size: int | tuple[int, int] | None = None, *, full: bool = False) -> Conversion:
    """Replace the parts of ``model`` in place; see :func:`coset.symmetrizers.polyphase.anchor_vit`.

    Raises InputError for a network without a convolution of patches, and for an unknown size.
    """
    first = next((path for path, module in model.named_modules() if _is_patches(module)), None)
    if first is None:
        raise InputError(
            f"{type(model).__name__} has no convolution of patches (kernel = stride), so there is nothing to anchor"
        )
    conv: Any = model.get_submodule(first)
    shape = _size(model, first, size)
    for side in shape:
        if side % conv.stride[0]:
            raise InputError(f"{first}: an image of {shape[0]} x {shape[1]} is not divisible by its stride {conv.stride[0]}")
    if full:
        replace_module(model, first, AnchoredConv2d(conv, full=True, layer=first))
        return Conversion(shape, conv.in_channels, ((first, "canonical place"),), ())
    grid = (shape[0] // conv.stride[0]) * (shape[1] // conv.stride[1])
    changed: list[tuple[str, str]] = []
    unknown = _unknown(model)
    for path, module in list(model.named_modules()):
        if _is_patches(module):
            replace_module(model, path, AnchoredConv2d(module, order=2 if path == first else 4, layer=path))  # type: ignore[arg-type]
            changed.append((path, f"anchor modulo {module.stride[0]}"))  # type: ignore[index]
        elif isinstance(module, nn.Conv2d) and _pads(module) and set(module.stride) == {1}:
            if module.padding_mode == "zeros":
                replace_module(model, path, circular(module))
                changed.append((path, "circular border"))
            elif module.padding_mode != "circular":
                unknown.append((path, f"a border of {module.padding_mode}, which is not circular"))
    changed += _anchor_windows(model)
    taken = _take_positions(model, grid, unknown)
    if taken:
        width = conv.out_channels
        placed = Placed(model.get_submodule(first), width).to(conv.weight)
        replace_module(model, first, placed)
        changed += [*taken, (first, "circular position convolution, at zero")]
    return Conversion(shape, conv.in_channels, tuple(changed), tuple(unknown))


@contextmanager
def recording(model: nn.Module) -> Iterator[Rolls]:
    """Inside the block every anchor of ``model`` notes its margin in one record."""
    rolls = Rolls()
    anchors = [m for m in model.modules() if isinstance(m, (AnchoredConv2d, AnchoredBlock))]
    for module in anchors:
        module.rolls = rolls
    try:
        yield rolls
    finally:
        for module in anchors:
            module.rolls = None


def replace_module(model: nn.Module, path: str, module: nn.Module) -> None:
    """Put ``module`` where ``path`` leads to."""
    owner, _, name = path.rpartition(".")
    setattr(model.get_submodule(owner), name, module)


def _is_patches(module: nn.Module) -> bool:
    """A 2-D convolution of square patches without overlap."""
    if not isinstance(module, nn.Conv2d) or module.stride[0] == 1:
        return False
    return module.stride == module.kernel_size == (module.stride[0],) * 2 and module.dilation == (1, 1) and not _pads(module)


def _pads(conv: nn.Conv2d) -> bool:
    return conv.padding != "valid" and (isinstance(conv.padding, str) or any(conv.padding)) and conv.kernel_size != (1, 1)


def _size(model: nn.Module, path: str, size: int | tuple[int, int] | None) -> tuple[int, int]:
    """Pixels of the image: as given, else as the owner of the patch embedding, or the network, says."""
    owner = model.get_submodule(path.rpartition(".")[0])
    found: Any = size
    for holder, name in ((owner, "img_size"), (model, "image_size"), (model, "img_size"), (model, "size")):
        found = getattr(holder, name, None) if found is None else found
    found = getattr(model, "config", {}).get("size") if found is None and hasattr(model, "config") else found
    if found is None:
        raise InputError("anchor_vit: the network does not say how large its images are; pass size=(height, width)")
    height, width = (found, found) if isinstance(found, int) else found
    return int(height), int(width)


def _unknown(model: nn.Module) -> list[tuple[str, str]]:
    """Modules that shrink, fold or place tokens in a way that no anchor here covers."""
    out = []
    for path, module in model.named_modules():
        stride = getattr(module, "stride", 1)
        steps = stride if isinstance(stride, tuple) else (stride,)
        kind = type(module).__name__
        layer = isinstance(module, nn.modules.conv._ConvNd) or "Pool" in kind
        if layer and any(isinstance(s, int) and s > 1 for s in steps) and not _is_patches(module):
            out.append((path, f"{kind} of stride {stride}"))
        elif kind in ("PixelUnshuffle", "Unfold", "Upsample") or (
            "Merging" in kind and not any(map(_is_patches, module.modules()))
        ):
            out.append((path, f"{kind}, which shrinks or folds the map"))
        if _nonzero(getattr(module, "shift_size", 0)):
            out.append((path, f"{kind} with shifted windows, whose masks know the border"))
        out += [
            (f"{path}.{name}".lstrip("."), f"{type(getattr(module, name)).__name__} gives tokens their places")
            for name in PLACED
            if isinstance(getattr(module, name, None), nn.Module)
        ]
    return out


def _nonzero(value: Any) -> bool:
    return any(value) if isinstance(value, (tuple, list)) else bool(value) and isinstance(value, int)


def _anchor_windows(model: nn.Module) -> list[tuple[str, str]]:
    """Blocks with windowed attention put behind an anchor."""
    changed = []
    for path, module in list(model.named_modules()):
        attention = getattr(module, "attn", None)
        window = getattr(attention, "ws", None) or getattr(module, "window_size", None)
        window = window[0] if isinstance(window, (tuple, list)) else window
        if path and isinstance(attention, nn.Module) and isinstance(window, int) and window > 1:
            replace_module(model, path, AnchoredBlock(module, window, path))
            changed.append((path, f"anchor modulo the window {window}"))
    return changed


def _take_positions(model: nn.Module, grid: int, unknown: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Absolute positions of patches set to zero for good; those of class and register tokens stay, as constants."""
    changed = []
    for path, owner in list(model.named_modules()):
        for name in POSITIONS:
            table = owner._parameters.get(name, owner._buffers.get(name))
            where = f"{path}.{name}".lstrip(".")
            if table is None:
                if isinstance(getattr(owner, name, None), nn.Module):
                    unknown.append((where, "absolute positions in a module of their own"))
                continue
            beside = table.shape[1] - grid if table.ndim == 3 else 0
            if table.ndim != 3 or table.shape[0] != 1 or beside < 0:
                unknown.append((where, f"absolute positions of shape {tuple(table.shape)} for {grid} tokens"))
                continue
            kept = torch.zeros_like(table.detach())
            kept[:, :beside] = table.detach()[:, :beside]
            owner._parameters.pop(name, None)
            owner._buffers.pop(name, None)
            owner.register_buffer(name, kept)
            changed.append((where, "absolute positions taken out"))
    return changed
