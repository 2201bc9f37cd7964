"""Equivariant products beside their peers, in one command: prints the tables, saves ``products.json`` and ``products.html``.

    python benchmarks/products.py [--quick] [--only channelwise,memory] [--out benchmarks/out] [--mace-python PATH]

One thread and float32, everybody in turns in one process (mace-torch in an environment of its own, alternating), process CPU
time. Peers that are not installed are left out (extra ``peers``). A table is a function that returns rows, named in ``TABLES``.
"""

import argparse
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import torch
from tables import channelwise, others
from tables.page import Table, provenance, save, show

TABLES: dict[str, Callable[..., Table]] = {
    "channelwise": channelwise.speed,
    "memory": channelwise.memory,
    "first_call": channelwise.first_call,
    "harmonics": others.harmonics,
    "wigner": others.wigner,
    "contraction": others.contraction,
    "threads": channelwise.threads,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer configurations and rounds")
    parser.add_argument("--only", default=",".join(TABLES), help="tables to measure, separated by commas")
    parser.add_argument("--configurations", default="A,B,C,D,F,G", help="of the channelwise table")
    parser.add_argument("--mace-python", help="interpreter of an environment with mace-torch, otherwise one is made")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/out"))
    given = parser.parse_args()
    chosen = given.only.split(",")
    if unknown := set(chosen) - TABLES.keys():
        parser.error(f"unknown table {', '.join(sorted(unknown))}; there are {', '.join(TABLES)}")
    torch.set_num_threads(1)
    extra = {
        "channelwise": {"names": given.configurations.split(",")},
        "contraction": {"mace_python": given.mace_python},
    }
    origin, tables = provenance(), []
    for name in chosen:
        tables.append(partial(TABLES[name], quick=given.quick, **extra.get(name, {}))())
        show(tables[-1], origin)
        save(tables, given.out, origin)  # after every table, so that an interrupted run keeps what it has
    print(f"saved {given.out / 'products.json'} and {given.out / 'products.html'}")


if __name__ == "__main__":
    main()
