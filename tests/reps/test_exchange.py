import pytest
import torch

from coset.contract import Contract
from coset.errors import ContractError, InputError
from coset.groups.orthogonal import SO
from coset.reps.exchange import Exchange

FIELDS = {"a": "B x 3 x vector", "b": "B x 3 x vector", "w": "B x scalar"}


def sample(generator):
    a, b = torch.randn(2, 4, 3, 3, generator=generator, dtype=torch.float64)
    return {"a": a, "b": b, "w": torch.randn(4, generator=generator, dtype=torch.float64)}


def symmetric(a, b, w):
    return {"s": w * (a * b).sum((-1, -2)) + (a.sum((-1, -2)) - b.sum((-1, -2))).abs()}


def one_sided(a, b, w):
    return {"s": (a * b + a).sum((-1, -2))}


def test_two_inputs_change_places_and_the_rest_stays(generator):
    contract, x = Contract(Exchange("a", "b"), FIELDS, {"s": "B x scalar"}), sample(generator)
    moved = contract.act(torch.tensor(1), x)
    assert torch.equal(moved["a"], x["b"])
    assert torch.equal(moved["b"], x["a"])
    assert torch.equal(moved["w"], x["w"])
    for name, value in contract.act(torch.tensor(0), x).items():
        assert torch.equal(value, x[name])
    for name, value in contract.act(torch.tensor(1), moved).items():
        assert torch.equal(value, x[name])


def test_an_orbit_holds_both_orders(generator):
    contract, x = Contract(Exchange("a", "b"), FIELDS, {"s": "B x scalar"}), sample(generator)
    folded = contract.bind(x).orbit(torch.tensor([0, 1]), x)
    assert torch.equal(folded["a"], torch.cat([x["a"], x["b"]]))
    assert torch.equal(folded["b"], torch.cat([x["b"], x["a"]]))


def test_a_symmetric_function_passes_and_a_one_sided_one_is_caught(generator):
    contract, x = Contract(Exchange("a", "b"), FIELDS, {"s": "B x scalar"}), sample(generator)
    bound = contract.bind(x)
    assert bound.error(symmetric, x, torch.tensor(1)) < 1e-14
    assert bound.error(one_sided, x, torch.tensor(1)) > 0.1


def test_a_pair_in_one_tensor_is_swapped_by_its_axis(generator):
    """Outputs, too: an antisymmetric pair."""
    contract = Contract(Exchange("a", "b"), FIELDS, {"pair": "B x regular(2)"})
    x = sample(generator)

    def f(a, b, w):
        return {"pair": torch.stack([a.sum((-1, -2)) - 2 * b.sum((-1, -2)), b.sum((-1, -2)) - 2 * a.sum((-1, -2))], -1)}

    assert contract.error(f, x, torch.tensor(1)) < 1e-14
    assert contract.error(lambda **x: {"pair": f(**x)["pair"].cumsum(-1)}, x, torch.tensor(1)) > 0.1


def test_first_in_a_product(generator):
    contract, x = Contract(Exchange("a", "b") * SO(3), FIELDS, {"s": "B x scalar"}), sample(generator)
    g = contract.group.sample(6, generator=generator)
    assert {0, 1} == set(g.parts[0].tolist())
    for element in g:
        moved = contract.act(element, x)
        source = x["b"] if element.parts[0] else x["a"]
        assert torch.allclose(moved["a"], source @ element.parts[1].mT, atol=1e-12)
    assert all(
        part.error(lambda a, b, w: {"s": (a * b).sum((-1, -2))}, x, part.group.sample(1)[0]) < 1e-12
        for part in contract.factors()
    )


def test_inputs_that_differ_in_kind_or_shape_cannot_change_places(generator):
    x = sample(generator)
    with pytest.raises(InputError, match="twice"):
        Exchange("a", "a")
    with pytest.raises(ContractError, match="declared alike"):
        Contract(Exchange("a", "w"), FIELDS, {"s": "B x scalar"}).bind(x)
    with pytest.raises(InputError, match="did you mean"):
        Contract(Exchange("a", "bb"), FIELDS, {"s": "B x scalar"}).bind(x)
    loose = {**FIELDS, "a": "B x A x vector", "b": "B x C x vector"}
    with pytest.raises(ContractError, match="declared alike"):
        Contract(Exchange("a", "b"), loose, {"s": "B x scalar"}).bind(x)


def test_a_pair_of_outputs_is_swapped_with_the_inputs(generator):
    contract = Contract(Exchange("a", "b"), FIELDS, {"a": "B x scalar", "b": "B x scalar"})
    x = sample(generator)
    g = Exchange("a", "b").generators()[0]
    heads = lambda a, b, w: {"a": a.sum((-1, -2)) + w, "b": b.sum((-1, -2)) + w}  # noqa: E731
    assert contract.error(heads, x, g) < 1e-12
    crossed = lambda a, b, w: {"a": a.sum((-1, -2)), "b": a.sum((-1, -2))}  # noqa: E731
    assert contract.error(crossed, x, g) > 1e-2
