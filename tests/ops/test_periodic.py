"""Neighbors are all pairs within the cutoff, images included, as a search over all of them finds; vectors lead there."""

import itertools
import math

import pytest
import torch

from coset.errors import InputError
from coset.ops.periodic import TOUCHING, edge_vectors, neighbor_list

F64 = torch.float64
CUBE = 4.0 * torch.eye(3, dtype=F64)
SKEWED = torch.tensor([[4.0, 0.0, 0.0], [3.1, 2.6, 0.0], [-1.9, 1.2, 3.3]], dtype=F64)
LEFT_HANDED = SKEWED[[1, 0, 2]]
ALL, NONE = (True, True, True), (False, False, False)


def every_pair(pos, r_max, cell, periodic):
    """The oracle: pairs and images, one by one."""
    distances = 1 / torch.linalg.inv(cell).norm(dim=0)  # between the planes of the lattice
    places = pos @ torch.linalg.inv(cell)
    reach = [
        math.ceil(float((r_max / distances[k]) + places[:, k].max() - places[:, k].min())) if periodic[k] else 0
        for k in range(3)
    ]
    steps = torch.tensor(list(itertools.product(*(range(-n, n + 1) for n in reach))))
    away = (pos[None] - pos[:, None])[..., None, :] + steps.to(F64) @ cell  # (i, j, image)
    near = away.norm(dim=-1) < r_max
    near &= ~(torch.eye(len(pos), dtype=torch.bool)[..., None] & (steps == 0).all(1))
    return {(i, j, *steps[n].tolist()) for i, j, n in near.nonzero().tolist()}


def as_set(edge_index, shift):
    rows = torch.cat([edge_index.T, shift], 1).tolist()
    found = set(map(tuple, rows))
    assert len(found) == len(rows), "an edge twice"
    return found


@pytest.mark.parametrize("periodic", [NONE, ALL, (True, False, False), (False, True, True)], ids=str)
@pytest.mark.parametrize("cell", [CUBE, SKEWED, LEFT_HANDED], ids=["cube", "skewed", "left-handed"])
@pytest.mark.parametrize("r_max", [1.5, 5.2])  # the second reaches beyond the nearest image along every axis
def test_neighbors_are_those_of_a_search_over_all_pairs_and_images(cell, periodic, r_max, generator):
    pos = torch.rand(5, 3, generator=generator, dtype=F64) @ cell
    pos[0] += 2 * cell[0] - cell[2]  # an atom outside of the cell
    pos[1] -= 0.3 * cell[1]
    assert as_set(*neighbor_list(pos, r_max, cell=cell, periodic=periodic)) == every_pair(pos, r_max, cell, periodic)


def test_a_word_means_all_three_axes(generator):
    pos = torch.rand(4, 3, generator=generator, dtype=F64) @ SKEWED
    for word, axes in ((True, ALL), (False, NONE)):
        for one, other in zip(
            neighbor_list(pos, 3.0, cell=SKEWED, periodic=word),
            neighbor_list(pos, 3.0, cell=SKEWED, periodic=axes),
            strict=True,
        ):
            assert torch.equal(one, other)


def test_an_atom_is_its_own_neighbor_in_a_small_cell():
    edge_index, shift = neighbor_list(torch.zeros(1, 3, dtype=F64), 4.1, cell=CUBE, periodic=True)
    assert edge_index.tolist() == [[0] * 6] * 2
    assert as_set(edge_index, shift) == {
        (0, 0, *step) for step in [(1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1)]
    }
    _, further = neighbor_list(torch.zeros(1, 3, dtype=F64), 8.1, cell=CUBE, periodic=True)
    assert len(further) == sum(0 < 16 * sum(n * n for n in step) < 8.1**2 for step in itertools.product(range(-3, 4), repeat=3))


def test_edges_lie_target_by_target_and_there_source_by_source(generator):
    pos = torch.rand(9, 3, generator=generator, dtype=F64) @ SKEWED
    edge_index, _ = neighbor_list(pos, 3.0, cell=SKEWED, periodic=True)
    pairs = edge_index.flip(0).T.tolist()
    assert pairs == sorted(pairs)


def test_every_edge_has_its_way_back(generator):
    pos = torch.rand(6, 3, generator=generator, dtype=F64) @ SKEWED
    found = as_set(*neighbor_list(pos, 3.5, cell=SKEWED, periodic=True))
    assert found == {(j, i, -a, -b, -c) for i, j, a, b, c in found}


