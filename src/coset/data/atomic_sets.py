"""Public sets of structures by name: where their files are, and how they are split.

``--data acac=FOLDER`` names a folder that holds the files under their public names, plain or gzipped (``train_300K.xyz``,
``train_300K.extxyz.gz``). Without it the folder is that of ``coset data fetch acac`` (:mod:`coset.data.public_cache`).
Acetylacetone and 3BPA: Batatia et al., arXiv 2205.06643 (BOTNet-datasets); ethanol: Christensen and von Lilienfeld, arXiv
2007.09593; silicon and germanium: Zuo et al., J. Phys. Chem. A 124 (2020) (mlearn).
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from coset.data.public_cache import cached
from coset.data.structures import read_structures
from coset.errors import InputError
from coset.recipe import Request

EXAMPLES = {"mlearn": "mlearn:Si"}  #: a set of a family
ENDINGS = (".xyz", ".extxyz", ".xyz.gz", ".extxyz.gz")


def folder_of(request: Request, name: str, where: str) -> Path:
    """The folder of the set ``name`` that the user gives, or that was fetched; ``where`` says where it is published."""
    files = dict(request.files)
    if set(files) - {name}:
        raise InputError(f"{name}: the data file is called {name}, as in --data {name}=FOLDER; got {sorted(files)}")
    if name not in files:
        if (found := cached(name)) is None:
            raise InputError(
                f"{name}: fetch the public files once with coset data fetch {EXAMPLES.get(name, name)}, or name their folder "
                f"with --data {name}=FOLDER; they are published at {where}"
            )
        print(f"{name}: files of {found} (coset data fetch)", file=sys.stderr, flush=True)
        return found
    folder = Path(files[name])
    if not folder.is_dir():
        raise InputError(f"{name}: {folder} is no folder; expected the one that holds the public files")
    return folder


def frames_in(folder: Path, stem: str) -> list[dict[str, Any]]:
    """The frames of the file ``stem`` with one of the known endings; InputError that lists what is there."""
    for ending in ENDINGS:
        if (path := folder / f"{stem}{ending}").is_file():
            return read_structures(path)
    there = ", ".join(sorted(path.name for path in folder.iterdir())[:12])
    raise InputError(f"{folder} has no file {stem} ({', '.join(ENDINGS)}); it holds {there}")
