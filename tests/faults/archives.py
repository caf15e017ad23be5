"""Archives made to write outside their folder, to fill the disk or to confuse, 30."""

from __future__ import annotations

import io
import shutil
import stat
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from clad.data.archives import extract
from clad.errors import DataError

Writer = Callable[[Path], None]


def _zip(*members: tuple[str | zipfile.ZipInfo, bytes]) -> Writer:
    def write(path: Path) -> None:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in members:
                archive.writestr(name, content)

    return write


def _zip_of_mode(mode: int, content: bytes = b"/etc/passwd") -> Writer:
    info = zipfile.ZipInfo("train/a/1.png")
    info.external_attr = (mode | 0o777) << 16
    return _zip((info, content))


def _tar(*members: tarfile.TarInfo, mode: str = "w") -> Writer:
    def write(path: Path) -> None:
        with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
            for member in members:
                archive.addfile(member, io.BytesIO(bytes(member.size)))

    return write


def _member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "", size: int = 0):
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, target, size
    return info


def _bytes(content: bytes) -> Writer:
    return lambda path: path.write_bytes(content)  # type: ignore[return-value]


def _encrypted(path: Path) -> None:
    """A zip whose only member says that it is encrypted."""
    _zip(("train/a/1.png", b"secret"))(path)
    content = bytearray(path.read_bytes())
    for mark, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(mark) + at] |= 1
    path.write_bytes(content)


def _understated(path: Path) -> None:
    """A zip whose directory says 10 bytes where there are 10 million."""
    _zip(("train/a/1.png", bytes(10_000_000)))(path)
    content = path.read_bytes()
    path.write_bytes(content.replace(struct.pack("<I", 10_000_000), struct.pack("<I", 10)))


def _cut(write: Writer) -> Writer:
    def cut(path: Path) -> None:
        write(path)
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])

    return cut


GOOD = ("train/a/1.png", b"not looked at" * 50)
BIG = bytes(20_000_000)  # deflates to a thousandth
ATTACKS: dict[str, Writer] = {
    "above.zip": _zip(GOOD, ("../outside.png", b"x")),
    "far-above.zip": _zip(("train/../../../outside.png", b"x")),
    "root.zip": _zip(("/outside.png", b"x")),
    "drive.zip": _zip(("C:/outside.png", b"x")),
    "backslash.zip": _zip(("..\\outside.png", b"x")),
    "link.zip": _zip_of_mode(stat.S_IFLNK),
    "device.zip": _zip_of_mode(stat.S_IFCHR),
    "fifo.zip": _zip_of_mode(stat.S_IFIFO),
    "bomb.zip": _zip(("train/a/1.png", BIG)),
    "small-bombs.zip": _zip(*((f"train/a/{i}.png", BIG[:1_000_000]) for i in range(30))),
    "understated.zip": _understated,
    "encrypted.zip": _encrypted,
    "cut.zip": _cut(_zip(GOOD, ("train/b/1.png", bytes(range(256)) * 9))),
    "no.zip": _bytes(b"This is not a zip."),
    "empty.zip": _bytes(b""),
    "above.tar": _tar(_member("train/a/1.png", size=9), _member("../outside.png", size=1)),
    "far-above.tar": _tar(_member("train/../../outside.png", size=1)),
    "root.tar": _tar(_member("/outside.png", size=1)),
    "dotted.tar": _tar(_member("./../outside.png", size=1)),
    "symlink.tar": _tar(_member("train", tarfile.SYMTYPE, "/tmp")),
    "symlink-then-file.tar": _tar(
        _member("train", tarfile.SYMTYPE, ".."), _member("train/outside.png", size=1)
    ),
    "hardlink.tar": _tar(_member("train/a/1.png", tarfile.LNKTYPE, "../outside.png")),
    "device.tar": _tar(_member("train/a/1.png", tarfile.CHRTYPE)),
    "block.tar": _tar(_member("train/a/1.png", tarfile.BLKTYPE)),
    "fifo.tar": _tar(_member("train/a/1.png", tarfile.FIFOTYPE)),
    "bomb.tar.gz": _tar(_member("train/a/1.png", size=30_000_000), mode="w:gz"),
    "twice.tar": _tar(_member("train/a/1.png", size=3), _member("train/a/1.png", size=4)),
    "cut.tar": _cut(_tar(_member("train/a/1.png", size=30_000))),
    "cut.tar.gz": _cut(_tar(_member("train/a/1.png", size=3_000_000), mode="w:gz")),
    "no.tar": _bytes(b"This is not a tar." * 100),
}


def wrongly_unpacked(folder: Path) -> list[str]:
    """Those that unpack, leave anything behind, or are refused otherwise than by one line."""
    wrong = []
    place = folder / "place"
    place.mkdir()
    for name, write in ATTACKS.items():
        archive = folder / name
        write(archive)
        before = set(folder.rglob("*"))
        try:
            extract(archive, place / "out")
            wrong.append(f"{name}: unpacked")
            shutil.rmtree(place / "out")
        except DataError as error:
            if name not in str(error) or "\n" in str(error):
                wrong.append(f"{name}: {error}")
        left = set(folder.rglob("*")) - before
        wrong += [f"{name}: left {path}" for path in left]
    return wrong