@pytest.mark.parametrize("pos", [torch.zeros(0, 3), torch.zeros(1, 3), 9.0 * torch.eye(3)], ids=["none", "one", "far apart"])
@pytest.mark.parametrize("periodic", [False, True])
def test_without_neighbors_shapes_and_types_stay(pos, periodic):
    edge_index, shift = neighbor_list(pos, 2.0, cell=50 * torch.eye(3), periodic=periodic)
    assert edge_index.shape == (2, 0)
    assert shift.shape == (0, 3)
    assert edge_index.dtype == shift.dtype == torch.int64
    assert edge_vectors(pos, edge_index, shift=shift, cell=torch.eye(3)[None]).shape == (0, 3)


def test_a_cell_that_does_not_repeat_is_not_asked_for():
    pos = torch.tensor([[0.0, 0, 0], [1, 0, 0]])
    edge_index, shift = neighbor_list(pos, 2.0)
    assert edge_index.tolist() == [[1, 0], [0, 1]]
    assert not shift.any()
    assert neighbor_list(pos, 2.0, cell=torch.zeros(3, 3))[0].tolist() == edge_index.tolist()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"pos": torch.tensor([[0.0, 0, 0], [math.nan, 0, 0]])}, "position 1 is NaN"),
        ({"pos": torch.tensor([[math.inf, 0, 0], [0.0, 0, 0]])}, "position 0 is NaN or infinite"),
        ({"pos": torch.zeros(2, 3, dtype=torch.int64)}, r"floating \(N, 3\)"),
        ({"pos": torch.zeros(2, 2)}, r"floating \(N, 3\), got torch.float32 \(2, 2\)"),
        ({"r_max": 0.0}, "cutoff is positive"),
        ({"r_max": math.nan}, "cutoff is positive"),
        ({"r_max": math.inf}, "cutoff is positive and finite"),
        ({"cell": None}, r"needs a cell \(3, 3\), got None"),
        ({"cell": torch.eye(3)[None]}, r"needs a cell \(3, 3\), got \(1, 3, 3\)"),
        ({"cell": torch.ones(3, 3)}, "three independent lattice vectors"),
        ({"cell": math.nan * torch.eye(3)}, "three independent lattice vectors"),
        ({"cell": torch.diag(torch.tensor([1.0, 1.0, 0.0]))}, "three independent lattice vectors"),
    ],
    ids=["NaN", "infinite", "integers", "plane", "no cutoff", "NaN cutoff", "infinite cutoff", "no cell", "cells", "flat",
         "NaN cell", "no height"],
)  # fmt: skip
def test_what_is_no_structure_is_refused(change, says):
    given = {"pos": torch.tensor([[0.0, 0, 0], [1, 0, 0]]), "r_max": 2.0, "cell": 3 * torch.eye(3), "periodic": True} | change
    with pytest.raises(InputError, match=says):
        neighbor_list(given.pop("pos"), given.pop("r_max"), **given)


def test_atoms_on_top_of_each_other_are_named():
    pos = torch.tensor([[0.0, 0, 0], [2, 0, 0], [2, 0.5 * TOUCHING, 0]], dtype=F64)
    with pytest.raises(InputError, match=r"atoms (1 and 2|2 and 1) are 5.0e-04 apart"):
        neighbor_list(pos, 3.0)
    with pytest.raises(InputError, match="wide along axis 0"):  # a cell in the wrong unit
        neighbor_list(pos[:1], 3.0, cell=1e-4 * torch.eye(3), periodic=(True, False, False))
    assert neighbor_list(pos * torch.tensor([1, 4.0, 1]), 3.0)[0].shape == (2, 6)


def test_vectors_lead_to_the_image_of_the_target(generator):
    pos = torch.rand(5, 3, generator=generator, dtype=F64) @ SKEWED
    pos[2] += 3 * SKEWED[1]
    (source, target), shift = neighbor_list(pos, 4.5, cell=SKEWED, periodic=True)
    vectors = edge_vectors(pos, torch.stack([source, target]), shift=shift, cell=SKEWED[None])
    for e in range(len(vectors)):
        image = pos[target[e]] + sum(int(shift[e, k]) * SKEWED[k] for k in range(3))
        assert torch.allclose(pos[source[e]] + vectors[e], image, atol=1e-13, rtol=0)
    assert vectors.norm(dim=1).max() < 4.5
    one_cell = edge_vectors(pos, torch.stack([source, target]), shift=shift, cell=SKEWED)
    assert torch.equal(vectors, one_cell)


