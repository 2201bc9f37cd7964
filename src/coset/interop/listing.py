"""What there is: groups, reps, methods, models and tasks, read from this package's source without importing it.

Names, the first sentence of docstrings, papers and the contracts that stand in the source; a new file is listed because it is
there.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from coset.interop.outline import outline

ROOT = Path(__file__).resolve().parents[1]
Definition = ast.ClassDef | ast.FunctionDef


@dataclass(frozen=True)
class Entry:
    """One thing that can be used: how it is written, what it is, where it stands, what it promises, where it is from."""

    name: str
    summary: str
    place: str
    contracts: tuple[str, ...] = ()
    papers: tuple[str, ...] = ()


def groups() -> list[Entry]:
    """Groups and families, with their arguments."""
    return [Entry(_signature(node), _summary(node), place) for place, node in _made_of(list(_modules("groups")), _GROUPS)]


def reps() -> list[Entry]:
    """The words of the field language, then actions and representations."""
    modules = list(_modules("reps"))
    classes = {node.name: _summary(node) for _, tree in modules for node in tree.body if isinstance(node, ast.ClassDef)}
    words = [Entry(word, classes.get(kind, ""), place) for place, tree in modules for word, kind in _words(tree)]
    return words + [Entry(_signature(node), _summary(node), place) for place, node in _made_of(modules, _ACTIONS)]


def methods() -> list[Entry]:
    """Ways to impose a symmetry on any model, then the rows of every task."""
    modules = list(_modules("symmetrizers"))
    inherits = _inheritance(modules, ("Module",))
    ways = [
        Entry(_signature(node), _summary(node), place)
        for place, tree in modules
        for node in tree.body
        if isinstance(node, ast.ClassDef) and _is_way(node, inherits)
    ]
    rows = [
        Entry(f"{place.rpartition('.')[2]}: {name}", note, place)
        for place, tree in _modules("tasks")
        for name, note in _rows(tree)
    ]
    return ways + rows


def models() -> list[Entry]:
    """Models (modules with a ``forward``) and what they promise."""
    return [
        Entry(_signature(node), _summary(node), place, _promises(node, tree), _papers(tree))
        for place, tree in _modules("models")
        for node in tree.body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_") and _defines(node, "forward")
    ]


def tasks() -> list[Entry]:
    """Comparisons that can be run, and the symmetries that are true of their problems."""
    return [
        Entry(place.rpartition(".")[2], _summary(tree), place, _promises(tree, tree), _papers(tree, _methods_of(tree)))
        for place, tree in _modules("tasks")
    ]


LISTS: dict[str, Callable[[], list[Entry]]] = {
    "groups": groups,
    "reps": reps,
    "methods": methods,
    "models": models,
    "tasks": tasks,
}

_GROUPS = ("Family", "Group", "FiniteGroup", "LieGroup")
_ACTIONS = ("Kind", "Action", "Representation")


def task_names() -> list[str]:
    """The tasks of this package, without importing them."""
    return sorted(path.stem for path in (ROOT / "tasks").glob("*.py") if not path.stem.startswith("_"))


def _modules(room: str) -> Iterator[tuple[str, ast.Module]]:
    for path in sorted((ROOT / room).rglob("*.py")):
        if not path.stem.startswith("_"):
            yield (
                ".".join(("coset", *path.relative_to(ROOT).with_suffix("").parts)),
                outline(path, keep=("Contract(", "Method(")),
            )


def _made_of(modules: list[tuple[str, ast.Module]], roots: tuple[str, ...]) -> Iterator[tuple[str, Definition]]:
    """Public dataclasses of a room that are one of ``roots``, what completes them, and functions said to return one.

    A dataclass that is completed by others (it needs what only they give) is an interface and left out.
    """
    nodes = [
        (place, node) for place, tree in modules for node in tree.body if isinstance(node, (ast.ClassDef, ast.FunctionDef))
    ]
    inherits = _inheritance(modules, roots)
    data = {node.name for _, node in nodes if any(ast.unparse(d).startswith("dataclass") for d in node.decorator_list)}
    bases = {node.name: {_name(base) for base in node.bases} for _, node in nodes if isinstance(node, ast.ClassDef)}
    completed = {base for name, own in bases.items() if name not in data for base in own}
    for place, node in nodes:
        if node.name.startswith(("_", "parse")):
            continue
        if isinstance(node, ast.FunctionDef):
            if inherits(_name(node.returns)):
                yield place, node
        elif inherits(node.name) and node.name not in completed and (node.name in data or bases[node.name] & data):
            yield place, node


def _inheritance(modules: list[tuple[str, ast.Module]], roots: tuple[str, ...]) -> Callable[[str], bool]:
    """Whether the class of this name is one of ``roots`` or inherits from one, through classes of these modules."""
    bases = {
        node.name: [_name(base) for base in node.bases]
        for _, tree in modules
        for node in tree.body
        if isinstance(node, ast.ClassDef)
    }

    def inherits(name: str) -> bool:
        return name in roots or any(inherits(base) for base in bases.get(name, ()))

    return inherits


def _is_way(node: ast.ClassDef, inherits: Callable[[str], bool]) -> bool:
    """A class of modules or of callables that is no interface."""
    abstract = "ABC" in {_name(base) for base in node.bases}
    return not node.name.startswith("_") and not abstract and (inherits(node.name) or _defines(node, "__call__"))


def _name(node: ast.expr | None) -> str:
    if isinstance(node, ast.Subscript):
        return _name(node.value)
    if isinstance(node, ast.Constant):
        return str(node.value)
    return ast.unparse(node).rpartition(".")[2] if node is not None else ""


def _defines(node: ast.ClassDef, method: str) -> bool:
    return any(isinstance(item, ast.FunctionDef) and item.name == method for item in node.body)


def _summary(node: ast.Module | Definition) -> str:
    """The first sentence of a docstring, on one line, without markup."""
    return _sentence((ast.get_docstring(node) or "").split("\n\n")[0]).rstrip(":;")


def _promises(node: ast.Module | ast.ClassDef, tree: ast.Module) -> tuple[str, ...]:
    """What a docstring says after ``Contract:``; without such words, every ``Contract(...)`` that stands in the source."""
    for place in (node, tree):
        text = ast.get_docstring(place) or ""
        if found := re.search(r"\bContracts?:\s", text):
            return (_sentence(text[found.end() :]),)
    return _contracts(node, _constants(tree))


def _papers(tree: ast.Module, rows: tuple[ast.Call, ...] = ()) -> tuple[str, ...]:
    """What a module cites: arXiv numbers of its docstring, then the keys that its rows give as their source."""
    numbers = [f"arXiv {found}" for found in re.findall(r"arXiv:? ?(\d{4}\.\d{4,5})", ast.get_docstring(tree) or "")]
    sources = [_argument(call, 5, "source") for call in rows]
    keys = [key for node in sources if isinstance(node, ast.Constant) for key in re.split(r"[,\s]+", str(node.value)) if key]
    return tuple(dict.fromkeys(numbers + keys))


@cache
def _methods_of(tree: ast.Module) -> tuple[ast.Call, ...]:
    """Every ``Method(...)`` that stands in a module; walked once."""
    return tuple(_calls(tree, "Method"))


def _sentence(text: str) -> str:
    text = " ".join(text.split())
    for i, letter in enumerate(text):
        if letter == "." and text[i + 1 : i + 2] in ("", " ") and text[i - 1 : i] not in (" ", "."):
            text = text[:i]
            break
    return re.sub(r":(?:class|func|meth|mod):`~?([^`]*)`", r"\1", text).replace("`", "")


def _signature(node: Definition) -> str:
    """``Name(required, optional=default)``: of ``__init__``, or of a dataclass's fields; positional arguments only."""
    if isinstance(node, ast.FunctionDef):
        return f"{node.name}({', '.join(_arguments(node))})"
    for item in node.body:
        if isinstance(item, ast.FunctionDef) and item.name == "__init__":
            return f"{node.name}({', '.join(_arguments(item)[1:])})"
    fields = []
    for item in node.body:
        if (
            isinstance(item, ast.AnnAssign)
            and isinstance(item.target, ast.Name)
            and "ClassVar" not in ast.unparse(item.annotation)
        ):
            if item.value is not None and _name(getattr(item.value, "func", None)).startswith(("field", "_")):
                continue
            fields.append(item.target.id + (f"={ast.unparse(item.value)}" if item.value is not None else ""))
    return f"{node.name}({', '.join(fields)})"


