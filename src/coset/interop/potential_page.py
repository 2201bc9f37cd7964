"""The page of a potential's audit: the verdict in words, every law with its limit, and what was measured as pictures.

    write_page(found, "audit.html", command="coset audit ...")

One HTML file without a network, in light and dark; pictures are inside. Extra ``report``.
"""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

from coset.audits.potential_causes import causes, headline
from coset.errors import require
from coset.figures import potential as draw
from coset.figures.ladder import ladder
from coset.interop import potential_panels as panels
from coset.interop.potential_audit import PotentialAudit
from coset.records import write_atomically
from coset.train.folder import versions

#: what each law says, for a reader who has never heard of it
LAWS = {
    "rotation": "A turned structure has the same energy, and forces and stress that are turned along.",
    "inversion": "So has its mirror image.",
    "translation": "A moved structure (1, 40, 1000 A) has the same energy, forces and stress.",
    "permutation": "The order of the atoms in the file does not matter.",
    "periodic images": "An atom may be written down in any cell.",
    "two copies": "Two far copies, or a doubled cell, have twice the energy and the same forces.",
    "forces = -dE/dx": "Forces are the slope of the energy.",
    "stress = dE/d(strain)/V": "Stress is the slope of the energy when the cell is strained.",
    "cutoff: energy": "The energy has no step where an atom enters the cutoff.",
    "cutoff: force": "The force has no step there.",
    "cutoff: curvature": "The second derivative has no step there.",
    "drift": "A run at constant energy keeps it.",
}


def write_page(found: PotentialAudit, path: str | Path, *, command: str = "") -> Path:
    """Write the page; its path. MissingExtra without jinja2 and matplotlib."""
    jinja = require("jinja2", extra="report")
    environment = jinja.Environment(
        loader=jinja.PackageLoader("coset.report", "templates"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    page = environment.get_template("potential.html.j2").render(
        found=found, headline=headline(found.checks), causes=causes(found.checks, found.layers), rows=_rows(found),
        single_headline=headline(found.single) if found.single else "", pictures=_pictures(found), command=command,
        versions=versions(),
    )  # fmt: skip
    write_atomically(path, page)
    return Path(path)


def _rows(found: PotentialAudit) -> list[dict[str, Any]]:
    """One line for each law, with the figures of both precisions."""
    single = {check["name"]: check for check in found.single}
    return [
        check | {"says": LAWS.get(check["name"], ""), "single": single.get(check["name"])}
        for check in found.checks
    ]  # fmt: skip


def _pictures(found: PotentialAudit) -> list[dict[str, str]]:
    """Figures as data addresses, each with a title and what there is to see."""
    made, axes = draw.panels(1, 2, (5.4, 3.5))
    panels.orbits(found, axes)
    both = bool(found.single)
    reference = "the labels of the data" if panels.labelled(found) else "the mean over the turn, since the data have no labels"
    shown = [("Errors while structures turn", made,
              f"Every structure (thin) is turned once around a skew axis; thick is the mean over structures. Errors are "
              f"measured against {reference}. What knows no direction in space draws horizontal lines.")]  # fmt: skip
    if panels.labelled(found):
        made, axes = draw.panels(1, 2, (5.4, 3.5))
        panels.consensus(found, axes)
        shown.append(("How much answers change while structures turn", made,
                      "The same turn, measured against its own mean (the consensus of the answers turned back), on a "
                      "logarithmic axis: what is left of an exact symmetry is rounding."
                      + " Both precisions are shown." * both))  # fmt: skip
    made, axes = draw.panels(1, 1, (7.6, 0.32 * max(len(found.checks), 4) + 1.2))
    panels.laws_of(found, axes[0])
    shown.append(("Laws against their limits", made,
                  "Limits are never below what rounding does." + " Open markers: single precision." * both))  # fmt: skip
    if found.layers:
        series = {found.dtype: [layer["error"] for layer in found.layers]}
        if all("single" in layer for layer in found.layers):
            series["float32"] = [layer["single"] for layer in found.layers]
        shown.append(("Symmetry, layer by layer", ladder([layer["name"] for layer in found.layers], series, title=""),
                      "Relative error of each layer that states how its output turns, from input to output. Where a "
                      "symmetry breaks, the error rises from that layer on."))  # fmt: skip
    made, axes = draw.panels(1, 2, (5.4, 3.2))
    panels.edge(found, axes)
    shown.append(("An atom crosses the cutoff", made,
                  "A third atom leaves a bonded pair. Energy and force must join without a step (the force also without a "
                  "kink) at the dashed line."))  # fmt: skip
    made, axes = draw.panels(1, 1, (7.6, 3.0))
    panels.run_of(found, axes[0])
    shown.append(("A run at constant energy", made,
                  "Velocity Verlet with 0.5 fs. An oscillation belongs to the integrator; a slope is energy that comes from "
                  "nowhere."))  # fmt: skip
    return [{"title": title, "caption": caption, "address": _address(figure)} for title, figure, caption in shown]


def _address(figure: Any) -> str:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=110)
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()
