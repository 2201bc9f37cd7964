"""Reads a pickled mace-torch model where mace-torch is installed: everything that decides its numbers, as arrays.

    python mace_convert_extract.py MODEL REQUEST.npz ANSWER.npz

Run as a script by :mod:`coset.interop.mace_convert`, in a process and an environment of its own: beside torch and numpy it
needs only what the pickle needs, and nothing of coset. Linear layers are read by what they do to unit vectors, so that neither
the version of e3nn nor its normalizations matter. The answer holds ``facts`` (JSON), the arrays, and energies, forces and
stresses of the structures in the request, computed by mace-torch in float64.
"""

from __future__ import annotations

import json
import sys
import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor

Arrays = dict[str, Tensor]
BLOCKS = ("RealAgnosticInteractionBlock", "RealAgnosticResidualInteractionBlock")
READOUTS = ("LinearReadoutBlock", "NonLinearReadoutBlock")


class Refused(Exception):
    """A model that cannot be represented, with the reason."""


def open_model(path: str) -> Any:
    """The pickled module in float64; Refused for a file that holds something else."""
    try:
        model = torch.load(path, map_location="cpu", weights_only=False)
    except ModuleNotFoundError as error:
        raise Refused(
            f"it needs the module {error.name!r}, which {sys.executable} does not have; run where mace-torch is installed, "
            "or name that environment's Python with --python"
        ) from error
    if isinstance(model, dict):
        raise Refused("it holds a dictionary (a checkpoint of a training), not a model; take the .model file that it wrote")
    if not isinstance(model, torch.nn.Module) or isinstance(model, torch.jit.ScriptModule):
        raise Refused(f"it holds a {type(model).__name__}, not a pickled model; a compiled one was made from a file that is")
    return model


def dtype_of(model: Any) -> str:
    """In which dtype its numbers are right: one that was built in float32 and widened later holds tables rounded to that."""
    found = next(model.parameters()).dtype
    tables = [table for table in model.products.buffers() if table.is_floating_point()]
    if found == torch.float64 and all(torch.equal(table, table.float().double()) for table in tables):
        found = torch.float32
    return str(found).removeprefix("torch.")


def irreps_of(module: Any, name: str) -> list[list[int]]:
    """``[[mul, l, p], ..]`` of an attribute, equal neighbors joined as they stand."""
    return [[int(mul), int(ir.l), int(ir.p)] for mul, ir in getattr(module, name)]


def channels_first(irreps: list[list[int]]) -> list[int]:
    """The place of component 0 of every copy in e3nn's order, where the components of a copy stand side by side."""
    places, start = [], 0
    for mul, degree, _ in irreps:
        places += [start + copy * (2 * degree + 1) for copy in range(mul)]
        start += mul * (2 * degree + 1)
    return places


def matrix_of(module: Any, *more: Tensor, first: str = "irreps_in", last: str = "irreps_out") -> Tensor:
    """A linear layer as the matrix ``(copies in, copies out)`` between first components: by Schur's lemma that is all of it."""
    inputs, outputs = irreps_of(module, first), irreps_of(module, last)
    rows = channels_first(inputs)
    dim = sum(mul * (2 * degree + 1) for mul, degree, _ in inputs)
    units = torch.zeros(len(rows), dim, dtype=torch.float64)
    units[torch.arange(len(rows)), torch.tensor(rows)] = 1.0
    return module(units, *(value.expand(len(rows), -1) for value in more))[:, channels_first(outputs)]


def by_species(module: Any, count: int) -> Tensor:
    """A product with one-hot species as a matrix for each, ``(species, copies in, copies out)``."""
    hot = torch.eye(count, dtype=torch.float64)
    return torch.stack([matrix_of(module, hot[i : i + 1], first="irreps_in1") for i in range(count)])


def convolution(module: Any, seed: int) -> tuple[dict[str, Any], Arrays]:
    """Paths of a channelwise product and what it makes of random operands with unit weights."""
    generator = torch.Generator().manual_seed(seed)
    first, second = (sum(m * (2 * l + 1) for m, l, _ in irreps_of(module, name)) for name in ("irreps_in1", "irreps_in2"))
    x, s = (torch.randn(4, n, generator=generator, dtype=torch.float64) for n in (first, second))
    about = {name: irreps_of(module, name) for name in ("irreps_in1", "irreps_in2", "irreps_out")}
    about["paths"] = [[i.i_in1, i.i_in2, i.i_out] for i in module.instructions]
    out = module(x, s, torch.ones(4, module.weight_numel, dtype=torch.float64))
    return about, {"x": x, "s": s, "out": out}


