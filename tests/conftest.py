"""Fixtures of all tests: one thread, seeded randomness, data that lie beside the repository."""

import os
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

import torch
from hypothesis import settings

settings.register_profile("repeatable", derandomize=True, deadline=None)  # a failure can be seen again
settings.load_profile("repeatable")
torch.set_num_threads(1)

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def generator() -> torch.Generator:
    """The source of randomness of a test: the same numbers every time."""
    return torch.Generator().manual_seed(0)


@pytest.fixture
def shared_data() -> Path:
    """Real data beside the repository (``../shared/data``); tests that need them are skipped elsewhere."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"needs the data in {folder}")
    return folder


@pytest.fixture
def root() -> Path:
    """The repository."""
    return ROOT
