"""Models of e3nn 0.6 on our kernels: the same function to rounding, the same weights, reversible, and honest about the rest."""

import copy
import io
import warnings

import pytest
import torch
from torch import nn

from coset.errors import InputError
from coset.nn import foreign_choice as choice
from coset.nn.accelerate import accelerate, report_of, restore
from coset.nn.foreign_check import Report
from coset.nn.foreign_swap import swaps

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    pytest.importorskip("e3nn", reason="foreign models are built with e3nn (extra peers)")
    import e3nn.nn
    from e3nn import o3

IRREPS = "8x0e + 8x1o + 4x2e"


@pytest.fixture(autouse=True)
def _foreign_warnings():
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        yield


class Net(nn.Module):
    """Message passing as e3nn's examples write it: harmonics, product with weights per edge, linear, gate."""

    def __init__(self) -> None:
        super().__init__()
        self.harmonics = o3.SphericalHarmonics("0e + 1o + 2e", normalize=True, normalization="component")
        self.up = o3.Linear("8x0e", IRREPS)
        self.up_again = o3.Linear("8x0e", "8x0e", biases=True)
        middle, instructions = _paths(o3.Irreps("8x0e"), self.harmonics.irreps_out)
        self.product = o3.TensorProduct("8x0e", self.harmonics.irreps_out, middle, instructions, shared_weights=False)
        self.radial = nn.Sequential(nn.Linear(1, 16), nn.SiLU(), nn.Linear(16, self.product.weight_numel))
        self.gate = e3nn.nn.Gate("8x0e", [torch.tanh], "12x0e", [torch.sigmoid], "8x1o + 4x2e")
        self.down = o3.Linear(middle, self.gate.irreps_in)
        self.mix = o3.FullyConnectedTensorProduct(self.gate.irreps_out, "0e + 1o + 2e", "4x0e + 4x1e + 2x2e")
        self.species = o3.FullyConnectedTensorProduct("4x0e + 4x1e + 2x2e", "3x0e", "1x0e")

    def forward(self, pos, edge_index, z):
        vectors = pos[edge_index[1]] - pos[edge_index[0]]
        harmonics = self.harmonics(vectors)
        x = self.up_again(self.up(torch.ones(len(pos), 8).to(pos))[:, :8])
        weights = self.radial(vectors.norm(dim=-1, keepdim=True))
        messages = self.product(x[edge_index[0]], harmonics, weights)
        summed = torch.zeros(len(pos), messages.shape[1]).to(pos).index_add(0, edge_index[1], messages)
        sky = torch.zeros(len(pos), harmonics.shape[1]).to(pos).index_add(0, edge_index[1], harmonics)
        x = self.mix(self.gate(self.down(summed)), sky)
        return self.species(x, z).sum()


def _paths(first, second):
    out, instructions = [], []
    for i, (mul, a) in enumerate(first):
        for j, (_, b) in enumerate(second):
            for ir in a * b:
                out.append((mul, ir))
                instructions.append((i, j, len(out) - 1, "uvu", True))
    return o3.Irreps(out), instructions


def net(dtype=torch.float64):
    torch.manual_seed(0)
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        return Net()
    finally:
        torch.set_default_dtype(before)


def graph(dtype=torch.float64):
    generator = torch.Generator().manual_seed(1)
    pos = torch.randn(6, 3, generator=generator, dtype=torch.float64)
    edge_index = torch.tensor([[i, j] for i in range(6) for j in range(6) if i != j]).T
    z = torch.eye(3, dtype=torch.float64)[torch.arange(6) % 3]
    return pos.to(dtype), edge_index, z.to(dtype)


def forces(model, example):
    pos = example[0].clone().requires_grad_(True)
    energy = model(pos, *example[1:])
    return energy, torch.autograd.grad(energy, pos, create_graph=True)[0]


def test_the_same_energy_forces_and_gradients_of_a_force_loss():
    original, example = net(), graph()
    fast = accelerate(copy.deepcopy(original), example, report=None, rounds=1)
    assert len(swaps(fast)) == 7
    found = []
    for model in (original, fast):
        energy, force = forces(model, example)
        (force.square().sum() + energy).backward()
        found.append([energy, force, *(p.grad for p in model.parameters())])
    for mine, theirs in zip(found[1], found[0], strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-12)


def test_every_product_of_two_irreps_is_read_with_its_sign():
    irreps = o3.Irreps("2x0e + 2x0o + 2x1o + 2x2e")
    out, instructions = [], []
    for i, (mul, a) in enumerate(irreps):
        for j, (_, b) in enumerate(o3.Irreps("1e + 1o + 2e")):
            for ir in a * b:
                out.append((mul, ir))
                instructions.append((i, j, len(out) - 1, "uvu", True, 0.7))
    theirs = o3.TensorProduct(irreps, "1e + 1o + 2e", out, instructions).double()
    x, y = torch.randn(5, irreps.dim).double(), torch.randn(5, 11).double()
    expected = theirs(x, y)
    accelerate(theirs, report=None)
    torch.testing.assert_close(theirs(x, y), expected, rtol=1e-11, atol=1e-12)  # with e3nn's constants, which are float32 here


