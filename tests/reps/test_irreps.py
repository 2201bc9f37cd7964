"""The algebra of irreps (that of e3nn), reading and printing, features in both layouts, what moves them and what does not."""

import warnings

import pytest
import torch

from coset.contract import Contract
from coset.errors import ContractError, InputError
from coset.groups.euclidean import SE, E, Scale
from coset.groups.finite import C, D, Icosahedral, Octahedral
from coset.groups.matrix import GL, SU
from coset.groups.orthogonal import SO, O
from coset.reps.conventions import to_mul_ir
from coset.reps.fields import Fields
from coset.reps.intertwiners import intertwiners
from coset.reps.irrep_labels import Degree, Frequency, Irrep, Spin, Wave
from coset.reps.irreps import Irreps

SPECS = ["1e+0e+2x1o+0o+1o+3x0e", "128x0e + 64x1o", "", "2x3o+0x1o+3o", "4x2y", "5e+5o+5e"]


def test_the_algebra_is_that_of_e3nn():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        o3 = pytest.importorskip("e3nn.o3", reason="a peer to compare with")
        for spec in SPECS:
            own, other = Irreps(spec), o3.Irreps(spec)
            assert "+".join(map(str, own)) == str(other)
            assert (own.dim, own.num_irreps, own.ls, len(own)) == (other.dim, other.num_irreps, other.ls, len(other))
            assert own.slices() == other.slices()
            for name in ("simplify", "regroup", "remove_zero_multiplicities"):
                assert list(map(str, getattr(own, name)())) == list(map(str, getattr(other, name)())), name
            assert list(map(str, own.sort().irreps)) == list(map(str, other.sort().irreps))
            assert (own.sort().p, own.sort().inv) == (other.sort().p, other.sort().inv)
            for ir in ("0e", "1o", "3o", "2e"):
                assert own.count(ir) == other.count(ir)
                assert (ir in own) == (ir in other)
            assert list(map(str, own * 2)) == list(map(str, other * 2))
            assert list(map(str, own + "2x1o")) == list(map(str, other + o3.Irreps("2x1o")))
            assert list(map(str, own.filter(keep="0e+5x1o"))) == list(map(str, other.filter(keep=["0e", "1o"])))
            assert list(map(str, own.filter(drop="1o", lmax=2))) == list(map(str, other.filter(drop=["1o"]).filter(lmax=2)))
            assert list(map(str, own[1:])) == list(map(str, other[1:]))
        assert list(map(str, Irrep("2e") * Irrep("1o"))) == list(map(str, o3.Irrep("2e") * o3.Irrep("1o")))
        assert [str(ir) for ir in Irrep.iterator(3)] == [str(ir) for ir in o3.Irrep.iterator(3)]
        assert str(Irreps.spherical_harmonics(3, 1)) == str(o3.Irreps.spherical_harmonics(3, 1))


def test_many_ways_to_say_the_same():
    want = Irreps("2x0e+3x1o")
    assert want == Irreps([(2, "0e"), (3, Irrep(1, -1))]) == Irreps(["2x0e", (3, (1, -1))]) == Irreps(want)
    assert want == 2 * Irrep("0e") + 3 * Irrep("1o") == Irreps("2x0e") + "3x1o" == "2x0e" + Irreps("3x1o")
    assert hash(want) == hash(Irreps(" 2 x 0e + 3x1o "))
    assert repr(want) == str(want) == "2x0e+3x1o"
    assert want != Irreps(want, layout="mul_ir")
    assert Irreps(Irrep("1o")) == Irreps("1o")
    assert [(mul, ir.l, ir.p) for mul, ir in want] == [(2, 0, 1), (3, 1, -1)]
    assert want[1].dim == 9
    assert Irrep((2, 1)) == Irrep("2e") == Irrep(Irrep(2, 1))
    assert Irreps("0e+3x0e").is_scalar()
    assert not Irreps("0o").is_scalar()


