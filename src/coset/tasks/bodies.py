"""Parts of articulated bodies, trained in narrow poses, tested in wide ones: one frame, one per part, or parts to be found.

Contracts: every rigid part of a body may move on its own, ``SE(3) ** "K"``, every body as a whole, ``SE(3) ** "B"``, S("N").
Labels follow the part. The setting of APEN on generated figures (:mod:`coset.data.articulated`), or on the user's scans:
``coset compare bodies --size full --data bodies=FOLDER`` (:mod:`coset.data.body_scans`). All rows share one network;
they differ in what it sees at a time: the whole body, the whole body in its frames, the groups of a partition in theirs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from coset.audits.partition import Partition
from coset.contract import Contract, evaluating, frozen, relative
from coset.data.articulated import articulated
from coset.groups.euclidean import SE
from coset.groups.permutation import S
from coset.models.points.apen import APEN, VoteLoss, purity
from coset.models.points.segment import FramedSegmenter, PointSegmenter
from coset.task import Data, Method, Recipe, Stage, Task

INPUTS = {"pos": "N x position", "normal": "N x vector", "body": "N -> K", "cloud": "K -> B"}
OUTPUTS = {"seg": "N x 6 x scalar"}
WIDTH = 8

parts = Contract(SE(3) ** "K", INPUTS, OUTPUTS)
bodies = Contract(SE(3) ** "B", INPUTS, OUTPUTS)
exchanges = Contract(S("N"), INPUTS, OUTPUTS)
base = VoteLoss()


class Told(nn.Module):
    """A network that is told the rigid parts: the control that no prediction of parts can beat."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.config: dict[str, Any] = {}
        self.contracts = (Contract(SE(3) ** "K", INPUTS, OUTPUTS),)

    def forward(self, pos: Tensor, normal: Tensor, body: Tensor, cloud: Tensor | None = None) -> dict[str, Tensor]:
        """As the network's, with ``body`` as its partition; whose parts they are makes no difference."""
        return self.model(pos=pos, part=body, normal=normal)


def plain(data: Data) -> nn.Module:
    """PointNet on the whole body."""
    return PointSegmenter(data.info["classes"], WIDTH, normals=True)


def framed(data: Data) -> nn.Module:
    """The same, averaged over the frames of the whole body."""
    return FramedSegmenter(data.info["classes"], WIDTH, normals=True, rotation_only=True)


def piecewise(data: Data) -> nn.Module:
    """The same in the frames of parts that it has to find."""
    return APEN(data.info["classes"], WIDTH, normals=True, rotation_only=True)


def told(data: Data) -> nn.Module:
    """The same in the frames of the true parts."""
    return Told(piecewise(data))


def predict(model: Any, sample: dict[str, Tensor], *, batch: int = 25) -> list[dict[str, Tensor]]:
    """Outputs on a sample in eval mode, batch by batch; the true parts are given to whom they are told."""
    shown = ("pos", "normal", "body") if isinstance(model, Told) else ("pos", "normal")
    pieces = zip(*(sample[name].split(batch) for name in shown), strict=True)
    with evaluating(model), frozen(model), torch.no_grad():
        return [model(**dict(zip(shown, piece, strict=True))) for piece in pieces]


def mean_iou(guess: Tensor, label: Tensor, classes: int) -> float:
    """Mean over classes of intersection over union, percent; classes that neither has are left out."""
    scores = []
    for one in range(classes):
        both, either = ((guess == one) & (label == one)).sum(), ((guess == one) | (label == one)).sum()
        if either:
            scores.append(float(both) / float(either))
    return 100 * sum(scores) / max(len(scores), 1)


def miou_on(name: str) -> Callable[[Any, Data], float]:
    """Mean IoU on one version of the test set, percent."""

    def metric(model: Any, data: Data) -> float:
        guess = torch.cat([y["seg"].argmax(-1) for y in predict(model, data.test[name])])
        return mean_iou(guess, data.test[name]["y"], data.info["classes"])

    return metric


def purity_percent(model: Any, data: Data) -> float:
    """Share of points that are of the largest rigid part of their group, in the last layer, wide poses; one group for all
    where a model has no partition."""
    body = data.test["wide"]["body"]
    found = predict(model, data.test["wide"])
    group = torch.cat([y["group"][-1] for y in found]) if "group" in found[0] else torch.zeros_like(body)
    return 100 * float(purity(group, body)[0].mean())


