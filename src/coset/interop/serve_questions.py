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
        """The question in a body for ``/api/open`` or ``/api/at``; Refused for any other value than those documented."""
        if unknown := set(asked) - set(FIELDS):
            raise Refused(400, "request", f"unknown: {', '.join(sorted(unknown))[:200]}")
        taken = {key: _taken(asked, key) for key in FIELDS if key in asked or key in NEEDED[what]}
        client, turn = taken.pop("client", ""), taken.pop("turn", 0)
        if what == "open":
            taken = {key: taken[key] for key in NEEDED["open"]}
        elif ("at" in taken) == ("draw" in taken):
            raise Refused(400, "request", "expected either at or draw")
        else:
            taken = {"at": None, "draw": None, "whole": False, **taken}
        key = json.dumps([taken["page"], taken["part"], taken.get("model")])
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
    "client": (lambda v: isinstance(v, str) and len(v) <= 64, "text of at most 64 characters"),
    "turn": (_whole(0, 2**53), "an integer from 0 on"),
}
NEEDED = {"open": ("page", "part"), "at": ("page", "part", "model", "sample")}


def _taken(asked: Mapping[str, Any], key: str) -> Any:
    fits, expected = FIELDS[key]
    if key not in asked or not fits(asked[key]):
        raise Refused(400, "request", f"{key}: expected {expected}")
    return asked[key]
