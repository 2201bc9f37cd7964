"""Files of structures are read under every name of their labels, damage is told, batches are their members side by side."""

import gzip

import numpy as np
import pytest
import torch

from coset.data.stillinger import clusters, crystals
from coset.data.structures import Structures, join, read_structures, sample_of
from coset.errors import InputError
from coset.nn.potential import Potential
from coset.ops.radial import polynomial_envelope
from coset.ops.scatter import scatter_sum

F64 = torch.float64
TEXT = """2
Lattice="4 0 0 1 5 0 0 0 6" Properties=species:S:1:pos:R:3{columns} {labels} pbc="{pbc}"
Si 0.0 0.0 0.0 {first}
Ge 1.0 1.5 2.0 {second}
"""
VOLUME = 4 * 5 * 6


def text(labels="", forces="", pbc="T T T"):
    values = ("0.1 0.2 0.3", "-0.1 -0.2 -0.3") if forces else ("", "")
    columns = f":{forces}:R:3" if forces else ""
    return TEXT.format(columns=columns, labels=labels, pbc=pbc, first=values[0], second=values[1])


@pytest.fixture
def read(tmp_path):
    def reader(content, name="file.extxyz", **options):
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        return read_structures(tmp_path / name, **options)

    return reader


# ---------------------------------------------------------------------- extended XYZ


@pytest.mark.parametrize(
    ("energy", "forces"),
    [("energy", "forces"), ("REF_energy", "REF_forces"), ("dft_energy", "dft_forces"), ("energy_dft", "force"),
     ("free_energy", "forces")],
)  # fmt: skip
def test_energies_and_forces_are_found_under_their_names(energy, forces, read):
    (frame,) = read(text(f"{energy}=-9391.455544284", forces))
    assert frame["z"].tolist() == [14, 32]
    assert frame["pos"].tolist() == [[0, 0, 0], [1, 1.5, 2]]
    assert frame["cell"].tolist() == [[4, 0, 0], [1, 5, 0], [0, 0, 6]]
    assert frame["periodic"] == (True, True, True)
    assert frame["energy"].item() == -9391.455544284
    assert frame["forces"].tolist() == [[0.1, 0.2, 0.3], [-0.1, -0.2, -0.3]]
    assert all(value.dtype == F64 for name, value in frame.items() if name not in ("z", "periodic"))
    assert not {"stress", "dipole", "polarizability", "group"} & frame.keys()


SYMMETRIC = [[1.0, 4, 6], [4, 2, 5], [6, 5, 3]]


@pytest.mark.parametrize("name", ["stress", "REF_stress", "dft_stress"])
def test_stress_is_a_matrix_as_it_stands(name, read):
    (frame,) = read(text(f'energy=0 {name}="1 4 6 4 2 5 6 5 3"'))
    assert frame["stress"].tolist() == SYMMETRIC


@pytest.mark.parametrize("name", ["virial", "virials", "REF_virial", "dft_virial"])
def test_a_virial_is_minus_stress_times_volume(name, read):
    (frame,) = read(text(f'energy=0 {name}="1 4 6 4 2 5 6 5 3"'))
    assert torch.allclose(frame["stress"], -torch.tensor(SYMMETRIC, dtype=F64) / VOLUME, atol=1e-15, rtol=0)
    (both,) = read(text(f'energy=0 REF_stress="1 4 6 4 2 5 6 5 3" {name}="9 9 9 9 9 9 9 9 9"'))
    assert both["stress"].tolist() == SYMMETRIC


def test_six_numbers_are_in_voigts_order(read):
    (frame,) = read(text('energy=0 REF_stress="1 2 3 5 6 4"'))
    assert frame["stress"].tolist() == SYMMETRIC


