import json

import pytest
import torch
from torch import nn

from coset.contract import Contract
from coset.errors import InputError
from coset.groups.euclidean import SE
from coset.groups.finite import C, D
from coset.groups.matrix import SO, O
from coset.groups.permutation import S
from coset.reps.image import Image
from coset.reps.irreps import Irreps
from coset.train.describe import build, describe


def again(value, **options):
    tensors: dict = {}
    tree = json.loads(json.dumps(describe(value, tensors)))
    return build(tree, tensors, **options)


@pytest.mark.parametrize(
    "group", [C(8), D(3), SO(3), O(2), SE(3), S("N"), SO(3) ** "B", SO(3) * S("N"), SO(3).stabilizer([0, 0, 1])]
)
def test_groups_come_back_equal(group):
    assert again(group) == group


def test_irreps_come_back_with_their_layout():
    for irreps in (Irreps("8x0e+4x1o"), Irreps("2x1o+1x2e", layout="mul_ir"), Irreps("2x0+1x2", SO(3)), Irreps()):
        assert again(irreps) == irreps
    contract = Contract(O(3), "N x vector", "1 x irreps(1x0e+1x2e)")
    assert again(contract) == contract


def test_contracts_come_back_equal_with_all_they_say():
    fields = {"pos": "N x position", "batch": "N -> B"}
    contract = Contract(SO(3) ** "B", fields, {"e": "B x scalar"}, "approximate", 0.1, view=torch_free_view, name="turn")
    with pytest.raises(InputError, match="view"):
        again(contract)
    plain = Contract(SO(3) ** "B", fields, {"e": "B x scalar"}, "approximate", 0.1, name="turn")
    assert again(plain) == plain
    image = Contract(C(4), Image(size=16, disc=True), "B x 10 x scalar")
    assert again(image) == image != plain


def torch_free_view(y):
    return y


def test_plain_values_and_tensors_come_back(generator):
    value = {"a": [1, 2.5, (True, None)], "b": float("inf"), "dtype": torch.float16, "t": torch.randn(3, generator=generator)}
    found = again(value)
    assert torch.equal(found.pop("t"), value.pop("t"))
    assert found == value


def test_a_module_of_other_origin_is_named_and_must_be_given():
    model = nn.Linear(2, 2)
    with pytest.raises(InputError, match=r"torch\.nn\.modules\.linear\.Linear"):
        again(model)
    assert again(model, foreign=model) is model


@pytest.mark.parametrize("value", [lambda x: x, object(), len, {1}, json.JSONDecoder()])
def test_what_a_file_cannot_hold_is_refused(value):
    with pytest.raises(InputError, match="cannot be described"):
        describe({"deep": [value]}, {})


@pytest.mark.parametrize(
    "tree",
    [
        {"function": "os.system"},
        {"function": "coset.records.json"},
        {"tensor": "weights.w"},
        {"dtype": "nn"},
        {"class": "a"},
        {},
    ],
)
def test_an_altered_description_is_refused(tree):
    with pytest.raises(InputError):
        build(tree, {})
