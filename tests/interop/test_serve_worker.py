"""The process behind coset serve: it finds models where it may, and neither runs nor unpickles what it finds."""

import json
import pickle
import re
import shutil
from pathlib import Path

import numpy as np
import torch

from coset.cli.audit_page import Shown, write_page
from coset.contract import Contract
from coset.groups.parse import parse_group
from coset.interop.serve_folder import Folder
from coset.interop.serve_worker import Studio, answer
from coset.models.images.cnn import CNN
from coset.train.checkpoint import save_model


class Canary:
    """Touches a file when it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return (open, (self.path, "w"))


def copied(place, tmp_path, name="a"):
    target = tmp_path / "runs" / name
    shutil.copytree(place / "runs" / "digits", target)
    return target


def test_a_page_cannot_name_what_is_run(place, tmp_path):
    """Neither by its command nor by a model's name; and nothing is unpickled."""
    folder, canary = copied(place, tmp_path), tmp_path / "canary"
    (folder / "evil.py").write_text(f"open({str(canary)!r}, 'w')\ndef f(x): return x\n")
    (folder / "model.pt").write_bytes(pickle.dumps(Canary(canary)))
    page = folder / "audit.html"
    for name in ("evil.py:f", str(folder / "evil.py:f"), "model.pt", "a/model.pt", "runs/a"):
        page.write_text(page.read_text().replace('"name":"cnn"', json.dumps("name") + ":" + json.dumps(name)))
        studio = Studio(tmp_path / "runs", {})
        (model,) = studio.open("a", 0)["models"]
        assert not model["live"]
        shutil.copy(place / "runs" / "digits" / "audit.html", page)
    (model,) = Studio(tmp_path / "runs", {}).open("a", 0)["models"]
    assert "--model cnn=TARGET" in model["why"]
    (model,) = Studio(tmp_path / "runs", {"cnn": str(folder / "model.pt")}).open("a", 0)["models"]
    assert "is a pickle" in model["why"]
    assert not canary.exists()


def test_samples_are_not_unpickled(place, tmp_path):
    folder, canary = copied(place, tmp_path), tmp_path / "canary"
    np.savez(folder / "samples.npz", input=np.array([Canary(canary)], dtype=object), allow_pickle=True)
    (model,) = Studio(tmp_path / "runs", {"cnn": f"{place}/nets.py:cnn"}).open("a", 0)["models"]
    assert not model["live"]
    assert not canary.exists()


def test_a_model_saved_in_the_folder_is_found(place, tmp_path):
    """By the name that the audit gave it; of two with one name, the one that the page's command says."""
    folder = copied(place, tmp_path)
    torch.manual_seed(0)
    model = CNN(size=8, classes=5).double().eval()
    contract = Contract(parse_group("SO(2)"), "image", "invariant")
    x = torch.from_numpy(np.load(folder / "samples.npz")["input"])
    row = save_model(tmp_path / "runs" / "one" / "plain" / "0", model).parent
    write_page(
        folder / "audit.html", [Shown(str(row), model, None)], x, contract, data=None, labels=None, how=(None, None, 64, 0)
    )
    (told,) = Studio(tmp_path / "runs", {}).open("a", 0)["models"]
    assert (told["name"], told["live"], told["why"]) == ("plain/0", True, "")
    other = save_model(tmp_path / "runs" / "two" / "plain" / "0", model).parent
    (told,) = Studio(tmp_path / "runs", {}).open("a", 0)["models"]
    assert "2 models are called so" in told["why"]
    page = folder / "audit.html"
    page.write_text(re.sub(r'"command":"[^"]*","versions', f'"command":"coset audit {other}","versions', page.read_text()))
    studio = Studio(tmp_path / "runs", {})
    assert studio.open("a", 0)["models"][0]["live"]
    assert list(studio.models) == ["two/plain/0"]
    (other / "model.safetensors").rename(tmp_path / "elsewhere")
    (other / "model.safetensors").symlink_to(tmp_path / "elsewhere")
    assert list(Folder(tmp_path / "runs").models("plain/0")) == [Path("one/plain/0")]


def test_other_samples_or_elements_are_told(place, tmp_path):
    folder = copied(place, tmp_path)
    studio = Studio(tmp_path / "runs", {"cnn": f"{place}/nets.py:cnn"})
    assert studio.open("a", 0)["models"][0]["live"]
    np.savez(folder / "samples.npz", input=np.zeros((3, 1, 8, 8)) + np.arange(64).reshape(8, 8))
    (model,) = Studio(tmp_path / "runs", {"cnn": f"{place}/nets.py:cnn"}).open("a", 0)["models"]
    assert "other samples" in model["why"]
    (folder / "samples.npz").unlink()
    (model,) = Studio(tmp_path / "runs", {"cnn": f"{place}/nets.py:cnn"}).open("a", 0)["models"]
    assert "samples are not kept" in model["why"]


def test_an_answer_is_json_whatever_happens(place):
    studio = Studio(place / "runs", {"cnn": f"{place}/nets.py:cnn"})
    assert answer(studio, {"do": "open", "with": {"page": "nowhere", "part": 0}})["failed"]["kind"] == "input"
    assert answer(studio, {"do": "at", "with": {}})["failed"]["kind"] == "model"
