"""Batches whose order depends on the seed and the epoch only, never on how many processes share them.

Every process draws the same global batches. Each is divided into ``world * accumulate`` parts, one for each process and
micro-batch of a step; what a part weighs in the mean over the whole batch is :mod:`coset.train.shares`'s business.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate

from coset.errors import InputError
from coset.train.buckets import cut, deal
from coset.train.run import mix


class GlobalBatches(Sampler[list[int]]):
    """Index lists of one process: a permutation by (seed, epoch), cut into batches, each batch shared out in parts.

    ``count`` samples are used: with ``pool`` larger, a subset that the seed fixes and that a larger ``count`` contains. With
    ``sizes`` (of the pool) the sizes in a batch add up to at most ``limit``. A step takes ``accumulate`` index lists.
    """

    def __init__(self, count: int, batch: int, *, pool: int, seed: int, rank: int = 0, world: int = 1, shuffle: bool = True,
                 accumulate: int = 1, sizes: Tensor | None = None, limit: int = 0) -> None:  # fmt: skip
        self.batch, self.seed, self.rank, self.world, self.shuffle = batch, seed, rank, world, shuffle
        self.accumulate, self.sizes, self.limit = accumulate, sizes, limit
        self.members = torch.randperm(pool, generator=_generator(seed))[:count] if count < pool else torch.arange(pool)
        self.epoch = self.start = 0
        self.drawn: tuple[int, tuple[Tensor, ...]] = (-1, ())

    def set_epoch(self, epoch: int) -> None:
        """Called before each epoch by the loop; another epoch begins at its beginning."""
        if epoch != self.epoch:
            self.go_on(epoch, 0)

    def go_on(self, epoch: int, start: int) -> None:
        """Skip the first ``start`` batches of ``epoch``."""
        self.epoch, self.start = epoch, start

    def wholes(self) -> tuple[Tensor, ...]:
        """The global batches of this epoch."""
        if self.drawn[0] != self.epoch:
            self.drawn = (self.epoch, self._draw(self.epoch))
        return self.drawn[1]

    def _draw(self, epoch: int) -> tuple[Tensor, ...]:
        order = self.members
        if self.shuffle:
            order = order[torch.randperm(len(order), generator=_generator(mix(self.seed, 1 + epoch)))]
        if self.sizes is None:
            return order.split(self.batch)
        return order.split(cut(self.sizes[order].tolist(), self.limit, self.batch))

    @property
    def steps(self) -> int:
        """Batches in an epoch; with sizes, in this one."""
        return -(-len(self.members) // self.batch) if self.sizes is None else len(self.wholes())

    def __len__(self) -> int:
        return self.accumulate * self.steps

    def __iter__(self) -> Iterator[list[int]]:
        for whole in self.wholes()[self.start :]:
            for part in self._parts(whole):
                # a part that a short last batch leaves empty takes one sample along, with weight 0
                yield part.tolist() if len(part) else whole[:1].tolist()

    def _parts(self, whole: Tensor) -> list[Tensor]:
        """Those of this process, one for each micro-batch."""
        count = self.world * self.accumulate
        if self.sizes is None or count == 1:
            return [whole[place::count] for place in range(self.rank, count, self.world)]
        return [whole[places] for places in deal(self.sizes[whole].tolist(), count)[self.rank :: self.world]]

    def size(self, index: int) -> int:
        """Samples in the global batch that the index list ``index`` of this epoch belongs to."""
        return len(self.wholes()[index // self.accumulate])

    def own(self, index: int) -> int:
        """Those of them in that index list."""
        step, part = divmod(index, self.accumulate)
        return len(self._parts(self.wholes()[step])[part])


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


def loader(data: Any, batch: int, *, seed: int, samples: int = 0, rank: int = 0, world: int = 1, shuffle: bool = True,
           accumulate: int = 1, edges: int = 0) -> DataLoader:  # fmt: skip
    """Batches of a mapping of tensors, of a Dataset (collated by its own ``collate`` where it has one), or a DataLoader.

    A DataLoader is taken as it is, its order and batch size included. With ``edges`` a Dataset says by ``sizes()``, (N,)
    integers, how large its samples are. Raises InputError for anything else, for tensors of different lengths, for more
    ``samples`` than there are, for data that do not know their sizes, and for a DataLoader shared among processes.
    """
    if isinstance(data, DataLoader):
        if world > 1 and shuffle:
            raise InputError("several processes cannot share a DataLoader; give data.train as tensors by name or as a Dataset")
        if edges:
            raise InputError("recipe: edges cuts batches, but a DataLoader has its own; leave it 0, or give the Dataset itself")
        return data
    table = Table(data) if isinstance(data, Mapping) else data
    if not hasattr(table, "__getitem__") or not hasattr(table, "__len__"):
        raise InputError(f"training data: expected tensors by name, a Dataset or a DataLoader, got {type(data).__name__}")
    if batch < 1 or samples < 0 or samples > len(table):
        raise InputError(f"recipe: batch {batch} and samples {samples} do not fit {len(table)} training samples")
    if accumulate < 1 or edges < 0:
        raise InputError(f"recipe: accumulate is at least 1 and edges at least 0, got {accumulate} and {edges}")
    if edges and not hasattr(table, "sizes"):
        raise InputError(
            f"recipe: edges={edges}, but {type(data).__name__} has no sizes(), the edges of every sample; leave it 0"
        )
    shared: dict[str, Any] = {"seed": seed, "rank": rank, "world": world, "shuffle": shuffle, "accumulate": accumulate}
    if edges:
        shared |= {"sizes": torch.as_tensor(data.sizes()), "limit": edges}
    order = GlobalBatches(samples or len(table), batch, pool=len(table), **shared)
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
