"""Trees of limbs: codes of the left-child-right-sibling tree, relations, and MJCF that MuJoCo reads."""

import dataclasses

import pytest
import torch

from coset.data.limb_families import FAMILIES, NAMES, body
from coset.data.limbs import Body, Limb, check_tree, tree_codes, tree_relations
from coset.errors import InputError

FORK = (-1, 0, 0, 1, 1, 2)  #: a torso with limbs 1 and 2; 3 and 4 hang on 1, 5 on 2


def test_codes_are_places_in_three_orders():
    # left child = first limb, right child = next sibling: pre 0 1 3 4 2 5, in 3 4 1 5 2 0, post 4 3 5 2 1 0
    assert tree_codes(FORK).T.tolist() == [[0, 1, 4, 2, 3, 5], [5, 2, 4, 0, 1, 3], [5, 4, 3, 1, 0, 2]]


def test_codes_tell_limbs_and_trees_apart():
    for name in NAMES:
        assert len({tuple(code) for code in body(name).codes().tolist()}) == len(body(name))
    assert not torch.equal(tree_codes((-1, 0, 1)), tree_codes((-1, 0, 0)))


def test_relations_of_a_chain():
    hops, rank, laplacian = tree_relations((-1, 0, 1)).double().unbind(-1)
    assert hops.tolist() == [[0, 1, 2], [1, 0, 1], [2, 1, 0]]
    assert torch.allclose(rank.sum(0), torch.ones(3, dtype=torch.float64))  # where a walk from each limb ends
    walk, step = torch.eye(3, dtype=torch.float64), torch.tensor([[0, 0.5, 0], [1, 0, 1], [0, 0.5, 0]], dtype=torch.float64)
    series = sum(0.2 * 0.8**k * torch.linalg.matrix_power(step, k) @ walk for k in range(200))
    assert torch.allclose(rank, series, atol=1e-6)
    root = -(0.5**0.5)
    assert torch.allclose(
        laplacian, torch.tensor([[1, root, 0], [root, 1, root], [0, root, 1]], dtype=torch.float64), atol=1e-6
    )


@pytest.mark.parametrize(
    ("parents", "said"),
    [
        ((), "only root"),
        ((0, 0), "only root"),
        ((-1, -1), "only root"),
        ((-1, 2, 1), "cycle"),
        ((-1, 1), "cycle"),
        ((-1, 5), "indices below"),
    ],
)
def test_what_is_no_tree_is_refused(parents, said):
    for function in (check_tree, tree_codes, tree_relations):
        with pytest.raises(InputError, match=said):
            function(parents)


def test_a_body_with_a_cycle_is_refused():
    good = body("walker_3")
    limbs = [dataclasses.replace(limb, parent=parent) for limb, parent in zip(good.limbs, (-1, 2, 1), strict=True)]
    with pytest.raises(InputError, match="cycle"):
        Body("bad", tuple(limbs), 1.0)


def test_families_have_the_sizes_of_the_benchmark():
    assert {family: (min(sizes), max(sizes)) for family, (_, sizes) in FAMILIES.items()} == {
        "hopper": (3, 5), "walker": (2, 7), "humanoid": (7, 9), "cheetah": (10, 14)
    }  # fmt: skip
    for name in NAMES:
        assert len(body(name)) == int(name.rpartition("_")[2])
        assert len({limb.name for limb in body(name).limbs}) == len(body(name))


@pytest.mark.parametrize("name", NAMES)
def test_every_body_stands_on_the_ground_in_mujoco(name):
    mujoco = pytest.importorskip("mujoco")
    tree = body(name)
    model = mujoco.MjModel.from_xml_string(tree.mjcf())
    assert (model.nbody, model.njnt, model.nu) == (len(tree) + 1, 3 * len(tree) - 2, 3 * len(tree) - 3)
    names = [model.body(limb.name).id for limb in tree.limbs]
    assert [model.body_parentid[i] for i in names[1:]] == [names[parent] for parent in tree.parents[1:]]
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    assert data.ncon == 0, "a body starts just above the ground"
    mujoco.mj_step(model, data, 100)
    assert data.ncon > 0
    assert data.qpos[2] > 0.9 * tree.height


def test_unknown_names_are_refused():
    with pytest.raises(InputError, match="hopper_3"):
        body("hoper_3")
    with pytest.raises(InputError, match="kind of limb"):
        Limb("x", -1, "wing", (0, 0, 0), ((0, 0, 0), (0, 0, 1)), 0.1)
