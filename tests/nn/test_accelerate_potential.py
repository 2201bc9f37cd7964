"""A potential with the structure of mace-torch, on e3nn 0.6, so that its blocks are tested where it is not installed."""

import copy
import warnings

import pytest
import torch
from torch import nn

from coset.errors import InputError
from coset.nn.accelerate import accelerate, report_of, restore
from coset.nn.foreign_example import example_crystal, is_potential, neighbours
from coset.nn.foreign_graph import find_pairs

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    pytest.importorskip("e3nn", reason="foreign models are built with e3nn (extra peers)")
    import e3nn.nn
    from e3nn import o3

CHANNELS, ELEMENTS, BASIS = 8, 3, 4


@pytest.fixture(autouse=True)
def _foreign_warnings():
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        yield


class _Block(nn.Module):
    def __init__(self, node_feats, hidden):
        super().__init__()
        target = o3.Irreps(f"{CHANNELS}x0e + {CHANNELS}x1o + {CHANNELS}x2e")
        harmonics = o3.Irreps("0e + 1o + 2e")
        self.edge_feats_irreps = o3.Irreps(f"{BASIS}x0e")
        self.avg_num_neighbors = 26.0
        self.linear_up = o3.Linear(node_feats, node_feats)
        paths = [
            (mul, ir, i, j)
            for i, (mul, a) in enumerate(o3.Irreps(node_feats))
            for j, (_, b) in enumerate(harmonics)
            for ir in a * b
            if ir in target
        ]
        middle, places, _ = o3.Irreps([(mul, ir) for mul, ir, _, _ in paths]).sort()
        instructions = sorted(((i, j, places[n], "uvu", True) for n, (_, _, i, j) in enumerate(paths)), key=lambda x: x[2])
        self.conv_tp = o3.TensorProduct(
            node_feats, harmonics, middle, instructions, shared_weights=False, internal_weights=False
        )
        self.conv_tp_weights = e3nn.nn.FullyConnectedNet([BASIS, 16, self.conv_tp.weight_numel], torch.nn.functional.silu)
        self.linear = o3.Linear(middle, target)
        self.density_fn = e3nn.nn.FullyConnectedNet([BASIS, 1], torch.nn.functional.silu)
        first = (node_feats, hidden) if "Residual" in type(self).__name__ else (target, target)
        self.skip_tp = o3.FullyConnectedTensorProduct(first[0], f"{ELEMENTS}x0e", first[1])
        self.reshape = nn.Identity()

    def handle_lammps(self, x, *_):
        return x

    def truncate_ghosts(self, x, real=None):
        return x[:real] if real is not None else x

    def forward(self, node_attrs, node_feats, edge_attrs, edge_feats, edge_index, cutoff=None, **_):
        name = type(self).__name__
        skip = self.skip_tp(node_feats, node_attrs) if "Residual" in name else None
        weights = self.conv_tp_weights(edge_feats)
        density = torch.tanh(self.density_fn(edge_feats) ** 2)
        if cutoff is not None:
            weights, density = weights * cutoff, density * cutoff
        each = self.conv_tp(self.linear_up(node_feats)[edge_index[0]], edge_attrs, weights)
        message = self.linear(each.new_zeros(len(node_feats), each.shape[1]).index_add(0, edge_index[1], each))
        total = density.new_zeros(len(node_feats), 1).index_add(0, edge_index[1], density)
        message = message / (total + 1) if "Density" in name else message / self.avg_num_neighbors
        message = message if "Residual" in name else self.skip_tp(message, node_attrs)
        parts = message.split([CHANNELS, 3 * CHANNELS, 5 * CHANNELS], dim=-1)
        return torch.cat([part.unflatten(-1, (CHANNELS, -1)) for part in parts], dim=-1), skip


class RealAgnosticInteractionBlock(_Block):
    pass


class RealAgnosticResidualInteractionBlock(_Block):
    pass


class RealAgnosticDensityInteractionBlock(_Block):
    pass


class RealAgnosticDensityResidualInteractionBlock(_Block):
    pass


class StrangeInteractionBlock(_Block):
    def forward(self, *args, **options):
        message, skip = super().forward(*args, **options)
        return message.tanh(), skip


