import json

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

from coset.errors import InputError
from coset.train.state import read_state, write_state


def same(a, b):
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b) and a.dtype == b.dtype
    if isinstance(a, np.ndarray):
        return np.array_equal(a, b) and a.dtype == b.dtype
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    return a == b or (a != a and b != b)


def test_a_nested_state_comes_back_bit_for_bit(tmp_path, generator):
    tied = torch.randn(3, generator=generator)
    state = {
        0: {"exp_avg": torch.randn(2, 3, generator=generator, dtype=torch.float64), "step": torch.tensor(7)},
        "betas": (0.9, 0.1 + 0.2),
        "nothing": None,
        "flags": [True, False, 3, "text", float("inf"), float("nan"), -float("inf")],
        "tied": [tied, tied.view(3, 1), tied[1:]],
        "strided": torch.arange(12).view(3, 4).T,
        "array": np.arange(6, dtype=np.int16).reshape(2, 3),
        "number": np.float32(0.5),
        "dtype": torch.bfloat16,
        "empty": {},
        "half": torch.randn(4, generator=generator).to(torch.bfloat16),
    }
    write_state(tmp_path / "s", state, kind="test")
    assert same(read_state(tmp_path / "s", kind="test"), {**state, "number": 0.5})


@pytest.mark.parametrize("optimizer", [torch.optim.AdamW, torch.optim.SGD])
@pytest.mark.parametrize("schedule", ["OneCycleLR", "CosineAnnealingLR"])
def test_optimizers_and_schedules_go_on_as_if_never_stored(tmp_path, generator, optimizer, schedule):
    def make():
        model = nn.Linear(3, 2)
        with torch.no_grad():
            [p.copy_(torch.linspace(-1, 1, p.numel()).view_as(p)) for p in model.parameters()]
        opt = optimizer(model.parameters(), lr=0.1, **({"momentum": 0.9} if optimizer is torch.optim.SGD else {}))
        kinds = {"OneCycleLR": {"max_lr": 0.1, "total_steps": 8}, "CosineAnnealingLR": {"T_max": 8}}
        return model, opt, getattr(torch.optim.lr_scheduler, schedule)(opt, **kinds[schedule])

    x = torch.randn(4, 3, generator=generator)

    def steps(model, opt, plan, count):
        for _ in range(count):
            opt.zero_grad()
            model(x).square().sum().backward()
            opt.step()
            plan.step()

    model, opt, plan = make()
    steps(model, opt, plan, 3)
    parts = [p.state_dict() for p in (model, opt, plan)]
    write_state(tmp_path / "s", parts, kind="test")
    steps(model, opt, plan, 4)
    again = make()
    for part, state in zip(again, read_state(tmp_path / "s", kind="test"), strict=True):
        part.load_state_dict(state)
    steps(*again, 4)
    assert torch.equal(again[0].weight, model.weight)


@pytest.mark.parametrize("value", [object(), lambda: 0, {1, 2}, {"deep": [nn.Linear(1, 1)]}])
def test_what_is_no_plain_state_is_refused(tmp_path, value):
    with pytest.raises(InputError, match="cannot be stored"):
        write_state(tmp_path / "s", value, kind="test")
    assert not list(tmp_path.iterdir())


def test_damaged_foreign_and_other_files_are_refused(tmp_path):
    path = tmp_path / "s"
    write_state(path, {"w": torch.ones(5)}, kind="test")
    with pytest.raises(InputError, match="expected stage"):
        read_state(path, kind="stage")
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(InputError, match="damaged"):
        read_state(path, kind="test")
    path.write_bytes(safetensors.torch.save({"w": torch.ones(5)}))
    with pytest.raises(InputError, match="another program"):
        read_state(path, kind="test")
    with pytest.raises(InputError, match="no file"):
        read_state(tmp_path / "none", kind="test")


@pytest.mark.parametrize(
    "tree", [{"class": "os.system"}, {"tensor": "none"}, {"dtype": "nn"}, {"dict": [[{"list": []}, 1]]}, {"a": 1, "b": 2}]
)
def test_an_altered_header_is_refused(tmp_path, tree):
    header = json.dumps({"schema": 1, "kind": "test", "tree": tree})
    (tmp_path / "s").write_bytes(safetensors.torch.save({"w": torch.ones(5)}, metadata={"coset": header}))
    with pytest.raises(InputError):
        read_state(tmp_path / "s", kind="test")
