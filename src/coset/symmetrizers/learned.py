"""A canonicalizer that is learned: a network scores how upright its input looks, the best-scored element is undone.

    h(x) = argmax_g s(g^-1 . x),       prior loss:  - log softmax_g s(g^-1 . x) at g = e,

over a finite group, or a grid of a compact one. Exactly equivariant for the finite group whatever the network is (up to
ties in the score). The prior says that training data stand upright, which is how the scores are trained.

Kaba et al., Equivariance with Learned Canonicalization Functions, ICML 2023, arXiv 2211.06489; the orientation prior is
from Mondal et al., NeurIPS 2023, arXiv 2305.19452.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from coset.contract import Contract
from coset.errors import ContractError, InputError
from coset.symmetrizers.average import Frame, everything, listable
from coset.symmetrizers.canonical import Canonicalizer


class ScoredFrame(Frame):
    """The element of highest score for every member; ``scorer`` maps inputs to ``(members,)`` or ``(members, 1)``.

    With ``through`` all elements enter the model in training, weighted by the score's softmax in the backward pass and by
    the winner in the forward pass (straight through), so that the task's loss trains the scorer too.
    """

    def __init__(self, scorer: nn.Module, *, n: int = 8, through: bool = False, batch: str | None = None) -> None:
        super().__init__(batch=batch)
        if n < 1:
            raise InputError(f"ScoredFrame: n is a number of grid elements >= 1, got {n}")
        self.scorer, self.n, self.through = scorer, n, through

    def elements(self, contract: Contract, x: Any) -> Any:
        """The candidates, the identity first: all of a finite group, ``n`` of any other."""
        group = self.acting(contract, x)
        return everything(group)[0] if listable(group) else group.grid(self.n)

    def scores(self, x: Any, contract: Contract) -> Tensor:
        """``s(g^-1 . x)`` for every candidate and member, ``(F, members)``; candidates enter one forward pass."""
        members, group = self.members(x, contract), self.acting(contract, x)
        elements = self.elements(contract, x)
        back = group.inverse(elements)
        count = group.batch_shape(elements)[0]
        lead = {name: value.unsqueeze(0) for name, value in x.items()}
        moved = members.move_all(group, back, contract.inputs, lead, x)
        moved = {n: value.expand(count, *value.shape[1:]) for n, value in moved.items()}
        if not members.foldable(contract.inputs):
            raise ContractError(f"a scored frame needs a batch that tells members apart; the inputs are {contract.inputs}")
        folded = contract.inputs.fold(moved, contract.inputs.sizes(x))
        out = self.scorer(folded[""]) if contract.inputs.unnamed else self.scorer(**folded)
        if out.numel() != count * members.size:
            raise ContractError(f"the scorer returned shape {tuple(out.shape)}, expected one number for each of {members.size}")
        return out.reshape(count, members.size)

    def forward(self, x, contract):
        elements, scores = self.elements(contract, x), self.scores(x, contract)
        count, size = scores.shape
        self.seen.samples += size
        best = scores.argmax(0)
        if self.training and self.through:
            soft = scores.softmax(0)
            hard = F.one_hot(best, count).T.to(soft)
            spread = elements[torch.arange(count).view(-1, 1).expand(count, size)]
            return spread, hard + soft - soft.detach()
        return elements[best.to("cpu").unsqueeze(0)], scores.detach().new_ones(1)

    def prior_loss(self, x: Any, contract: Contract) -> Tensor:
        """``- log softmax`` of the identity's score, averaged over members: add it to the loss on upright data."""
        scores = self.scores(contract.inputs.pack(x), contract)
        return -scores.log_softmax(0)[0].mean()


class Learned(Canonicalizer):
    """A canonicalizer with weights; arguments as :class:`ScoredFrame`. Add :meth:`prior_loss` to the task's loss."""

    def __init__(self, scorer: nn.Module, *, n: int = 8, through: bool = False, batch: str | None = None) -> None:
        super().__init__(ScoredFrame(scorer, n=n, through=through, batch=batch))
        self.config: dict[str, Any] = {"n": n, "through": through, "batch": batch}

    @property
    def scorer(self) -> nn.Module:
        """The network that scores."""
        return self.frame.scorer  # type: ignore[return-value]

    def prior_loss(self, x: Any, contract: Contract) -> Tensor:
        """How far from upright the scorer finds ``x``, see :meth:`ScoredFrame.prior_loss`."""
        return self.frame.prior_loss(x, contract)  # type: ignore[operator]
