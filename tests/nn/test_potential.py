"""Energy, forces and stress of a potential are derivatives of one another, smooth at the cutoff, structure by structure."""

import math

import pytest
import torch

from coset.data.stillinger import crystals
from coset.data.structures import join, sample_of
from coset.errors import InputError
from coset.groups.euclidean import E
from coset.groups.matrix import SO
from coset.models.atoms.mace import MACE
from coset.models.atoms.nequip import NequIP
from coset.nn.potential import Potential
from coset.ops.radial import polynomial_envelope
from coset.ops.scatter import scatter_sum
from coset.testing import Broken, check
from coset.train.checkpoint import load_model, save_model

F64 = torch.float64
ELEMENTS, R_MAX = (14, 32), 3.1
CELL = torch.tensor([[4.1, 0.2, -0.1], [1.3, 3.9, 0.4], [-0.7, 0.9, 4.4]], dtype=F64)
TINY = {"hidden": "2x0e+2x1o", "lmax": 1, "layers": 2, "network": (3,), "basis": 3, "neighbors": 3.0}


class Bonds(Potential):
    """Pairs and the squares of sums of vectors, in plain torch: ``eps_i = w_z sum f(r) + |sum f(r) v|^2``."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.config = self.settings()
        self.weight = torch.nn.Parameter(torch.tensor([0.7, -0.4]))

    def energies(self, graph):
        f = polynomial_envelope(graph.lengths, self.r_max) * (2 * graph.lengths).cos()
        f = f * self.weight[graph.species[graph.edges["source"].values]]
        target = graph.edges["target"].values
        pairs = scatter_sum(f, target, len(graph.species))
        return self.weight[graph.species] * pairs + scatter_sum(
            f[:, None] * graph.vectors, target, len(graph.species)
        ).square().sum(-1)


KINDS = {
    "bonds": lambda **given: Bonds(ELEMENTS, R_MAX, **given),
    "MACE": lambda **given: MACE(ELEMENTS, R_MAX, correlation=2, readout=2, **TINY, **given),
    "NequIP": lambda **given: NequIP(ELEMENTS, R_MAX, **TINY, **given),
}
STATISTICS = {"references": [-3.0, 2.0], "scale": [1.5, 0.8], "shift": [0.1, -0.2]}


def made(kind, **given):
    torch.manual_seed(0)
    return KINDS[kind](**STATISTICS | given).double()


@pytest.fixture(params=list(KINDS))
def model(request):
    return made(request.param).eval()


def crystal(generator, cell=CELL):
    """Four atoms in a skewed cell that is hardly larger than the cutoff: two of each kind, images among the neighbors."""
    place = torch.tensor([[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]], dtype=F64)
    pos = (place + 0.06 * torch.randn(4, 3, generator=generator, dtype=F64)) @ cell
    return {"pos": pos, "z": torch.tensor([14, 32, 32, 14]), "cell": cell, "periodic": True}


def inputs(*frames, r_max=R_MAX):
    return join([sample_of(frame, r_max, dtype=F64) for frame in frames])


def energy(model, x, **change):
    with torch.no_grad():
        return model(**x | change)["interaction"]


def slope(f, step=1e-5):
    """``df/dt`` at 0."""
    return (f(step) - f(-step)) / (2 * step)


# ---------------------------------------------------------------------- derivatives


def test_forces_are_minus_the_differences_of_energy(model, generator):
    x = inputs(crystal(generator))
    forces = model(**x)["forces"]
    found = torch.zeros_like(forces)
    for place in range(forces.numel()):
        way = torch.zeros_like(forces)
        way.view(-1)[place] = 1
        found.view(-1)[place] = -slope(lambda t, way=way: energy(model, x, pos=x["pos"] + t * way)).sum()
    assert (found - forces).abs().max() < 1e-6 * forces.abs().max()
    assert forces.sum(0).abs().max() < 1e-12


def test_stress_is_the_difference_of_energy_under_strain(model, generator):
    x = inputs(crystal(generator))
    stress, volume = model(**x)["stress"][0], torch.linalg.det(CELL)
    assert torch.equal(stress, stress.T)
    found = torch.zeros(3, 3, dtype=F64)
    for i in range(3):
        for j in range(3):
            way = torch.zeros(3, 3, dtype=F64)
            way[i, j] = 1  # a shear turns, too; energy does not mind

            def strained(t, way=way):
                stretch = torch.eye(3, dtype=F64) + t * way
                return energy(model, x, pos=x["pos"] @ stretch, cell=x["cell"] @ stretch)

            found[i, j] = slope(strained).sum() / volume
    assert (found - stress).abs().max() < 1e-6 * stress.abs().max()


def test_stress_is_positive_under_tension():
    """A chain of two bonds per atom, pulled beyond its length of rest."""
    model = made("bonds", scale=1.0)
    lengths = torch.linspace(1.2, 3.0, 40, dtype=F64)
    found = []
    for length in lengths:
        cell = torch.diag(torch.tensor([float(length), 9.0, 9.0], dtype=F64))
        out = model(**inputs({"pos": torch.zeros(1, 3, dtype=F64), "z": torch.tensor([14]), "cell": cell, "periodic": True}))
        found.append(torch.stack([out["interaction"][0].detach(), out["stress"][0, 0, 0].detach() * torch.linalg.det(cell)]))
    energies, pull = torch.stack(found).T
    rises = (energies[2:] - energies[:-2]) / (lengths[2:] - lengths[:-2]) * lengths[1:-1]
    assert torch.allclose(pull[1:-1], rises, atol=0.05 * float(pull.abs().max()), rtol=0)


def test_a_left_handed_cell_has_the_same_stress(model, generator):
    frame = crystal(generator)
    swapped = frame | {"cell": CELL[[1, 0, 2]]}
    one, other = (model(**inputs(f)) for f in (frame, swapped))
    for name in ("energy", "forces", "stress"):
        assert torch.allclose(one[name], other[name], atol=1e-12, rtol=0)


def test_energies_have_second_derivatives_and_losses_on_forces_descend(model, generator):
    x = inputs(crystal(generator))
    weights = dict(model.named_parameters())
    free = [name for name, value in weights.items() if value.requires_grad]
    pos, cell = (x[name].requires_grad_() for name in ("pos", "cell"))

    def outputs(pos, cell, *given):
        chosen = dict(zip(free, given, strict=True))
        out = torch.func.functional_call(model, chosen, kwargs=x | {"pos": pos, "cell": cell})
        return out["energy"], out["forces"], out["stress"]

    given = (pos, cell, *(weights[name] for name in free))
    assert torch.autograd.gradcheck(outputs, given, fast_mode=True)
    # and once more, as for second-order training
    assert torch.autograd.gradgradcheck(lambda pos: outputs(pos, cell, *given[2:])[0], (pos,), fast_mode=True)


def test_in_training_mode_weights_learn_from_forces_and_stress(model, generator):
    out = model.train()(**inputs(crystal(generator)))
    for name in ("energy", "forces", "stress"):
        slopes = torch.autograd.grad(
            out[name].square().sum(), [p for p in model.parameters() if p.requires_grad], retain_graph=True, allow_unused=True
        )
        assert any(s is not None and s.abs().max() > 0 for s in slopes), name


def test_in_eval_mode_nothing_is_kept_and_no_gradient_is_needed(model, generator):
    x = inputs(crystal(generator))
    expected = {name: value.detach() for name, value in model.train()(**x).items()}
    model.eval()
    with torch.no_grad():
        quiet = model(**x)
    with torch.inference_mode():
        inner = {name: value.clone() for name, value in x.items()}  # made in there
        quietest = model(**inner)
    for found in (model(**x), quiet, quietest):
        assert found.keys() == expected.keys() == {"energy", "forces", "stress", "interaction", "energies"}
        assert not any(value.requires_grad for value in found.values())
        for name, value in expected.items():
            assert torch.allclose(found[name], value, atol=1e-13, rtol=0), name
    assert x["pos"].grad is None


# ---------------------------------------------------------------------- smoothness and odd structures


def test_energy_is_smooth_twice_where_an_atom_crosses_the_cutoff(model):
    def curve(r):
        """Energy, slope and curvature along a third atom's distance from the first, farther from the second."""
        x = torch.tensor(r, dtype=F64, requires_grad=True)
        place = torch.stack([x * math.cos(1.9), x * math.sin(1.9), torch.zeros((), dtype=F64)])
        pos = torch.stack([torch.zeros(3, dtype=F64), torch.tensor([2.0, 0, 0], dtype=F64), place])
        frame = {"pos": pos.detach(), "z": torch.tensor([14, 32, 14])}
        total = model(**inputs(frame) | {"pos": pos})["interaction"].sum()
        (first,) = torch.autograd.grad(total, x, create_graph=True)
        second = torch.autograd.grad(first, x)[0] if first.requires_grad else torch.zeros(())
        return torch.stack([total.detach(), first.detach(), second])

    beyond = curve(R_MAX + 1e-6)
    assert not beyond[1:].any()
    middle, near, nearer = ((curve(R_MAX - gap) - beyond).abs() for gap in (1.0, 1e-4, 1e-5))
    assert (middle > 0).all()
    assert (near < torch.tensor([1e-9, 1e-6, 1e-2])).all()
    assert nearer[2] < 0.11 * near[2] + 1e-12, "the curvature falls to zero"