def test_every_structure_of_a_batch_has_its_own_cell(generator):
    cells, parts = torch.stack([SKEWED, CUBE]), []
    for cell in cells:
        pos = torch.rand(3, 3, generator=generator, dtype=F64) @ cell
        parts.append((pos, *neighbor_list(pos, 4.5, cell=cell, periodic=True)))
    pos = torch.cat([part[0] for part in parts])
    edge_index = torch.cat([parts[0][1], parts[1][1] + 3], 1)
    shift = torch.cat([part[2] for part in parts])
    batch = torch.tensor([0, 0, 0, 1, 1, 1])
    joined = edge_vectors(pos, edge_index, shift=shift, cell=cells, batch=batch)
    alone = [edge_vectors(p, e, shift=s, cell=c[None]) for (p, e, s), c in zip(parts, cells, strict=True)]
    assert torch.allclose(joined, torch.cat(alone), atol=1e-13, rtol=0)


def test_vectors_have_all_derivatives(generator):
    pos = (torch.rand(3, 3, generator=generator, dtype=F64) @ SKEWED).requires_grad_()
    cell = SKEWED[None].clone().requires_grad_()
    edge_index, shift = neighbor_list(pos, 3.0, cell=cell[0], periodic=True)

    def lengths(pos, cell):
        return edge_vectors(pos, edge_index, shift=shift, cell=cell, batch=torch.zeros(3, dtype=torch.int64)).norm(dim=1)

    assert torch.autograd.gradcheck(lengths, (pos, cell))
    assert torch.autograd.gradgradcheck(lengths, (pos, cell))


def test_one_shift_per_edge_and_two_ends():
    with pytest.raises(InputError, match=r"edge_index is \(2, edges\)"):
        edge_vectors(torch.zeros(2, 3), torch.zeros(3, 4, dtype=torch.int64))
    with pytest.raises(InputError, match="one shift"):
        edge_vectors(torch.zeros(2, 3), torch.tensor([[0], [1]]), shift=torch.zeros(2, 3), cell=torch.eye(3)[None])


def test_the_search_is_in_double_precision_and_gives_indices_where_positions_are(generator):
    pos = torch.rand(6, 3, generator=generator) @ SKEWED.float()
    single = neighbor_list(pos.requires_grad_(), 3.0, cell=SKEWED.float(), periodic=True)
    double = neighbor_list(pos.double(), 3.0, cell=SKEWED.float().double(), periodic=True)
    assert as_set(*single) == as_set(*double)


def test_a_cell_much_thinner_than_the_cutoff_is_refused_along_axes_that_repeat(generator):
    """Thinner by any factor that occurs in nature is right; by a thousand it is another unit, and no search would end."""
    thin = torch.diag(torch.tensor([3.0, 3.0, 0.004], dtype=F64))
    with pytest.raises(InputError, match="wide along axis 2"):
        neighbor_list(torch.zeros(1, 3, dtype=F64), 3.0, cell=thin, periodic=True)
    edge_index, _ = neighbor_list(torch.zeros(1, 3, dtype=F64), 3.5, cell=thin, periodic=(True, True, False))
    assert edge_index.shape == (2, 4)
    narrow = torch.diag(torch.tensor([0.3, 9.0, 9.0], dtype=F64))
    assert neighbor_list(torch.zeros(1, 3, dtype=F64), 3.1, cell=narrow, periodic=True)[0].shape == (2, 20)


@pytest.mark.parametrize("far", [1e6, 1e20, 1e308])
def test_atoms_beyond_any_cell_of_the_search_are_told(far):
    pos = torch.tensor([[0.0, 0, 0], [far, 0, 0]], dtype=torch.float64)
    with pytest.raises(InputError, match="apart along axis 0, where nothing repeats"):
        neighbor_list(pos, 3.0)
    box = torch.diag(torch.tensor([5.0, 5.0, 5.0], dtype=torch.float64))
    with pytest.raises(InputError, match="apart along axis 0"):
        neighbor_list(pos, 3.0, cell=box, periodic=(False, True, True))
    assert neighbor_list(pos.flip(0) / far * 2e4, 3.0)[0].shape == (2, 0)


@pytest.mark.parametrize("r_max", [1e2, 1e4, 2147483648.0, 1e300])
def test_any_cutoff_beyond_a_cluster_gives_all_pairs_at_once(r_max, generator):
    pos = 3 * torch.randn(12, 3, generator=generator, dtype=torch.float64)
    edge_index, shift = neighbor_list(pos, r_max)
    want = [(i, j) for j in range(12) for i in range(12) if i != j]
    assert list(zip(*edge_index.tolist(), strict=True)) == want
    assert not shift.any()
    assert neighbor_list(pos[:1], r_max)[0].shape == neighbor_list(pos[:0], r_max)[0].shape == (2, 0)
