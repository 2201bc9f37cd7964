"""What this installation is and whether its mathematics holds: versions, extras, device, and a self-check of group laws.

Without torch the versions and extras are still told. The self-check draws elements g, h of every kind of group, moves a
sample of every kind of field that the group knows, and reports the largest relative error of ``g . (h . x) = (gh) . x``.
"""

from __future__ import annotations

import importlib.metadata
import math
import platform
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from coset.errors import ContractError

HIDDEN = ("all", "dev", "browser")  #: extras that are sums of others, or for the tests of the library only
KINDS = ("vector", "position", "axial", "tensor(2)", "scalar")
LIMIT = 1e-10  #: relative, in float64


@dataclass(frozen=True)
class Extra:
    """An optional set of packages: what is there, what is missing, and the line that installs it."""

    name: str
    present: dict[str, str]
    missing: tuple[str, ...]

    @property
    def install(self) -> str:
        """The line that installs this set."""
        return f'pip install "coset[{self.name}]"'


@dataclass(frozen=True)
class SelfCheck:
    """Largest relative error of the laws, and where it occurs."""

    groups: int
    actions: int
    error: float
    worst: str
    seconds: float
    limit: float = LIMIT

    @property
    def passed(self) -> bool:
        """Whether every law holds within ``limit``."""
        return self.error <= self.limit


@dataclass
class Health:
    """Everything that ``coset doctor`` tells."""

    versions: dict[str, str]
    extras: list[Extra]
    device: str = "torch is missing"
    threads: int = 0
    check: SelfCheck | None = field(default=None)


def examine() -> Health:
    """Versions, extras, device and the self-check of this installation."""
    health = Health(versions(), extras())
    if "torch" in health.versions:
        import torch

        health.device = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
        health.threads = torch.get_num_threads()
        health.check = self_check()
    return health


def versions() -> dict[str, str]:
    """Of Python, coset and its required packages, as installed; missing ones are left out."""
    found = {"python": platform.python_version()}
    for name in ("coset", *(name for name, extra in _requirements() if not extra)):
        if version := _version(name):
            found[name] = version
    return found


def extras() -> list[Extra]:
    """The extras that this installation declares, in order of declaration."""
    members: dict[str, list[str]] = {}
    for name, extra in _requirements():
        if extra and extra not in HIDDEN:
            members.setdefault(extra, []).append(name)
    out = []
    for extra, names in members.items():
        known = {name: _version(name) for name in names}
        present = {name: version for name, version in known.items() if version}
        out.append(Extra(extra, present, tuple(name for name in names if name not in present)))
    return out


def _requirements() -> Iterator[tuple[str, str]]:
    """Distribution and extra (or "") of every requirement of coset itself."""
    for line in importlib.metadata.requires("coset") or ():
        name = re.match(r"[A-Za-z0-9._-]+", line)
        extra = re.search(r"extra\s*==\s*[\"']([^\"']+)", line)
        if name and name.group() != "coset":
            yield name.group(), extra.group(1) if extra else ""


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def self_check(*, seed: int = 0, samples: int = 16) -> SelfCheck:
    """The law ``g . (h . x) = (gh) . x`` on every group and kind below, float64, on ``samples`` pairs each."""
    start = time.perf_counter()
    worst, where, actions = 0.0, "", 0
    groups = list(_groups())
    for group in groups:
        for name, error in _errors(group, seed, samples):
            actions += 1
            if error > worst or math.isnan(error):
                worst, where = error, f"{group}: {name}"
    return SelfCheck(len(groups), actions, worst, where, time.perf_counter() - start)


def _groups() -> Iterator[Any]:
    from coset.groups.euclidean import SE, Affine, E, Scale, T
    from coset.groups.finite import C, D, Icosahedral, Octahedral, Tetrahedral
    from coset.groups.matrix import GL, SL, SO, Lorentz, O
    from coset.groups.permutation import S

    yield from (C(8), D(6), Tetrahedral(), Octahedral(), Icosahedral(), S(5))
    yield from (SO(2), SO(3), O(3), SL(2), GL(2, positive=True), Lorentz())
    yield from (T(3), E(3), SE(2), Affine(2), Scale(2))


def _errors(group: Any, seed: int, samples: int) -> Iterator[tuple[str, float]]:
    """Relative error of the law for every kind that the group moves."""
    import torch

    from coset.reps.fields import Field

    generator = torch.Generator().manual_seed(seed)
    g = group.sample(samples, generator=generator, dtype=torch.float64)
    h = group.sample(samples, generator=generator, dtype=torch.float64)
    product = group.compose(g, h)
    unit = group.compose(g, group.inverse(g))
    yield "inverse", 0.0 if bool(group.equal(unit, group.identity(dtype=torch.float64), tolerance=1e-8).all()) else float("inf")
    for word in KINDS:
        field_ = Field.of(f"N x {word}")
        x = torch.randn(samples, 3, *field_.kind.shape(_space(group)), generator=generator, dtype=torch.float64)
        try:
            once = group.move(product, field_, x, {})
            twice = group.move(g, field_, group.move(h, field_, x, {}), {})
        except ContractError:  # this group has no natural action on this kind
            continue
        yield word, float((once - twice).norm() / twice.norm())


def _space(group: Any) -> int:
    """Dimension of the space on which the group acts; 3 where it moves none."""
    import torch

    try:
        return int(group.linear(group.identity(dtype=torch.float64)).shape[-1])
    except ContractError:
        return 3
