"""The lattice force field keeps every symmetry at every size, is as local as it says, and refuses what frustrates it."""

import pytest
import torch

from coset.contract import evaluating, frozen
from coset.errors import CosetError, InputError
from coset.groups.finite import D
from coset.models.atoms.lattice import LatticeForceField
from coset.reps.lattice import SignChange
from coset.testing import Broken, check
from coset.train.checkpoint import load_model, save_model

FORMS = {
    "D4": {"half_filling_z2": False},
    "D4 x Z2": {},
    "plain": {"group": "C(1)", "channels": 17, "half_filling_z2": False},
    "displacements": {"site": "vector"},
    "conservative displacements": {"site": "vector", "conservative": True},
    "oblong": {"group": "D(2)", "site": "pseudoscalar"},
}


def small(dtype=torch.float64, **options):
    """A small network, far from linear: it starts at a quarter of these weights."""
    torch.manual_seed(0)
    model = LatticeForceField(**{"channels": 3, "depth": 1, **options}).to(dtype)
    with torch.no_grad():
        for weight in (p for p in model.parameters() if p.ndim > 1):
            weight.mul_(4)
    return model


def field(size, channels=1, dtype=torch.float64, count=2):
    return torch.randn(count, channels, size, size, generator=torch.Generator().manual_seed(1), dtype=dtype)


class Polarized(LatticeForceField):
    """A twin with a preferred direction: a force from the neighbor on the right."""

    def forward(self, q):
        return super().forward(q) + 0.1 * q.roll(1, -1)


class Pinned(LatticeForceField):
    """A twin that knows where it is."""

    def forward(self, q):
        return super().forward(q) * torch.linspace(0.9, 1.1, q.shape[-1]).to(q)


class Doped(LatticeForceField):
    """A twin away from half filling."""

    def forward(self, q):
        return super().forward(q) + 0.1 * q.square()


@pytest.mark.parametrize("form", FORMS)
def test_promises_hold_in_float64(form):
    model = small(**FORMS[form])
    assert max(check(model).errors.values()) < 1e-12


@pytest.mark.parametrize(("twin", "broken"), [(Polarized, r"D\(4\)"), (Pinned, "D|Shifts"), (Doped, "SignChange")])
def test_broken_twins_are_caught(twin, broken):
    torch.manual_seed(0)
    with pytest.raises(Broken, match=broken):
        check(twin(channels=2, depth=1))


def test_turns_flips_shifts_and_signs_in_float32_on_two_sizes():
    """The eight elements by hand, on arrays: no code of the contract takes part."""
    model = small(torch.float32, channels=6, depth=3)
    with frozen(model):
        for size in (12, 20):
            q = field(size, dtype=torch.float32)
            f = model(q)
            for turns in range(4):
                for flip in (False, True):

                    def move(x, turns=turns, flip=flip):
                        x = x.flip(-1) if flip else x
                        return x.rot90(turns, (-2, -1)).roll((3, -2), (-2, -1))

                    assert (model(move(q)) - move(f)).abs().max() < 1e-5 * f.abs().max()
            assert torch.equal(model(-q), -f)


def test_displacements_turn_with_the_lattice():
    """A quarter turn by hand: the array turns and (x, y) becomes (-y, x)."""
    model, u = small(site="vector"), field(8, 2)

    def turn(v):
        x, y = v.rot90(1, (-2, -1)).unbind(1)
        return torch.stack([-y, x], 1)

    with frozen(model):
        assert (model(turn(u)) - turn(model(u))).abs().max() < 1e-12
        assert (model(u.rot90(1, (-2, -1))) - model(u).rot90(1, (-2, -1))).abs().max() > 1e-3


@pytest.mark.parametrize("conservative", [False, True])
@pytest.mark.parametrize("depth", [0, 2])
def test_forces_do_not_know_of_sites_beyond_the_radius(depth, conservative):
    model = small(depth=depth, conservative=conservative, half_filling_z2=False)
    reach = model.radius * (2 if conservative else 1)
    q = field(2 * reach + 5, count=1)
    near, far = q.clone(), q.clone()
    middle = q.shape[-1] // 2
    rows = torch.arange(q.shape[-1]) - middle
    outside = torch.maximum(rows.abs()[:, None], rows.abs()[None]) > reach
    far[..., outside] += 3.0
    near[..., middle + reach, middle + reach] += 3.0
    with frozen(model):
        f, edited, touched = (model(x)[0, 0, middle, middle] for x in (q, far, near))
    assert torch.equal(f, edited), "exactly: no number from outside takes part"
    assert f != touched, "and the corner of the receptive field does"


def test_a_periodic_pattern_has_the_same_forces_on_a_larger_lattice():
    model, q = small(channels=6, depth=3), field(12)
    with frozen(model):
        assert (model(q.repeat(1, 1, 4, 4)) - model(q).repeat(1, 1, 4, 4)).abs().max() < 1e-12


