"""The backward kernel: the cotangents of every operand asked for, in one pass over the items.

With g the cotangent of the receiver's rows and, per item, ``h_k = W_p g_k`` and ``y_k = sum_i M_{m(k,i)} x_i``,

    gx[i] += sum_k M_{m(k,i)} h_k             T[m] = sum over channels of h_k x_i,    gs[j] += sum_m c_{mj} T[m]
    Q_p = sum_k g_k y_k                       gw[q] += t_b Q_p,    gt[b] += sum over channels of w_q Q_p

The rows of the output are taken in blocks; T of a block is kept as vectors in registers while the channels go by, passes
through the coefficients of the plan as vectors, and is summed over lanes once per row of s. What an operand collects from
several items (``source``, ``shared``) is added in memory in the order of the walk; each thread has its own copy.
"""

from __future__ import annotations

from dataclasses import dataclass

from coset.ops.backends.llvm.builder import READ, WRITE, Builder, Integer, Pointer, Variable, Vector, fma, total
from coset.ops.backends.llvm.items import ARGUMENTS, Setting, Walk
from coset.ops.backends.llvm.structure import Path
from coset.ops.plan import ITEM

Group = tuple[Path, int, tuple[tuple[int, int], ...]]


@dataclass(frozen=True)
class Block:
    """Groups (path, output row, its terms) done together for V channels, and what happens at their borders."""

    groups: tuple[Group, ...]
    opens: frozenset[tuple[str, int | None]]  # rows ("x", i), ("w", q) that no earlier block writes
    resumed: frozenset[Path]  # paths whose Q began in an earlier block
    unfinished: frozenset[Path]  # paths whose Q goes on in a later block

    @property
    def reads(self) -> list[int]:
        """The rows of x in use."""
        return sorted({i for _, _, terms in self.groups for i, _ in terms})

    @property
    def columns(self) -> list[int]:
        """The columns of M in use."""
        return sorted({m for _, _, terms in self.groups for _, m in terms})


def blocks(setting: Setting, needs: str) -> list[Block]:
    """All groups, those that read the same rows of x side by side; at most ``setting.terms`` entries if T is kept."""
    most = setting.terms if "s" in needs else 4 * setting.terms
    cut: list[list[Group]] = []
    for path in sorted(setting.structure.paths, key=lambda path: path.reads):
        for row, terms in path.rows:
            fits = cut and cut[-1][-1][0].reads == path.reads and sum(len(g[2]) for g in cut[-1]) + len(terms) <= most
            if not fits:
                cut.append([])
            cut[-1].append((path, row, terms))
    paths = [{path for path, _, _ in block} for block in cut]
    made: list[Block] = []
    seen: set[tuple[str, int | None]] = set()
    for number, groups in enumerate(cut):
        resumed = paths[number] & set().union(*paths[:number])
        unfinished = paths[number] & set().union(*paths[number + 1 :])
        written: set[tuple[str, int | None]] = {("x", i) for _, _, terms in groups for i, _ in terms}
        written |= {("w", q) for path in paths[number] - unfinished for _, q in path.weights}
        made.append(Block(tuple(groups), frozenset(written - seen), frozenset(resumed), frozenset(unfinished)))
        seen |= written
    return made


def write_backward(k: Builder, setting: Setting, needs: str) -> None:
    """``gradients_xw(first, last, ..., g, gx, gs, gt, gw)`` for ``needs`` "xw"; arrays that collect begin with zeros."""
    rows, channels = setting.plan.output.rows, setting.channels
    targets = {f"g{role}": WRITE for role in "xstw"}
    for *arguments, g, gx, gs, gt, gw in k.function(f"gradients_{needs}", **ARGUMENTS, g=READ, **targets):
        sweep = Sweep(Walk(k, setting, tuple(arguments)), needs, {"x": gx, "s": gs, "t": gt, "w": gw})
        for tile in sweep.walk.tiles():
            for place in k.range(0, tile.count):
                item = sweep.walk.item(tile.start + place)
                receiver = item if tile.row is None else tile.row
                sweep.item(place, item, g + receiver * (rows * channels))


