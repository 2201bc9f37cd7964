"""Vision transformers made exactly shift-invariant: PolyViT (global attention) and PolyTwins (windows, subsampled keys).

Every stage embeds patches behind a polyphase anchor and adds a circular position convolution; blocks of windowed or
subsampled attention anchor the token map first where its phase is not known (:mod:`coset.nn.polyphase`). Logits are invariant
under circular shifts of the image by any number of pixels; ``dense`` outputs, one per pixel, move along, because the rolls
are added up and undone. ``anchored=False`` is the plain baseline: no anchors, learned absolute positions. Ding et al.,
Reviving Shift Equivariance in Vision Transformers, 2023, arXiv 2306.07470; ours are dense outputs and no second anchor in a
phase that is known, where the paper classifies and anchors every block.
Contract: Torus(H, W) exact wherever no two phases tie; the plain network breaks it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from coset.contract import Contract
from coset.errors import InputError
from coset.groups.torus import Torus
from coset.nn.map_attention import MapBlock, PatchEmbedding
from coset.nn.polyphase import PositionConv, Rolls, clear, roll_tokens, unshuffle_tokens
from coset.reps.fields import Field
from coset.reps.torus import PeriodicImage


class PolyViT(nn.Module):
    """``x`` (B, channels, size, size) to logits (B, classes), or (B, classes, size, size) with ``dense``.

    ``attention`` is ``global``, ``window`` or ``subsampled``, or several, which blocks take in turn (Twins: ``("window",
    "subsampled")``). ``widths`` and ``depths`` give channels and blocks of every stage; stages after the first merge 2 x 2
    tokens. ``window`` and ``reduction`` are the sides of windows and of the patches that keys come from, ``pool`` is
    ``mean`` or, for one stage of global attention, ``class``. A map that an earlier anchor left in a known phase is not
    anchored again; ``reanchor`` asks for an anchor at every window and stride, as in the paper. An anchored network takes any
    image whose sides the strides divide. Raises InputError, naming the layer, for sizes that a stride or window does not
    divide.
    """

    def __init__(
        self, attention: str | Sequence[str] = "global", *, size: int = 32, channels: int = 1, classes: int = 10,
        patch: int = 4, widths: Sequence[int] = (64,), depths: Sequence[int] = (4,), heads: int = 4, mlp: float = 2.0,
        window: int = 4, reduction: int = 2, pool: str = "mean", drop: float = 0.0, anchored: bool = True,
        reanchor: bool = False, dense: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        kinds = (attention,) if isinstance(attention, str) else tuple(attention)
        self.config: dict[str, Any] = {
            "attention": attention if isinstance(attention, str) else list(attention), "size": size, "channels": channels,
            "classes": classes, "patch": patch, "widths": list(widths), "depths": list(depths), "heads": heads, "mlp": mlp,
            "window": window, "reduction": reduction, "pool": pool, "drop": drop, "anchored": anchored, "reanchor": reanchor,
            "dense": dense,
        }  # fmt: skip
        self._check(kinds)
        self.anchored, self.dense = anchored, dense
        self.strides = (patch, *[2] * (len(widths) - 1))
        self.embed, self.place, self.stages = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        self._build(kinds)
        self.token = nn.Parameter(0.02 * torch.randn(1, 1, widths[0])) if pool == "class" else None
        self.norm = nn.LayerNorm(widths[-1])
        self.stride = patch * 2 ** (len(widths) - 1)
        self.head = nn.Linear(widths[-1], classes * self.stride**2 if dense else classes)
        self.contracts = (self._promise(size, channels, classes),)

    def _build(self, kinds: tuple[str, ...]) -> None:
        """Stage by stage, with an anchor wherever the phase of the map is not known yet."""
        c, known = self.config, _Phase(self.config["reanchor"])
        sizes = {"global": 1, "window": c["window"], "subsampled": c["reduction"]}
        blocks, side, before, number = sum(c["depths"]), c["size"], c["channels"], 0
        for stage, (width, depth, stride) in enumerate(zip(c["widths"], c["depths"], self.strides, strict=True)):
            anchored, side = self.anchored and known.anchor(stride), side // stride
            layer = f"patch embedding of stage {stage + 1}"
            self.embed.append(PatchEmbedding(before, width, stride, order=4 if stage else 2, anchored=anchored, layer=layer))
            self.place.append(PositionConv(width) if self.anchored else AbsolutePosition(side, width))
            known.merge(stride)
            made = nn.ModuleList()
            for _ in range(depth):
                kind, drop = kinds[number % len(kinds)], c["drop"] * number / max(blocks - 1, 1)
                size = sizes.get(kind, 1)
                anchored = self.anchored and known.anchor(size)
                made.append(MapBlock(width, c["heads"], kind=kind, size=size, mlp=c["mlp"], drop=drop, anchored=anchored))
                number += 1
            self.stages.append(made)
            before = width

    def _check(self, kinds: tuple[str, ...]) -> None:
        c = self.config
        if not kinds or not c["widths"] or len(c["widths"]) != len(c["depths"]):
            raise InputError(
                f"PolyViT: expected kinds of attention, and a width and a depth for every stage; got {kinds}, "
                f"{c['widths']} and {c['depths']}"
            )
        if c["pool"] not in ("mean", "class") or (
            c["pool"] == "class" and (set(kinds) != {"global"} or len(c["widths"]) > 1 or c["dense"])
        ):
            raise InputError(
                f"PolyViT: pool is 'mean', or 'class' for one stage of global attention with one output; got {c['pool']!r}"
            )
        side = c["size"]
        for place in range(len(c["widths"])):
            stride = 2 if place else c["patch"]
            if stride < 1 or side % stride:
                raise InputError(
                    f"PolyViT: patch embedding of stage {place + 1}: {side} is not divisible by its stride {stride}"
                )
            side //= stride
            for kind, size in (("window", c["window"]), ("subsampled", c["reduction"])):
                if kind in kinds and (size < 1 or side % size):
                    raise InputError(
                        f"PolyViT: {kind} attention of stage {place + 1}: {side} tokens a side are not divisible by {size}; "
                        f"pad the image, which costs exactness, or take another size"
                    )

    def _promise(self, size: int, channels: int, classes: int) -> Contract:
        image = PeriodicImage(size)
        inputs = Field(("B", str(channels)), image)
        outputs = Field(("B", str(classes)), image) if self.dense else f"B x {classes} x scalar"
        if not self.anchored:
            return Contract(Torus(size, size), inputs, outputs, "broken", 1e-6)
        return Contract(Torus(size, size), inputs, outputs, where=self.no_near_tie)

    def features(self, x: Tensor, rolls: Rolls | None = None) -> tuple[Tensor, Tensor | None]:
        """The last token map (B, h, w, C) and the class token (B, 1, C) if there is one, normed."""
        extra = None if self.token is None else self.token.expand(len(x), -1, -1)
        pixels = 1
        for embed, place, blocks, stride in zip(self.embed, self.place, self.stages, self.strides, strict=True):
            tokens = place(embed(x, rolls, pixels))
            pixels *= stride
            for block in blocks:  # type: ignore[attr-defined]
                tokens, extra = block(tokens, extra, rolls, pixels)
            x = tokens.movedim(-1, 1)
        return self.norm(tokens), None if extra is None else self.norm(extra)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        rolls = Rolls()
        tokens, extra = self.features(x, rolls)
        if self.dense:
            y = unshuffle_tokens(self.head(tokens), self.stride)
            return y if rolls.steps is None else roll_tokens(y.movedim(1, -1), rolls.steps).movedim(-1, 1)
        return self.head(tokens.mean((1, 2)) if extra is None else extra[:, 0])

    def margin(self, x: Tensor) -> Tensor:
        """The smallest relative margin ``(n1 - n2) / n1`` of all anchors for every sample, (B,), float64; 1 without anchors."""
        rolls = Rolls()
        with torch.no_grad():
            self.features(x.to(self.norm.weight), rolls)
        return x.new_ones(len(x), dtype=torch.float64) if rolls.margin is None else rolls.margin

    def no_near_tie(self, x: Tensor) -> Tensor:
        """On which samples the promise holds: no two phases are as strong as each other up to rounding."""
        return clear(self.margin(x), self.norm.weight.dtype)


class _Phase:
    """Shifts of the image move the map by multiples of ``modulus`` tokens, as far as is known from the anchors so far."""

    def __init__(self, every: bool) -> None:
        self.modulus, self.every = 1, every

    def anchor(self, stride: int) -> bool:
        """Whether something of this stride needs an anchor; it is there afterwards."""
        known = self.modulus % stride == 0
        self.modulus = self.modulus if known else stride
        return self.every or not known

    def merge(self, stride: int) -> None:
        """``stride`` tokens a side become one."""
        self.modulus //= stride


class AbsolutePosition(nn.Module):
    """A learned vector for every place of a ``side`` x ``side`` map: what the plain transformer knows positions by."""

    def __init__(self, side: int, width: int) -> None:
        super().__init__()
        self.side = side
        self.pos_embed = nn.Parameter(0.02 * torch.randn(1, side * side, width))

    def forward(self, x: Tensor) -> Tensor:
        """``x`` (B, side, side, C) with its places; InputError for another size."""
        if x.shape[1:3] != (self.side, self.side):
            raise InputError(f"absolute positions were learned for {self.side} tokens a side, got {tuple(x.shape[1:3])}")
        return x + self.pos_embed.view(1, self.side, self.side, -1)