class Contraction(nn.Module):
    """Coupling tensors of any kind do: the replacement reads them."""

    def __init__(self, ir):
        super().__init__()
        self.correlation, self.rows, self.dim = 2, 9, ir.dim
        axis = () if ir.l == 0 else (ir.dim,)
        self.register_buffer("U_matrix_1", torch.randn(*axis, 9, 1))
        self.register_buffer("U_matrix_2", torch.randn(*axis, 9, 9, 3))
        self.weights_max = nn.Parameter(torch.randn(ELEMENTS, 3, CHANNELS))
        self.weights = nn.ParameterList([torch.randn(ELEMENTS, 1, CHANNELS)])

    def forward(self, x, y):
        one, two = self.U_matrix_1.view(self.dim, 9, 1), self.U_matrix_2.view(self.dim, 9, 9, 3)
        w1, w2 = (torch.einsum("ekc,be->bkc", w, y) for w in (self.weights[0], self.weights_max))
        out = torch.einsum("mik,bkc,bci->bcm", one, w1, x) + torch.einsum("mijk,bkc,bci,bcj->bcm", two, w2, x, x)
        return out.flatten(1)


class SymmetricContraction(nn.Module):
    def __init__(self, irreps_in, irreps_out):
        super().__init__()
        self.irreps_in, self.irreps_out = o3.Irreps(irreps_in), o3.Irreps(irreps_out)
        self.contractions = nn.ModuleList(Contraction(ir) for _, ir in self.irreps_out)

    def forward(self, x, y):
        return torch.cat([part(x, y) for part in self.contractions], dim=-1)


class EquivariantProductBasisBlock(nn.Module):
    def __init__(self, irreps_in, irreps_out, use_sc):
        super().__init__()
        self.use_sc, self.cueq_config = use_sc, None
        self.symmetric_contractions = SymmetricContraction(irreps_in, irreps_out)
        self.linear = o3.Linear(irreps_out, irreps_out)

    def forward(self, node_feats, sc, node_attrs):
        out = self.linear(self.symmetric_contractions(node_feats, node_attrs))
        return out + sc if self.use_sc and sc is not None else out


class _Cutoff(nn.Module):
    def __init__(self, r_max):
        super().__init__()
        self.register_buffer("r_max", torch.tensor(r_max))

    def forward(self, r):
        x = r / self.r_max
        return (1 - 10 * x**3 + 15 * x**4 - 6 * x**5) * (x < 1)


class _Bessel(nn.Module):
    def __init__(self, r_max):
        super().__init__()
        self.register_buffer("k", torch.arange(1, BASIS + 1) * torch.pi / r_max)

    def forward(self, r):
        return torch.sin(self.k * r) / r


class RadialEmbeddingBlock(nn.Module):
    def __init__(self, r_max, apply_cutoff):
        super().__init__()
        self.cutoff_fn, self.bessel_fn, self.apply_cutoff = _Cutoff(r_max), _Bessel(r_max), apply_cutoff

    def forward(self, lengths, *_):
        radial, cutoff = self.bessel_fn(lengths), self.cutoff_fn(lengths)
        return (radial * cutoff, None) if self.apply_cutoff else (radial, cutoff)


class Potential(nn.Module):
    def __init__(self, block=RealAgnosticResidualInteractionBlock, apply_cutoff=True):
        super().__init__()
        hidden = f"{CHANNELS}x0e + {CHANNELS}x1o"
        self.register_buffer("atomic_numbers", torch.tensor([1, 6, 8]))
        self.register_buffer("r_max", torch.tensor(3.0))
        self.embed = o3.Linear(f"{ELEMENTS}x0e", f"{CHANNELS}x0e")
        self.spherical_harmonics = o3.SphericalHarmonics("0e + 1o + 2e", normalize=True, normalization="component")
        self.radial_embedding = RadialEmbeddingBlock(3.0, apply_cutoff)
        self.interactions = nn.ModuleList([block(f"{CHANNELS}x0e", hidden), block(hidden, f"{CHANNELS}x0e")])
        target, residual = self.interactions[0].linear.irreps_out, "Residual" in block.__name__
        self.products = nn.ModuleList(EquivariantProductBasisBlock(target, out, residual) for out in (hidden, f"{CHANNELS}x0e"))
        self.readout = o3.Linear(f"{CHANNELS}x0e", "0e")

    def forward(self, data, training=False, compute_edge_forces=False):
        data["positions"].requires_grad_(True)
        source, target = data["edge_index"]
        vectors = data["positions"][target] - data["positions"][source] + data["shifts"]
        harmonics = self.spherical_harmonics(vectors)
        lengths = vectors.norm(dim=-1, keepdim=True)
        radial, cutoff = self.radial_embedding(lengths, data["node_attrs"], data["edge_index"], self.atomic_numbers)
        x = self.embed(data["node_attrs"])
        for interaction, product in zip(self.interactions, self.products, strict=True):
            x, skip = interaction(
                node_attrs=data["node_attrs"], node_feats=x, edge_attrs=harmonics, edge_feats=radial,
                edge_index=data["edge_index"], cutoff=cutoff, lammps_class=None,
            )  # fmt: skip
            x = product(node_feats=x, sc=skip, node_attrs=data["node_attrs"])
        energy = self.readout(x).sum()
        wanted = [data["positions"], *([vectors] if compute_edge_forces else [])]
        slopes = torch.autograd.grad(energy, wanted, create_graph=training, retain_graph=training)
        found = {"energy": energy.unsqueeze(0), "forces": -slopes[0]}
        return found | ({"edge_forces": slopes[1]} if compute_edge_forces else {})


