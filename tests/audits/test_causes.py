"""The cause finder names what was planted, says nothing of models that are right, and leaves no trace in either."""

import importlib.util
import json
import sys
import time
from pathlib import Path

import pytest
import torch
from torch import nn

from coset.audits.causes import SUSPECTS, Cause, explain, find_causes
from coset.audits.causes_graph import CAP, builders
from coset.audits.causes_grid import PADDING
from coset.audits.causes_modes import Wide, circular
from coset.audits.causes_state import CAST
from coset.audits.causes_trial import Setting, modules_within
from coset.audits.causes_weights import BIAS
from coset.audits.equivariance import audit
from coset.audits.verdict import Audit
from coset.cli.app import run
from coset.contract import Contract
from coset.groups.finite import C
from coset.groups.matrix import SO
from coset.groups.torus import Torus

HEAVY = ("cast inside a potential", "cell of a potential not rotated")


def load():
    path = Path(__file__).parents[2] / "benchmarks" / "accept" / "causes.py"
    spec = importlib.util.spec_from_file_location("accept_causes", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["accept_causes"] = module
    spec.loader.exec_module(module)
    return module


zoo = load()


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * (n in HEAVY)) for n in zoo.PLANTED])
def test_what_was_planted_is_named(name):
    case = zoo.PLANTED[name]
    torch.manual_seed(0)
    f, x = case.make(), case.sample()
    found = find_causes(f, x, case.contract, seconds=60.0)
    assert " + ".join(sorted(cause.name for cause in found)) == case.cause
    assert audit(f, x, case.contract, samples=6, layers=False).verdict == "FAIL"
    for cause in found:
        assert cause.before > 1e-10
        assert not cause.after > max(1e-10, 1e-3 * cause.before)  # or NaN, where it cannot be taken out
        assert "{" not in cause.sentence
        assert f"{cause.before:.1e}" in cause.sentence
        assert cause.fix


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (n in ("MACE", "NequIP", "deep sets"))) for n in zoo.CORRECT]
)
def test_a_model_that_is_right_is_accused_of_nothing(name):
    case = zoo.CORRECT[name]()
    torch.manual_seed(0)
    f, x = case.make(), case.sample()
    found = audit(f, x, case.contract, samples=6, layers=False, causes=10.0)
    assert found.verdict == "PASS"
    assert found.causes is None
    assert find_causes(f, x, case.contract) == []


@pytest.mark.parametrize("name", list(zoo.UNKNOWN))
def test_where_nothing_fits_nothing_is_named(name):
    case = zoo.UNKNOWN[name]
    torch.manual_seed(0)
    found = audit(case.make(), case.sample(), case.contract, samples=6, causes=60.0)
    assert found.verdict == "FAIL"
    assert found.causes == []
    ((head, words),) = found.why()
    assert (head, words[:10]) == ("cause", "none found")
    assert (f"it begins in layer {found.offender}," in words) == bool(found.offender)


def test_the_audit_tells_the_cause_and_keeps_it(tmp_path):
    case = zoo.PLANTED["zero padding, image to image"]
    torch.manual_seed(0)
    found = audit(case.make(), case.sample(), case.contract, samples=6, causes=60.0)
    (cause,) = found.causes
    assert cause["name"] == PADDING
    assert cause["evidence"]["share at the border"] > 0.8
    assert f"cause: likely padding, because {cause['sentence']}" in str(found)
    assert f"try: {cause['fix']}" in str(found)
    assert json.loads(json.dumps(found.to_json()))["causes"][0]["words"].startswith("padding, because zeros")
    assert Audit.load(found.save(tmp_path / "audit.npz")).causes == found.causes


def test_nobody_looks_unless_asked():
    case = zoo.PLANTED["tanh of vectors"]
    found = audit(case.make(), case.sample(), case.contract, samples=6)
    assert found.causes is None
    assert found.why() == []


@pytest.mark.parametrize("name", ["tanh of vectors", "learned embedding of pixels", "cast inside a layer", "stored direction"])
def test_the_model_is_left_as_it_was(name):
    case = zoo.PLANTED[name]
    torch.manual_seed(0)
    f = case.make().double().train()
    for p in f.parameters():
        p.grad = torch.ones_like(p)
    kept = {key: value.clone() for key, value in f.state_dict().items()}
    random = torch.get_rng_state()
    assert find_causes(f, case.sample(), case.contract)
    assert all(torch.equal(value, kept[key]) for key, value in f.state_dict().items())
    assert all(module.training and not module._forward_hooks and not module._forward_pre_hooks for module in f.modules())
    assert all(p.requires_grad and bool((p.grad == 1).all()) for p in f.parameters())
    assert torch.get_default_dtype() is torch.float32
    assert torch.equal(torch.get_rng_state(), random)


