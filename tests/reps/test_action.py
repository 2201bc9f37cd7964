import math

import pytest
import torch

from coset.contract import Contract
from coset.errors import ContractError, InputError
from coset.groups.finite import C, D
from coset.groups.orthogonal import SO, O
from coset.reps.action import Fibre, Labels, Learned, Recorded, Tensorial, apply_matrix, take
from coset.reps.fields import Field
from coset.reps.image import Image
from coset.reps.induced import Regular, RegularAxis
from coset.testing import assert_equivariant


def test_matrices_act_on_columns_with_batches_leading(generator):
    g = O(3).sample(4, generator=generator)
    x = torch.randn(1, 5, 3, 2, generator=generator, dtype=torch.float64)
    moved = apply_matrix(g, x, 2)
    assert torch.allclose(moved, torch.einsum("gij,xnjk->gnik", g, x), atol=1e-14)
    assert torch.allclose(apply_matrix(g, x[0, :4, :, 0], 1), torch.einsum("gij,gj->gi", g, x[0, :4, :, 0]), atol=1e-14)
    with pytest.raises(ContractError, match="differ in size"):
        apply_matrix(g, x, 1)


def test_take_gathers_along_an_axis_for_every_element(generator):
    index = torch.stack([torch.randperm(5, generator=generator) for _ in range(3)])
    x = torch.randn(1, 2, 5, 4, generator=generator)
    moved = take(x, index, 2)
    for i in range(3):
        assert torch.equal(moved[i], x[0][:, index[i]])
    assert torch.equal(take(x[0], index[0], 1), moved[0])


def test_axial_vectors_feel_orientation(generator):
    u, v = torch.randn(2, 3, generator=generator, dtype=torch.float64)
    group, axial = O(3), Tensorial(1, parity=True)
    for g in group.sample(6, generator=generator):
        crossed = torch.linalg.cross(g @ u, g @ v)
        assert torch.allclose(axial.move(group, g, torch.linalg.cross(u, v), {}), crossed, atol=1e-13)
        triple = torch.linalg.det(torch.stack([g @ u, g @ v, g @ (u + v).sin()]))
        before = torch.linalg.det(torch.stack([u, v, (u + v).sin()]))
        assert torch.allclose(Tensorial(0, parity=True).move(group, g, before, {}), triple, atol=1e-13)
    with pytest.raises(InputError, match="rank"):
        Tensorial(-1)


def test_a_flow_field_turns_its_arrows_and_its_places():
    """The velocity of a rigid rotation looks the same from every side; that of a shear does not."""
    c = (2 * torch.arange(8, dtype=torch.float64) + 1 - 8) / 8
    x, y = c.expand(8, 8), -c.unsqueeze(1).expand(8, 8)
    flow, shear = torch.stack([-y, x]), torch.stack([y, torch.zeros(8, 8)])
    kind, group = Fibre(Tensorial(1), Image()), C(4)
    moved = kind.move(group, group.elements(), flow.unsqueeze(0), {})
    assert (moved - flow).abs().max() < 1e-14
    quarter = kind.move(group, torch.tensor(1), shear, {})
    assert torch.allclose(quarter, torch.stack([torch.zeros(8, 8), -x]), atol=1e-14)


def test_regular_images_move_fibre_and_pixels(generator):
    kind, group = Fibre(RegularAxis(), Image()), D(4)
    x = torch.randn(2, 3, 8, 5, 5, generator=generator, dtype=torch.float64)  # B x C x regular x H x W
    for g in group.elements():
        moved = kind.move(group, g, x, {})
        pixels = Image().move(group, g, x, {})
        want = torch.einsum("ij,bcjhw->bcihw", Regular(group).matrix(g), pixels)
        assert torch.equal(moved, want)
    assert kind.axes == 3
    assert Fibre(Tensorial(1), Image()).shape(2) == (2, 16, 16)
    assert kind.floor(SO(2), SO(2).grid(8), x[:1, :1, 0])[2] == 0


def test_a_recorded_field_serves_gap_only(generator):
    contract = Contract(C(4), {"photo": Recorded(axes=2)}, {"v": "N x vector"}, "learned")
    photo = torch.randn(3, 6, 6, generator=generator)
    contract.bind({"photo": photo})
    v = torch.randn(3, 2, generator=generator, dtype=torch.float64)
    turned = v @ C(4).linear(torch.tensor(1)).T
    assert contract.gap({"v": v}, {"v": turned}, torch.tensor(1))["v"].abs().max() < 1e-14
    assert contract.gap({"v": v}, {"v": v}, torch.tensor(1))["v"].abs().max() > 0.1
    with pytest.raises(ContractError, match="gap"):
        contract.act(torch.tensor(1), {"photo": photo})


def test_a_learned_action_reports_its_homomorphism_defect(generator):
    group = SO(2)

    def turn(g, x):
        return x @ g.mT

    def drift(g, x):
        angle = torch.atan2(g[1, 0], g[0, 0])
        return x @ g.mT + 0.1 * angle**2

    g, h = group.from_angle(torch.tensor(0.5, dtype=torch.float64)), group.from_angle(torch.tensor(0.7, dtype=torch.float64))
    x = torch.randn(5, 2, generator=generator, dtype=torch.float64, requires_grad=True)
    assert Learned(turn).defect(group, g, h, x) < 1e-14
    broken = Learned(drift).defect(group, g, h, x)
    assert broken > 0.01
    broken.backward()
    assert x.grad.abs().max() > 0
    moved = Contract(group, {"x": Learned(turn)}, {"x": Learned(turn)}, "learned").act(g, {"x": x})["x"]
    assert torch.equal(moved, turn(g, x))
    assert math.isclose(Learned(turn).axes, 1)


def test_labels_are_integers_out_of_their_values_that_nothing_moves(generator):
    kind, group = Labels((1, 6, 8)), O(3)
    drawn = kind.draw((50,), 3, generator=generator, dtype=torch.float64)
    assert drawn.dtype == torch.int64
    assert set(drawn.tolist()) == {1, 6, 8}
    again = kind.draw((50,), 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert torch.equal(kind.draw((50,), 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64), again)
    g = group.sample(4, generator=generator)
    assert torch.equal(kind.move(group, g, drawn.expand(4, 50), {}), drawn.expand(4, 50))
    assert str(kind) == "labels(1, 6, 8)"
    with pytest.raises(InputError, match="at least one value"):
        Labels(())


def test_a_contract_with_labels_needs_no_sample(generator):
    inputs = {"x": "N x vector", "z": Field(("N",), Labels((2, 5)))}
    contract = Contract(SO(3), inputs, "N x vector")
    seen = set()

    def weighted(x, z):
        seen.update(z.tolist())
        assert not z.is_floating_point()
        return x * z.unsqueeze(-1)

    assert assert_equivariant(weighted, contract).error < 1e-12
    assert seen == {2, 5}
    assert contract.inputs.example({"N": 3}, generator=generator)["z"].shape == (3,)
