import json
import os
import pickle
from dataclasses import dataclass

import pytest
import torch
from torch import nn

from coset.contract import Attached, Contract, attach
from coset.errors import InputError
from coset.groups.finite import C
from coset.groups.matrix import SO
from coset.models.images.cnn import CNN
from coset.records import read_results
from coset.symmetrizers.average import GroupAverage
from coset.train.checkpoint import load_model, read_description, save_model

image = Contract(C(4), "B x 1 x image", "B x 10 x scalar")


def small() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2))


def test_a_model_of_ours_comes_back_from_its_files_alone(tmp_path, generator):
    model = CNN(classes=7).eval()
    with torch.no_grad():
        [p.normal_(generator=generator) for p in model.parameters()]
    path = save_model(tmp_path / "m", model, contracts=(image,), metrics={"accuracy_percent": 91.25})
    about = read_description(path.parent)
    assert about["metrics"] == {"accuracy_percent": 91.25}
    assert about["contracts"][0]["group"] == "C(4)"
    assert about["parameters"] == sum(p.numel() for p in model.parameters())
    x = torch.randn(5, 1, 16, 16, generator=generator)
    for source in (path, path.parent):
        found = load_model(source)
        assert type(found) is CNN
        assert not found.training
        assert torch.equal(found(x), model(x))
    assert not torch.equal(CNN(classes=7).eval()(x), model(x))


def test_the_dtype_is_kept(tmp_path, generator):
    save_model(tmp_path, CNN().double())
    assert next(load_model(tmp_path).parameters()).dtype == torch.float64


def test_a_wrapper_around_a_foreign_model_needs_that_model_only(tmp_path, generator):
    contract = Contract(SO(2), "B x vector", "B x vector")
    promised = Contract(SO(2), "B x 3 x scalar", "B x 2 x scalar")
    model = attach(small(), promised).eval()
    save_model(tmp_path, model)
    with pytest.raises(InputError, match="TARGET"):
        load_model(tmp_path)
    for target in (small(), small):
        found = load_model(tmp_path, target=target)
        x = torch.randn(4, 3, generator=generator)
        assert isinstance(found, Attached)
        assert torch.equal(found(x), model(x))
        assert found.contracts == (promised,)
        assert found.contracts != (contract,)


def test_a_wrapper_of_ours_around_a_model_of_ours_needs_nothing_else(tmp_path, generator):
    model = GroupAverage(CNN(), image, pool="probabilities").eval()
    save_model(tmp_path, model)
    found = load_model(tmp_path)
    x = torch.randn(2, 1, 16, 16, generator=generator)
    assert torch.equal(found(x), model(x))
    assert found.contract == image


def test_weights_that_share_memory_are_saved_apart(tmp_path):
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(3, 3), nn.Linear(3, 3)
            self.b.weight = self.a.weight

    model = Tied()
    save_model(tmp_path, model)
    found = load_model(tmp_path, target=Tied)
    assert torch.equal(found.b.weight, model.a.weight)


@pytest.mark.parametrize(
    "name",
    [
        "os.system",
        "coset.records.os",
        "coset.records.json.JSONDecoder",
        "coset.records.Path",
        "coset.records.write_atomically",
        "coset.__main__.main",
        "coset.train.checkpoint.nn",
        "coset.records.Borrowed",
        "torch.nn.modules.linear.Linear",
        "coset.models.images.cnn.CNN.forward",
        "coset.no_such.Thing",
        "..os.system",
        "",
    ],
)
def test_a_description_that_names_anything_but_a_class_of_ours_is_refused(tmp_path, name, monkeypatch):
    monkeypatch.setattr(os, "system", lambda command: pytest.fail("executed"))
    monkeypatch.setattr("coset.records.Borrowed", nn.Identity, raising=False)  # a class that a module of ours only imports
    save_model(tmp_path, CNN())
    about = read_description(tmp_path)
    about["model"] = {"class": name, "arguments": {"command": "true"}}
    (tmp_path / "model.json").write_text(json.dumps(about))
    with pytest.raises(InputError, match=r"only a class defined|does not have"):
        load_model(tmp_path)


