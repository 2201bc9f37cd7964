"""Models as programs that run without this package: ``torch.export``, AOTInductor and ONNX, checked, their contract inside.

    export_model(model, "egnn.pt2", sample=x)                 # torch.export: torch.export.load(...).module()
    export_model(model, "egnn.pt2", sample=x, to="aoti")      # compiled for this machine, for C++ and Python without the model
    export_model(model, "egnn.onnx", sample=x, to="onnx")     # for models that take no gradient on the way
    f = load_exported("egnn.pt2")                             # a function of the contract's inputs, like any other

Named indices (``B``, ``N``) stay free where the model lets them. What was written is read again, run beside the model on the
sample and on a second one of other sizes, and removed where it differs by more than rounding. The contract travels inside the
file as JSON (``read_contract``): fields, group and claim, sizes that are fixed, the difference from the model.
"""

from __future__ import annotations

import contextlib
import io
import json
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from coset.audits.precision import tolerance
from coset.contract import Attached, Contract, contracts_of, evaluating, relative
from coset.errors import InputError, MissingExtra, reason, require
from coset.nn.potential import Potential
from coset.records import DAMAGED, SCHEMA, to_json
from coset.reps.fields import Fields
from coset.train.checkpoint import _contract
from coset.train.folder import versions

Format = Literal["pt2", "aoti", "onnx"]
SUFFIX: Mapping[str, str] = {"pt2": ".pt2", "aoti": ".pt2", "onnx": ".onnx"}
INSIDE = "extra/contract.json"  #: below the archive's root, where torch.export keeps further files
KEY = "coset"  #: of the metadata of an ONNX model


def export_model(
    model: nn.Module, path: str | Path, *, sample: Any = None, contract: Contract | None = None, to: Format = "pt2"
) -> dict[str, Any]:
    """Write ``model`` as a program of the format ``to`` into the file ``path``; what stands inside it beside the program.

    ``contract`` is the model's first unless given, ``sample`` one of its inputs (random where None), which also says the dtype.
    Raises InputError for a potential (``coset export`` writes it), a model that cannot be traced, a file name of another kind,
    and a program that does not give what the model gives.
    """
    path, contract = Path(path), contract or contracts_of(model)[0]
    if isinstance(model, Potential):
        raise InputError(
            "export_model: potentials differentiate on the way; coset export RUN --out FILE.safetensors writes them"
        )
    if path.suffix != SUFFIX[to]:
        raise InputError(f"export_model: a file of the format {to} is called NAME{SUFFIX[to]}, got {path}")
    x = _sample(model, contract, sample)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as room, evaluating(model), _quiet():
        program = _traced(model, contract.inputs, x)
        about: dict[str, Any] = {
            "schema": SCHEMA, "kind": "export", "format": to, "model": type(model).__name__, "contract": _contract(contract),
            "inputs": _shapes(contract.inputs, x, program), "outputs": list(contract.outputs.names()), "versions": versions(),
        }  # fmt: skip
        file = Path(room) / path.name
        try:
            WRITERS[to](program, file, contract.inputs, x)
        except OSError as error:
            raise InputError(f"cannot write {path}: {reason(error)}; name another folder with --out") from error
        f = _reader(file, to, contract.inputs, contract.outputs)
        about["difference"] = max(_difference(model, f, contract, y) for y in (x, _other(contract.inputs, x, about["inputs"])))
        limit = tolerance(_dtype(x))
        if not about["difference"] <= limit:
            raise InputError(
                f"export_model: the {to} program differs from {type(model).__name__} by {about['difference']:.1e} "
                f"(rounding explains {limit:.0e}); a branch or a number of the model depends on the sample"
            )
        _enclose(file, to, json.dumps(to_json(about)))
        file.replace(path)
    return about


