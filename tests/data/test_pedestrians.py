"""Recordings in the public text form become windows of those present throughout; one scene is left out by its path."""

import gzip

import numpy as np
import pytest
import torch

from coset.data.pedestrians import PAST, SCENES, leave_out, meet, read_recording, scene_of, walkers, windows
from coset.errors import InputError


def write(path, rows):
    text = "".join(f"{frame:.0f}\t{who:.1f}\t{x:.2f}\t{y:.2f}\n" for frame, who, x, y in rows)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text)
    return path


def crowd(frames=24, start=0, people=((1, 0, 24), (2, 0, 22), (3, 10, 24))):
    """Rows of straight walks: (who, first frame, after the last)."""
    return [(start + 10 * t, who, 0.5 * t, who) for t in range(frames) for who, a, b in people if a <= t < b]


def test_a_recording_is_read_as_written(tmp_path):
    rows = crowd()
    for name in ("a.txt", "a.txt.gz"):
        found = read_recording(write(tmp_path / name, reversed(rows)))
        assert found.shape == (len(rows), 4)
        assert bool((np.diff(found[:, 0]) >= 0).all())
        assert sorted(map(tuple, found.tolist())) == sorted((float(a), float(b), c, float(d)) for a, b, c, d in rows)


def test_windows_hold_those_who_stay():
    tracks = windows(np.array(crowd()))
    assert [tuple(t.shape) for t in tracks] == [(2, 20, 2)] * 3 + [(1, 20, 2)] * 2
    assert torch.allclose(tracks[1][0, :, 0], 0.5 * torch.arange(1, 21).double())
    assert bool((tracks[1][1, :, 1] == 2).all())


def test_a_gap_ends_a_window():
    rows = np.array([row for row in crowd(50, people=((1, 0, 50),)) if row[0] != 240])
    starts = [float(track[0, 0, 0]) / 0.5 for track in windows(rows)]
    assert starts == [0, 1, 2, 3, 4, 25, 26, 27, 28, 29, 30]


def test_thinning_and_short_recordings():
    rows = np.array(crowd(40, people=((1, 0, 40),)))
    assert len(windows(rows)) == 21
    assert len(windows(rows, stride=5)) == 5
    assert windows(rows[:19]) == []


def test_edges_join_those_who_are_near_when_the_future_begins():
    tracks = torch.zeros(3, 20, 2)
    tracks[1, :, 0], tracks[2, :, 0] = 2.0, 10.0
    tracks[2, PAST - 1, 0] = 4.5  # 2.5 m from the second, 4.5 m from the first
    found = meet(tracks)
    assert sorted(map(tuple, found["edge_index"].T.tolist())) == [(0, 1), (1, 0), (1, 2), (2, 1)]
    assert found["cond"].shape == (3, 8, 2)
    assert found["x"].shape == (3, 12, 2)


def test_one_scene_is_left_out(tmp_path):
    # validation begins at frame 10240 in biwi_eth, 14400 in biwi_hotel, and with the last fifth elsewhere
    write(tmp_path / "biwi_eth.txt", crowd(start=10000))
    write(tmp_path / "biwi_hotel.txt", crowd(start=0) + crowd(start=14400))
    write(tmp_path / "mall.txt.gz", crowd(130, people=((7, 0, 130),)))
    train, valid, test = leave_out(tmp_path, "eth")
    assert (len(train), len(valid), len(test)) == (5 + 85, 5 + 7, 5)
    assert test[0]["batch"].tolist() == [0, 0]
    train, valid, test = leave_out(tmp_path, "hotel", stride=5)
    assert len(train) == 1 + 17
    assert len(test) == 10  # the test is never thinned


def test_a_recording_names_its_scene(tmp_path):
    assert scene_of(tmp_path / "students003.txt.gz") == "univ"
    assert scene_of("biwi_eth.txt") == "eth"
    with pytest.raises(InputError, match="recording"):
        scene_of("mall.txt")


def test_bad_recordings_are_refused(tmp_path):
    cases = {
        "1 2 3\n": "array of shape",
        "1 2 3 4\n1 2 x 4\n": "could not convert",
        "1 2 3 4\n1 2 3\n": "expected rows",
        "1 2 nan 4\n": "finite",
        "": "array of shape",
    }
    for text, match in cases.items():
        (tmp_path / "biwi_eth.txt").write_text(text)
        with pytest.raises(InputError, match=match):
            read_recording(tmp_path / "biwi_eth.txt")
    (tmp_path / "a.txt.gz").write_bytes(b"no gzip")
    for name in ("a.txt.gz", "nothing.txt"):
        with pytest.raises(InputError, match="cannot be read"):
            read_recording(tmp_path / name)
    with pytest.raises(InputError, match="did you mean 'hotel'"):
        leave_out(tmp_path, "hotels")
    with pytest.raises(InputError, match="recorded in biwi_hotel"):
        leave_out(tmp_path, "hotel")


def test_walkers_walk_and_keep_apart(generator):
    scenes = walkers(100, generator=generator)
    assert {len(one["x"]) for one in scenes.scenes} == {2, 3, 4, 5}
    speeds = []
    for one in scenes.scenes:
        path = torch.cat([one["cond"], one["x"]], 1)
        assert bool(torch.isfinite(path).all())
        speeds.append(path.diff(dim=1).norm(dim=-1).mean() / 0.4)
    assert 1.0 < float(torch.stack(speeds).mean()) < 1.8
    near = [torch.cdist(p, p)[~torch.eye(len(p), dtype=bool)].min() for one in scenes.scenes for p in one["x"].transpose(0, 1)]
    assert float(torch.stack(near).quantile(0.01)) > 0.25
    assert len(walkers(3, generator=generator, people=(1, 1))) == 3
    with pytest.raises(InputError, match="least, most"):
        walkers(2, generator=generator, people=(3, 2))


def test_the_real_recordings(shared_data):
    folder = shared_data / "motion" / "eth_ucy"
    train, valid, test = leave_out(folder, "eth", stride=10)
    # 364 pedestrians in the windows of ETH: the number that the literature has
    assert sum(len(one["x"]) for one in test.scenes) == 364
    assert len(train) > 200
    assert len(valid) > 40
    assert set(SCENES) >= {"eth", "zara2"}
    with pytest.raises(InputError, match="crowds_zara02"):
        leave_out(folder, "zara2")