def test_ase_agrees_on_sign_and_order_of_stress(read, tmp_path):
    """Written by ASE from a calculator that defines what stress is: the derivative of energy by strain over volume."""
    ase_io = pytest.importorskip("ase.io")
    from ase.build import bulk
    from ase.calculators.emt import EMT

    atoms = bulk("Cu", cubic=True)
    atoms.set_cell(atoms.cell.array * [1.03, 1.0, 0.98], scale_atoms=True)
    atoms.rattle(0.05, seed=0)
    atoms.calc = EMT()
    atoms.get_stress(), atoms.get_forces()
    ase_io.write(tmp_path / "cu.extxyz", atoms, format="extxyz")
    (frame,) = read_structures(tmp_path / "cu.extxyz")
    assert np.allclose(frame["forces"].numpy(), atoms.get_forces(), atol=1e-7)

    def energy(stretch):
        moved = atoms.copy()
        moved.set_cell(atoms.cell.array @ stretch, scale_atoms=True)
        moved.calc = EMT()
        return moved.get_potential_energy()

    for i, j in [(0, 0), (1, 1), (0, 1), (1, 2), (0, 2)]:
        way = np.zeros((3, 3))
        way[i, j] = way[j, i] = 1e-5 if i == j else 0.5e-5
        slope = (energy(np.eye(3) + way) - energy(np.eye(3) - way)) / 2e-5 / atoms.get_volume()
        assert abs(slope - float(frame["stress"][i, j])) < 1e-6


def test_dipoles_polarizabilities_and_groups(read):
    labels = 'REF_dipole="1 2 3" polarizability="1 2 3 4 5 6 7 8 9" group=Elastic config_type=other'
    (frame,) = read(text(labels))
    assert frame["dipole"].tolist() == [1, 2, 3]
    assert frame["polarizability"].tolist() == [[1, 2, 3], [4, 5, 6], [7, 8, 9]]
    assert frame["group"] == "Elastic"
    assert read(text("config_type=300K"))[0]["group"] == "300K"


def test_one_name_goes_before_another(read):
    assert read(text("REF_energy=1 energy=2 dft_energy=3"))[0]["energy"].item() == 2
    assert read(text("dft_energy=3 REF_energy=1"))[0]["energy"].item() == 1


def test_a_molecule_has_no_cell_and_a_slab_says_what_repeats(read):
    (molecule,) = read("1\nProperties=species:S:1:pos:R:3 energy=-1\nH 0 0 0\n")
    assert not {"cell", "periodic"} & molecule.keys()
    assert read(text(pbc="T T F"))[0]["periodic"] == (True, True, False)
    with pytest.raises(InputError, match="the cell has rank 0"):
        read('1\nProperties=species:S:1:pos:R:3 pbc="T T T"\nH 0 0 0\n')


def test_parts_of_a_file_gzipped_or_not(read):
    many = "".join(text(f"energy={i}") for i in range(5))
    for content, name in (
        (many, "a.xyz"),
        (gzip.compress(many.encode()), "a.extxyz.gz"),
        (gzip.compress(many.encode()), "b.xyz.gz"),
    ):
        assert [frame["energy"].item() for frame in read(content, name)] == [0, 1, 2, 3, 4]
        assert [frame["energy"].item() for frame in read(content, name, index="1:4:2")] == [1, 3]


WHOLE = "".join(text(f"energy={i}.25", "forces") for i in range(40))


