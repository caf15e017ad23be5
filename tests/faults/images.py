"""Image files that must be refused, 500, and odd ones that must be read exactly, 100."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clad.data.inputs import as_image_set
from clad.errors import DataError

KINDS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP", "PPM", "GIF")
MODES = {"GIF": ("L", "P"), "WEBP": ("RGB", "RGBA"), "JPEG": ("L", "RGB"), "PPM": ("L", "RGB")}


class BadFile(NamedTuple):
    """Bytes that are no usable image, and what is wrong with them."""

    name: str
    content: bytes


class OddFile(NamedTuple):
    """Bytes of an unusual but good image, and its pixels uint8 (1 or 3, H, W).

    ``tolerance``: how far a pixel may lie off; over 0 for lossy formats and CMYK.
    """

    name: str
    content: bytes
    pixels: NDArray[np.uint8]
    tolerance: int = 0


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    """The bytes of a file of this format."""
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def noise(rng: np.random.Generator, mode: str, side: int = 40) -> Image.Image:
    """An image that hardly compresses, so that a cut removes pixels in every format."""
    planes = {"L": 1, "P": 1, "RGB": 3, "RGBA": 4, "CMYK": 4, "LA": 2}[mode]
    array = rng.integers(0, 256, (side, side, planes), dtype=np.uint8)
    image = Image.fromarray(array[..., 0] if planes == 1 else array, "L" if mode == "P" else mode)
    if mode == "P":
        image.putpalette(rng.integers(0, 256, 768, dtype=np.uint8).tobytes())
    return image


# -- refused ------------------------------------------------------------------------------------


def malformed(seed: int = 0) -> list[BadFile]:
    """500 files, none of them an image that may be scored."""
    rng = np.random.default_rng(seed)
    parts = (
        *_truncated(rng),
        *_other_things(rng),
        *_broken_headers(rng),
        *_bombs(),
        *_tiny(rng),
        *_animated(rng),
        *_foreign(rng),
        *_bad_values(rng),
        *_flipped(rng),
    )
    return [BadFile(f"{i:03}-{name}", content) for i, (name, content) in enumerate(parts)]


def _truncated(rng: np.random.Generator) -> Iterator[tuple[str, bytes]]:
    for kind in KINDS:
        for mode, share in product(MODES.get(kind, ("L", "RGB")), np.linspace(0.05, 0.93, 14)):
            whole = saved(noise(rng, mode), kind)
            yield f"truncated-{mode}.{kind.lower()}", whole[: int(share * len(whole))]


def _other_things(rng: np.random.Generator) -> Iterator[tuple[str, bytes]]:
    things = {
        "empty": b"",
        "text": b"These are not the pixels you are looking for.\n" * 20,
        "html": b"<!DOCTYPE html><html><body>404 Not Found</body></html>",
        "json": b'{"image": null}',
        "svg": b'<svg xmlns="http://www.w3.org/2000/svg"><rect width="9" height="9"/></svg>',
        "elf": b"\x7fELF" + bytes(200),
        "zip": b"PK\x05\x06" + bytes(18),
        "pickle": b"\x80\x04\x95\x00\x00\x00\x00\x00\x00\x00\x00N.",
        "zeros": bytes(500),
        "newline": b"\n",
    }
    for (name, content), ending in product(things.items(), ("png", "jpg", "bmp", "tif", "gif")):
        yield f"{name}.{ending}", content
    for i in range(30):
        yield f"random.{('png', 'jpeg', 'webp')[i % 3]}", rng.bytes(int(rng.integers(1, 2000)))


def _broken_headers(rng: np.random.Generator) -> Iterator[tuple[str, bytes]]:
    for kind, first in product(KINDS, (b"\0" * 16, b"\xff" * 16, b"MZ" * 8, b"\r\n" * 8)):
        yield f"header.{kind.lower()}", first + saved(noise(rng, "L"), kind)[16:]
    whole = saved(noise(rng, "RGB"), "PNG")
    for at in range(16, 33):  # width, height, depth, ... and their checksum
        yield "ihdr.png", whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :]


def png(width: int, height: int, depth: int, colour: int, data: bytes) -> bytes:
    """A PNG with any header; ``data``: filtered rows, not yet compressed."""

    def chunk(name: bytes, content: bytes) -> bytes:
        body = name + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(data)), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def _bombs() -> Iterator[tuple[str, bytes]]:
    sides = [(10_000, 10_000), (65_535, 65_535), (60_000, 2_000), (2_000, 60_000), (8_001, 8_000)]
    for width, height in sides:
        yield "bomb.png", png(width, height, 8, 0, bytes(1000))
        bmp = struct.pack("<2sIHHIIiiHHIIiiII", b"BM", 54, 0, 0, 54, 40, width, height, 1, 24,
                          0, 0, 0, 0, 0, 0)  # fmt: skip
        yield "bomb.bmp", bmp + bytes(1000)
        yield "bomb.ppm", b"P6 %d %d 255\n" % (width, height) + bytes(1000)
        gif = struct.pack("<6sHHBBB", b"GIF89a", width, height, 0, 0, 0)
        frame = struct.pack("<BHHHHB", 0x2C, 0, 0, width, height, 0)
        yield "bomb.gif", gif + frame + b"\x08\x01\x00\x00;"
        yield "bomb.tif", _tiff(width, height)


def _tiff(width: int, height: int) -> bytes:
    """An uncompressed grey TIFF that claims a size; there are hardly any pixels."""
    entries = ((256, width), (257, height), (258, 8), (259, 1), (262, 1), (273, 200), (277, 1),
               (278, height), (279, width * height % 2**32))  # fmt: skip
    body = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries)
    head = struct.pack("<2sHIH", b"II", 42, 8, len(entries)) + body + struct.pack("<I", 0)
    return head.ljust(1200, b"\0")


def _tiny(rng: np.random.Generator) -> Iterator[tuple[str, bytes]]:
    for kind, size in product(KINDS, ((1, 1), (3, 3), (1, 50), (50, 3))):
        image = Image.fromarray(rng.integers(0, 256, size, dtype=np.uint8))
        yield f"tiny.{kind.lower()}", saved(image, kind)


def _animated(rng: np.random.Generator) -> Iterator[tuple[str, bytes]]:
    for kind, count in product(("GIF", "TIFF", "PNG", "WEBP"), (2, 3, 4, 5, 6, 7)):
        first, *others = (noise(rng, "RGB") for _ in range(count))
        content = saved(first, kind, save_all=True, append_images=others)
        yield f"frames.{kind.lower()}", content


def _foreign(rng: np.random.Generator) -> Iterator[tuple[str, bytes]]:
    for kind, mode in product(("ICO", "PCX", "TGA", "SGI", "DDS", "JPEG2000", "PDF", "EPS"),
                              ("L", "RGB")):  # fmt: skip
        if kind == "DDS" and mode == "L":
            continue
        for ending in ("png", "jpg", "bmp"):
            yield f"{kind.lower()}.{ending}", saved(noise(rng, mode), kind)


def _bad_values(rng: np.random.Generator) -> Iterator[tuple[str, bytes]]:
    for value in (np.nan, np.inf, -np.inf, 1.5, -0.1, 1e30):
        array = rng.random((9, 9), np.float32)
        array[tuple(rng.integers(0, 9, 2))] = value
        yield "value-float.tif", saved(Image.fromarray(array), "TIFF")
    for value in (-1, 65_536, 2**31 - 1, -(2**31)):
        wide = rng.integers(0, 65_536, (9, 9)).astype(np.int32)
        wide[tuple(rng.integers(0, 9, 2))] = value
        yield "value-int.tif", saved(Image.fromarray(wide), "TIFF")


def _flipped(rng: np.random.Generator) -> Iterator[tuple[str, bytes]]:
    """One byte of compressed pixels: what Adler's checksum is there for."""
    whole = saved(noise(rng, "RGB"), "PNG")
    start, end = whole.index(b"IDAT") + 60, whole.index(b"IEND") - 12
    for at in np.linspace(start, end, 47).astype(int):
        yield "flipped.png", whole[:at] + bytes([whole[at] ^ 0x10]) + whole[at + 1 :]


