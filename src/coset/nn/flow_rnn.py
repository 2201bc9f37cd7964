"""Recurrent cells whose hidden state moves with what they see: one map per velocity, carried along before every step.

    h_{t+1}[nu] = act( U * x_t + W * S_nu h_t[nu] ),      S_nu h = exp(nu) . h,      h_0 = 0,

with ``*`` a convolution round the torus (or a group convolution), shared by all velocities. If the input flows at nu^,
then ``h_t[nu]`` becomes ``exp((t-1) nu^) . h_t[nu - nu^]``: exactly for whole pixels, for all nu whose partner is in the list.
Keller, Flow Equivariant Recurrent Neural Networks, NeurIPS 2025, arXiv 2507.14793. What moves the state is a module of its
own: :class:`Rolls` (translations), :class:`Turns` (rotations), :class:`LearnedMoves` (the control without symmetry, called
G-RNN+ in the paper).
"""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from coset.contract import Claim, Contract
from coset.errors import InputError, unknown
from coset.groups.euclidean import T
from coset.groups.finite import C
from coset.groups.flows import Flow, velocity_grid
from coset.groups.matrix import SO
from coset.nn.group_conv import GroupConv2d, LiftingConv2d
from coset.reps.fields import Field
from coset.reps.frames import Frames, VelocityState, turn_frames
from coset.reps.sequence import shift_sequence
from coset.reps.torus import roll_image

ACTIVATIONS = {"relu": torch.relu, "tanh": torch.tanh}


