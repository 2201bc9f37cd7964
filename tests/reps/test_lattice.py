"""Sites are rolled by shifts and turned by point groups, a sign is changed and no place, and shifts read the lattice's size."""

import pytest
import torch

from coset.contract import Contract
from coset.errors import ContractError
from coset.groups.finite import D
from coset.groups.torus import Torus
from coset.reps.action import Fibre, Tensorial
from coset.reps.fields import Field, Fields
from coset.reps.lattice import Shifts, SignChange, Sites
from coset.testing import Broken, check

FIELD = Field(("B", "1"), Sites())


def test_shifts_roll_and_point_groups_turn(generator):
    x = torch.randn(6, 6, generator=generator)
    assert torch.equal(Sites().move(Torus(6, 6), torch.tensor(1 * 6 + 2), x, {}), x.roll((1, 2), (0, 1)))
    assert torch.equal(Sites().move(D(4), torch.tensor(1), x, {}), x.rot90())
    assert torch.equal(Sites().move(D(4), torch.tensor(4), x, {}), x.flipud())
    assert Sites().floor(Torus(6, 6), torch.tensor(8), x) == Sites().floor(D(4), torch.tensor(3), x) == 0


def test_elements_of_d4_and_shifts_obey_their_semidirect_law(generator):
    x, turn, down = torch.randn(5, 5, generator=generator), torch.tensor(1), torch.tensor(5)
    first = Sites().move(D(4), turn, Sites().move(Torus(5, 5), down, x, {}), {})
    # a quarter turn takes "down" to "right"
    assert torch.equal(first, Sites().move(Torus(5, 5), torch.tensor(1), Sites().move(D(4), turn, x, {}), {}))


@pytest.mark.parametrize(("height", "width"), [(4, 4), (6, 10)])
def test_shifts_bind_to_the_lattice_of_the_sample(height, width):
    assert Shifts().bind(Fields({"q": FIELD}), {"q": torch.zeros(2, 1, height, width)}) == Torus(height, width)
    vectors = Fields({"q": Field(("B",), Fibre(Tensorial(1), Sites())), "t": "B x scalar"})
    sample = {"q": torch.zeros(2, 2, height, width), "t": torch.zeros(2)}
    assert Shifts().bind(vectors, sample) == Torus(height, width)


def test_open_shifts_and_other_fields_are_refused():
    with pytest.raises(ContractError, match="is open"):
        Shifts().sample(1)
    with pytest.raises(ContractError, match="none in"):
        Shifts().bind(Fields("B x scalar"), {"": torch.zeros(3)})
    with pytest.raises(ContractError, match="sizes"):
        Shifts().bind(Fields({"a": FIELD, "b": FIELD}), {"a": torch.zeros(1, 1, 4, 4), "b": torch.zeros(1, 1, 6, 6)})


def test_a_sign_changes_values_and_leaves_places_and_scalars(generator):
    x = torch.randn(2, 1, 4, 4, generator=generator)
    both = SignChange().move(torch.tensor([0, 1]), FIELD, x[None], {})
    assert torch.equal(both[0], x)
    assert torch.equal(both[1], -x)
    assert torch.equal(SignChange().move(torch.tensor(1), Field.of("B x scalar"), torch.ones(3), {}), torch.ones(3))
    assert SignChange().compose(torch.tensor(1), torch.tensor(1)) == SignChange().identity()


@pytest.mark.parametrize(
    ("name", "law"),
    [
        ("odd", lambda q: q + q.roll(1, -1) + q**3),
        ("local", lambda q: q**2 + q.roll(1, -1)),
        ("round", lambda q: sum(q.roll(s, a) for s in (1, -1) for a in (-1, -2)) ** 2),
    ],
    ids=["odd", "local", "round"],
)
def test_contracts_tell_the_three_symmetries_apart(name, law):
    for group, kept in ((SignChange(), name == "odd"), (Shifts(), True), (D(4), name == "round")):
        contract = Contract(group, FIELD, FIELD)
        if kept:
            assert max(check(law, contracts=contract).errors.values()) < 1e-12
        else:
            with pytest.raises(Broken):
                check(law, contracts=contract)
