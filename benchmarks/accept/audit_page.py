"""The large audit page in a browser: 500 samples x 72 elements x 3 models in one file, its first picture, and a drag."""

from __future__ import annotations

import os
import shutil
import statistics
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from coset.audits.equivariance import audit
from coset.audits.recording import record
from coset.contract import Contract
from coset.errors import InputError, require
from coset.groups.parse import parse_group
from coset.report.acceptance import Bound, main
from coset.report.audit_page import write_audit_page
from coset.report.audit_payload import Exhibit, payload

ISSUE = "issue on what the user sees: a page of 500 samples x 72 elements"
BOUNDS = (
    Bound("samples", ">=", 500, ISSUE),
    Bound("elements", ">=", 72, ISSUE),
    Bound("megabytes", "<", 10.0, f"{ISSUE}, under 10 MB"),
    Bound("first_picture_ms", "<", 1000.0, f"{ISSUE}: first picture under a second"),
    Bound("drag_ms", "<", 150.0, f"{ISSUE} x 3 models: drag to new number under 150 ms"),
    Bound("requests", "==", 0, "one self-contained file: no network"),
)
#: every tenth element or so, each read off beside the slider and then waited for until it is painted
DRAGS = """async count => {
  const range = document.querySelector("#bar input[type=range]"), bar = document.getElementById("bar"), out = [];
  for (let i = 1; i <= count; i++) {
    const begun = performance.now(), before = bar.textContent;
    range.value = (i * 7) % (Number(range.max) + 1);
    range.dispatchEvent(new Event("input", { bubbles: true }));
    while (bar.textContent === before && performance.now() - begun < 5000) await new Promise(requestAnimationFrame);
    await new Promise(requestAnimationFrame);
    out.push(performance.now() - begun);
  }
  return out; }"""
PAINT = "performance.getEntriesByType('paint').find(e => e.name === 'first-contentful-paint').startTime"


def measure(*, samples: int = 500, size: int = 16, drags: int = 60) -> dict[str, Any]:
    """Megabytes, milliseconds to the first picture (least of five loads) and to a new number (median of the drags)."""
    sync = require("playwright.sync_api", extra="browser")
    path = os.environ.get("COSET_CHROMIUM") or shutil.which("chromium")
    if path is None:
        raise InputError("needs Chromium: run .ci/browser, or name one in COSET_CHROMIUM")
    with tempfile.TemporaryDirectory() as folder, sync.sync_playwright() as playwright:
        page, told = _page(Path(folder) / "large.html", samples, size)
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        requests: list[str] = []
        first = []
        for _ in range(5):
            tab = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
            tab.on("request", lambda request: requests.append(request.url))
            tab.goto(f"file://{page}")
            tab.wait_for_function("document.documentElement.dataset.ready")
            first.append(tab.evaluate(PAINT))
        times = tab.evaluate(DRAGS, drags)
        browser.close()
    return {
        **told, "first_picture_ms": min(first), "first_pictures_ms": first, "drag_ms": statistics.median(times),
        "drag_95_ms": float(np.percentile(times, 95)), "drag_worst_ms": max(times),
        "requests": sum(not url.startswith(("file:", "data:", "blob:")) for url in requests),
    }  # fmt: skip


def _page(path: Path, samples: int, size: int) -> tuple[Path, dict[str, Any]]:
    """Three convolutional networks of random weights on random pictures with classes: every figure has all it can show."""
    torch.manual_seed(0)
    x, labels = torch.rand(samples, 1, size, size, dtype=torch.float64), np.arange(samples) % 10
    contract, shown = Contract(parse_group("SO(2)"), "image", "invariant"), []
    for width in (2, 4, 8):
        net = nn.Sequential(
            nn.Conv2d(1, width, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(width * ((size - 1) // 2) ** 2, 10)
        ).double()  # fmt: skip
        seen = record(net, x, contract, name=f"width {width}", labels=labels, samples=samples)
        shown.append(Exhibit(audit(net, x, contract, dtype=["float64", "float32"]), seen))
    write_audit_page(path, payload(shown, title=f"{samples} samples"))
    count, elements = shown[0].recording.errors.shape
    about = {"samples": count, "elements": elements, "models": len(shown), "kept_whole": len(payload(shown)["kept"])}
    return path, {**about, "megabytes": path.stat().st_size / 1e6}


if __name__ == "__main__":
    main("audit_page", __doc__, measure, BOUNDS)