def potential(dtype=torch.float64, **options):
    torch.manual_seed(0)
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        return Potential(**options)
    finally:
        torch.set_default_dtype(before)


def small(model, atoms=6, seed=0):
    """A crystal of few atoms with several images of each as neighbours."""
    data = example_crystal(model)
    generator = torch.Generator().manual_seed(seed)
    cell = 3.1 * torch.eye(3, dtype=torch.float64) + 0.2 * torch.randn(3, 3, generator=generator, dtype=torch.float64)
    positions = torch.rand(atoms, 3, generator=generator, dtype=torch.float64) @ cell
    edge_index, images = neighbours(positions, cell, 3.0)
    data |= {"positions": positions, "cell": cell, "edge_index": edge_index, "unit_shifts": images, "shifts": images @ cell}
    data |= {"node_attrs": data["node_attrs"][:atoms], "batch": data["batch"][:atoms]}
    dtype = model.r_max.dtype
    return {name: x.to(dtype) if x.is_floating_point() else x for name, x in data.items()}


def run(model, data, **options):
    return model({name: x.detach().clone() for name, x in data.items()}, **options)


def assert_same(first, second, tolerance=1e-10):
    for name, x in first.items():
        torch.testing.assert_close(second[name], x, rtol=tolerance, atol=tolerance * float(x.detach().abs().max()))


BLOCKS = [
    RealAgnosticInteractionBlock,
    RealAgnosticResidualInteractionBlock,
    RealAgnosticDensityInteractionBlock,
    RealAgnosticDensityResidualInteractionBlock,
]


@pytest.mark.parametrize(("block", "apply_cutoff"), list(zip(BLOCKS, (True, False, False, True), strict=True)))
def test_every_block_gives_energy_forces_and_gradients_of_a_force_loss(block, apply_cutoff):
    model = potential(block=block, apply_cutoff=apply_cutoff)
    original, data = copy.deepcopy(model), small(model)
    accelerate(model, data, report=None, rounds=1)
    assert {what for _, what in report_of(model).swapped} >= {block.__name__, "EquivariantProductBasisBlock"}
    assert_same(run(original, data), run(model, data))
    for which in (original, model):
        run(which, data, training=True)["forces"].square().sum().backward()
    for (name, theirs), mine in zip(original.named_parameters(), model.parameters(), strict=True):
        if theirs.grad is not None:
            torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-9, atol=1e-9 * float(theirs.grad.abs().max()), msg=name)


def test_a_crystal_is_made_for_a_potential_and_the_model_is_checked_on_it():
    model = potential(dtype=torch.float32)
    data = example_crystal(model)
    assert is_potential(model)
    assert not is_potential(nn.Linear(1, 1))
    assert 20 <= data["edge_index"].shape[1] / 64 <= 32
    vectors = data["positions"][data["edge_index"][1]] - data["positions"][data["edge_index"][0]] + data["shifts"]
    assert vectors.norm(dim=-1).max() < 3.0
    assert vectors.norm(dim=-1).min() > 0.5
    accelerate(model, report=None, rounds=1)
    names = {deviation.name: deviation for deviation in report_of(model).outputs}
    assert set(names) == {"energy", "forces"}
    assert all(deviation.within(1e-4) and deviation.error is not None for deviation in names.values())
    assert report_of(model).gradients[0].deviation < 1e-4


