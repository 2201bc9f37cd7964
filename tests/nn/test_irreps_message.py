import math

import pytest
import torch

from coset.errors import InputError
from coset.groups.orthogonal import SO
from coset.nn.irreps_message import IrrepsConvolution
from coset.ops.bspline import UniformBSpline
from coset.ops.index import Edges
from coset.ops.spherical_harmonics import spherical_harmonics
from coset.reps.clebsch_gordan import wigner_3j
from coset.reps.irreps import Irreps
from coset.testing import Broken, check

F64 = torch.float64
CASES = [
    ("8x0e+8x1o", "1x0e+1x1o+1x2e", "4x0e+4x1o+2x2e"),
    ("8x0e+4x1o+4x1e", "1x0e+1x1o", "2x0e+2x1o+2x1e+1x0o"),  # multiplicities 8, 4: channels in rows
    ("2x1o+4x0e", "1x0e+1x1o", "2x0e+1x1o"),  # unsorted
    (Irreps("4x0+4x1", SO(3)), Irreps("1x0+1x1+1x2", SO(3)), Irreps("4x0+4x1", SO(3))),
]


def sample(layer, generator, nodes=6, edges=14):
    x = layer.contracts[0].inputs.example({"N": nodes, "E": edges}, generator=generator)
    x["edge_attr"] = x["edge_attr"].abs() + 0.1
    if "z" in x:
        x["z"] = torch.arange(nodes) % 2
    return x


@pytest.mark.parametrize("irreps", CASES, ids=str)
@pytest.mark.parametrize("radial", [5, UniformBSpline(4.0, 8)], ids=["mlp", "spline"])
@pytest.mark.parametrize("species", [None, 2])
def test_convolutions_keep_their_contracts(irreps, radial, species, generator):
    torch.manual_seed(0)
    layer = IrrepsConvolution(*irreps, radial, hidden=8, neighbors=2.5, species=species)
    assert max(check(layer, sample(layer, generator)).errors.values()) < 1e-10


def test_it_is_the_sum_of_its_paths(generator):
    torch.manual_seed(0)
    layer = IrrepsConvolution("3x0e+3x1o", "1x0e+1x1o", "2x1o", 4, hidden=8, neighbors=4.0).double()
    x = sample(layer, generator)
    source, target = x["edge_index"]
    tp = layer.weights.tp
    up = layer.up(x["x"])
    h = {0: up[:, None, :3], 1: up[:, 3:].view(-1, 3, 3)}
    s = {0: x["sh"][:, :1], 1: x["sh"][:, 1:]}
    weights = layer.weights.mlp(x["edge_attr"]).view(-1, len(tp.paths), 3)
    parts = []
    for place, path in enumerate(tp.paths):
        a, b, c = (ir.l for ir in path.irreps)
        product = torch.einsum("ijk,eiu,ej,eu->eku", wigner_3j(a, b, c), h[a][source], s[b], weights[:, place])
        parts.append(math.sqrt(2 * c + 1) * product)
    assert len(parts) == 2  # 0e x 1o and 1o x 0e; 1o x 1o has no 1o
    summed = torch.zeros(6, 3, 6, dtype=F64).index_add(0, target, torch.cat(parts, -1))
    assert torch.allclose(layer(**x), layer.down(summed.flatten(1)) / 2, atol=1e-12)


def test_splines_are_the_weights_they_show(generator):
    torch.manual_seed(0)
    spline = UniformBSpline(3.0, 6)
    layer = IrrepsConvolution("2x0e+2x1o", "1x0e+1x1o", "2x0e+2x1o", spline).double()
    x = sample(layer, generator)
    table = torch.cat([layer.weights.table, torch.zeros(3, *layer.weights.table.shape[1:]).double()])
    weights = spline.evaluate(table, x["edge_attr"][:, 0])
    tp = layer.weights.tp
    want = tp(layer.up(x["x"]).view(6, 4, 2), x["sh"], weights, Edges(x["edge_index"], 6))
    assert torch.allclose(layer(**x), layer.down(want.flatten(1)), atol=1e-12)
    far = {**x, "edge_attr": x["edge_attr"] + 3}
    assert not bool(layer(**far).any())


@pytest.mark.parametrize("radial", [3, UniformBSpline(3.0, 6)], ids=["mlp", "spline"])
def test_forces_are_derivatives_and_differentiable(radial, generator):
    torch.manual_seed(0)
    layer = IrrepsConvolution("1x0e+1x1o", "1x0e+1x1o", "1x0e+1x1o", radial, hidden=4).double()
    features, pos = torch.randn(4, 4, generator=generator, dtype=F64), torch.randn(4, 3, generator=generator, dtype=F64)
    edge_index = torch.tensor([[0, 1, 2, 3, 0], [1, 2, 3, 0, 2]])

    def energy(features, pos):
        vectors = pos[edge_index[1]] - pos[edge_index[0]]
        r = vectors.norm(dim=-1, keepdim=True)
        attr = r if not isinstance(radial, int) else torch.cat([r, r.sin(), r.cos()], -1)
        return layer(features, spherical_harmonics(1, vectors), attr, edge_index)

    inputs = (features.requires_grad_(), pos.requires_grad_())
    assert torch.autograd.gradcheck(energy, inputs)
    assert torch.autograd.gradgradcheck(energy, inputs)


def test_state_shared_edges_and_empty_graphs(generator):
    torch.manual_seed(0)
    make = lambda: IrrepsConvolution("4x0e+4x1o", "1x0e+1x1o", "4x0e", 3, hidden=4, species=2).double()  # noqa: E731
    layer, twin = make(), make()
    twin.load_state_dict(layer.state_dict())
    x = sample(layer, generator)
    assert torch.equal(layer(**x), twin(**{**x, "edge_index": Edges(x["edge_index"], 6)}))
    none = {"edge_index": torch.zeros(2, 0, dtype=torch.int64), "sh": x["sh"][:0], "edge_attr": x["edge_attr"][:0]}
    assert torch.allclose(layer(x=x["x"], z=x["z"], **none), layer.self_connection(x["x"], x["z"]))


class Flipped(IrrepsConvolution):
    """A broken twin: components of the harmonics in the wrong order."""

    def forward(self, x, sh, edge_attr, edge_index, z=None):
        return super().forward(x, sh.flip(-1), edge_attr, edge_index, z)


def test_broken_twin_and_bad_input(generator):
    layer = Flipped("4x0e+4x1o", "1x0e+1x1o", "4x0e+4x1o", 3)
    x = sample(layer, generator)
    with pytest.raises(Broken):
        check(layer, x)
    with pytest.raises(InputError, match="neighbors"):
        IrrepsConvolution("4x0e", "1x0e", "4x0e", 3, neighbors=0)
    with pytest.raises(InputError, match="species z are given"):
        layer.float()(**{k: v.float() if v.is_floating_point() else v for k, v in x.items()}, z=torch.zeros(6))
