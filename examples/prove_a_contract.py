"""A promise proved in a test of your own: forces from an energy, on ragged graphs, under E(3) and permutations."""

import torch
from torch import nn

import coset

FIELDS = {"pos": "N x position", "charge": "N x scalar", "batch": "N -> B"}
OUTPUTS = {"energy": "B x scalar", "forces": "N x vector"}


class Coulomb(nn.Module):
    """Charges of one molecule repel or attract each other; forces are the negative gradient."""

    contracts = (
        coset.Contract(coset.E(3), FIELDS, OUTPUTS),
        coset.Contract(coset.S("N"), FIELDS, OUTPUTS),
        coset.Contract(coset.E(3) ** "B", FIELDS, OUTPUTS),  # every molecule may move by itself
    )

    def forward(self, pos: torch.Tensor, charge: torch.Tensor, batch: torch.Tensor) -> dict[str, torch.Tensor]:
        pos = pos.detach().requires_grad_()
        square = (pos[:, None] - pos[None]).square().sum(-1)
        same = (batch[:, None] == batch[None]) & ~torch.eye(len(pos), dtype=torch.bool)
        pairs = torch.where(same, charge[:, None] * charge[None] / (square + 0.1).sqrt(), 0.0)
        energy = torch.zeros(int(batch.max()) + 1, dtype=pos.dtype).index_add(0, batch, pairs.sum(1) / 2)
        (slope,) = torch.autograd.grad(energy.sum(), pos)
        return {"energy": energy.detach(), "forces": -slope}


report = coset.testing.check(Coulomb())
print(report)
assert max(report.errors.values()) < 1e-10
