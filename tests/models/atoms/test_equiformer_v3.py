"""EquiformerV3: exact under SE(3) and not under mirrors, smooth across the cutoff, with forces and their derivatives finite."""

import copy
import warnings

import pytest
import torch

from coset.contract import Contract, frozen
from coset.data.stillinger import clusters
from coset.data.structures import join, sample_of
from coset.errors import InputError
from coset.groups.euclidean import SE, E
from coset.groups.permutation import S
from coset.models.atoms.equiformer_v3 import SIZES, EquiformerV3, conservative_copy, symmetric
from coset.nn.irreps_norm import MergedLayerNorm
from coset.ops.periodic import neighbor_list
from coset.testing import Broken, assert_equivariant, check
from coset.train.checkpoint import load_model, save_model

F64 = torch.float64
SMALL = {"layers": 1, "channels": 6, "heads": 2, "hidden": 4, "value": 3, "alpha": 4, "feedforward": 6, "basis": 6, "radial": 6}
CLUSTERS = {"elements": (14, 32), "r_max": 4.5}


def small(**kind):
    torch.manual_seed(0)
    return EquiformerV3(**{**SMALL, **kind}).double()


def fields(model, x):
    """The fields of what is in ``x``."""
    return {name: model.contracts[0].inputs.of(name) for name in x}


def structure(count=2, atoms=5, *, labels=()):
    return join([sample_of(frame, 4.5, labels, F64) for frame in clusters(count, atoms, seed=3)])


def crystal(seed=0):
    """Six atoms in a cell smaller than the cutoff."""
    generator = torch.Generator().manual_seed(seed)
    cell = 4.0 * torch.eye(3, dtype=F64) + 0.3 * torch.randn(3, 3, generator=generator, dtype=F64)
    pos = torch.rand(4, 3, generator=generator, dtype=F64) @ cell
    edge_index, shift = neighbor_list(pos, 4.5, cell=cell, periodic=True)
    return {"pos": pos, "z": torch.tensor([14, 32, 14, 14]), "edge_index": edge_index, "shift": shift, "cell": cell[None]}


class Compass(EquiformerV3):
    """A twin with a preferred direction."""

    def energies(self, graph):
        tilt = (graph.vectors[:, 2] / graph.lengths).new_zeros(len(graph.species))
        return super().energies(graph) + tilt.index_add(0, graph.edges["target"].values, graph.vectors[:, 2].square())


# ------------------------------------------------------------------------------------------------------------- contracts


@pytest.mark.parametrize("forces", ["gradient", "direct"])
def test_it_keeps_its_promises_exactly(forces):
    model = small(forces=forces)
    assert [contract.group for contract in model.contracts] == [SE(3), S("N")]
    assert all(contract.claim == "exact" for contract in model.contracts)
    assert max(check(model).errors.values()) < 1e-10


@pytest.mark.parametrize("kind", [{"activation": "gate"}, {"lmax": 3, "mmax": 1}, {"layers": 2, "lmax": 1, "mmax": 0}], ids=str)
def test_other_sizes_and_activations_are_exact(kind):
    model = small(**kind)
    assert assert_equivariant(model, model.contracts[0], samples=1).error < 1e-10


@pytest.mark.slow
@pytest.mark.parametrize("forces", ["gradient", "direct"])
def test_127_atoms_degree_four_orders_up_to_two(forces):
    model = small(layers=2, lmax=4, mmax=2, forces=forces, r_max=3.0)
    generator = torch.Generator().manual_seed(1)
    x = {"pos": 3 * torch.randn(127, 3, generator=generator, dtype=F64), "z": torch.tensor([1, 6, 8])[torch.arange(127) % 3]}
    x["edge_index"], _ = neighbor_list(x["pos"], 3.0)
    x["batch"] = torch.zeros(127, dtype=torch.int64)
    promises = [
        Contract(group, fields(model, x), {"energy": "B x scalar", "forces": "N x vector"}) for group in (SE(3), S("N"))
    ]
    assert max(check(model, x, promises).errors.values()) < 1e-10


def test_in_single_precision_errors_stay_below_1e_4():
    model, x = small(**CLUSTERS, lmax=4).float(), {k: v.float() if v.is_floating_point() else v for k, v in structure().items()}
    y = model(**x)
    for g in SE(3).sample(4, generator=torch.Generator().manual_seed(0), dtype=torch.float32):
        turned = model(**x | {"pos": x["pos"] @ g[:3, :3].T})
        assert (turned["energy"] - y["energy"]).abs().max() < 1e-4
        assert (turned["forces"] - y["forces"] @ g[:3, :3].T).abs().max() < 1e-4


