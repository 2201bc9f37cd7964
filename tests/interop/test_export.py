"""An exported program gives what the model gives, also at sizes it was not traced at, and carries its contract."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from coset.audits.equivariance import equivariance_error
from coset.cli.app import run
from coset.contract import Contract, attach
from coset.errors import InputError
from coset.groups.matrix import O
from coset.interop.export import export_model, load_exported, read_contract
from coset.models.points.egnn import EGNN
from coset.nn.potential import Potential
from coset.train.checkpoint import read_description, save_model

PAIRS = Contract(O(3), {"pos": "B x N x vector", "z": "B x N x scalar"}, {"energy": "B x scalar", "force": "B x N x vector"})


class Sums(nn.Module):
    """A small net of pairwise distances with an invariant and a covariant output."""

    contracts = (PAIRS,)

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(1, 8), nn.SiLU(), nn.Dropout(0.5), nn.Linear(8, 1))

    def forward(self, pos, z):
        gap = pos[:, :, None] - pos[:, None]
        weight = self.net(gap.square().sum(-1, keepdim=True)) * z[:, None, :, None]
        return {"energy": weight.sum((1, 2, 3)), "force": (weight * gap).sum(2)}


class Counts(nn.Module):
    """What it does depends on the numbers that it sees."""

    contracts = (Contract(O(3), "N x vector", "N x vector"),)

    def forward(self, x):
        return x * (2 if bool(x.sum() > 0) else 3)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Sums()


def sample(b=3, n=5):
    generator = torch.Generator().manual_seed(1)
    return {"pos": torch.randn(b, n, 3, generator=generator), "z": torch.rand(b, n, generator=generator)}


def check(path, model, about, to):
    assert about["format"] == to
    assert about["difference"] <= 1e-5
    assert read_contract(path) == about
    assert about["contract"]["group"] == "O(3)"
    assert about["inputs"]["pos"] == {"dtype": "float32", "shape": [3, 5, 3], "free": [0, 1]}
    f = load_exported(path)
    for x in (sample(), sample(7, 4)):  # sizes that it was not traced at
        want, got = model.eval()(**x), f(**x)
        for name in want:
            torch.testing.assert_close(got[name], want[name], rtol=1e-4, atol=1e-5)
    x = sample()
    assert equivariance_error(f, PAIRS, x, samples=4, dtype="float32") <= 1e-4


def test_torch_export(model, tmp_path):
    path = tmp_path / "sums.pt2"
    check(path, model, export_model(model.train(), path, sample=sample()), "pt2")
    assert [file.name for file in tmp_path.iterdir()] == ["sums.pt2"]
    x = {name: value[:2] for name, value in sample().items()}
    # torch alone reads it, in a process that knows nothing of this package
    code = f"import torch, sys; torch.export.load({str(path)!r}).module()(pos=torch.ones(2, 3, 3), z=torch.ones(2, 3))"
    subprocess.run([sys.executable, "-W", "ignore", "-c", code + "; assert 'coset' not in sys.modules"], check=True)
    assert load_exported(path)(**x)["energy"].shape == (2,)


def test_a_model_of_a_single_tensor_keeps_its_dtype(tmp_path, generator):
    net = attach(nn.Linear(3, 2).double(), Contract(O(3), "N x 3 x scalar", "N x 2 x scalar"))
    about = export_model(net, tmp_path / "line.pt2")
    assert about["inputs"][""] == {"dtype": "float64", "shape": [3, 3], "free": [0]}
    x = torch.randn(9, 3, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(load_exported(tmp_path / "line.pt2")(x), net(x))


def test_what_cannot_be_exported_is_said_and_leaves_no_file(tmp_path, model, monkeypatch):
    with pytest.raises(InputError, match="cannot trace Counts"):
        export_model(Counts(), tmp_path / "counts.pt2")
    with pytest.raises(InputError, match=r"NAME\.onnx"):
        export_model(model, tmp_path / "sums.pt2", to="onnx")
    monkeypatch.setattr("coset.interop.export._difference", lambda *_: 1e-2)
    with pytest.raises(InputError, match="differs from Sums by"):
        export_model(model, tmp_path / "sums.pt2", sample=sample())
    assert not list(tmp_path.iterdir())
    potential = Potential.__new__(Potential)
    with pytest.raises(InputError, match="coset export RUN"):
        export_model(potential, tmp_path / "p.pt2", contract=PAIRS)


def test_other_files_are_refused(tmp_path):
    for content in (b"", b"PK\x03\x04 not a zip", b"{}"):
        (tmp_path / "x.pt2").write_bytes(content)
        with pytest.raises(InputError, match=r"x\.pt2 was not written by"):
            read_contract(tmp_path / "x.pt2")


@pytest.mark.slow
def test_compiled_ahead_of_time(model, tmp_path):
    check(tmp_path / "sums.pt2", model, export_model(model, tmp_path / "sums.pt2", sample=sample(), to="aoti"), "aoti")


def test_onnx(model, tmp_path):
    for name in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(name, reason="needs coset[export]")
    path = tmp_path / "sums.onnx"
    check(path, model, export_model(model, path, sample=sample(), to="onnx"), "onnx")


def test_the_command_exports_a_row(tmp_path, capsys):
    torch.manual_seed(0)
    model = EGNN()
    save_model(tmp_path / "row", model)
    out = tmp_path / "egnn.pt2"
    assert run(["export", str(tmp_path / "row"), "--out", str(out), "--to", "pt2"]) == 0
    assert f"file      {out}  EGNN, pt2, differs from the model by" in capsys.readouterr().out
    about = read_contract(out)
    assert about["contract"] == read_description(tmp_path / "row")["contracts"][0]
    x = model.contracts[0].inputs.example({"B": 4, "N": 6}, dtype=torch.float32)
    torch.testing.assert_close(load_exported(out)(**x), model.eval()(**x), rtol=1e-4, atol=1e-5)
    assert run(["export", str(tmp_path / "row"), str(tmp_path / "row"), "--out", str(out), "--to", "pt2"]) == 2
    assert "writes one model" in capsys.readouterr().err


def test_a_damaged_program_is_refused(tmp_path):
    export_model(Sums(), tmp_path / "a.pt2")
    raw = (tmp_path / "a.pt2").read_bytes()
    for where in (100, len(raw) // 2, len(raw) - 100):
        (tmp_path / "b.pt2").write_bytes(raw[:where] + b"\xff" * 40 + raw[where + 40 :])
        with pytest.raises(InputError, match=r"is it whole|was not written by"):
            load_exported(tmp_path / "b.pt2")
        (tmp_path / "b.pt2").write_bytes(raw[:where])
        with pytest.raises(InputError, match="was not written by"):
            load_exported(tmp_path / "b.pt2")


def test_on_a_full_disk_the_process_lives_and_the_old_file_stays(tmp_path):
    """In a process of its own, which torch's writer would end."""
    (tmp_path / "a.pt2").write_text("old")
    code = (
        "import resource, signal, sys\n"
        "from coset.errors import InputError\nfrom coset.interop.export import export_model\n"
        "from coset.models.points.egnn import EGNN\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\nresource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try:\n    export_model(EGNN(4, 1), sys.argv[1])\nexcept InputError as error:\n    print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "a.pt2")], capture_output=True, text=True, check=False)
    assert "cannot write" in done.stdout, done.stderr
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("a.pt2", "old")]
