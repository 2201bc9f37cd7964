"""The partition maps are all maps that commute with S(n): as many as the intertwiners, and in the same space."""

import itertools
import math

import pytest
import torch

from coset.errors import InputError
from coset.groups.permutation import S
from coset.reps.defining import Permutation, Trivial
from coset.reps.intertwiners import intertwiners
from coset.reps.maron import (
    apply_partition,
    dimension,
    map_partitions,
    maron_basis,
    partition_of,
    set_partitions,
    summed_blocks,
)

BELL = (1, 1, 2, 5, 15, 52, 203)


def power(n, order):
    return Permutation(S(n), order) if order else Trivial(S(n))


def test_partitions_are_counted_by_bell_numbers():
    for size, bell in enumerate(BELL):
        found = set_partitions(size)
        assert len(found) == len(set(found)) == bell
        assert list(found) == sorted(found)
        assert all(block <= max(one[:i], default=-1) + 1 for one in found for i, block in enumerate(one))


@pytest.mark.parametrize(
    ("k_in", "k_out", "count"), [(2, 2, 15), (2, 1, 5), (1, 2, 5), (1, 1, 2), (2, 0, 2), (1, 0, 1), (0, 2, 2), (0, 1, 1)]
)
def test_the_numbers_of_the_published_basis(k_in, k_out, count):
    assert len(map_partitions(k_in, k_out)) == count


@pytest.mark.parametrize(
    ("k_in", "k_out", "n"),
    [
        (2, 2, 4),
        (2, 2, 3),
        (2, 2, 2),
        (2, 2, 1),
        (2, 1, 3),
        (1, 2, 2),
        (1, 1, 4),
        (2, 0, 3),
        (0, 2, 3),
        (1, 0, 2),
        (3, 1, 4),
        (3, 0, 2),
    ],
)
def test_the_span_is_that_of_all_intertwiners(k_in, k_out, n):
    ours = maron_basis(k_in, k_out, n).flatten(1)
    all_maps = intertwiners(power(n, k_in), power(n, k_out)).flatten(1)
    rank = torch.linalg.matrix_rank(ours, tol=1e-9).item()
    assert rank == len(all_maps) == dimension(k_in, k_out, n)
    assert torch.linalg.matrix_rank(torch.cat([ours, all_maps]), tol=1e-9) == rank


def test_a_basis_for_enough_letters_only():
    assert dimension(2, 2, 4) == 15 == len(maron_basis(2, 2, 4))
    assert [dimension(2, 2, n) for n in (1, 2, 3)] == [1, 8, 14]


@pytest.mark.parametrize(("k_in", "k_out"), list(itertools.product(range(4), range(3))))
def test_applied_and_as_a_matrix_they_agree(k_in, k_out, generator):
    n = 3
    x = torch.randn(2, *[n] * k_in, 5, generator=generator, dtype=torch.float64)
    flat = x.reshape(2, n**k_in, 5)
    for partition, matrix in zip(map_partitions(k_in, k_out), maron_basis(k_in, k_out, n), strict=True):
        y = apply_partition(partition, x, k_in, n=n)
        assert y.shape == (2, *[n] * k_out, 5)
        assert torch.allclose(y.reshape(2, n**k_out, 5), matrix @ flat, rtol=0, atol=1e-12)


def test_named_maps(generator):
    x = torch.randn(1, 4, 4, 1, generator=generator, dtype=torch.float64)
    square = x[0, ..., 0]

    def image(indices):
        return apply_partition(partition_of(indices), x, 2)[0, ..., 0]

    assert torch.equal(image("abab"), square)
    assert torch.equal(image("abba"), square.T)
    assert torch.equal(image("aaa"), square.diagonal())
    assert torch.allclose(image("aba"), square.mean(1), rtol=0, atol=1e-14)
    assert torch.allclose(image("abb"), square.mean(0), rtol=0, atol=1e-14)
    assert math.isclose(image("ab").item(), square.mean().item(), abs_tol=1e-14)
    assert math.isclose(image("aa").item(), square.trace().item() / 4, abs_tol=1e-14)
    assert torch.allclose(image("aabb"), torch.eye(4, dtype=torch.float64) * square.trace() / 4, rtol=0, atol=1e-14)


def test_means_do_not_grow_with_the_set():
    for n in (2, 5, 9):
        one = torch.ones(1, n, n, 1, dtype=torch.float64)
        for partition in map_partitions(2, 2):
            assert apply_partition(partition, one, 2).abs().max() <= 1 + 1e-12
    assert [summed_blocks(partition_of(word), 2) for word in ("abcd", "aabb", "abac", "abab")] == [2, 1, 1, 0]


def test_bad_sizes_are_refused():
    with pytest.raises(InputError, match="at least 0, got -1"):
        set_partitions(-1)
    with pytest.raises(InputError, match="orders are at least 0"):
        map_partitions(-1, 2)
    with pytest.raises(InputError, match="letters are at least 1"):
        maron_basis(1, 1, 0)
    with pytest.raises(InputError, match="with 2 axes n"):
        apply_partition((0, 1), torch.zeros(2, 3, 4, 1), 2)
    with pytest.raises(InputError, match="with 0 axes n"):
        apply_partition((0,), torch.zeros(2, 1), 0)
