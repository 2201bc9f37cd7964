import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from coset.errors import InputError
from coset.train.batches import GlobalBatches, loader, order_of


@pytest.mark.parametrize(("count", "batch", "world"), [(64, 16, 2), (65, 16, 2), (33, 16, 3), (7, 7, 4), (5, 2, 4)])
def test_shares_put_together_are_the_batches_of_one_process(count, batch, world):
    whole = list(GlobalBatches(count, batch, pool=count, seed=3))
    ranks = [GlobalBatches(count, batch, pool=count, seed=3, rank=r, world=world) for r in range(world)]
    shares = [list(order) for order in ranks]
    for i, full in enumerate(whole):
        kept = [index for r in range(world) if ranks[r].weight(i) > 0 for index in shares[r][i]]
        assert sorted(kept) == sorted(full)
        assert all(shares[r][i] for r in range(world))


@pytest.mark.parametrize(("count", "batch", "world"), [(65, 16, 2), (33, 16, 3), (7, 3, 4)])
def test_weighted_means_of_shares_average_to_the_mean_of_the_batch(count, batch, world, generator):
    values = torch.randn(count, generator=generator, dtype=torch.float64)
    ranks = [GlobalBatches(count, batch, pool=count, seed=3, rank=r, world=world) for r in range(world)]
    for i, full in enumerate(GlobalBatches(count, batch, pool=count, seed=3)):
        parts = [ranks[r].weight(i) * values[list(ranks[r])[i]].mean() for r in range(world)]
        assert torch.isclose(sum(parts) / world, values[full].mean(), rtol=1e-12)


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
    ],
)
def test_data_that_do_not_fit_are_refused(data, options):
    with pytest.raises(InputError):
        loader(data, options.pop("batch", 2), seed=0, **options)