def test_a_module_inside_a_function_is_put_back():
    case = zoo.PLANTED["batch norm in training mode"]
    torch.manual_seed(0)
    f = case.make()
    (net,) = modules_within(f)
    kept = {key: value.clone() for key, value in net.state_dict().items()}
    net.up.eval()
    assert [cause.name for cause in find_causes(f, case.sample(), case.contract)] == [zoo.TRAINING]
    assert all(torch.equal(value, kept[key]) for key, value in net.state_dict().items())
    assert net.training
    assert not net.up.training
    assert not any(module._forward_hooks for module in net.modules())


def test_a_suspect_without_whom_nothing_is_left_is_not_convicted(generator):
    class Leaning(nn.Module):
        def __init__(self):
            super().__init__()
            self.bias = nn.Parameter(torch.randn(3))

        def forward(self, v):
            return self.bias * v.norm(dim=-1, keepdim=True)

    v = torch.randn(6, 3, generator=generator, dtype=torch.float64)
    assert find_causes(Leaning(), v, zoo.ROTATIONS) == []


def test_what_stands_still_without_a_suspect_does_not_convict_it(generator):
    """At zero the vector is gone, and its error with it; the number that is left varies, and proves nothing."""

    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.bias = nn.Parameter(torch.ones(1, dtype=torch.float64))

        def forward(self, v):
            return {"size": v.norm(dim=-1), "u": self.bias * v.abs().sqrt()}

    contract = Contract(SO(3), {"v": "N x vector"}, {"size": "N x scalar", "u": "N x vector"})
    v = {"v": torch.randn(6, 3, generator=generator, dtype=torch.float64)}
    assert BIAS not in [cause.name for cause in find_causes(Scaled(), v, contract, seconds=60.0)]


def test_a_constant_on_invariants_is_not_accused(generator):
    """Nodes begin with learned numbers, as all embeddings do; what breaks here is a matrix near the identity."""

    class Start(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(1, dtype=torch.float64))

        def forward(self, v):
            return self.weight * v.new_ones(len(v), 1)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.start = Start()

        def forward(self, v):
            return v + self.start(v) * v * v.new_tensor([1.0, 1.0, 1.001])

    v = torch.randn(6, 3, generator=generator, dtype=torch.float64)
    assert BIAS not in [
        cause.name for cause in find_causes(Net(), v, Contract(SO(3), "N x vector", "N x vector"), seconds=60.0)
    ]


def test_constants_in_the_default_dtype_are_a_cast(generator):
    class Even(nn.Module):
        def forward(self, v):
            axes = torch.arange(1.0, 4.0)
            return v * (axes.sqrt() ** 2 / axes)

    v = torch.randn(6, 3, generator=generator, dtype=torch.float64)
    (cause,) = find_causes(Even(), v, Contract(SO(3), "N x vector", "N x vector"), seconds=60.0)
    assert cause.name == CAST
    assert "default dtype" in cause.sentence


def test_a_model_made_in_float32_is_said_to_be(generator):
    net = nn.Linear(3, 3, bias=False)
    net.weight.data = torch.eye(3) + 5e-9 * torch.arange(9.0).view(3, 3)
    v = torch.randn(6, 3, generator=generator, dtype=torch.float64)
    contract = Contract(SO(3), "N x vector", "N x vector")
    told = audit(net, v, contract, causes=5.0)
    assert told.verdict == "FAIL"
    assert told.causes == []
    assert any("made in float32" in note for note in told.notes)
    assert not any("made in" in note for note in audit(net.double(), v, contract, causes=5.0).notes)


def test_the_search_ends_in_time():
    class Slow(nn.Module):
        def forward(self, v):
            time.sleep(0.02)
            return torch.sort(v, 0).values * torch.tensor([1.0, 2.0, 3.0], dtype=v.dtype)

    start = time.monotonic()
    assert find_causes(Slow(), zoo.cloud(), zoo.ROTATIONS, seconds=0.3) == []
    assert time.monotonic() - start < 5
    assert explain(Slow(), zoo.cloud(), [zoo.ROTATIONS], seconds=0.0) == []
    found = audit(Slow(), zoo.cloud(), zoo.ROTATIONS, samples=3, layers=False, causes=0.1)
    assert found.causes == []
    assert any("stopped after 0.1 s" in note for note in found.notes)


def test_a_model_that_refuses_changes_is_no_obstacle(generator):
    class Strict(nn.Module):
        def __init__(self):
            super().__init__()
            self.calls, self.weight = 0, nn.Parameter(torch.randn(3, 3))

        def forward(self, v):
            if v.shape != (5, 3) or bool((v == 0).all()):
                raise ValueError("five points, please")
            return v @ self.weight

        def __deepcopy__(self, memo):
            raise TypeError("one of a kind")

    v = torch.randn(5, 3, generator=generator, dtype=torch.float64)
    f = Strict().double()
    kept = f.weight.detach().clone()
    assert find_causes(f, v, zoo.ROTATIONS) == []
    assert torch.equal(f.weight, kept)


