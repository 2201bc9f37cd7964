"""Position-orientation convolutions: the formula, permutations of nodes and of orientations, and a calibration made once."""

import json
import math
import os
import subprocess
import sys

import pytest
import torch

from coset.errors import InputError
from coset.nn.orientation_conv import CloudConv, ConvNeXt, KernelBasis, SeparableConv, monomials, spread
from coset.testing import Broken, check
from coset.train.ranks import environments

N, E, M, K, CHANNELS = 4, 7, 5, 3, 6


@pytest.fixture
def sample():
    g = torch.Generator().manual_seed(0)
    shapes = {"x": (N, M, CHANNELS), "spatial": (E, M, K), "angular": (M, M, K)}
    out = {name: torch.randn(shape, generator=g, dtype=torch.float64) for name, shape in shapes.items()}
    return {**out, "edge_index": torch.randint(N, (2, E), generator=g)}


def conv(kind=SeparableConv, *, train=False):
    torch.manual_seed(0)
    return kind(CHANNELS, K).double().train(train)


def cloud(sample):
    return {"x": sample["x"][:, 0], "basis": sample["spatial"][:, 0], "edge_index": sample["edge_index"]}


def test_monomials_are_each_there_once():
    x = torch.tensor([2.0, 3.0, 5.0])
    assert monomials(x, 1).tolist() == [2, 3, 5]
    assert sorted(monomials(x, 2).tolist()) == sorted([2, 3, 5, 4, 6, 10, 9, 15, 25])
    assert monomials(torch.randn(4, 2, 2), 3).shape == (4, 2, 9)
    assert len(set(monomials(x, 3).tolist())) == 19


def test_a_kernel_basis_is_made_of_monomials_of_its_degree():
    torch.manual_seed(0)
    net = KernelBasis(2, 8, 4, degree=2)
    assert net.net[0].in_features == 5
    assert net(torch.randn(3, 6, 2)).shape == (3, 6, 4)
    with pytest.raises(InputError, match="degree 0"):
        KernelBasis(2, 8, 4, degree=0)


def test_the_separable_convolution_is_its_formula(sample):
    layer = conv()
    torch.nn.init.normal_(layer.bias)
    x, (source, target) = sample["x"], sample["edge_index"]
    first, second = layer.over_positions(sample["spatial"]), layer.over_orientations(sample["angular"])
    y = torch.zeros_like(x)
    for e in range(E):
        y[target[e]] += first[e] * x[source[e]]
    z = torch.stack([sum(second[p, o] * y[:, o] for o in range(M)) / M for p in range(M)], 1)
    assert (layer(**sample) - z - layer.bias).abs().max() < 1e-12


def test_the_convolution_of_a_cloud_is_its_formula(sample):
    layer = conv(CloudConv)
    torch.nn.init.normal_(layer.bias)
    given = cloud(sample)
    want = layer.bias.repeat(N, 1)
    for e, (source, target) in enumerate(given["edge_index"].T.tolist()):
        want[target] = want[target] + layer.kernel(given["basis"][e]) * given["x"][source]
    assert (layer(**given) - want).abs().max() < 1e-12


def test_both_commute_with_permutations(sample):
    assert set(check(conv()).errors) == {'S("N")', 'S("M")'}
    assert max(check(conv(), sample).errors.values()) < 1e-12
    assert max(check(conv(CloudConv), cloud(sample)).errors.values()) < 1e-12


class Numbered(SeparableConv):
    """A twin that knows the orientations by number."""

    def forward(self, x, spatial, angular, edge_index):
        ramp = torch.linspace(1, 2, x.shape[1], dtype=x.dtype, device=x.device)
        return super().forward(x * ramp[:, None], spatial, angular, edge_index)


def test_orientations_known_by_number_are_caught(sample):
    with pytest.raises(Broken, match=r'S\("M"\)'):
        check(conv(Numbered), sample)


