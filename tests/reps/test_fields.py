import copy
import doctest
import pickle

import pytest
import torch

from coset.errors import ContractError, InputError
from coset.groups.finite import D
from coset.reps import exchange, fields
from coset.reps.action import Position, Scalar, Tensorial
from coset.reps.defining import Vector
from coset.reps.fields import Field, Fields
from coset.reps.image import Image

GRAPH = {
    "pos": "N x position",
    "z": "N x 4 x scalar",
    "edge_index": "2 x E -> N",
    "part": "N -> K",
    "batch": "N -> B",
    "cell": "B x 3 x vector",
    "noise": "S x N x vector",
    "gravity": "vector",
}


@pytest.mark.parametrize("module", [fields, exchange])
def test_the_examples_of_the_documentation_run(module):
    found = doctest.testmod(module)
    assert found.attempted > 0
    assert found.failed == 0


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("N x vector", Field(("N",), Tensorial(1))),
        ("vector", Field(("...",), Tensorial(1))),
        ("... x N x position", Field(("...", "N"), Position())),
        ("2 x E -> N", Field(("2", "E"), Scalar(), "N")),
        ("batch -> B", Field(("batch",), Scalar(), "B")),
        ("B x 1 x image(size=16)", Field(("B", "1"), Image(16))),
        ("S x N x vector", Field(("S", "N"), Tensorial(1))),
        ("4 x scalar", Field(("4",), Scalar())),
    ],
)
def test_strings_are_parsed_and_print_back(text, want):
    parsed = Field.of(text)
    assert parsed == want
    assert Field.of(str(parsed)) == parsed


@pytest.mark.parametrize(
    "text", ["N x", "N x vektor", "N * vector", "2 x E -> ", "N -> 2 x B", "x vector", "N x ... x vector", ""]
)
def test_what_is_no_field_is_refused(text):
    with pytest.raises(InputError):
        Field.of(text)


def test_what_is_no_field_at_all_is_refused():
    with pytest.raises(InputError, match="a field is a string"):
        Fields({"x": 3})


def test_an_action_stands_for_itself():
    rep = Vector(D(4))
    assert Field.of(rep) == Field(("...",), rep)
    assert str(Fields({"x": rep, "y": "N x scalar"})) == "x: vector, y: N x scalar"


def test_equal_by_value_hashable_copied_and_pickled():
    one, two = Fields(GRAPH), Fields(dict(GRAPH))
    assert one == two
    assert hash(one) == hash(two)
    assert Fields(one) is one
    assert Fields({"x": "N x vector"}) != Fields({"x": "N x position"})
    assert copy.deepcopy(one) == one
    assert pickle.loads(pickle.dumps(one)) == one


def test_where_samples_stand_side_by_side():
    axes = {name: declared.axis() for name, declared in Fields(GRAPH)}
    assert axes == {"pos": 0, "z": 0, "edge_index": 1, "part": 0, "batch": 0, "cell": 0, "noise": 1, "gravity": 0}
    assert Field.of("T x N x position").axis() == 1
    assert Field.of("B x T x vector").axis() == 0
    assert Field.of("T x scalar").axis() is None
    assert Field.of("3 x vector").axis() is None


def test_sizes_come_from_the_sample(generator):
    x = Fields(GRAPH).example({"N": 5, "E": 7, "S": 2, "...": 1}, generator=generator)
    sizes = Fields(GRAPH).check(x)
    assert {name: sizes[name] for name in "NESB"} == {"N": 5, "E": 7, "S": 2, "B": 3}
    assert sizes["K"] == int(x["part"].max()) + 1


def test_an_index_only_pointed_into_is_as_large_as_the_largest_pointer():
    declared = Fields({"atom": "N -> B", "site": "M -> B"})
    x = {"atom": torch.tensor([0, 0, 1]), "site": torch.tensor([0, 3])}
    assert declared.check(x)["B"] == 4


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"pos": None}, "missing"),
        ({"velocity": torch.zeros(6, 3)}, "'velocity' has no declared field"),
        ({"pos": torch.zeros(5, 3)}, "index N"),
        ({"z": torch.zeros(6, 5)}, "expected 4|axes"),
        ({"pos": torch.zeros(6, 2, 3)}, "axes"),
        ({"pos": [0.0]}, "expected a tensor"),
        ({"pos": torch.full((6, 3), torch.nan)}, "18 of 18 values"),
        ({"cell": torch.full((3, 3, 3), torch.inf)}, "NaN or infinite"),
        ({"edge_index": torch.zeros(2, 6)}, "pointers are integers"),
        ({"edge_index": torch.full((2, 6), 6)}, "points outside 0..5"),
        ({"batch": torch.tensor([0, 0, 1, 1, 2, -1])}, "points outside"),
    ],
)
def test_a_sample_that_does_not_fit_is_refused_with_the_reason(change, says, generator):
    declared = Fields(GRAPH)
    x = declared.example({"N": 6, "B": 3}, generator=generator) | change
    with pytest.raises(InputError, match=says):
        declared.check({name: value for name, value in x.items() if value is not None})