@pytest.mark.parametrize(
    ("content", "name", "says"),
    [
        (WHOLE[: len(WHOLE) // 2 - 25], "cut.extxyz", "cannot read .*cut.extxyz.*is it whole"),
        (gzip.compress(WHOLE.encode())[:-40], "cut.extxyz.gz", "cannot read .*is it whole"),
        (WHOLE.replace("-0.1 -0.2", "-0.1 x0.2", 1), "letter.extxyz", "cannot read"),
        (WHOLE.replace("Ge", "Gq", 1), "element.extxyz", "cannot read"),
        (b"\x00\xff" * 99, "noise.extxyz", "cannot read"),
        (WHOLE, "text.npz", "cannot read .*is it whole"),
        ("", "empty.extxyz", "cannot read|holds no configuration"),
    ],
    ids=["truncated", "truncated gz", "letter", "element", "noise", "not npz", "empty"],
)
def test_damaged_files_are_told(content, name, says, read):
    with pytest.raises(InputError, match=says):
        read(content, name)


def test_no_single_flipped_bit_of_a_gz_goes_unnoticed(read):
    whole = bytearray(gzip.compress(WHOLE.encode(), mtime=0))
    for place in range(10, len(whole), max(1, len(whole) // 12)):
        flipped = bytearray(whole)
        flipped[place] ^= 4
        with pytest.raises(InputError, match="cannot read"):
            read(bytes(flipped), "flipped.extxyz.gz")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"nowhere\.extxyz does not exist"):
        read_structures(tmp_path / "nowhere.extxyz")


# ---------------------------------------------------------------------- npz


def arrays(**change):
    g = np.random.default_rng(0)
    found = {"z": np.array([14, 32]), "R": g.normal(size=(3, 2, 3)), "E": g.normal(size=3) - 9e3, "F": g.normal(size=(3, 2, 3))}
    return {name: value for name, value in (found | change).items() if value is not None}


@pytest.mark.parametrize(
    "names", [{}, {"R": "pos", "E": "energy", "F": "forces"}, {"z": "nuclear_charges", "R": "coord", "F": "force"}]
)
def test_arrays_have_one_row_per_structure(names, tmp_path):
    given = arrays()
    np.savez(tmp_path / "a.npz", **{names.get(name, name): value for name, value in given.items()})
    frames = read_structures(tmp_path / "a.npz")
    assert len(frames) == 3
    for i, frame in enumerate(frames):
        assert frame["z"].tolist() == [14, 32]
        assert np.array_equal(frame["pos"], given["R"][i])
        assert np.array_equal(frame["forces"], given["F"][i])
        assert frame["energy"].item() == given["E"][i]
        assert "cell" not in frame
    assert [frame["energy"].item() for frame in read_structures(tmp_path / "a.npz", index="1:")] == given["E"][1:].tolist()
    with pytest.raises(InputError, match="written as a slice"):
        read_structures(tmp_path / "a.npz", index="first")


def test_cells_and_species_may_differ_from_row_to_row(tmp_path):
    cells = np.stack([np.eye(3) * (4 + i) for i in range(3)])
    np.savez(tmp_path / "a.npz", **arrays(z=np.array([[14, 32], [32, 14], [14, 14]]), cell=cells))
    frames = read_structures(tmp_path / "a.npz")
    assert [frame["z"].tolist() for frame in frames] == [[14, 32], [32, 14], [14, 14]]
    assert [frame["cell"][0, 0].item() for frame in frames] == [4, 5, 6]
    assert all(frame["periodic"] == (True, True, True) for frame in frames)
    np.savez(tmp_path / "b.npz", **arrays(box=np.eye(3) * 7))
    assert all(frame["cell"][0, 0] == 7 for frame in read_structures(tmp_path / "b.npz"))


def test_arrays_that_do_not_fit_are_told(tmp_path):
    file = tmp_path / "a.npz"
    cases = [
        ({"z": None}, "has no z; it holds"),
        ({"R": None}, "has no pos"),
        ({"z": np.array([14])}, "2 atoms and 1 atomic"),
        ({"z": np.array([[14, 32], [14, 32]])}, "atomic numbers of shape .* do not fit 3"),
        ({"F": np.zeros((2, 2, 3))}, "forces of shape .* does not fit 3"),
        ({"E": np.zeros(2)}, "energy of shape"),
        ({"E": np.zeros(())}, "energy of shape"),
    ]
    for change, says in cases:
        np.savez(file, **arrays(**change))
        with pytest.raises(InputError, match=says):
            read_structures(file)


@pytest.mark.parametrize("compress", [False, True])
def test_a_damaged_npz_is_told(compress, tmp_path):
    file = tmp_path / "a.npz"
    (np.savez_compressed if compress else np.savez)(
        file, **arrays(R=np.random.default_rng(1).normal(size=(60, 2, 3)), E=None, F=None)
    )
    whole = file.read_bytes()
    middle = bytearray(whole)
    middle[whole.index(b"R.npy") + 900] ^= 16
    for damaged in (whole[: len(whole) // 2], whole[:-10], bytes(middle), b""):
        file.write_bytes(damaged)
        with pytest.raises(InputError, match="is it whole"):
            read_structures(file)


def test_pickles_are_not_opened(tmp_path):
    np.savez(tmp_path / "a.npz", **arrays(z=np.array([[14, 32], "pickled"], dtype=object)))
    with pytest.raises(InputError, match="cannot read"):
        read_structures(tmp_path / "a.npz")


# ---------------------------------------------------------------------- data sets and batches


class Near(Potential):
    def energies(self, graph):
        f = polynomial_envelope(graph.lengths, self.r_max)
        return scatter_sum(f, graph.edges["target"].values, len(graph.species)) * (1 + graph.species)


def test_a_set_holds_samples_with_neighbors_and_labels():
    frames = crystals(3)
    data = Structures(frames, 4.0)
    assert data.labels == ("energy", "forces", "stress")
    assert len(data) == 3
    assert data[1] is data[1], "searched once"
    for frame, sample in zip(frames, (data[i] for i in range(3)), strict=True):
        assert sample["energy"].dtype == F64
        assert sample["energy"] == frame["energy"]
        assert {sample[name].dtype for name in ("pos", "cell", "forces", "stress")} == {torch.float32}
        assert torch.equal(sample["forces"], frame["forces"].float())
    assert Structures(frames, 4.0, labels=["energy"])[0].keys() == {"pos", "z", "edge_index", "shift", "cell", "energy"}


def test_labels_must_be_there_for_all_and_be_numbers():
    frames = crystals(3)
    with pytest.raises(InputError, match="no configuration"):
        Structures([], 4.0)
    without = [frames[0], {name: value for name, value in frames[1].items() if name != "forces"}]
    with pytest.raises(InputError, match="configuration 1 has no forces; it holds"):
        Structures(without, 4.0)
    assert Structures(without[::-1], 4.0).labels == ("energy", "stress")
    with pytest.raises(InputError, match="configuration 0 has no dipole"):
        Structures(frames, 4.0, labels=["dipole"])
    broken = [*frames, frames[0] | {"forces": frames[0]["forces"] * torch.nan}]
    with pytest.raises(InputError, match="forces of configuration 3 is NaN"):
        Structures(broken, 4.0)
    lost = Structures([frames[0], frames[1] | {"pos": frames[1]["pos"] * torch.inf}], 4.0)
    with pytest.raises(InputError, match=r"configuration 1: .*NaN or infinite"):
        lost[1]


@pytest.mark.parametrize("mixed", [False, True], ids=["crystals", "crystals and molecules"])
def test_a_batch_is_its_members_side_by_side(mixed):
    frames = crystals(2, seed=3) + (clusters(2, 4, seed=1) if mixed else [])
    frames = frames[1:] + frames[:1]
    names = ("energy", "forces")
    samples = [sample_of(frame, 4.0, names, F64) for frame in frames]
    batch = join(samples)
    assert batch["batch"].tolist() == [i for i, frame in enumerate(frames) for _ in frame["z"]]
    assert torch.equal(batch["energy"], torch.stack([frame["energy"] for frame in frames]))
    assert torch.equal(batch["forces"], torch.cat([frame["forces"] for frame in frames]))
    model = Near((14, 32), 4.0).double().eval()
    take = ("pos", "z", "edge_index", "shift", "cell")
    alone = [model(**{name: value for name, value in join([sample]).items() if name in (*take, "batch")}) for sample in samples]
    both = model(**{name: batch[name] for name in (*take, "batch")})
    for name in ("energy", "forces"):
        assert torch.allclose(both[name], torch.cat([one[name] for one in alone]), atol=1e-12, rtol=0)
    assert bool(both["stress"].isfinite().all())


def test_molecules_alone_have_no_cell():
    frames = clusters(2, 3, seed=0)
    batch = Structures(frames, 4.0).collate([Structures(frames, 4.0)[i] for i in range(2)])
    assert "cell" not in batch
    assert batch["batch"].tolist() == [0, 0, 0, 1, 1, 1]


def test_sizes_are_edges_of_every_structure():
    data = Structures([clusters(1, atoms, seed=atoms)[0] for atoms in (2, 5, 9)], 4.0)
    assert data.sizes().tolist() == [data[i]["edge_index"].shape[1] for i in range(3)]
    assert data.sizes()[0] == 2


# ---------------------------------------------------------------------- public files


@pytest.mark.parametrize(
    ("file", "count", "labels", "atoms"),
    [
        ("botnet_acac/train_300K", 500, {"energy", "forces"}, {15}),
        pytest.param("botnet_acac/test_MD_600K", 650, {"energy", "forces"}, {15}, marks=pytest.mark.slow),
        ("botnet_acac/isolated_atoms", 3, {"energy"}, {1}),
        ("mlearn/Si_test", 25, {"energy", "forces"}, None),
    ],
)
def test_public_files_hold_what_they_should(file, count, labels, atoms, shared_data):
    frames = read_structures(shared_data / "atoms" / f"{file}.extxyz.gz")
    assert len(frames) == count
    assert all(labels <= frame.keys() for frame in frames)
    sizes = {len(frame["z"]) for frame in frames}
    assert sizes == atoms if atoms else min(sizes) >= 12 and max(sizes) <= 96
    if "forces" in labels:
        assert max(float(frame["forces"].sum(0).norm()) for frame in frames) < 0.05
    if "acac/t" in file:
        energies = torch.stack([frame["energy"] for frame in frames])
        assert -9391.9 < energies.min() < energies.max() < -9389.8
        assert not any(any(frame["periodic"]) for frame in frames)
    if "mlearn" in file:
        assert {frame["group"] for frame in frames} <= {"AIMD-NVT", "Elastic", "Surface", "Vacancy"}
        assert all(frame["periodic"] == (True, True, True) for frame in frames)


@pytest.mark.slow
def test_silicon_of_mlearn_is_whole(shared_data):
    frames = read_structures(shared_data / "atoms/mlearn/Si_training.extxyz.gz")
    assert len(frames) == 214
    assert all(frame["z"].eq(14).all() for frame in frames)


@pytest.mark.parametrize("name", ["a.xyz", "a.extxyz.gz"])
def test_a_file_that_announces_more_atoms_than_it_has_lines_takes_no_memory(name, read):
    for count in ("999999999999999", "2"):
        content = f"1\n\nH 0 0 0\n{count}\n\nH 0 0 0\n".encode()
        with pytest.raises(InputError, match=rf"ends {int(count) - 1} lines too early, in configuration 1"):
            read(gzip.compress(content) if name.endswith("gz") else content, name)


def test_elements_that_there_are_not_are_refused(read, tmp_path):
    with pytest.raises(InputError, match=r"atomic numbers are 1 to 118, got \[0\]"):
        read("1\n\nX 0 0 0\n")
    for z in (0, 119, -1):
        np.savez(tmp_path / "a.npz", pos=np.zeros((1, 1, 3)), z=[z])
        with pytest.raises(InputError, match=f"atomic numbers are 1 to 118, got {z}"):
            read_structures(tmp_path / "a.npz")


@pytest.mark.parametrize(
    ("name", "text"),
    [("type_map.raw", "O\n"), ("type_map.raw", "O Qq\n"), ("type.raw", "0\n-1\n"), ("type.raw", "0\n7\n"), ("type.raw", "a\n")],
)
def test_types_that_name_no_element_are_refused(name, text, tmp_path):
    (tmp_path / "set.000").mkdir()
    np.save(tmp_path / "set.000" / "coord.npy", np.zeros((1, 6)))
    (tmp_path / "type.raw").write_text("0\n1\n")
    (tmp_path / "type_map.raw").write_text("O H\n")
    assert read_structures(tmp_path)[0]["z"].tolist() == [8, 1]
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=r"types count from 0|is no DeePMD system"):
        read_structures(tmp_path)


@pytest.mark.parametrize(
    "wrong", [{"pos": np.array(["a"])}, {"pos": np.zeros(3)}, {"z": np.zeros((1, 1, 1))}, {"energy": np.array(["x"])}],
    ids=["words", "flat", "axes", "label"],
)  # fmt: skip
def test_arrays_that_are_none_of_structures_are_refused(wrong, tmp_path):
    np.savez(tmp_path / "a.npz", **({"pos": np.zeros((1, 1, 3)), "z": np.ones(1)} | wrong))
    with pytest.raises(InputError, match=r"holds no numbers|expected pos"):
        read_structures(tmp_path / "a.npz")


def test_rows_that_are_no_triples_are_refused(tmp_path):
    np.savez(tmp_path / "a.npz", pos=np.zeros((3, 4)), z=np.ones(4))
    with pytest.raises(InputError, match="expected pos"):
        read_structures(tmp_path / "a.npz")