def test_conservative_forces_are_the_gradient_of_an_even_energy():
    model, q = small(conservative=True), field(8)
    way, step = field(8, count=2).flip(0), 1e-5
    with frozen(model):
        slope = (model.energy(q + step * way) - model.energy(q - step * way)) / (2 * step)
        f = model(q)
        assert (model.energy(q) - model.energy(-q)).abs().max() == 0
    assert (slope + (f * way).flatten(1).sum(1)).abs().max() < 1e-8 * slope.abs().max()
    jacobian = torch.autograd.functional.jacobian(lambda x: model(x[None, None])[0, 0], field(8)[0, 0]).view(64, 64)
    assert (jacobian - jacobian.T).abs().max() < 1e-12, "free of curl"
    assert not f.requires_grad
    free = small()
    curl = torch.autograd.functional.jacobian(lambda x: free(x[None, None])[0, 0], field(8)[0, 0]).view(64, 64)
    assert (curl - curl.T).abs().max() > 1e-3


def test_conservative_forces_can_be_trained_and_used_without_gradients():
    model, q = small(conservative=True), field(8)
    model(q).square().mean().backward()
    assert all(
        p.grad is not None and bool(torch.isfinite(p.grad).all()) for n, p in model.named_parameters() if "bias" not in n
    )
    with torch.no_grad(), evaluating(model):
        assert not model(q).requires_grad


def test_parameters_are_those_of_the_comparison():
    def count(**options):
        return sum(p.numel() for p in LatticeForceField(**options).parameters())

    assert count() == count(half_filling_z2=False) == count(conservative=True) == 7957
    assert count(group="C(1)", channels=17) == 8314
    assert count(group="C(1)", channels=48) == 63649


def test_layers_are_residual():
    deep, flat, q = small(depth=2, half_filling_z2=False), small(depth=0, half_filling_z2=False), field(12)
    flat.load_state_dict({name: value for name, value in deep.state_dict().items() if "layers" not in name})
    with frozen(deep), frozen(flat):
        assert (deep(q) - flat(q)).abs().max() > 1e-3
        for p in deep.net.layers.parameters():
            p.zero_()
        assert torch.equal(deep(q), flat(q))


def test_scale_is_the_unit_of_the_field():
    one, other, q = small(), small(scale=2.5), field(8)
    with frozen(one), frozen(other):
        assert (other(2.5 * q) - one(q)).abs().max() < 1e-14


@pytest.mark.parametrize("form", FORMS)
def test_saved_and_loaded_it_is_the_same(form, tmp_path):
    model = small(**FORMS[form], scale=2.0)
    save_model(tmp_path, model)
    again, q = load_model(tmp_path), field(12, model.channels)
    with frozen(model), frozen(again):
        assert torch.equal(model(q), again(q))
    assert again.config == model.config
    assert again.contracts == model.contracts


def test_contracts_name_the_whole_group():
    assert D(4) in small().contracts[0].group.factors()
    assert SignChange() in small().contracts[0].group.factors()
    assert SignChange() not in small(half_filling_z2=False).contracts[0].group.factors()


# ---------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("shape", "what"),
    [
        ((1, 1, 9, 9), "odd side"),
        ((1, 1, 8, 9), "turns a 8 x 9"),
        ((1, 1, 8, 10), "turns a 8 x 10"),
        ((1, 1, 6, 6), "receptive field of 7"),
        ((1, 2, 8, 8), "dimension 1"),
        ((1, 8, 8), "dimension 1"),
    ],
)
def test_lattices_that_do_not_fit_are_refused(shape, what):
    with pytest.raises(InputError, match=what):
        small()(torch.zeros(shape, dtype=torch.float64))


def test_what_fits_another_symmetry_is_taken():
    assert small(half_filling_z2=False)(field(9)).shape == (2, 1, 9, 9)
    assert small(group="D(2)")(torch.zeros(1, 1, 8, 10, dtype=torch.float64)).shape == (1, 1, 8, 10)
    with pytest.raises(InputError, match="dimension 2"):
        small(site="vector")(field(8, 1))
    with pytest.raises(InputError, match="floating"):
        small()(torch.zeros(1, 1, 8, 8, dtype=torch.int64))


@pytest.mark.parametrize(
    "options",
    [
        {"group": "C(8)"},
        {"group": "SO(2)"},
        {"site": "tensor(2)"},
        {"site": "spinor"},
        {"depth": -1},
        {"channels": 0},
        {"scale": 0.0},
    ],
    ids=str,
)
def test_groups_sites_and_sizes_that_are_none_are_refused(options):
    with pytest.raises(CosetError):
        LatticeForceField(**options)


def test_forces_without_an_energy_say_so():
    with pytest.raises(InputError, match="conservative=True"):
        small().energy(field(8))
