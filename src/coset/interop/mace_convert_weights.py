"""The numbers of a mace-torch model as the weights of our MACE: same function, other normalizations and another basis.

Linear maps arrive as plain matrices and are divided by our ``1 / sqrt(n)``. Signs and factors of the convolution's paths are
measured on random operands and go into the last layer of the radial network, as does the constant of its activation. Couplings
of the symmetric contraction span the same space as ours, in another (redundant) basis: weights are mapped by the matrix ``M``
with ``U_theirs = U_ours M``, found by least squares order by order in float64; the remainder is checked. All of it is linear
algebra on :mod:`coset.interop.mace_convert_extract`'s answer; mace-torch is not needed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from coset.errors import InputError
from coset.models.atoms.mace import MACE
from coset.nn.edge_radial import INTERVALS, VANISH, EdgeRadial
from coset.nn.interaction import Interaction
from coset.nn.irreps_linear import IrrepsLinear, linear_paths
from coset.nn.irreps_product import ManyBody
from coset.nn.readout import ScalarReadout
from coset.ops.index import Edges
from coset.ops.rows import Rows
from coset.ops.symmetric_contraction import SymmetricContraction, from_tensors
from coset.reps.conventions import to_ir_mul
from coset.reps.irreps import Irreps

Facts = Mapping[str, Any]
#: how far tables that were rounded to a dtype may be from ours
ROUNDING = {"float64": 1e-10, "float32": 2e-6}
RESIDUAL, PLAIN = "RealAgnosticResidualInteractionBlock", "RealAgnosticInteractionBlock"


@dataclass(frozen=True)
class Source:
    """One part of the answer: its facts, and its arrays by the names below ``prefix``."""

    facts: Facts
    arrays: Mapping[str, Tensor]
    prefix: str = ""

    def __getitem__(self, name: str) -> Tensor:
        return self.arrays[self.prefix + name].double()

    def part(self, name: str, place: int) -> Source:
        """One of several layers or readouts."""
        return Source(self.facts[name][place], self.arrays, f"{name}.{place}.")


def irreps(listed: Sequence[Sequence[int]]) -> Irreps:
    """``[[mul, l, p], ..]``."""
    return Irreps([(mul, (degree, parity)) for mul, degree, parity in listed])


def config_of(facts: Facts, arrays: Mapping[str, Tensor], head: int, radial: str, intervals: int) -> dict[str, Any]:
    """The arguments of our MACE; InputError, with the reason, for an architecture that it does not have."""
    layers: Sequence[Facts] = facts["layers"]
    channels = layers[0]["in"][0][0]
    harmonics = [[1, degree, (-1) ** degree] for degree in range(len(facts["harmonics"]))]
    between = [[channels, degree, parity] for _, degree, parity in harmonics]
    scalar = [[channels, 0, 1]]
    hidden = layers[0]["out"]
    stations = [scalar, *[hidden] * (len(layers) - 1), scalar]
    correlations = {order for layer in layers for order in layer["product"]["orders"]}
    networks = {tuple(layer["radial"]["sizes"][:-1]) for layer in layers}
    kinds = [readout["kind"] for readout in facts["readouts"]]
    wanted = ["LinearReadoutBlock"] * (len(layers) - 1) + ["NonLinearReadoutBlock" if len(layers) > 1 else kinds[-1]]
    activations = {name for layer in layers for name in layer["radial"]["activations"]}
    activations |= {readout["activation"] for readout in facts["readouts"] if "activation" in readout}
    for holds, reason in (
        (facts["harmonics"] == harmonics, "its harmonics are not those of O(3), all degrees once"),
        (all((a["in"], a["out"]) == pair for a, pair in zip(layers, pairwise(stations), strict=True)),
         f"its features are {[a['out'] for a in layers]} ([multiplicity, degree, parity]), expected the same after every layer "
         "but the last, and scalars after that"),
        (all(mul == channels for mul, _, _ in hidden), f"its features {irreps(hidden)} have several multiplicities"),
        (all(a["edge"] == a["in"] and a["between"] == between for a in layers), "its messages have irreps of their own"),
        (len(correlations) == 1, f"its layers have the correlations {sorted(correlations)}, one is expected"),
        (len(networks) == 1, f"its radial networks have the sizes {sorted(networks)}, one is expected"),
        (kinds == wanted, f"its readouts are {', '.join(kinds)}; expected {', '.join(wanted)}"),
        (all(a["skip"] for a in layers if a["kind"] == RESIDUAL), "it has a residual interaction without the residual"),
        (activations <= {"silu"}, f"its activations are {', '.join(sorted(activations))}; silu is known"),
        (len({a["neighbors"] for a in layers}) == 1, "its layers divide by different numbers of neighbors"),
    ):  # fmt: skip
        if not holds:
            raise InputError(f"this mace-torch model cannot be represented: {reason}")
    numbers, (basis, *network) = arrays["numbers"].tolist(), networks.pop()
    order = sorted(range(len(numbers)), key=lambda place: numbers[place])
    connect = ["residual" if a["kind"] == RESIDUAL else "message" for a in layers]
    last = facts["readouts"][-1]
    neurons = arrays[f"readouts.{len(kinds) - 1}.last"].shape[0] // len(facts["heads"]) if "activation" in last else 0
    return {
        "elements": sorted(numbers), "r_max": facts["r_max"], "hidden": str(irreps(hidden)), "layers": len(layers),
        "lmax": len(harmonics) - 1, "correlation": correlations.pop(), "neighbors": layers[0]["neighbors"], "radial": radial,
        "basis": basis, "network": network, "readout": neurons, "envelope": facts["envelope"],
        "intervals": intervals, "connect": connect[0] if len(set(connect)) == 1 else connect,
        "references": arrays["references"].double()[head % len(arrays["references"]), order].tolist(),
        **{name: float(arrays[name].double()[head % len(arrays[name])]) for name in ("scale", "shift") if name in arrays},
    }  # fmt: skip


def potential_of(
    facts: Facts, arrays: Mapping[str, Tensor], *, head: int = 0, radial: str = "network", intervals: int = INTERVALS
) -> MACE:
    """Our MACE in float64 with the weights of the answer; ``radial="spline"`` reads its radial networks once, at the knots.

    InputError for an architecture that ours does not have, and where a table differs from ours by more than rounding.
    """
    if radial == "spline":
        exact = potential_of(facts, arrays, head=head, radial="knots", intervals=intervals)
        model = MACE(**exact.config | {"radial": "spline"}).double().eval()
        weights = {name: value for name, value in exact.state_dict().items() if ".radial." not in name}
        for place, layer in enumerate(_layers(exact)):
            table = layer.radial.coefficients(torch.float64)
            weights[f"layers.interactions.{place}.radial.table"] = table[:-VANISH]
        model.load_state_dict(weights)
        return model
    model = MACE(**config_of(facts, arrays, head, radial, intervals)).double().eval()
    whole, tolerance = Source(facts, arrays), ROUNDING.get(facts["dtype"], ROUNDING["float32"])
    order = torch.argsort(arrays["numbers"])
    _put(model.layers.embed.weight, whole["embedding"][order])
    for place, layer in enumerate(_layers(model)):
        source = whole.part("layers", place)
        _interaction(layer, source, whole, tolerance)
        skip: Any = model.layers.residuals[place]
        _put(skip.weight, torch.stack([linear_weight(matrix, skip) for matrix in source["skip"][order]]))
        product: Any = model.layers.products[place]
        _product(product, source, order, tolerance)
    for place, readout in enumerate(model.readouts):
        _readout(readout, whole.part("readouts", place), head, len(facts["heads"]))
    return model


def _layers(model: MACE) -> list[Interaction]:
    return list(model.layers.interactions)  # type: ignore[arg-type]


def _put(parameter: Tensor, value: Tensor) -> None:
    if parameter.shape != value.shape:
        raise InputError(f"weights of mace-torch have the shape {tuple(value.shape)}, expected {tuple(parameter.shape)}")
    with torch.no_grad():
        parameter.copy_(value)


def linear_weight(matrix: Tensor, layer: Any) -> Tensor:
    """A matrix ``(copies in, copies out)`` as the flat weight of a linear layer of irreps, which divides by ``sqrt(n)``."""
    inputs, outputs = layer.irreps_in, layer.irreps_out
    blocks = matrix.split([mul for mul, _ in inputs], 0)
    parts = []
    for i, o in linear_paths(inputs, outputs, zero=True):
        part = blocks[i].split([mul for mul, _ in outputs], 1)[o]
        parts.append(part.flatten() * inputs.count(inputs[i].ir) ** 0.5)
    return torch.cat(parts) if parts else matrix.new_zeros(0)


# ---------------------------------------------------------------------- messages


def _interaction(layer: Interaction, source: Source, whole: Source, tolerance: float) -> None:
    """Convolution: which of their paths is which of ours, by what factor, and the weights in our order."""
    _put(layer.up.weight, linear_weight(source["up"], layer.up))
    tp, conv, channels = layer.radial.tp, source.facts["conv"], layer.channels
    theirs = {(a, b, conv["irreps_out"][c][1], conv["irreps_out"][c][2]): (n, c) for n, (a, b, c) in enumerate(conv["paths"])}
    places = [theirs[p.first[0], p.second[0], p.irreps[2].l, p.irreps[2].p] for p in tp.paths]
    if len(theirs) != len(places):
        raise InputError(f"its convolution has {len(theirs)} paths, ours {len(places)}")
    factors = path_factors(layer.radial, source, [out for _, out in places], tolerance)
    _radial(layer.radial, source, whole, [path for path, _ in places], factors)
    copies = source["down"].view(-1, channels, source["down"].shape[1])  # one block for each of their paths
    _put(layer.down.weight, linear_weight(copies[[out for _, out in places]].flatten(0, 1), layer.down))


def path_factors(radial: EdgeRadial, source: Source, outs: Sequence[int], tolerance: float) -> Tensor:
    """``(paths,)``: theirs over ours on random operands with unit weights. InputError if they are not proportional."""
    tp, conv = radial.tp, source.facts["conv"]
    first, blocks = irreps(conv["irreps_in1"]), irreps(conv["irreps_out"])
    x = to_ir_mul(first, source["conv.x"])
    items = torch.arange(len(x))
    edges = Edges(torch.stack([items, items]), len(x))
    ours = tp(x.unflatten(-1, (-1, tp.channels)), source["conv.s"], x.new_ones(len(x), len(tp.paths), tp.channels), edges)
    theirs = to_ir_mul(blocks, source["conv.out"]).split([block.dim for block in blocks], -1)
    rows, place = Rows(tp.irreps_out, tp.channels), {ir: block for block, (_, ir) in enumerate(tp.irreps_out)}
    found = []
    for path, out in zip(tp.paths, outs, strict=True):
        mine = ours[:, rows.of(place[path.irreps[2]], path.copy)].flatten(1)
        factor = (theirs[out] * mine).sum() / mine.square().sum()
        if float((theirs[out] - factor * mine).norm() / theirs[out].norm()) > tolerance:
            raise InputError(f"its convolution differs from ours along {path}: other couplings or harmonics")
        found.append(factor)
    return torch.stack(found)


def _radial(radial: EdgeRadial, source: Source, whole: Source, paths: Sequence[int], factors: Tensor) -> None:
    """Their activation has a factor of its own, their Bessel functions a prefactor that may be rounded."""
    _put(radial.basis.frequencies, whole["frequencies"])
    gains = source.facts["radial"]["gains"]
    last = len(gains)
    for place, parameter in enumerate(radial.mlp.weights):
        weight = source[f"radial.weight.{place}"]
        weight = weight * (
            gains[place - 1] / radial.mlp.gain if place else whole["prefactor"] / math.sqrt(2 / radial.basis.r_max)
        )
        if place == last:
            columns = weight.unflatten(1, (-1, radial.tp.channels))
            weight = (columns[:, list(paths)] * factors.view(1, -1, 1)).flatten(1)
        _put(parameter, weight)


# ---------------------------------------------------------------------- products and readouts


def _product(product: ManyBody, source: Source, order: Tensor, tolerance: float) -> None:
    """Weights of the contraction in our basis of couplings, then the linear map."""
    _put(product.linear.weight, linear_weight(source["mix"], product.linear))
    about = source.facts["product"]
    names = [[f"product.{k}.{nu}" for nu in range(1, n + 1)] for k, n in enumerate(about["orders"])]
    couplings = [[source[f"{name}.couplings"] for name in block] for block in names]
    theirs = from_tensors(irreps(about["irreps_in"]), irreps(about["irreps_out"]), couplings)
    maps = coupling_maps(product.contraction, theirs, tolerance)
    weights = [source[f"{name}.weight"] for block in names for name in block]
    mapped = [torch.einsum("op,spc->soc", change, weight) for change, weight in zip(maps, weights, strict=True)]
    species = product.weight.shape[0]
    whole = torch.cat(mapped, 1)
    _put(product.weight, whole[order] if len(whole) == species else whole.expand(species, -1, -1))


def coupling_maps(ours: SymmetricContraction, theirs: SymmetricContraction, tolerance: float) -> list[Tensor]:
    """For each block and order the matrix from their weights to ours, ``(our paths, their paths)``.

    Both contractions are evaluated at random points, one path at a time. InputError where a coupling of theirs is no
    combination of ours.
    """
    generator = torch.Generator().manual_seed(0)
    channels, count = ours.irreps_in.channels(), max(part.count for part in (*ours.paths, *theirs.paths))
    points = 1 + 4 * count // channels  # every channel is a point of its own
    x = torch.randn(points, ours.rows, channels, generator=generator, dtype=torch.float64)
    values = [_each_path(contraction, x) for contraction in (ours, theirs)]
    found = []
    for mine, other in zip(ours.paths, theirs.paths, strict=True):
        a, b = (v[part.start : part.start + part.count].flatten(1).T for v, part in zip(values, (mine, other), strict=True))
        if not mine.count:
            found.append(a.new_zeros(0, other.count))
            if other.count and float(b.abs().max()) > tolerance:
                raise InputError(f"its contraction couples {mine.order} features to {mine.irrep}, which symmetry forbids")
            continue
        change = torch.linalg.lstsq(a, b).solution
        if float((a @ change - b).norm()) > tolerance * max(float(b.norm()), 1.0):
            raise InputError(f"its couplings of order {mine.order} to {mine.irrep} are not spanned by ours")
        found.append(change)
    return found


def _each_path(contraction: SymmetricContraction, x: Tensor) -> Tensor:
    """``(paths, points, rows out, C)``: what every coupling by itself makes of the features ``x``."""
    paths = contraction.paths_total
    unit = torch.eye(paths, dtype=x.dtype).unsqueeze(-1).expand(-1, -1, x.shape[-1]).contiguous()
    species = torch.arange(paths).repeat_interleave(len(x))
    return contraction(x.repeat(paths, 1, 1), unit, species, backend="torch").unflatten(0, (paths, len(x)))


def _readout(readout: nn.Module, source: Source, head: int, heads: int) -> None:
    """One column of several heads; a hidden layer is cut into as many parts, of which one is read."""
    if isinstance(readout, IrrepsLinear):
        _put(readout.weight, linear_weight(source["first"][:, head : head + 1], readout))
    elif isinstance(readout, ScalarReadout):
        width = source["first"].shape[1] // heads
        part = slice(head * width, (head + 1) * width)
        _put(readout.first.weight, linear_weight(source["first"][:, part], readout.first))
        last = source["last"][part, head : head + 1] * (source.facts["gain"] / readout.gain)
        _put(readout.last.weight, linear_weight(last, readout.last))
