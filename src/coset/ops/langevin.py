"""Langevin dynamics of a field on a lattice by the BAOAB splitting, with any force function, and what is watched of order.

    m q'' = F(q) - gamma m q' + sqrt(2 gamma m kT) xi(t)

A step is half a kick, half a drift, the exact Ornstein-Uhlenbeck motion of the velocity over ``dt``, half a drift, half a kick:
one force per step, and for harmonic forces the exact law of configurations at any ``dt``. Leimkuhler & Matthews, Applied
Mathematics Research eXpress 2013, arXiv 1203.5428. A state holds the state of its random numbers too: a run that was broken off
and goes on is the unbroken run, bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from coset.errors import InputError
from coset.records import write_atomically

Force = Callable[[Tensor], Tensor]  #: fields (B, d, H, W) to forces of that shape
Observe = Callable[[Tensor, Tensor], Mapping[str, Tensor]]  #: (field, force) to what is kept, by name


@dataclass(frozen=True)
class Bath:
    """Heat bath: ``temperature`` (kT), ``friction`` gamma (per unit of time), ``mass``, time step ``dt``.

    Raises InputError for a temperature, mass or step that is not positive, or a negative friction.
    """

    temperature: float = 0.1
    friction: float = 0.2
    mass: float = 1.0
    dt: float = 0.05

    def __post_init__(self) -> None:
        for name in ("temperature", "mass", "dt"):
            if not 0 < getattr(self, name) < math.inf:
                raise InputError(f"Bath: {name} > 0 and finite, got {getattr(self, name)}")
        if not 0 <= self.friction < math.inf:
            raise InputError(f"Bath: friction >= 0 and finite, got {self.friction}")


@dataclass(frozen=True, eq=False)
class State:
    """Field ``q`` and velocity ``v`` (B, d, H, W), force ``f`` at q, the step, the state of the random numbers, the record."""

    q: Tensor
    v: Tensor
    f: Tensor
    rng: Tensor  #: of a generator on the CPU
    step: int = 0
    record: tuple[tuple[str, Tensor], ...] = ()  #: (steps + 1, ...) by name

    def save(self, path: str | Path) -> None:
        """One safetensors file, written whole or not at all."""
        tensors = {"q": self.q, "v": self.v, "f": self.f, "rng": self.rng}
        tensors |= {f"record.{name}": value for name, value in self.record}
        held = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
        write_atomically(path, safetensors.torch.save(held, {"langevin": "1", "step": str(self.step)}))

    @classmethod
    def load(cls, path: str | Path) -> State:
        """What :meth:`save` wrote; InputError for a file that is none of these."""
        try:
            with safetensors.safe_open(str(path), "pt") as file:
                about = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
            record = tuple((n.removeprefix("record."), x) for n, x in tensors.items() if n.startswith("record."))
            return cls(tensors["q"], tensors["v"], tensors["f"], tensors["rng"], int(about["step"]), record)
        except (OSError, KeyError, SafetensorError) as error:
            raise InputError(f"{path} holds no state of a Langevin run: {error}") from error


def start(force: Force, q: Tensor, *, seed: int = 0, v: Tensor | None = None) -> State:
    """A state at rest, or with velocities ``v``. InputError for a field that is not finite or a force of another shape."""
    if q.ndim != 4 or not q.is_floating_point() or not bool(torch.isfinite(q).all()):
        raise InputError(f"langevin: expected a finite floating field (B, d, H, W), got {q.dtype} of shape {tuple(q.shape)}")
    f = force(q)
    if f.shape != q.shape:
        raise InputError(
            f"langevin: the force of a field {tuple(q.shape)} has shape {tuple(f.shape)}; they are one and the same"
        )
    return State(q, torch.zeros_like(q) if v is None else v, f.detach(), torch.Generator().manual_seed(seed).get_state())


def advance(force: Force, state: State, bath: Bath, generator: torch.Generator) -> State:
    """One BAOAB step; the record is left as it is."""
    dt, kick = bath.dt, 0.5 * bath.dt / bath.mass
    keep = math.exp(-bath.friction * dt)
    spread = math.sqrt(bath.temperature / bath.mass * (1 - keep * keep))
    noise = torch.randn(state.q.shape, generator=generator, dtype=state.q.dtype).to(state.q.device)
    v = state.v + kick * state.f
    q = state.q + 0.5 * dt * v
    v = keep * v + spread * noise
    q = q + 0.5 * dt * v
    f = force(q).detach()
    return replace(state, q=q, v=v + kick * f, f=f, step=state.step + 1)


def simulate(
    force: Force,
    state: State,
    steps: int,
    bath: Bath,
    *,
    observe: Observe | None = None,
    checkpoint: str | Path | None = None,
    every: int = 100,
    progress: Callable[[int, int], None] | None = None,
) -> State:
    """Until step ``steps`` of the run: the last state, whose ``record`` holds what ``observe`` gave at every step, 0 first.

    ``checkpoint`` is a file written every ``every`` steps and at the end, from which a run that was broken off goes on.
    ``progress(step, steps)`` is called as often. InputError for a field that stops being finite (a step too long, or
    configurations the force has not seen) and a checkpoint of another lattice.
    """
    if checkpoint is not None and Path(checkpoint).is_file():
        state = _resumed(State.load(checkpoint), state)
    generator = torch.Generator()
    generator.set_state(state.rng)
    rows = {name: list(values) for name, values in state.record}
    if observe is not None and not rows:
        rows = {name: [value] for name, value in observe(state.q, state.f).items()}
    while state.step < steps:
        state = advance(force, state, bath, generator)
        if observe is not None:
            for name, value in observe(state.q, state.f).items():
                rows[name].append(value)
        if state.step % every == 0 or state.step == steps:
            if not bool(torch.isfinite(state.q).all()):
                raise InputError(
                    f"langevin: the field is no longer finite at step {state.step}; take a shorter dt than {bath.dt}"
                )
            if checkpoint is not None:
                _kept(state, generator, rows).save(checkpoint)
            if progress is not None:
                progress(state.step, steps)
    return _kept(state, generator, rows)


def _kept(state: State, generator: torch.Generator, rows: Mapping[str, list[Tensor]]) -> State:
    record = tuple((name, torch.stack(list(values))) for name, values in rows.items())
    return replace(state, rng=generator.get_state(), record=record)


def _resumed(kept: State, given: State) -> State:
    if kept.q.shape != given.q.shape:
        raise InputError(f"langevin: the checkpoint holds a field {tuple(kept.q.shape)}, the run has {tuple(given.q.shape)}")
    moved = {name: getattr(kept, name).to(given.q) for name in ("q", "v", "f")}
    return replace(kept, **moved)


# ---------------------------------------------------------------------------------------------------- order


def checkerboard(q: Tensor) -> Tensor:
    """``(-1)^(x + y)``, (H, W), in the dtype and on the device of a field (..., H, W)."""
    row, column = (torch.arange(n, device=q.device) for n in q.shape[-2:])
    return 1 - 2 * ((row[:, None] + column) % 2).to(q.dtype)


def charge_order(density: Tensor) -> Tensor:
    """``phi_i = (-1)^(x + y) [ (n_i - 1/2) / 2 - sum_nn (n_j - 1/2) / 8 ]``, (..., H, W); ±1/2 in the ordered states.

    The site and the mean of its four neighbors, which have the opposite sign, weigh one half each.
    """
    excess = density - 0.5
    around = sum(excess.roll(step, axis) for axis in (-2, -1) for step in (1, -1))
    return checkerboard(density) * (excess / 2 - around / 8)


def structure_factor(phi: Tensor) -> tuple[Tensor, Tensor]:
    """``S(k) = |sum_j phi_j e^{-i k j}|^2 / N`` (..., H, W) and ``|k|`` (H, W) from the ordering vector, in 1 / site."""
    power = torch.fft.fft2(phi).abs().square() / (phi.shape[-1] * phi.shape[-2])
    ky, kx = (2 * math.pi * torch.fft.fftfreq(n, device=phi.device, dtype=phi.dtype) for n in phi.shape[-2:])
    return power, torch.hypot(ky[:, None], kx[None])


def domain_size(phi: Tensor) -> Tensor:
    """``sum_k S(k) / sum_k |k| S(k)``, the inverse of the first moment of the structure factor, in sites; (...)."""
    power, k = structure_factor(phi)
    return power.sum((-2, -1)) / (k * power).sum((-2, -1))


def order_parameter(phi: Tensor) -> Tensor:
    """The root mean square of the local order over the lattice, (...): it grows as domains form, whatever their signs."""
    return phi.square().mean((-2, -1)).sqrt()


def growth_exponent(size: Tensor) -> float:
    """The power a of ``size ~ step^a`` over the second half of a run, (steps + 1,), by least squares of the logarithms."""
    if size.ndim != 1 or len(size) < 5:
        raise InputError(f"growth_exponent: expected sizes of at least 5 steps, got shape {tuple(size.shape)}")
    step = torch.arange(len(size) // 2, len(size), device=size.device).double().log()
    grown = size[len(size) // 2 :].double().log()
    away = step - step.mean()
    return float(away @ grown / away.square().sum())


__all__ = [
    "Bath", "Force", "State", "advance", "charge_order", "checkerboard", "domain_size", "growth_exponent", "order_parameter",
    "simulate", "start", "structure_factor",
]  # fmt: skip
