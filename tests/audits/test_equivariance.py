"""Audits: numbers mean what they say, verdicts follow, bad input is named, broken twins are caught."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from coset.audits.equivariance import audit, equivariance_error, measure
from coset.audits.precision import tolerance
from coset.audits.verdict import APPROXIMATE, FAIL, PASS, Audit, judge
from coset.contract import Contract, attach
from coset.errors import ContractError, InputError
from coset.groups.finite import C, D
from coset.groups.matrix import SO, O
from coset.groups.permutation import S
from coset.reps.fields import Field
from coset.reps.image import Image

KEYS = ["schema", "group", "contract", "per_element", "layers", "floor", "verdict", "error", "interval", "tolerance", "dtype",
        "samples", "seed", "causes"]  # fmt: skip


@pytest.fixture
def cloud(generator):
    return torch.randn(6, 5, 3, generator=generator, dtype=torch.float64)


def lengths(x):
    return x.square().sum(-1)


def tilted(x):
    """A broken twin of ``lengths``: one component counts more."""
    return x.square().sum(-1) + 0.3 * x[..., 2]


def test_an_invariant_passes_and_its_broken_twin_fails(cloud):
    contract = Contract(O(3), "B x N x vector", "B x N x scalar")
    good, bad = audit(lengths, cloud, contract), audit(tilted, cloud, contract)
    assert good.verdict == PASS
    assert good.error <= tolerance("float64")
    assert bad.verdict == FAIL
    assert bad.interval[0] <= bad.error <= bad.interval[1]
    assert bad.interval[0] > 1e-2


def test_the_error_is_the_mean_relative_residual_over_samples_and_elements(cloud):
    contract = Contract(D(4), "B x N x vector", "B x N x scalar")
    x = cloud[..., :2]

    def f(y):
        return y[..., 0]

    found = measure(f, contract, x, samples=8)
    want = []
    for i in range(1, 8):
        gap, y = contract.compare(f, x, D(4).elements()[i])
        want.append((gap[""].norm(dim=1) / y[""].norm(dim=1)).mean())
    assert equivariance_error(f, contract, x, samples=8) == pytest.approx(float(torch.stack(want).mean()), rel=1e-12)
    assert found.errors.shape == (8, 6)
    assert np.allclose(found.errors[0], 0)  # the identity does not enter the mean
    assert not found.counted[0]


def test_json_has_exactly_the_promised_keys(cloud):
    told = audit(tilted, cloud, Contract(SO(3), "B x N x vector", "B x N x scalar"), samples=5, seed=3).to_json()
    assert list(told) == KEYS
    assert told["samples"] == 5
    assert told["seed"] == 3
    assert set(told["per_element"][0]) == {"element", "error"}
    assert len(told["interval"]) == 2
    json.dumps(told, allow_nan=False)


def test_a_finding_comes_back_from_disk(cloud, tmp_path):
    found = audit(tilted, cloud, Contract(SO(3), "B x N x vector", "B x N x scalar"), samples=4)
    again = Audit.load(found.save(tmp_path / "audit.npz"))
    assert again.to_json() == found.to_json()
    assert str(again) == str(found)


def test_a_product_is_audited_factor_by_factor(cloud):
    contract = Contract(O(3) * S("N"), "B x N x vector", "B x N x scalar")
    found = audit(lambda x: lengths(x) * torch.arange(5), cloud, contract, samples=6)
    assert [part["verdict"] for part in found.parts] == [PASS, FAIL]
    assert found.verdict == FAIL
    assert found.worst.startswith('S("N")')


def test_orbits_are_folded_into_few_passes_and_give_the_same_errors(cloud):
    calls = []

    def f(x):
        calls.append(len(x))
        return tilted(x)

    contract = Contract(SO(3), "B x N x vector", "B x N x scalar")
    folded = measure(f, contract, cloud, samples=40)
    assert len(calls) < 15
    assert max(calls) == 240
    single = measure(f, contract, cloud, samples=40, batch=1)
    assert np.allclose(folded.errors, single.errors, rtol=1e-9)


def test_a_model_that_mixes_members_is_seen_one_element_at_a_time(cloud):
    contract = Contract(SO(3), "N x vector", "N x vector")
    found = audit(lambda x: x - x.mean(0), cloud[0], contract)
    assert found.verdict == PASS
    assert any("mixes the members" in note for note in found.notes)


def test_long_samples_are_split_where_members_are_independent(cloud):
    seen = []

    def f(x):
        seen.append(len(x))
        return lengths(x)

    x = cloud.repeat(40, 1, 1)
    measure(f, Contract(SO(3), "B x N x vector", "B x N x scalar"), x, samples=3, batch=50)
    assert max(seen[6:]) <= 50


def test_pointers_give_errors_per_graph(generator):
    x = {"pos": torch.randn(7, 3, generator=generator).double(), "batch": torch.tensor([0, 0, 0, 1, 1, 2, 2])}

    def f(pos, batch):
        return torch.zeros(3, dtype=pos.dtype).index_add(0, batch, pos[:, 0] * (batch == 1))

    contract = Contract(SO(3), {"pos": "N x vector", "batch": "N -> B"}, "B x scalar")
    found = measure(f, contract, x, samples=4)
    assert found.errors.shape == (4, 3)
    assert (found.errors[1:, 1] > 0.01).all()
    assert (found.errors[:, [0, 2]] == 0).all()


def test_a_list_of_samples_of_different_sizes(generator):
    samples = [torch.randn(n, 3, generator=generator).double() for n in (3, 4, 6)]
    found = audit(lambda x: x.sum(0), samples, Contract(O(3) * S("N"), {"": "N x vector"}, "vector"), samples=5)
    assert found.verdict == PASS


def test_a_constant_is_trivial_and_does_not_pass(cloud):
    contract = Contract(SO(3), "B x N x vector", "B x scalar")
    for f in (lambda x: x.new_zeros(len(x)), lambda x: x.new_ones(len(x))):
        found = audit(f, cloud, contract)
        assert found.trivial
        assert found.error == 0
        assert found.verdict == FAIL
        assert "trivial" in found.notes[0]


def test_random_models_are_coupled(cloud):
    def f(x):
        return lengths(x) + torch.rand(len(x), 1)

    found = audit(f, cloud, Contract(SO(3), "B x N x vector", "B x N x scalar"), samples=4)
    assert found.stochastic
    assert found.verdict == PASS
    assert any("share a seed" in note for note in found.notes)


def test_noise_outside_torch_is_said(cloud):
    draws = np.random.default_rng(0)
    found = audit(lambda x: lengths(x) + draws.random(), cloud, Contract(SO(3), "B x N x vector", "B x N x scalar"), samples=4)
    assert any("outside torch" in note for note in found.notes)
    assert found.verdict == FAIL


def test_rounding_is_told_from_a_broken_symmetry(cloud):
    contract = Contract(SO(3), "B x N x vector", "B x N x scalar")
    exact = audit(lengths, cloud, contract, dtype=("float32", "float64"), samples=6)
    broken = audit(tilted, cloud, contract, dtype=("float32", "float64"), samples=6)
    assert set(exact.by_dtype) == {"float32", "float64"}
    assert exact.by_dtype["float32"] > 1e3 * exact.by_dtype["float64"]
    assert any(note.endswith("rounding") for note in exact.notes)
    assert any("not rounding" in note for note in broken.notes)
    assert exact.dtype == "float64"


def test_a_cast_inside_shows_when_dtypes_are_compared(cloud):
    """ml-peg#786: positions cast to float32 while float64 was asked for."""
    found = audit(lambda x: lengths(x.float()).to(x), cloud, Contract(SO(3), "B x N x vector", "B x N x scalar"), samples=6)
    assert found.verdict == FAIL
    assert 1e-9 < found.error < 1e-5


