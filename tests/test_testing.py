"""The checker itself: it passes what keeps its promise and catches one broken twin for every promise."""

import types

import pytest
import torch
from torch import nn

from coset.contract import Contract, attach
from coset.errors import InputError
from coset.groups.euclidean import T
from coset.groups.matrix import SO, O
from coset.groups.permutation import S
from coset.testing import Broken, assert_equivariant, cases, check, tolerance

GRAPHS = Contract(
    O(3) * S("N", within="B"), {"pos": "N x vector", "batch": "N -> B"}, {"v": "N x vector", "c": "B x vector"}
)  # fmt: skip
CLOUD = Contract(SO(3), "B x N x vector", "B x N x vector")


def centers(pos, batch):
    n = int(batch.max()) + 1
    return torch.zeros(n, 3, dtype=pos.dtype).index_add(0, batch, pos) / torch.bincount(batch, minlength=n)[:, None]


def good(pos, batch):
    c = centers(pos, batch)
    return {"v": pos - c[batch], "c": c}


def twin(**changes):
    return lambda pos, batch: {**good(pos, batch), **{name: f(pos, batch) for name, f in changes.items()}}


TWINS = {
    "not equivariant": (twin(v=lambda p, b: p * p), "relative error is"),
    "members see each other": (twin(v=lambda p, b: p - p.mean(0)), "must not see each other"),
    "input changed": (twin(v=lambda p, b: p.mul_(2)), "changes its input 'pos' in place"),
    "vanishes": (lambda pos, batch: {n: 0 * v for n, v in good(pos, batch).items()}, "output vanishes"),
    "dtype lost": (twin(v=lambda p, b: p.float()), "float32 for torch.float64 inputs"),
    "NaN": (twin(v=lambda p, b: p * torch.nan), "NaN"),
    "permutation": (twin(v=lambda p, b: p * torch.arange(len(p)).view(-1, 1)), None),
}


def test_a_model_that_keeps_its_promise_passes():
    report = check(good, contracts=GRAPHS)
    assert set(report.errors) == {"O(3)", 'S("N", within="B")'}
    assert max(report.errors.values()) < tolerance(torch.float64)
    assert report.skipped == []
    assert "exact" in str(report)


@pytest.mark.parametrize("name", TWINS)
def test_broken_twins_are_caught(name):
    f, says = TWINS[name]
    with pytest.raises(Broken, match=says):
        check(f, contracts=GRAPHS)


def test_infinite_gradients_are_caught():
    with pytest.raises(Broken, match="gradient holds NaN"):
        check(lambda x: x + torch.sqrt((x * 0).square().sum()), contracts=CLOUD)


def test_constants_are_trivial():
    with pytest.raises(Broken, match="does not vary"):
        check(lambda x: torch.ones(len(x), dtype=x.dtype), contracts=Contract(SO(3), "B x N x vector", "B x scalar"))


def test_claims():
    skewed = lambda x: x * torch.tensor([1.0, 1.0, 1.1], dtype=x.dtype)  # noqa: E731

    def claim(claim, bound=None):
        return Contract(SO(3), "B x N x vector", "B x N x vector", claim, bound)

    assert check(skewed, contracts=claim("approximate", 0.2)).checked[0].limit == 0.2
    with pytest.raises(Broken, match="claimed approximate"):
        check(skewed, contracts=claim("approximate", 0.01))
    check(skewed, contracts=claim("broken", 0.01))
    with pytest.raises(Broken, match="must fail by more"):
        check(lambda x: 2 * x, contracts=claim("broken"))
    assert check(skewed, contracts=claim("learned")).checked[0].error > 0.01


def test_claims_about_chance():
    law = Contract(SO(3), "N x vector", "N x vector", "law")
    mean = Contract(SO(3), "N x vector", "N x vector", "mean")
    isotropic = lambda x: x + torch.randn_like(x)  # noqa: E731
    pushed = lambda x: x + torch.rand_like(x)  # noqa: E731
    stretched = lambda x: x + torch.randn_like(x) * torch.tensor([0.1, 1.0, 3.0], dtype=x.dtype)  # noqa: E731
    check(isotropic, contracts=(law, mean))
    check(stretched, contracts=mean)  # its mean is equivariant, its law is not
    for f, contract in ((pushed, law), (pushed, mean), (stretched, law)):
        with pytest.raises(Broken, match="chance explains"):
            check(f, contracts=contract)


def test_where_a_promise_holds():
    contract = Contract(SO(3), "B x N x vector", "B x N x scalar", where=lambda x: x.square().sum((1, 2)) > 9)

    def f(x):
        far = (x.square().sum((1, 2)) > 9).view(-1, 1)
        return torch.where(far, x.square().sum(-1), x[..., 0])

    x = torch.randn(8, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    check(f, x, contracts=contract)
    with pytest.raises(Broken):
        check(f, x, contracts=Contract(SO(3), "B x N x vector", "B x N x scalar"))


def test_what_cannot_be_checked_is_said():
    report = check(lambda x: x - x.mean(0), contracts=Contract(SO(3), "N x vector", "N x vector"))
    assert "declare no sample index" in report.skipped[0]


def test_foreign_modules_and_contracts_of_their_own():
    class Norms(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(4))

        def forward(self, x):
            return x.norm(dim=-1, keepdim=True) * self.weight

    contract = Contract(O(3), "B x N x vector", "B x N x 4 x scalar")
    model = Norms()
    check(model, contracts=contract)
    assert model.weight.dtype == torch.float32
    check(attach(model, contract))
    with pytest.raises(InputError, match="states no contract"):
        check(model)


def test_assert_equivariant():
    found = assert_equivariant(
        lambda x: x.norm(dim=-1), Contract(SO(3) * S("N"), "B x N x vector", "B x N x scalar"), samples=16
    )
    assert found.error < 1e-10
    with pytest.raises(Broken, match="does not keep its contract"):
        assert_equivariant(lambda x: x[..., 0], Contract(SO(3), "B x N x vector", "B x N x scalar"))
    with pytest.raises(InputError, match="at least 1"):
        assert_equivariant(lambda x: x, CLOUD, samples=0)


def test_cases_are_the_modules_that_need_no_arguments():
    module = types.ModuleType("made")

    class Ready(nn.Module):
        def __init__(self, width=3):
            super().__init__()

    class Needs(nn.Module):
        def __init__(self, width):
            super().__init__()

    Ready.__module__ = Needs.__module__ = "made"
    module.Ready, module.Needs, module.Linear = Ready, Needs, nn.Linear
    assert list(cases(module)) == [("made.Ready", Ready)]


def test_random_input_of_translations_has_their_dimension():
    seen = []

    def shapes(pos):
        seen.append(pos.shape[-1])
        return pos

    assert_equivariant(shapes, Contract(T(2), "B x N x position", "B x N x position"), samples=2)
    assert set(seen) == {2}
