"""The audit page: its script moves samples as Python does, its payload loses nothing that is shown, one file holds it all."""

import json
import re
import shutil
import subprocess

import numpy as np
import pytest
import torch
from torch import nn

from coset.audits.elements import choose
from coset.audits.equivariance import audit, measure
from coset.audits.recording import data_symmetry, record
from coset.cli.app import run
from coset.contract import Contract
from coset.errors import InputError
from coset.groups.parse import parse_group
from coset.report.audit_moves import steps_of
from coset.report.audit_page import SCRIPTS, audit_page, read_payload, scripts, template, write_audit_page
from coset.report.audit_payload import Exhibit, _packed, cycle_type, pack, payload, unpack
from coset.reps.fields import Fields

ACTIONS = [
    ("SO(2)", "image", (3, 7, 7)),
    ("SO(2)", "image(mode=bicubic)", (1, 8, 8)),
    ("SO(2)", "image(mode=nearest)", (1, 8, 8)),
    ("D(4)", "image", (2, 6, 6)),
    ("D(4)", "image(size=5)", (1, 12, 12)),
    ("SE(2)", "image(size=6, disc=true)", (1, 12, 12)),
    ("T(2)", "image", (1, 5, 9)),
    ("SO(2)", "vector_image", (2, 6, 6)),
    ("C(4)", "regular_image", (4, 6, 6)),
    ("Torus(6, 6)", "periodic_image", (1, 6, 6)),
    ("Torus(4, 5)", "periodic_image", (1, 6, 7)),
    ("SE(3)", "N x position", (5, 3)),
    ("O(3)", "N x vector", (5, 3)),
    ("O(3)", "N x tensor(2)", (5, 3, 3)),
    ("O(3)", "axial", (3,)),
    ("O(3)", "2x0e+1x1o+1x2e", (4, 10)),
    ("C(8)", "sequence", (2, 10)),
    ("D(5)", "sequence", (2, 10)),
    ("D(5)", "sequence", (9,)),
    ("T(1)", "sequence(periodic=false)", (9,)),
    ("E(1)", "sequence(periodic=false)", (9,)),
    ('S("N")', "N x 2 x scalar", (6, 2)),
    ('S("N")', "N x N x scalar", (6, 6)),
    ("D(4)", "regular", (3, 8)),
]


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def javascript(code: str, given: object, names: tuple[str, ...] = ("tensors", "actions")) -> object:
    """What the page's scripts make of ``given``, in node."""
    if shutil.which("node") is None:
        pytest.skip("needs node to run the page's script; tests/browser runs it in Chromium")
    source = f'"use strict";\n{scripts(*names)}\nconst given = JSON.parse(require("fs").readFileSync(0, "utf8"));\n'
    source += f"console.log(JSON.stringify({code}));"
    done = subprocess.run(["node", "-e", source], input=json.dumps(given), capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_the_page_moves_every_kind_as_python_does():
    cases, wants = [], []
    for name, spec, shape in ACTIONS:
        fields = Fields(spec)
        x = random(*shape)
        group = parse_group(name).bind(fields, {"": x})
        g = choose(group, 9, seed=3)
        steps = steps_of(group, fields[0][1], x, g, {"": x})
        assert steps is not None, (name, spec)
        cases.append({"k": len(g), "steps": _packed(steps), "x": pack(x.numpy(), "f8")})
        wants.append([group.move(g[i], fields[0][1], x, {"": x}) for i in range(len(g))])
    every = """given.map(c => Array.from({ length: c.k }, (_, k) => {
        const y = move(c.steps, k, decode(c.x));
        return [y.shape, [...y.data]];
    }))"""
    for (name, spec, _), want, got in zip(ACTIONS, wants, javascript(every, cases), strict=True):
        for g, (shape, data) in zip(want, got, strict=True):
            assert torch.allclose(torch.tensor(data, dtype=torch.float64).view(shape), g, atol=1e-12), (name, spec)


def test_pointers_are_relabelled_and_samples_counted_from_their_own_start():
    fields = Fields({"edge": "2 x E -> N", "batch": "N -> B"})
    x = {"edge": torch.tensor([[0, 1, 3, 4], [1, 2, 4, 3]]), "batch": torch.tensor([0, 0, 0, 1, 1])}
    group = parse_group('S("N", within="B")').bind(fields, x)
    g = choose(group, 8, seed=1)
    steps = steps_of(group, fields[0][1], x["edge"], g, x)
    second = pack((x["edge"][:, 2:] - 3).numpy(), "i4")
    code = "Array.from({ length: given.k }, (_, k) => [...move(given.steps, k, decode(given.x), 3).data])"
    got = javascript(code, {"k": len(g), "steps": _packed(steps), "x": second})
    want = [(group.move(g[i], fields[0][1], x["edge"], x)[:, 2:] - 3).flatten().tolist() for i in range(len(g))]
    assert got == want


@pytest.mark.parametrize("kind", ["f8", "f4", "f2", "u1", "i4"])
def test_numbers_travel(kind):
    values = np.array([[0, 1, 250], [3, 4, 5]]) if kind in ("u1", "i4") else np.array([[0.5, -1, 6e4], [2**-14, 0.25, 0.125]])
    told = pack(values, kind)
    assert (unpack(told) == values).all()
    assert javascript("[...decode(given).data]", told) == values.flatten().tolist()


def test_small_residuals_survive_half_precision():
    values = 1e-15 * random(50).numpy()
    told = pack(values, "f2", scaled=True)
    assert np.abs(unpack(told) - values).max() < 1e-3 * np.abs(values).max()
    assert np.allclose(javascript("[...decode(given).data]", told), unpack(told), rtol=1e-12)


def luminance(color):
    """Of WCAG 2, for three numbers from 0 to 255."""
    share = np.array(color) / 255
    return float(np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4) @ (0.2126, 0.7152, 0.0722))


