"""The peak of a call: what it held, however shortly, and nothing of what was there before."""

import torch

from coset.audits.memory import peak_bytes

MB = 1_000_000
CPU = torch.device("cpu")


def test_a_short_peak_is_seen_and_earlier_ones_are_not():
    held = torch.ones(50 * MB // 4)  # a higher peak before
    del held

    def brief():
        torch.ones(20 * MB // 4)

    assert 19 * MB < peak_bytes(brief, CPU) < 30 * MB
    assert peak_bytes(lambda: None, CPU) < 5 * MB


def test_memory_that_the_allocator_kept_counts_again():
    def many():
        return [torch.ones(20_000) for _ in range(400)]  # 32 MB in pieces that freeing does not give back

    many()
    assert peak_bytes(many, CPU) > 25 * MB
