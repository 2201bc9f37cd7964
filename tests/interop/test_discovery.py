"""SymmetryDiscovery finds what was planted, and behaves as scikit-learn asks of an estimator."""

import numpy as np
import pytest

sklearn = pytest.importorskip("sklearn")
from sklearn.base import clone  # noqa: E402
from sklearn.exceptions import NotFittedError  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import FunctionTransformer  # noqa: E402
from sklearn.utils.estimator_checks import parametrize_with_checks  # noqa: E402

from coset.audits import dataset, discover  # noqa: E402
from coset.contract import Contract  # noqa: E402
from coset.errors import InputError  # noqa: E402
from coset.groups.finite import C, D  # noqa: E402
from coset.groups.matrix import SO, O  # noqa: E402
from coset.groups.permutation import S  # noqa: E402
from coset.interop import discovery  # noqa: E402
from coset.interop.discovery import SymmetryDiscovery  # noqa: E402

FEW = [C(2), C(4), D(4), SO(2), O(2)]


def points(n=300, d=2, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d))


def ring(x):
    return np.exp(-np.linalg.norm(x, axis=1))


def square(x):
    return x[:, 0] ** 2 * x[:, 1] ** 2 / (1 + (x**2).sum(1))


@pytest.mark.parametrize(
    ("law", "group"),
    [(ring, O(2)), (square, D(4)), (lambda x: np.tanh(x[:, 0] + x[:, 1]), None)],
    ids=["ring", "square", "none"],
)
def test_the_planted_group_is_found(law, group):
    x, fresh = points(), points(200, seed=1)
    found = SymmetryDiscovery(FEW).fit(x, law(x))
    assert found.group_ == group
    assert found.score(fresh, law(fresh)) == pytest.approx(1.0 if group else 0.0, abs=0.02)
    if group is None:
        assert found.groups_ == []
        assert found.generators_ is None
        with pytest.raises(InputError, match="no symmetry was found"):
            found.augment(x)
        return
    turned = np.concatenate([x, np.ones((len(x), 1))], 1) @ found.generators_.swapaxes(1, 2)
    for moved in turned:  # the law does not change along any generator
        np.testing.assert_allclose(law(moved[:, :2]), law(x), atol=1e-12)
    assert found.score(fresh, fresh[:, 0]) < 0.5


def test_default_candidates_hold_exchanges_of_features():
    x = points(200, 3)
    found = SymmetryDiscovery().fit(x, x.sum(1))
    assert found.group_ == S("F")
    assert found.generators_.shape == (2, 4, 4)
    np.testing.assert_allclose(np.einsum("kij,nj->kni", found.generators_[:, :3, :3], x).sum(-1), [x.sum(1)] * 2)
    assert {c["status"] for c in found.scan_.candidates if c["name"] != 'S("F")'} == {"broken"}


def test_augmented_samples_keep_their_law():
    x = points(100)
    found = SymmetryDiscovery(FEW).fit(x, ring(x))
    more, labels = found.augment(x, ring(x), copies=3)
    assert more.shape == (300, 2)
    np.testing.assert_allclose(ring(more), labels)
    assert np.abs(more - np.repeat(x, 3, 0)).max() > 0.5
    np.testing.assert_array_equal(found.augment(x, copies=3), more)


def test_labels_that_move_are_moved():
    x = points()
    promised = [Contract(group, "B x vector", "B x vector") for group in (SO(2), O(2))]
    swirl = np.stack([-x[:, 1], x[:, 0]], 1) * ring(x)[:, None]  # keeps its sense, so mirrors break it
    found = SymmetryDiscovery(promised).fit(x, swirl)
    assert found.group_ == SO(2)
    more, labels = found.augment(x, swirl, copies=2)
    np.testing.assert_allclose(labels, np.stack([-more[:, 1], more[:, 0]], 1) * ring(more)[:, None], atol=1e-12)


def test_classes_of_any_type_and_inputs_alone():
    x = points(400)
    words = np.where(np.linalg.norm(x, axis=1) > 1.2, "far", "near")
    found = SymmetryDiscovery([SO(2), C(4)]).fit(x, words)
    assert found.group_ == SO(2)
    assert set(found.augment(x, words, copies=1)[1]) == {"far", "near"}
    alone = SymmetryDiscovery(FEW).fit(x * [1, 3])
    assert alone.group_ == C(2)  # of a long ellipse a half turn (and mirrors, which no candidate has alone)
    assert 1e-3 < alone.score(points(300, seed=2) * [1, 3]) <= 1


def test_conventions():
    x = points(60)
    model = SymmetryDiscovery([C(4)], level=0.01)
    assert clone(model.fit(x, ring(x))).get_params() == model.get_params()
    assert model.n_features_in_ == 2
    with pytest.raises(NotFittedError):
        SymmetryDiscovery().score(x, ring(x))
    pipeline = make_pipeline(FunctionTransformer(), SymmetryDiscovery([C(4)])).fit(x, ring(x))
    assert pipeline.score(x, ring(x)) > 0.9
    for bad, says in (([], "no candidates"), (["C(4)"], "groups or contracts")):
        with pytest.raises(InputError, match=says):
            SymmetryDiscovery(bad).fit(x, ring(x))
    with pytest.raises(InputError, match="n_samples=30"):
        SymmetryDiscovery().fit(x[:30], ring(x)[:30])


EXCHANGES = Contract(S("F"), "B x F x scalar", "B x scalar")  # fits any number of features


@parametrize_with_checks([SymmetryDiscovery([EXCHANGES])])
def test_checks_of_scikit_learn(estimator, check, monkeypatch):
    for module in (dataset, discover, discovery):  # the checks fit 10 to 30 samples, fewer than a test of symmetry asks for
        monkeypatch.setattr(module, "LEAST", 4)
    check(estimator)
