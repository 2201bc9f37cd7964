"""Estimators take and return tensors: the same numbers as without us, leading axes and dtype kept."""

import numpy as np
import pytest
import torch

from coset.errors import InputError
from coset.interop.target import as_callable

sklearn = pytest.importorskip("sklearn")
from sklearn.decomposition import PCA  # noqa: E402
from sklearn.linear_model import LogisticRegression  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import StandardScaler  # noqa: E402


@pytest.fixture(scope="module")
def pipeline():
    random = np.random.default_rng(0)
    x, y = random.normal(size=(60, 16)), np.arange(60) % 3
    return make_pipeline(StandardScaler(), LogisticRegression()).fit(x, y)


def test_probabilities_equal_the_estimators_own(pipeline, generator):
    x = torch.randn(5, 1, 4, 4, generator=generator, dtype=torch.float64)
    want = pipeline.predict_proba(x.reshape(5, 16).numpy())
    for f in (as_callable(pipeline), as_callable(pipeline.predict_proba)):
        assert f(x).shape == (5, 3)
        np.testing.assert_array_equal(f(x).numpy(), want)


def test_leading_axes_and_dtype_are_kept(pipeline, generator):
    f = as_callable(pipeline)
    x = torch.randn(2, 5, 4, 4, generator=generator)
    assert f(x).shape == (2, 5, 3)
    assert f(x).dtype == torch.float32
    assert torch.equal(f(x)[1, 3], f(x[1, 3]))
    assert as_callable(pipeline.predict)(x).dtype == torch.int64


def test_a_transformer_is_a_callable_too(generator):
    x = torch.randn(9, 4, generator=generator, dtype=torch.float64)
    pca = PCA(2).fit(x.numpy())
    np.testing.assert_array_equal(as_callable(pca)(x).numpy(), pca.transform(x.numpy()))


def test_wrong_size_and_missing_fit_are_said(pipeline):
    with pytest.raises(InputError, match=r"16 features; a sample of shape \(7, 7\) holds 49"):
        as_callable(pipeline)(torch.zeros(2, 7, 7))
    with pytest.raises(InputError, match="fit it where it is defined"):
        as_callable(LogisticRegression())(torch.zeros(2, 4))


def test_labels_that_are_words_are_refused():
    model = LogisticRegression().fit(np.arange(8.0).reshape(4, 2), ["a", "b", "a", "b"])
    with pytest.raises(InputError, match="predict_proba"):
        as_callable(model.predict)(torch.zeros(2, 2))
