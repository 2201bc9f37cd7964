"""Symmetric contraction against mace-torch (issue 3's table): ``benchmarks/contraction.py`` with its thresholds."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from contraction import main

if __name__ == "__main__":
    sys.exit(main())
