import io
import stat
import struct
import tarfile
import zipfile

import pytest

from clad.data import archives
from clad.data.archives import extract
from clad.errors import DataError


def make_tar(path, *members, mode="w:gz"):
    with tarfile.open(path, mode) as archive:
        for name, data, kind in members:
            info = tarfile.TarInfo(name)
            info.type, info.size = kind, len(data)
            info.linkname = "/etc/passwd" if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE) else ""
            archive.addfile(info, io.BytesIO(data))
    return path


def make_zip(path, *members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data, mode in members:
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, data)
    return path


def outside(tmp_path, archive):
    """Everything in tmp_path but the archive."""
    return sorted(p.name for p in tmp_path.iterdir() if p != archive)


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz"])
def test_a_decent_archive_is_unpacked(tmp_path, kind):
    path = tmp_path / f"a.{kind}"
    if kind == "zip":
        make_zip(path, ("top/sub/x.txt", b"hello", 0o644), ("top/empty/", b"", 0o40755))
    else:
        mode = "w:gz" if kind == "tar.gz" else "w"
        make_tar(
            path, ("./top", b"", tarfile.DIRTYPE), ("./top/sub/x.txt", b"hello", tarfile.REGTYPE),
            mode=mode,
        )  # fmt: skip
    assert (extract(path, tmp_path / "out") / "top/sub/x.txt").read_bytes() == b"hello"
    assert outside(tmp_path, path) == ["out"]
    with pytest.raises(DataError, match="out exists already"):
        extract(path, tmp_path / "out")


NAMES = ["../evil", "a/../../evil", "/evil", "C:/evil", "a\\..\\evil"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_paths_that_lead_outside(tmp_path, name, kind):
    path = tmp_path / f"a.{kind}"
    if kind == "zip":
        make_zip(path, ("good", b"x", 0), (name, b"x", 0))
    else:
        make_tar(path, ("good", b"x", tarfile.REGTYPE), (name, b"x", tarfile.REGTYPE))
    with pytest.raises(DataError, match=r"member .*evil' (leads outside|is an absolute)"):
        extract(path, tmp_path / "out")
    assert outside(tmp_path, path) == []
    assert not (tmp_path.parent / "evil").exists()


@pytest.mark.parametrize(
    ("kind", "match"),
    [
        (tarfile.SYMTYPE, "is a link"),
        (tarfile.LNKTYPE, "is a link"),
        (tarfile.CHRTYPE, "is a device"),
        (tarfile.FIFOTYPE, "is a device"),
    ],
)
def test_links_and_devices_in_a_tar(tmp_path, kind, match):
    path = make_tar(tmp_path / "a.tar", ("x", b"", kind))
    with pytest.raises(DataError, match=match):
        extract(path, tmp_path / "out")
    assert outside(tmp_path, path) == []


@pytest.mark.parametrize(
    ("mode", "match"), [(stat.S_IFLNK, "is a link"), (stat.S_IFCHR, "is a device")]
)
def test_links_and_devices_in_a_zip(tmp_path, mode, match):
    path = make_zip(tmp_path / "a.zip", ("x", b"/etc/passwd", mode | 0o777))
    with pytest.raises(DataError, match=match):
        extract(path, tmp_path / "out")
    assert outside(tmp_path, path) == []


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_bombs(tmp_path, monkeypatch, kind):
    zeros = bytes(20 * 2**20)
    path = tmp_path / f"a.{kind}"
    if kind == "zip":
        make_zip(path, ("x", zeros, 0))
    else:
        make_tar(path, ("x", zeros, tarfile.REGTYPE))
    with pytest.raises(DataError, match="over 200 times the archive's size"):
        extract(path, tmp_path / "out")
    monkeypatch.setattr(archives, "MAX_BYTES", 2**20)
    with pytest.raises(DataError, match="over the limit of 1048576 bytes"):
        extract(path, tmp_path / "out")
    monkeypatch.setattr(archives, "MAX_MEMBERS", 0)
    with pytest.raises(DataError, match="limit of 0 members"):
        extract(path, tmp_path / "out")
    assert outside(tmp_path, path) == []


def test_a_name_twice(tmp_path):
    path = make_tar(tmp_path / "a.tar", *[("x", b"1", tarfile.REGTYPE)] * 2)
    with pytest.raises(DataError, match="'x' occurs twice"):
        extract(path, tmp_path / "out")


def test_damaged_archives_leave_nothing(tmp_path):
    path = make_tar(tmp_path / "a.tar", ("x", bytes(range(256)) * 400, tarfile.REGTYPE))
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(DataError, match="cannot be unpacked"):
        extract(path, tmp_path / "out")
    path = make_zip(tmp_path / "a.tar", ("x", b"hello hello", 0))
    path.write_bytes(path.read_bytes().replace(b"\x00\x00x", b"\x00\x00y", 1))  # local header
    with pytest.raises(DataError, match="cannot be unpacked"):
        extract(path, tmp_path / "out")
    path.write_bytes(b"neither")
    with pytest.raises(DataError, match=r"a\.tar: neither a zip nor a tar, or a damaged one"):
        extract(path, tmp_path / "out")
    assert outside(tmp_path, path) == []


def test_a_file_without_a_name(tmp_path):
    """Found by fuzzing: zipfile itself asks for the last letter of the name."""
    path = make_zip(tmp_path / "a.zip", ("x", b"hello", 0))
    whole = path.read_bytes()
    at = whole.index(b"PK\x01\x02")
    end = whole.index(b"PK\x05\x06")
    nameless = bytearray(whole[at : at + 46])
    nameless[28:30] = b"\0\0"
    path.write_bytes(whole[:at] + nameless + whole[end:-10] + struct.pack("<IIH", 46, at, 0))
    with pytest.raises(DataError, match=r"a\.zip: member '' has no name"):
        extract(path, tmp_path / "out")


def test_what_cannot_be_unpacked_as_it_is(tmp_path):
    path = make_zip(tmp_path / "a.zip", ("x", b"hello", 0))
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1  # the encryption flag of the central directory
    path.write_bytes(data)
    with pytest.raises(DataError, match="is an encrypted file"):
        extract(path, tmp_path / "out")
    with tarfile.open(tmp_path / "a.tar", "w", format=tarfile.PAX_FORMAT) as archive:
        info = tarfile.TarInfo("x")
        info.pax_headers = {"GNU.sparse.map": "0,0", "GNU.sparse.size": "99"}
        archive.addfile(info)
    with pytest.raises(DataError, match="is a sparse file"):
        extract(tmp_path / "a.tar", tmp_path / "out")