@pytest.mark.parametrize("weighted", [True, False])
def test_blocks_of_different_multiplicities_and_leading_axes(weighted):
    instructions = [(0, 0, 0, "uvu", weighted), (1, 0, 1, "uvu", weighted), (1, 1, 0, "uvu", weighted)]
    theirs = o3.TensorProduct("8x1o + 8x0e", "0e + 1o", "8x1o + 8x0e", instructions) if weighted else None
    wide = o3.TensorProduct("4x0e + 12x1o", "0e + 1o", "12x1o + 4x1o + 12x0e", [
        (1, 0, 0, "uvu", weighted), (0, 1, 1, "uvu", weighted), (1, 1, 2, "uvu", weighted)])  # fmt: skip
    for product in (theirs, wide):
        if product is None:
            continue
        x, y = torch.randn(2, 3, product.irreps_in1.dim), torch.randn(3, 4)
        expected = product(x, y)
        accelerate(product, report=None)
        torch.testing.assert_close(product(x, y), expected, rtol=1e-5, atol=1e-5)


def test_parameters_stay_the_same_objects_under_the_same_names():
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
    before, names = dict(model.named_parameters()), list(model.state_dict())
    accelerate(model, graph(), report=None, rounds=1)
    assert list(model.state_dict()) == names
    assert all(p is before[name] for name, p in model.named_parameters())
    energy, force = forces(model, graph())
    (force.square().sum() + energy).backward()
    optimizer.step()
    untouched = net()
    untouched.load_state_dict(model.state_dict())
    torch.testing.assert_close(forces(untouched, graph()), forces(model, graph()), rtol=1e-10, atol=1e-12)
    model.load_state_dict(net().state_dict())
    torch.testing.assert_close(forces(net(), graph()), forces(model, graph()), rtol=1e-10, atol=1e-12)


def test_restore_takes_everything_out_and_a_copy_stays_fast():
    model, example = net(), graph()
    accelerate(model, example, report=None, rounds=1)
    copied = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in copied.parameters():
            parameter.mul_(1.1)
    reference = restore(copy.deepcopy(copied))
    assert len(swaps(copied)) == len(swaps(model)) == 7
    assert not swaps(reference)
    torch.testing.assert_close(copied(*example), reference(*example), rtol=1e-10, atol=1e-12)
    restore(model)
    assert not swaps(model)
    torch.testing.assert_close(model(*example), net()(*example), rtol=0, atol=0)


def test_a_model_saved_whole_opens_as_the_original():
    model, example = net(), graph()
    accelerate(model, example, report=None, rounds=1)
    model.gate = nn.Identity()  # its tanh is a compiled function, which no pickle takes
    stream = io.BytesIO()
    torch.save(model.product, stream)
    assert b"coset" not in stream.getvalue()
    stream.seek(0)
    opened = torch.load(stream, weights_only=False)
    assert not swaps(opened)
    x, y, w = torch.randn(3, 8).double(), torch.randn(3, 9).double(), torch.randn(3, opened.weight_numel).double()
    torch.testing.assert_close(opened(x, y, w), model.product(x, y, w), rtol=1e-12, atol=1e-12)


def test_the_report_says_what_was_done_and_what_was_not():
    said: list[Report] = []
    model = accelerate(net(torch.float32), graph(torch.float32), report=said.append, rounds=1)
    assert report_of(model) is said[0]
    text = str(said[0])
    assert "SphericalHarmonics" in text
    assert "kept: gate" in text
    assert "speed-up" in text
    assert said[0].speedup > 0
    assert said[0].largest.deviation < 1e-4
    with pytest.raises(InputError, match="accelerated already"):
        accelerate(model, graph(torch.float32))


def test_unknown_connections_stay_and_are_named():
    model = nn.ModuleDict({
        "several": o3.TensorProduct("4x0e", "3x1o", "4x1o", [(0, 0, 0, "uvu", True)]),
        "elementwise": o3.TensorProduct("4x1o", "4x1o", "4x0e", [(0, 0, 0, "uuu", True)]),
        "known": o3.Linear("4x0e", "4x0e"),
    })  # fmt: skip
    report = []
    accelerate(model, report=report.append)
    kept = dict(report[0].kept)
    assert "several channels" in kept["several"]
    assert "only uvu and uvw" in kept["elementwise"]
    assert [path for path, _ in report[0].swapped] == ["known"]
    assert "the whole model was not run" in str(report[0])


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.Linear(2, 2), "no module of e3nn"),
        (o3.TensorProduct("4x1o", "4x1o", "4x0e", [(0, 0, 0, "uuu", True)]), "only uvu and uvw"),
        ("a model", "takes a torch.nn.Module"),
    ],
)
def test_what_cannot_be_accelerated_says_why(model, message):
    with pytest.raises(InputError, match=message):
        accelerate(model)


def test_compiled_models_are_refused():
    with pytest.raises(InputError, match="compile"):
        accelerate(torch.compile(net(), backend="eager"))


def test_a_deviation_leaves_the_model_as_it_was(monkeypatch):
    model, example = net(), graph()
    expected = model(*example)
    monkeypatch.setattr(choice.LinearSwap, "__call__", lambda self, x: 1.001 * type(self.module).forward(self.module, x))
    monkeypatch.setattr(choice, "compare_module", lambda *_: None)
    with pytest.raises(InputError, match="is not the original"):
        accelerate(model, example)
    assert not swaps(model)
    assert torch.equal(model(*example), expected)


def test_a_module_that_differs_from_its_class_is_kept():
    class Linear(o3.Linear):
        def forward(self, features):
            return 2 * super().forward(features)

    model = nn.ModuleDict({"odd": Linear("4x0e", "4x0e"), "even": o3.Linear("4x0e", "4x0e")})
    report = []
    accelerate(model, report=report.append)
    assert "deviates" in dict(report[0].kept)["odd"]


def test_an_error_of_the_example_leaves_the_model_as_it_was():
    model = net()
    with pytest.raises(TypeError):
        accelerate(model, (torch.ones(3),))
    assert not swaps(model)
