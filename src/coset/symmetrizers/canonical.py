"""Canonicalization: one group element per member brings it into a standard pose, the model runs once, the output goes back.

    f(x) = h(x) . phi(h(x)^-1 . x),        h(g . x) = g h(x)

A canonicalizer is a callable ``(x, contract) -> (x_canonical, h)``. :class:`MDS` puts points into their principal axes, in
which coordinates are those of multidimensional scaling (TinvNN, arXiv 2112.12345); :class:`PrincipalAxis` turns images so
that their long axis lies along x. The sign of an axis comes from a rule; where it is tied the member falls back to the
average over the open signs, so that the promise holds there too.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from coset.contract import Contract
from coset.errors import ContractError, InputError
from coset.groups.euclidean import Scale
from coset.groups.group import Group
from coset.nn.draws import Draws
from coset.reps.image import Image
from coset.symmetrizers.average import Average, Frame, Pool, Seen
from coset.symmetrizers.clouds import Source
from coset.symmetrizers.frames import PCAFrame, Policy
from coset.symmetrizers.mds import SignRule, sign_rule
from coset.symmetrizers.members import base, spatial
from coset.symmetrizers.principal import Centered, Geometry, centralized, gap_tolerance, geometry, principal_axes, sign_choices

Sign = Literal["moment", "maxabs", "average", "augment"]


class SignedFrame(PCAFrame):
    """Principal axes, largest first, with one sign vector instead of all: the frame of one element.

    ``sign``: ``moment`` and ``maxabs`` are the rules of :mod:`coset.symmetrizers.mds`; ``average`` takes all signs;
    ``augment`` a random one in training, all at test. For SO and SE the last axis makes the determinant one. Where the
    rule is tied (relative moment below ``tie_tol``) all signs that are open are averaged, unless ``fallback`` is False, and
    the member is counted. ``scale`` also divides by the root mean square radius. Other arguments as :class:`PCAFrame`.
    """

    def __init__(
        self,
        group: Group | None = None,
        *,
        sign: Sign = "moment",
        scale: bool = False,
        fallback: bool = True,
        tie_tol: float | None = None,
        policy: Policy = "warn",
        gap_tol: float | None = None,
        source: Source | None = None,
        batch: str | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(group, policy=policy, gap_tol=gap_tol, source=source, batch=batch, seed=seed)
        if sign not in get_args(Sign):
            raise InputError(f"sign is one of {', '.join(get_args(Sign))}; got {sign!r}")
        self.sign, self.scale, self.fallback, self.tie_tol, self.draws = sign, scale, fallback, tie_tol, Draws(seed)

    def geometry(self, contract: Contract) -> Geometry:
        known = super().geometry(contract)
        return geometry(known.covers * Scale(known.n)) if self.scale and not known.scales else known

    def regular(self, x, contract):
        good = super().regular(x, contract)
        known = self.geometry(contract)
        if self.fallback or not known.turns or self.sign in ("average", "augment"):
            return good
        cloud = self.cloud(x, contract)
        centered = centralized(*cloud)
        V = principal_axes(centered).V.flip(-1).unsqueeze(0)
        tied = self._rule(V, centered, known, cloud.x.dtype)[1][0].any(-1)
        return good & ~tied if isinstance(good, Tensor) else good and not bool(tied[0])

    def orient(self, V: Tensor, cloud: Centered, known: Geometry, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        V = V.flip(-1)
        choices = sign_choices(V, proper=known.proper)  # (signs, rotations, members, d)
        many, rotations, count = choices.shape[:3]
        if self.sign == "average" or (self.sign == "augment" and not self.training):
            weights = V.new_full((many, rotations, count), 1.0 / (many * rotations))
        elif self.sign == "augment":
            drawn = torch.randint(many, (1, rotations, count, 1), generator=self.draws.next()).to(V.device)
            choices = choices.gather(0, drawn.expand(-1, -1, -1, choices.shape[-1]))
            weights = V.new_full((1, rotations, count), 1.0 / rotations)
        else:
            sign, tied = self._rule(V, cloud, known, dtype)
            self.seen.tied += int(tied.any(-1).any(0).sum())
            open_ = tied & self.fallback
            decisive = sign.shape[-1]
            match = ((choices[..., :decisive] == sign) | open_).all(-1)
            most = int(match.sum(0).max())
            order = torch.argsort(match.int(), dim=0, descending=True, stable=True)[:most]
            choices = choices.gather(0, order.unsqueeze(-1).expand(-1, -1, -1, choices.shape[-1]))
            kept = match.gather(0, order).to(V)
            weights = kept / kept.sum(0) / rotations
        turns = (V * choices.unsqueeze(-2)).flatten(0, 1)
        return turns, weights.flatten(0, 1)

    def _rule(self, V: Tensor, cloud: Centered, known: Geometry, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Signs and ties of the axes that the rule decides, ``(rotations, members, d or d - 1)``."""
        z = cloud.points @ (V[..., :-1] if known.proper else V)
        tol = gap_tolerance(dtype) if self.tie_tol is None else self.tie_tol
        rule: SignRule = "maxabs" if self.sign == "maxabs" else "moment"
        return sign_rule(z, cloud.w.expand(z.shape[:-1]), rule=rule, tol=tol)


