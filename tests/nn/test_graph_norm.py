"""GraphNorm: zero mean and unit deviation per graph, by learned shares, and exactly equivariant."""

import pytest
import torch

from coset.errors import InputError
from coset.nn.graph_norm import GraphNorm
from coset.testing import Broken, check

BATCH = torch.tensor([0, 0, 1, 0, 1, 1, 3])


@pytest.fixture
def x(generator):
    return torch.randn(7, 4, generator=generator, dtype=torch.float64)


def test_each_graph_is_centred_and_scaled(x):
    y = GraphNorm(4, eps=0.0).double()(x[:6], BATCH[:6])
    for graph in (0, 1):
        own = y[BATCH[:6] == graph]
        assert own.mean(0).abs().max() < 1e-14
        assert (own.square().mean(0) - 1).abs().max() < 1e-12


def test_the_formula_with_learned_shares(x):
    layer = GraphNorm(4).double()
    for p in layer.parameters():
        torch.nn.init.normal_(p, generator=torch.Generator().manual_seed(1))
    y = layer(x, BATCH)
    for i, graph in enumerate(BATCH.tolist()):
        own = x[graph == BATCH]
        centered = own - layer.share * own.mean(0)
        expected = layer.scale * (x[i] - layer.share * own.mean(0)) / torch.sqrt((centered**2).mean(0) + 1e-5) + layer.shift
        assert torch.allclose(y[i], expected, rtol=0, atol=1e-13)


def test_promise_and_twin(x):
    layer = GraphNorm(4).double()
    torch.nn.init.normal_(layer.share)
    assert max(check(layer, {"x": x, "batch": BATCH}).errors.values()) < 1e-13

    class Global(GraphNorm):
        def forward(self, x, batch):
            return super().forward(x, torch.zeros_like(batch))

    with pytest.raises(Broken, match="see each other"):
        check(Global(4))


def test_bad_shapes_are_refused(x):
    with pytest.raises(InputError, match="at least 1"):
        GraphNorm(0)
    with pytest.raises(InputError, match=r"expected x \(N, 3\)"):
        GraphNorm(3)(x.float(), BATCH)
    with pytest.raises(InputError, match="batch"):
        GraphNorm(4).double()(x, BATCH[:3])
