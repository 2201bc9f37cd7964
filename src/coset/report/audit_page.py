"""The audit page: one self-contained HTML file that opens from disk, draws itself and moves the samples by itself.

No network, no library: plain scripts under ``templates/audit``, inlined when the page is written, and one JSON payload
(:mod:`coset.report.audit_payload`), which :func:`read_payload` takes out again, so that a page can be written anew.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from coset.errors import InputError
from coset.records import SCHEMA, write_atomically

#: in the order in which they are read; each builds on those before it
SCRIPTS = (
    "tensors", "actions", "state", "svg", "panels", "banner", "orbit", "orbit_maps", "orbit_tiles", "orbit_cayley", "samples",
    "scenes", "scenes_space", "response", "ladder", "compare", "main",
)  # fmt: skip
_START, _END = '<script type="application/json" id="payload">', "</script>"


def audit_page(payload: Mapping[str, Any]) -> str:
    """The page of a payload made by :func:`coset.report.audit_payload.payload`; with ``live`` in it, it asks a server."""
    title = payload.get("title") or ", ".join(model["name"] for model in payload["models"])
    text = json.dumps(payload, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    page = template("page.html")
    for mark, part in (
        ("/*title*/", html.escape(f"coset audit: {title}")),
        ("/*style*/", template("style.css")),
        ("/*script*/", scripts(*SCRIPTS, *(["live"] if payload.get("live") else []))),
        ("/*payload*/", text),
    ):
        page = page.replace(mark, part, 1)
    return page


def write_audit_page(path: str | Path, payload: Mapping[str, Any]) -> Path:
    """Write the page and return its path."""
    write_atomically(path, audit_page(payload))
    return Path(path)


def read_payload(path: str | Path) -> dict[str, Any]:
    """The payload of a written page; InputError for a file that is none or of another version."""
    path = Path(path)
    if not path.is_file():
        raise InputError(f"no file {path}; expected a page written by coset audit --out")
    try:
        _, found, rest = path.read_text(encoding="utf-8").partition(_START)
        payload = json.loads(rest.partition(_END)[0]) if found else None
    except (OSError, ValueError, RecursionError):  # ValueError: no UTF-8, or no JSON
        payload = None
    if not isinstance(payload, dict) or "models" not in payload:
        raise InputError(f"{path} is no audit page; expected one written by coset audit --out")
    if payload.get("schema") != SCHEMA:
        raise InputError(
            f"{path} was written by another version of coset (schema {payload.get('schema')!r}, expected {SCHEMA})"
        )
    return payload


def scripts(*names: str) -> str:
    """Scripts one after the other; what they share is the function around them."""
    return "\n".join(template(f"{name}.js") for name in names)


def script_hash(page: str) -> str:
    """The page's one script as a source of a content security policy: ``'sha256-...'``."""
    script = page.rpartition("<script>")[2].partition("</script>")[0]
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def template(name: str) -> str:
    """A file of ``templates/audit``."""
    return (resources.files("coset.report") / "templates" / "audit" / name).read_text(encoding="utf-8")
