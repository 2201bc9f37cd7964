"""Acceptance (b) of the NERO sheet: two small CNNs on scikit-learn's digits, trained with and without turning the digits.

Writes ``nero.html`` (aggregate and individual polar plots, PCA overview, spectrum, numbers) and ``nero.json``. It passes if
the orbit's standard deviation of the augmented network is at most 0.4 times that of the plain one, and if the two networks
stand in the same order by labels and by consensus. Run: ``python benchmarks/accept/nero.py --out accept``.
"""

from __future__ import annotations

import argparse
import base64
import html
import io
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from coset.audits.orbit_result import OrbitResult
from coset.audits.orbits import orbits
from coset.contract import Contract
from coset.data.digits import SIZE, digits
from coset.figures.polar import spectrum
from coset.groups.matrix import SO
from coset.recipe import Request
from coset.records import to_json, write_atomically
from coset.reps.fields import Field
from coset.reps.image import Image, resample

RATIO = 0.4


def network(seed: int) -> nn.Module:
    """A CNN of 34 thousand parameters on 16 px."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 16, 5, padding=2), nn.BatchNorm2d(16), nn.ReLU(), nn.AvgPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(),
        nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.AvgPool2d(4), nn.Flatten(), nn.Linear(256, 10),
    )  # fmt: skip


def train(model: nn.Module, x: Tensor, y: Tensor, *, turned: bool, epochs: int, seed: int) -> nn.Module:
    """AdamW on one-cycle; every sample is one resampling from 28 to 16 px, at a random angle or upright."""
    generator = torch.Generator().manual_seed(seed)
    image, group = Image(size=SIZE, disc=True), SO(2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=1e-4)
    steps = epochs * (len(x) // 64)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    model.train()
    for _ in range(epochs):
        for rows in torch.randperm(len(x), generator=generator)[: len(x) // 64 * 64].split(64):
            g = group.sample(64, generator=generator) if turned else group.identity().expand(64, 2, 2)
            loss = functional.cross_entropy(model(image.move(group, g, x[rows], {})), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return model.eval()


def classifier(model: nn.Module) -> nn.Module:
    """The model's probabilities."""
    return nn.Sequential(model, nn.Softmax(-1)).eval()


def measure(model: nn.Module, x: Tensor, y: Tensor) -> tuple[OrbitResult, OrbitResult]:
    """Orbits over 72 angles by labels and by consensus."""
    promise = Contract(SO(2), Field(("B", "1"), Image(size=SIZE, disc=True)), "B x 10 x scalar")
    with torch.no_grad():
        by_label = orbits(classifier(model), x, promise, truth=y, metric="probability")
        by_consensus = orbits(classifier(model), x, promise, metric="probability", consensus=True)
    pictures = resample(x[:, 0], torch.eye(2), None, SIZE).clamp(0, 1).numpy()
    by_label.pictures = pictures
    return by_label, by_consensus


def page(found: dict[str, tuple[OrbitResult, OrbitResult]], figures: dict[str, Any]) -> str:
    """One self-contained page."""
    plain, turned = found["plain"], found["augmented"]
    parts = [
        ("Aggregate orbits, by labels", plain[0].plot(name="plain", others={"augmented": turned[0]})),
        ("Aggregate orbits, by consensus, which is no truth", plain[1].plot(name="plain", others={"augmented": turned[1]})),
    ]
    for c in (0, 6, 9):
        sample = int(np.flatnonzero(plain[0].labels == c)[0])
        parts.append((f"One digit {c}", plain[0].plot(sample, name="plain", others={"augmented": turned[0]})))
    parts += [
        ("Overview of the plain network (PCA of orbits; numbers are classes)", plain[0].plot_embedding()),
        ("Overview of the augmented network", turned[0].plot_embedding()),
        ("Fourier spectrum", spectrum({name: pair[0].spectrum() for name, pair in found.items()})),
    ]
    body = "".join(
        f"<h2>{html.escape(title)}</h2><img src='{_address(made)}' alt='{html.escape(title)}'>" for title, made in parts
    )
    told = html.escape(json.dumps(to_json(figures), indent=2))
    style = "body{font:16px sans-serif;max-width:52rem;margin:2rem auto;padding:0 1rem}img{max-width:100%}"
    head = f"<!doctype html><meta charset=utf-8><title>NERO on digits</title><style>{style}</style>"
    return f"{head}<h1>NERO on digits</h1>{body}<pre>{told}</pre>"


def _address(made: Any) -> str:
    stream = io.BytesIO()
    made.savefig(stream, format="png", dpi=80)
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()


def run(out: Path, *, epochs: int = 20, samples: int = 1200, tested: int = 300, seed: int = 0) -> dict[str, Any]:
    """Train, measure, write the page and the figures."""
    start = time.perf_counter()
    data = digits(Request(size="cpu"))
    x, y = data.train["x"][:samples], data.train["y"][:samples]
    test_x, test_y = data.test["x"][:tested], data.test["y"][:tested]
    found = {}
    for name, turned in (("plain", False), ("augmented", True)):
        model = train(network(seed), x, y, turned=turned, epochs=epochs, seed=seed)
        found[name] = measure(model, test_x, test_y)
    figures: dict[str, Any] = {}
    for name, (by_label, by_consensus) in found.items():
        figures |= {f"{name}_labels": by_label.numbers(), f"{name}_consensus": by_consensus.numbers()}
    figures["std_ratio"] = found["augmented"][0].std / found["plain"][0].std
    orders = [sorted(found, key=lambda name: -found[name][which].mean) for which in (0, 1)]
    figures["order_by_labels"], figures["order_by_consensus"] = orders
    result = {
        "what": "nero", "figures": figures, "thresholds": {"std_ratio": RATIO, "orders": "equal"},
        "passed": figures["std_ratio"] <= RATIO and orders[0] == orders[1], "seconds": time.perf_counter() - start,
    }  # fmt: skip
    write_atomically(out / "nero.html", page(found, figures))
    write_atomically(out / "nero.json", json.dumps(to_json(result), indent=2))
    return result


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("accept"))
    result = run(parser.parse_args().out)
    print(json.dumps(to_json(result), indent=2))
    sys.exit(0 if result["passed"] else 1)
