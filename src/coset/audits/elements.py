"""Which elements of a group an audit visits, and what they are called.

A small finite group is visited whole, the circle at equal angles, any other group at random (Haar where it is compact).
The identity always comes first.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from coset.errors import CosetError, InputError
from coset.groups.group import Elements, Family, FiniteGroup, Group, LieGroup
from coset.groups.permutation import S
from coset.groups.product import Power, Product
from coset.groups.rotations import planar_angle, vector_from_rotation


def choose(group: Family, samples: int, seed: int = 0) -> Any:
    """About ``samples`` elements of a bound group, the identity first (a family without one is only sampled)."""
    if samples < 1:
        raise InputError(f"samples is the number of group elements visited, at least 1; got {samples}")
    generator = torch.Generator().manual_seed(seed)
    if not isinstance(group, Group):
        return group.sample(samples, generator=generator, dtype=torch.float64)
    if isinstance(group, FiniteGroup) and group.order <= samples:
        return group.elements()
    if isinstance(group, S) and group.fibre is None and group.n <= 8 and group.order <= samples:
        return group.elements()
    if isinstance(group, LieGroup) and group.dim == 1 and group.compact and samples > 2:
        try:
            return group.grid(samples, dtype=torch.float64)
        except CosetError:  # no grid: draw instead
            pass
    first = group.identity(dtype=torch.float64)
    if isinstance(group, FiniteGroup):
        order = torch.randperm(int(group.order) - 1, generator=generator)[: samples - 1]
        return torch.cat([first.view(1), order.sort().values + 1])
    return (
        join(lift(first), group.sample(samples - 1, generator=generator, dtype=torch.float64)) if samples > 1 else lift(first)
    )


def lift(g: Any) -> Any:
    """One element as a batch of one."""
    return Elements(*(lift(part) for part in g.parts)) if isinstance(g, Elements) else g.unsqueeze(0)


def join(*batches: Any) -> Any:
    """Batches of elements one behind the other."""
    if isinstance(batches[0], Elements):
        return Elements(*(join(*parts) for parts in zip(*(b.parts for b in batches), strict=True)))
    kind = batches[0].dtype
    return torch.cat([batch.to(kind) for batch in batches])


def on_device(g: Any, device: Any) -> Any:
    """A batch of elements where the sample lives."""
    return Elements(*(on_device(part, device) for part in g.parts)) if isinstance(g, Elements) else g.to(device)


def take(g: Any, start: int, stop: int) -> Any:
    """The elements ``start .. stop - 1`` of a batch."""
    return g[start:stop]


def is_identity(group: Family, g: Any) -> Tensor:
    """Which of a batch are the identity, bool ``(k,)``; none for a family without identity."""
    if not isinstance(group, Group):
        return torch.zeros(len(g), dtype=torch.bool)
    if isinstance(group, Product):  # whose factors may be families
        return torch.stack([is_identity(part, piece) for part, piece in zip(group.parts, g.parts, strict=True)]).all(0)
    first = g.parts[0] if isinstance(g, Elements) else g
    return group.equal(g, on_device(lift(group.identity(dtype=torch.float64)), first.device), tolerance=1e-12)


def steps(group: Family, size: float = 0.3) -> tuple[Any, list[str]]:
    """The directions that generate the group: discrete generators, and ``exp(size e_i)`` of a Lie algebra, with names."""
    if not isinstance(group, Group) or isinstance(group, (Product, Power)):
        return None, []
    found, names = [], []
    discrete = group.generators(dtype=torch.float64)
    if len(discrete):
        found.append(discrete)
        names += [f"generator {name}" for name in element_names(group, discrete)]
    if isinstance(group, LieGroup):
        along = size * torch.eye(group.dim, dtype=torch.float64)
        found.append(group.exp(along))
        names += [f"direction {i + 1}: {name}" for i, name in enumerate(element_names(group, found[-1]))]
    return (join(*found), names) if found else (None, [])


# ---------------------------------------------------------------------------------------------------- names


def element_names(group: Family, g: Any) -> list[str]:
    """A readable name for every element of a batch: degrees, axis and angle, shift, factor, cycles."""
    return [element_name(group, g[i], i) for i in range(len(g))]


def element_name(group: Family, g: Any, place: int = 0) -> str:
    """``37°``, ``120° about (0.58, 0.58, 0.58)``, ``mirror at 15°``, ``x0.7``, ``(0 2 1)``; ``element 5`` where none fits."""
    if isinstance(g, Elements):
        return " · ".join(element_name(part, piece, place) for part, piece in zip(group.factors(), g.parts, strict=False))
    if isinstance(group, S):
        return cycles(g)
    if isinstance(group, Power):
        return f"draw {place}"
    try:
        return geometric_name(group.linear(g), group.shift(g))
    except CosetError:
        names = getattr(group, "names", None)
        return names[int(g)] if isinstance(group, FiniteGroup) and names else f"element {place}"


def geometric_name(matrix: Tensor, shift: Tensor) -> str:
    """The name of ``p -> matrix p + shift``, float64 ``(n, n)`` and ``(n,)``."""
    matrix, shift = matrix.to(torch.float64), shift.to(torch.float64)
    size = matrix.shape[-1]
    words = []
    if not torch.allclose(matrix, torch.eye(size, dtype=torch.float64), atol=1e-9):
        factor = torch.linalg.det(matrix).abs() ** (1 / size)
        turn = matrix / factor if factor > 0 else matrix
        if abs(factor - 1) > 1e-9:
            words.append(f"x{_short(factor.item())}")
        if not torch.allclose(turn @ turn.T, torch.eye(size, dtype=torch.float64), atol=1e-6):
            words = ["[" + "; ".join(" ".join(_short(v) for v in row) for row in matrix.tolist()) + "]"]
        elif turned := _turn_name(turn):
            words.append(turned)
    if shift.abs().max() > 1e-12:
        words.append(f"shift ({', '.join(_short(v) for v in shift.tolist())})")
    return ", ".join(words) or "identity"


def _turn_name(turn: Tensor) -> str:
    size, proper = turn.shape[-1], bool(torch.linalg.det(turn) > 0)
    if torch.allclose(turn, torch.eye(size, dtype=turn.dtype), atol=1e-9):
        return ""
    if size == 1:
        return "sign flip"
    if size == 2 and proper:
        return f"{_short(math.degrees(planar_angle(turn).item()) % 360)}°"
    if size == 2:
        return f"mirror at {_short(math.degrees(math.atan2(turn[1, 0], turn[0, 0])) / 2 % 180)}°"
    if size == 3:
        vector = vector_from_rotation(turn if proper else -turn)
        angle = vector.norm()
        about = (
            f"{_short(math.degrees(angle.item()))}° about ({', '.join(_short(v, 2) for v in (vector / angle).tolist())})"
            if angle > 1e-9
            else ""
        )
        return about if proper else f"inversion{', ' + about if about else ''}"
    if bool((turn.abs() - turn.abs().round()).abs().max() < 1e-9):
        rows = turn.abs().argmax(1)
        flipped = [i for i in range(size) if turn[i, rows[i]] < 0]
        moved = cycles(rows) if not torch.equal(rows, torch.arange(size)) else ""
        return " ".join(filter(None, [moved, f"flip {','.join(map(str, flipped))}" if flipped else ""]))
    return f"{'rotation' if proper else 'reflection'} by {_short(math.degrees(_largest_angle(turn)))}°"


def _largest_angle(turn: Tensor) -> float:
    return float(torch.linalg.eigvals(turn).angle().abs().max())


def _short(value: float, digits: int = 3) -> str:
    text = f"{value:.{digits}g}"
    return "0" if float(text) == 0 or abs(value) < 1e-9 else text


def cycles(p: Tensor, shown: int = 4) -> str:
    """A permutation in cycle notation; ``e`` for the identity, long ones are cut."""
    rest, out = set(range(len(p))), []
    while rest:
        start = min(rest)
        cycle, at = [], start
        while at in rest:
            rest.remove(at)
            cycle.append(at)
            at = int(p[at])
        if len(cycle) > 1:
            out.append("(" + " ".join(map(str, cycle[:8])) + (" …" if len(cycle) > 8 else "") + ")")
    return "".join(out[:shown]) + ("…" if len(out) > shown else "") or "e"