def test_claims_that_are_no_promises_are_not_looked_into():
    case = zoo.PLANTED["tanh of vectors"]
    f, x = case.make(), case.sample()
    inputs, outputs = case.contract.inputs, case.contract.outputs
    assert find_causes(f, x, Contract(SO(3), inputs, outputs, "broken")) == []
    assert find_causes(f, x, Contract(SO(3), inputs, outputs, where=lambda v: torch.ones(len(v), dtype=torch.bool))) == []


def test_lists_of_samples_and_products_are_searched():
    case = zoo.PLANTED["tanh of vectors"]
    torch.manual_seed(0)
    f = case.make()
    both = Contract(SO(3) * C(1), case.contract.inputs, case.contract.outputs)
    assert [cause.name for cause in find_causes(f, [case.sample(), 2 * case.sample()], both)] == [case.cause]


def test_a_cause_is_plain_data():
    cause = Cause("padding", "of zeros", "wrap", "conv", 0.1, 1e-16, {"share": 0.5})
    told = cause.to_dict()
    assert told["words"] == "padding, because of zeros. Try: wrap"
    assert json.loads(json.dumps(told)) == told
    assert len(SUSPECTS) == 12


# ---------------------------------------------------------------------------------------------------- instruments


def test_wide_keeps_float64_and_counts_casts(generator):
    x = torch.randn(4, generator=generator, dtype=torch.float64)
    casts = []
    with Wide(casts, lambda: "here"):
        y = (x.float() + torch.ones(4)).half().double()
        out = torch.zeros(4).index_add_(0, torch.arange(4), x.float())
    assert torch.equal(y, x + 1)
    assert torch.equal(out, x)
    assert casts == ["here"] * 3
    assert torch.get_default_dtype() is torch.float32


@pytest.mark.parametrize("padding", [1, "same", (2, 1)])
def test_circular_is_the_convolution_of_that_name(padding, generator):
    x = torch.randn(2, 3, 6, 7, generator=generator, dtype=torch.float64)
    zeros = nn.Conv2d(3, 4, 3, padding=padding).double()
    wraps = nn.Conv2d(3, 4, 3, padding=padding, padding_mode="circular").double()
    wraps.load_state_dict(zeros.state_dict())
    with circular():
        assert torch.allclose(zeros(x), wraps(x), rtol=1e-12)
    assert not torch.allclose(zeros(x), wraps(x), rtol=1e-3)


def test_circular_pads_and_pools(generator):
    x = torch.randn(1, 1, 4, 4, generator=generator, dtype=torch.float64)
    rolled = x.roll((1, 2), (-2, -1))
    for f in (nn.MaxPool2d(3, 1, 1), nn.AvgPool2d(3, 1, 1), lambda v: nn.functional.pad(v, (1, 1, 1, 1))[..., 1:-1, 1:-1]):
        with circular():
            assert torch.allclose(f(rolled), f(x).roll((1, 2), (-2, -1)), rtol=1e-12)
    with circular():
        assert torch.equal(nn.functional.pad(x, (1, 0))[..., 0], x[..., -1])


def test_the_graph_builder_is_audited_as_a_layer():
    case = zoo.PLANTED["neighbor cap by index"]
    contract = case.contract.bind({"": case.sample()})
    g = contract.group.sample(1, generator=torch.Generator().manual_seed(1))
    setting = Setting(zoo.Neighbors(4).double(), contract, {"": case.sample()}, g)
    last = list(builders(setting))[-1]
    assert last.degree == 4
    assert last.full > 0.5
    assert last.missed > 0
    assert last.differ > 0.1
    whole = Setting(zoo.Neighbors(13).double(), contract, {"": case.sample()}, g)
    assert not any(built.missed and built.degree < 13 for built in builders(whole))
    assert CAP == "neighbor cap"


# ---------------------------------------------------------------------------------------------------- the command


def test_the_command_prints_the_cause(tmp_path, monkeypatch, capsys):
    import numpy as np

    monkeypatch.chdir(tmp_path)
    (tmp_path / "nets.py").write_text(
        "import torch\nfrom torch import nn\ntorch.manual_seed(0)\n"
        "net = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())\n"
    )
    np.save("images.npy", np.random.default_rng(0).normal(size=(4, 1, 8, 8)))
    words = ["audit", "nets.py:net", "--group", "Torus(8, 8)", "--in", "B x 1 x periodic_image", "--out-rep", "B x 4 x scalar"]
    assert run([*words, "--data", "images.npy", "--samples", "6"]) == 1
    told = capsys.readouterr().out
    assert "cause    likely padding, because zeros at the border" in told
    assert "try      padding_mode='circular'" in told
    assert run([*words, "--data", "images.npy", "--samples", "6", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["causes"][0]["name"] == PADDING
    assert Torus(8, 8).order == 64