def test_the_first_pass_in_training_calibrates_both_kernels_and_no_other_does(sample):
    layer = conv()
    before = {name: value.clone() for name, value in layer.state_dict().items()}
    layer(**sample)
    assert not layer.calibrated
    assert all(torch.equal(value, before[name]) for name, value in layer.state_dict().items())

    y, z = (layer.train()(**sample) for _ in range(2))
    assert layer.calibrated
    assert torch.equal(y, z), "the pass that measures is computed with what it measured"
    x = sample["x"]
    middle = layer._gather(x, sample["spatial"], sample["edge_index"])
    assert math.isclose(spread(middle), spread(x), rel_tol=1e-9)
    assert math.isclose(spread(y), spread(x), rel_tol=1e-9)

    kept = {name: value.clone() for name, value in layer.state_dict().items()}
    layer(**{**sample, "x": 100 * x})
    assert all(torch.equal(value, kept[name]) for name, value in layer.state_dict().items())


def test_a_cloud_is_calibrated_too(sample):
    layer, given = conv(CloudConv, train=True), cloud(sample)
    assert math.isclose(spread(layer(**given)), spread(given["x"]), rel_tol=1e-9)
    assert layer.calibrated


def test_a_loaded_layer_is_not_calibrated_again(sample):
    first, second = conv(train=True), conv(train=True)
    first(**sample)
    second.load_state_dict(first.state_dict())
    weight = second.over_positions.weight.clone()
    second(**{**sample, "x": 7 * sample["x"]})
    assert torch.equal(second.over_positions.weight, weight)


def test_input_without_spread_leaves_kernels_alone(sample):
    layer = conv(train=True)
    weight = layer.over_positions.weight.clone()
    out = layer(**{**sample, "x": torch.zeros_like(sample["x"])})
    assert torch.equal(layer.over_positions.weight, weight)
    assert bool(torch.isfinite(out).all())


def test_calibration_enters_no_gradient(sample):
    layer = conv(train=True)
    given = {**sample, "x": sample["x"].requires_grad_()}
    (one,) = torch.autograd.grad(layer(**given).square().sum(), given["x"])
    (two,) = torch.autograd.grad(layer(**given).square().sum(), given["x"])
    assert torch.equal(one, two)


def test_the_block_is_a_residual_with_a_scale(sample):
    torch.manual_seed(0)
    block = ConvNeXt(conv(), CHANNELS, layer_scale=1e-3).double()
    plain = ConvNeXt(block.conv, CHANNELS).double()
    plain.mix = block.mix
    x = sample["x"]
    step = plain(*sample.values()) - x
    assert (block(*sample.values()) - x - 1e-3 * step).abs().max() < 1e-10
    assert block.scale.requires_grad
    assert plain.scale is None


SHARE = """
import json, torch, torch.distributed as dist
from coset.nn.orientation_conv import SeparableConv
dist.init_process_group("gloo")
rank, world = dist.get_rank(), dist.get_world_size()
g = torch.Generator().manual_seed(0)
x = torch.randn(7, 5, 3, generator=g, dtype=torch.float64)
spatial, angular = (torch.randn(n, 5, 2, generator=g, dtype=torch.float64) for n in (7, 5))
torch.manual_seed(0)
layer = SeparableConv(3, 2).double().train()
mine = slice(rank, None, world)
loops = torch.arange(len(x[mine])).expand(2, -1)
layer(x[mine], spatial[mine], angular, loops)
print(json.dumps([layer.over_positions.weight.tolist(), layer.over_orientations.weight.tolist()]))
dist.destroy_process_group()
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="gloo over tcp")
def test_two_processes_calibrate_like_one():
    command = [sys.executable, "-c", SHARE]
    started = [
        subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1", **variables}, stdout=subprocess.PIPE)
        for world in (1, 2)
        for variables in environments(world)
    ]
    outputs = [process.communicate(timeout=120)[0] for process in started]
    assert all(process.returncode == 0 for process in started)
    alone, first, second = (json.loads(output) for output in outputs)
    assert first == second
    for a, b in zip(alone, first, strict=True):
        assert (torch.tensor(a) - torch.tensor(b)).abs().max() < 1e-12
