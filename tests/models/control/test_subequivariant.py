"""SET keeps its contracts on every body, feels gravity, and a twin that clips or centers coordinates is caught."""

import pytest
import torch

from coset.contract import Contract
from coset.data.limb_families import NAMES, body
from coset.errors import InputError
from coset.groups.orthogonal import SO, O
from coset.models.control.subequivariant import SET, SETCritic, TreeCode
from coset.nn.limbs import ACTIONS, AXES, DOWN, INPUTS
from coset.reps.fields import Fields
from coset.testing import Broken, assert_equivariant, check

SMALL = {"width": 8, "layers": 2, "hidden": 16, "projected": 4}
TURNS = SO(3).stabilizer(DOWN)


def states(name="walker_5", count=32, dtype=torch.float64):
    """States of a body that could be: unit gravity down, horizontal unit targets, orthonormal axes."""
    generator = torch.Generator().manual_seed(0)
    tree = body(name)
    x = Fields(INPUTS).example({"B": count, "N": len(tree)}, generator=generator)
    x["gravity"] = torch.tensor(DOWN, dtype=torch.float64).expand(count, 3)
    flat = x["target"] * torch.tensor([1.0, 1.0, 0.0], dtype=torch.float64)
    x["target"] = flat / flat.norm(dim=-1, keepdim=True)
    axes = SO(3).sample(count * len(tree), generator=generator, dtype=torch.float64).view(count, len(tree), 3, 3)
    axes[:, 0] = 0
    x["vectors"] = torch.cat([x["vectors"][:, :, :3] * torch.tensor([0.5, 2.0, 5.0])[:, None], axes], 2)
    x["codes"] = tree.codes().expand(count, -1, -1)
    x["relations"] = tree.relations().expand(count, -1, -1, -1)
    return {key: value.to(dtype) for key, value in x.items()}


def actor(kind=SET, **sizes):
    torch.manual_seed(0)
    return kind(**{**SMALL, **sizes})


def turned(x, g, *names):
    return {key: x[key] @ g.mT if key in names else x[key] for key in x}


@pytest.mark.parametrize("name", NAMES)
def test_every_body_in_single_precision_about_gravity(name):
    x, model = states(name, dtype=torch.float32), actor()
    critic, moving = model.critic(), ("gravity", "target", "vectors")
    action = model(**x)
    value = critic(**x, action=action)
    assert action.shape == (32, len(body(name)), 3)
    assert value.shape == (32, len(body(name)))
    for g in TURNS.sample(4, generator=torch.Generator().manual_seed(1), dtype=torch.float32):
        y = turned(x, g, *moving)
        assert (model(**y) - action).abs().max() <= 1e-5
        assert (critic(**y, action=action) - value).abs().max() <= 1e-5
    tilt = SO(3).from_axis_angle([1.0, 0.0, 0.0], 1.0).float()
    assert (model(**turned(x, tilt, *moving)) - action).abs().max() <= 1e-5
    left = turned(x, tilt, "target", "vectors")
    assert (model(**left) - action).abs().max() > 1e-3
    assert (critic(**left, action=action) - value).abs().max() > 1e-4


@pytest.mark.parametrize("kind", [SET, SETCritic])
def test_contracts_hold_in_double_precision(kind):
    report = check(actor(kind))
    assert [one.claim for one in report.checked] == ["exact", "exact", "exact", "broken"]
    assert max(one.error for one in report.checked[:3]) < 1e-12
    assert report.checked[3].error > 1e-2
    assert report.skipped == []


def test_limbs_renumbered_with_their_codes_renumber_the_actions():
    x, model = states(), actor().double()
    order = torch.tensor([3, 0, 4, 2, 1])
    y = {
        key: value[:, order][:, :, order] if key == "relations" else value[:, order] if value.ndim > 2 else value
        for key, value in x.items()
    }
    assert torch.allclose(model(**y), model(**x)[:, order], atol=1e-12)
    assert not torch.allclose(model(**{**y, "codes": x["codes"]}), model(**x)[:, order], atol=1e-4)
    assert not torch.allclose(model(**{**y, "relations": x["relations"]}), model(**x)[:, order], atol=1e-7)


class Clipped(SET):
    """A twin that clips velocities component by component, as the benchmark's own observation does."""

    def forward(self, gravity, target, vectors, scalars, codes, relations):
        return super().forward(gravity, target, vectors.clamp(-1, 1), scalars, codes, relations)


class Centered(SET):
    """A twin with a running mean per component, as an observation normalizer would take off."""

    def forward(self, gravity, target, vectors, scalars, codes, relations):
        return super().forward(gravity, target, vectors - torch.tensor([0.1, 0.0, 0.0]).to(vectors), scalars, codes, relations)


