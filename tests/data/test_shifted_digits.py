import numpy as np
import pytest
import torch

from coset.data.digits import framed, scikit_scans
from coset.data.shifted_digits import corners, paste, shift_contract, shifted_digits
from coset.errors import InputError
from coset.groups.torus import Torus
from coset.recipe import Request
from coset.reps.torus import roll_image


def test_training_digits_stand_at_multiples_of_four():
    x, y = (v[:20] for v in scikit_scans())
    found = paste(x, y, 16, seed=1)["x"]
    middle = framed(x, 16, 32)
    steps = corners(20, 4, seed=1)
    assert bool((steps % 4 == 0).all())
    assert len(steps.unique()) == 8
    # the frame puts corners at 8, a multiple of four
    assert torch.equal(found, roll_image(middle, steps))


def test_digits_of_any_width_are_put_on_the_grid():
    x, y = torch.ones(5, 1, 28, 28), torch.zeros(5, dtype=torch.int64)
    found = paste(x, y, 28, seed=1)["x"]
    empty = found[:, 0].amax(2) == 0  # four rows without ink, from the digit's end to its corner
    for rows in empty:
        ends = [i for i in range(32) if not rows[i] and rows[i - 1]]
        assert len(ends) == 1
        assert ends[0] % 4 == 0


def test_the_task_has_both_kinds_of_test_digits():
    data = shifted_digits(Request("smoke", 0))
    assert data.train["x"].shape == (64, 1, 32, 32)
    assert data.info["source"] == "scikit-learn digits"
    x, shifted = data.test["x"], data.test["shifted"]
    assert torch.allclose(x.sum((1, 2, 3)), shifted.sum((1, 2, 3)), atol=1e-3)
    assert torch.equal(x.flatten(1).sort(1).values, shifted.flatten(1).sort(1).values)
    assert (x != shifted).flatten(1).any(1).float().mean() > 0.9
    again = shifted_digits(Request("smoke", 1))
    assert torch.equal(again.train["x"], data.train["x"])  # seeds vary training, not data
    shift_contract().bind(data.audit)


def test_aligned_shifts_are_multiples_of_four():
    x = torch.randn(1, 1, 32, 32)
    moved = shift_contract(Torus(8, 8)).act(torch.tensor(9), x)
    assert torch.equal(moved, x.roll((4, 4), (2, 3)))


def test_mnist_is_taken_from_a_file(tmp_path):
    generator = np.random.default_rng(0)
    file = tmp_path / "mnist.npz"
    np.savez(file, images=generator.integers(0, 256, (700, 28, 28)).astype(np.uint8), labels=generator.integers(0, 10, 700))
    data = shifted_digits(Request("smoke", 0, (("mnist", file),)))
    assert data.info["source"] == "mnist"
    assert len(data.train["y"]) == 64
    assert len(data.test["y"]) == 32


def test_real_mnist(shared_data):
    data = shifted_digits(Request("smoke", 0, (("mnist", shared_data / "images" / "mnist_test10k.npz"),)))
    assert len(data.valid["y"]) == 32


def test_unknown_files_and_sizes_are_refused(tmp_path):
    with pytest.raises(InputError, match="unknown data file 'digits'"):
        shifted_digits(Request("smoke", 0, (("digits", tmp_path),)))
    with pytest.raises(InputError, match="unknown size"):
        shifted_digits(Request("tiny", 0))
