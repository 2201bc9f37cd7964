"""SiLU on the sphere: scalars act by themselves, linear functions are exact, turns about the edge nearly so."""

import torch
from torch.nn import functional as F

from coset.nn.separable_s2 import FrameSeparable, separable
from coset.nn.so2 import frame_irreps
from coset.ops.orders import Orders
from coset.ops.s2grid import S2Grid
from coset.testing import check

F64 = torch.float64


def test_a_linear_function_changes_all_degrees_alike(generator):
    x, s = torch.randn(3, 9, 2, generator=generator, dtype=F64), torch.randn(3, 2, generator=generator, dtype=F64)
    y = separable(S2Grid(2), 2, x, s, lambda value: 2 * value)
    assert torch.allclose(y[:, 1:], 2 * x[:, 1:], atol=1e-12)
    assert torch.allclose(y[:, 0], 2 * s)


def test_values_on_the_sphere_pass_the_function(generator):
    """On a fine grid the coefficients are integrals of SiLU of the signal."""
    x, s = torch.randn(4, 9, 2, generator=generator, dtype=F64), torch.zeros(4, 2, dtype=F64)
    fine = S2Grid(2, degree=60)
    y = separable(fine, 2, x, s)
    want = 3 * fine.from_grid(F.silu(fine.to_grid(x) / 3), 2)
    assert torch.allclose(y[:, 1:], want[:, 1:], atol=1e-12)
    assert y[:, 0].abs().max() == 0


def test_in_frames_it_is_nearly_equivariant_about_the_edge(generator):
    layer = FrameSeparable(Orders(3, 2), 2)
    assert frame_irreps(layer.orders, 2).dim == layer.contracts[0].inputs.of("z").kind.dim
    sample = layer.contracts[0].inputs.example({"E": 20}, generator=generator)
    assert 1e-6 < max(check(layer, sample).errors.values()) < 0.05
    assert torch.allclose(layer(**sample)[:, :2], F.silu(sample["scalars"]))
