"""Batches cut by what they cost instead of by how many samples they hold: edges of graphs, say.

Structures of 10 and of 1000 atoms in one data set make batches of equal counts differ a hundredfold in memory and time. Here a
shuffled order is cut where the next sample would exceed a limit, so that batches stay random; a batch is then dealt out to
processes and micro-batches, the largest sample first, each to who has least.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from heapq import heapify, heapreplace
from itertools import accumulate


def cut(sizes: Sequence[int], limit: int, most: int) -> list[int]:
    """Lengths of consecutive batches of at most ``most`` samples whose sizes add up to at most ``limit``.

    A sample larger than ``limit`` is a batch of its own.
    """
    total = list(accumulate(sizes))
    lengths, start, before = [], 0, 0
    while start < len(sizes):
        end = bisect_right(total, before + limit, lo=start, hi=min(start + most, len(sizes)))
        end = max(end, start + 1)
        lengths.append(end - start)
        start, before = end, total[end - 1]
    return lengths


def deal(sizes: Sequence[int], parts: int) -> list[list[int]]:
    """Places of the samples that each of ``parts`` gets, in order: largest first, to the part with the least so far.

    No part has more than the mean and one sample; none stays empty while another has two.
    """
    loads = [(0, part) for part in range(parts)]
    heapify(loads)
    dealt: list[list[int]] = [[] for _ in range(parts)]
    for place in sorted(range(len(sizes)), key=lambda place: (-sizes[place], place)):
        load, part = loads[0]
        dealt[part].append(place)
        heapreplace(loads, (load + sizes[place] + 1, part))  # one more, so that samples without size count, too
    return [sorted(places) for places in dealt]
