"""Questions that ``coset serve`` takes: read until a deadline, and every value of their JSON checked before it is used."""

from __future__ import annotations

import io
import json
import math
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from coset.interop.serve_jobs import Refused

DTYPES = ("float64", "float32", "bfloat16")  #: in which a model may be asked


class Patient(io.RawIOBase):
    """What a connection sends, until ``end``: a request that drips in is cut off like one that never comes."""

    def __init__(self, connection: socket.socket, timeout: float) -> None:
        self.connection, self.timeout, self.end = connection, timeout, 0.0

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int:
        """As of a socket; TimeoutError at the end."""
        left = self.end - time.monotonic()
        if left <= 0:
            raise TimeoutError("the request took too long")
        self.connection.settimeout(left)
        try:
            return self.connection.recv_into(buffer)
        finally:
            self.connection.settimeout(self.timeout)


@dataclass(frozen=True)
class Question:
    """A job for a process, what must be loaded for it, and whose it is."""

    job: dict[str, Any]
    key: str
    client: str
    turn: int

    @staticmethod
    def of(what: str, asked: Mapping[str, Any]) -> Question:
        """The question in a body for one of :data:`NEEDED`; Refused for any other value than those documented."""
        if unknown := set(asked) - {*ANSWERED[what], "client", "turn"}:
            raise Refused(400, "request", f"unknown: {', '.join(sorted(unknown))[:200]}")
        taken = {key: _taken(asked, key) for key in FIELDS if key in asked or key in NEEDED[what]}
        client, turn = taken.pop("client", ""), taken.pop("turn", 0)
        if what in ("at", "ladder") and ("at" in taken) == ("draw" in taken):
            raise Refused(400, "request", "expected either at or draw")
        taken = {key: taken.get(key, value) for key, value in ANSWERED[what].items()}
        key = json.dumps([taken["page"], taken["part"], taken.get("model"), taken.get("dtype"), what == "ladder"])
        return Question({"do": what, "with": taken}, key, client, turn)


def _whole(low: int, high: int) -> Any:
    return lambda v: isinstance(v, int) and not isinstance(v, bool) and low <= v <= high


def _positions(v: Any) -> bool:
    fits = isinstance(v, list) and 1 <= len(v) <= 8
    return fits and all(isinstance(n, (int, float)) and not isinstance(n, bool) and math.isfinite(n) for n in v)


#: what a question may hold, and what each value must be
FIELDS: dict[str, tuple[Any, str]] = {
    "page": (lambda v: isinstance(v, str) and len(v) <= 1024, "text of at most 1024 characters"),
    "part": (_whole(0, 99), "an integer from 0 to 99"),
    "model": (_whole(0, 99), "an integer from 0 to 99"),
    "sample": (_whole(-1, 10**9), "an integer from -1 on"),
    "at": (_positions, "1 to 8 finite numbers"),
    "draw": (_whole(0, 2**31), "an integer from 0 to 2^31"),
    "whole": (lambda v: isinstance(v, bool), "true or false"),
    "dtype": (lambda v: isinstance(v, str) and v in DTYPES, f"one of {', '.join(DTYPES)}"),
    "client": (lambda v: isinstance(v, str) and len(v) <= 64, "text of at most 64 characters"),
    "turn": (_whole(0, 2**53), "an integer from 0 on"),
}
_PLACE = dict.fromkeys(("page", "part", "model", "sample"))
#: what each question is answered by, and what is taken where it is left out
ANSWERED: dict[str, dict[str, Any]] = {
    "open": dict.fromkeys(("page", "part")),
    "at": {**_PLACE, "dtype": "", "at": None, "draw": None, "whole": False},
    "orbit": {**_PLACE, "dtype": ""},
    "ladder": {**_PLACE, "dtype": "", "at": None, "draw": None},
}
NEEDED = {what: tuple(key for key in wanted if key in _PLACE) for what, wanted in ANSWERED.items()}


def _taken(asked: Mapping[str, Any], key: str) -> Any:
    fits, expected = FIELDS[key]
    if key not in asked or not fits(asked[key]):
        raise Refused(400, "request", f"{key}: expected {expected}")
    return asked[key]