def moved(sample: dict[str, Tensor], *, generator: torch.Generator) -> dict[str, Tensor]:
    """A sample in which every part ``body (B, n)`` has been given a motion of its own (a meter apart)."""
    pos, body = sample["pos"], sample["body"]
    size = 1 + int(body.max())
    g = SE(3).sample(len(pos) * size, generator=generator).to(pos)[body + size * torch.arange(len(pos))[:, None]]
    turned = {name: (SE(3).linear(g) @ sample[name].unsqueeze(-1)).squeeze(-1) for name in ("pos", "normal")}
    return {**sample, **turned, "pos": turned["pos"] + SE(3).shift(g)}


def part_errors(model: Any, sample: dict[str, Tensor], *, seed: int = 0) -> Tensor:
    """Relative change of every body's logits when its parts move on their own, ``(S,)``."""
    apart = moved(sample, generator=torch.Generator().manual_seed(seed))
    here, there = (torch.cat([y["seg"] for y in predict(model, one)]) for one in (sample, apart))
    return torch.stack([relative(b - a, a) for a, b in zip(here, there, strict=True)])


def part_error(model: Any, data: Data) -> float:
    """Mean relative change of the logits under independent motions of the parts, wide poses."""
    return float(part_errors(model, data.test["wide"]).mean())


def certificates(model: APEN, sample: dict[str, Tensor], *, motions: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    """Of every body: the measured error (mean over ``motions``), the mean purity of its groups over layers, and the
    certificate that bounds the error up to a constant, ``(S,)`` each."""
    error = torch.stack([part_errors(model, sample, seed=seed) for seed in range(motions)]).mean(0)
    found = [
        model(pos, body=body, normal=normal) | {"total": model.bound(pos, body, normal).total}
        for pos, normal, body in zip(*(sample[name].split(25) for name in ("pos", "normal", "body")), strict=True)
    ]
    purity = 1 - torch.cat([y["impurity"] for y in found]).mean(-1)
    return error.double(), purity.detach().double(), torch.cat([y["total"] for y in found]).double()


def rank_correlation(a: Tensor, b: Tensor) -> float:
    """Spearman's: the correlation of ranks."""
    ranks = torch.stack([a.argsort().argsort().double(), b.argsort().argsort().double()])
    return float(torch.corrcoef(ranks)[0, 1])


def partition(model: Any, data: Data) -> Partition | None:
    """What APEN takes for parts on one wide pose, and the error of many poses against the certificate."""
    if not isinstance(model, APEN):
        return None
    sample = {name: value[:40] for name, value in data.test["wide"].items()}
    error, purities, reported = certificates(model, sample, motions=1)
    which = int(torch.stack([body.unique().numel() * torch.ones(()) for body in sample["body"]]).argmax())
    group = predict(model, {name: value[which : which + 1] for name, value in sample.items()})[0]["group"][:, 0]
    pos, body = sample["pos"][which].numpy(), sample["body"][which].numpy()
    many = {"error": error.numpy(), "purity": purities.numpy(), "bound": reported.numpy()}
    return Partition(pos, body, group[0].numpy(), group[-1].numpy(), **many, title="parts found in a pose that was never seen")


methods = (
    Method("PointNet", plain, axes={"symmetry": "none"}, source="qi2017",
           note="Knows parts by where they stand: lost as soon as they stand elsewhere."),
    Method("FA-PointNet", framed, axes={"symmetry": "SE(3)"}, source="puny2022",
           note="The frames of a whole body move when one of its joints does."),
    Method("APEN", piecewise, axes={"symmetry": "SE(3) per part, parts found"}, source="atzmon2024",
           note="Local groups first, then what votes for one center: poses that were never seen cost little."),
    Method("APEN, parts told", told, (Stage(VoteLoss(told="body")),), axes={"symmetry": "SE(3) per part, parts told"},
           source="atzmon2024", note="The upper control: exact, and parts are known by their shape alone."),
)  # fmt: skip

task = Task(
    contracts=(parts, bodies, exchanges),
    data=articulated,
    objective=base,
    metrics={
        "miou_wide_percent": miou_on("wide"),
        "miou_narrow_percent": miou_on("narrow"),
        "miou_turned_percent": miou_on("turned"),
        "purity_percent": purity_percent,
        "part_error": part_error,
    },
    methods=methods,
    recipe={
        "smoke": Recipe(epochs=2, batch=8, lr=1e-3, optimizer="adam", clip=0.1),
        "cpu": Recipe(epochs=12, batch=5, lr=5e-3, optimizer="adam", clip=0.1),
        "full": Recipe(epochs=300, batch=8, lr=1e-3, optimizer="adam", schedule="cosine", clip=0.1),
    },
    findings={"partition": partition},
)
