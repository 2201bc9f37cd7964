"""The Holstein model of spinless electrons at half filling, solved exactly: forces on distortions, for training and as judge.

    H = -t sum_<ij> (c_i^+ c_j + h.c.) - g sum_i (n_i - 1/2) Q_i + sum_i (P_i^2 / 2m + K Q_i^2 / 2)

on a periodic L x L lattice, ``t = 1``. For given distortions the electrons are free: ``H_e`` is diagonalized in float64, the
chemical potential found by bisection for every configuration (so that half of the sites are filled: with a fixed one forces
would not be odd), and

    n_i = sum_k |psi_k(i)|^2 f_k,      F_i = f_i - K Q_i,      f_i = g (n_i - 1/2) = -dA/dQ_i,

with A the free energy of the electrons. On even L, ``n(-Q) = 1 - n(Q)``. The coupling ``g^2 / (8 t K)`` is 1.5 here, where the
ground state is a checkerboard of charges. Configurations: frames of Langevin quenches at several temperatures, and made ones,
``amplitude (-1)^(x + y) smooth domains + white noise``, half and half; splits by trajectory. Fan & Chern, arXiv 2601.04104; the
parameters of the paper's dynamics are not known here.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from coset.errors import InputError
from coset.ops.langevin import Bath, charge_order, checkerboard, domain_size, order_parameter, simulate, start
from coset.recipe import Data, Request


@dataclass(frozen=True)
class Holstein:
    """Parameters in units of the hopping: coupling ``g``, stiffness ``k``, electronic ``temperature``, ``hopping`` t.

    InputError for a temperature or stiffness that is not positive.
    """

    g: float = 1.0
    k: float = 1 / 12  #: g^2 / (8 t k) = 1.5
    temperature: float = 0.1
    hopping: float = 1.0

    def __post_init__(self) -> None:
        for name in ("temperature", "k"):
            if not getattr(self, name) > 0:
                raise InputError(f"Holstein: {name} > 0, got {getattr(self, name)}")

    @property
    def amplitude(self) -> float:
        """``g / 2K``: the distortion that a full site pays for, the unit in which networks see fields."""
        return self.g / (2 * self.k)

    def hamiltonian(self, q: Tensor) -> Tensor:
        """``H_e`` (B, N, N) float64 of distortions ``q`` (B, 1, H, W), sites counted along rows.

        InputError for another shape, sides below 3 (a site would be its neighbor twice) and values that are not finite.
        """
        if q.ndim != 4 or q.shape[1] != 1 or min(q.shape[-2:]) < 3:
            raise InputError(f"Holstein: expected distortions (B, 1, H, W) of at least 3 x 3 sites, got {tuple(q.shape)}")
        if not bool(torch.isfinite(q).all()):
            raise InputError("Holstein: distortions hold NaN or infinite values")
        sites = torch.arange(q[0].numel(), device=q.device).view(q.shape[-2:])
        out = torch.diag_embed(-self.g * q.to(torch.float64).flatten(1))
        for axis in (0, 1):
            here, there = sites.flatten(), sites.roll(1, axis).flatten()
            out[:, here, there] = out[:, there, here] = -self.hopping
        return out

    def chemical_potential(self, levels: Tensor) -> Tensor:
        """``mu`` (B,) with ``sum_k f((e_k - mu) / T) = N / 2`` for levels (B, N): 60 halvings of their range."""
        low, high = levels.amin(-1), levels.amax(-1)
        for _ in range(60):
            middle = (low + high) / 2
            full = self.filling(levels, middle).sum(-1) > levels.shape[-1] / 2
            low, high = torch.where(full, low, middle), torch.where(full, middle, high)
        return (low + high) / 2

    def filling(self, levels: Tensor, mu: Tensor) -> Tensor:
        """Fermi function of every level, (B, N)."""
        return torch.sigmoid((mu.unsqueeze(-1) - levels) / self.temperature)

    def density(self, q: Tensor) -> Tensor:
        """``n`` of the shape, dtype and device of ``q`` (B, 1, H, W)."""
        levels, states = torch.linalg.eigh(self.hamiltonian(q))
        filled = self.filling(levels, self.chemical_potential(levels))
        return (states.square() @ filled.unsqueeze(-1)).view(q.shape).to(q.dtype)

    def force(self, q: Tensor) -> Tensor:
        """The electronic part ``f = g (n - 1/2)``: what a network learns."""
        return self.g * (self.density(q) - 0.5)

    def total(self, electronic: Any) -> ElasticForce:
        """``F(q) = f(q) - K q`` for an electronic force such as :meth:`force` or a network."""
        return ElasticForce(electronic, self.k)

    def free_energy(self, q: Tensor) -> Tensor:
        """``A = mu N / 2 - T sum_k log(1 + e^{(mu - e_k) / T}) + g/2 sum_i Q_i`` (B,), float64: of the electrons alone."""
        levels = torch.linalg.eigvalsh(self.hamiltonian(q))
        mu = self.chemical_potential(levels)
        held = torch.nn.functional.softplus((mu.unsqueeze(-1) - levels) / self.temperature).sum(-1)
        return mu * levels.shape[-1] / 2 - self.temperature * held + self.g / 2 * q.to(torch.float64).flatten(1).sum(1)


@dataclass(frozen=True)
class ElasticForce:
    """``f(q) - K q`` without gradients: what dynamics needs."""

    electronic: Any
    k: float

    def __call__(self, q: Tensor) -> Tensor:
        return self.electronic(q).detach() - self.k * q


MODEL = Holstein()
HEATS = (0.5, 0.05, 0.2, 0.1)  #: temperatures of the baths of training runs, in turn
QUENCH_SEED = 7  #: of the judge's start and noise
BATH = Bath(temperature=0.1, friction=0.1, dt=0.05 / MODEL.k**0.5)  #: 0.05 / omega with omega^2 = k / m


# ---------------------------------------------------------------------------------------------------- configurations


def made(count: int, size: int, *, generator: torch.Generator) -> Tensor:
    """``a (-1)^(x + y) s + noise`` (count, 1, L, L) float64: ``a`` in 0..6, ``s`` smooth in -1..1, noise of 0 to 1."""
    white = torch.randn(count, 1, size, size, generator=generator, dtype=torch.float64)
    k = torch.fft.fftfreq(size, dtype=torch.float64) * size
    reach = 1 + 2 * torch.rand(count, 1, 1, 1, generator=generator, dtype=torch.float64)  # waves per side
    smooth = torch.fft.ifft2(torch.fft.fft2(white) * torch.exp(-(k[:, None] ** 2 + k**2) / (2 * reach**2))).real
    domains = torch.tanh(2 * smooth / smooth.square().mean((-2, -1), keepdim=True).sqrt())
    amplitude, noise = torch.rand(2, count, 1, 1, 1, generator=generator, dtype=torch.float64)
    rough = torch.randn(white.shape, generator=generator, dtype=torch.float64)
    return 6 * amplitude * checkerboard(white) * domains + noise * rough


def quenches(count: int, frames: int, size: int, *, generator: torch.Generator, steps: int = 100) -> Tensor:
    """``frames`` of each of ``count`` Langevin runs from random distortions, (count, frames, 1, L, L).

    Run i has a bath of one of four temperatures and a start of its own; frame j is drawn in the j-th part of the run. Steps are
    twice those of the judge's dynamics.
    """
    spread = 0.2 + 1.8 * torch.rand(count, 1, 1, 1, generator=generator, dtype=torch.float64)
    q = spread * torch.randn(count, 1, size, size, generator=generator, dtype=torch.float64)
    seed = int(torch.randint(2**31, (), generator=generator))
    part = steps // frames
    when = torch.arange(frames) * part + torch.randint(1, part + 1, (count, frames), generator=generator)
    force, step = MODEL.total(MODEL.force), 2 * BATH.dt
    found = []
    for run in range(count):
        begun = start(force, q[run : run + 1], seed=seed + run)
        bath = Bath(HEATS[run % len(HEATS)], BATH.friction, dt=step)
        ended = simulate(force, begun, steps, bath, observe=lambda q, f: {"q": q[0]})
        found.append(dict(ended.record)["q"][when[run]])
    return torch.stack(found)


def frames_and_made(count: int, runs: int, size: int, *, generator: torch.Generator) -> dict[str, Tensor]:
    """``count`` configurations ``x`` and forces ``y`` (count, 1, L, L) float32, turn by turn a frame of one of ``runs`` and a
    made one; the first frames of all runs come first, so that fewer configurations are of as many runs as can be.
    """
    half = count // 2
    dynamic = quenches(runs, half // runs, size, generator=generator).transpose(0, 1).flatten(0, 1)
    x = torch.stack([dynamic, made(half, size, generator=generator)], 1).flatten(0, 1)
    y = torch.cat([MODEL.force(part) for part in x.split(64)])
    return {"x": x.float(), "y": y.float()}


# ---------------------------------------------------------------------------------------------------- task


@dataclass(frozen=True)
class Sizes:
    """What a size asks for: configurations and the runs they are from (train, valid, test), lattices, steps of the quench."""

    counts: tuple[int, int, int]
    runs: tuple[int, int, int]
    lattice: int
    quench: int
    steps: int
    depth: int = 3  #: of networks: what fits the lattice


SIZES = {
    "smoke": Sizes((8, 4, 4), (2, 1, 1), 8, 8, 6, depth=1),
    "cpu": Sizes((16, 8, 48), (4, 2, 6), 12, 24, 200),
    "full": Sizes((2000, 80, 80), (50, 4, 4), 30, 30, 200),
}


def holstein(request: Request) -> Data:
    """``train``, ``valid``, ``test``: ``x`` distortions and ``y`` electronic forces, (n, 1, L, L) float32; new ones per seed.

    ``test`` also holds a quench that no seed changes: ``quench`` (1, 1, L', L') float64, where it starts, and how order
    grows by exact forces: ``order`` and ``domain`` (steps + 1,), ``phi`` (L', L'). ``audit`` is a part of the test.
    InputError for a data file.
    """
    if request.files:
        raise InputError(f"Holstein configurations are generated; they take no data file, got {request.files[0][0]!r}")
    sizes = SIZES[request.size]
    generator = torch.Generator().manual_seed(1000 + request.seed)
    train, valid, test = (
        frames_and_made(count, runs, sizes.lattice, generator=generator)
        for count, runs in zip(sizes.counts, sizes.runs, strict=True)
    )
    info = {"size": sizes.lattice, "depth": sizes.depth}
    return Data(train, {**test, **judge(sizes.quench, sizes.steps)}, test["x"][:4], valid, info)


@lru_cache(maxsize=4)
def judge(size: int, steps: int) -> dict[str, Tensor]:
    """A quench by exact forces: where it starts, ``quench`` (1, 1, L, L), and what :func:`quench` says of it."""
    generator = torch.Generator().manual_seed(QUENCH_SEED)
    q = torch.randn(1, 1, size, size, generator=generator, dtype=torch.float64)
    return {"quench": q, **quench(MODEL.force, q, steps)}


def quench(electronic: Any, q: Tensor, steps: int, **options: Any) -> dict[str, Tensor]:
    """From distortions ``q`` (1, 1, L, L) at rest into the bath of the judge, by the forces ``electronic(q) - K q``.

    ``order`` and ``domain`` (steps + 1,) of the charges, ``n - 1/2 = f / g``, and ``phi`` (L, L), the local order at the end.
    ``options`` are those of :func:`coset.ops.langevin.simulate`; the noise is the same for all forces.
    """
    force = MODEL.total(electronic)

    def observe(q: Tensor, f: Tensor) -> dict[str, Tensor]:
        phi = charge_order(0.5 + (f + MODEL.k * q)[0, 0] / MODEL.g)
        return {"order": order_parameter(phi), "domain": domain_size(phi)}

    ended = simulate(force, start(force, q, seed=QUENCH_SEED), steps, BATH, observe=observe, **options)
    return {**dict(ended.record), "phi": charge_order(0.5 + (ended.f + MODEL.k * ended.q)[0, 0] / MODEL.g)}