def _arguments(node: ast.FunctionDef) -> list[str]:
    arguments = [*node.args.posonlyargs, *node.args.args]
    defaults = [None] * (len(arguments) - len(node.args.defaults)) + list(node.args.defaults)
    return [a.arg + (f"={ast.unparse(d)}" if d is not None else "") for a, d in zip(arguments, defaults, strict=True)]


def _words(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Word and class of every entry of a module-level mapping ``WORDS``."""
    for node in tree.body:
        if not isinstance(node, (ast.Assign, ast.AnnAssign)) or not isinstance(node.value, ast.Dict):
            continue
        target = node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
        if isinstance(target, ast.Name) and target.id == "WORDS":
            for key, value in zip(node.value.keys, node.value.values, strict=True):
                if isinstance(key, ast.Constant) and isinstance(value, ast.Call):
                    yield str(key.value), _name(value.func)


def _calls(node: ast.AST, name: str) -> Iterator[ast.Call]:
    for item in ast.walk(node):
        if isinstance(item, ast.Call) and _name(item.func) == name:
            yield item


def _argument(call: ast.Call, place: int, name: str) -> ast.expr | None:
    for keyword in call.keywords:
        if keyword.arg == name:
            return keyword.value
    return call.args[place] if len(call.args) > place else None


def _contracts(node: ast.AST, constants: dict[str, ast.expr]) -> tuple[str, ...]:
    """``group: inputs -> outputs (claim)`` of every ``Contract(...)`` that stands in the source."""
    found = []
    for call in _calls(node, "Contract"):
        group, inputs, outputs = (
            _spelled(_argument(call, i, n), constants) for i, n in enumerate(("group", "inputs", "outputs"))
        )
        claim = _argument(call, 3, "claim")
        word = _spelled(claim, constants) if isinstance(claim, ast.Constant) else "exact"
        found.append(f"{group}: {inputs} -> {outputs}" + ("" if word == "exact" else f" ({word})"))
    return tuple(dict.fromkeys(found))


def _constants(tree: ast.Module) -> dict[str, ast.expr]:
    """Names that a module gives to literals."""
    return {
        target.id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, (ast.Constant, ast.Dict, ast.Call))
        for target in node.targets
        if isinstance(target, ast.Name)
    }


def _spelled(node: ast.expr | None, constants: dict[str, ast.expr] | None = None) -> str:
    """An expression as a reader writes it: named literals and mappings opened, strings without quotes."""
    known = constants or {}
    if node is None:
        return ""
    if isinstance(node, ast.Name) and node.id in known:
        return _spelled(known[node.id], {})
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        parts = [p.value if isinstance(p, ast.FormattedValue) else p for p in node.values]
        return "".join(_spelled(p) if isinstance(p, ast.Constant) else f"{{{ast.unparse(p)}}}" for p in parts)
    if isinstance(node, ast.Dict):
        return ", ".join(f"{_spelled(k, known)}: {_spelled(v, known)}" for k, v in zip(node.keys, node.values, strict=True))
    return ast.unparse(node)


def _rows(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Name and note of every ``Method(...)`` that stands in the source; parts that are computed are shown in braces."""
    for call in _methods_of(tree):
        name, note = _argument(call, 0, "name"), _argument(call, 7, "note")
        spelled = _spelled(name) if isinstance(name, (ast.Constant, ast.JoinedStr)) else f"{{{_spelled(name)}}}"
        yield spelled, _spelled(note) if isinstance(note, ast.Constant) else ""