def test_pack_and_unpack():
    x = torch.zeros(2, 3)
    assert Fields("N x vector").pack(x) == {"": x}
    assert Fields("N x vector").unpack({"": x}) is x
    with pytest.raises(InputError, match="mapping"):
        Fields({"x": "N x vector"}).pack(x)
    with pytest.raises(InputError, match="did you mean 'pos'"):
        Fields(GRAPH).of("poss")


def test_what_all_samples_share_is_kept_once(generator):
    declared = Fields({"x": "B x T x vector", "t": "T x scalar", "cell": "3 x vector"})
    one = declared.example({"B": 2, "T": 4}, generator=generator)
    two = one | {"x": one["x"][:1]}
    both = declared.join([one, two])
    assert both["x"].shape == (3, 4, 3)
    assert torch.equal(both["t"], one["t"])
    with pytest.raises(ContractError, match="'t'"):
        declared.join([one, two | {"t": one["t"] + 1}])
    with pytest.raises(InputError, match="no samples"):
        declared.join([])
    copies = {name: value.expand(5, *value.shape) for name, value in one.items()}
    assert declared.fold(copies, declared.sizes(one))["t"].shape == (4,)
    moved = copies | {"cell": torch.stack([k * one["cell"] for k in range(5)])}
    with pytest.raises(ContractError, match="'cell'"):
        declared.fold(moved, declared.sizes(one))


def test_images_of_any_leading_shape_join_along_the_first(generator):
    declared = Fields("image")
    one, two = torch.randn(2, 3, 4, 4, generator=generator), torch.randn(5, 3, 4, 4, generator=generator)
    assert declared.join([{"": one}, {"": two}])[""].shape == (7, 3, 4, 4)
    with pytest.raises(ContractError, match="name the index"):
        declared.split({"": one}, [{}, {}])
    with pytest.raises(ContractError, match="folded"):
        declared.fold({"": torch.randn(3, 4, 4, generator=generator)}, {})
    with pytest.raises(ContractError, match="copies"):
        Fields("B x scalar").unfold({"": torch.zeros(7)}, 2)


def test_examples_point_inside_and_are_sorted(generator):
    declared = Fields({**GRAPH, "parent": "N -> N"})
    x = declared.example({"E": 20, "...": 1}, generator=generator)
    sizes = declared.check(x)
    assert sizes["N"] == 2 * sizes["K"] or sizes["N"] == 2 * sizes["B"]
    assert (x["batch"].diff() >= 0).all()
    source, target = x["edge_index"]
    assert torch.equal(x["batch"][source], x["batch"][target])
    assert (source != target).all()
    assert list(x) == list(declared.names())
    assert x["pos"].shape == (sizes["N"], 3)
    assert Fields("N x position").example(space=2)[""].shape == (3, 2)
    assert Fields("N x tensor(2)").example(dtype=torch.float32)[""].dtype == torch.float32
    lonely = Fields({"edge_index": "2 x E -> N", "batch": "N -> B"}).example({"N": 3, "B": 3, "E": 4}, generator=generator)
    assert torch.equal(lonely["edge_index"][0], lonely["edge_index"][1])
    pairs = Fields({"pair": "2 x E -> N"}).example({"N": 5, "E": 4}, generator=generator)["pair"]
    assert (pairs[0] != pairs[1]).all()
    chain = Fields({"molecule": "N -> M", "pair": "M -> B"}).example()
    assert len(chain["molecule"]) == 4 * 3
    loop = Fields({"up": "A -> C", "down": "C -> A"}).example()
    assert Fields({"up": "A -> C", "down": "C -> A"}).check(loop)["A"] == len(loop["up"])