class CircularConv2d(nn.Conv2d):
    """A convolution of odd size that wraps around, without bias unless asked for; same size, any leading axes."""

    def __init__(self, inputs: int, outputs: int, *, kernel: int = 3, bias: bool = False) -> None:
        if kernel < 1 or kernel % 2 == 0:
            raise InputError(f"CircularConv2d: the kernel is odd, got {kernel}")
        super().__init__(inputs, outputs, kernel, padding=kernel // 2, padding_mode="circular", bias=bias)

    def forward(self, input: Tensor) -> Tensor:
        """``(..., inputs, H, W)`` to ``(..., outputs, H, W)``."""
        out = super().forward(input.flatten(0, -4) if input.ndim > 4 else input)
        return out.unflatten(0, input.shape[:-3]) if input.ndim > 4 else out


class _Moves(nn.Module):
    """What all that moves a state shares: the list of velocities, kept with the weights and compared when they are loaded."""

    velocities: Tensor

    def __init__(self, velocities: Tensor) -> None:
        super().__init__()
        if velocities.ndim != 2 or not len(velocities):
            raise InputError(f"velocities are (V, d) with V >= 1, got shape {tuple(velocities.shape)}")
        rows = {tuple(row) for row in velocities.tolist()}
        if any(tuple(-v for v in row) not in rows for row in rows):
            warnings.warn("the velocities are not closed under negation: the list is cut off at one side only", stacklevel=3)
        self.register_buffer("velocities", velocities.to(torch.float64))

    @property
    def count(self) -> int:
        """Velocities in the list."""
        return len(self.velocities)

    def _load_from_state_dict(self, state_dict, prefix, *args, **kwargs):
        kept = state_dict.get(prefix + "velocities")
        if kept is not None and (
            kept.shape != self.velocities.shape or not torch.equal(kept.to(self.velocities), self.velocities)
        ):
            raise InputError(
                f"these weights were trained with the velocities {kept.tolist()}, the model has {self.velocities.tolist()}; "
                "build it with the same list in the same order"
            )
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


class Rolls(_Moves):
    """``S_nu`` for translations: the map of velocity (down, right) rolled by so many pixels.

    Whole pixels with ``mode="roll"``; ``mode="fourier"`` shifts by fractions through the Fourier series of the torus, without
    the blur that interpolation would add at every step. Raises InputError for fractions with ``"roll"``.
    """

    def __init__(self, velocities: Tensor, *, mode: str = "roll") -> None:
        super().__init__(velocities)
        if mode not in ("roll", "fourier"):
            raise unknown("mode", mode, ("roll", "fourier"))
        if mode == "roll" and bool((velocities != velocities.round()).any()):
            raise InputError("Rolls: velocities off the pixel grid; use mode='fourier' for fractions of a pixel")
        self._whole = [tuple(int(v) for v in row) for row in velocities.tolist()] if mode == "roll" else None

    def forward(self, h: Tensor) -> Tensor:
        """``(B, V, ..., H, W)`` to the same."""
        if self._whole is None:
            return roll_image(h.movedim(1, 0), self.velocities).movedim(0, 1)
        return torch.stack([part.roll(steps, (-2, -1)) for part, steps in zip(h.unbind(1), self._whole, strict=True)], 1)


class Turns(_Moves):
    """``S_nu`` for rotations by ``nu`` degrees: maps turned about the center, the group axis of C(order) shifted along.

    Quarter turns are exact; other angles interpolate, and the corners that turn in and out are masked. Where ``nu order / 360``
    is no whole number the group axis is shifted through its Fourier series.
    """

    def __init__(self, velocities: Tensor, order: int) -> None:
        super().__init__(velocities)
        self.order = order
        quarter = velocities / 90
        self._disc = bool(((quarter - quarter.round()).abs() > 1e-9).any())

    def forward(self, h: Tensor) -> Tensor:
        """``(B, V, K, order, H, W)`` to the same."""
        angle = self.velocities.squeeze(-1)
        turned = turn_frames(h.movedim(1, 0), angle, disc=self._disc)
        return shift_sequence(turned.movedim(-3, -1), angle * self.order / 360).movedim(-1, -3).movedim(0, 1)


class LearnedMoves(_Moves):
    """The control for capacity: as many maps, each moved by a depthwise kernel that is learned instead of by its velocity."""

    def __init__(self, velocities: Tensor, hidden: int, *, kernel: int = 3) -> None:
        super().__init__(velocities)
        self.moves = CircularConv2d(hidden * len(velocities), hidden * len(velocities), kernel=kernel)
        self.moves.weight = nn.Parameter(torch.randn(hidden * len(velocities), 1, kernel, kernel) / kernel)
        self.moves.groups = hidden * len(velocities)

    def forward(self, h: Tensor) -> Tensor:
        """``(B, V, K, H, W)`` to the same."""
        return self.moves(h.flatten(1, 2)).view_as(h)


class VelocityMixing(nn.Module):
    """A convolution over velocities, ``sum_mu W[nu - mu] * h[mu]`` for ``|nu - mu| <= radius``.

    At the border of the list terms are missing, and with every step that is felt one velocity further in: equivariant only
    where the list is ``cyclic``.
    """

    def __init__(self, hidden: int, reach: int, *, radius: int = 1, kernel: int = 3, cyclic: bool = False) -> None:
        super().__init__()
        self.side, self.radius, self.cyclic = 2 * reach + 1, radius, cyclic
        self.differences = [tuple(row) for row in velocity_grid(radius).tolist()]
        self.convs = nn.ModuleList(CircularConv2d(hidden, hidden, kernel=kernel) for _ in self.differences)

    def forward(self, h: Tensor) -> Tensor:
        """``(B, V, K, H, W)`` to the same."""
        grid = h.unflatten(1, (self.side, self.side))
        pad = self.radius
        inside = grid.movedim((1, 2), (-2, -1)).flatten(0, -4)
        wide = F.pad(inside, (pad,) * 4, mode="circular" if self.cyclic else "constant")
        wide = wide.view(*grid.shape[:1], *grid.shape[3:], *wide.shape[-2:]).movedim((-2, -1), (1, 2))
        out = torch.zeros_like(h)
        for (down, right), conv in zip(self.differences, self.convs, strict=True):
            part = wide[:, pad - down : pad - down + self.side, pad - right : pad - right + self.side]
            out = out + conv(part.flatten(1, 2))
        return out


class FlowCell(nn.Module):
    """One step of a flow-equivariant recurrence on the torus; ``reach = 0`` is the plain convolutional RNN (G-RNN).

    ``moves`` replaces the rolls (see the module), ``mixing`` adds a convolution over velocities, ``state_norm`` divides every
    velocity's map by its root mean square where that exceeds one, which commutes with every flow and keeps a long rollout
    bounded. ``cyclic`` counts velocities modulo the list's length, exact for frames of ``2 reach + 1`` pixels. Raises
    InputError for sizes below 1 and for frames smaller than a step and a kernel need.
    """

    def __init__(
        self,
        channels: int,
        hidden: int,
        *,
        reach: int = 1,
        kernel: int = 3,
        activation: str = "relu",
        moves: nn.Module | None = None,
        mixing: int = 0,
        state_norm: bool = False,
        cyclic: bool = False,
    ) -> None:
        super().__init__()
        if min(channels, hidden) < 1:
            raise InputError(f"FlowCell: channels and hidden are >= 1, got {channels} and {hidden}")
        if activation not in ACTIVATIONS:
            raise unknown("activation", activation, ACTIVATIONS)
        self.hidden, self.reach, self.kernel, self.activation, self.state_norm = hidden, reach, kernel, activation, state_norm
        self.mixing, self.cyclic = mixing, cyclic
        self.moves: nn.Module = moves or Rolls(velocity_grid(reach))
        self.read = CircularConv2d(channels, hidden, kernel=kernel)
        self.keep: nn.Module = (
            VelocityMixing(hidden, reach, radius=mixing, kernel=kernel, cyclic=cyclic)
            if mixing
            else CircularConv2d(hidden, hidden, kernel=kernel)
        )

    def start(self, x: Tensor) -> Tensor:
        """The empty state for frames ``(B, C, H, W)``."""
        if not self.cyclic and min(x.shape[-2:]) < 2 * self.reach + self.kernel:
            raise InputError(
                f"FlowCell: frames of {tuple(x.shape[-2:])} pixels are too small for velocities up to {self.reach} and a "
                f"kernel of {self.kernel}; at least {2 * self.reach + self.kernel} are needed"
            )
        count: int = self.moves.count  # type: ignore[assignment]
        return x.new_zeros(len(x), count, self.hidden, *x.shape[-2:])

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        """Frame ``(B, C, H, W)`` and state ``(B, V, K, H, W)`` to the next state."""
        new = ACTIVATIONS[self.activation](self.read(x).unsqueeze(1) + self.keep(self.moves(h)))
        return unit_rms(new) if self.state_norm else new


class TurningCell(nn.Module):
    """The same for rotating sequences: regular maps of C(order), turned by ``unit`` degrees per unit of velocity.

    The state is ``(B, V, K, order, H, W)``. Exact on square frames where every turn is a quarter turn, approximate (resampled
    inside the disc) elsewhere. InputError for frames that are not square.
    """

    def __init__(
        self, channels: int, hidden: int, *, reach: int = 1, unit: float = 90.0, order: int = 4, kernel: int = 3
    ) -> None:
        super().__init__()
        self.hidden, self.order, self.reach, self.unit = hidden, order, reach, unit
        group = C(order)
        self.moves = Turns(unit * velocity_grid(reach, 1).to(torch.float64), order)
        self.read = LiftingConv2d(channels, hidden, group=group, kernel=kernel)
        self.keep = GroupConv2d(hidden, hidden, group=group, kernel=kernel)

    def start(self, x: Tensor) -> Tensor:
        """The empty state for frames ``(B, C, H, H)``."""
        if x.shape[-1] != x.shape[-2]:
            raise InputError(f"TurningCell: frames must be square, got {tuple(x.shape[-2:])}")
        return x.new_zeros(len(x), self.moves.count, self.hidden, self.order, *x.shape[-2:])

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        """Frame ``(B, C, H, H)`` and state ``(B, V, K, order, H, H)`` to the next state."""
        kept = self.keep(self.moves(h).flatten(0, 1)).unflatten(0, h.shape[:2])
        return torch.relu(self.read(x).unsqueeze(1) + kept)


def unit_rms(h: Tensor) -> Tensor:
    """``h (B, V, ...)`` over its root mean square per member and velocity where that exceeds one; commutes with every flow."""
    size = h.flatten(2).square().mean(2).sqrt()
    return h / size.clamp_min(1.0).view(*h.shape[:2], *[1] * (h.ndim - 2))


class FlowRNN(nn.Module):
    """A cell run over a sequence: ``frames (B, T, C, H, W)`` to the state after the last of them.

    Contract: the flows of the cell, on the velocities whose partners are in the list. Exact for a cell that rolls by whole
    pixels (with ``mixing`` only where the list is closed) and for quarter turns; learned moves promise nothing. InputError
    for sequences of fewer than two frames.
    """

    def __init__(self, cell: FlowCell | TurningCell) -> None:
        super().__init__()
        self.cell = cell
        inputs = {"frames": Field(("B",), Frames())}
        if isinstance(cell, TurningCell):
            state = VelocityState(cell.reach, of="frames", order=cell.order)
            claim: Claim = "exact" if cell.unit % 90 == 0 and cell.order % 4 == 0 else "approximate"
            flow = Flow(SO(2), max(cell.reach, 1), cell.unit)
        else:
            state = VelocityState(cell.reach, of="frames", cyclic=cell.cyclic)
            whole = isinstance(cell.moves, Rolls) and (cell.cyclic or not cell.mixing)
            claim, flow = "exact" if whole else "learned", Flow(T(2), max(cell.reach, 1))
        if cell.reach and claim != "learned":
            self.contracts = (Contract(flow, inputs, {"state": Field(("B",), state)}, claim),)

    def forward(self, frames: Tensor) -> dict[str, Tensor]:
        """``{"state": (B, V, K, H, W)}``."""
        return {"state": run_over(self.cell, frames)}


def run_over(cell: nn.Module, frames: Tensor) -> Tensor:
    """The state of ``cell`` after all ``frames`` ``(B, T, C, H, W)``, starting from the empty one."""
    check_frames(frames)
    h: Tensor = cell.start(frames[:, 0])  # type: ignore[operator]
    for x in frames.unbind(1):
        h = cell(x, h)
    return h


def check_frames(frames: Tensor) -> None:
    """InputError unless ``frames`` are ``(B, T, C, H, W)`` with at least two times."""
    if frames.ndim != 5 or frames.shape[1] < 2:
        raise InputError(f"frames: expected (B, T, C, H, W) with T >= 2 (one frame has no motion), got {tuple(frames.shape)}")


__all__ = [
    "CircularConv2d", "FlowCell", "FlowRNN", "LearnedMoves", "Rolls", "TurningCell", "Turns", "VelocityMixing", "run_over",
    "unit_rms",
]  # fmt: skip
