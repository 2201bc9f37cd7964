"""Pages that run: the commands that a Markdown page prints, and whether what they print now has the printed shape.

A block marked ``console`` holds commands after ``$`` and what each wrote to standard output; ``[exit 1]`` after it is the exit
code, where it is not 0. A block whose first line is ``# name.py`` is a file that the commands may use.

Two outputs have the same shape when their lines agree after this masking: every number is one sign ``#``, a run of blanks is
one blank, rules of tables are left out. A line ``...`` of the page stands for any lines, ``...`` at the end of a line for the
rest of it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

NUMBER = re.compile(r"[-+±]?\d+(?:,\d{3})*(?:\.\d+)*(?:e[-+]?\d+)?")


@dataclass(frozen=True)
class Step:
    """One command of a page, what the page says it prints, and its exit code."""

    line: str
    output: tuple[str, ...] = ()
    code: int = 0


def blocks(text: str, language: str) -> list[str]:
    """What stands in the fenced blocks of one language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.S | re.M)


def files(text: str) -> dict[str, str]:
    """The files that a page asks its reader to save, by name."""
    named = [(re.match(r"# ([\w/]+\.py)\n", block), block) for block in blocks(text, "python")]
    return {found.group(1): block for found, block in named if found}


def steps(text: str) -> list[Step]:
    """The commands of all ``console`` blocks in order; a line that ends with a backslash goes on in the next one."""
    found = []
    for block in blocks(text, "console"):
        for part in re.split(r"^\$ ", block.replace("\\\n", " "), flags=re.M)[1:]:
            line, *output = [line.rstrip() for line in part.rstrip().splitlines()]
            ends = re.fullmatch(r"\[exit (\d+)\]", output[-1]) if output else None
            found.append(Step(line, tuple(output[:-1] if ends else output), int(ends.group(1)) if ends else 0))
    return found


def mask(line: str) -> str:
    """A line without what differs from run to run and from machine to machine."""
    return " ".join(NUMBER.sub("#", re.sub(r"[─━┄-]{3,}", "", line)).split())


def difference(expected: Sequence[str], printed: Sequence[str]) -> str | None:
    """What is wrong with the shape of ``printed``, or None: the first line of ``expected`` that nothing answers to."""
    want, got = [mask(line) for line in expected], [mask(line) for line in printed]
    want, got = [line for line in want if line], [line for line in got if line]
    at, free = 0, False  # free: lines may be skipped, since "..." stood above
    for line in want:
        if line == "...":
            free = True
            continue
        places = range(at, len(got)) if free else range(at, min(at + 1, len(got)))
        at, free = next((place + 1 for place in places if _same(line, got[place])), -1), False
        if at < 0:
            return f"expected {line!r}, got {got[places.start] if places else 'nothing more'!r}"
    return None if free or at == len(got) else f"expected no more, got {got[at]!r}"


def _same(want: str, got: str) -> bool:
    return got.startswith(want[:-3].rstrip()) if want.endswith("...") else want == got
