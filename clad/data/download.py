"""Downloads that resume, and that nothing uses before their checksum is right."""

from __future__ import annotations

import hashlib
import http.client
import os
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from clad.errors import DataError
from clad.runtime import track

_BLOCK = 2**18


def fetch(urls: Sequence[str], path: Path, checksum: str, *, timeout: float = 30) -> Path:
    """The file at ``path``, from the first of ``urls`` that answers; returns ``path``.

    ``checksum``: "md5:<hex>" or "sha256:<hex>", checked before the file gets its name and again on
    every later use. What has arrived waits in ``<path>.part`` and is resumed by the next call.
    Raises DataError where no address answers, the connection ends early, or the checksum is wrong
    (then the ``.part`` goes, so that the next call starts afresh and is judged afresh).
    """
    if path.exists():
        verify(path, checksum)
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    failures = []
    for url in urls:
        try:
            _receive(url, part, timeout)
            break
        except urllib.error.HTTPError as error:
            failures.append(f"{url}: {error.code} {error.reason}")
        except (urllib.error.URLError, http.client.HTTPException, TimeoutError) as error:
            failures.append(f"{url}: {getattr(error, 'reason', error)}")
        except ConnectionError as error:
            failures.append(f"{url}: {error}")
        except OSError as error:  # our own side, such as a full disk: keep no half file
            part.unlink(missing_ok=True)
            raise DataError(f"{path}: cannot be written: {error.strerror or error}") from error
    else:
        raise DataError(
            f"{path.name} cannot be downloaded ({'; '.join(failures)}); the same command resumes, "
            "or import a copy with clad data import NAME PATH"
        )
    try:
        verify(part, checksum)
    except DataError:
        part.unlink()
        raise
    part.replace(path)
    return path


def verify(path: Path, checksum: str) -> None:
    """Raise DataError unless the file's hash is ``checksum`` ("md5:<hex>" or "sha256:<hex>")."""
    kind, _, expected = checksum.partition(":")
    # MD5 is what these data sets' authors publish: it finds damage, which is what is asked of it.
    digest = hashlib.new(kind, usedforsecurity=False)
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    if digest.hexdigest() != expected:
        raise DataError(
            f"{path}: {kind} is {digest.hexdigest()}, expected {expected}; file refused, "
            "delete it and run the same command again"
        )


def _receive(url: str, part: Path, timeout: float) -> None:
    """Bring ``part`` to its full length, continuing where it ends."""
    have = part.stat().st_size if part.exists() else 0
    headers = {"User-Agent": "clad", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    try:
        response = urllib.request.urlopen(  # fixed http(s) addresses, never a user's
            urllib.request.Request(url, headers=headers), timeout=timeout
        )
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416 and have:  # nothing lies beyond what we have: let the hash judge it
            return
        raise
    with response:
        resumed = response.status == 206 and response.headers.get("Content-Range", "").startswith(
            f"bytes {have}-"
        )
        have = have if resumed else 0
        length = response.headers.get("Content-Length")
        total = have + int(length) if length else None
        with part.open("ab" if resumed else "wb") as sink:
            got = _copy(response, sink, have, total, part.stem)
            sink.flush()
            os.fsync(sink.fileno())
    if total is not None and got < total:
        raise http.client.IncompleteRead(b"", total - got)


def _copy(
    source: http.client.HTTPResponse, sink: BinaryIO, have: int, total: int | None, label: str
) -> int:
    with track(None, label, total=total, initial=have, unit="B", unit_scale=True) as progress:
        while block := source.read(_BLOCK):
            sink.write(block)
            have += len(block)
            progress.update(len(block))
    return have