def test_interpolation_is_told_from_a_broken_symmetry(generator):
    x = torch.rand(8, 1, 16, 16, generator=generator, dtype=torch.float64)
    x = nn.functional.avg_pool2d(x, 5, 1, 2)
    smooth = audit(lambda y: y.sum((-1, -2)), x, Contract(C(8), "image", "... x scalar"))
    assert smooth.verdict == APPROXIMATE
    assert 0 < smooth.error < smooth.floor
    exact = audit(lambda y: y.sum((-1, -2)), x, Contract(C(4), "image", "... x scalar"))
    assert exact.verdict == PASS
    assert exact.floor == 0
    upright = audit(lambda y: y[..., 0], x, Contract(C(8), "image", "... x scalar"))
    assert upright.verdict == FAIL


def test_verdicts():
    errors, floors = np.array([0.1, 0.1]), np.array([0.2, 0.2])
    assert judge(np.array([1e-12]), np.zeros(1), (0, 1), 1e-10, None) == PASS
    assert judge(np.array([0.1]), np.zeros(1), (0.1, 0.1), 1e-10, 0.2) == APPROXIMATE
    assert judge(np.array([0.1]), np.zeros(1), (0.1, 0.1), 1e-10, None) == FAIL
    assert judge(errors, floors, (0.05, 0.2), 1e-10, None) == APPROXIMATE
    # elements that keep the grid have no floor to hide behind
    assert judge(errors, np.array([0.4, 0.0]), (0.05, 0.2), 1e-10, None) == FAIL
    assert judge(np.array([np.nan]), np.zeros(1), (np.nan, np.nan), 1e-10, None) == FAIL


