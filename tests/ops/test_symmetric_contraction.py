import importlib.util
import os
import subprocess
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from coset.errors import InputError
from coset.groups.orthogonal import O
from coset.ops.backends.select import BackendWarning, use
from coset.ops.symmetric_contraction import from_mace, from_tensors, symmetric_contraction
from coset.reps.clebsch_gordan import wigner_3j
from coset.reps.irreps import Irreps

NATURAL = "+".join(f"{l}{'eo'[l % 2]}" for l in range(7))


def irreps(lmax):
    return "+".join(NATURAL.split("+")[: lmax + 1])


def data(c, nodes, species, channels, generator, dtype=torch.float64):
    def randn(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    z = torch.randint(0, species, (nodes,), generator=generator)
    z[z == 1] = 0  # one species does not occur
    return randn(nodes, c.rows, channels), randn(species, c.paths_total, channels), z


def derivatives(c, x, w, z, backend, generator):
    """Value, first derivatives and derivatives of a random combination of them."""
    x, w = x.clone().requires_grad_(), w.clone().requires_grad_()
    out = c(x, w, z, backend=backend)
    g = torch.randn(out.shape, generator=generator, dtype=torch.float64).to(x.dtype).requires_grad_()
    first = torch.autograd.grad((out * g).sum(), (x, w), create_graph=True)
    ux, uw = (torch.randn(t.shape, generator=generator, dtype=torch.float64).to(x.dtype) for t in (x, w))
    force = torch.autograd.grad((first[0] * ux).sum(), (x, w, g), retain_graph=True, materialize_grads=True)
    second = torch.autograd.grad((first[0] * ux).sum() + (first[1] * uw).sum(), (x, w, g), materialize_grads=True)
    return [t.detach() for t in (out, *first, *force, *second)]


CASES = [
    (irreps(0), "0e", 3, 5),
    (irreps(1), "0e+1o", 1, 8),
    (irreps(1), "0e+1o+2e", 4, 3),
    (irreps(2), "0e+2e", 3, 16),
    (irreps(3), "0e", 3, 21),
    (irreps(6), "0e+1o", 2, 4),
    ("1o+1e+0o", "0e+0o+1o", 3, 1),
    ("6x0e+3x1o", "3x0e+6x1o", 2, 3),
]


@pytest.mark.parametrize(("given", "wanted", "correlation", "channels"), CASES)
@pytest.mark.parametrize("backend", ["cpu", "torch"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_backends_agree_with_the_reference_in_value_and_two_derivatives(
    given, wanted, correlation, channels, backend, dtype, generator
):
    c = symmetric_contraction(given, wanted, correlation)
    x, w, z = data(c, 9, 3, channels, generator)
    state = generator.get_state()
    expected = derivatives(c, x, w, z, "reference", generator)
    generator.set_state(state)
    found = derivatives(c, x.to(dtype), w.to(dtype), z, backend, generator)
    limit = 1e-13 if dtype == torch.float64 else 2e-6
    for a, b in zip(found, expected, strict=True):
        assert (a.dtype, a.shape) == (dtype, b.shape)
        assert float((a.double() - b).abs().max()) <= limit * max(1.0, float(b.abs().max()))


@pytest.mark.parametrize("backend", ["cpu", "torch"])
def test_gradients_pass_finite_differences(backend, generator):
    c = symmetric_contraction("0e+1o", "0e+1o", 3)
    x, w, z = data(c, 3, 2, 2, generator)

    def call(x, w):
        return c(x, w, z, backend=backend)

    leaves = (x.requires_grad_(), w.requires_grad_())
    assert torch.autograd.gradcheck(call, leaves)
    assert torch.autograd.gradgradcheck(call, leaves)


def test_third_derivatives_are_right_too(generator):
    c = symmetric_contraction("0e+1o", "0e+1o", 3)
    x, w, z = data(c, 3, 2, 2, generator)

    def third(backend):
        leaves = [x.clone().requires_grad_(), w.clone().requires_grad_()]
        value = c(*leaves, z, backend=backend).pow(2).sum()
        for _ in range(2):
            value = sum(g.pow(2).sum() for g in torch.autograd.grad(value, leaves, create_graph=True))
        return torch.autograd.grad(value, leaves)

    for a, b in zip(third("cpu"), third("reference"), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-9)


@pytest.mark.parametrize(("given", "wanted", "correlation", "channels"), CASES)
def test_it_is_equivariant(given, wanted, correlation, channels, generator):
    """Under rotations and the inversion, as flat features of irreps that every group knows how to move."""
    c = symmetric_contraction(given, wanted, correlation)
    unit = (Irreps(given) + Irreps(wanted)).channels()
    before, after = (Irreps([(mul * 2, ir) for mul, ir in Irreps(i)]) for i in (given, wanted))
    x, w, z = data(c, 4, 2, 2 * unit, generator)
    for g in O(3).sample(4, generator=generator, dtype=torch.float64):
        flat = x.reshape(4, -1)
        moved = before.transform(g, flat).reshape(x.shape)
        out, expected = c(moved, w, z), after.transform(g, c(x, w, z).reshape(4, -1)).reshape(4, c.rows_out, -1)
        assert float((out - expected).abs().max()) <= 1e-12 * max(1.0, float(expected.abs().max()))


def test_order_two_is_the_sum_of_channelwise_products(generator):
    """Correlation 2: every coupling of a feature with itself, written with 3j symbols, and nothing else."""
    lmax, target = 2, 2
    c = symmetric_contraction(irreps(lmax), "2e", 2)
    x, w, z = data(c, 6, 1, 3, generator)
    rows = {l: slice(l * l, (l + 1) ** 2) for l in range(lmax + 1)}
    couplings = []
    for a in range(lmax + 1):
        for b in range(a, lmax + 1):
            if abs(a - b) <= target <= a + b and (a + b + target) % 2 == 0:
                pair = x[:, rows[a]], x[:, rows[b]]
                couplings += [torch.einsum("ijk,nic,njc->nkc", wigner_3j(a, b, target), *pair)]
    couplings.append(x[:, rows[target]])
    assert c.paths_total == len(couplings)
    span = torch.stack(couplings, -1).permute(2, 0, 1, 3).reshape(3, -1, len(couplings))
    out = c(x, w, torch.zeros_like(z)).permute(2, 0, 1).reshape(3, -1, 1)
    remainder = out - span @ torch.linalg.lstsq(span, out).solution
    assert float(remainder.abs().max()) <= 1e-12 * float(out.abs().max())


def test_only_the_symmetric_part_of_given_tensors_acts(generator):
    u = torch.randn(1, 4, 4, 4, 5, generator=generator, dtype=torch.float64)
    x, w = (torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in ((7, 4, 3), (2, 5, 3)))
    z = torch.randint(0, 2, (7,), generator=generator)
    empty = [torch.zeros(1, *(4,) * order, 1, dtype=torch.float64) for order in (1, 2)]
    weights = torch.cat([torch.ones(2, 2, 3, dtype=torch.float64), w], 1)
    expected = torch.einsum("mijkp,npc,nic,njc,nkc->nmc", u, w[z], x, x, x)
    for permutation in ((0, 1, 2, 3, 4), (0, 3, 1, 2, 4), (0, 2, 1, 3, 4)):
        c = from_tensors("0e+1o", "0e", [[*empty, u.permute(permutation)]])
        torch.testing.assert_close(c(x, weights, z), expected, rtol=1e-12, atol=1e-12)
    assert [group.count for group in c.paths] == [1, 1, 5]


@pytest.mark.parametrize("backend", ["cpu", "torch"])
def test_no_nodes_one_node_strided_input_and_many_channels(backend, generator):
    c = symmetric_contraction(irreps(2), "0e+1o", 2)
    for nodes, channels in ((0, 8), (1, 37), (40, 24)):
        x, w, z = data(c, nodes, 4, channels, generator)
        wide = torch.randn(nodes, channels, c.rows, generator=generator, dtype=torch.float64)
        for values in (x, wide.transpose(1, 2)):
            out = c(values, w, z, backend=backend)
            assert out.shape == (nodes, c.rows_out, channels)
            torch.testing.assert_close(out, c(values, w, z, backend="reference"), rtol=1e-12, atol=1e-12)
    x, w = x.requires_grad_(), w.requires_grad_()
    c(x[:0], w, z[:0], backend=backend).sum().backward()
    assert not w.grad.any()
    assert x.grad.shape == x.shape


def test_sums_over_nodes_do_not_depend_on_threads(generator):
    c = symmetric_contraction(irreps(3), "0e+1o", 3)
    x, w, z = data(c, 200, 3, 128, generator, torch.float32)
    found = []
    before = torch.get_num_threads()
    for threads in (1, 2):
        torch.set_num_threads(threads)
        leaves = x.clone().requires_grad_(), w.clone().requires_grad_()
        out = c(*leaves, z, backend="cpu")
        found.append((out, *torch.autograd.grad(out.square().sum(), leaves)))
    torch.set_num_threads(before)
    for a, b in zip(*found, strict=True):
        assert torch.equal(a, b)


def test_the_weights_split_as_the_paths_say(generator):
    c = symmetric_contraction(irreps(3), "0e+1o", 3)
    assert [(str(g.irrep), g.order, g.count) for g in c.paths] == [
        ("0e", 1, 1), ("0e", 2, 4), ("0e", 3, 8), ("1o", 1, 1), ("1o", 2, 3), ("1o", 3, 12)
    ]  # fmt: skip
    w = torch.randn(2, c.paths_total, 3, generator=generator)
    parts = c.split(w)
    assert [part.shape[1] for part in parts] == [1, 4, 8, 1, 3, 12]
    assert torch.equal(torch.cat(parts, 1), w)


def test_the_choice_states_its_reason(generator):
    c = symmetric_contraction(irreps(1), "0e", 2)
    x, w, z = data(c, 3, 1, 4, generator)
    assert str(c.choose(x, w)) == "cpu: compiled kernels"
    half = c.choose(x.half(), w.half())
    assert (half.backend, half.reason.split(": ")[1]) == ("torch", "dtype torch.float16 is not float32 or float64")
    with pytest.warns(BackendWarning, match="runs on plain torch; kernels do not run it: dtype torch.float16"):
        c(x.half(), w.half(), z)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert c(x.bfloat16(), w.float(), z).dtype == torch.float32
    with use("reference"):
        assert c.choose(x, w).backend == "reference"
    with pytest.raises(InputError, match="float16"):
        c(x.half(), w.half(), torch.zeros(3, dtype=torch.int64), backend="cpu")
    with pytest.raises(InputError, match="cpu, torch and reference"):
        c(x, w, z, backend="triton")


def test_bad_input_is_refused_by_name(generator):
    with pytest.raises(InputError, match="from 1 to 4, got 0"):
        symmetric_contraction("0e+1o", "0e", 0)
    with pytest.raises(InputError, match="from 1 to 4, got 5"):
        symmetric_contraction("0e+1o", "0e", 5)
    with pytest.raises(InputError, match="contains 0o: check its parity"):
        symmetric_contraction("0e+1o", "0o", 2)
    c = symmetric_contraction("0e+1o", "0e+1o", 2)
    x, w, z = data(c, 3, 2, 4, generator)
    with pytest.raises(InputError, match=r"takes x \(nodes, 4, channels\), got \(3, 5, 4\)"):
        c(torch.zeros(3, 5, 4), w, z)
    with pytest.raises(InputError, match=r"weights \(species, 5, 4\), 1 of order 1 for 0e, 2 of order 2 for 0e"):
        c(x, w[:, :3], z)
    with pytest.raises(InputError, match="one per node"):
        c(x, w, torch.eye(3))
    with pytest.raises(InputError, match="one floating dtype"):
        c(x, w.float(), z)
    for backend in ("cpu", "torch", "reference"):
        for wrong in (-1, 2):
            with pytest.raises(InputError, match=r"weights are given for 2 species, 0..1; the nodes have"):
                c(x, w, torch.tensor([0, 1, wrong]), backend=backend)
    with pytest.raises(InputError, match=r"order 2 to 0e has shape \(1, 4, 4, 1\), got \(4, 3, 1\)"):
        from_tensors("0e+1o", "0e", [[torch.zeros(4, 1), torch.zeros(4, 3, 1)]])
    with pytest.raises(InputError, match="has the attribute 'irreps_in'"):
        from_mace(torch.nn.Linear(1, 1))


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["cpu", "torch"])
def test_it_compiles_as_one_graph_for_any_number_of_nodes(backend, generator):
    c = symmetric_contraction("0e+1o", "0e+1o", 2)

    compiled = torch.compile(lambda x, w, z: c(x, w, z, backend=backend) * 2, fullgraph=True)
    for nodes in (5, 6, 7):
        x, w, z = data(c, nodes, 3, 4, generator)
        leaves = x.requires_grad_(), w.requires_grad_()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            out = compiled(*leaves, z)
        torch.testing.assert_close(out, 2 * c(*leaves, z, backend="reference"), rtol=1e-12, atol=1e-12)
        found, expected = (torch.autograd.grad(y.square().sum(), leaves) for y in (out, 2 * c(*leaves, z, backend="reference")))
        for a, b in zip(found, expected, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


class TestMace:
    """Against mace-torch in an environment of its own, named by COSET_MACE_PYTHON."""

    @pytest.fixture
    def python(self):
        found = os.environ.get("COSET_MACE_PYTHON")
        if not found:
            pytest.skip("COSET_MACE_PYTHON names no interpreter with mace-torch")
        return found

    @pytest.mark.parametrize(("lmax", "wanted", "correlation"), [(3, "4x0e+4x1o", 3), (2, "4x0e+4x2e", 2), (1, "4x1o", 4)])
    @pytest.mark.parametrize("dtype", ["float64", "float32"])
    def test_its_module_is_carried_over(self, python, root, tmp_path, lmax, wanted, correlation, dtype):
        bench = _load(root / "benchmarks" / "contraction.py")
        given = "+".join(f"4x{ir}" for ir in irreps(lmax).split("+"))
        with bench.MaceProcess(python) as mace:
            mace.ask(
                do="build",
                irreps_in=given,
                irreps_out=wanted,
                correlation=correlation,
                species=3,
                nodes=11,
                dtype=dtype,
                save=str(tmp_path / "m.npz"),
            )
        kept = {name: torch.from_numpy(value) for name, value in np.load(tmp_path / "m.npz").items()}
        c, parameters = from_mace(_module(kept, given, wanted, correlation))
        w = torch.cat(parameters, 1)
        x = kept["x"].transpose(1, 2).contiguous().requires_grad_()
        limit = {"rtol": 1e-12, "atol": 1e-12} if dtype == "float64" else {"rtol": 2e-5, "atol": 2e-5}
        for backend in ("cpu", "torch", "reference"):
            out = c(x, w, kept["species"], backend=backend)
            torch.testing.assert_close(_theirs(out, wanted), kept["out"], **limit)
            (gx,) = torch.autograd.grad((_theirs(out, wanted) * kept["cotangent"]).sum(), x)
            torch.testing.assert_close(gx.transpose(1, 2), kept["gx"], **limit)


def _module(kept, given, wanted, correlation):
    """What :func:`from_mace` reads of a module, from the saved arrays."""
    parts = []
    for k in range(len(Irreps(wanted))):
        prefix = f"buffer.contractions.{k}."
        buffers = {name.removeprefix(prefix): value for name, value in kept.items() if name.startswith(prefix)}
        parts.append(
            SimpleNamespace(
                correlation=correlation,
                named_buffers=lambda buffers=buffers: buffers.items(),
                weights=[kept[f"part.{k}.{i}"] for i in range(correlation - 1)],
                weights_max=kept[f"part.{k}.max"],
            )
        )
    return SimpleNamespace(irreps_in=given, irreps_out=wanted, contractions=parts)


def _theirs(out, wanted):
    """Our rows as flat features with the channels slower than the components."""
    sizes = [block.ir.dim for block in Irreps(wanted)]
    return torch.cat([block.transpose(1, 2).flatten(1) for block in out.split(sizes, 1)], 1)


def _load(path: Path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_nothing_heavy_is_imported_before_the_first_call():
    code = "import sys, coset.ops.symmetric_contraction; print([m for m in ('llvmlite', 'e3nn', 'mace') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
