"""Laws of potentials on formulas with one deliberate fault each: the fault is seen, and nothing else."""

import math

import pytest
import torch

from coset.audits.cutoff import continuity
from coset.audits.potential import NOT_JUDGED, Check, Scene, conservation, rotations, size_consistency, symmetries
from coset.data.stillinger import CUTOFF, clusters, crystals, labelled
from coset.errors import InputError

FRAMES = [*crystals(1, seed=3), *clusters(1, 5)]


def exact(frame):
    return labelled(frame["pos"], frame["z"], cell=frame.get("cell") if any(frame.get("periodic", ())) else None)


def twin(change):
    """The exact answers with a fault."""
    return lambda frame: change(dict(exact(frame)), frame)


def field(out, frame):
    return out | {"energy": out["energy"] + 0.1 * frame["pos"][:, 2].sum(), "forces": out["forces"] - torch.tensor([0, 0, 0.1])}


def handed(out, frame):
    triple = torch.linalg.det(frame["pos"][:3] - frame["pos"].mean(0))
    return out | {"energy": out["energy"] + 1e-3 * triple}


def squashed(out, frame):
    """Turns as forces must, but is no gradient."""
    return out | {"forces": out["forces"] * (1 + 0.1 * out["forces"].norm(dim=-1, keepdim=True))}


def wrongly_turned(out, frame):
    c, s = math.cos(0.2), math.sin(0.2)
    return out | {"forces": out["forces"] @ torch.tensor([[c, s, 0], [-s, c, 0], [0, 0, 1.0]], dtype=torch.float64)}


def first_atom(out, frame):
    scale = torch.ones(len(frame["z"]), 1, dtype=torch.float64)
    scale[0] = 1.01
    return out | {"forces": out["forces"] * scale}


def pressure(out, frame):
    return out | ({"stress": out["stress"] + 1e-3 * torch.eye(3, dtype=torch.float64)} if "stress" in out else {})


def crowd(out, frame):
    return out | {
        "energy": out["energy"] * (1 + 1e-4 * len(frame["z"])),
        "forces": out["forces"] * (1 + 1e-4 * len(frame["z"])),
    }


def unwrapped(out, frame):
    inside = frame["pos"] @ torch.linalg.inv(frame["cell"]) if any(frame.get("periodic", ())) else None
    bonus = 0.0 if inside is None else 1e-3 * (inside - inside.mean(0)).floor().square().sum()
    return out | {"energy": out["energy"] + bonus}


def judged(answer):
    scene = Scene(answer, FRAMES)
    checks = [rotations(scene, 4), *symmetries(scene), size_consistency(scene), *conservation(scene, 3)]
    return {check.name: check for check in checks}


FORCES, STRESS = "forces = -dE/dx", "stress = dE/d(strain)/V"
FAULTS = {
    "field": (field, {"rotation", "inversion", "translation", "periodic images", "two copies", STRESS}),
    "handed": (handed, {"inversion", "permutation", FORCES, STRESS, "periodic images", "two copies"}),
    "squashed": (squashed, {FORCES}),
    "wrongly turned": (wrongly_turned, {"rotation", FORCES}),
    "first atom": (first_atom, {"permutation", "two copies", FORCES}),
    "pressure": (pressure, {STRESS}),
    "crowd": (crowd, {"two copies", STRESS}),
    "unwrapped": (unwrapped, {"periodic images"}),
}


def test_a_true_potential_passes():
    checks = judged(exact)
    assert set(checks) == {
        "rotation",
        "inversion",
        "translation",
        "permutation",
        "periodic images",
        "two copies",
        FORCES,
        STRESS,
    }
    for check in checks.values():
        assert check.verdict == "PASS", str(check)
        assert check.error < (1e-6 if "=" in check.name else 1e-11)


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_seen_where_it_is(name):
    change, want = FAULTS[name]
    failed = {key for key, check in judged(twin(change)).items() if check.verdict == "FAIL"}
    if name in ("field", "handed"):  # these break so much that only what must fail is asked for
        assert {"inversion"} <= failed
        assert ("translation" in failed) == (name == "field")
        assert ("rotation" in failed) == (name == "field")
    elif name in ("crowd", "unwrapped"):
        assert want <= failed | {STRESS}
        assert not failed & {"rotation", "inversion", "translation", "permutation"}
    else:
        assert failed == want


