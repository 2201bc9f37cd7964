"""One network, four ways to make it invariant to rotations of space, and what each leaves of the error."""

import torch
from torch import nn

import coset

torch.manual_seed(0)
FIELDS, OUTPUTS = "B x N x position", "B x 4 x scalar"


class Cloud(nn.Module):
    """A network on coordinates: order of points does not matter, orientation does."""

    def __init__(self) -> None:
        super().__init__()
        self.points = nn.Sequential(nn.Linear(3, 32), nn.SiLU(), nn.Linear(32, 32))
        self.head = nn.Linear(32, 4)

    def forward(self, pos: torch.Tensor) -> torch.Tensor:
        return self.head(self.points(pos).mean(-2))


contract = coset.Contract(coset.SO(3), FIELDS, OUTPUTS)
clouds = torch.randn(32, 12, 3, dtype=torch.float64)
net = Cloud().double()

print(f"{'as it is':14s} {coset.audit(net, clouds, contract).error:.1e}")
for how in ("frames", "canonicalize", "average"):
    repaired = coset.symmetrize(net, contract, how=how)
    print(f"{how:14s} {coset.audit(repaired, clouds, contract).error:.1e}")
