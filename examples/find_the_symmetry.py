"""Which symmetries does this function have? Six candidates, one of them planted."""

import torch

import coset


def planted(x: torch.Tensor) -> torch.Tensor:
    """Depends on the height and on the distance from the third axis: rotations about that axis, no other."""
    return x[:, 2] + torch.sin(2 * x[:, :2].norm(dim=-1))


candidates = {
    "rotations about the first axis": coset.SO(3).stabilizer([1.0, 0.0, 0.0]),
    "rotations about the second axis": coset.SO(3).stabilizer([0.0, 1.0, 0.0]),
    "rotations about the third axis": coset.SO(3).stabilizer([0.0, 0.0, 1.0]),
    "all rotations": coset.SO(3),
    "scaling": coset.Scale(3),
    "translations": coset.T(3),
}
found = coset.scan(planted, candidates, x=torch.randn(64, 3, dtype=torch.float64), inputs="B x position")
print(found)