def test_letters_on_the_colors_of_values_can_be_read():
    told = javascript("given.map(share => [ramp(share), inkOn(share)])", [i / 400 for i in range(401)], ("svg",))
    for ground, ink in told:
        light = sorted([luminance([int(v) for v in re.findall(r"\d+", ground)]), luminance([255 * (ink == "#fff")] * 3)])
        assert (light[1] + 0.05) / (light[0] + 0.05) >= 4.5


# ---------------------------------------------------------------------------------------------------- recordings


def net(seed=0, classes=4):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(108, classes)).double()


C8 = Contract(parse_group("C(8)"), "image", "invariant")


def exhibit(name="net", seed=0, x=None, contract=C8, f=None, **more):
    x = random(12, 1, 8, 8) if x is None else x
    f = net(seed) if f is None else f
    return Exhibit(audit(f, x, contract, samples=8), record(f, x, contract, name=name, **more))


def test_errors_are_those_of_the_audit():
    x = random(12, 1, 8, 8)
    seen = record(net(), x, C8)
    found = measure(net(), C8, x, elements=seen.grid.elements, most=12)
    assert np.allclose(seen.errors.T, found.errors, rtol=1e-12)
    assert (seen.errors[:, seen.grid.identity] == 0).all()
    assert np.allclose(seen.floors, found.floors)
    # f(g x) = g f(x) + residual, where g leaves logits alone
    k = 3
    moved = C8.inputs.pack(C8.act(seen.grid.elements[k], x))[""]
    want = net()(moved)[5]
    assert torch.allclose(seen.outputs[5][""] + seen.residuals[5][""][k], want, atol=1e-12)
    assert (seen.classes[5, k]) == int(want.argmax())


def test_labels_give_probabilities_and_task_errors():
    labels = np.arange(12) % 4
    one = exhibit(labels=labels)
    assert one.recording.chance.shape == (12, 8)
    right = one.recording.classes == labels[:, None]
    told = payload([one])["models"][0]
    assert told["metrics"]["orbit error, %"] == pytest.approx(100 * (1 - right.mean()))
    assert told["metrics"]["upright error, %"] == pytest.approx(100 * (1 - right[:, 0].mean()))
    assert [q["name"] for q in told["quantities"]] == ["error", "chance"]


def test_members_of_ragged_batches_are_told_apart():
    def f(pos, edge, batch):
        i, j = edge
        return torch.zeros_like(pos).index_add_(0, i, (pos[j] - pos[i]) * torch.tensor([1.0, 1.0, 2.0]).to(pos))

    contract = Contract(
        parse_group("O(3)"), {"pos": "N x position", "edge": "2 x E -> N", "batch": "N -> B"}, {"": "N x vector"}
    )
    batch = torch.tensor([0, 0, 1, 1, 1])
    x = {"pos": random(5, 3), "edge": torch.tensor([[0, 2, 3], [1, 3, 4]]), "batch": batch}
    seen = record(lambda **kw: {"": f(**kw)}, x, contract, points=9)
    assert [sample["pos"].shape[0] for sample in seen.inputs] == [2, 3]
    assert seen.inputs[1]["edge"].tolist() == [[0, 1], [1, 2]]
    assert [sample["edge"].shape[1] for sample in seen.inputs] == [1, 2]
    assert torch.equal(seen.outputs[1][""], f(**x)[2:])
    assert seen.starts[1]["N"] == 2
    assert seen.residuals[1][""].shape == (9, 3, 3)
    told = payload([Exhibit(audit(lambda **kw: {"": f(**kw)}, x, contract, samples=8), seen)])
    assert [field["draw"] for field in told["inputs"]] == ["points", "edges", "labels"]
    assert told["outputs"][0]["draw"] == "vectors"