def test_rounding_is_not_a_fault():
    """Answers in single precision pass with a floor; positions that are rounded far from the origin do not."""

    def rounded(frame):
        moved = {**frame, "pos": frame["pos"].float().double()}
        return {name: value.float().double() for name, value in exact(moved).items() if torch.is_tensor(value)}

    scene = Scene(rounded, FRAMES)
    assert 1e-8 < scene.floor < 1e-5
    for check in (rotations(scene, 3), *symmetries(scene), *conservation(scene, 2)):
        assert (check.verdict == "PASS") == (check.name != "translation"), str(check)
    far = {check.name: check for check in symmetries(scene)}["translation"]
    assert "at 1000 A" in far.detail


def test_rounding_behind_a_centering_is_no_fault_either():
    """A calculator that centers before it rounds answers rigid shifts alike to the last digit; tiny turns show its floor."""

    def centered(frame):
        middle = frame["pos"].mean(0)
        return {name: value.float().double() for name, value in exact(frame | {"pos": (frame["pos"] - middle).float().double()
                }).items() if torch.is_tensor(value)}  # fmt: skip

    scene = Scene(centered, FRAMES[1:])
    assert 1e-9 < scene.floor < 1e-5
    assert rotations(scene, 3).verdict == "PASS"


def shifted(size, power):
    """A pair energy that ends at 4 angstrom with a jump in the derivative of order ``power``."""

    def answer(frame):
        pos = frame["pos"].clone().requires_grad_()
        r = torch.pdist(pos)
        gap = (4.0 - r).clamp(min=0)
        energy = (size * torch.where(r < 4.0, gap**power, torch.zeros_like(gap))).sum()
        (slope,) = torch.autograd.grad(energy, pos, allow_unused=True)
        return {"energy": energy.detach(), "forces": torch.zeros_like(pos) if slope is None else -slope}

    return answer


@pytest.mark.parametrize(
    ("power", "name", "jump"), [(0, "energy", 0.01), (1, "force", 0.01), (2, "curvature", 0.02), (3, "", 0.0)]
)
@pytest.mark.parametrize("cutoff", [4.0, None], ids=["told", "found"])
def test_jumps_at_the_cutoff_are_measured(power, name, jump, cutoff):
    checks, crossed = continuity(shifted(0.01, power), [FRAMES[1]], cutoff)
    assert [check.name for check in checks if check.verdict == "FAIL"] == ([f"cutoff: {name}"] if name else [])
    assert crossed.cutoff == pytest.approx(4.0, abs=1e-3)
    if name:
        assert crossed.jumps[name] == pytest.approx(jump, rel=1e-3)


def test_a_smooth_end_is_found():
    checks, crossed = continuity(exact, FRAMES)
    assert all(check.verdict == "PASS" for check in checks)
    assert 3.0 < crossed.cutoff <= CUTOFF


def test_what_cannot_be_judged_is_said():
    def endless(frame):
        r = torch.pdist(frame["pos"])
        return {"energy": (1 / r).sum(), "forces": torch.zeros_like(frame["pos"])}

    def picky(frame):
        raise RuntimeError("needs a cell")

    for answer, words in ((endless, "still changes"), (picky, "needs a cell")):
        checks, crossed = continuity(answer, FRAMES)
        assert crossed is None
        assert [check.verdict for check in checks] == [NOT_JUDGED]
        assert words in str(checks[0])


def test_nan_fails():
    assert Check("x", math.nan, 1.0).verdict == "FAIL"
    with pytest.raises(InputError, match="configuration 1 is not finite"):
        Scene(lambda f: exact(f) | {"energy": torch.tensor(math.nan if len(f["z"]) == 5 else 0.0)}, FRAMES)
    with pytest.raises(InputError, match="at least one"):
        Scene(exact, [])
