"""Zip and tar archives from strangers: every member is checked before anything is written."""

from __future__ import annotations

import shutil
import stat
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple

from clad.errors import DataError

MAX_MEMBERS = 1_000_000
MAX_BYTES = 16 * 2**30
MAX_RATIO = 200  # images hardly compress; deflate can reach 1032
RATIO_FLOOR = 16 * 2**20  # below this a high ratio is harmless


class Member(NamedTuple):
    """What matters of an archive's entry; ``kind``: "file", "folder", or "a link" and the like."""

    name: str
    size: int
    kind: str


def check_members(members: Iterable[Member], archive: Path) -> None:
    """Raise DataError at the first member that leads outside, is a link or device, or is a bomb.

    Lazy: a compressed tar is read no further than the member that breaks a limit.
    """
    packed = archive.stat().st_size
    seen: set[str] = set()
    total = 0
    for count, (name, size, kind) in enumerate(members, 1):
        total += size
        parts = name.rstrip("/").split("/")
        problem = None
        if kind == "file" and not parts[-1]:
            problem = "has no name"
        elif name.startswith("/") or "\\" in name or "\0" in name or ":" in parts[0]:
            problem = "is an absolute or foreign path"
        elif ".." in parts:
            problem = "leads outside the target folder"
        elif kind not in ("file", "folder"):
            problem = f"is {kind}"
        elif kind == "file" and name in seen:
            problem = "occurs twice"
        elif count > MAX_MEMBERS:
            problem = f"exceeds the limit of {MAX_MEMBERS} members"
        elif total > MAX_BYTES:
            problem = f"brings the unpacked size over the limit of {MAX_BYTES} bytes"
        elif total > RATIO_FLOOR and total > MAX_RATIO * packed:
            problem = f"unpacks to over {MAX_RATIO} times the archive's size"
        if problem:
            raise DataError(f"{archive}: member {name!r} {problem}; archive refused")
        seen.add(name)


def open_zip(path: Path) -> zipfile.ZipFile:
    """A zip whose members are all checked. Reading one yields at most its declared size."""
    with reasons(f"{path}: not a readable zip"):
        archive = zipfile.ZipFile(path)
    try:
        check_members(map(_zip_member, archive.infolist()), path)
    except DataError:
        archive.close()
        raise
    return archive


@contextmanager
def reasons(what: str) -> Iterator[None]:
    """Turn whatever is raised on a damaged archive into a DataError, one line that says ``what``.

    zipfile and tarfile raise BadZipFile, TarError, zlib.error, EOFError, NotImplementedError,
    RuntimeError, struct.error, UnicodeDecodeError, ... of other people's bytes.
    """
    try:
        yield
    except (DataError, MemoryError):
        raise
    except Exception as error:
        raise DataError(f"{what}: {' '.join(str(error).split())}") from error


def _zip_member(info: zipfile.ZipInfo) -> Member:
    mode = info.external_attr >> 16
    if info.flag_bits & 1:
        kind = "an encrypted file"
    elif stat.S_ISLNK(mode):
        kind = "a link"
    elif stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        kind = "a device"
    else:
        kind = "folder" if info.filename.endswith("/") else "file"
    return Member(info.filename, info.file_size, kind)


def _tar_member(info: tarfile.TarInfo) -> Member:
    if info.issym() or info.islnk():
        kind = "a link"
    elif info.issparse():
        kind = "a sparse file"
    elif info.isreg():
        kind = "file"
    else:
        kind = "folder" if info.isdir() else "a device"
    return Member(info.name.removeprefix("./"), info.size, kind)


def extract(archive: Path, target: Path) -> Path:
    """Unpack a zip or tar into ``target``, which must not exist; returns ``target``.

    All or nothing: a temporary folder beside ``target`` is renamed when the last member is out.
    Raises DataError for a damaged archive or any member ``check_members`` refuses.
    """
    if target.exists():
        raise DataError(f"{target} exists already; remove it or choose another folder")
    target.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        with reasons(f"{archive}: cannot be unpacked"):
            is_zip = zipfile.is_zipfile(archive)
            for name, source in _zip_files(archive) if is_zip else _tar_files(archive, work):
                out = work / name
                out.parent.mkdir(parents=True, exist_ok=True)
                with source, out.open("xb") as sink:
                    shutil.copyfileobj(source, sink, 2**20)
            work.rename(target)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return target


def _zip_files(path: Path) -> Iterator[tuple[str, IO[bytes]]]:
    with open_zip(path) as archive:
        for info in archive.infolist():
            if not info.filename.endswith("/"):
                yield info.filename, archive.open(info)


def _tar_files(path: Path, target: Path) -> Iterator[tuple[str, IO[bytes]]]:
    if not tarfile.is_tarfile(path):
        raise DataError(f"{path}: neither a zip nor a tar, or a damaged one")
    with tarfile.open(path) as archive:
        check_members(map(_tar_member, archive), path)
        for info in archive:
            # Python's own filter as a second opinion (absent before 3.10.12 and 3.11.4).
            if hasattr(tarfile, "data_filter"):
                tarfile.data_filter(info, str(target))
            source = archive.extractfile(info) if info.isreg() else None
            if source is not None:
                yield info.name.removeprefix("./"), source
