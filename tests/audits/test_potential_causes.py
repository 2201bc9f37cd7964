"""What is said of a potential that fails names the fault that was put in."""

import math

import pytest
import torch

from coset.audits.cutoff import continuity
from coset.audits.potential import Check, Scene, conservation, rotations, size_consistency, symmetries
from coset.audits.potential_causes import causes, headline
from coset.data.stillinger import CUTOFF, clusters, crystals, labelled

FRAMES = [*crystals(1, seed=3), *clusters(1, 5)]


def exact(frame):
    return labelled(frame["pos"], frame["z"], cell=frame.get("cell") if any(frame.get("periodic", ())) else None)


def documents(change):
    def answer(frame):
        return change(dict(exact(frame)), frame)

    scene = Scene(answer, FRAMES)
    checks = [rotations(scene, 3), *symmetries(scene), size_consistency(scene), *conservation(scene, 2)]
    return [check.to_json() for check in checks]


def scaled(name, factor):
    return lambda out, frame: out | ({name: factor * out[name]} if name in out else {})


def swapped(out, frame):
    if "stress" not in out:
        return out
    s = out["stress"].clone()
    s[0, 1], s[1, 0], s[1, 2], s[2, 1] = s[1, 2].item(), s[1, 2].item(), s[0, 1].item(), s[0, 1].item()
    return out | {"stress": s}


def sideways(out, frame):
    c, s = math.cos(0.2), math.sin(0.2)
    return out | {"forces": out["forces"] @ torch.tensor([[c, s, 0], [-s, c, 0], [0, 0, 1.0]], dtype=torch.float64)}


def far(out, frame):
    return out | {"energy": out["energy"] + 1e-6 * frame["pos"].norm(dim=1).sum().clamp(min=100).double()}


def uneven(out, frame):
    return out | {"forces": out["forces"] * (1 + 0.1 * out["forces"].norm(dim=-1, keepdim=True))}


def leaning(out, frame):
    return out | {"energy": out["energy"] + 0.1 * frame["pos"][:, 2].sum()}


def signed(out, frame):
    if "stress" not in out:
        return out
    return out | {"stress": out["stress"] * torch.linalg.det(frame["cell"]).sign()}


FAULTS = {
    "signed volume": (signed, {"inversion": "left-handed"}),
    "unit of forces": (scaled("forces", 27.2114), {"forces = -dE/dx": "times 27.2114"}),
    "sign of forces": (scaled("forces", -1.0), {"forces = -dE/dx": "times -1:"}),
    "stress in GPa": (scaled("stress", 160.2177), {"stress = dE/d(strain)/V": "times 160.218"}),
    "order of shear": (swapped, {"stress = dE/d(strain)/V": "shear is not", "rotation": "stress do not move"}),
    "forces aside": (sideways, {"rotation": "forces do not move", "forces = -dE/dx": "no gradient"}),
    "no gradient": (uneven, {"forces = -dE/dx": "no gradient"}),
    "a direction": (leaning, {"rotation": "direction in space", "inversion": "As under rotations", "translation": "where the"}),
    "far away": (far, {"translation": "far from the origin"}),
}


@pytest.mark.parametrize("name", FAULTS)
def test_the_sentence_names_the_fault(name):
    change, want = FAULTS[name]
    said = dict(causes(documents(change)))
    for law, words in want.items():
        assert words in said[law], said
    if name not in ("a direction", "far away"):
        assert set(said) == set(want), said


def test_nothing_is_said_of_what_holds():
    found = documents(lambda out, frame: out)
    assert causes(found) == []
    assert headline(found) == "All 8 laws hold."


def doc(name, error, limit=1.0, skipped=False, **parts):
    return Check(name, error, limit, skipped=skipped, parts=parts).to_json()


def test_the_three_laws_of_the_cutoff_are_one_and_drift_follows():
    step = [doc("cutoff: energy", 2.0), doc("cutoff: force", 3.0), doc("cutoff: curvature", 4.0), doc("drift", 9.0)]
    said = causes(step)
    assert [law for law, _ in said] == ["cutoff: energy", "drift"]
    assert "Follows from the steps" in said[1][1]
    assert headline(step).startswith("0 of 4 laws hold; not met: cutoff: energy")
    kink = causes([doc("cutoff: energy", 0.0), doc("cutoff: force", 0.0), doc("cutoff: curvature", 2.0)])
    assert kink[0][0] == "cutoff: curvature"
    assert "kink" in kink[0][1]
    slope = causes([doc("cutoff: energy", 0.0), doc("cutoff: force", 5.0), doc("cutoff: curvature", 2.0)])
    assert "Forces jump" in slope[0][1]
    assert "no gradient" in causes([doc("forces = -dE/dx", 2.0, left=2.0, factor=0.5), doc("drift", 2.0)])[1][1]
    assert "0.5 fs" in causes([doc("drift", 2.0)])[0][1]


def test_the_first_layer_above_the_limit_is_named():
    layers = [{"name": "embed", "error": 1e-15}, {"name": "grid", "error": 1e-3}, {"name": "head", "error": 2e-3}]
    said = causes([doc("rotation", 0.1, 1e-8, energy=0.1)], layers)
    assert "is grid (1.0e-03)" in said[0][1]


def test_what_was_not_judged_is_said():
    assert headline([doc("rotation", 0.0), doc("cutoff", math.nan, skipped=True)]) == "All 1 laws hold; not judged: cutoff."
    assert causes([doc("drift", math.nan)])  # NaN is not met


def test_single_precision_is_not_taken_for_a_kink():
    """Answers rounded to single precision scatter about the polynomials: the limit says by how much."""

    def single(frame):
        return {name: value.float().double() for name, value in exact(frame).items()}

    fine, _ = continuity(exact, FRAMES, CUTOFF)
    coarse, crossed = continuity(single, FRAMES, CUTOFF)
    assert all(check.verdict == "PASS" for check in [*fine, *coarse]), [str(check) for check in coarse]
    assert fine[2].limit == 1e-3
    assert max(crossed.unsure.values()) < 1.0

    def cut(frame):
        """The same with a step that rounding does not explain."""
        apart = torch.cdist(frame["pos"], frame["pos"])
        out = single(frame)
        return out | {"energy": out["energy"] + 1e-3 * ((apart > 0) & (apart < CUTOFF)).sum()}

    assert continuity(cut, FRAMES, CUTOFF)[0][0].verdict == "FAIL"
    found, where = continuity(cut, FRAMES)  # the cutoff is found in spite of the rounding
    assert found[0].verdict == "FAIL"
    assert where.cutoff == pytest.approx(CUTOFF, abs=1e-6)
