"""FERNN: recurrent networks equivariant to motion, for prediction and classification of sequences.

Frames are read by a flow-equivariant cell (:mod:`coset.nn.flow_rnn`), one hidden map per velocity; to predict frame t, the
state is first carried to time t, reduced over velocities by the maximum, and decoded by circular convolutions,

    x^_t = decode( max_nu S_nu h_t[nu] ),

and fed back (detached). Keller, Flow Equivariant Recurrent Neural Networks, NeurIPS 2025, arXiv 2507.14793. Contracts:
shifts of the whole sequence, exact; flows, exact where the list of velocities is closed (``cyclic``), else approximate,
since velocities at the end of the list lose their partners. Differs from the paper: the state is carried before it is read.
Read as it stands it would predict at the place of the last frame, one step behind the flow.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from coset.contract import Contract
from coset.errors import InputError, unknown
from coset.groups.euclidean import T
from coset.groups.finite import C
from coset.groups.flows import Flow, velocity_grid
from coset.groups.matrix import SO
from coset.groups.torus import Torus
from coset.nn.flow_rnn import CircularConv2d, FlowCell, LearnedMoves, TurningCell, check_frames, run_over
from coset.nn.group_conv import GroupConv2d, GroupPool
from coset.reps.fields import Field
from coset.reps.frames import Frames

MOTIONS = ("shift", "learned", "turn")


class FlowForecaster(nn.Module):
    """``frames (B, T, C, H, H)`` to the ``ahead`` frames that follow, ``(B, ahead, C, H, H)``.

    ``motion`` is ``"shift"`` (velocities up to ``reach`` pixels per frame along each axis; 0 is the plain convolutional RNN,
    G-RNN), ``"learned"`` (as many maps, moved by learned kernels: G-RNN+) or ``"turn"`` (multiples of ``unit`` degrees per
    frame, maps of C(order)); ``depth`` counts the convolutions of the decoder. Raises
    InputError for sizes that do not fit, sequences of one frame, and frames of another size.
    """

    def __init__(
        self,
        channels: int = 1,
        hidden: int = 12,
        *,
        size: int = 16,
        reach: int = 1,
        ahead: int = 5,
        depth: int = 3,
        motion: str = "shift",
        state_norm: bool = False,
        unit: float = 90.0,
        order: int = 4,
    ) -> None:
        super().__init__()
        if motion not in MOTIONS:
            raise unknown("motion", motion, MOTIONS)
        if min(ahead, depth) < 1:
            raise InputError(f"FlowForecaster: ahead and depth are >= 1, got {ahead} and {depth}")
        self.config: dict[str, Any] = {
            "channels": channels, "hidden": hidden, "size": size, "reach": reach, "ahead": ahead, "depth": depth,
            "motion": motion, "state_norm": state_norm, "unit": unit, "order": order,
        }  # fmt: skip
        self.size, self.ahead = size, ahead
        cyclic = motion == "shift" and size == 2 * reach + 1
        self.cell: nn.Module
        if motion == "turn":
            self.cell = TurningCell(channels, hidden, reach=reach, unit=unit, order=order)
            self.decode: nn.Module = turning_decoder(hidden, channels, depth, order)
        else:
            moves = LearnedMoves(velocity_grid(reach), hidden) if motion == "learned" else None
            self.cell = FlowCell(channels, hidden, reach=reach, moves=moves, state_norm=state_norm, cyclic=cyclic)
            self.decode = circular_decoder(hidden, channels, depth)
        self.contracts = _promises(self.config, cyclic)

    def forward(self, frames: Tensor, ahead: int | None = None) -> Tensor:
        """The next ``ahead`` frames (default: as many as at construction)."""
        check_frames(frames)
        if frames.shape[-2:] != (self.size, self.size):
            raise InputError(f"FlowForecaster: built for {self.size} x {self.size} pixels, got {tuple(frames.shape[-2:])}")
        h = run_over(self.cell, frames)
        found: list[Tensor] = []
        for step in range(ahead or self.ahead):
            if step:
                h = self.cell(found[-1].detach(), h)
            found.append(self.decode(self.cell.moves(h).amax(1)))  # type: ignore[operator, union-attr]
        return torch.stack(found, 1)


def _promises(config: dict[str, Any], cyclic: bool) -> tuple[Contract, ...]:
    size, reach, order = config["size"], config["reach"], config["order"]
    inputs, future = {"frames": Field(("B",), Frames(size=size))}, Field(("B",), Frames(after="frames", size=size))
    if config["motion"] == "turn":
        kept = next((C(n) for n in (4, 2) if order % n == 0), None)
        still = (Contract(kept, inputs, future),) if kept else ()
        return (*still, Contract(Flow(SO(2), max(reach, 1), config["unit"]), inputs, future, "approximate"))
    still = (Contract(Torus(size, size), inputs, future),)
    if config["motion"] == "learned" or not reach:
        return still
    return (*still, Contract(Flow(T(2), reach), inputs, future, "exact" if cyclic else "approximate"))


def circular_decoder(hidden: int, channels: int, depth: int) -> nn.Sequential:
    """``depth`` circular convolutions with ReLU between them; the last one has a bias."""
    layers: list[nn.Module] = []
    for _ in range(depth - 1):
        layers += [CircularConv2d(hidden, hidden), nn.ReLU()]
    return nn.Sequential(*layers, CircularConv2d(hidden, channels, bias=True))


def turning_decoder(hidden: int, channels: int, depth: int, order: int) -> nn.Sequential:
    """The same with convolutions over C(order), pooled over the group at the end."""
    layers: list[nn.Module] = []
    for _ in range(depth - 1):
        layers += [GroupConv2d(hidden, hidden, group=C(order), kernel=3), nn.ReLU()]
    return nn.Sequential(
        *layers, GroupConv2d(hidden, channels, group=C(order), kernel=3), GroupPool(channels, C(order), how="mean")
    )


class FlowClassifier(nn.Module):
    """``frames (B, T, C, H, H)`` to logits ``(B, classes)``: encoder, recurrence, maximum over velocities, average pool.

    The encoder is three circular convolutions with batch norm per frame, the cell saturates (tanh), and the last state is
    read. ``motion`` is ``"shift"`` or ``"learned"`` as in :class:`FlowForecaster`. Contracts: shifts of the sequence, exact;
    flows leave the logits alone, exactly where the list of velocities is closed.
    """

    def __init__(
        self, channels: int = 1, hidden: int = 16, *, size: int = 16, reach: int = 1, classes: int = 10, motion: str = "shift"
    ) -> None:
        super().__init__()
        if motion not in MOTIONS[:2]:
            raise unknown("motion", motion, MOTIONS[:2])
        self.config: dict[str, Any] = {
            "channels": channels, "hidden": hidden, "size": size, "reach": reach, "classes": classes, "motion": motion,
        }  # fmt: skip
        self.size = size
        cyclic = motion == "shift" and size == 2 * reach + 1
        moves = LearnedMoves(velocity_grid(reach), hidden) if motion == "learned" else None
        self.encode = frame_encoder(channels, hidden)
        self.cell = FlowCell(hidden, hidden, reach=reach, activation="tanh", moves=moves, cyclic=cyclic)
        self.head = nn.Linear(hidden, classes)
        inputs = {"frames": Field(("B",), Frames(size=size))}
        still = Contract(Torus(size, size), inputs, "B x classes x scalar")
        flows = Contract(Flow(T(2), max(reach, 1)), inputs, "B x classes x scalar", "exact" if cyclic else "approximate")
        self.contracts = (still, flows) if motion == "shift" and reach else (still,)

    def forward(self, frames: Tensor) -> Tensor:
        """Logits."""
        check_frames(frames)
        seen = self.encode(frames.flatten(0, 1)).unflatten(0, frames.shape[:2])
        return self.head(run_over(self.cell, seen).amax(1).mean((-2, -1)))


def frame_encoder(channels: int, hidden: int) -> nn.Sequential:
    """Three circular convolutions with batch norm and ReLU, frame by frame."""
    layers: list[nn.Module] = []
    for width in (channels, hidden, hidden):
        layers += [CircularConv2d(width, hidden), nn.BatchNorm2d(hidden), nn.ReLU()]
    return nn.Sequential(*layers)