def test_the_part_of_the_output_that_breaks_is_named():
    def f(x):
        inertia = torch.einsum("...ni,...nj->...ij", x, x)
        twist = torch.zeros_like(inertia)
        twist[..., 0, 1], twist[..., 1, 0] = 1.0, -1.0
        return inertia + twist

    contract = Contract(parse_group("SO(3)"), "B x N x vector", "B x tensor(2)")
    seen = record(f, random(6, 5, 3), contract, points=20)
    parts = {part["name"]: part["error"] for part in seen.by_output}
    assert parts["trace (l = 0)"] < 1e-12
    assert parts["symmetric, no trace (l = 2)"] < 1e-12
    assert parts["antisymmetric (l = 1)"] > 0.5


def test_what_cannot_be_shown_is_refused():
    one = exhibit()
    with pytest.raises(InputError, match="1 to 6 models"):
        payload([])
    with pytest.raises(InputError, match="different names"):
        payload([one, one])
    with pytest.raises(InputError, match="other samples or elements"):
        payload([one, exhibit("other", contract=Contract(parse_group("C(4)"), "image", "invariant"))])
    with pytest.raises(InputError, match="product"):
        record(net(), random(3, 1, 8, 8), Contract(parse_group("C(4) * C(2)"), "image", "invariant"))
    with pytest.raises(InputError, match="one integer for each of 12"):
        exhibit(labels=np.zeros(3, dtype=int))
    with pytest.raises(InputError, match="classes run from 0 to 3"):
        exhibit(labels=np.full(12, 9))


def test_a_page_of_500_samples_and_three_models_stays_small():
    x = random(500, 1, 12, 12)
    contract = Contract(parse_group("SO(2)"), "image", "invariant")
    models = [exhibit(f"m{i}", x=x, contract=contract, f=lambda v, i=i: v.flatten(1)[:, i : i + 10]) for i in range(3)]
    told = payload(models)
    assert len(told["kept"]) == 500
    assert len(audit_page(told)) < 10e6
    few = payload(models, budget=100_000)
    assert 3 <= len(few["kept"]) < 60
    assert int(models[0].recording.errors.mean(1).argmax()) in few["kept"]
    assert len(audit_page(few)) < 1.5e6


def test_data_are_asked_for_their_own_symmetry():
    contract = Contract(parse_group("C(4)"), "image", "invariant")
    x = random(60, 1, 6, 6)
    x[:, :, 0] += 3.0
    found = data_symmetry(contract, {"": x})
    assert found["inputs"]["p_value"] < 0.01
    assert "at least 40" in data_symmetry(contract, {"": x[:5]})["notes"][0]


def test_permutations_are_sorted_by_their_cycles():
    assert cycle_type([1, 2, 0, 4, 3, 5]) == "3+2"
    assert cycle_type([0, 1, 2]) == "e"


# ---------------------------------------------------------------------------------------------------- the file


def test_one_file_without_a_network(tmp_path):
    told = payload([exhibit("a</script><b>")], title="</title><script>")
    path = write_audit_page(tmp_path / "audit.html", told)
    page = path.read_text()
    assert not re.search(r"""(?:src|href)\s*=\s*["']?(?:https?:|//)""", page)
    assert not re.search(r"\b(?:fetch|XMLHttpRequest|WebSocket|import)\s*\(", page)
    assert page.count("</script>") == 2, "the payload closes no script"
    assert read_payload(path) == json.loads(json.dumps(told))
    for mark in ("/*payload*/", "/*style*/", "/*script*/", "/*title*/"):
        assert mark not in page


def test_other_files_are_no_pages(tmp_path):
    (tmp_path / "no.html").write_text("<p>")
    with pytest.raises(InputError, match="no audit page"):
        read_payload(tmp_path / "no.html")
    (tmp_path / "bytes.html").write_bytes(audit_page(payload([exhibit()])).encode() + b"\x9a")
    with pytest.raises(InputError, match="no audit page"):
        read_payload(tmp_path / "bytes.html")
    with pytest.raises(InputError, match="no file"):
        read_payload(tmp_path / "none.html")
    told = payload([exhibit()])
    write_audit_page(tmp_path / "old.html", {**told, "schema": 0})
    with pytest.raises(InputError, match="another version"):
        read_payload(tmp_path / "old.html")


