"""Taps are permuted as the group's table says, site matrices are representations, and the convolution wraps around."""

import pytest
import torch

from coset.errors import InputError
from coset.groups.finite import C, D
from coset.ops.group_conv import steered_basis
from coset.ops.lattice_conv import circular_conv, site_matrices, tap_basis
from coset.reps.image import Image
from coset.reps.words import parse_kind


@pytest.mark.parametrize("group", [C(1), C(4), D(2), D(4)], ids=str)
@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_taps_move_as_images_do(group, kernel):
    basis = tap_basis(group, kernel)
    assert basis.shape == (int(group.order), kernel**2, kernel, kernel)
    assert torch.equal(basis[0].flatten(1), torch.eye(kernel**2, dtype=torch.float64))
    assert torch.equal(basis, Image().move(group, group.elements(), basis[:1], {}))


def test_flips_and_turns_compose_as_in_the_table():
    group = D(4)
    moves = tap_basis(group, 3).flatten(2).mT  # permutation matrices of the nine taps
    for g in range(8):
        for h in range(8):
            assert torch.equal(moves[g] @ moves[h], moves[int(group.table[g, h])])


def test_steered_filters_are_combinations_of_taps():
    """The band-limited basis of images, expanded in taps at the identity, moves with them."""
    steered, taps = steered_basis(D(4), 5), tap_basis(D(4), 5)
    moved = torch.einsum("bt,gtyx->gbyx", steered[0].flatten(1), taps)
    assert (moved - steered).abs().max() < 1e-12


@pytest.mark.parametrize("site", ["scalar", "vector", "pseudoscalar", "axial"])
def test_site_matrices_are_representations(site):
    group = D(4)
    rho = site_matrices(parse_kind(site), group)
    assert torch.equal(rho[group.table], rho[:, None] @ rho)
    assert torch.equal(rho[0], torch.eye(rho.shape[-1], dtype=torch.float64))
    if site == "vector":
        assert torch.equal(rho, group.matrices)


def test_a_shifted_tap_rolls_the_field(generator):
    x = torch.randn(2, 1, 7, 6, generator=generator, dtype=torch.float64)
    kernel = torch.zeros(1, 1, 3, 3, dtype=torch.float64)
    kernel[0, 0, 0, 1] = 1  # reads the site above
    assert torch.equal(circular_conv(x, kernel), x.roll(1, -2))
    assert torch.equal(circular_conv(x, kernel[..., :1, 1:2], torch.tensor([2.0], dtype=torch.float64)), x + 2)


def test_other_groups_kernels_and_sites_are_refused():
    with pytest.raises(InputError, match="square lattice"):
        tap_basis(C(8), 3)
    with pytest.raises(InputError, match="odd"):
        tap_basis(D(4), 4)
    with pytest.raises(InputError, match="one axis"):
        site_matrices(parse_kind("tensor(2)"), D(4))
