"""How much of some files stands elsewhere too: the share of their six-line windows that another place repeats.

    python benchmarks/repetition.py src/coset/models src/coset/tasks --most 10

Lines are compared without surrounding space; blank lines, comments, imports and lines of brackets alone do not count. A window
that stands anywhere else in ``src``, ``tests`` or ``benchmarks``, or a second time in its own file, is repeated. Exits 1 above
``--limit`` percent.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
WINDOW = 6
Window = tuple[str, ...]


def code_lines(path: Path) -> list[str]:
    """The lines that count."""
    lines = (line.strip() for line in path.read_text().splitlines())
    return [line for line in lines if line.strip("()[]{},:\"'") and not line.startswith(("#", "import ", "from "))]


def windows(path: Path) -> list[Window]:
    """All runs of six lines."""
    lines = code_lines(path)
    return [tuple(lines[i : i + WINDOW]) for i in range(len(lines) - WINDOW + 1)]


def python_files(places: Iterable[Path]) -> list[Path]:
    """Files named, and those below folders."""
    return sorted({file for place in places for file in (place.rglob("*.py") if place.is_dir() else [place] * place.is_file())})


def repeated(files: Sequence[Path], root: Path = ROOT) -> dict[Path, tuple[int, int]]:
    """For each file how many of its windows stand elsewhere, and how many it has."""
    known = Counter(w for file in python_files([root / "src", root / "tests", root / "benchmarks"]) for w in windows(file))
    return {file: (sum(known[w] > 1 for w in windows(file)), len(windows(file))) for file in files}


def share(found: dict[Path, tuple[int, int]]) -> float:
    """Percent over all files."""
    return 100 * sum(twice for twice, _ in found.values()) / max(1, sum(count for _, count in found.values()))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("places", nargs="+", type=Path, help="files or folders")
    parser.add_argument("--limit", type=float, default=3.0, help="percent (default: 3)")
    parser.add_argument("--most", type=int, default=10, help="files shown, the worst first (default: 10)")
    given = parser.parse_args()
    result = repeated([file.resolve() for file in python_files(given.places)])
    for file, (twice, count) in sorted(result.items(), key=lambda item: -item[1][0])[: given.most]:
        print(f"{twice:5d} of {count:5d}  {file.relative_to(ROOT)}")
    print(f"{share(result):.2f} % of {sum(count for _, count in result.values())} windows in {len(result)} files")
    sys.exit(0 if share(result) < given.limit else 1)
