"""Triton source for a plan: one program per output row and block of channels, no atomic additions.

Every plan is executed by one pattern, so that gradients (plans with an operand and the output exchanged) need no kernel of
their own: a program owns what it writes. An output summed through an index walks that row's items in the index's order, an
output per item has one program per item, a shared output is summed by a fixed number of programs whose parts are then added.
The body is the plan's sum, factored: operands without channels and the coefficients make scalars ``m``, and of the operands
with channels the longest is read row by row while the others stand in registers.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from coset.ops.plan import ITEM, SHARED, Operand, Plan

#: output rows that one kernel accumulates in registers; longer outputs take several kernels
ROWS = 32


class Source:
    """Lines of code with indentation."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.depth = 0

    def __call__(self, *lines: str) -> None:
        self.lines += ["    " * self.depth + line for line in lines]

    def text(self) -> str:
        return "\n".join(self.lines) + "\n"


def arguments(plan: Plan) -> list[str]:
    """Names of the kernel's arguments: pointers of operands and indices, then integers, then the block size."""
    indices = sorted({o.index for o in plan.inputs} - {ITEM, SHARED})
    walk = ["order", "pointer"] if plan.output.index not in (ITEM, SHARED) else []
    operands = [f"a{n}" for n in range(len(plan.inputs))]
    return [*operands, *(f"i_{name}" for name in indices), *walk, "out", "items", "C", "BLOCK: tl.constexpr"]


def kernels(plan: Plan) -> str:
    """A module with one kernel per block of output rows: ``kernel_0``, ``kernel_1`` ..."""
    write = Source()
    write("import triton", "import triton.language as tl", "")
    for number, start in enumerate(range(0, max(plan.output.rows, 1), ROWS)):
        write("", "@triton.jit", f"def kernel_{number}({', '.join(arguments(plan))}):")
        write.depth = 1
        _kernel(write, plan, range(start, min(start + ROWS, plan.output.rows)))
        write.depth = 0
    return write.text()


def _kernel(write: Source, plan: Plan, rows: range) -> None:
    """The body of one kernel: who owns what, the walk over items, the sum, the result."""
    out = plan.output
    write("row = tl.program_id(0).to(tl.int64)", "kind = out.dtype.element_ty")
    if out.channels:
        write("c = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)", "inside = c < C")
    width = "BLOCK"
    write(*(f"y{k} = tl.zeros(({width},), dtype=kind)" for k in rows))
    if out.index == ITEM:
        write("e = row")
    elif out.index == SHARED:
        write("for e in range(row, items, tl.num_programs(0)):")
        write.depth += 1
    else:
        write("for q in range(tl.load(pointer + row), tl.load(pointer + row + 1)):")
        write.depth += 1
        write("e = tl.load(order + q)")
    _item(write, plan, rows)
    write.depth = 1
    for k in rows:
        if out.channels:
            write(f"tl.store(out + (row * {out.rows} + {k}) * C + c, y{k}, mask=inside)")
        else:
            write(f"tl.store(out + row * {out.rows} + {k}, tl.sum(y{k}, axis=0))")


def _item(write: Source, plan: Plan, rows: range) -> None:
    """One item: its scalars, then the channels (all blocks of them in turn where the output sums over channels)."""
    terms = [(t, c) for t, c in zip(plan.terms, plan.coefficients, strict=True) if t[-1] in rows]
    for n, operand in enumerate(plan.inputs):
        write(f"p{n} = a{n} + {_place(operand)}")
    scalars, wide = _columns(plan, False), _columns(plan, True)
    for n in scalars:
        write(*(f"s{n}_{r} = tl.load(p{n} + {r})" for r in sorted({t[n] for t, _ in terms})))
    monomials = _monomials(terms, scalars, wide)
    names = {}
    for number, (key, parts) in enumerate(monomials.items()):
        if scalars:
            names[key] = f"m{number}"
            write(f"m{number} = {_scalar(parts)}")
        else:  # a number given a name of its own would become float32
            names[key] = f"({_scalar(parts)})"
    if not plan.output.channels:
        write("for c0 in range(0, C, BLOCK):")
        write.depth += 1
        write("c = c0 + tl.arange(0, BLOCK)", "inside = c < C")
    _channels(write, plan, names, wide)


def _place(operand: Operand) -> str:
    """Where an item's block of this operand begins."""
    size = f"{operand.rows}{' * C' if operand.channels else ''}"
    if operand.index == SHARED:
        return "0"
    return f"e * {size}" if operand.index == ITEM else f"tl.load(i_{operand.index} + e) * {size}"


def _columns(plan: Plan, channels: bool) -> list[int]:
    """Inputs with or without channels, the longest first."""
    picked = [n for n, operand in enumerate(plan.inputs) if operand.channels == channels]
    return sorted(picked, key=lambda n: -plan.inputs[n].rows)


def _monomials(terms: list, scalars: list[int], wide: list[int]) -> dict[tuple, list]:
    """``{(rows of the operands with channels, output row): [(coefficient, scalar names)]}``."""
    out: dict[tuple, list] = defaultdict(list)
    for term, coefficient in terms:
        out[tuple(term[n] for n in wide), term[-1]].append((coefficient, [f"s{n}_{term[n]}" for n in scalars]))
    return out


def _scalar(parts: list) -> str:
    """``c1 * s * t + c2 * u``, or a bare number."""
    return " + ".join(" * ".join([repr(coefficient), *factors]) for coefficient, factors in parts)


def _channels(write: Source, plan: Plan, names: dict[tuple, str], wide: list[int]) -> None:
    """Accumulate ``y_k += sum m * product of vectors``, the longest operand outermost."""
    held: set[str] = set()

    def vector(n: int, row: int) -> str:
        name = f"v{n}_{row}"
        if name not in held:
            held.add(name)
            write(f"{name} = tl.load(p{n} + {row} * C + c, mask=inside, other=0.0)")
        return name

    if not wide:
        write(*(f"y{k} += tl.where(inside, {m}, tl.zeros_like(y{k}))" for (_, k), m in names.items()))
        return
    first, *others = wide
    for row, group in _outer(names):
        v = vector(first, row)
        inner = sorted({rest for rest, _, _ in group})
        outputs = sorted({k for _, k, _ in group})
        if len(inner) < len(outputs) or not others:
            for rest in inner:  # few products, used by many rows
                product = " * ".join([v, *(vector(n, r) for n, r in zip(others, rest, strict=True))])
                if others:
                    write(f"t = {product}")
                write(*(f"y{k} += {m} * {'t' if others else v}" for other, k, m in group if other == rest))
        else:
            for k in outputs:  # sum first, multiply once
                parts = [
                    " * ".join([m, *(vector(n, r) for n, r in zip(others, rest, strict=True))])
                    for rest, other, m in group
                    if other == k
                ]
                write(f"y{k} += {v} * ({' + '.join(parts)})")


def _outer(names: dict[tuple, str]) -> Iterator[tuple[int, list[tuple[tuple[int, ...], int, str]]]]:
    """Groups ``(row of the longest operand, [(rows of the others, output row, scalar)])``."""
    groups: dict[int, list] = defaultdict(list)
    for (rows, k), m in names.items():
        groups[rows[0]].append((rows[1:], k, m))
    for row in sorted(groups):
        yield row, groups[row]
