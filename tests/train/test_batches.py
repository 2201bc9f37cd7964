from itertools import pairwise

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from coset.errors import InputError
from coset.train.batches import GlobalBatches, loader, order_of


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("limit", [0, 30])
@pytest.mark.parametrize(("count", "batch", "world"), [(64, 16, 2), (65, 16, 2), (33, 16, 3), (7, 7, 4), (5, 2, 4)])
def test_parts_put_together_are_the_batches_of_one_process(count, batch, world, accumulate, limit):
    cut = {"sizes": torch.arange(count) % 9, "limit": limit} if limit else {}
    whole = GlobalBatches(count, batch, pool=count, seed=3, **cut)
    ranks = [
        GlobalBatches(count, batch, pool=count, seed=3, rank=r, world=world, accumulate=accumulate, **cut) for r in range(world)
    ]
    lists = [list(order) for order in ranks]
    assert {len(order) for order in ranks} == {len(found) for found in lists} == {accumulate * len(whole)}
    for i, full in enumerate(whole):
        places = range(accumulate * i, accumulate * (i + 1))
        kept = [index for r in range(world) for p in places if ranks[r].own(p) for index in lists[r][p]]
        assert sorted(kept) == sorted(full)
        assert sum(ranks[r].own(p) for r in range(world) for p in places) == len(full)
        assert {ranks[r].size(p) for r in range(world) for p in places} == {whole.size(i)} == {len(full)}
        assert all(lists[r][p] for r in range(world) for p in places)


def test_limited_batches_are_drawn_anew_each_epoch_and_keep_their_limits(generator):
    sizes = torch.randint(1, 40, (300,), generator=generator)
    sizes[7] = 500
    order = GlobalBatches(300, 20, pool=300, seed=1, sizes=sizes, limit=100)
    seen, counts = [], []
    for epoch in range(4):
        order.set_epoch(epoch)
        batches = list(order)
        assert sorted(i for b in batches for i in b) == list(range(300))
        assert all(int(sizes[b].sum()) <= 100 and len(b) <= 20 for b in batches if 7 not in b)
        assert [7] in batches
        # no batch could have taken the next one's first sample, too
        assert all(int(sizes[a].sum() + sizes[b[0]]) > 100 or len(a) == 20 for a, b in pairwise(batches))
        seen.append(batches)
        counts.append(len(order))
        assert order.steps == len(order) == len(batches)
    assert len(set(counts)) > 1
    assert seen[0] != seen[1]


def test_an_epoch_goes_on_where_it_was(generator):
    order = GlobalBatches(50, 8, pool=50, seed=1, accumulate=2)
    order.set_epoch(3)
    whole, count = list(order), len(order)
    order.go_on(3, 4)
    order.set_epoch(3)
    assert list(order) == whole[8:]
    assert len(order) == count
    order.set_epoch(4)
    assert len(list(order)) == count


def test_every_epoch_is_another_permutation_fixed_by_the_seed():
    order, again, other = (GlobalBatches(40, 8, pool=40, seed=seed) for seed in (1, 1, 2))
    first = [i for b in order for i in b]
    assert sorted(first) == list(range(40))
    assert first == [i for b in again for i in b] != [i for b in other for i in b]
    order.set_epoch(1)
    assert [i for b in order for i in b] != first


def test_fewer_samples_are_contained_in_more():
    few, more = ({i for b in GlobalBatches(n, 4, pool=50, seed=9) for i in b} for n in (10, 30))
    assert len(few) == 10
    assert few < more


def test_tensors_datasets_and_loaders_give_batches(generator):
    x = torch.randn(10, 3, generator=generator)

    class Ragged(Dataset):
        def __len__(self):
            return 10

        def __getitem__(self, i):
            return {"x": x[: i + 1]}

        def collate(self, samples):
            return {"x": torch.cat([s["x"] for s in samples]), "count": torch.tensor(len(samples))}

    assert [len(b["x"]) for b in loader({"x": x, "y": x[:, 0]}, 4, seed=0)] == [4, 4, 2]
    ragged = loader(Ragged(), 4, seed=0)
    assert sum(len(b["x"]) for b in ragged) == 55
    assert order_of(ragged) is not None
    own = DataLoader(Ragged(), batch_size=None)
    assert loader(own, 4, seed=0) is own
    assert order_of(own) is None


def test_iterating_leaves_the_global_random_state_alone(generator):
    before = torch.get_rng_state()
    list(loader({"x": torch.zeros(10, 1)}, 4, seed=0))
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(
    ("data", "options"),
    [
        ({"x": torch.zeros(4), "y": torch.zeros(5)}, {}),
        ({}, {}),
        ({"x": torch.zeros(0, 2)}, {}),
        ({"x": torch.zeros(4)}, {"samples": 5}),
        ({"x": torch.zeros(4)}, {"batch": 0}),
        (3, {}),
        (DataLoader([1, 2]), {"world": 2}),
        (DataLoader([1, 2]), {"edges": 5}),
        ({"x": torch.zeros(4)}, {"edges": 5}),
        ({"x": torch.zeros(4)}, {"edges": -1}),
        ({"x": torch.zeros(4)}, {"accumulate": 0}),
    ],
)
def test_data_that_do_not_fit_are_refused(data, options):
    with pytest.raises(InputError):
        loader(data, options.pop("batch", 2), seed=0, **options)