def network(module: Any) -> tuple[dict[str, Any], Arrays]:
    """The radial network: its weights and the factor of its activation."""
    layers = [getattr(module, f"layer{i}") for i in range(len(module.hs) - 1)]
    kinds = {str(getattr(getattr(layer.act, "f", layer.act), "__name__", "?")) for layer in layers[:-1]}
    if any(float(v) != 1.0 for layer in layers for v in (layer.var_in, layer.var_out)) or layers[-1].act is not None:
        raise Refused("its radial network has variances other than 1, or an activation at its end")
    return (
        {"sizes": list(module.hs), "activations": sorted(kinds), "gains": [float(layer.act.cst) for layer in layers[:-1]]},
        {f"weight.{i}": layer.weight for i, layer in enumerate(layers)},
    )


def contraction(module: Any) -> tuple[dict[str, Any], Arrays]:
    """Coupling tensors and weights of a symmetric contraction, for every output block the orders from 1 on."""
    if not hasattr(module, "contractions"):
        raise Refused("its contraction was replaced by another package; convert it back to plain mace-torch first")
    found: Arrays = {}
    for place, part in enumerate(module.contractions):
        buffers = dict(part.named_buffers())
        weights = [*reversed(list(part.weights)), part.weights_max]  # lower orders are kept from high to low
        for order, weight in enumerate(weights, 1):
            found[f"{place}.{order}.couplings"], found[f"{place}.{order}.weight"] = buffers[f"U_matrix_{order}"], weight
    about = {name: irreps_of(module, name) for name in ("irreps_in", "irreps_out")}
    return about | {"orders": [part.correlation for part in module.contractions]}, found


def interaction(block: Any, product: Any, species: int, seed: int) -> tuple[dict[str, Any], Arrays]:
    """One layer: message block and product block."""
    kind = type(block).__name__
    if kind not in BLOCKS:
        raise Refused(f"its interaction is a {kind}; known are {' and '.join(BLOCKS)}")
    if not hasattr(block.conv_tp, "instructions") or not hasattr(block.conv_tp_weights, "layer0"):
        raise Refused("its convolution was replaced by another package; convert it back to plain mace-torch first")
    about: dict[str, Any] = {"kind": kind, "neighbors": float(block.avg_num_neighbors), "skip": bool(product.use_sc)}
    arrays: Arrays = {
        "up": matrix_of(block.linear_up),
        "down": matrix_of(block.linear),
        "skip": by_species(block.skip_tp, species),
        "mix": matrix_of(product.linear),
    }
    about |= {"in": irreps_of(block.linear_up, "irreps_in"), "edge": irreps_of(block.linear_up, "irreps_out")}
    about |= {"mid": irreps_of(block.linear, "irreps_in"), "between": irreps_of(block.linear, "irreps_out")}
    about |= {"out": irreps_of(product.linear, "irreps_out")}
    parts = {
        "conv": convolution(block.conv_tp, seed), "radial": network(block.conv_tp_weights),
        "product": contraction(product.symmetric_contractions),
    }  # fmt: skip
    for name, (part, more) in parts.items():
        about[name] = part
        arrays |= {f"{name}.{key}": value for key, value in more.items()}
    return about, arrays


def readout(module: Any) -> tuple[dict[str, Any], Arrays]:
    """From features to one number per head."""
    kind = type(module).__name__
    if kind not in READOUTS:
        raise Refused(f"its readout is a {kind}; known are {' and '.join(READOUTS)}")
    if kind == "LinearReadoutBlock":
        return {"kind": kind}, {"first": matrix_of(module.linear)}
    (act,) = module.non_linearity.acts
    name = str(getattr(getattr(act, "f", act), "__name__", "?"))
    return {"kind": kind, "activation": name, "gain": float(act.cst)}, {
        "first": matrix_of(module.linear_1),
        "last": matrix_of(module.linear_2),
    }


