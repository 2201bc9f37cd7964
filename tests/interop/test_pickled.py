"""A trusted pickle answers from a process of its own, with the numbers of the thing inside."""

import pickle

import pytest
import torch
from torch import nn

from coset.errors import InputError
from coset.interop.target import load_target


@pytest.fixture
def saved(tmp_path):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 3), nn.Tanh())
    torch.save(net, tmp_path / "net.pt")
    return net, tmp_path / "net.pt"


def test_the_same_numbers_across_the_pipe(saved, generator):
    net, path = saved
    x = torch.randn(5, 4, generator=generator)
    f = load_target(str(path), trust_pickle=True)
    assert torch.equal(f(x), net(x).detach())
    assert torch.equal(f(x[:1]), net(x[:1]).detach())
    f.close()
    assert f.process.returncode == 0


def test_an_error_inside_is_told(saved):
    f = load_target(str(saved[1]), trust_pickle=True)
    with pytest.raises(InputError, match="mat1 and mat2"):
        f(torch.zeros(5, 9))
    f.close()


def test_what_is_no_model_is_told(tmp_path):
    path = tmp_path / "list.pkl"
    path.write_bytes(pickle.dumps([1, 2, 3]))
    with pytest.raises(InputError, match="is a list, which cannot be called"):
        load_target(str(path), trust_pickle=True)
