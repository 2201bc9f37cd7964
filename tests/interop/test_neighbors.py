"""A list with a skin gives what a search at every step gives, in one order."""

import numpy as np
import pytest
import torch

from coset.errors import InputError
from coset.interop.neighbors import VerletList
from coset.ops.periodic import neighbor_list

CELL = np.array([[3.1, 0.0, 0.0], [0.4, 2.9, 0.0], [0.0, 0.7, 3.3]])
BOX = (True, True, True)


def as_set(edges, shift):
    return {tuple(row) for row in torch.cat([edges, shift.T]).T.tolist()}


@pytest.mark.parametrize("periodic", [BOX, (True, False, True), (False, False, False)], ids=["box", "slab", "free"])
def test_walking_atoms(periodic):
    random = np.random.default_rng(0)
    pos = random.uniform(0, 3, (5, 3)) + np.arange(5)[:, None] * 1.5
    kept, fresh = VerletList(4.0, 0.6), VerletList(4.0, 0.0)
    for _ in range(60):
        pos = pos + random.normal(size=pos.shape) * 0.02
        a, b = kept(pos, CELL, periodic), fresh(pos, CELL, periodic)
        assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))
        direct = neighbor_list(torch.from_numpy(pos), 4.0, cell=torch.from_numpy(CELL), periodic=periodic)
        assert as_set(*a) == as_set(*direct)
    assert fresh.searches == 60
    assert 1 < kept.searches < 20


def test_every_change_of_the_frame_is_seen():
    pos = np.random.default_rng(1).uniform(0, 3, (4, 3)) * 1.7
    kept = VerletList(4.0, 1.0)

    def ask(*given):
        found, want = kept(*given), VerletList(4.0, 0.0)(*given)
        assert all(torch.equal(x, y) for x, y in zip(found, want, strict=True))
        return kept.searches

    assert ask(pos, CELL, BOX) == 1
    assert ask(pos + 0.28, CELL, BOX) == 1  # 0.28 * sqrt(3) < 0.5
    assert ask(pos + 0.3, CELL, BOX) == 2
    assert ask(pos + 0.3, CELL * 1.001, BOX) == 3
    assert ask(pos + 0.3, CELL * 1.001, (True, True, False)) == 4
    assert ask(pos[:3] + 0.3, CELL * 1.001, (True, True, False)) == 5
    wrapped = pos[:3] + 0.3
    wrapped[0] += CELL[0] * 1.001
    assert ask(wrapped, CELL * 1.001, (True, True, False)) == 6


def test_bad_input():
    pos = np.array([[0.0, 0, 0], [2, 0, 0]])
    kept = VerletList(4.0, 4.0)
    kept(pos, CELL * 9, BOX)
    for bad, words in (([2.0, np.nan, 0], "atom 1 is NaN"), ([1e-4, 0, 0], "on top of each other|apart")):
        with pytest.raises(InputError, match=words):
            kept(np.array([pos[0], bad]), CELL * 9, BOX)
    with pytest.raises(InputError, match="skin"):
        VerletList(4.0, -1.0)
    assert VerletList(4.0)(np.zeros((1, 3)), np.zeros((3, 3)), (False,) * 3)[0].shape == (2, 0)


def test_a_search_that_failed_is_not_remembered():
    kept, good = VerletList(4.0, 1.0), np.array([[0.0, 0, 0], [2, 0, 0]])
    with pytest.raises(InputError):
        kept(np.zeros((2, 3)), CELL * 9, BOX)
    assert kept(good, CELL * 9, BOX)[0].shape == (2, 2)