def test_rows_and_channels():
    irreps = Irreps("128x0e+64x1o+192x2e")
    assert irreps.channels() == 64
    assert irreps.over(64) == irreps // 64 == Irreps("2x0e+1x1o+3x2e")
    assert irreps.over(64).dim * 64 == irreps.dim
    assert Irreps("4x0e+4x1o").rows == 4
    assert irreps.lmax == 2
    with pytest.raises(InputError, match="allow 64"):
        irreps.over(128)
    with pytest.raises(InputError, match="empty"):
        _ = Irreps("").lmax


@pytest.mark.parametrize(
    ("bad", "hint"),
    [
        ("2x1", "write 1o or 1e"), ("1q", "0e or 1o"), ("1o++1e", "empty"), (7, "8x0e"), ([(1, 2, 3)], "pairs"),
        ([(-1, "0e")], "at least 0"), ([("a", "0e")], "pairs"),
    ],
)  # fmt: skip
def test_what_cannot_be_read(bad, hint):
    with pytest.raises(InputError, match=hint):
        Irreps(bad)


def test_errors_name_the_fix():
    with pytest.raises(InputError, match="parity is"):
        Irrep(1)
    with pytest.raises(InputError, match="whole number"):
        Irrep(-1, 1)
    with pytest.raises(InputError, match="did you mean 'mul_ir'"):
        Irreps("1o", layout="mulir")
    with pytest.raises(InputError, match="belong to O"):
        Irreps("1o", SO(3))
    with pytest.raises(InputError, match="spin"):
        Irreps("1/3", SU(2))
    with pytest.raises(InputError, match="determinant"):
        Irreps("0", O(2))
    with pytest.raises(InputError, match="irrep of D"):
        Irreps("T1", D(4))
    with pytest.raises(ContractError, match="no names"):
        Irreps("1", GL(3))
    with pytest.raises(ContractError, match="different groups"):
        _ = Irrep("1o") * Degree(1)
    with pytest.raises(InputError, match="single irreps"):
        _ = Irreps("1o") * Irreps("1o")


def test_irreps_of_other_groups():
    assert repr(Irreps("8x0+4x1", SO(3))) == "Irreps('8x0+4x1', SO(3))"
    assert Irreps("2x1/2+1", SU(2)).dim == 7
    assert Irreps("0+2x3", SO(2)).dim == 5
    assert Irreps("0e+0o+2x3", O(2)).dim == 6
    assert Irreps("2xA1+E", D(4)).dim == 4
    assert Irreps("0+4", D(4)) == Irreps("A1+E", D(4))
    assert [str(ir) for ir in Spin(1) * Spin(0.5)] == ["1/2", "3/2"]
    assert [str(ir) for ir in Frequency(2) * Frequency(2)] == ["0", "0", "4"]
    assert [str(ir) for ir in Wave(2) * Wave(2)] == ["0e", "0o", "4"]
    assert [str(ir) for ir in Wave(0, -1) * Wave(2)] == ["2"]
    t1 = Irreps("T1", Octahedral())[0].ir
    assert [str(ir) for ir in t1 * t1] == ["A1", "E", "T1", "T2"]
    assert list(map(str, Irreps("1+0+1", SO(2)).regroup())) == ["1x0", "2x1"]


def test_a_vector_is_the_word_vector(generator):
    fields = Fields({"x": "N x 1o", "y": "N x vector", "a": "N x 1e", "b": "N x axial", "p": "N x 0o"})
    x = torch.randn(4, 3, generator=generator, dtype=torch.float64)
    g = O(3).sample(6, generator=generator)
    g[0] = -torch.eye(3)
    for h in g:
        moved = Contract(O(3), fields, "scalar").act(h, {"x": x, "y": x, "a": x, "b": x, "p": x[:, :1]})
        assert torch.allclose(moved["x"], moved["y"], atol=1e-14)
        assert torch.allclose(moved["a"], moved["b"], atol=1e-14)
        assert torch.allclose(moved["p"], x[:, :1] * torch.linalg.det(h), atol=1e-14)