@pytest.mark.parametrize("twin", [Clipped, Centered])
def test_clipping_and_centering_components_is_caught(twin):
    with pytest.raises(Broken, match="Stabilizer"):
        check(actor(twin))


class Weightless(SET):
    """A twin that has lost gravity: the target stands in its slot."""

    def forward(self, gravity, target, vectors, scalars, codes, relations):
        return super().forward(target, target, vectors, scalars, codes, relations)


def test_losing_gravity_is_caught():
    with pytest.raises(Broken, match="must fail by more than"):
        check(actor(Weightless))


def test_reflections_are_rightly_not_promised():
    spins = {
        **{name: INPUTS[name] for name in INPUTS if name != "vectors"},
        "polar": "B x N x 2 x vector",
        "axial": "B x N x 4 x axial",
    }
    promise = Contract(O(3).stabilizer(DOWN), spins, ACTIONS)
    model = actor()

    def join(polar, axial, **rest):
        return model(vectors=torch.cat([polar, axial], 2), **rest)

    x = states()
    vectors = x.pop("vectors")
    x |= {"polar": vectors[:, :, :2], "axial": vectors[:, :, 2:]}
    model.double()
    with pytest.raises(Broken):
        assert_equivariant(join, promise, x, samples=8)


def test_a_torque_is_the_projection_on_the_joint_axis():
    x, model = states(), actor().double()
    action = model(**x)
    assert torch.equal(action[:, 0], torch.zeros_like(action[:, 0]))  # the torso has no joints
    v, _, _ = model.head(*model.trunk(**x))
    assert torch.allclose(action, torch.tanh((x["vectors"][:, :, AXES] * v.mT).sum(-1)))


def test_actions_depend_on_everything():
    x, model = states(), actor().double()
    action = model(**x)
    for name in INPUTS:
        other = {**x, name: 1.5 * x[name]}
        assert (model(**other) - action).abs().max() > 1e-6, name


def test_a_critic_sees_the_action_and_matches_its_actor():
    x, model = states(), actor(width=10).double()
    critic = model.critic().double()
    assert critic.config == model.config
    action = torch.rand(32, 5, 3, dtype=torch.float64)
    assert (critic(**x, action=action) - critic(**x, action=-action)).abs().max() > 1e-4
    with pytest.raises(InputError, match="expected an action"):
        critic(**x, action=action[..., :2])


def test_codes_are_table_rows_and_between_integers_their_mean():
    torch.manual_seed(0)
    code = TreeCode(8, 6)
    rows = code(torch.tensor([[0.0, 2.0, 5.0], [0.0, 2.5, 5.0]]))
    assert rows.shape == (2, 8)
    assert torch.equal(rows[0], torch.cat([code.tables[0][0], code.tables[1][2], code.tables[2][5]]))
    assert torch.allclose(rows[1, 3:6], (code.tables[1][2] + code.tables[1][3]) / 2)
    with pytest.raises(InputError, match="up to 6 limbs"):
        code(torch.tensor([[6.0, 0.0, 0.0]]))


def test_sizes_below_one_are_refused():
    with pytest.raises(InputError, match="layers 0"):
        SET(8, 0)


def test_the_papers_size_is_the_default():
    model = SET()
    assert model.trunk.looks[0].values.weight.shape == (252, 128)
    assert model.head.columns == 32
    assert sum(p.numel() for p in model.parameters()) == 4_613_032


def test_the_trunk_scales_embeddings_and_tells_relations_to_the_first_layer_only():
    x, trunk, told = states(count=2), actor(width=9).double().trunk, []
    for look in trunk.looks:
        look.register_forward_pre_hook(lambda module, args: told.append(args))
    trunk(**x)
    (z, h, d, bias), (_, _, again, none) = told
    assert torch.equal(d, again)
    assert torch.equal(d[:, 3], torch.stack([x["gravity"], x["target"]], -1))
    assert torch.allclose(z, 3 * torch.einsum("ck,bnki->bnic", trunk.embed_z.weight, torch.cat([x["vectors"], d.mT], 2)))
    assert torch.allclose(h, 3 * trunk.embed_h(x["scalars"]) + trunk.code(x["codes"]))
    assert torch.allclose(bias[:, 1, 2, 0], trunk.relate(x["relations"][:, 2, 0])[:, 1])
    assert none is None


def test_values_are_the_critics_formula():
    x, critic = states(count=2), actor().critic().double()
    action = torch.rand(2, 5, 3, dtype=torch.float64)
    z, h, d = critic.trunk(**{**x, "scalars": torch.cat([x["scalars"], action], -1)})
    inv, _, size = critic.scalarize(z, d)
    assert torch.allclose(critic(**x, action=action), (critic.head(torch.cat([inv, h], -1)) / size)[..., 0])
