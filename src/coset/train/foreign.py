"""Weights of a foreign pickle as safetensors: ``python -m coset.train.foreign SOURCE DESTINATION``, a process of its own.

Opening a pickle runs code that the file chooses; nobody but :func:`coset.train.checkpoint.load_model` with ``trust_pickle``
starts this, and nothing of the pickle but named tensors leaves the process.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from coset.records import write_atomically


def weights_of(found: Any) -> dict[str, Tensor]:
    """Named tensors in what was unpickled: a module, its state dict, or a checkpoint that holds one of these.

    Raises TypeError where there are none.
    """
    if isinstance(found, nn.Module):
        found = found.state_dict()
    if isinstance(found, Mapping):
        for key in ("state_dict", "model_state_dict", "model"):
            if isinstance(found.get(key), (Mapping, nn.Module)):
                return weights_of(found[key])
        named = {str(name): value for name, value in found.items() if isinstance(value, Tensor)}
        if named:
            return {name: value.detach().cpu().clone(memory_format=torch.contiguous_format) for name, value in named.items()}
    raise TypeError(f"no weights found: expected a module or a state dict, got {type(found).__name__}")


def main(source: str, destination: str) -> int:
    """Convert; on failure one line on stderr and exit code 1."""
    try:
        weights = weights_of(torch.load(source, map_location="cpu", weights_only=False))
    except Exception as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    write_atomically(Path(destination), safetensors.torch.save(weights))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2]))
