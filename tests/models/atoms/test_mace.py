"""MACE keeps its promises exactly, in every form of its radial functions; twins that break one are caught."""

import pytest
import torch

from coset.data.stillinger import crystals
from coset.data.structures import join, sample_of
from coset.errors import InputError
from coset.groups.euclidean import E
from coset.groups.permutation import S
from coset.models.atoms.mace import MACE
from coset.ops.scatter import scatter_sum
from coset.testing import Broken, check

F64 = torch.float64
TINY = {"hidden": "2x0e+2x1o", "lmax": 1, "correlation": 2, "network": (4,), "basis": 3, "readout": 3}


@pytest.fixture(scope="module")
def structures():
    return join([sample_of(frame, 3.0, dtype=F64) for frame in crystals(2, seed=4)])


def made(kind=MACE, **given):
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
        {"connect": ["message", "residual"], "readout": 0, "envelope": 5},
        pytest.param({"radial": "spline", "layers": 3}, marks=pytest.mark.slow),
        pytest.param({"hidden": "2x0e+2x1o+2x2e", "lmax": 3, "correlation": 3}, marks=pytest.mark.slow),
    ],
    ids=["network", "by species before", "spline", "three of everything"],
)
def test_its_promises_hold_on_crystals(given, structures):
    assert max(check(made(**given), structures).errors.values()) < 1e-11


class Leaning(MACE):
    """A preferred direction."""

    def energies(self, graph):
        return super().energies(graph) + 1e-3 * scatter_sum(
            graph.vectors[:, 0].square(), graph.edges["target"].values, len(graph.species)
        )


class Anchored(MACE):
    """Absolute positions leak into the energy."""

    def forward(self, pos, z, edge_index, shift=None, cell=None, batch=None):
        out = super().forward(pos, z, edge_index, shift, cell, batch)
        return out | {"energy": out["energy"] + 1e-3 * scatter_sum(pos.square().sum(1), batch, len(out["energy"]))}


class Counting(MACE):
    """The place of an edge in the list matters."""

    def energies(self, graph):
        place = 1 + 1e-3 * torch.arange(len(graph.vectors)).to(graph.vectors)
        return super().energies(graph) + scatter_sum(place * graph.lengths, graph.edges["target"].values, len(graph.species))


@pytest.mark.parametrize(("twin", "says"), [(Leaning, r"E\(3\)"), (Anchored, r"E\(3\)"), (Counting, "batch")])
def test_broken_twins_are_caught(twin, says, structures):
    with pytest.raises(Broken, match=says):
        check(made(twin), structures)


def bent(angle):
    """An atom with two neighbors at given distances, which do not see each other."""
    place = torch.tensor([[2.0, 0, 0], [2.5 * torch.cos(angle), 2.5 * torch.sin(angle), 0]], dtype=F64)
    return {"pos": torch.cat([torch.zeros(1, 3, dtype=F64), place]), "z": torch.tensor([14, 32, 14])}


def energies_of_angles(model):
    batch = join([sample_of(bent(torch.tensor(angle, dtype=F64)), 3.0, dtype=F64) for angle in (1.6, 2.4, 3.1)])
    with torch.no_grad():
        return model(**batch)["interaction"]


@pytest.mark.parametrize("product", ["coupled", "gaunt"])
def test_one_layer_sees_angles_by_its_powers_only(product):
    given = {"layers": 1, "neighbors": 1.0, "product": product}
    blind, sees = (energies_of_angles(made(correlation=power, **given)) for power in (1, 2))
    assert blind.std() < 1e-12
    assert sees.std() > 1e-5


def test_species_matter(structures):
    model = made().eval()
    swapped = structures | {"z": 14 + 32 - structures["z"]}
    assert ((model(**structures)["energy"] - model(**swapped)["energy"]).abs() > 1e-3).all()


def test_splines_of_many_knots_are_the_network(structures):
    networks, knots = made(radial="network").eval(), made(radial="knots").eval()
    knots.load_state_dict(networks.state_dict())
    for name in ("interaction", "forces", "stress"):
        exact, found = networks(**structures)[name], knots(**structures)[name]
        assert 0 < (found - exact).abs().max() < 1e-3 * exact.abs().max(), name


def test_its_description_makes_it_again(structures):
    model = made(layers=3, references=[1.0, 2.0]).eval()
    again = MACE(**model.config).double().eval()
    again.load_state_dict(model.state_dict())
    assert again.config == model.config
    assert torch.equal(again(**structures)["energy"], model(**structures)["energy"])


def test_neighbors_scale_what_is_heard(structures):
    one, other = made(neighbors=1.0), made(neighbors=1e6)
    quiet = other(**structures | {"edge_index": structures["edge_index"][:, :0], "shift": structures["shift"][:0]})
    assert torch.allclose(other(**structures)["energy"], quiet["energy"], atol=1e-4, rtol=0)
    assert not torch.allclose(one(**structures)["energy"], quiet["energy"], atol=1e-2, rtol=0)


@pytest.mark.parametrize(
    ("given", "says"),
    [({"layers": 0}, "at least one layer"), ({"lmax": -1}, "lmax >= 0"), ({"radial": "knot"}, "did you mean 'knots'"),
     ({"neighbors": 0.0}, "mean number"), ({"hidden": "many"}, "many"), ({"product": "gaunts"}, "did you mean 'gaunt'"),
     ({"product": "gaunt", "hidden": "2x0e+2x1e"}, "mixed parity")],
    ids=["layers", "lmax", "radial", "neighbors", "hidden", "product", "pseudovectors"],
)  # fmt: skip
def test_settings_are_checked(given, says):
    with pytest.raises(InputError, match=says):
        made(**given)


def test_a_connection_is_known_and_given_once_or_for_every_layer():
    with pytest.raises(InputError, match="unknown connection 'skip'"):
        made(connect="skip")
    with pytest.raises(InputError, match="one for each of 2 layers"):
        made(connect=["message"])


def test_a_map_of_every_species_stands_before_the_product_or_beside_it(structures):
    beside, before = (made(connect=kind).layers for kind in ("residual", "message"))
    with torch.no_grad():
        for layers in (beside, before):
            for part in layers.residuals:
                part.weight.zero_()
    outs = [list(layers(made().graph(**structures))) for layers in (beside, before)]
    assert float(outs[0][0].detach().norm()) > 1e-3  # the product remains
    assert float(outs[1][0].detach().norm()) == 0  # nothing reaches it