def describe(model: Any) -> tuple[dict[str, Any], Arrays]:
    """Facts and arrays of a whole model. Refused where it has a part that is not described here."""
    kind = type(model).__name__
    if kind not in ("MACE", "ScaleShiftMACE"):
        raise Refused(f"it is a {kind}; models of energies alone are converted: MACE and ScaleShiftMACE")
    for name, what in (("pair_repulsion_fn", "a ZBL pair repulsion"), ("joint_embedding", "embeddings of charges or spins")):
        if hasattr(model, name):
            raise Refused(f"it has {what}, which the network here does not")
    embedding = model.radial_embedding
    if hasattr(embedding, "distance_transform"):
        raise Refused(f"its distances pass a {type(embedding.distance_transform).__name__}, which depends on species")
    if type(embedding.bessel_fn).__name__ != "BesselBasis":
        raise Refused(f"its radial functions are a {type(embedding.bessel_fn).__name__}; Bessel functions are known")
    if not getattr(embedding, "apply_cutoff", True):
        raise Refused("its cutoff multiplies the radial network's output instead of its input")
    if type(embedding.cutoff_fn).__name__ != "PolynomialCutoff":
        raise Refused(f"its cutoff is a {type(embedding.cutoff_fn).__name__}; the polynomial one is known")
    dtype = dtype_of(model)
    model.double()
    species = len(model.atomic_numbers)
    facts: dict[str, Any] = {
        "kind": kind, "dtype": dtype, "r_max": float(model.r_max),
        "envelope": int(embedding.cutoff_fn.p), "heads": [str(head) for head in getattr(model, "heads", ["Default"])],
        "harmonics": irreps_of(model.spherical_harmonics, "irreps_out"),
    }  # fmt: skip
    arrays: Arrays = {
        "numbers": model.atomic_numbers, "embedding": matrix_of(model.node_embedding.linear),
        "references": torch.atleast_2d(model.atomic_energies_fn.atomic_energies),
        "frequencies": embedding.bessel_fn.bessel_weights, "prefactor": embedding.bessel_fn.prefactor,
    }  # fmt: skip
    if hasattr(model, "scale_shift"):
        arrays |= {name: torch.atleast_1d(getattr(model.scale_shift, name)) for name in ("scale", "shift")}
    pairs = zip(model.interactions, model.products, strict=True)
    layers = [interaction(block, product, species, place) for place, (block, product) in enumerate(pairs)]
    for name, parts in (("layers", layers), ("readouts", [readout(module) for module in model.readouts])):
        facts[name] = [about for about, _ in parts]
        arrays |= {f"{name}.{i}.{key}": value for i, (_, more) in enumerate(parts) for key, value in more.items()}
    return facts, arrays


def answers(model: Any, request: Any, head: int) -> Arrays:
    """Energies, forces and stresses of the structures ``k.pos``, ``k.z``, ``k.cell``, ``k.edges``, ``k.shift``."""
    numbers = model.atomic_numbers.tolist()
    found: Arrays = {}
    for k in range(int(request["count"])):
        pos, z, cell, edges, shift = (
            torch.from_numpy(request[f"{k}.{name}"]) for name in ("pos", "z", "cell", "edges", "shift")
        )
        species = torch.tensor([numbers.index(int(number)) for number in z])
        data = {
            "positions": pos, "node_attrs": torch.eye(len(numbers), dtype=torch.float64)[species], "edge_index": edges,
            "shifts": shift.double() @ cell, "unit_shifts": shift.double(), "cell": cell,
            "batch": torch.zeros(len(z), dtype=torch.int64), "ptr": torch.tensor([0, len(z)]), "head": torch.tensor([head]),
        }  # fmt: skip
        out = model(data, training=False, compute_force=True, compute_stress=True)
        found |= {f"{k}.{name}": out[name] for name in ("energy", "forces", "stress")}
    return found


def main(path: str, asked: str, answered: str) -> None:
    """See the module; a refusal is the array ``refused``, a message."""
    warnings.filterwarnings("ignore")
    torch.serialization.add_safe_globals([slice])  # e3nn 0.4 reads a table of its own with one, which torch 2.6 refuses
    torch.set_default_dtype(torch.float64)
    with np.load(asked, allow_pickle=False) as stored:
        request = {name: stored[name] for name in stored.files}
    try:
        model = open_model(path)
        model.eval()
        facts, arrays = describe(model)
        kept = {name: value.detach().numpy() for name, value in arrays.items()}
        if "count" in request:
            found = answers(model, request, int(request["head"]))
            kept |= {f"answers.{name}": value.detach().numpy() for name, value in found.items()}
        kept["facts"] = np.array(json.dumps(facts))
    except Refused as error:
        kept = {"refused": np.array(str(error))}
    np.savez(answered, **kept)  # type: ignore[arg-type]  # names are not known to the stub


if __name__ == "__main__":
    main(*sys.argv[1:])