def load_exported(path: str | Path) -> Callable[..., Any]:
    """The program of a file by :func:`export_model` as a function of the contract's inputs.

    Its attribute ``about`` is what :func:`read_contract` reads. A file of the format aoti is machine code: load only what you
    trust. InputError for any other file.
    """
    about = read_contract(path)
    try:
        spelled = about["contract"]
        f = _reader(Path(path), about["format"], Fields(_spec(spelled["inputs"])), Fields(_spec(spelled["outputs"])))
    except (InputError, MissingExtra):
        raise
    except Exception as error:  # torch's readers raise whatever the bytes make them stumble over
        raise InputError(f"{path} cannot be loaded: {type(error).__name__}: {error}; is it whole?") from error
    f.about = about  # type: ignore[attr-defined]
    return f


def read_contract(path: str | Path) -> dict[str, Any]:
    """What :func:`export_model` put beside the program, read without loading it; InputError for any other file."""
    path = Path(path)
    try:
        if path.suffix == ".onnx":
            props = require("onnx", extra="export").load(str(path), load_external_data=False).metadata_props
            text = next(prop.value for prop in props if prop.key == KEY)
        else:
            with zipfile.ZipFile(path) as archive:
                text = archive.read(next(name for name in archive.namelist() if name.endswith(INSIDE))).decode()
        about = json.loads(text)
    except (StopIteration, RecursionError, *DAMAGED) as error:
        raise InputError(f"{path} was not written by coset.interop.export: {type(error).__name__} {reason(error)}") from error
    if not isinstance(about, dict):
        raise InputError(f"{path} was not written by coset.interop.export: its description is no JSON object")
    if about.get("schema") != SCHEMA or about.get("format") not in SUFFIX:
        raise InputError(f"{path} has schema {about.get('schema')!r}, this version reads {SCHEMA}")
    return about


# ---------------------------------------------------------------------------------------------------- writing


def _traced(model: nn.Module, fields: Fields, x: dict[str, Tensor]) -> torch.export.ExportedProgram:
    """The graph of a model in eval mode with named indices free; InputError where there is none."""
    auto = torch.export.Dim.AUTO
    own = model.f if isinstance(model, Attached) and isinstance(model.f, nn.Module) else model  # its signature names the inputs
    free = {name: {i: auto for i, _ in _named(fields, name, value)} for name, value in x.items()}
    args, named = ((x[""],), {}) if fields.unnamed else ((), x)
    shapes: Any = (free[""],) if fields.unnamed else free
    try:
        with torch.no_grad():
            return torch.export.export(own, args, named, dynamic_shapes=shapes)
    except Exception as error:
        reason = str(error).strip().splitlines()[:1] or [type(error).__name__]
        raise InputError(
            f"export_model: torch.export cannot trace {type(model).__name__}: {type(error).__name__}: {reason[0]}"
        ) from error


def _write_pt2(program: Any, file: Path, fields: Fields, x: dict[str, Tensor]) -> None:
    content = io.BytesIO()  # torch's own writer ends the process where the disk is full
    torch.export.save(program, content)
    file.write_bytes(content.getvalue())


def _write_aoti(program: Any, file: Path, fields: Fields, x: dict[str, Tensor]) -> None:
    torch._inductor.aoti_compile_and_package(program, package_path=str(file))


def _write_onnx(program: Any, file: Path, fields: Fields, x: dict[str, Tensor]) -> None:
    require("onnxscript", extra="export")
    torch.onnx.export(program, (), str(file), external_data=False, verbose=False)


WRITERS = {"pt2": _write_pt2, "aoti": _write_aoti, "onnx": _write_onnx}


def _enclose(file: Path, to: str, text: str) -> None:
    """The contract into the file."""
    if to == "onnx":
        onnx = require("onnx", extra="export")
        whole = onnx.load(str(file))
        whole.metadata_props.add(key=KEY, value=text)
        onnx.save(whole, str(file))
        return
    with zipfile.ZipFile(file, "a") as archive:
        root = archive.namelist()[0].partition("/")[0]
        archive.writestr(f"{root}/{INSIDE}", text)


# ---------------------------------------------------------------------------------------------------- reading and checking


