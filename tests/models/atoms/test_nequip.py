"""NequIP keeps its promises exactly; twins that break one are caught."""

import pytest
import torch

from coset.data.stillinger import crystals
from coset.data.structures import join, sample_of
from coset.errors import InputError
from coset.groups.euclidean import E
from coset.groups.permutation import S
from coset.models.atoms.nequip import NequIP
from coset.nn.interaction import Interaction
from coset.reps.irreps import Irreps
from coset.testing import Broken, check

F64 = torch.float64
TINY = {"hidden": "2x0e+2x1o", "lmax": 1, "layers": 2, "network": (4,), "basis": 3}


@pytest.fixture(scope="module")
def structures():
    return join([sample_of(frame, 3.0, dtype=F64) for frame in crystals(2, seed=4)])


def made(kind=NequIP, **given):
    torch.manual_seed(0)
    return kind((14, 32), 3.0, **TINY | given).double()


def test_its_promises_hold_on_random_input():
    model = made()
    assert [contract.group for contract in model.contracts] == [E(3), S("N")]
    assert max(check(model).errors.values()) < 1e-11


@pytest.mark.parametrize(
    "given",
    [
        {"radial": "network", "layers": 1},
        pytest.param({"hidden": "3x0e+2x1o+1x1e+1x2e+1x0o", "lmax": 2}, marks=pytest.mark.slow),
    ],
    ids=["network", "all parities"],
)
def test_its_promises_hold_on_crystals(given, structures):
    assert max(check(made(**given), structures).errors.values()) < 1e-11


class Biased(NequIP):
    """A bias on vectors: the same arrow on every atom."""

    def __init__(self, *args, **given):
        super().__init__(*args, **given)
        first = next(module for module in self.modules() if isinstance(module, Interaction))
        arrows = torch.cat([torch.full((mul * ir.dim,), 0.1 * (ir.dim == 3)) for mul, ir in first.irreps_out])
        first.register_forward_hook(lambda module, given, out: out + arrows.to(out))


class Numbered(NequIP):
    """Atoms know their place in the list."""

    def energies(self, graph):
        return super().energies(graph) * (1 + 1e-3 * torch.arange(len(graph.species)).to(graph.vectors))


@pytest.mark.parametrize(("twin", "says"), [(Biased, r"E\(3\)"), (Numbered, r"batch|S\(")])
def test_broken_twins_are_caught(twin, says, structures):
    with pytest.raises(Broken, match=says):
        check(made(twin), structures)


def test_features_that_cannot_be_reached_are_left_out():
    model = made(hidden="2x0e+2x1o+2x1e+2x2e", layers=2)
    first, second = (layer.irreps_out for layer in model.layers)
    assert first == Irreps("2x0e+2x1o"), "scalars and harmonics to l = 1 give no more"
    assert second == Irreps("2x0e+2x1o+2x1e+2x2e")


def test_two_layers_see_angles_and_one_does_not():
    def bent(angle):
        angle = torch.tensor(angle, dtype=F64)
        place = torch.tensor([[2.0, 0, 0], [2.5 * torch.cos(angle), 2.5 * torch.sin(angle), 0]], dtype=F64)
        return {"pos": torch.cat([torch.zeros(1, 3, dtype=F64), place]), "z": torch.tensor([14, 32, 14])}

    batch = join([sample_of(bent(angle), 3.0, dtype=F64) for angle in (1.6, 2.4, 3.1)])
    with torch.no_grad():
        blind, sees = (made(layers=count)(**batch)["interaction"] for count in (1, 2))
    assert blind.std() < 1e-12
    assert sees.std() > 1e-6


def test_its_description_makes_it_again(structures):
    model = made(shift=[0.5, -0.5]).eval()
    again = NequIP(**model.config).double().eval()
    again.load_state_dict(model.state_dict())
    assert again.config == model.config
    assert torch.equal(again(**structures)["energy"], model(**structures)["energy"])


@pytest.mark.parametrize(
    ("given", "says"),
    [({"layers": 0}, "at least one layer"), ({"lmax": -1}, "lmax >= 0"), ({"radial": "knot"}, "did you mean"),
     ({"hidden": "2x1o"}, "scalars")],
    ids=["layers", "lmax", "radial", "no scalars"],
)  # fmt: skip
def test_settings_are_checked(given, says):
    with pytest.raises(InputError, match=says):
        made(**given)
