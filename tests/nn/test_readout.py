"""A readout is w silu(W x), of order one for inputs of order one."""

import torch
from torch.nn import functional as F

from coset.nn.readout import ScalarReadout

F64 = torch.float64


def test_it_is_a_network_with_one_hidden_layer(generator):
    torch.manual_seed(0)
    readout = ScalarReadout(3, 4).double()
    x = torch.randn(7, 3, generator=generator, dtype=F64)
    first = torch.stack([readout.first(row) for row in torch.eye(3, dtype=F64)])  # the matrices, column by column
    last = torch.cat([readout.last(row) for row in torch.eye(4, dtype=F64)])
    expected = readout.gain * F.silu(x @ first) @ last
    assert torch.allclose(readout(x).squeeze(-1), expected, atol=1e-14, rtol=0)
    assert readout(x).shape == (7, 1)


def test_zero_gives_zero_and_normal_inputs_order_one(generator):
    x = torch.randn(100, 32, generator=generator)
    with torch.no_grad():
        torch.manual_seed(0)
        found = torch.stack([ScalarReadout(32, 16)(x) for _ in range(60)])
    assert abs(float(found.square().mean()) - 1) < 0.2
    assert not ScalarReadout(3)(torch.zeros(2, 3)).any()
