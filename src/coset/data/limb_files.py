"""Bodies in JSON files, so that anybody's tree of limbs can be walked: the form of :class:`coset.data.limbs.Body`.

{"name": "biped", "height": 1.0, "limbs": [
    {"name": "torso", "parent": -1, "kind": "torso", "joint": [0, 0, 0], "ends": [[0, 0, 0], [0, 0, 0.4]], "radius": 0.07},
    {"name": "leg", "parent": 0, "kind": "thigh", "joint": [0, 0, 0], "ends": [[0, 0, 0], [0, 0, -0.9]], "radius": 0.05}]}
"""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

from coset.data.limbs import Body, Limb
from coset.errors import InputError
from coset.records import write_atomically


def read_body(path: str | Path) -> Body:
    """The body of a file; InputError for a file that is no body, names used twice, and limbs that are no tree."""
    try:
        given = json.loads(Path(path).read_text())
        limbs = tuple(_limb(limb) for limb in given["limbs"])
        name, height = str(given["name"]), float(given["height"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is no body: expected JSON with name, height and limbs ({error})") from error
    if len({limb.name for limb in limbs}) != len(limbs) or not all(limb.name.isidentifier() for limb in limbs):
        raise InputError(f"{path}: limbs have different names of letters, digits and underscores")
    if not name.replace("-", "_").isidentifier() or not 0 < height < math.inf:
        raise InputError(f"{path}: a body has a plain name and a height in meters, got {name!r} and {height}")
    return Body(name, limbs, height)


def write_body(path: str | Path, body: Body) -> None:
    """What :func:`read_body` reads."""
    write_atomically(Path(path), json.dumps(dataclasses.asdict(body), indent=1) + "\n")


def _limb(given: dict[str, Any]) -> Limb:
    points = [tuple(float(x) for x in point) for point in (given["joint"], *given["ends"])]
    radius = float(given["radius"])
    if [len(point) for point in points] != [3, 3, 3] or not all(map(math.isfinite, sum(points, (radius,)))) or radius <= 0:
        raise ValueError(f"limb {given['name']!r} needs a joint, two ends of three numbers each and a positive radius")
    joint, first, second = points
    return Limb(str(given["name"]), int(given["parent"]), str(given["kind"]), joint, (first, second), radius)  # type: ignore[arg-type]