@pytest.mark.parametrize("kind", [{"activation": "silu"}, {"grid": (3, 6)}], ids=["silu", "coarse grid"])
def test_what_is_not_exact_says_so_and_is_within_its_bound(kind):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = small(exact=False, **kind)
    motions, exchanges = model.contracts
    assert (motions.claim, motions.bound, exchanges.claim) == ("approximate", 0.1, "exact")
    assert 1e-7 < assert_equivariant(model, motions, samples=1).error < 0.1
    assert assert_equivariant(model, exchanges, samples=1).error < 1e-12


def test_a_preferred_direction_is_caught():
    torch.manual_seed(0)
    model = Compass(**SMALL)
    with pytest.raises(Broken, match=r"SE\(3\)"):
        check(model, contracts=model.contracts[0])


def test_reflections_are_broken_not_represented():
    """Left and right differ where matrices in frames have imaginary parts, and only there."""
    model, x = small(**CLUSTERS), structure()
    mirror = torch.diag(torch.tensor([-1.0, 1.0, 1.0], dtype=F64))

    def change():
        y, z = model(**x), model(**x | {"pos": x["pos"] @ mirror})
        return ((y["energy"] - z["energy"]) / y["energy"]).abs().max().item()

    assert change() > 1e-6
    with pytest.raises(Broken):
        assert_equivariant(model, Contract(E(3), fields(model, x), {"energy": "B x scalar"}), x, samples=1)
    with torch.no_grad():
        for layer in model.layers:
            for mix in (layer.attention.first, layer.attention.second):
                for weight in list(mix.weights)[1:]:
                    weight[1] = 0
    assert change() < 1e-12


# ------------------------------------------------------------------------------------------------------- smoothness, forces


def crossing(model, lengths):
    """Energies while the only bond of an atom passes the cutoff; edges beyond it are cut off."""
    frame = clusters(1, 4, seed=5)[0]
    ray = torch.tensor([0.48, 0.6, 0.64], dtype=F64)
    far = int((frame["pos"] @ ray).argmax())
    energies = []
    for length in lengths:
        pos = torch.cat([frame["pos"], (frame["pos"][far] + length * ray)[None]])
        edge_index, _ = neighbor_list(pos, model.r_max)
        energies.append(model(pos, torch.cat([frame["z"], frame["z"][:1]]), edge_index)["energy"].detach())
    return torch.cat(energies)


def test_an_edge_crosses_the_cutoff_with_two_continuous_derivatives():
    model, rough = small(**CLUSTERS), small(**CLUSTERS, envelope=None)
    second, jumps = {}, {}
    for h in (4e-3, 1e-3):
        lengths = model.r_max + h * torch.arange(-8.5, 9)
        for name, one in (("smooth", model), ("rough", rough)):
            energies = crossing(one, lengths)
            second[name, h] = (energies[2:] - 2 * energies[1:-1] + energies[:-2]).abs().max() / h**2
            jumps[name, h] = energies.diff().abs().max()
    assert second["smooth", 1e-3] < second["smooth", 4e-3]  # falls linearly: it is zero at the cutoff
    assert second["rough", 1e-3] > 8 * second["rough", 4e-3]  # a jump over h^2
    assert jumps["rough", 1e-3] > 1000 * jumps["smooth", 1e-3]


def test_forces_and_stress_are_derivatives():
    model, x = small(**CLUSTERS), crystal()
    y = model(**x)
    step, generator = 1e-5, torch.Generator().manual_seed(0)
    for _ in range(2):
        way = torch.randn(x["pos"].shape, generator=generator, dtype=F64)
        up, down = (model(**x | {"pos": x["pos"] + s * way})["energy"] for s in (step, -step))
        assert torch.allclose((down - up) / (2 * step), (y["forces"] * way).sum(), rtol=1e-6, atol=1e-7)
    strain = torch.randn(3, 3, generator=generator, dtype=F64)
    strain = strain + strain.T

    def strained(s):
        stretch = torch.eye(3, dtype=F64) + s * strain
        return model(**x | {"pos": x["pos"] @ stretch, "cell": x["cell"] @ stretch})["energy"]

    volume = torch.linalg.det(x["cell"]).abs()
    slope = (strained(step) - strained(-step)) / (2 * step)
    assert torch.allclose(slope, volume * (y["stress"] * strain).sum(), rtol=1e-6, atol=1e-7)