def test_edges_beyond_the_cutoff_change_nothing(model, generator):
    frame = crystal(generator)
    tight, wide = model(**inputs(frame)), model(**inputs(frame, r_max=1.4 * R_MAX))
    for name in tight:
        assert torch.allclose(tight[name], wide[name], atol=1e-12, rtol=0), name


def test_structures_of_a_batch_do_not_see_each_other(model, generator):
    frames = [crystal(generator), crystal(generator, cell=1.3 * CELL[:, [1, 2, 0]]), crystal(generator)]
    frames[1] = {"pos": frames[1]["pos"][:3], "z": frames[1]["z"][:3], "cell": frames[1]["cell"], "periodic": True}
    both, alone = model(**inputs(*frames)), [model(**inputs(frame)) for frame in frames]
    for name in both:
        assert torch.allclose(both[name], torch.cat([one[name] for one in alone]), atol=1e-12, rtol=0), name


def test_without_a_cell_there_is_no_stress_and_atoms_may_lie_in_any_order(model, generator):
    frames = [{name: crystal(generator)[name] for name in ("pos", "z")} for _ in range(2)]
    x = inputs(*frames)
    out = model(**x)
    assert "stress" not in out
    order = torch.tensor([6, 1, 4, 0, 7, 3, 2, 5])
    back = torch.argsort(order)
    moved = model(**{name: x[name][order] for name in ("pos", "z", "batch")} | {"edge_index": back[x["edge_index"]]})
    assert torch.allclose(moved["energy"], out["energy"], atol=1e-12, rtol=0)
    assert torch.allclose(moved["forces"], out["forces"][order], atol=1e-12, rtol=0)