def test_where_leaves_out_and_counts(cloud):
    far = lengths(cloud)[:, 0].median()
    contract = Contract(SO(3), "B x N x vector", "B x N x scalar", where=lambda x: lengths(x)[:, 0] > far)

    def f(x):
        return torch.where(lengths(x)[:, :1] > far, lengths(x), tilted(x))

    found = audit(f, cloud, contract, samples=6)
    left_out = int((lengths(cloud)[:, 0] <= far).sum())
    assert found.verdict == PASS
    assert any(note.startswith(f"{left_out} of 6 samples") for note in found.notes)
    assert len(found.sample_errors) == 6 - left_out


def test_generators_say_which_direction_breaks(cloud):
    found = audit(tilted, cloud, Contract(SO(3), "B x N x vector", "B x N x scalar"), samples=4)
    errors = {row["element"]: row["error"] for row in found.generators}
    about_z = [error for name, error in errors.items() if "(0, 0, 1)" in name]
    assert about_z
    assert about_z[0] < 1e-12
    assert sum(error > 1e-3 for name, error in errors.items() if name.startswith("direction")) == 2


def test_modules_are_audited_in_the_dtype_asked_for_and_left_as_they_were(cloud):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5))
    before = {k: v.clone() for k, v in model.state_dict().items()}
    found = audit(model, cloud.float(), Contract(SO(3), "B x N x vector", "B x N x 4 x scalar"), samples=4)
    assert found.dtype == "float64"
    assert found.verdict == FAIL
    assert model.training
    assert all(p.dtype == torch.float32 and p.requires_grad for p in model.parameters())
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_forces_by_differentiation_can_be_audited(cloud):
    def forces(x):
        x = x.detach().requires_grad_()
        return torch.autograd.grad(lengths(x).pow(2).sum(), x)[0]

    assert equivariance_error(forces, Contract(O(3), "B x N x vector", "B x N x vector"), cloud) < 1e-12


def test_contracts_of_the_model_are_the_default(cloud):
    model = attach(lengths, Contract(SO(3), "B x N x vector", "B x N x scalar"))
    assert audit(model, cloud, samples=4).verdict == PASS
    with pytest.raises(InputError, match="states no contract"):
        audit(lengths, cloud)


def test_bad_input_is_named(cloud):
    contract = Contract(SO(3), "B x N x vector", "B x N x scalar")
    with pytest.raises(InputError, match="NaN"):
        audit(lengths, cloud * torch.nan, contract)
    with pytest.raises(InputError, match="orbit is empty"):
        audit(lengths, cloud, contract, elements=SO(3).grid(4)[:0])
    with pytest.raises(InputError, match="at least 1"):
        audit(lengths, cloud, contract, samples=0)
    with pytest.raises(ContractError, match="declared"):
        audit(lambda x: x.sum(), cloud, contract)
    with pytest.raises(ContractError, match="differ in size"):
        audit(lengths, cloud[..., :2], contract)
    with pytest.raises(InputError, match="unknown dtype"):
        audit(lengths, cloud, contract, dtype="float31")
    with pytest.raises(InputError, match="empty"):
        audit(lengths, cloud[:0], contract)
    with pytest.raises(InputError, match="no samples"):
        audit(lengths, [], contract)
    with pytest.raises(InputError, match="factors of a product"):
        audit(lengths, cloud, Contract(SO(3) * S("N"), "B x N x vector", "B x N x scalar"), elements=SO(3).grid(4))


def test_a_sample_may_be_resampled_from_a_larger_source(generator):
    torch.manual_seed(0)
    x = torch.rand(5, 1, 20, 20, generator=generator)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    found = audit(model, x, Contract(SO(2), Field(("B", "1"), Image(size=8, disc=True)), "B x 3 x scalar"), samples=5)
    assert found.verdict == FAIL
    assert not found.trivial
    assert len(found.layers) == 2


def test_plots(cloud, generator):
    found = audit(tilted, cloud, Contract(SO(3), "B x N x vector", "B x N x scalar"), samples=4)
    assert found.plot().axes
    planar = audit(lambda x: x[..., 0], cloud[..., :2], Contract(SO(2), "B x N x vector", "B x N x scalar"), samples=8)
    assert planar.plot().axes[0].name == "polar"