def test_weights_learn_from_forces():
    """The derivative of a loss on forces with respect to weights, against finite differences."""
    model, x = small(**CLUSTERS).train(), structure()
    weights = [p for p in model.parameters() if p.requires_grad]

    def loss():
        return model(**x)["forces"].square().sum()

    slopes = torch.autograd.grad(loss(), weights, allow_unused=True)
    ways = [torch.randn(p.shape, generator=torch.Generator().manual_seed(i), dtype=F64) for i, p in enumerate(weights)]
    want = sum((slope * way).sum() for slope, way in zip(slopes, ways, strict=True) if slope is not None)
    ends, step = [], 1e-6
    for sign in (1, -1):
        with torch.no_grad():
            for p, way in zip(weights, ways, strict=True):
                p += sign * step * way
        ends.append(loss().detach())
        with torch.no_grad():
            for p, way in zip(weights, ways, strict=True):
                p -= sign * step * way
    assert torch.allclose((ends[0] - ends[1]) / (2 * step), want, rtol=1e-4)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_edges_along_the_axes_have_finite_derivatives(axis):
    """The polar axis of the frames is y; a bond along it, up and down, is like any other."""
    model = small(**CLUSTERS).train()
    pos = torch.zeros(3, 3, dtype=F64)
    pos[1, axis], pos[2, axis] = 2.3, -2.4
    edge_index, _ = neighbor_list(pos, 3.0)
    y = model(pos.requires_grad_(), torch.tensor([14, 32, 14]), edge_index)
    second = torch.autograd.grad(y["forces"].square().sum(), pos)[0]
    assert torch.isfinite(second).all()
    others = [i for i in range(3) if i != axis]
    assert y["forces"][:, others].abs().max() < 1e-12
    near = pos.detach() + 1e-7 * torch.randn(3, 3, generator=torch.Generator().manual_seed(0), dtype=F64)
    assert torch.allclose(model(near, torch.tensor([14, 32, 14]), edge_index)["forces"], y["forces"], atol=1e-5)


def test_lone_atoms_and_empty_graphs():
    model = small(**CLUSTERS)
    none = torch.zeros(2, 0, dtype=torch.int64)
    alone = model(torch.zeros(2, 3, dtype=F64), torch.tensor([14, 32]), none)
    assert torch.isfinite(alone["energies"]).all()
    assert torch.equal(alone["forces"], torch.zeros(2, 3, dtype=F64))
    x = structure(1)
    pos = torch.cat([x["pos"], torch.full((1, 3), 50.0, dtype=F64)])
    joined = model(pos, torch.cat([x["z"], torch.tensor([32])]), x["edge_index"])
    assert torch.allclose(joined["energy"], model(**x)["energy"] + alone["energies"][1])
    direct = small(**CLUSTERS, forces="direct")
    assert torch.isfinite(direct(torch.zeros(2, 3, dtype=F64), torch.tensor([14, 32]), none)["forces"]).all()


# --------------------------------------------------------------------------------------------------------- direct forces


def test_direct_models_have_heads_and_no_claim_of_conservation():
    model, x = small(**CLUSTERS, forces="direct", scale=3.0), crystal()
    y = model(**x)
    assert (model.conservative, small().conservative) == (False, True)
    assert y["forces"].shape == (4, 3)
    assert torch.allclose(y["stress"], y["stress"].mT, atol=1e-14)
    pos = x["pos"].clone().requires_grad_()
    (slope,) = torch.autograd.grad(model(**x | {"pos": pos})["energy"].sum(), pos)
    assert (slope + y["forces"]).norm() > 0.5 * y["forces"].norm()
    other = EquiformerV3(**model.config | {"scale": [6.0, 6.0]}).double()
    other.load_state_dict(model.state_dict())
    assert torch.allclose(other(**x)["forces"], 2 * y["forces"])
    assert torch.allclose(other(**x)["stress"], 2 * y["stress"])


def test_a_trace_and_a_degree_two_make_a_symmetric_matrix():
    x = torch.randn(5, 6, generator=torch.Generator().manual_seed(0), dtype=F64)
    matrices = symmetric(x)
    assert torch.allclose(matrices, matrices.mT)
    assert torch.allclose(matrices.diagonal(dim1=-2, dim2=-1).sum(-1), 3 * x[:, 0])
    assert torch.linalg.matrix_rank(symmetric(torch.eye(6, dtype=F64)).flatten(1)) == 6


def test_a_direct_model_becomes_conservative():
    torch.manual_seed(0)
    direct = EquiformerV3(**SMALL, forces="direct", denoise=True, drop_path=0.1)
    for keep in (False, True):
        model = conservative_copy(direct, keep_energy=keep)
        assert (model.conservative, model.config["drop_path"], model.config["denoise"]) == (True, 0.0, False)
        kept = {name for name, value in model.state_dict().items() if torch.equal(value, direct.state_dict()[name])}
        fresh = {"energy.0.weight", "energy.0.bias", "energy.2.weight", "energy.2.bias"}
        assert set(model.state_dict()) - kept == (set() if keep else fresh)
    assert model.layers[0].attention.first.weights[0] is not direct.layers[0].attention.first.weights[0]