def test_scripts_are_short_and_complete():
    for name in SCRIPTS:
        text = template(f"{name}.js")
        assert text.startswith("// "), name
        assert text.count("\n") < 400, name
    if shutil.which("node"):
        subprocess.run(["node", "--check", "-"], input=f"(() => {{{scripts(*SCRIPTS)}}})()", text=True, check=True)


# ---------------------------------------------------------------------------------------------------- the command

NETS = """
import torch
from torch import nn
torch.manual_seed(0)
cnn = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(144, 10))
def total(x):
    return x.sum((-1, -2)).expand(-1, 10)
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nets.py").write_text(NETS)
    np.save(tmp_path / "images.npy", random(12, 1, 8, 8).numpy())
    np.save(tmp_path / "classes.npy", np.arange(12) % 10)
    return tmp_path


def line(*more, group="C(4)"):
    fields = ["--group", group, "--in", "image", "--out-rep", "invariant", "--data", "images.npy"]
    return ["audit", "nets.py:cnn", *fields, "--samples", "6", *more]


def test_the_command_writes_the_page_and_writes_it_again(place, capsys):
    assert run(line("--out", "out", "--beside", "nets.py:total", "--labels", "classes.npy")) == 1
    assert "out/audit.html" in capsys.readouterr().out
    told = read_payload("out/audit.html")
    assert [model["name"] for model in told["models"]] == ["cnn", "total"]
    assert [model["audit"]["verdict"] for model in told["models"]] == ["FAIL", "PASS"]
    assert told["models"][0]["next"].startswith("coset symmetrize nets.py:cnn")
    assert len(told["labels"]) == told["count"] == 6
    stored = json.loads((place / "out" / "audit.json").read_text())
    assert told["models"][0]["audit"]["error"] == stored["error"]
    before = (place / "out" / "audit.html").read_text()
    assert run(["report", "out"]) == 0
    assert (place / "out" / "audit.html").read_text() == before


def test_a_product_has_a_part_for_every_factor(place):
    assert run(line("--out", "out", group="C(4) * C(2)")) == 1
    assert [part["contract"]["group"] for part in read_payload("out/audit.html")["parts"]] == ["C(4)", "C(2)"]


def test_what_only_a_page_needs_asks_for_one(place, capsys):
    assert run(line("--beside", "nets.py:total")) == 2
    assert "--out" in capsys.readouterr().err
    np.save(place / "halves.npy", np.full(12, 0.5))
    assert run(line("--out", "out", "--labels", "halves.npy")) == 2
    assert "one integer per sample" in capsys.readouterr().err


@pytest.mark.parametrize(("name", "spec", "shape"), [("D(5)", "image", (1, 6, 6)), ("Octahedral()", "N x position", (3, 3))])
def test_the_cayley_graph_leads_from_g_to_gs(name, spec, shape):
    contract, x = Contract(parse_group(name), f"B x {spec}" if "x" in spec else spec, "invariant"), random(4, *shape)
    f = lambda v: v.flatten(1).sum(1, keepdim=True)  # noqa: E731
    seen = record(f, x, contract)
    grid = payload([Exhibit(audit(f, x, contract), seen)])["grid"]
    leads, elements, group = unpack(grid["cayley"]["leads"]).copy(), seen.grid.elements, seen.contract.group
    for s, to in zip(group.generators(), leads, strict=True):
        assert group.equal(elements[to], group.compose(elements, s.expand_as(elements))).all()
    reached = {0}
    while (more := reached | {int(to[k]) for to in leads for k in reached}) != reached:
        reached = more
    assert reached == set(range(len(elements))), "the generators reach every element"
    assert len(grid["cayley"]["generators"]) == len(leads)


def test_a_grid_that_is_no_finite_group_has_no_graph():
    x = random(4, 1, 6, 6)
    for name in ("SO(2)", "O(2)", "C(4)"):  # the last one is drawn as a circle
        contract, f = Contract(parse_group(name), "image", "invariant"), lambda v: v.flatten(1)[:, :2]
        assert "cayley" not in payload([Exhibit(audit(f, x, contract), record(f, x, contract))])["grid"]


def test_a_call_that_holds_more_is_told_to_hold_more():
    x, contract = random(64, 1, 16, 16), Contract(parse_group("C(4)"), "image", "invariant")
    small = record(lambda v: v.mean((1, 2, 3))[:, None], x, contract)
    large = record(lambda v: torch.cat([v] * 64, 1).exp().mean((1, 2, 3))[:, None], x, contract)
    assert large.memory_bytes > 64 * x.numel() * 8
    assert small.memory_bytes < large.memory_bytes / 4
