"""Peers carry out the same plan: their numbers, converted, are ours."""

import warnings

import pytest
import torch

from coset.ops.backends.adapters import cuequivariance, e3nn, openequivariance, sphericart
from coset.ops.index import Edges
from coset.ops.tensor_product import channelwise


def test_adapters_say_whether_they_are_there():
    for peer in (e3nn, cuequivariance, openequivariance, sphericart):
        reason = peer.available()
        assert reason is None or "installed" in reason or "GPU" in reason


@pytest.mark.parametrize(
    "peer", [("e3nn", {}), ("cuequivariance", {"layout": "ir_mul"}), ("cuequivariance", {"layout": "mul_ir"})]
)
def test_the_same_messages(peer, generator):
    name, options = peer
    module = {"e3nn": e3nn, "cuequivariance": cuequivariance}[name]
    if module.available() is not None:
        pytest.skip(module.available())
    tp = channelwise("4x0e+4x1o+4x2e", "0e+1o+2e", keep="0e+1o+2e")
    edges = Edges(torch.randint(0, 3, (2, 10), generator=generator), 3)
    shapes = (3, 9, 4), (10, 9), (10, len(tp.paths), 4)
    x, s, w = (torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        convolution = module.Convolution(tp, torch.float64, **options)
        found = convolution.output(convolution(*convolution.inputs(x, s, w), edges))
    torch.testing.assert_close(found, tp(x, s, w, edges), rtol=0, atol=1e-12)
