"""GeoTDM: diffusion over whole trajectories, generated from nothing or forecast from their first frames.

The network is EGTN (:mod:`coset.nn.egtn`) on the given frames, clean, followed by the noisy future ones; ``eps`` is how far it
moves the latter. Forecasts are noised about a reference that a second, shorter EGTN makes of the given frames,

    r_f = sum_t W_tf x_t,   W_tf = w_t s_f for all but the last given frame,   W_last,f = 1 - sum_t W_tf,

with ``w_t`` the mean feature of frame t and ``s`` learned: columns sum to one, so translations pass through. Without
conditioning, data, noise and ``eps`` have zero mean over nodes and times jointly. Han, Xu, Lou, Ye and Ermon, Geometric
Trajectory Diffusion Models, NeurIPS 2024, arXiv 2410.13027.

Contracts, exact given the noise: E(n) on forecasts, O(n) on the mean-free subspace, S("N"). Differs from the paper: whether a
frame is given and how fast its node moves are features everywhere (there for pedestrians only); the sampler's variance is the
posterior's by default (there ``large``); all lengths may be measured in a ``unit`` (there 1). :class:`CoordinateTDM` is the
unconstrained copy.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor, nn

from coset.contract import Contract, evaluating, frozen
from coset.errors import InputError, unknown
from coset.groups.euclidean import E
from coset.groups.group import Group
from coset.groups.matrix import O
from coset.groups.permutation import S
from coset.nn.egtn import EGTN
from coset.nn.temporal_attention import sinusoids
from coset.objectives.denoise import Denoiser, Given, generate
from coset.ops.diffusion import VARIANCES, Schedule, Variance, center, graph_mean

Prior = Literal["learned", "last", "center", "none"]
PRIORS: tuple[Prior, ...] = ("learned", "last", "center", "none")
CLOCK = 32  #: sines and cosines that tell the diffusion step
CLUES = 2  #: whether a frame is given; the speed of its node


class LearnedPrior(nn.Module):
    """Reference frames ``(N, future, n)`` from given ones ``(N, Tc, n)``: weighted means whose weights sum to one."""

    def __init__(self, future: int, network: EGTN) -> None:
        super().__init__()
        self.network = network
        self.scale = nn.Parameter(torch.ones(future))

    def weights(self, h: Tensor) -> Tensor:
        """``W`` ``(N, Tc, future)`` from features ``(N, Tc, hidden)``."""
        free = h.mean(-1)[:, :-1].unsqueeze(-1) * self.scale
        return torch.cat([free, 1 - free.sum(1, keepdim=True)], 1)

    def forward(self, h: Tensor, cond: Tensor, edge_index: Tensor, edge_attr: Tensor | None) -> Tensor:
        """The weighted means of the frames as the network moved them."""
        out = self.network(h, cond, edge_index, edge_attr)
        last = out["x"][:, -1:]
        return last + self.weights(out["h"]).mT @ (out["x"] - last)


class GeoTDM(Denoiser):
    """The sampler: ``noise`` ``(S, N, future, n)`` and what is known, to trajectories ``(N, future, n)`` in the data's unit.

    ``S`` is the number of sampler steps, at most ``steps``. ``prior="none"`` generates without conditioning; the others
    forecast from ``cond`` ``(N, Tc, n)``: ``learned``, the ``last`` frame, or the ``center`` of all given frames and nodes of a
    graph. ``features`` belong to nodes, ``edge_features`` to edges. Raises InputError for sizes and inputs that do not fit.
    """

    move = True  #: whether positions stay positions, equivariantly; False makes them features

    def __init__(
        self, future: int = 4, features: int = 1, *, edge_features: int = 0, hidden: int = 128, layers: int = 6,
        prior: Prior = "learned", prior_layers: int = 2, steps: int = 1000, schedule: str = "linear",
        variance: Variance = "posterior", space: int = 3, unit: float = 1.0,
    ) -> None:  # fmt: skip
        super().__init__()
        self.config: dict[str, Any] = {
            "future": future, "features": features, "edge_features": edge_features, "hidden": hidden, "layers": layers,
            "prior": prior, "prior_layers": prior_layers, "steps": steps, "schedule": schedule, "variance": variance,
            "space": space, "unit": unit,
        }  # fmt: skip
        if future < 1 or features < 1:
            raise InputError(f"GeoTDM: at least 1 future frame and 1 feature, got {future} and {features}")
        if not 0 < unit < math.inf:
            raise InputError(f"GeoTDM: unit is a length above 0, got {unit}")
        if prior not in PRIORS:
            raise unknown("prior", prior, PRIORS)
        if variance not in VARIANCES:
            raise unknown("variance", variance, VARIANCES)
        self.future, self.prior, self.variance, self.unit = future, prior, variance, unit
        self.schedule = Schedule(steps, schedule)
        sizes: dict[str, Any] = {"edge_features": edge_features, "space": space, "move": self.move}
        seen = features + (0 if prior == "none" else CLUES)
        self.network = EGTN(seen + CLOCK, hidden, layers, **sizes)
        self.center = LearnedPrior(future, EGTN(seen, hidden, prior_layers, **sizes)) if prior == "learned" else None
        self.contracts = self._contracts()

    def _contracts(self) -> tuple[Contract, ...]:
        space, free = self.config["space"], self.prior == "none"
        numbers = f"{space} x scalar"  # to an exchange of nodes places are numbers, in any dimension
        exchanges = self._contract(S("N"), numbers, numbers, free)
        motions = self._contract(O(space) if free else E(space), "vector", "vector" if free else "position", free)
        return (motions, exchanges) if self.move else (exchanges,)

    def _contract(self, group: Group, way: str, place: str, free: bool) -> Contract:
        inputs = {
            "noise": f"S x N x {self.future} x {way}", "h": f"N x {self.config['features']} x scalar",
            "edge_index": "2 x E -> N", "batch": "N -> B",
        }  # fmt: skip
        if edges := self.config["edge_features"]:
            inputs["edge_attr"] = f"E x {edges} x scalar"
        if not free:
            inputs["cond"] = f"N x Tc x {place}"
        return Contract(group, inputs, f"N x {self.future} x {place}")

    def forward(
        self, noise: Tensor, h: Tensor, edge_index: Tensor, batch: Tensor, cond: Tensor | None = None,
        edge_attr: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """One trajectory per node: the same noise gives the same trajectory, turned noise a turned one."""
        given = {"h": h, "edge_index": edge_index, "batch": batch, "cond": cond, "edge_attr": edge_attr}
        given = {name: value for name, value in given.items() if value is not None}
        return generate(self, noise, given, variance=self.variance)

    def sample(
        self, given: Given, samples: int = 1, *, steps: int | None = None, generator: torch.Generator | None = None
    ) -> Tensor:
        """``(samples, N, future, n)`` drawn side by side; ``steps`` below the schedule's skips levels evenly."""
        fields, h = self.contracts[-1].inputs, given["h"]
        shape = (samples, steps or self.schedule.steps, len(h), self.future, self.config["space"])
        noise = torch.randn(shape, generator=generator, dtype=h.dtype).to(h.device)
        known = {name: given[name] for name in fields.names() if name != "noise"}
        copies = {name: value.unsqueeze(0).expand(samples, *value.shape) for name, value in known.items()}
        whole = fields.fold({"noise": noise, **copies}, fields.sizes({"noise": noise[0], **known}))
        with evaluating(self), frozen(self), torch.no_grad():
            return self(**whole).unflatten(0, (samples, len(h)))

    # ------------------------------------------------------------------ what the engine asks

    def prepare(self, x: Tensor, given: Given) -> Given:
        """Checked; loops taken off the graph, features laid out in time, ``(N, Tc + future, features)``."""
        self._check(x, given)
        edge_index, edge_attr = given["edge_index"], given.get("edge_attr")
        proper = edge_index[0] != edge_index[1]
        frames = given["h"].unsqueeze(1)
        cond = given.get("cond")
        if cond is None:
            h = frames.expand(-1, self.future, -1)
        else:
            pace = ((cond[:, 1:] - cond[:, :-1]) / self.unit).square().sum(-1).add(1e-12).sqrt()
            pace = torch.cat([pace[:, :1], pace], 1) if pace.shape[1] else torch.zeros_like(cond[..., 0])
            pace = torch.cat([pace, pace[:, -1:].expand(-1, self.future)], 1)
            known = torch.zeros_like(pace)
            known[:, : cond.shape[1]] = 1
            h = torch.cat([frames.expand(-1, pace.shape[1], -1), torch.stack([known, pace], -1)], -1)
        edge_attr = None if edge_attr is None else edge_attr[proper]
        return {**given, "h": h, "edge_index": edge_index[:, proper], "edge_attr": edge_attr}

    def reference(self, x: Tensor, given: Given) -> Tensor:
        """The frames about which the future is noised."""
        if self.prior == "none":
            return torch.zeros_like(x)
        cond = given["cond"]
        if self.center is not None:
            h = given["h"][:, : cond.shape[1]]
            return self.unit * self.center(h, cond / self.unit, given["edge_index"], given["edge_attr"])
        if self.prior == "last":
            return cond[:, -1:].expand_as(x)
        return graph_mean(cond.mean(1), given["batch"])[given["batch"]].unsqueeze(1).expand_as(x)

    def project(self, x: Tensor, given: Given) -> Tensor:
        """Without conditioning: zero mean over nodes and times jointly."""
        return center(x, given["batch"]) if self.prior == "none" else x

    def dimension(self, x: Tensor, given: Given) -> Tensor:
        """``n N_b T``, or ``n (N_b T - 1)`` without conditioning."""
        return super().dimension(x, given) - (x.shape[-1] if self.prior == "none" else 0)

    def predict(self, x: Tensor, level: Tensor, given: Given) -> Tensor:
        """How far the network moves the future frames."""
        h = given["h"]
        clock = sinusoids(self.schedule.clock(level).to(x), CLOCK).unsqueeze(1).expand(-1, h.shape[1], -1)
        whole = (torch.cat([given["cond"], x], 1) if self.prior != "none" else x) / self.unit
        out = self.network(torch.cat([h, clock], -1), whole, given["edge_index"], given["edge_attr"])
        return (out["x"] - whole)[:, -self.future :]

    def _check(self, x: Tensor, given: Given) -> None:
        """InputError where trajectories, conditioning and the prior do not fit together."""
        space, cond = self.config["space"], given.get("cond")
        if x.ndim != 3 or x.shape[1:] != (self.future, space):
            raise InputError(
                f"GeoTDM: the prior is made for {self.future} frames in {space} dimensions, (N, {self.future}, {space}); "
                f"got {tuple(x.shape)}. Build it with future={x.shape[1] if x.ndim == 3 else '...'}"
            )
        if (cond is None) is not (self.prior == "none"):
            raise InputError(f"GeoTDM: prior {self.prior!r}, but cond is {'missing' if cond is None else 'given'}")
        if cond is not None and (cond.ndim != 3 or not cond.shape[1] or cond[:, 0].shape != x[:, 0].shape):
            raise InputError(
                f"GeoTDM: cond is (N, Tc, {space}) with at least one frame, got {tuple(cond.shape)}; N is {len(x)}"
            )
        if any(not bool(torch.isfinite(value).all()) for value in (x, cond) if value is not None):
            raise InputError("GeoTDM: coordinates hold NaN or infinite values; drop these tracks, or fill them in, first")
        if self.prior == "none" and bool((torch.bincount(given["batch"]) * self.future == 1).any()):
            raise InputError("GeoTDM: one node in one frame has nothing left once its mean is taken off; use more of either")


class CoordinateTDM(GeoTDM):
    """The unconstrained copy, the baseline: coordinates are features of networks of the same size; S("N") alone is promised."""

    move = False
