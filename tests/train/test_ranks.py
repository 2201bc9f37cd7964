import os
import socket

import pytest
import torch
import torch.distributed as dist
from torch import nn

from coset.errors import InputError
from coset.train.ranks import GlobalBatchNorm, environments, external, gathered, launched, of_first, total


def test_one_process_is_the_first_whatever_the_surroundings(monkeypatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert launched(1) == (0, 1)
    assert launched(2) == (1, 2)
    assert external() == 1
    with pytest.raises(InputError, match="--devices 3"):
        launched(3)


def test_every_process_is_told_its_place():
    found = environments(3)
    assert [e["RANK"] for e in found] == ["0", "1", "2"]
    assert {e["WORLD_SIZE"] for e in found} == {"3"}
    assert len({e["MASTER_PORT"] for e in found}) == 1


@pytest.fixture
def lone_group(monkeypatch):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.parametrize(
    ("norm", "shape"), [(nn.BatchNorm1d, (9, 3)), (nn.BatchNorm2d, (4, 3, 5, 2)), (nn.BatchNorm1d, (4, 3, 7))]
)
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.skipif(os.name == "nt", reason="gloo over tcp")
def test_global_batch_norm_of_one_process_is_batch_norm(lone_group, generator, norm, shape, affine):
    """Values, running statistics, first and second derivatives; shares of a batch are compared in benchmarks/accept/ddp.py."""
    x = torch.randn(shape, generator=generator, dtype=torch.float64)
    weight = torch.randn(shape, generator=generator, dtype=torch.float64)
    found = []
    for context in (torch.enable_grad(), GlobalBatchNorm()):
        layer = norm(3, affine=affine).double()
        given = x.clone().requires_grad_()
        with context:
            y = layer(given)
            (first,) = torch.autograd.grad((y * weight).sin().sum(), given, create_graph=True)
            (second,) = torch.autograd.grad(first.square().sum(), given)
        found.append((y, first, second, layer.running_mean, layer.running_var))
    assert found[0][2].abs().max() > 1e-3
    for plain, ours in zip(*found, strict=True):
        assert torch.allclose(plain, ours, rtol=1e-10, atol=1e-12)


def test_a_lone_process_agrees_with_itself(lone_group):
    """Of two processes: tests/train/test_shares.py."""
    assert total([1.5, 2.0]) == of_first([1.5, 2.0]) == [1.5, 2.0]
    assert gathered({"a": torch.ones(2)})[0]["a"].tolist() == [1.0, 1.0]


def test_without_a_group_there_is_one_to_ask():
    assert gathered("mine") == ["mine"]