def test_fields_are_read_and_printed():
    spec = {"a": "N x 8x0e+4x1o", "b": "irreps(8x0e+4x1o, layout=mul_ir)", "c": "N x irreps(2x0+1x2, group=SO(3))"}
    fields = Fields(spec)
    assert fields == Fields({name: str(f) for name, f in fields})
    assert fields.of("a").kind == Irreps("8x0e+4x1o")
    assert fields.of("b").kind.layout == "mul_ir"
    assert fields.of("c").kind == Irreps("2x0+1x2", SO(3))
    assert fields.example({"N": 5})["a"].shape == (5, 20)
    for bad, hint in [("N x 2x1", "parity"), ("irreps", "8x0e"), ("irreps(1o, layout=ab)", "layout"), ("N x 3", "kind")]:
        with pytest.raises(InputError, match=hint):
            Fields(bad)


@pytest.mark.parametrize("group", [SO(3), O(3), E(3), SE(3), Icosahedral(), Octahedral(inversion=True)], ids=str)
def test_both_layouts_move_consistently(group, generator):
    irreps = Irreps("3x0e+2x1o+0o+4x2o+1e")
    x = irreps.randn(5, generator=generator)
    g = group.sample(3, generator=generator)
    last = irreps.move(group, g, x.unsqueeze(0), {})
    first = Irreps(irreps, layout="mul_ir").move(group, g, to_mul_ir(irreps, x).unsqueeze(0), {})
    assert torch.allclose(to_mul_ir(irreps, last), first, atol=1e-14)
    one = irreps.move(group, g[1], x, {})
    assert torch.allclose(one, last[1], atol=1e-14)
    assert torch.allclose(last[:, 0].norm(dim=-1), x[0].norm().expand(3), atol=1e-13)
    assert irreps.move(group, g, x.float().unsqueeze(0), {}).dtype == torch.float32


def test_the_representation_moves_as_the_field_in_either_layout(generator):
    for layout in ("ir_mul", "mul_ir"):
        irreps = Irreps("2x0e+3x1o+2e", layout=layout)
        rep = irreps.representation()
        g = O(3).sample(4, generator=generator)
        x = irreps.randn(1, 2, generator=generator)
        assert rep.dim == irreps.dim
        assert torch.allclose(rep.act(g, x), irreps.transform(g, x), atol=1e-13)
        assert rep.orthogonal()
        assert len(intertwiners(rep, rep)) == 4 + 9 + 1
        assert rep.irreps() == Irreps("2x0e+3x1o+2e")
    restricted = Irreps("1o").representation().restrict(Octahedral())
    assert restricted.dim == 3
    with pytest.raises(InputError, match="component"):
        Irreps("").representation()


@pytest.mark.parametrize(
    ("irreps", "group", "hint"),
    [
        (Irreps("1o"), Scale(3), "stretches"),
        (Irreps("1o"), GL(3), "stretches"),
        (Irreps("1o"), SO(2), "R\\^3"),
        (Irreps("1", SO(3)), O(3), "parity"),
        (Irreps("1", SU(2)), SO(3), "cannot move"),
        (Irreps("E", D(4)), C(4), "cannot move"),
    ],
    ids=str,
)
def test_what_cannot_be_moved(irreps, group, hint):
    g = torch.stack([group.sample(1, generator=torch.Generator().manual_seed(k))[0] for k in range(8)])
    if isinstance(group, GL):
        g = 2 * g
    with pytest.raises(ContractError, match=hint):
        irreps.move(group, g, torch.zeros(8, irreps.dim), {})


def test_a_wrong_size_is_named():
    with pytest.raises(ContractError, match="3 components"):
        Irreps("1o").move(O(3), torch.eye(3), torch.zeros(4), {})


def test_random_features(generator):
    irreps = Irreps("1000x0e+1000x2e")
    x = irreps.randn(2, generator=generator, normalization="norm")
    norms = x[:, 1000:].view(2, 5, 1000).square().sum(1).mean()
    assert abs(norms - 1) < 0.05
    assert Irreps("1/2", SU(2)).randn(3).is_complex()
    with pytest.raises(InputError, match="normalization"):
        irreps.randn(2, normalization="length")


def test_derivatives_of_the_action_exist_at_the_identity():
    irreps = Irreps("0e+1o+2x2e")
    x = irreps.randn(generator=torch.Generator().manual_seed(0))

    def moved(t):
        return irreps.transform(SO(3).exp(t), x)

    zero = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(moved, (zero,), atol=1e-7)
    assert torch.autograd.gradgradcheck(moved, (zero,), atol=1e-6)