def _reader(file: Path, to: str, inputs: Fields, outputs: Fields) -> Callable[..., Any]:
    """A function of the inputs (one unnamed tensor, or tensors by name) that runs the file."""
    if to == "onnx":
        run = _onnx(file, outputs)
    else:
        load = torch._inductor.aoti_load_package if to == "aoti" else lambda name: torch.export.load(name).module()
        with _quiet():
            run = load(str(file))

    def exported(*args: Tensor, **named: Tensor) -> Any:
        with torch.no_grad():
            return run(*args, **{name: named[name] for name in inputs.names() if name in named})

    return exported


def _onnx(file: Path, outputs: Fields) -> Callable[..., Any]:
    session = require("onnxruntime", extra="export").InferenceSession(file.read_bytes(), providers=["CPUExecutionProvider"])
    slots = [slot.name for slot in session.get_inputs()]

    def run(*args: Tensor, **named: Tensor) -> Any:
        fed = dict(zip(slots, args, strict=True)) if args else {name: value for name, value in named.items() if name in slots}
        found = [torch.from_numpy(y) for y in session.run(None, {name: value.numpy() for name, value in fed.items()})]
        return found[0] if outputs.unnamed else dict(zip(outputs.names(), found, strict=True))

    return run


def _difference(model: nn.Module, f: Callable[..., Any], contract: Contract, x: dict[str, Tensor]) -> float:
    want, got = contract.call(model, x), contract.call(f, x)
    return max(float(relative(got[name] - want[name].detach(), want[name].detach())) for name in want)


def _sample(model: nn.Module, contract: Contract, sample: Any) -> dict[str, Tensor]:
    held = [p.dtype for p in model.parameters() if p.is_floating_point()]
    kind = held[0] if held else torch.float32
    if sample is None:
        sample = contract.inputs.unpack(contract.inputs.example(generator=torch.Generator().manual_seed(0), dtype=kind))
    contract.inputs.check(contract.inputs.pack(sample))
    x = contract.inputs.pack(contract.origin(sample))  # as the model sees it
    return {name: (value.to(kind) if value.is_floating_point() else value).detach().cpu() for name, value in x.items()}


def _other(fields: Fields, x: dict[str, Tensor], shapes: Mapping[str, Any]) -> dict[str, Tensor]:
    """A sample one member longer along every free sample axis, where all tensors have one; the same sample elsewhere."""
    axes = {name: fields.of(name).axis() for name in x}
    if any(axis is None or x[name].shape[axis] < 2 or axis not in shapes[name]["free"] for name, axis in axes.items()):
        return x
    return {name: torch.cat([value, value.narrow(axes[name], 0, 1)], axes[name]) for name, value in x.items()}  # type: ignore[arg-type]


def _named(fields: Fields, name: str, value: Tensor) -> list[tuple[int, str]]:
    """Axes that an index names, with that name; the open ones as ``...``."""
    declared = fields.of(name)
    lead = value.ndim - declared.kind.axes
    index = [*(["..."] * (lead - len(declared.index) + 1)), *declared.index[1:]] if declared.ragged else list(declared.index)
    return [(i, label) for i, label in enumerate(index) if not label.isdigit()]


def _shapes(fields: Fields, x: dict[str, Tensor], program: Any) -> dict[str, Any]:
    """Of every input its dtype, the shape of the sample, and the axes that stayed free."""
    nodes = {node.name: node for node in program.graph.nodes if node.op == "placeholder"}
    slots = [nodes[name].meta["val"] for name in program.graph_signature.user_inputs]
    out = {}
    for (name, value), slot in zip(x.items(), slots, strict=True):
        free = [i for i, _ in _named(fields, name, value) if not isinstance(slot.shape[i], int)]
        out[name] = {"dtype": str(value.dtype).removeprefix("torch."), "shape": list(value.shape), "free": free}
    return out


def _spec(spelled: Mapping[str, str]) -> Any:
    return spelled[""] if list(spelled) == [""] else spelled


def _dtype(x: dict[str, Tensor]) -> torch.dtype:
    return next((value.dtype for value in x.values() if value.is_floating_point()), torch.float32)


@contextlib.contextmanager
def _quiet() -> Any:
    """Without torch's warnings about its own archives."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
