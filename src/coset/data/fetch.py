"""Files from the web, whole and checked or not at all: broken downloads go on where they stopped.

    fetch("https://.../train.xyz", folder / "train.xyz", digest="sha256:8f57...")

Bytes arrive in a neighbor ``train.xyz.part``. A connection that breaks is opened again for the rest (HTTP Range), now or by the
next call; a file without a known checksum goes on only if the server says that it is still the same one (If-Range). What is
complete is compared with its digest, flushed, and renamed. Only the standard library is used: downloaders at hand (pooch, for
one) start from the beginning after a break, which is what large files cannot afford.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import ssl
import tarfile
import time
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

from coset.errors import InputError
from coset.records import write_atomically

ATTEMPTS = 5  #: in a row without a byte
PAUSE = 1.0  #: seconds before the second attempt, doubled before each further one
TIMEOUT = 30.0  #: seconds without an answer
PIECE = 1 << 16
PASSING = (408, 425, 429, 500, 502, 503, 504)  #: answers that another attempt may mend
PARTIAL, NO_RANGE = 206, 416
Told = Callable[[int, int | None], None]  #: bytes that are there, and how many there will be


def fetch(url: str, path: Path, *, digest: str = "", size: int | None = None, progress: Told = lambda done, whole: None) -> str:
    """Download ``url`` to ``path``; its digest ``sha256:...``.

    ``digest`` is what is expected, ``sha256:HEX`` or ``git:HEX`` (the name of a blob in git). InputError with the way out:
    no network, an answer such as 404, a connection that keeps breaking (what came is kept), another size or digest
    (what came is removed), a disk that is full.
    """
    if not url.startswith(("https://", "http://")):
        raise InputError(f"fetch: only http and https are fetched, got {url}")
    part, failures = path.with_name(f"{path.name}.part"), 0
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        while True:
            before = _length(part)
            try:
                if _receive(url, part, resumable=bool(digest), progress=progress):
                    break
                told = "the connection broke"
            except urllib.error.HTTPError as error:
                error.close()
                if error.code not in PASSING:
                    raise InputError(
                        f"{url}: the server answers {error.code} ({error.reason}); the file may have moved: find it, and "
                        f"put it at {path}"
                    ) from None
                told = f"the server answers {error.code} ({error.reason})"
            except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError, ssl.SSLError) as error:
                told = str(getattr(error, "reason", error) or type(error).__name__)
            failures = 0 if _length(part) > before else failures + 1
            if failures >= ATTEMPTS:
                raise InputError(_unreachable(url, path, told, _length(part)))
            time.sleep(PAUSE * 2.0**failures / 2)
        found = _checked(part, digest, size, url)
        _finish(part, path)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}; set COSET_DATA to another folder") from error
    return found


def _unreachable(url: str, path: Path, told: str, kept: int) -> str:
    rest = f"{kept} bytes are kept, run it again to go on" if kept else f"is there a network? Or put the file at {path}"
    return f"cannot download {url}: {told}, {ATTEMPTS} times in a row; {rest}"


def _receive(url: str, part: Path, *, resumable: bool, progress: Told) -> bool:
    """One connection: whether the file is complete now."""
    tag = part.with_name(f"{part.name}.tag")
    done, headers = _length(part), {"User-Agent": "coset", "Accept-Encoding": "identity"}
    same = tag.read_text() if tag.is_file() else ""
    if done and (resumable or same):
        headers |= {"Range": f"bytes={done}-"} | ({} if resumable else {"If-Range": same})
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT) as answer:
            goes_on = answer.status == PARTIAL and answer.headers.get("Content-Range", "").startswith(f"bytes {done}-")
            if not goes_on:
                done = 0
                write_atomically(tag, answer.headers.get("ETag") or answer.headers.get("Last-Modified") or "")
            length = answer.headers.get("Content-Length")
            whole = None if length is None else done + int(length)
            with part.open("ab" if goes_on else "wb") as out:
                while piece := answer.read1(PIECE):
                    out.write(piece)
                    done += len(piece)
                    progress(done, whole)
            return whole is None or done >= whole
    except urllib.error.HTTPError as error:
        if error.code != NO_RANGE:
            raise
        error.close()
        complete = error.headers.get("Content-Range", "").rpartition("/")[2] == str(done)
        if not complete:
            part.unlink()
        return complete  # it was complete, only not yet renamed


def _checked(part: Path, digest: str, size: int | None, url: str) -> str:
    """The SHA-256 of what came; InputError, and nothing is left, where it is not what was expected."""
    length = _length(part)
    found = digest_of(part)
    wrong = ""
    if size is not None and length != size:
        wrong = f"{length} bytes came, expected {size}"
    elif digest and not matches(part, digest):
        wrong = f"its checksum is {digest_of(part, digest.partition(':')[0])}, expected {digest}"
    if wrong:
        _remove(part)
        raise InputError(f"{url}: {wrong}; it was changed at its origin, or on the way: what came is removed, try again")
    return found


def matches(path: Path, digest: str) -> bool:
    """Whether a file has this digest."""
    return digest_of(path, digest.partition(":")[0]) == digest


def digest_of(path: Path, kind: str = "sha256") -> str:
    """``sha256:HEX``, or ``git:HEX``, the SHA-1 of a blob."""
    if kind not in ("sha256", "git"):
        raise InputError(f"digest: known kinds are sha256 and git, got {kind!r}")
    digest: Any = hashlib.sha256() if kind == "sha256" else hashlib.sha1(usedforsecurity=False)
    if kind == "git":
        digest.update(b"blob %d\0" % _length(path))
    with path.open("rb") as stream:
        while piece := stream.read(PIECE * 16):
            digest.update(piece)
    return f"{kind}:{digest.hexdigest()}"


def unpack(archive: Path, members: dict[str, Path]) -> None:
    """Write named members of a zip or tar archive to paths of the caller's choice, all of them or none.

    No name of the archive becomes a path, so that none can lead elsewhere. InputError for a damaged archive and for members
    that are absent, or no plain files.
    """
    parts = {name: path.with_name(f"{path.name}.part") for name, path in members.items()}
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as opened:
                for name, part in parts.items():
                    with opened.open(_plain(name)) as stream:
                        _copy(stream, part)
        else:
            with tarfile.open(archive) as tar:
                known = {str(PurePosixPath(each.name)): each for each in tar if each.isfile()}
                for name, part in parts.items():
                    _copy(tar.extractfile(known[_plain(name)]), part)
                rest: Any = tar.fileobj
                while rest.read(PIECE * 16):  # checksums of a compressed file stand at its end
                    pass
        for name, path in members.items():
            _finish(parts[name], path)
    except KeyError:
        raise InputError(f"{archive} does not hold {', '.join(members)} as files; it is another version") from None
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
        told = str(error).splitlines()[0].rstrip(":")
        raise InputError(f"cannot unpack {archive}: {told}; remove it and fetch it again") from error
    finally:
        for part in parts.values():
            _remove(part)


def _plain(name: str) -> str:
    if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
        raise InputError(f"unpack: {name!r} leads out of the archive")
    return name


def _copy(stream: Any, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as out:
        while piece := stream.read(PIECE * 16):
            out.write(piece)


def _finish(part: Path, path: Path) -> None:
    with part.open("rb+") as stream:
        os.fsync(stream.fileno())
    os.replace(part, path)
    _remove(part)


def _remove(part: Path) -> None:
    for path in (part, part.with_name(f"{part.name}.tag")):
        path.unlink(missing_ok=True)


def _length(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