def test_lonely_atoms_have_their_own_energy_and_no_force(model):
    far = {"pos": torch.tensor([[0.0, 0, 0], [50.0, 0, 0]], dtype=F64), "z": torch.tensor([14, 32])}
    both = model(**inputs(far))
    each = [model(**inputs({"pos": torch.zeros(1, 3, dtype=F64), "z": torch.tensor([z])})) for z in ELEMENTS]
    assert torch.allclose(both["energy"], sum(one["energy"] for one in each), atol=1e-12, rtol=0)
    assert not both["forces"].any()
    nobody = model(**{name: value[:0] if name != "edge_index" else value for name, value in inputs(far).items()})
    assert nobody["energy"].tolist() == [0.0]


def test_an_edge_of_length_zero_gives_finite_numbers(model):
    x = inputs({"pos": torch.eye(3, dtype=F64), "z": torch.tensor([14, 32, 14])})
    pos = x["pos"].clone()
    pos[1] = pos[0]
    pos.requires_grad_()
    out = model.train()(**x | {"pos": pos})
    loss = sum(value.square().sum() for value in out.values())
    slopes = torch.autograd.grad(loss, [pos, *(p for p in model.parameters() if p.requires_grad)], allow_unused=True)
    assert all(bool(value.isfinite().all()) for value in (*out.values(), *(s for s in slopes if s is not None)))


# ---------------------------------------------------------------------- totals, elements, what is kept