def test_the_state_goes_back_and_forth():
    model, fresh = potential(), potential()
    data = small(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    names = list(model.state_dict())
    accelerate(model, data, report=None, rounds=1)
    assert list(model.state_dict()) == names
    run(model, data, training=True)["forces"].square().sum().backward()
    optimizer.step()
    fresh.load_state_dict(model.state_dict())
    assert_same(run(fresh, data), run(model, data))
    assert_same(run(restore(copy.deepcopy(model)), data), run(model, data))


def test_pairs_are_found_among_images_and_lone_edges():
    model = potential()
    data = small(model)
    edge_index = data["edge_index"]
    vectors = data["positions"][edge_index[1]] - data["positions"][edge_index[0]] + data["shifts"]
    lengths = vectors.norm(dim=-1, keepdim=True)
    keep = torch.randperm(len(lengths), generator=torch.Generator().manual_seed(3))[:-5]
    pairs = find_pairs(edge_index[:, keep], vectors[keep] / lengths[keep], lengths[keep])
    two = pairs.first != pairs.second
    first, second = keep[pairs.first], keep[pairs.second]
    assert torch.equal(edge_index[:, first[two]], edge_index[:, second[two]].flip(0))
    torch.testing.assert_close(vectors[first[two]], -vectors[second[two]])
    assert 5 >= int((~two).sum()) > 0
    assert sorted([*pairs.first.tolist(), *pairs.second[two].tolist()]) == list(range(len(keep)))
    assert torch.equal(pairs.index.values[pairs.first], torch.arange(len(two)))


def test_pairs_are_not_trusted_when_images_change_under_the_same_list():
    model = potential()
    original, data = copy.deepcopy(model), small(model)
    accelerate(model, data, report=None, rounds=1)
    fixed, generator = data["edge_index"], torch.Generator().manual_seed(5)
    for scale in (0.0, 1.0):
        shifts = data["shifts"] + scale * torch.randn(len(data["shifts"]), 3, generator=generator, dtype=torch.float64)
        given = {**data, "positions": data["positions"].clone(), "edge_index": fixed, "shifts": shifts}
        assert_same(original(dict(given)), model(dict(given)))


def test_forces_edge_by_edge_are_the_originals():
    model = potential()
    original, data = copy.deepcopy(model), small(model)
    accelerate(model, data, report=None, rounds=1)
    assert_same(run(original, data, compute_edge_forces=True), run(model, data, compute_edge_forces=True))
    assert_same(run(original, data), run(model, data))


def test_attributes_that_are_not_one_hot_and_elements_that_do_not_occur():
    model = potential()
    original, data = copy.deepcopy(model), small(model)
    accelerate(model, data, report=None, rounds=1)
    soft = {**data, "node_attrs": torch.rand(6, ELEMENTS, generator=torch.Generator().manual_seed(0)).double()}
    assert_same(run(original, soft), run(model, soft))
    single = {**data, "node_attrs": torch.eye(ELEMENTS).double()[torch.ones(6, dtype=torch.int64)]}
    assert_same(run(original, single), run(model, single))


def test_no_edges_and_one_atom():
    model = potential()
    original, data = copy.deepcopy(model), small(model)
    accelerate(model, data, report=None, rounds=1)
    lonely = {**data, "edge_index": data["edge_index"][:, :0], "shifts": data["shifts"][:0], "unit_shifts": data["shifts"][:0]}
    assert_same(run(original, lonely), run(model, lonely))


def test_tables_of_frozen_networks():
    model = potential().requires_grad_(False)
    original, data = copy.deepcopy(model), small(model)
    accelerate(model, data, table=True, report=None, rounds=1)
    assert_same(run(original, data), run(model, data), tolerance=1e-6)
    gap = (run(original, data)["forces"] - run(model, data)["forces"]).abs().max()
    assert gap > 0  # a table is in use
    with torch.no_grad():
        for parameters in zip(
            *(which.interactions[0].conv_tp_weights.parameters() for which in (original, model)), strict=True
        ):
            for parameter in parameters:
                parameter.mul_(1.3)
    assert_same(run(original, data), run(model, data), tolerance=1e-6)
    model.requires_grad_(True)
    assert_same(run(original, data), run(model, data))


def test_tables_of_networks_that_train_are_refused():
    model = potential()
    with pytest.raises(InputError, match="requires_grad_"):
        accelerate(model, small(model), table=True, report=None, rounds=1)


def test_an_unknown_block_stays_and_its_modules_are_swapped():
    model = potential(block=StrangeInteractionBlock)
    original, data = copy.deepcopy(model), small(model)
    accelerate(model, data, report=None, rounds=1)
    report = report_of(model)
    assert dict(report.kept)["interactions.0"] == "there is no replacement for StrangeInteractionBlock; its parts are replaced"
    assert "interactions.0.conv_tp" in dict(report.swapped)
    assert_same(run(original, data), run(model, data))


def test_a_block_with_other_connections_is_kept_with_the_reason():
    model = potential()
    linear = model.interactions[1].linear
    fewer = [(ins.i_in, ins.i_out) for ins in linear.instructions][1:]
    model.interactions[1].linear = o3.Linear(linear.irreps_in, linear.irreps_out, instructions=fewer).double()
    original, data = copy.deepcopy(model), small(model)
    accelerate(model, data, report=None, rounds=1)
    assert "does not join all paths" in dict(report_of(model).kept)["interactions.1"]
    assert "interactions.0" in dict(report_of(model).swapped)
    assert_same(run(original, data), run(model, data))
