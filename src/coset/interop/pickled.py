"""A foreign pickle in a process of its own: opened only on request, spoken to in arrays.

The child opens the file (``joblib`` or ``torch`` where the file is theirs) and answers every call with arrays; nothing that
the pickle holds is ever unpickled in the calling process. Frames on the pipes are a length (8 bytes, big-endian) and an
``.npz`` without pickles; an answer that holds ``error`` is a message.
"""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

from coset.errors import InputError


class Pickled:
    """The callable inside a pickle: one tensor in (or named tensors), one tensor out (or named tensors)."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        command = [sys.executable, "-m", "coset.interop.pickled", str(self.path)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._answer()

    def __repr__(self) -> str:
        return f"Pickled({str(self.path)!r})"

    def __call__(self, *args: Tensor, **named: Tensor) -> Any:
        """The model's answer; InputError with its message where it fails."""
        sent = {"": args[0]} if args else named
        like = next(iter(sent.values()))
        arrays = {f"in:{name}": value.detach().cpu().numpy() for name, value in sent.items()}
        _send(self._pipe(self.process.stdin), arrays)
        answer = {name.removeprefix("out:"): torch.from_numpy(a).to(like.device) for name, a in self._answer().items()}
        return answer[""] if list(answer) == [""] else answer

    def _answer(self) -> dict[str, np.ndarray]:
        answer = _receive(self._pipe(self.process.stdout))
        if answer is None:
            raise InputError(f"{self.path}: the process that opened it ended (exit {self.process.wait()})")
        if "error" in answer:
            raise InputError(f"{self.path}: {answer['error']}")
        return answer

    @staticmethod
    def _pipe(stream: IO[bytes] | None) -> IO[bytes]:
        if stream is None:
            raise InputError("the process has no pipe")
        return stream

    def close(self) -> None:
        """End the process."""
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                stream.close()
        self.process.wait()

    def __del__(self) -> None:
        if hasattr(self, "process") and self.process.poll() is None:
            self.close()


def _send(stream: IO[bytes], arrays: dict[str, np.ndarray]) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]  # names are not known to the stub
    stream.write(struct.pack(">Q", buffer.tell()) + buffer.getvalue())
    stream.flush()


def _receive(stream: IO[bytes]) -> dict[str, np.ndarray] | None:
    head = stream.read(8)
    if len(head) < 8:
        return None
    with np.load(io.BytesIO(stream.read(struct.unpack(">Q", head)[0])), allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}


def _open(path: Path) -> Any:
    """Unpickle: in the child only."""
    from coset.interop.target import as_callable

    if path.suffix == ".joblib":
        from coset.errors import require

        found = require("joblib", extra="train").load(path)
    elif path.suffix in (".pt", ".pth", ".ckpt"):
        found = torch.load(path, map_location="cpu", weights_only=False)
    else:
        import pickle

        with path.open("rb") as stream:
            found = pickle.load(stream)
    return as_callable(found, str(path))


def _serve(path: Path, requests: IO[bytes], answers: IO[bytes]) -> None:
    try:
        model = _open(path)
        if isinstance(model, torch.nn.Module):
            model.eval()
    except Exception as error:
        _send(answers, {"error": np.array(f"{type(error).__name__}: {error}")})
        return
    _send(answers, {})
    while (request := _receive(requests)) is not None:
        given = {name.removeprefix("in:"): torch.from_numpy(value) for name, value in request.items()}
        try:
            y = model(given[""]) if list(given) == [""] else model(**given)
            y = {"": y} if isinstance(y, Tensor) else dict(y)
            _send(answers, {f"out:{name}": value.detach().cpu().numpy() for name, value in y.items()})
        except Exception as error:
            _send(answers, {"error": np.array(f"{type(error).__name__}: {error}")})


if __name__ == "__main__":
    # what the pickle prints must not mix with the answers
    with os.fdopen(os.dup(1), "wb") as _answers:
        os.dup2(2, 1)
        _serve(Path(sys.argv[1]), sys.stdin.buffer, _answers)