def test_promises_are_kept_on_crystals(generator):
    model = made("bonds")
    assert {str(contract.group) for contract in model.contracts} == {"E(3)", 'S("N")'}
    assert max(check(model, inputs(crystal(generator), crystal(generator))).errors.values()) < 1e-11


def test_a_potential_that_sees_handedness_says_so_or_is_caught(generator):
    class Handed(Bonds):
        def energies(self, graph):
            v = graph.vectors * polynomial_envelope(graph.lengths, self.r_max)[:, None]
            a, b, c = (
                scatter_sum(v * graph.lengths[:, None] ** k, graph.edges["target"].values, len(graph.species)) for k in range(3)
            )
            return super().energies(graph) + (torch.linalg.cross(a, b) * c).sum(-1)

    class Honest(Handed):
        group = SO(3)

    x = inputs(crystal(generator), crystal(generator))
    torch.manual_seed(0)
    with pytest.raises(Broken, match=r"E\(3\)"):
        check(Handed(ELEMENTS, R_MAX).double(), x)
    assert max(check(Honest(ELEMENTS, R_MAX).double(), x).errors.values()) < 1e-11


def test_totals_are_references_plus_scaled_and_shifted_numbers(generator):
    class Ones(Bonds):
        def energies(self, graph):
            return super().energies(graph) * 0 + 1

    out = Ones(ELEMENTS, R_MAX, **STATISTICS).double()(**inputs(crystal(generator)))
    own = [1.5 + 0.1, 0.8 - 0.2, 0.8 - 0.2, 1.5 + 0.1]
    assert torch.allclose(out["energies"], torch.tensor(own, dtype=F64), atol=1e-14, rtol=0)
    assert math.isclose(float(out["interaction"].detach()), sum(own), rel_tol=1e-14)
    assert math.isclose(float(out["energy"].detach()), sum(own) + 2 * -3.0 + 2 * 2.0, rel_tol=1e-14)
    one_for_all = Ones(ELEMENTS, R_MAX, scale=2, shift=-1)
    assert (one_for_all.scale, one_for_all.shift, one_for_all.references) == ((2.0, 2.0), (-1.0, -1.0), (0.0, 0.0))


def test_reference_energies_are_sums_in_double_precision_whatever_the_weights(generator):
    model = made("bonds", references=[-1234.5678912345, -98765.4321098765]).float()
    z, batch = torch.tensor([14, 32, 32, 14, 14]), torch.tensor([1, 1, 0, 0, 0])
    found = model.reference_energy(z, batch)
    assert found.dtype == F64
    assert found.tolist() == [-98765.4321098765 - 2 * 1234.5678912345, -98765.4321098765 - 1234.5678912345]
    assert math.isclose(float(model.reference_energy(z)), -98765.4321098765 * 2 - 3 * 1234.5678912345, rel_tol=1e-15)


def test_many_atoms_are_summed_in_double_precision():
    count = 20_000
    model = Bonds(ELEMENTS, R_MAX, shift=-3.3, references=[0.7, 0.0]).eval()
    out = model(torch.zeros(count, 3), torch.full((count,), 14), torch.zeros(2, 0, dtype=torch.int64))
    each = float(torch.tensor(-3.3))  # what an atom has in single precision
    assert math.isclose(float(out["interaction"]), count * each, rel_tol=1e-7)
    assert math.isclose(float(out["energy"]), count * (each + 0.7), rel_tol=1e-7)


