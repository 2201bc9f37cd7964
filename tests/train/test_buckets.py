from itertools import accumulate

import pytest
import torch

from coset.train.buckets import cut, deal


def drawn(count, generator, low=0, high=50):
    return torch.randint(low, high, (count,), generator=generator).tolist()


@pytest.mark.parametrize(("limit", "most"), [(100, 1000), (100, 3), (1, 10), (49, 2), (10**6, 7)])
def test_every_cut_is_needed_and_none_is_too_late(limit, most, generator):
    sizes = drawn(200, generator)
    lengths = cut(sizes, limit, most)
    ends = list(accumulate(lengths))
    assert ends[-1] == len(sizes)
    for length, end in zip(lengths, ends, strict=True):
        batch = sizes[end - length : end]
        assert 1 <= length <= most
        assert sum(batch) <= limit or length == 1
        assert end == len(sizes) or length == most or sum(batch) + sizes[end] > limit


def test_a_sample_beyond_the_limit_is_alone():
    assert cut([1, 9, 1, 1], 5, 10) == [1, 1, 2]
    assert cut([9, 9], 5, 10) == [1, 1]
    assert cut([], 5, 10) == []


@pytest.mark.parametrize("parts", [1, 2, 3, 7])
def test_samples_are_dealt_out_evenly(parts, generator):
    sizes = drawn(41, generator)
    dealt = deal(sizes, parts)
    assert sorted(place for part in dealt for place in part) == list(range(41))
    loads = [sum(sizes[place] for place in part) for part in dealt]
    assert max(loads) <= sum(sizes) / parts + max(sizes)
    assert max(loads) - min(loads) <= max(sizes) / 2 + parts
    assert all(part == sorted(part) and part for part in dealt)
    assert dealt == deal(sizes, parts)


def test_fewer_samples_than_parts_leave_some_without():
    assert sorted(map(len, deal([0, 5, 0], 5))) == [0, 0, 1, 1, 1]
