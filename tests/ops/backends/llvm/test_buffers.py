"""Memory comes back when nobody holds it, and never before."""

import threading

import pytest
import torch

from coset.ops.backends.llvm.buffers import SMALL, Pool

BIG = (SMALL // 8, 2)  # float64: twice the least size


@pytest.fixture
def pool():
    return Pool()


def test_memory_is_reused_once_free(pool):
    place = pool.empty(BIG, torch.float64).data_ptr()
    assert pool.idle > 0
    assert pool.empty(BIG, torch.float64).data_ptr() == place
    assert pool.empty((SMALL // 4, 2), torch.float32).data_ptr() == place


def test_nothing_that_is_held_is_lent_again(pool):
    holders = {
        "a tensor": lambda x: x,
        "a view": lambda x: x[3:5].T,
        "its storage": lambda x: x.untyped_storage(),
        "an array": lambda x: x.numpy()[:1],
        "a graph": lambda x: (torch.ones_like(x).requires_grad_() * x).sum(),
    }
    for name, hold in holders.items():
        x = pool.empty(BIG, torch.float64).fill_(1.0)
        place, held = x.data_ptr(), hold(x)
        del x
        y = pool.empty(BIG, torch.float64).fill_(2.0)
        assert y.data_ptr() != place, name
        del held
        assert pool.empty(BIG, torch.float64).data_ptr() == place, name


def test_results_are_ordinary_tensors(pool):
    for shape in (BIG, (3, 5), (0, 4), (SMALL,)):
        x = pool.zeros(shape, torch.float32)
        assert x.shape == shape
        assert x.is_contiguous()
        assert not x.any()
        assert x._base is None
    x = pool.zeros(BIG, torch.float64).requires_grad_()
    (x * x).sum().backward()
    assert x.grad is not None
    assert pool.empty(BIG, torch.float64).data_ptr() % 64 == 0


def test_autograd_adds_in_place_to_results(pool):
    """Two results that meet in the engine cost no third array: only a tensor alone with its storage is added to in place."""
    x = pool.empty(BIG, torch.float64)
    assert torch._C._storage_Use_Count(x.untyped_storage()._cdata) == torch._C._storage_Use_Count(
        torch.empty(BIG).untyped_storage()._cdata
    )


def test_the_limit_and_clear(pool):
    size = BIG[0] * BIG[1] * 8
    small = Pool(limit=size + size // 2)
    held = [small.empty(BIG, torch.float64) for _ in range(3)]
    held.clear()
    assert small.idle <= small.limit
    assert small.idle >= size
    small.clear()
    assert small.idle == 0


def test_many_threads(pool):
    wrong = []

    def work(number):
        for _ in range(200):
            x = pool.empty(BIG, torch.float64).fill_(number)
            y = x[::7].clone()
            wrong.append(bool((x[::7] != number).any() or (y != number).any()))

    threads = [threading.Thread(target=work, args=(float(n),)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not any(wrong)