# -- read ------------------------------------------------------------------------------------


def odd(seed: int = 0) -> list[OddFile]:
    """100 good files; their pixels follow from the arrays they were made of."""
    rng = np.random.default_rng(seed)
    files = [
        file
        for size in ((12, 12), (9, 17), (40, 31))
        for part in (_grey, _colour, _transparent, _wide)
        for file in part(rng, size)
    ]
    files += [*_oriented(rng), _phone(rng)]
    return [file._replace(name=f"{i:03}-{file.name}") for i, file in enumerate(files)]


def _channels_first(array: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return array[None] if array.ndim == 2 else array.transpose(2, 0, 1)


def _grey(rng: np.random.Generator, size: tuple[int, int]) -> Iterator[OddFile]:
    array = rng.integers(0, 256, size, dtype=np.uint8)
    bits = array > 127
    for kind in ("PNG", "TIFF", "BMP"):
        one = Image.fromarray(array).point(lambda v: 255 * (v > 127), "1")
        yield OddFile(f"1.{kind.lower()}", saved(one, kind), np.uint8(255) * bits[None])
    yield OddFile("l.pgm", saved(Image.fromarray(array), "PPM"), array[None])
    lines = "\n".join(" ".join(map(str, row)) for row in array)
    plain = f"P2\n# a comment\n{size[1]} {size[0]}\n255\n{lines}\n".encode()
    yield OddFile("plain.pgm", plain, array[None])
    for depth in (2, 4):
        levels = rng.integers(0, 2**depth, size, dtype=np.uint8)
        packed = b"".join(b"\0" + _packed(row, depth) for row in levels)
        content = png(size[1], size[0], depth, 0, packed)
        yield OddFile(f"grey{depth}.png", content, levels[None] * np.uint8(255 // (2**depth - 1)))


def _packed(row: NDArray[np.uint8], depth: int) -> bytes:
    bits = (row[:, None] >> np.arange(depth - 1, -1, -1)) & 1
    return np.packbits(bits.ravel()).tobytes()


def _colour(rng: np.random.Generator, size: tuple[int, int]) -> Iterator[OddFile]:
    array = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    image, pixels = Image.fromarray(array), _channels_first(array)
    for compression in ("tiff_lzw", "tiff_adobe_deflate", "packbits"):
        yield OddFile("rgb.tif", saved(image, "TIFF", compression=compression), pixels)
    yield OddFile("rgb.webp", saved(image, "WEBP", lossless=True), pixels)
    palette = rng.integers(0, 256, (256, 3), dtype=np.uint8)
    indices = rng.integers(0, 256, size, dtype=np.uint8)
    indexed = Image.fromarray(indices)
    indexed.putpalette(palette.tobytes())
    for kind in ("PNG", "GIF", "BMP"):
        file = f"p.{kind.lower()}"
        yield OddFile(file, saved(indexed, kind), _channels_first(palette[indices]))
    inks = rng.integers(0, 256, (*size, 4), dtype=np.uint8)
    colour, black = inks[..., :3].astype(float), inks[..., 3:].astype(float)
    expected = np.rint((255 - colour) * (255 - black) / 255).astype(np.uint8)
    content = saved(Image.fromarray(inks, "CMYK"), "TIFF")
    yield OddFile("cmyk.tif", content, _channels_first(expected), 1)
    smooth = np.full((*size, 3), rng.integers(0, 256, 3), np.uint8)
    content = saved(Image.fromarray(smooth), "JPEG", quality=95, progressive=True)
    yield OddFile("progressive.jpg", content, _channels_first(smooth), 4)
    high = rng.integers(0, 65_536, (*size, 3)).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in high)
    deep = _channels_first((high.astype(np.uint16) >> 8).astype(np.uint8))
    yield OddFile("rgb16.png", png(size[1], size[0], 16, 2, rows), deep)


def _transparent(rng: np.random.Generator, size: tuple[int, int]) -> Iterator[OddFile]:
    array = rng.integers(0, 256, (*size, 4), dtype=np.uint8)
    alpha = array[..., 3:].astype(float) / 255
    over_black = np.rint(array[..., :3] * alpha).astype(np.uint8)
    for kind, options in (("PNG", {}), ("TIFF", {})):
        content = saved(Image.fromarray(array), kind, **options)
        yield OddFile(f"rgba.{kind.lower()}", content, _channels_first(over_black))
    grey = Image.fromarray(np.ascontiguousarray(array[..., [0, 3]]), "LA")
    yield OddFile("la.png", saved(grey, "PNG"), over_black[..., 0][None])
    palette = rng.integers(0, 256, (256, 3), dtype=np.uint8)
    indices = rng.integers(0, 256, size, dtype=np.uint8)
    indexed = Image.fromarray(indices)
    indexed.putpalette(palette.tobytes())
    holes = np.where(indices[..., None] == 7, 0, palette[indices]).astype(np.uint8)
    content = saved(indexed, "PNG", transparency=7)
    yield OddFile("p-hole.png", content, _channels_first(holes))


def _wide(rng: np.random.Generator, size: tuple[int, int]) -> Iterator[OddFile]:
    array = rng.integers(0, 65_536, size).astype(np.uint16)
    scaled = np.rint(array / 65_535 * 255).astype(np.uint8)[None]
    yield OddFile("i16.png", saved(Image.fromarray(array), "PNG"), scaled)
    yield OddFile("i16.tif", saved(Image.fromarray(array), "TIFF"), scaled)
    big = Image.frombytes("I;16B", size[::-1], array.astype(">u2").tobytes())
    yield OddFile("i16b.tif", saved(big, "TIFF"), scaled)
    pgm = b"P5 %d %d 65535\n" % size[::-1] + array.astype(">u2").tobytes()
    yield OddFile("i16.pgm", pgm, scaled)
    floats = rng.random(size, np.float32)
    expected = np.rint(floats.astype(np.float64) * 255).astype(np.uint8)[None]
    yield OddFile("f.tif", saved(Image.fromarray(floats), "TIFF"), expected)


def _phone(rng: np.random.Generator) -> OddFile:
    """Two pictures in one JPEG: the second is a preview, not a frame."""
    smooth = np.full((16, 16, 3), rng.integers(0, 256, 3), np.uint8)
    first, second = Image.fromarray(smooth), Image.fromarray(255 - smooth)
    content = saved(first, "MPO", save_all=True, append_images=[second], quality=95)
    return OddFile("phone.jpg", content, _channels_first(smooth), 4)


def _oriented(rng: np.random.Generator) -> Iterator[OddFile]:
    """EXIF says how the camera was held: 2 to 8 are mirrored and turned."""
    turns = {
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.swapaxes(0, 1),
        6: lambda a: a.swapaxes(0, 1)[:, ::-1],
        7: lambda a: a.swapaxes(0, 1)[::-1, ::-1],
        8: lambda a: a.swapaxes(0, 1)[::-1],
    }
    for orientation, turn in turns.items():
        exif = Image.Exif()
        exif[0x0112] = orientation
        array = rng.integers(0, 256, (11, 14, 3), dtype=np.uint8)
        upright = _channels_first(turn(array))
        for kind, options in (("PNG", {}), ("TIFF", {}), ("WEBP", {"lossless": True})):
            content = saved(Image.fromarray(array), kind, exif=exif, **options)
            yield OddFile(f"turned{orientation}.{kind.lower()}", content, upright)


# -- judged ----------------------------------------------------------------------------------------


def wrongly_accepted(folder: Path, files: list[BadFile]) -> list[str]:
    """Those of the malformed files that are read, or refused without their name."""
    for file in files:
        (folder / file.name).write_bytes(file.content)
    wrong = []
    for file in files:
        try:
            as_image_set(folder / file.name)
            wrong.append(f"{file.name}: read")
        except DataError as error:
            if file.name not in str(error) or "\n" in str(error):
                wrong.append(f"{file.name}: {error}")
    _, skipped = as_image_set(_with_one_good(folder), on_bad="skip")
    missing = {file.name for file in files} - {Path(bad.path).name for bad in skipped}
    return [*wrong, *(f"{name}: not listed" for name in missing)]


def _with_one_good(folder: Path) -> list[Path]:
    (folder / "good.png").write_bytes(saved(Image.new("L", (9, 9), 77), "PNG"))
    return sorted(folder.iterdir())


def wrongly_read(folder: Path, files: list[OddFile]) -> list[str]:
    """Those of the odd files that are refused or read to other pixels."""
    wrong = []
    for file in files:
        (folder / file.name).write_bytes(file.content)
        try:
            images, _ = as_image_set(
                folder / file.name, size=file.pixels.shape[1:], channels=len(file.pixels)
            )
        except DataError as error:
            wrong.append(f"{file.name}: {error}")
            continue
        off = int(np.abs(images.read()[0].astype(int) - file.pixels).max())
        # the size is the file's own: had the reader turned it otherwise, it would be resized
        if off > file.tolerance or tuple(images.sizes[0]) != file.pixels.shape[1:]:
            wrong.append(f"{file.name}: {off} levels off, size {images.sizes[0]}")
    return wrong