class Canonicalizer(nn.Module):
    """``canonicalizer(x, contract) -> (x_canonical, element)`` from a frame, of which the heaviest element counts.

    ``x`` is a sample as the contract declares it; the element has shape ``(members, *element_shape)``, or
    ``element_shape`` for a lone member, and ``contract.group`` moves ``x_canonical`` back to ``x`` by it.
    """

    def __init__(self, frame: Frame) -> None:
        super().__init__()
        self.frame = frame

    def forward(self, x: Any, contract: Contract) -> tuple[Any, Any]:
        """The sample in standard pose and the element that leads from there back to the sample."""
        packed = contract.inputs.pack(x)
        contract.inputs.sizes(packed)
        elements, weights = self.frame(packed, contract)
        members, group = self.frame.members(packed, contract), self.frame.acting(contract, packed)
        if len(group.batch_shape(elements)) == 1:
            chosen = elements[weights.argmax().view(1)]
        else:
            count = group.batch_shape(elements)[1]
            best = weights.view(len(weights), -1).expand(-1, count).argmax(0)
            chosen = elements[best.unsqueeze(0), torch.arange(count, device=best.device)]
        back = group.inverse(chosen)
        lead = {name: value.unsqueeze(0) for name, value in packed.items()}
        moved = {n: value[0] for n, value in members.move_all(group, back, contract.inputs, lead, packed).items()}
        lone = members.index is None and len(group.batch_shape(chosen)) == 2
        return contract.inputs.unpack(moved), chosen[0, 0] if lone else chosen[0]


class MDS(Canonicalizer):
    """Points in their principal axes: invariant coordinates that any network can take (TinvNN).

    Arguments as :class:`SignedFrame`. With ``sign="average"`` several elements count and the wrapped model is averaged.
    """

    def __init__(
        self,
        *,
        sign: Sign = "moment",
        scale: bool = False,
        fallback: bool = True,
        policy: Policy = "warn",
        source: Source | None = None,
        batch: str | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(
            SignedFrame(sign=sign, scale=scale, fallback=fallback, policy=policy, source=source, batch=batch, seed=seed)
        )
        self.config: dict[str, Any] = {"sign": sign, "scale": scale, "fallback": fallback, "policy": policy, "seed": seed}
        self.source, self.batch = source, batch


class PrincipalAxis(Canonicalizer):
    """Images turned so that their long axis lies along x and their ink is skewed to the right, by ONE resampling.

    The axis is that of the second moments of the ink inside the disc, the sign that of the third (fifth, seventh) moment
    along it. For SE(2), E(2) and T(2) the center of the ink moves to the center of the image. Expects values that are
    zero where nothing is. Blank and round images are degenerate.
    """

    def __init__(self, *, fallback: bool = True, policy: Policy = "warn", batch: str | None = None) -> None:
        super().__init__(SignedFrame(fallback=fallback, policy=policy, batch=batch))
        self.config: dict[str, Any] = {"fallback": fallback, "policy": policy, "batch": batch}


def canonicalizer_for(contract: Contract, *, policy: Policy = "warn", batch: str | None = None) -> Canonicalizer:
    """:class:`PrincipalAxis` for images, :class:`MDS` for points and vectors; ContractError for other inputs or groups."""
    name = spatial(contract.inputs)
    if name is None:
        raise ContractError(f"no canonicalizer is known for {contract.inputs} under {contract.group}; use a Learned one")
    geometry(base(contract.group))
    if isinstance(contract.inputs.of(name).kind, Image):
        return PrincipalAxis(policy=policy, batch=batch)
    return MDS(policy=policy, batch=batch)


class Canonicalize(Average):
    """``model`` behind a canonicalizer (chosen by the contract if None): invariant outputs as they are, others moved back.

    Members met, degenerate and tied are counted in :attr:`seen`. Errors as :class:`Average` and the canonicalizer.
    """

    def __init__(
        self, model: Any, contract: Contract, *, canonicalizer: Canonicalizer | None = None, pool: Pool = "outputs"
    ) -> None:
        chosen = canonicalizer or canonicalizer_for(contract)
        if not isinstance(chosen, Canonicalizer):
            raise InputError(f"Canonicalize: canonicalizer is one such as MDS() or PrincipalAxis(), got {canonicalizer!r}")
        super().__init__(model, contract, chosen.frame, pool=pool)
        # not registered a second time: its frame holds whatever weights it has
        self.__dict__["canonicalizer"] = chosen

    def canonical(self, x: Any) -> tuple[Any, Any]:
        """What the model sees of ``x``, and the element that leads back."""
        chosen: Canonicalizer = self.__dict__["canonicalizer"]
        return chosen(x, self.contract)

    @property
    def seen(self) -> Seen:
        """Members met so far, degenerate and tied ones among them."""
        return self.frame.seen
