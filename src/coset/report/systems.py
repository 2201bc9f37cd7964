"""A page per system, made from its module: what it is, what it promises, its parameters, the rows that use it, its papers.

A system is a file below ``models/``, ``symmetrizers/`` or ``objectives/``. Its docstrings and signatures are read from the
source; which rows use it, and how many numbers they train, is seen on the rows themselves, built at size ``smoke``.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeGuard

from coset.report.prose import code, docstring, first, spelled
from coset.report.site import Page, sources_of
from coset.report.table import count

Definition = ast.ClassDef | ast.FunctionDef
ARXIV = re.compile(r"arXiv:?\s?(\d{4}\.\d{4,5})")


@dataclass(frozen=True)
class Use:
    """A row that uses a system: where it stands, what it teaches, its sources, how many numbers it trains at size smoke."""

    task: str
    method: str
    note: str = ""
    source: str = ""
    parameters: int = 0


def uses(task: str, rows: Iterable[tuple[Any, Any]]) -> list[tuple[str, Use]]:
    """``(module, use)`` for everything that the rows of a task, pairs of method and model, are made of."""
    found: list[tuple[str, Use]] = []
    for method, model in rows:
        parts = list(model.modules()) if hasattr(model, "modules") else [model]
        size = sum(p.numel() for p in model.parameters() if p.requires_grad) if hasattr(model, "parameters") else 0
        objectives = [stage.objective for stage in method.stages if stage.objective is not None]
        places = dict.fromkeys(_module(part) for part in [*parts, *objectives])
        found += [(place, Use(task, method.name, method.note, method.source, size)) for place in places]
    return found


def system_page(place: str, source: str, promises: Mapping[str, Sequence[str]], rows: Sequence[Use]) -> Page:
    """The page of the system whose module is ``place`` with text ``source``; ``promises`` are contracts by class name."""
    tree = ast.parse(source)
    text = ast.get_docstring(tree) or ""
    sections = functions_of(source, promises)
    if rows:
        cells = [[{"text": u.task, "link": f"tasks/{u.task}.html"}, u.method, count(u.parameters), u.note] for u in rows]
        head = ["task", "row", "trained numbers", "what it teaches"]
        body = '<p class="soft">Trained numbers are those of size smoke, which tests use; other sizes have more.</p>'
        sections.append({"title": "Rows that use it", "body": body, "head": head, "rows": cells})
    papers = [f'<a href="https://arxiv.org/abs/{n}">arXiv {n}</a>' for n in dict.fromkeys(ARXIV.findall(text))]
    cited = sources_of([use.source for use in rows])
    said = f"<p>Named above: {', '.join(papers)}.</p>" if papers else ""
    said += '<p class="soft">Cited by the rows above:</p>' if cited["sources"] else ""
    if said:
        sections.append({**cited, "body": said})
    *_, name = place.split(".")
    opening = f'<p class="soft"><code>{place}</code></p>'
    title = f"{name.replace('_', ' ')}: {first(text)}"
    return Page(path_of(place), title, opening + docstring(text), sections=sections)


def functions_of(source: str, promises: Mapping[str, Sequence[str]] = MappingProxyType({})) -> list[dict[str, Any]]:
    """A section for every public class and function of a module: how it is called, what it does, what it promises."""
    return [_part(node, promises.get(node.name, ())) for node in ast.parse(source).body if _public(node)]


def room_page(room: str, entries: Sequence[Any]) -> Page:
    """All systems of a room: how each is made, what it is, what it promises."""
    rows = [
        [{"text": entry.name, "link": path_of(entry.place), "code": True}, entry.summary, "; ".join(entry.contracts)]
        for entry in entries
    ]
    return Page(f"models/{room}.html", TITLES.get(room, f"Models: {room}"), sections=[
        {"title": "Systems", "head": ["made by", "what it is", "contract"], "rows": rows}
    ])  # fmt: skip


TITLES = {"symmetrizers": "Ways to impose a symmetry", "objectives": "Objectives"}


def room_of(place: str) -> str:
    """The room of a system: the folder of a model, else the package."""
    parts = place.split(".")
    return parts[2] if parts[1] == "models" else parts[1]


def path_of(place: str) -> str:
    """Where the page of a system goes."""
    return f"models/{room_of(place)}/{place.rpartition('.')[2]}.html"


def _module(part: Any) -> str:
    return str(getattr(part, "__module__", "") or type(part).__module__)


def _public(node: ast.stmt) -> TypeGuard[Definition]:
    return isinstance(node, (ast.ClassDef, ast.FunctionDef)) and not node.name.startswith("_")


def _part(node: Definition, contracts: Sequence[str]) -> dict[str, Any]:
    """The section of a class or function: how it is called, its docstring, what it promises."""
    text = ast.get_docstring(node) or ""
    body = code(_call(node)) + spelled(text)
    if contracts:
        body += f"<p><b>Contract:</b> {spelled('; '.join(contracts)).removeprefix('<p>').removesuffix('</p>' + chr(10))}</p>"
    return {"title": node.name, "body": body}


def _call(node: Definition) -> str:
    """``Name(argument: type = default, ...)``, one argument a line where a line is too short for all."""
    if isinstance(node, ast.FunctionDef):
        arguments, result = _arguments(node.args), f" -> {ast.unparse(node.returns)}" if node.returns else ""
    else:
        made = next((i for i in node.body if isinstance(i, ast.FunctionDef) and i.name == "__init__"), None)
        arguments, result = (_arguments(made.args)[1:] if made else _fields(node)), ""
    line = f"{node.name}({', '.join(arguments)}){result}"
    if len(line) <= 90:
        return line
    return f"{node.name}(\n" + "".join(f"    {argument},\n" for argument in arguments) + f"){result}"


def _arguments(arguments: ast.arguments) -> list[str]:
    """The arguments of a function as they are written, ``*`` before those that are given by name."""
    plain = [*arguments.posonlyargs, *arguments.args]
    defaults = [None] * (len(plain) - len(arguments.defaults)) + list(arguments.defaults)
    found = [_argument(a, d) for a, d in zip(plain, defaults, strict=True)]
    if arguments.vararg:
        found.append(f"*{ast.unparse(arguments.vararg)}")
    elif arguments.kwonlyargs:
        found.append("*")
    return found + [_argument(a, d) for a, d in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)]


def _argument(argument: ast.arg, default: ast.expr | None) -> str:
    equals = " = " if argument.annotation else "="
    return ast.unparse(argument) + (f"{equals}{ast.unparse(default)}" if default is not None else "")


def _fields(node: ast.ClassDef) -> list[str]:
    """The fields of a dataclass, as far as they are given to its constructor."""
    return [
        ast.unparse(item)
        for item in node.body
        if isinstance(item, ast.AnnAssign)
        and not ast.unparse(item.target).startswith("_")
        and not ast.unparse(item.annotation).startswith("ClassVar")
    ] if any("dataclass" in ast.unparse(mark) for mark in node.decorator_list) else []  # fmt: skip