def test_known_forces_change_what_a_denoising_model_says():
    model, x = small(**CLUSTERS, forces="direct", denoise=True), structure()
    known = torch.randn(x["pos"].shape, generator=torch.Generator().manual_seed(0), dtype=F64)
    plain, told, zero = model(**x), model(**x, known=known), model(**x, known=torch.zeros_like(known))
    assert "noise" not in plain
    assert torch.allclose(zero["energy"], plain["energy"])
    assert not torch.allclose(told["noise"], zero["noise"])
    g = SE(3).sample(1, generator=torch.Generator().manual_seed(1), dtype=F64)[0, :3, :3]
    turned = model(**x | {"pos": x["pos"] @ g.T}, known=known @ g.T)
    assert torch.allclose(turned["noise"], told["noise"] @ g.T, atol=1e-12)


# ------------------------------------------------------------------------------------------------------ training, bad input


def test_dropout_acts_in_training_only():
    x = structure()
    for name in ("attention_drop", "feature_drop", "drop_path"):
        model = small(**CLUSTERS, **{name: 0.5})
        plain = model.eval()(**x)["energy"]
        assert torch.equal(plain, model(**x)["energy"])
        assert torch.equal(plain, small(**CLUSTERS).eval()(**x)["energy"])
        model.train()
        torch.manual_seed(1)
        assert not torch.allclose(model(**x)["energy"], plain), name


def test_weight_decay_leaves_norms_biases_and_tables_alone():
    model = small(forces="direct")
    spared, every = set(model.undecayed()), {name for name, _ in model.named_parameters()}
    assert {"embed.weight", "invariants.source", "invariants.target", "norm.gain", "energy.0.bias"} <= spared
    assert {"energy.0.weight", "layers.0.attention.first.weights.0", "layers.0.feedforward.up.weight"} <= every - spared
    assert all("bias" not in name for name in every - spared)
    norms = [module for module in model.modules() if isinstance(module, (MergedLayerNorm, torch.nn.LayerNorm))]
    kept = {id(p) for name, p in model.named_parameters() if name in spared}
    assert all(id(p) in kept for norm in norms for p in norm.parameters())


@pytest.mark.parametrize("kind", [{}, {"forces": "direct", "denoise": True, "grid": (5, 9), "scale": (1.0, 2.0, 3.0)}], ids=str)
def test_saved_and_loaded_it_is_the_same_function(kind, tmp_path):
    model = small(**kind)
    save_model(tmp_path, model)
    again = load_model(tmp_path)
    x = model.contracts[0].inputs.example(generator=torch.Generator().manual_seed(0))
    with frozen(model), frozen(again):
        first, second = model.eval()(**x), again.double().eval()(**x)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_the_configurations_of_the_paper_can_be_built():
    assert set(SIZES) == {"oc20-2m", "mptrj"}
    model = EquiformerV3((1, 8), **SIZES["mptrj"])
    assert 10e6 < sum(p.numel() for p in model.parameters()) < 40e6
    with pytest.raises(InputError, match="only gradients"):
        EquiformerV3((1, 8), **SIZES["oc20-2m"], conservative=True)
    few = EquiformerV3((1, 8), **SIZES["oc20-2m"] | {"layers": 1})
    assert few.layers[0].attention.orders.mmax == 2


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ({"mmax": 3}, "mmax 3"),
        ({"grid": (3, 7)}, "beta >= 4"),
        ({"grid": (4, 6)}, "alpha >= 7"),
        ({"forces": "direct", "conservative": True}, "only gradients of an energy"),
        ({"conservative": False}, "change forces"),
        ({"forces": "none"}, "'gradient' or 'direct'"),
        ({"activation": "silu"}, "exact on no grid"),
        ({"activation": "relu"}, "relu"),
        ({"denoise": True}, "noise head"),
        ({"layers": 0}, "one layer"),
        ({"forces": "direct", "lmax": 1, "mmax": 1}, "degrees 1 and 2"),
        ({"drop_path": 1.0}, "probability"),
    ],
    ids=str,
)
def test_contradictions_are_refused(kind, words):
    with pytest.raises(InputError, match=words):
        EquiformerV3(**{**SMALL, **kind})


def test_bad_structures_are_refused():
    model = small(**CLUSTERS)
    with pytest.raises(InputError, match="apart"):
        neighbor_list(torch.zeros(2, 3, dtype=F64), 3.0)
    with pytest.raises(InputError, match="length zero"):
        model(torch.zeros(2, 3, dtype=F64), torch.tensor([14, 14]), torch.tensor([[0], [1]]))
    x = structure(1)
    with pytest.raises(InputError, match="unknown"):
        model(**x | {"z": torch.full_like(x["z"], 6)})
    with pytest.raises(InputError, match="denoise=True"):
        model(**x, known=torch.zeros_like(x["pos"]))


def test_a_model_is_left_as_it_was():
    model, x = small(**CLUSTERS), structure()
    before, kept = copy.deepcopy(model.state_dict()), {name: value.clone() for name, value in x.items()}
    model(**x)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(torch.equal(kept[name], value) for name, value in x.items())
