import pytest
import torch

from coset.recipe import Request
from coset.tasks.moments import error_percent, orbit_std, task
from coset.testing import check

pytest.importorskip("sklearn")


@pytest.fixture(scope="module")
def data():
    return task.data(Request("smoke"))


def test_rows_have_equal_numbers_of_parameters(data):
    counts = [sum(p.numel() for p in method.build(data).parameters()) for method in task.methods]
    assert max(counts) <= 1.05 * min(counts)
    assert len({method.name for method in task.methods}) == 4
    assert task.lower_is_better


def test_heads_are_invariant(data):
    for method in task.methods:
        torch.manual_seed(0)
        report = check(method.build(data).double(), data.test["x"][:3])
        assert report.checked[0].error < 1e-10, method.name


def test_metrics_of_known_models(data):
    y = data.test["y"]

    class Oracle(torch.nn.Module):
        def forward(self, x):
            known = {tuple(a.flatten()[200:240].tolist()): int(b) for a, b in zip(data.test["x"], y, strict=True)}
            return torch.stack([torch.eye(10)[known[tuple(a.flatten()[200:240].tolist())]] for a in x])

    class Tilted(torch.nn.Module):
        def forward(self, x):
            right = (x * torch.linspace(-1, 1, 24)).sum((1, 2, 3))
            return right[:, None] * torch.eye(10)[0]

    assert error_percent(Oracle(), data) == 0
    constant = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(576, 10))
    torch.nn.init.zeros_(constant[1].weight)
    assert orbit_std(constant, data) < 1e-12 < 1e-2 < orbit_std(Tilted(), data)
