"""Where does the symmetry break? The error of every layer of any ``nn.Module``, by forward hooks.

The model runs on ``e . x`` and on ``g . x``; the output ``h`` of each submodule is compared with ``g . h``. How ``g`` acts
on a hidden tensor is known where the submodule carries a contract; elsewhere it is guessed from the shape (pixels, space
axes, fibres of the group's order, permuted indices, or invariant), the reading with the least error is taken and labelled
*guessed*: it hides a fault where a wrong reading happens to fit, and shows one where none of the readings is right.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from coset.audits.hidden import Reading, concerns_others, declared_readings, guesses
from coset.audits.passes import Plan
from coset.contract import relative
from coset.errors import CosetError, InputError
from coset.reps.fields import Field
from coset.reps.image import Image

MEMBERS = 32  #: samples that the layers are measured on
COMPILED = "_compiled_main"  #: in names of what e3nn compiles inside a module, which says itself what comes out


@dataclass
class Layer:
    """One submodule: the mean over elements of its relative error."""

    name: str
    error: float
    field: str  #: how its output was taken to transform
    guessed: bool
    floor: float = 0.0  #: what resampling this tensor costs
    cause: str = ""  #: what in this module is likely to break the symmetry

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for a finding."""
        return {
            "name": self.name, "error": self.error, "floor": self.floor, "field": self.field, "guessed": self.guessed,
            "cause": self.cause,
        }  # fmt: skip


def layer_errors(model: nn.Module, plan: Plan, g: Any, *, seed: int = 0) -> list[Layer]:
    """The error of every submodule with a tensor output, in the order in which they first run; ``g`` is a few elements.

    Raises InputError where ``model`` is no module. Outputs whose size depends on the element are left out.
    """
    if not isinstance(model, nn.Module):
        raise InputError(f"layers are those of an nn.Module, got {type(model).__name__}")
    plan = _few_members(plan)
    origin = plan.contract.inputs.pack(plan.contract.origin(plan.x))
    base = _record(model, plan, origin)
    sums: dict[str, dict[Reading, list[float]]] = {}
    floors: dict[str, float] = {}
    fits = _all_readings(dict(model.named_modules()), plan, base)
    for i in range(len(g)):
        moved = _record(model, plan, plan.contract.inputs.pack(plan.contract.act(g[i], plan.x)))
        for name, h in base.items():
            gh = moved.get(name)
            if gh is None or gh.shape != h.shape or not h.numel():
                continue
            for reading in fits[name]:
                found = _error(plan, reading, g[i], h, gh)
                if found is not None:
                    sums.setdefault(name, {}).setdefault(reading, []).append(found)
    layers = []
    for name, readings in sums.items():
        complete = {r: sum(e) / len(e) for r, e in readings.items() if len(e) == len(g)}
        if not complete:
            continue
        reading = min(complete, key=lambda r: complete[r])
        floors[name] = _floor(plan, reading, g, base[name])
        module = model.get_submodule(name.partition("#")[0])
        layers.append(
            Layer(name, complete[reading], str(reading), reading.guessed, floors[name], likely_cause(module, reading.field))
        )
    return layers


def _few_members(plan: Plan) -> Plan:
    if not plan.independent or plan.members.count <= MEMBERS:
        return plan
    rows = torch.arange(MEMBERS)
    x = plan.members.take(plan.contract.inputs, plan.x, rows)
    bound = plan.contract.bind(x)
    return replace(plan, contract=bound, x=x, members=type(plan.members).of(bound, x))


def _record(model: nn.Module, plan: Plan, x: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensor output of every submodule; a second call of one is ``name#2``."""
    seen: dict[str, Tensor] = {}
    calls: dict[str, int] = {}

    def keep(name: str) -> Any:
        def hook(_: nn.Module, __: Any, output: Any) -> None:
            calls[name] = calls.get(name, 0) + 1
            if isinstance(output, Tensor) and (output.is_floating_point() or output.is_complex()):
                seen[name if calls[name] == 1 else f"{name}#{calls[name]}"] = output.detach()

        return hook

    handles = [
        module.register_forward_hook(keep(name)) for name, module in model.named_modules() if name and COMPILED not in name
    ]
    try:
        plan.call(x)
    finally:
        for handle in handles:
            handle.remove()
    return seen


def _all_readings(modules: Mapping[str, nn.Module], plan: Plan, base: Mapping[str, Tensor]) -> dict[str, list[Reading]]:
    """How every output may be read; what a module hands on as it is (a container, its last part) is what the part says."""
    found: dict[str, list[Reading]] = {}
    said: dict[tuple[int, torch.Size], list[Reading]] = {}
    for name, h in base.items():
        module, same = modules[name.partition("#")[0]], (h.data_ptr(), h.shape)
        if concerns_others(module, plan.contract):
            found[name] = []
        elif declared := declared_readings(module, plan.contract, h):
            found[name] = said[same] = declared
        else:
            found[name] = said.get(same) or guesses(plan, h)
    return found


def _error(plan: Plan, reading: Reading, g: Any, h: Tensor, gh: Tensor) -> float | None:
    """Relative error under one reading; None where the action does not fit the shape."""
    try:
        want = reading.move(plan.contract.group, g, h, plan.x)
    except (CosetError, RuntimeError, IndexError):
        return None
    if want.shape != gh.shape:
        return None
    if reading.loose:
        want, gh = _sorted(want), _sorted(gh)
    return float(relative(gh - want, want))


def _sorted(rows: Tensor) -> Tensor:
    """Rows in the order of their mean against fixed weights: equal sets come out equal, whatever order they were in."""
    flat = rows.flatten(1)
    return flat[(flat @ torch.linspace(0.5, 1.5, flat.shape[1]).to(flat)).argsort()]


def _floor(plan: Plan, reading: Reading, g: Any, h: Tensor) -> float:
    if reading.field.still:
        return 0.0
    try:
        return float(reading.field.kind.floor(plan.contract.group, g, h.unsqueeze(0)).double().mean())
    except (CosetError, RuntimeError):
        return 0.0


def likely_cause(module: nn.Module, declared: Field) -> str:
    """What in a standard module breaks a symmetry, its output being of this field; empty for those that break none."""
    stride = getattr(module, "stride", 1)
    strided = any(s != 1 for s in (stride if isinstance(stride, tuple) else (stride,)))
    if isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Conv3d)):
        words = [f"stride {stride}"] * strided
        words += ["weights that are not tied over the group"] * (max(module.kernel_size) > 1)
        return "convolution: " + ", ".join(words) if words else ""
    if isinstance(module, (nn.MaxPool2d, nn.AvgPool2d, nn.MaxPool1d, nn.AvgPool1d)):
        return "pooling with a stride: exact only on sizes that it divides, and aliasing without a blur" if strided else ""
    if isinstance(module, nn.Flatten):
        return "flattening forgets where the values stood"
    if isinstance(module, (nn.Linear, nn.Bilinear)):
        return "dense weights over a field that moves" + (", and a bias" if module.bias is not None else "")
    if isinstance(module, (nn.ReLU, nn.GELU, nn.SiLU, nn.Tanh, nn.Sigmoid, nn.ELU, nn.LeakyReLU, nn.Softplus)):
        if declared.still or isinstance(declared.kind, Image):
            return ""
        return "a pointwise nonlinearity on components of a vector; gate by norms instead"
    if isinstance(module, (nn.LayerNorm, nn.GroupNorm)):
        return "normalisation over an axis that the group moves, or an affine part that differs along it"
    if isinstance(module, nn.Embedding):
        return "an embedding of positions"
    return ""