def test_wrong_arguments_schema_weights_and_damage_are_refused(tmp_path):
    save_model(tmp_path, CNN())
    about = read_description(tmp_path)

    def altered(**changes):
        (tmp_path / "model.json").write_text(json.dumps({**about, **changes}))
        with pytest.raises(InputError) as caught:
            load_model(tmp_path)
        return str(caught.value)

    assert "schema 2" in altered(schema=2)
    assert "schema" in altered(kind="stage")
    assert "damaged, or changed" in altered(sha256="0" * 64)
    assert "does not fit" in altered(model={**about["model"], "arguments": {**about["model"]["arguments"], "classes": 3}})
    assert "built" in altered(model={**about["model"], "arguments": {"color": "red"}})
    assert "does not write" in altered(model={"import": "os"})
    assert "int" in altered(model=3)
    for name, wrong in {"metrics": [], "errors": {"a": []}, "versions": None, "contracts": [3], "parameters": "many"}.items():
        assert "not as it was written" in altered(**{name: wrong})
    contract = {"group": "C(4)", "inputs": {"": "image"}, "outputs": {"": "invariant"}, "claim": "exact", "bound": None}
    for wrong in ({"inputs": {"": 3}}, {"bound": "much"}, {"group": None}):
        assert "not as it was written" in altered(contracts=[contract | wrong])
    (tmp_path / "model.json").write_text("{")
    with pytest.raises(InputError, match="damaged"):
        load_model(tmp_path)
    (tmp_path / "model.json").write_text(json.dumps(about))
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(InputError, match="damaged"):
        load_model(tmp_path)
    weights.unlink()
    with pytest.raises(InputError, match=r"no model\.safetensors"):
        load_model(tmp_path)
    with pytest.raises(InputError, match=r"no model\.json"):
        load_model(tmp_path / "elsewhere")


def test_an_unwritable_path_and_what_cannot_be_described_leave_nothing_behind(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write"):
        save_model(tmp_path / "file" / "m", CNN())
    secret = Attached(small(), (Contract(C(4), "B x vector", "B x scalar", view=lambda y: y),))
    with pytest.raises(InputError, match=r"view.*cannot be described"):
        save_model(tmp_path / "m", secret)
    with pytest.raises(InputError, match="torch modules"):
        save_model(tmp_path / "m", len)
    assert not (tmp_path / "m").exists()


def test_an_argument_that_is_lost_is_not_papered_over(tmp_path):
    model = CNN()
    model.config = {}
    with pytest.raises(InputError, match="neither in config"):
        save_model(tmp_path, model)
    assert not list(tmp_path.iterdir())


@dataclass
class Trap:
    """A pickle that leaves a trace when it is opened."""

    path: str

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_a_pickle_is_opened_only_on_request_and_in_another_process(tmp_path, generator):
    model = small().eval()
    torch.save({"state_dict": model.state_dict(), "epoch": 3}, tmp_path / "net.pt")
    with pytest.raises(InputError, match="trust"):
        load_model(tmp_path / "net.pt", target=small)
    with pytest.raises(InputError, match="TARGET"):
        load_model(tmp_path / "net.pt", trust_pickle=True)
    changed = small()
    nn.init.zeros_(changed[0].weight)
    found = load_model(tmp_path / "net.pt", target=changed, trust_pickle=True)
    x = torch.randn(4, 3, generator=generator)
    assert torch.equal(found(x), model(x))
    (tmp_path / "trap.pt").write_bytes(pickle.dumps(Trap(str(tmp_path / "sprung"))))
    with pytest.raises(InputError, match="trust"):
        load_model(tmp_path / "trap.pt", target=small)
    assert not (tmp_path / "sprung").exists()
    with pytest.raises(InputError, match=r"trap\.pt"):
        load_model(tmp_path / "trap.pt", target=small, trust_pickle=True)


def test_results_of_another_schema_are_refused(tmp_path):
    (tmp_path / "results.jsonl").write_text('{"schema": 9}\n')
    with pytest.raises(InputError, match="schema 9"):
        read_results(tmp_path)
