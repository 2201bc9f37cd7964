"""Batches whose order depends on the seed and the epoch only, never on how many processes share them.

Every process draws the same global batches and takes every ``world``-th sample of each. Shares can differ by one sample,
so losses carry the weight ``world * share / batch``: averaged over processes, gradients are those of the whole batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate

from coset.errors import InputError
from coset.train.run import mix


class GlobalBatches(Sampler[list[int]]):
    """Index lists of one process: a permutation by (seed, epoch), cut into batches, each batch shared out.

    ``count`` samples are used: with ``pool`` larger, a subset that the seed fixes and that a larger ``count`` contains.
    """

    def __init__(self, count: int, batch: int, *, pool: int, seed: int, rank: int = 0, world: int = 1, shuffle: bool = True):
        self.batch, self.seed, self.rank, self.world, self.shuffle = batch, seed, rank, world, shuffle
        self.members = torch.randperm(pool, generator=_generator(seed))[:count] if count < pool else torch.arange(pool)
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called before each epoch by the loop."""
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-len(self.members) // self.batch)

    def __iter__(self) -> Iterator[list[int]]:
        order = self.members
        if self.shuffle:
            order = order[torch.randperm(len(order), generator=_generator(mix(self.seed, 1 + self.epoch)))]
        for whole in order.split(self.batch):
            # a process that a short last batch leaves empty-handed takes one sample along, with weight 0
            yield (whole[self.rank :: self.world] if len(whole) > self.rank else whole[:1]).tolist()

    def size(self, index: int) -> int:
        """Samples in the global batch ``index``."""
        return min(self.batch, len(self.members) - index * self.batch)

    def weight(self, index: int) -> float:
        """The factor of this process's mean loss in batch ``index``."""
        size = self.size(index)
        return self.world * len(range(self.rank, size, self.world)) / size


class Table(Dataset):
    """Tensors by name with one leading axis; indexed by lists, a batch at a time."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        lengths = {name: len(value) for name, value in tensors.items()}
        if not lengths or len(set(lengths.values())) != 1:
            raise InputError(f"training data: tensors need one common leading axis, got lengths {lengths}")
        if empty := [name for name, length in lengths.items() if not length]:
            raise InputError(f"training data: {empty[0]!r} holds no samples")
        self.tensors = dict(tensors)

    def __len__(self) -> int:
        return len(next(iter(self.tensors.values())))

    def __getitem__(self, index: Any) -> dict[str, Tensor]:
        index = torch.as_tensor(index)
        return {name: value.index_select(0, index.to(value.device)) for name, value in self.tensors.items()}


def loader(
    data: Any, batch: int, *, seed: int, samples: int = 0, rank: int = 0, world: int = 1, shuffle: bool = True
) -> DataLoader:
    """Batches of a mapping of tensors, of a Dataset (collated by its own ``collate`` where it has one), or a DataLoader.

    A DataLoader is taken as it is, its order and batch size included. Raises InputError for anything else, for tensors of
    different lengths, for more ``samples`` than there are, and for a DataLoader shared among processes.
    """
    if isinstance(data, DataLoader):
        if world > 1 and shuffle:
            raise InputError("several processes cannot share a DataLoader; give data.train as tensors by name or as a Dataset")
        return data
    table = Table(data) if isinstance(data, Mapping) else data
    if not hasattr(table, "__getitem__") or not hasattr(table, "__len__"):
        raise InputError(f"training data: expected tensors by name, a Dataset or a DataLoader, got {type(data).__name__}")
    if batch < 1 or samples < 0 or samples > len(table):
        raise InputError(f"recipe: batch {batch} and samples {samples} do not fit {len(table)} training samples")
    order = GlobalBatches(samples or len(table), batch, pool=len(table), seed=seed, rank=rank, world=world, shuffle=shuffle)
    # a generator of its own: iterating must not move the global random state
    spare = _generator(seed)
    if isinstance(table, Table):
        return DataLoader(table, sampler=order, batch_size=None, generator=spare)
    collate = getattr(table, "collate", default_collate)
    return DataLoader(table, batch_sampler=order, collate_fn=collate, generator=spare)


def order_of(batches: DataLoader) -> GlobalBatches | None:
    """The shared order behind a loader; None for a DataLoader that the user made."""
    for found in (batches.sampler, batches.batch_sampler):
        if isinstance(found, GlobalBatches):
            return found
    return None


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
