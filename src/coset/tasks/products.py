"""Tensor products compared: what each can express, what it costs, and whether a network built on it can tell left from right.

Contract: the class of a Tetris piece does not change under SE(3), nor under S("N") of its blocks; the two chiral pieces are
mirror images. Every row has 3 layers of 8 channels and degrees up to 2 and differs in the product alone. Expressivity and time
are those of the product between features and features of degrees up to 4, one channel. Data: :mod:`coset.data.tetris`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor, nn

from coset.audits.expressivity import Expressivity, expressivity
from coset.contract import Contract, evaluating, frozen
from coset.data.tetris import tetris
from coset.groups.euclidean import SE
from coset.groups.permutation import S
from coset.models.points.pointnet import PointNet
from coset.models.points.product_net import TetrisNet
from coset.objectives.supervised import Supervised
from coset.ops.gaunt import GauntProduct
from coset.ops.matrix_product import MatrixProduct
from coset.ops.tensor_product import elementwise
from coset.ops.vector_product import VectorProduct
from coset.task import Data, Method, Recipe, Task

INPUTS, OUTPUTS = "B x N x position", "B x 8 x scalar"
LMAX = 4  #: of the products that are rated
Product = tuple[Callable[..., Tensor], Sequence[tuple[int, ...]]]  #: and the shapes of its weights

motions = Contract(SE(3), INPUTS, OUTPUTS)
exchanges = Contract(S("N"), INPUTS, OUTPUTS)


def plain(data: Data) -> nn.Module:
    """PointNet on coordinates, no symmetry."""
    return PointNet(data.info["classes"])


def network(product: str, data: Data, *, both: bool = True) -> nn.Module:
    """The network around ``product``; ``both`` keeps features of either parity."""
    return TetrisNet(product, data.info["classes"], both=both)


# ---------------------------------------------------------------------- the products themselves


def signal(lmax: int) -> str:
    """One copy of each degree, in words; parity is not looked at."""
    return "+".join(f"{l}e" for l in range(lmax + 1))


def paths(lmax: int, backend: str = "auto") -> Product:
    """All Clebsch-Gordan paths, a weight each, summed into one copy of each degree."""
    irreps = signal(lmax)
    product = elementwise(irreps, irreps, irreps)
    sizes = [(ir.dim, mul) for mul, ir in product.irreps_out]

    def apply(x: Tensor, y: Tensor, weights: Tensor) -> Tensor:
        blocks = product(x, y, backend=backend).split([dim * copies for dim, copies in sizes], -2)
        shares = weights.split([copies for _, copies in sizes])
        parts = zip(blocks, sizes, shares, strict=True)
        return torch.cat([(block.unflatten(-2, size) * share[:, None]).sum(-2) for block, size, share in parts], -2)

    return apply, [(len(product.paths),)]


def with_vector(lmax: int) -> Product:
    """A Gaunt product and a vector product side by side."""
    even, odd = GauntProduct(lmax, lmax, lmax), VectorProduct(lmax, lmax, lmax)

    def apply(x: Tensor, y: Tensor, w1: Tensor, w2: Tensor, w3: Tensor, *fields: Tensor) -> Tensor:
        return even(x, y, w1, w2, w3) + odd(x, y, *fields)

    return apply, [(lmax + 1,)] * 3 + [(lmax + 1, 2)] * 3


def product(name: str, lmax: int, backend: str = "auto") -> Product:
    """A product of degrees up to ``lmax`` by the name of its row; ``backend`` runs the Clebsch-Gordan paths."""
    if name == "gaunt":
        return GauntProduct(lmax, lmax, lmax), ()
    if name == "matrix":
        return MatrixProduct(lmax, lmax, lmax), ()
    return paths(lmax, backend) if name == "cg" else with_vector(lmax)


@lru_cache(maxsize=16)
def rate(name: str, lmax: int = LMAX) -> Expressivity:
    """What the product reaches under SO(3)."""
    op, weights = product(name, lmax, "torch")
    return expressivity(op, signal(lmax), signal(lmax), signal(lmax), weights=weights, draws=2)


@lru_cache(maxsize=16)
def milliseconds(name: str, lmax: int = LMAX, *, batch: int = 512, repeats: int = 20) -> float:
    """Process time of one product, the least of ``repeats``, on one thread as far as the process has one."""
    op, weights = product(name, lmax)
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn(batch, (lmax + 1) ** 2, 1, generator=generator) for _ in range(2))
    given = [torch.randn(*shape, generator=generator) for shape in weights]
    best = float("inf")
    with torch.no_grad():
        for _ in range(repeats):
            start = time.process_time()
            op(x, y, *given)
            best = min(best, time.process_time() - start)
    return 1e3 * best


# ---------------------------------------------------------------------- metrics


def correct(model: Any, data: Data) -> float:
    """Turned pieces that are named rightly, percent; of a tie the first class counts."""
    with evaluating(model), frozen(model), torch.no_grad():
        y = model(data.test["x"])
    return 100 * float((y.argmax(-1) == data.test["y"]).double().mean())


def of_product(measure: Callable[[str], float], model: Any, data: Data) -> float:
    """A figure of the row's product; 0 where there is none."""
    name = getattr(model, "config", {}).get("product", "")
    return measure(name) if name else 0.0


def expressed(name: str) -> float:
    """Independent bilinear maps."""
    return float(rate(name).expressivity)


def interacting(name: str) -> float:
    """Blocks (l1, l2) -> l3 that are not zero."""
    return float(rate(name).paths)


methods = (
    Method("plain", plain, axes={"product": "none"}, note="Upright pieces are learned by heart; turned, they are strangers."),
    Method("cg", partial(network, "cg"), axes={"product": "clebsch-gordan"}, source="geiger2022",
           note="All paths: even and odd scalars, eight of eight."),
    Method("cg, even features", partial(network, "cg", both=False), axes={"product": "clebsch-gordan"}, source="geiger2022",
           note="The same product without pseudoscalars: the mirror images stay tied."),
    Method("gaunt", partial(network, "gaunt", both=False), axes={"product": "gaunt"}, source="luo2024",
           note="Cheapest at high degree, but no path is odd: no depth tells left from right."),
    Method("gaunt + vector", partial(network, "gaunt+vector"), axes={"product": "gaunt"}, source="xie2025",
           note="The cross product of vector fields brings the odd paths back."),
    Method("matrix", partial(network, "matrix"), axes={"product": "matrix"}, source="xie2025",
           note="Operators do not commute, so left and right differ; parity is given up for it."),
)  # fmt: skip

task = Task(
    contracts=(motions, exchanges),
    data=tetris,
    objective=Supervised("cross_entropy"),
    metrics={
        "correct_percent": correct,
        "expressivity_maps": partial(of_product, expressed),
        "interacting_blocks": partial(of_product, interacting),
        "product_ms": partial(of_product, milliseconds),
    },
    methods=methods,
    recipe={
        "smoke": Recipe(epochs=2, batch=8, lr=1e-3),
        "cpu": Recipe(epochs=60, batch=8, lr=1e-3, optimizer="adam", schedule="constant", weight_decay=0.0),
        "full": Recipe(epochs=100, batch=8, lr=1e-3, optimizer="adam", schedule="constant", weight_decay=0.0),
    },
)
