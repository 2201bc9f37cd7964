"""Pooling that keeps symmetries: blurred subsampling of images, and invariant moments in place of a global mean.

Strided pooling of odd width picks one pixel of each pair and so prefers a corner; a window of even width on an even grid
is centred between pixels, and quarter turns and flips of the input become those of the output, exactly. Blurring before
subsampling (Zhang, ICML 2019, arXiv 1904.11486) lowers what aliases at other angles.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from coset.contract import Contract
from coset.errors import InputError
from coset.groups.finite import D
from coset.groups.group import FiniteGroup, Group
from coset.nn.constant import Constant
from coset.nn.feature_map import grid_subgroup, image_field, is_cyclic, regular_field
from coset.ops.moments import TINY, centroid, check_map, moment_basis, moments_about, projection
from coset.reps.fields import Field
from coset.reps.image import disc_mask


class BlurPool(nn.Module):
    """Gaussian blur of standard deviation ``width`` pixels and stride 2, on the last two axes of any tensor.

    ``field`` and ``group`` say what is pooled, for the contract. The grid must have even sides (InputError).
    """

    def __init__(
        self, field: Field | str = "image", group: Group | None = None, *, width: float = 1.0, kernel: int = 6
    ) -> None:
        super().__init__()
        if kernel % 2 or kernel < 2 or not width > 0:
            raise InputError(f"BlurPool: an even kernel and a positive width, got {kernel} and {width}")
        line = torch.exp(-((torch.arange(kernel, dtype=torch.float64) - (kernel - 1) / 2) ** 2) / (2 * width**2))
        self.kernel = Constant(line[:, None] * line / line.sum() ** 2)
        self.contracts = (Contract(group or D(4), Field.of(field), Field.of(field)),)

    def forward(self, x: Tensor) -> Tensor:
        """(..., H, W) to (..., H / 2, W / 2)."""
        if x.shape[-1] % 2 or x.shape[-2] % 2:
            raise InputError(
                f"BlurPool: even height and width keep quarter turns exact, got {tuple(x.shape[-2:])}; pad the input"
            )
        kernel = self.kernel.like(x)
        # one filter per channel: as a batch of one-channel images the backward pass is thirty times slower on a CPU
        flat = x.reshape(len(x) if x.ndim > 3 else 1, -1, *x.shape[-2:])
        weight = kernel.expand(flat.shape[1], 1, *kernel.shape)
        out = F.conv2d(flat, weight, stride=2, padding=(len(kernel) - 2) // 2, groups=flat.shape[1])
        return out.view(*x.shape[:-2], *out.shape[-2:])


class DiscMask(nn.Module):
    """Multiply maps (..., N, N) by a soft disc: rotations move nothing across its rim."""

    def __init__(self, size: int, field: Field | str = "image", group: Group | None = None) -> None:
        super().__init__()
        self.mask = Constant(disc_mask(size, size))
        self.contracts = (Contract(group or D(4), Field.of(field), Field.of(field)),)

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        return x * self.mask.like(x)


class MomentPool(nn.Module):
    """Magnitudes of orthogonal moments: maps (B, C, N, N), or regular maps (B, C, order, N, N), to (B, F) invariants.

    ``kind`` is zernike, pseudo-zernike or fourier-mellin, ``size`` the side N. Regular maps of ``group`` are first made
    invariant by the mean and the maximum over the group axis (F = 2 C n), or, with ``joint`` and C(n), transformed along it
    together with space: frequency k there and q in space turn by the phase q + k, so every |A_pqk| is invariant
    (F = C order n). ``centered`` takes moments about the centroid of the energy, which adds invariance to shifts.
    Exact for the symmetries of the grid. InputError for sizes and orders that do not fit.
    """

    def __init__(
        self,
        kind: str,
        order: int,
        *,
        channels: int,
        size: int,
        group: FiniteGroup | None = None,
        subpixels: int = 5,
        joint: bool = False,
        centered: bool = False,
    ) -> None:
        super().__init__()
        if joint and (group is None or not is_cyclic(group)):
            raise InputError(f"MomentPool: joint moments need regular maps of C(n), got group {group}")
        if joint and centered:
            raise InputError("MomentPool: centered moments are taken of invariant maps; leave out joint or centered")
        basis = moment_basis(kind, order, size, subpixels=subpixels)
        weight = projection(basis)
        self.kind, self.order, self.size, self.group, self.joint, self.centered = kind, order, size, group, joint, centered
        self.real, self.imag = Constant(weight.real), Constant(weight.imag)
        copies = 1 if group is None else int(group.order) if joint else 2
        self.features = channels * copies * len(basis)  #: F
        field = image_field(channels) if group is None else regular_field(channels, group)
        symmetry = D(4) if group is None else grid_subgroup(group)
        self.contracts = (Contract(symmetry, field, f"B x {self.features} x scalar"),)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, [order,] N, N) to (B, F)."""
        check_map(x, self.size)
        if self.group is not None:
            x = self._along_group(x) if self.joint else torch.cat([x.mean(2), x.amax(2)], 1)
        if x.is_complex():  # joint: A = sum_x (re + i im)(r + i s)
            re = self._project(x.real, self.real) - self._project(x.imag, self.imag)
            im = self._project(x.real, self.imag) + self._project(x.imag, self.real)
        elif self.centered:
            a = moments_about(x, self.kind, self.order, centroid(x))
            re, im = a.real, a.imag
        else:
            re, im = self._project(x, self.real), self._project(x, self.imag)
        return torch.sqrt(re.square() + im.square() + TINY).flatten(1)

    @staticmethod
    def _along_group(x: Tensor) -> Tensor:
        # rotations by 2 pi j / n shift the group axis by j, hence the phase e^{-2 pi i j k / n}
        return torch.fft.fft(x, dim=2, norm="forward")

    @staticmethod
    def _project(x: Tensor, weight: Constant) -> Tensor:
        return torch.einsum("...hw,nhw->...n", x, weight.like(x))


def group_spectrum(x: Tensor) -> Tensor:
    """Magnitudes of the Fourier transform along the group axis of C(n): (B, C, order) to (B, C, order // 2 + 1).

    Rotations shift that axis, so these are invariant; more is kept than by the mean, which is frequency 0 alone.
    """
    z = torch.fft.rfft(x, dim=-1)
    return torch.sqrt(z.real.square() + z.imag.square() + 1e-6)


__all__ = ["BlurPool", "DiscMask", "MomentPool", "group_spectrum"]
