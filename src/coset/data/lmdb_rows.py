"""Values of an LMDB file, read by a process of its own: ``python lmdb_rows.py FILE`` writes them to its standard output.

The library maps the file into memory and follows the numbers in it, so that a file that was cut or altered ends the process
that reads it (SIGBUS, SIGSEGV), which no ``except`` can help. Run as a script, this module imports nothing but ``lmdb`` and
answers the keys on its standard input, a line each, with their values. Every value has its length before it (8 bytes,
big-endian); an absent one has the length :data:`ABSENT`.
"""

from __future__ import annotations

import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

ABSENT = 2**64 - 1
OPTIONS = {"subdir": False, "readonly": True, "lock": False, "readahead": False}


@contextmanager
def lmdb_values(path: Path) -> Iterator[Callable[[str], bytes | None]]:
    """A function of keys: the value, None where there is none. EOFError where the process ends that reads the file."""
    command = [sys.executable, "-P", str(Path(__file__).resolve()), str(path)]  # -P: beside it stands a module "signal"
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        asked, answers = process.stdin, process.stdout
        if asked is None or answers is None:
            raise EOFError("the process has no pipe")

        def value(key: str) -> bytes | None:
            try:
                asked.write(f"{key}\n".encode())
                asked.flush()
                return _read(answers)
            except (BrokenPipeError, EOFError):
                said = process.stderr.read().decode("utf-8", "replace").strip().splitlines() if process.stderr else []
                raise EOFError(said[-1] if said else f"the process that reads it ended with {process.wait()}") from None

        try:
            yield value
        finally:
            process.kill()


def _read(stream: IO[bytes]) -> bytes | None:
    head = stream.read(8)
    if len(head) < 8:
        raise EOFError
    (length,) = struct.unpack(">Q", head)
    if length == ABSENT:
        return None
    if len(value := stream.read(length)) < length:
        raise EOFError
    return value


def _serve(path: str, asked: IO[bytes], answers: IO[bytes]) -> None:
    import lmdb

    with lmdb.open(path, **OPTIONS) as environment, environment.begin() as reading:
        for line in asked:
            value = reading.get(line.rstrip(b"\n"))
            answers.write(struct.pack(">Q", ABSENT if value is None else len(value)) + (value or b""))
            answers.flush()


if __name__ == "__main__":
    _serve(sys.argv[1], sys.stdin.buffer, sys.stdout.buffer)