@pytest.mark.parametrize("kind", KINDS)
def test_large_totals_in_single_precision_cost_the_interaction_no_digits(kind, generator):
    frames = crystals(3, seed=1)
    exact = made(kind, references=[-2000.123, -1500.456])
    with torch.no_grad():
        wide = exact(**inputs(*frames))
        narrow = made(kind, references=[-2000.123, -1500.456]).float()(
            **join([sample_of(frame, R_MAX, dtype=torch.float32) for frame in frames])
        )
    assert wide["energy"].abs().max() > 8e3
    assert all(value.dtype == torch.float32 for value in narrow.values())
    assert (narrow["interaction"].double() - wide["interaction"]).abs().max() < 1e-4
    rounding = (narrow["energy"].double() - wide["energy"]).abs()
    assert rounding.max() < 1e-3
    assert (rounding <= 2.0**-24 * wide["energy"].abs() + 1e-4).all(), "rounded once"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"z": torch.tensor([14, 32, 6, 1])}, r"elements \[1, 6\] are unknown, it was made for \[14, 32\]"),
        ({"z": torch.tensor([14, 32, 0, -1])}, r"elements \[-1, 0\] are unknown"),
        ({"z": torch.tensor([14, 32, 119, 200])}, r"elements \[119, 200\] are unknown"),
        ({"z": torch.tensor([14.0, 32, 14, 32])}, "z are atomic numbers, integers; got .* torch.float32"),
        ({"z": torch.tensor([14, 32, 14])}, r"expected pos \(N, 3\) and z \(N,\)"),
        ({"pos": torch.zeros(4, 2)}, r"expected pos \(N, 3\)"),
        ({"pos": torch.zeros(4, 3, dtype=torch.int64)}, "positions are floating"),
        ({"cell": CELL}, r"cell \(B, 3, 3\)"),
        ({"cell": CELL.expand(2, 3, 3), "batch": None}, "B = 1 where batch is left out"),
        ({"edge_index": torch.zeros(3, 5, dtype=torch.int64)}, r"edge_index is \(2, edges\)"),
        ({"shift": torch.zeros(2, 3)}, "one shift"),
    ],
    ids=["new elements", "no elements", "beyond the table", "floating z", "short z", "flat", "integer pos", "no batch of cells",
         "no batch", "edges", "shifts"],
)  # fmt: skip
def test_what_does_not_fit_is_named(change, says, generator):
    with pytest.raises(InputError, match=says):
        made("bonds")(**inputs(crystal(generator)) | change)


def test_small_integers_are_atomic_numbers_too(generator):
    x = inputs(crystal(generator))
    model = made("bonds")
    for dtype in (torch.int32, torch.uint8):
        assert torch.equal(model(**x | {"z": x["z"].to(dtype)})["energy"], model(**x)["energy"])


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"elements": ()}, "atomic numbers, each once and in order"),
        ({"elements": (32, 14)}, "in order"),
        ({"elements": (14, 14)}, "each once"),
        ({"elements": (0, 14)}, "atomic numbers"),
        ({"elements": (14, 119)}, "atomic numbers"),
        ({"r_max": 0.0}, "positive and finite"),
        ({"r_max": math.inf}, "positive and finite"),
        ({"references": [1.0]}, "references is a finite number or one for each of 2 elements"),
        ({"scale": [1.0, math.nan]}, "scale is a finite number"),
        ({"shift": [1.0, 2.0, 3.0]}, "shift is a finite number or one for each of 2"),
    ],
    ids=["none", "order", "twice", "zero", "too many protons", "no cutoff", "infinite cutoff", "references", "scale", "shift"],
)
def test_settings_are_checked(given, says):
    given = {"elements": ELEMENTS, "r_max": R_MAX} | given
    with pytest.raises(InputError, match=says):
        Bonds(given.pop("elements"), given.pop("r_max"), **given)


def test_the_frame_alone_is_no_potential(generator):
    with pytest.raises(InputError, match="frame of a potential"):
        Potential(ELEMENTS, R_MAX)(**inputs(crystal(generator)))


@pytest.mark.parametrize("kind", ["MACE", "NequIP"])
def test_saved_and_loaded_it_is_the_same_to_the_last_digit_of_the_references(kind, tmp_path, generator):
    references = [-7891.123456789012, -56789.98765432101]
    model = made(kind, references=references, scale=0.1 + 0.2).float().eval()
    save_model(tmp_path, model)
    again = load_model(tmp_path)
    assert list(again.references) == references
    assert again.scale == (0.1 + 0.2,) * 2
    assert again.config == model.config
    assert again.contracts == model.contracts
    x = join([sample_of(crystal(generator), R_MAX)])
    for name, value in model(**x).items():
        assert torch.equal(value, again(**x)[name]), name


def test_contracts_name_the_group_and_the_elements():
    inner = made("MACE").contracts[0]
    assert inner.group == E(3)
    drawn = inner.inputs.example({"N": 40}, generator=torch.Generator().manual_seed(0))
    assert set(drawn["z"].tolist()) == set(ELEMENTS)
