"""Skeletons and motions in CMU's text form become joint positions: bones keep their length, angles turn what hangs on them."""

import math

import numpy as np
import pytest
import torch

from coset.data.mocap import body, joined, pieces, read_amc, read_asf, read_motions, rotation, walks
from coset.errors import InputError

ASF = """# AST/ASF file
:version 1.10
:name VICON
:units
  mass 1.0
  length 0.5
  angle deg
:documentation
   written for a test, :root and length 3 stand here too
:root
   order TX TY TZ RX RY RZ
   axis XYZ
   position 0 0 0
   orientation 0 0 0
:bonedata
  begin
     id 1
     name hip
     direction 1 0 0
     length 2.0
     axis 0 0 0  XYZ
  end
  begin
     id 2
     name femur
     direction 0 -1 0
     length 4.0
     axis 0 0 30  XYZ
    dof rx rz
    limits (-160.0 20.0)
           (-60.0 70.0)
  end
  begin
     id 3
     name tibia
     direction 0 -1 0
     length 3.0
     axis 0 0 0  XYZ
    dof rx
    limits (-10.0 170.0)
  end
:hierarchy
  begin
    root hip
    hip femur
    femur tibia
  end
"""
POSES = ((0, 0, 0), (90, 0, 0), (0, 90, 0), (0, 0, 90), (30, -20, 40))
UNIT = 0.0254 / 0.5


def amc(poses=POSES, turn=(0, 0, 0)):
    lines = ["#!OML:ASF", ":FULLY-SPECIFIED", ":DEGREES"]
    for i, (swing, side, knee) in enumerate(poses, start=1):
        lines += [str(i), f"root {i} 2 3 {turn[0]} {turn[1]} {turn[2]}", f"femur {swing} {side}", f"tibia {knee}"]
    return "\n".join(lines) + "\n"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "35.asf").write_text(ASF)
    (tmp_path / "35_01.amc").write_text(amc())
    return tmp_path


def test_the_skeleton_is_read(folder):
    bones = read_asf(folder / "35.asf")
    assert list(bones) == ["root", "hip", "femur", "tibia"]
    assert [bone.parent for bone in bones.values()] == ["", "root", "hip", "femur"]
    assert bones["femur"].dof == ("rx", "rz")
    assert math.isclose(bones["femur"].length, 4 * UNIT)


def test_joints_stand_where_angles_put_them(folder):
    pos = read_amc(folder / "35_01.amc", read_asf(folder / "35.asf")) / UNIT
    root = np.array([[i, 2, 3] for i in range(1, 6)])
    assert np.allclose(pos[:, 0], root)
    assert np.allclose(pos[:, 1] - root, [2, 0, 0])
    # at rest the leg hangs down; a knee of 90 degrees points the shin along -z: Rx(90) (0, -1, 0) = (0, 0, -1)
    assert np.allclose(pos[0, 2:] - pos[0, 1], [[0, -4, 0], [0, -7, 0]])
    assert np.allclose(pos[3, 3] - pos[3, 2], [0, 0, -3], atol=1e-12)
    # the hip's axis is turned by 30 degrees about z: a swing about its x turns about (cos 30, sin 30, 0)
    axis = np.array([math.cos(math.pi / 6), 0.5, 0])
    swung = (pos[1, 2] - pos[1, 1]) / 4
    assert np.allclose(swung @ axis, np.array([0, -1, 0]) @ axis)
    assert np.allclose(swung, axis * (-0.5) + np.cross(axis, [0, -1, 0]), atol=1e-12)
    # about z it is turned by 90 degrees whatever the axis: (0, -1, 0) goes to (1, 0, 0)
    assert np.allclose(pos[2, 2] - pos[2, 1], [4, 0, 0], atol=1e-12)


def test_bones_keep_their_length_and_the_root_turns_all(folder):
    bones = read_asf(folder / "35.asf")
    plain = read_amc(folder / "35_01.amc", bones)
    (folder / "turned.amc").write_text(amc(turn=(20, 50, -70)))
    turned = read_amc(folder / "turned.amc", bones)
    for pos in (plain, turned):
        lengths = np.linalg.norm(np.diff(pos, axis=1), axis=-1) / UNIT
        assert np.allclose(lengths, [2, 4, 3])
    local = plain - plain[:, :1]
    assert np.allclose(turned - turned[:, :1], local @ rotation(20, 50, -70).T)


def test_rotation_is_z_after_y_after_x():
    assert np.allclose(rotation(90, 0, 0) @ [0, 1, 0], [0, 0, 1])
    assert np.allclose(rotation(0, 90, 0) @ [0, 0, 1], [1, 0, 0])
    assert np.allclose(rotation(0, 0, 90) @ [1, 0, 0], [0, 1, 0])
    assert np.allclose(rotation(10, 20, 30), rotation(0, 0, 30) @ rotation(0, 20, 0) @ rotation(10, 0, 0))


def test_a_folder_holds_motions_of_one_skeleton(folder):
    (folder / "35_02.amc").write_text(amc(POSES[:2]))
    motions = read_motions(folder)
    assert [len(s) for s in motions.sequences] == [5, 2]
    assert motions.bones.tolist() == [[0, 1], [1, 2], [2, 3]]


