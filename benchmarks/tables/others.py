"""Tables that have a script of their own, as tables of the page: harmonics, Wigner matrices, symmetric contraction."""

from tables.page import Table


def harmonics(*, quick: bool = False) -> Table:
    """``benchmarks/harmonics.py``, which runs in a process of its own because of sphericart."""
    from harmonics import COUNTS, DEGREES, measure

    rows = measure(COUNTS[:1] if quick else COUNTS, DEGREES[:3] if quick else DEGREES, rounds=3 if quick else 9)
    return Table(
        "harmonics", "Spherical harmonics", "ns per vector, forward (f) and with backward (fb); least over rounds", rows
    )


def wigner(*, quick: bool = False) -> Table:
    """``benchmarks/wigner.py``."""
    from wigner import DEGREES, measure

    rows = measure(1000, DEGREES[:2], rounds=3) if quick else measure()
    return Table("wigner", "Wigner matrices of degrees 0..L", "us per rotation, forward (f) and with backward (fb)", rows)


def contraction(*, quick: bool = False, mace_python: str | None = None) -> Table:
    """``benchmarks/contraction.py``: alternating processes, because mace-torch needs an environment of its own."""
    from contraction import mace_python as find
    from contraction import rows

    measured = rows(find(mace_python), rounds=3 if quick else 7)
    return Table("contraction", "Symmetric contraction, 128 channels", "us per node, medians of alternating samples", measured)