class Sweep:
    """One backward kernel being written: what is needed, where it goes, and the sums that live across channels."""

    def __init__(self, walk: Walk, needs: str, targets: dict[str, Pointer]) -> None:
        k, setting = walk.k, walk.setting
        self.k, self.walk, self.setting, self.needs, self.targets = k, walk, setting, needs, targets
        self.blocks = blocks(setting, needs)
        self.sums: dict[str, dict[int, Variable]] = {
            role: {row: k.variable() for row in range(setting.size(role))} if role in needs else {} for role in "st"
        }
        split = any(block.unfinished for block in self.blocks) and ("w" in needs or "t" in needs)
        self.partial = k.array(setting.channels) if split else None

    def item(self, place: Integer, item: Integer, g: Pointer) -> None:
        """All cotangents of one item."""
        k, walk, setting = self.k, self.walk, self.setting
        for sums in self.sums.values():
            for sum_ in sums.values():
                sum_.value = 0.0
        at = {"g": g}
        for role in "xw":
            if setting.size(role):
                at[role] = walk.row(role, item, walk.given[f"stride_{role}"])
            if role in self.needs:
                at[f"g{role}"] = walk.row(role, item, setting.size(role) * setting.channels, self.targets[role])
        basis = walk.basis(item)
        for block in self.blocks:
            entries = {m: walk.entry(m, place) for m in block.columns}
            kept = {m: k.variable(0.0) for m in block.columns} if "s" in self.needs else {}
            for c in k.vectors(setting.channels):
                here = {name: pointer + c for name, pointer in at.items()}
                partial = None if self.partial is None else self.partial + c
                self.channels(block, here, partial, entries, basis, kept)
            for m, sum_ in kept.items():
                for j, factor in setting.structure.columns[m]:
                    if j is not None:
                        self.sums["s"][j].value = fma(sum_.value, factor, self.sums["s"][j].value)
        for role, sums in self.sums.items():
            if sums:
                self._collect(walk.row(role, item, len(sums), self.targets[role]), sums, walk.setting.index(role) == ITEM)

    def channels(
        self,
        block: Block,
        at: dict[str, Pointer],
        partial: Pointer | None,
        entries: dict[int, Vector],
        basis: dict[int, Vector],
        kept: dict[int, Variable],
    ) -> None:
        """One block for V channels: ``at`` has the operands and cotangents of the item there."""
        step, needs = self.setting.channels, self.needs
        x = {i: at["x"][i * step] for i in block.reads}
        gx: dict[int, Vector] = {}
        q: dict[Path, Vector] = dict.fromkeys(block.resumed, partial[0]) if partial is not None else {}
        weights: dict[Path, Vector | None] = {}
        for path, row, terms in block.groups:
            g = h = at["g"][row * step]
            if "x" in needs or "s" in needs:
                if path not in weights:
                    weights[path] = self.walk.weight(path, basis, at.get("w"))
                weight = weights[path]
                h = g if weight is None else g * weight
            for i, m in terms:
                if "s" in needs:
                    kept[m].value = fma(h, x[i], kept[m].value)
                if "x" in needs:
                    gx[i] = fma(entries[m], h, gx[i]) if i in gx else entries[m] * h
            if "w" in needs or "t" in needs:
                (i, m), *rest = terms
                y = entries[m] * x[i]
                for i, m in rest:
                    y = fma(entries[m], x[i], y)
                q[path] = fma(g, y, q[path]) if path in q else g * y
        if "x" in needs:
            self._add(block, "x", at["gx"], gx)
        if q:
            self._weigh(block, at, q, basis, partial)

    def _weigh(
        self, block: Block, at: dict[str, Pointer], q: dict[Path, Vector], basis: dict[int, Vector], partial: Pointer | None
    ) -> None:
        """Q of the block's paths to gw and gt, or aside if the path goes on."""
        found: dict[int, Vector] = {}
        for path, value in q.items():
            if path in block.unfinished and partial is not None:
                partial[0] = value
                continue
            for b, row in path.weights:
                if "w" in self.needs and row is not None:
                    term = value if b is None else value * basis[b]
                    found[row] = found[row] + term if row in found else term
                if "t" in self.needs and b is not None:
                    term = value if row is None else value * at["w"][row * self.setting.channels]
                    self.sums["t"][b].value = self.sums["t"][b].value + term
        if found:
            self._add(block, "w", at["gw"], found)

    def _add(self, block: Block, role: str, place: Pointer, found: dict[int, Vector]) -> None:
        """Rows to where they are collected; those of an item's own that nothing wrote before are stored."""
        own = self.setting.index(role) == ITEM
        for row, value in found.items():
            at = row * self.setting.channels
            place[at] = value if own and (role, row) in block.opens else place[at] + value

    def _collect(self, place: Pointer, sums: dict[int, Variable], own: bool) -> None:
        """Sums over lanes."""
        for row, sum_ in sums.items():
            value = total(sum_.value)
            place[row] = value if own else place.scalar(row) + value
