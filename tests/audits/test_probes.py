"""Probes find what is there, judge it as scikit-learn does, and refuse what says nothing."""

import math

import pytest
import torch

from coset.audits.probes import (
    Reader,
    class_accuracy,
    fit_probe,
    geodesic_degrees,
    orbit_spread,
    r2_component,
    r2_pooled,
    regression,
    retrieval,
)
from coset.errors import InputError
from coset.groups.poses import angle_quaternion, relative_quaternion


@pytest.fixture
def clouds(generator):
    """Three classes in 8 dimensions, of which one hardly varies, and one is constant."""
    y = torch.arange(300) % 3
    x = torch.randn(300, 8, generator=generator) + 4 * torch.nn.functional.one_hot(y, 8)
    x[:, 6] *= 1e-3
    x[:, 7] = 2.0
    return x, y


def test_a_linear_probe_reads_classes(clouds):
    x, y = clouds
    found = class_accuracy((x[:200], y[:200]), (x[200:], y[200:]), Reader(epochs=30, batch=32, lr=1e-2))
    assert found > 95
    shuffled = y[torch.randperm(300, generator=torch.Generator().manual_seed(1))]
    assert class_accuracy((x[:200], shuffled[:200]), (x[200:], shuffled[200:]), Reader(epochs=30, batch=32, lr=1e-2)) < 60


def test_least_squares_are_found_and_hidden_layers_read_what_lines_cannot(generator):
    x = torch.randn(600, 3, generator=generator, dtype=torch.float64)
    y = torch.stack([x @ torch.tensor([1.0, -2.0, 0.5]).double(), x[:, 0] * x[:, 1]], -1)
    linear = regression((x[:500], y[:500, :1]), (x[500:], y[500:, :1]), Reader(epochs=40, batch=32, lr=2e-2))
    assert linear.component > 0.999
    product = [
        regression((x[:500], y[:500, 1:]), (x[500:], y[500:, 1:]), Reader(hidden, epochs=60, batch=32, lr=1e-2)).component
        for hidden in ((), (32,))
    ]
    assert product[0] < 0.2 < 0.8 < product[1]


def test_the_same_seed_gives_the_same_probe_and_leaves_the_random_state_alone(clouds):
    x, y = clouds
    torch.manual_seed(3)
    want = torch.rand(1)
    torch.manual_seed(3)
    first, second = (fit_probe(x, y, torch.nn.functional.cross_entropy, 3, Reader((4,), epochs=2)) for _ in range(2))
    assert torch.equal(torch.rand(1), want)
    assert torch.equal(first(x), second(x))


def test_both_scores_are_what_they_say(generator):
    from sklearn.metrics import r2_score

    y = torch.randn(50, 3, generator=generator, dtype=torch.float64) + torch.tensor([0.0, 3.0, 0.0])
    p = y + 0.5 * torch.randn(50, 3, generator=generator, dtype=torch.float64)
    assert r2_component(p, y) == pytest.approx(r2_score(y.numpy(), p.numpy()), abs=1e-12)
    assert r2_pooled(p, y) == pytest.approx(r2_score(y.flatten().numpy(), p.flatten().numpy()), abs=1e-12)
    assert r2_component(y.mean(0).expand_as(y), y) == pytest.approx(0, abs=1e-12)


def test_the_constant_reader_of_rotations_scores_0_23_pooled_and_0_by_component():
    """The pose distribution of 3DIEBench; 0.245 with w >= 0 made canonical."""
    generator = torch.Generator().manual_seed(0)
    angles = math.pi * (torch.rand(40000, 2, 3, generator=generator, dtype=torch.float64) - 0.5)
    z = relative_quaternion(angle_quaternion(angles[:, 0]), angle_quaternion(angles[:, 1]))
    constant = z.mean(0).expand_as(z)
    assert float(z[:, 0].mean()) == pytest.approx(0.53, abs=0.01)
    assert r2_pooled(constant, z) == pytest.approx(0.23, abs=0.01)
    assert r2_component(constant, z) == pytest.approx(0, abs=1e-9)
    upper = torch.where(z[:, :1] < 0, -z, z)
    assert r2_pooled(upper.mean(0).expand_as(z), upper) == pytest.approx(0.245, abs=0.01)
    assert geodesic_degrees(z, -2 * z) == pytest.approx(0, abs=1e-5)
    assert geodesic_degrees(constant, z) > 60


def test_retrieval_counts_ranks(generator):
    candidates = torch.eye(4).expand(3, 4, 4)
    predicted = torch.tensor([[1.0, 0.1, 0, 0], [1.0, 0.1, 0, 0], [3.0, 2.0, 1.0, 0]])
    found = retrieval(predicted, candidates, torch.tensor([0, 1, 3]))
    assert found.mrr == pytest.approx((1 + 1 / 2 + 1 / 4) / 3)
    assert (found.hit_1, found.hit_5) == pytest.approx((1 / 3, 1.0))
    assert found.chance_mrr == pytest.approx((1 + 1 / 2 + 1 / 3 + 1 / 4) / 4)
    random = torch.randn(2000, 20, 5, generator=generator)
    found = retrieval(torch.randn(2000, 5, generator=generator), random, torch.randint(20, (2000,), generator=generator))
    assert found.mrr == pytest.approx(found.chance_mrr, abs=0.02)


def test_a_collapsed_embedding_ranks_in_the_middle():
    found = retrieval(torch.ones(5, 3), torch.ones(5, 9, 3), torch.zeros(5, dtype=torch.int64))
    assert found.mrr == pytest.approx(1 / 5)
    assert found.hit_1 == 0


def test_candidates_are_normalized_unless_told_otherwise():
    candidates = torch.tensor([[[10.0, 0.0], [0.0, 1.0]]])
    predicted, place = torch.tensor([[1.0, 0.5]]), torch.tensor([0])
    assert retrieval(predicted, candidates, place).mrr == 1
    assert retrieval(predicted, candidates, place, normalize=False).mrr == 0.5


def test_orbit_spread_is_a_ratio_of_variances(generator):
    center = 3 * torch.randn(400, 1, 5, generator=generator, dtype=torch.float64)
    views = center + torch.randn(400, 8, 5, generator=generator, dtype=torch.float64)
    assert orbit_spread(views) == pytest.approx(1 / (9 + 1 / 8), rel=0.1)
    assert orbit_spread(center.expand(400, 8, 5)) == 0
    assert orbit_spread(7 * views) == pytest.approx(orbit_spread(views))


def test_what_says_nothing_is_refused(clouds):
    x, y = clouds
    with pytest.raises(InputError, match="no classes"):
        class_accuracy((x, None), (x, y))
    with pytest.raises(InputError, match="at least two values"):
        class_accuracy((x, 0 * y), (x, 0 * y))
    with pytest.raises(InputError, match="targets as many"):
        regression((x, y[:-1, None]), (x, y[:, None]))
    with pytest.raises(InputError, match="NaN"):
        fit_probe(torch.full_like(x, torch.nan), y, torch.nn.functional.cross_entropy, 3)
    with pytest.raises(InputError, match="candidates"):
        retrieval(x, x, y)
    with pytest.raises(InputError, match="things, views"):
        orbit_spread(x)
    with pytest.raises(InputError, match="same for all things"):
        orbit_spread(torch.ones(3, 3, 2))
    with pytest.raises(InputError, match="alike"):
        r2_component(x, y[:, None].float())