def test_joint_positions_in_an_array_file(tmp_path, generator):
    pos = np.random.default_rng(0).normal(size=(9, 4, 3)).astype(np.float32)
    np.savez(tmp_path / "run.npz", pos=pos, seq_ptr=np.array([0, 5, 9]), edges=np.array([[1, 0], [2, 1], [3, 1]]))
    motions = read_motions(tmp_path / "run.npz")
    assert [len(s) for s in motions.sequences] == [5, 4]
    assert np.allclose(motions.sequences[1], pos[5:])


def test_pieces_are_cut_by_recording_or_in_time(generator):
    motions = walks(4, generator=generator, frames=100)
    train, valid, test = pieces(motions, every=4, stride=10)
    assert (len(train), len(valid), len(test)) == (2 * 3, 3, 3)
    path = torch.cat([train[1]["cond"], train[1]["x"]], 1).numpy()
    assert np.allclose(path, motions.sequences[0][10:90:4].swapaxes(0, 1), atol=1e-6)
    lone = type(motions)(motions.sequences[:1], motions.bones)
    assert [len(p) for p in pieces(lone, every=1, stride=4)] == [11, 1, 1]
    with pytest.raises(InputError, match="longer recording"):
        pieces(lone)


def test_edges_are_bones_and_what_one_joint_joins():
    graph = joined(np.array([(0, 1), (1, 2), (2, 3)]), 4)
    assert graph.tolist() == [[0, 1, -1, 0], [1, 0, 1, -1], [-1, 1, 0, 1], [0, -1, 1, 0]]
    one = body(np.zeros((20, 4, 3)), graph)
    assert one["edge_index"].shape == (2, 10)
    assert sorted(one["edge_attr"].flatten().tolist()) == [-1] * 4 + [1] * 6
    assert torch.equal(one["h"], torch.eye(4))


def test_generated_walks_are_walks(generator):
    motions = walks(5, generator=generator)
    for pos in motions.sequences:
        lengths = np.linalg.norm(pos[:, motions.bones[:, 0]] - pos[:, motions.bones[:, 1]], axis=-1)
        assert np.ptp(lengths, axis=0).max() < 1e-9
        assert 0.8 < np.linalg.norm((pos[-1, 0] - pos[0, 0])[[0, 2]]) * 120 / 239 < 1.7  # meters per second
        assert pos[:, :, 1].min() > -0.1
    headings = np.array([pos[-1, 0] - pos[0, 0] for pos in motions.sequences])
    assert np.linalg.matrix_rank(headings[:, [0, 2]]) == 2


def test_bad_files_are_refused(folder):
    bones = read_asf(folder / "35.asf")
    broken = {
        "axes are in the order XYZ": ASF.replace("0 0 30  XYZ", "0 0 30  ZYX"),
        "not a skeleton": ASF.replace("length 4.0", "length four"),
        "KeyError": ASF.replace(":hierarchy", ":tree"),
    }
    for match, text in broken.items():
        (folder / "bad.asf").write_text(text)
        with pytest.raises(InputError, match=match):
            read_asf(folder / "bad.asf")
    for match, text in {
        "not a motion": amc().replace("femur 90 0", "femur 90"),
        "finite frames": amc().replace("femur 90 0", "femur nan 0"),
        "0 frames": ":DEGREES\n",
    }.items():
        (folder / "bad.amc").write_text(text)
        with pytest.raises(InputError, match=match):
            read_amc(folder / "bad.amc", bones)
    with pytest.raises(InputError, match=r"expected one \.asf"):
        read_motions(folder)  # two skeletons by now
    with pytest.raises(InputError, match="expected arrays pos"):
        read_motions(folder / "none.npz")
    with pytest.raises(InputError, match="not a skeleton"):
        read_asf(folder / "none.asf")


def test_the_real_joints(shared_data):
    motions = read_motions(shared_data / "motion" / "cmu_mocap" / "run_subject09_joints.npz")
    assert len(motions.sequences) == 11
    lengths = [np.linalg.norm(p[:, motions.bones[:, 0]] - p[:, motions.bones[:, 1]], axis=-1) for p in motions.sequences]
    assert max((np.ptp(one, axis=0) / one.mean(0)).max() for one in lengths) < 1e-4
    train, valid, test = pieces(motions)
    assert min(len(train), len(valid), len(test)) > 5
    assert train[0]["x"].shape == (31, 12, 3)


@pytest.mark.parametrize(
    ("name", "wrong"),
    [("pos", np.zeros((9, 4))), ("pos", np.full((9, 4, 3), np.nan)), ("pos", np.array(["a"])), ("seq_ptr", np.array([0, 9, 5])),
     ("seq_ptr", np.array([0, 5])), ("seq_ptr", np.array([0.0, 9.0])), ("edges", np.array([[1, 9]])),
     ("edges", np.array([[-1, 0]])), ("edges", np.array([1, 0]))],
    ids=["axes", "nan", "words", "falling", "short", "floats", "joint", "negative", "flat"],
)  # fmt: skip
def test_arrays_that_are_no_motion_are_refused(name, wrong, tmp_path):
    arrays = {"pos": np.zeros((9, 4, 3)), "seq_ptr": np.array([0, 5, 9]), "edges": np.array([[1, 0], [2, 1]])}
    np.savez(tmp_path / "a.npz", **(arrays | {name: wrong}))
    with pytest.raises(InputError, match="expected arrays pos"):
        read_motions(tmp_path / "a.npz")
