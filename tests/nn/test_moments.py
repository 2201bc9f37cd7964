import pytest
import torch

from coset import testing
from coset.data.stillinger import clusters, crystals
from coset.data.structures import Structures, join, sample_of
from coset.errors import InputError
from coset.models.atoms.mace import MomentMACE
from coset.nn.moments import traceless
from coset.objectives.moments import MomentsLoss
from coset.train.checkpoint import load_model, save_model

SMALL = {"hidden": "2x0e+2x1o", "layers": 2, "lmax": 2, "network": (4,)}


def model(**options):
    torch.manual_seed(0)
    return MomentMACE((14, 32), 4.0, **SMALL | options).double()


def batch(count=2):
    return join([sample_of(frame, 4.0, dtype=torch.float64) for frame in crystals(count, seed=1)])


def test_its_promises_are_kept_on_crystals():
    net, sample = model(), batch()
    testing.check(net, sample)


def test_a_matrix_that_is_not_turned_is_caught():
    class Stiff(MomentMACE):
        def forward(self, *args, **kwargs):
            out = super().forward(*args, **kwargs)
            return {**out, "polarizability": out["polarizability"] + torch.diag(torch.tensor([1.0, 2.0, 3.0]).double())}

    torch.manual_seed(0)
    with pytest.raises(testing.Broken):
        testing.check(Stiff((14, 32), 4.0, **SMALL), batch())


def test_the_basis_is_orthonormal_symmetric_and_traceless():
    basis = traceless()
    assert torch.allclose(torch.einsum("ijk,ijl->kl", basis, basis), torch.eye(5, dtype=torch.float64), atol=1e-12)
    assert torch.allclose(basis, basis.transpose(0, 1), atol=1e-12)
    assert float(torch.einsum("iik->k", basis).abs().max()) < 1e-12


def test_scales_and_shift_do_what_they_say():
    sample, plain = batch(1), model()(**batch(1))
    atoms = len(sample["z"])
    doubled = model(dipole_scale=2.0, polar_scale=3.0, polar_shift=0.5)(**sample)
    assert torch.allclose(doubled["dipole"], 2 * plain["dipole"])
    expected = 3 * plain["polarizability"] + 0.5 * atoms * torch.eye(3, dtype=torch.float64)
    assert torch.allclose(doubled["polarizability"], expected)
    assert torch.allclose(plain["polarizability"], plain["polarizability"].mT)


def test_saved_and_loaded_it_is_the_same(tmp_path):
    net, sample = model(polar_shift=(0.1, 0.2)), batch()
    save_model(tmp_path, net)
    again = load_model(tmp_path)
    assert torch.equal(net.eval()(**sample)["polarizability"], again(**sample)["polarizability"])


def labelled():
    frames = clusters(2, 4, seed=0)
    for place, frame in enumerate(frames):
        frame["dipole"] = torch.tensor([1.0, 2.0, 3.0 + place], dtype=torch.float64)
        frame["polarizability"] = torch.arange(9, dtype=torch.float64).view(3, 3)
    data = Structures(frames, 4.0, labels=("dipole", "polarizability"), dtype=torch.float64)
    return data.collate([data[0], data[1]])


def test_the_loss_is_that_of_its_formula_with_symmetric_labels():
    net, given = model(), labelled()
    out = net(**{name: value for name, value in given.items() if name not in ("dipole", "polarizability")})
    label = 0.5 * (given["polarizability"] + given["polarizability"].mT)
    dipole = (out["dipole"] - given["dipole"]).square().mean(1) / 16
    polar = (out["polarizability"] - label).square().mean((1, 2)) / 16
    found = MomentsLoss(dipole=2.0, polarizability=3.0)(net, given)
    assert torch.allclose(found["loss"], 2 * dipole.mean() + 3 * polar.mean())
    assert set(found) == {"loss", "dipole", "polarizability"}


def test_bad_weights_missing_labels_and_bad_scales_are_refused():
    with pytest.raises(InputError, match="not all zero"):
        MomentsLoss()
    with pytest.raises(InputError, match="dipole has a weight but no label"):
        MomentsLoss(dipole=1.0)(model(), {n: v for n, v in labelled().items() if n != "dipole"})
    with pytest.raises(InputError, match="one number for each"):
        model(polar_shift=(1.0,))
