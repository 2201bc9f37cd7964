import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coset.errors import InputError
from coset.ops.polynomial import known_polynomials, make_polynomials

terms = st.dictionaries(
    st.tuples(
        st.integers(0, 1),
        st.lists(st.integers(0, 3), min_size=1, max_size=4).map(lambda v: tuple(sorted(v))),
        st.integers(0, 2),
    ),
    st.floats(-2, 2).filter(lambda c: abs(c) > 1e-3),
    min_size=1,
    max_size=30,
)


def horner(tree, x, a):
    return (a[tree.slot] if tree.slot >= 0 else 0.0) + sum(x[v] * horner(branch, x, a) for v, branch in tree.branches)


@given(terms, st.integers(1, 12))
def test_horner_trees_whole_or_cut_are_the_polynomials(table, limit):
    p = make_polynomials(4, 2, 3, table)
    random = np.random.default_rng(0)
    x, w = random.normal(size=4), random.normal(size=3)
    a = p.matrix() @ w
    expected = np.zeros(2)
    for (output, monomial, weight), coefficient in table.items():
        expected[output] += coefficient * w[weight] * np.prod(x[list(monomial)])
    np.testing.assert_allclose([horner(tree, x, a) for tree in p.trees], expected, atol=1e-11)
    cut = np.zeros(2)
    for bundle in p.bundles(limit):
        for output, piece in bundle:
            cut[output] += horner(piece, x, a)
    np.testing.assert_allclose(cut, expected, atol=1e-11)


@given(terms)
def test_every_slot_is_read_once(table):
    p = make_polynomials(4, 2, 3, table)

    def slots(tree):
        return ([tree.slot] if tree.slot >= 0 else []) + [slot for _, branch in tree.branches for slot in slots(branch)]

    assert [slot for tree in p.trees for slot in slots(tree)] == list(range(len(p.slots)))
    assert sorted(p.slots) == sorted({(output, monomial) for output, monomial, _ in table})


def test_equal_content_has_equal_keys_and_is_found_by_them():
    a, b = (make_polynomials(2, 1, 1, {(0, (0, 1), 0): 1.5, (0, (1,), 0): value}) for value in (2.0, 0.0))
    again = make_polynomials(2, 1, 1, {(0, (1,), 0): 2.0, (0, (0, 1), 0): 1.5})
    assert known_polynomials(a.key) == a == again
    assert a.key == again.key != b.key
    assert len(b.terms) == 1  # zeros are dropped
    with pytest.raises(InputError, match="no polynomials with key"):
        known_polynomials("nothing")


@pytest.mark.parametrize("term", [(1, (0,), 0), (0, (0, 2), 0), (0, (1, 0), 0), (0, (), 0), (0, (0,), 3)])
def test_terms_that_do_not_fit_are_named(term):
    with pytest.raises(InputError, match="does not fit 1 polynomials in 2 variables"):
        make_polynomials(2, 1, 1, {term: 1.0})
