"""Where the anomalies are: a picture an image, a close-up, and the boxes over the threshold."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from clad.artifact import make_folder, write_atomic, write_json
from clad.data.images import ImageSet
from clad.data.large import LargeImages
from clad.data.windows import tile
from clad.report.canvas import ANOMALY
from clad.scorefile import write_scores
from clad.scoremap import ScoreMap

SIDE = 2048  # pixels of a picture, at most
SMALL = 256  # a smaller image is enlarged to at least this
CLOSE = 64  # of a close-up, at least; twice the box where that is more
WORTH = 4  # close-ups are of images so many times as large
OPACITY = 0.65
BOXES = 1000  # of an image, the highest scores first


@dataclass(frozen=True)
class Box:
    """A region over the threshold in pixels of the original image; ``right`` and ``bottom`` are
    the first beyond it. ``score``: its highest."""

    left: int
    top: int
    right: int
    bottom: int
    score: float


def boxes(found: ScoreMap, threshold: float) -> list[Box]:
    """Connected regions (diagonals count) of a score map over the threshold, highest first."""
    from scipy.ndimage import find_objects, label

    regions, n = label(found.values > threshold, structure=np.ones((3, 3)))
    inside = regions > 0
    scores = np.full(n, -np.inf)
    np.maximum.at(scores, regions[inside] - 1, found.values[inside])
    height, width = found.size
    made = [
        Box(
            left=columns.start * found.step,
            top=rows.start * found.step,
            right=min(columns.stop * found.step, width),
            bottom=min(rows.stop * found.step, height),
            score=float(score),
        )
        for (rows, columns), score in zip(find_objects(regions), scores, strict=True)
    ]
    return sorted(made, key=lambda box: -box.score)[:BOXES]


class Heatmaps:
    """Writes a picture an image into ``folder``, and when closed ``boxes.csv`` and ``boxes.json``.

    Of a large image there is a close-up of its highest box too, in ``closeups``, without a tint.

    One scale for all images: nothing is tinted under ``low``, the lowest score of a normal
    calibration image; the tint is full from ``threshold`` on, and turns from red to yellow up to as
    far again above it. Attributions are tinted up to their own image's highest.
    """

    def __init__(self, folder: Path, low: float, threshold: float) -> None:
        self.folder = folder
        self.low = low
        self.threshold = threshold
        self._entries: list[dict[str, Any]] = []
        self._taken: set[str] = set()

    def add(self, images: ImageSet | LargeImages, position: int, found: ScoreMap) -> None:
        """Write one image's picture and remember its boxes."""
        name = images.names[position]
        listed = boxes(found, self.threshold) if found.kind == "score" else []
        picture = overlay(_pixels(images, position), found, self.low, self.threshold, listed)
        entry = {"path": name, "heatmap": self._write(picture, name), "kind": found.kind}
        near = _near(listed, found.size)
        if isinstance(images, LargeImages) and near:
            top, left, side = near
            with images.open(position) as rows:
                pixels = tile(rows, top, left, side)
            moved = [_moved(box, top, left) for box in listed]
            picture = _outlined(_enlarged(pixels), moved, (side, side))
            entry["close_up"] = self._write(picture, name, "closeups")
        self._entries.append({**entry, "boxes": [asdict(box) for box in listed]})

    def _write(self, picture: Image.Image, name: str, folder: str = "") -> str:
        """The file's name, which no other image's is."""
        file = self._free_name(PurePath(name), folder)
        make_folder((self.folder / file).parent)
        content = io.BytesIO()
        picture.save(content, "PNG", optimize=False)
        write_atomic(self.folder / file, content.getvalue())
        self._taken.add(file)
        return file

    def _free_name(self, name: PurePath, folder: str) -> str:
        """``a/b.png`` for an image ``a/b.tif``, as ``clad report --heatmaps`` looks for it."""
        inside = not name.is_absolute() and ".." not in name.parts
        wanted = PurePath(folder, name if inside else name.name).with_suffix(".png")
        file, n = wanted, 1
        while str(file) in self._taken:
            n += 1
            file = wanted.with_stem(f"{wanted.stem}-{n}")
        return str(file)

    def close(self) -> None:
        """Write the boxes of all images: a row each, and as JSON with the pictures' names."""
        columns: dict[str, list[Any]] = {"path": [], **{f.name: [] for f in fields(Box)}}
        for entry in self._entries:
            for box in entry["boxes"]:
                for key, value in {"path": entry["path"], **box}.items():
                    columns[key].append(value)
        write_scores(self.folder / "boxes.csv", columns)
        write_json(
            self.folder / "boxes.json", {"threshold": self.threshold, "images": self._entries}
        )


def overlay(
    pixels: NDArray[np.uint8],
    found: ScoreMap,
    low: float,
    high: float,
    listed: Sequence[Box] = (),
) -> Image.Image:
    """An image (C, h, w), shrunk or not, under its map's tint, with its boxes drawn."""
    below = _enlarged(pixels)
    size = below.size
    values = found.values
    if found.kind == "attribution":
        low, high = 0.0, float(values.max())
    for axis, cells in enumerate(size[::-1]):  # a small spot must not be averaged away
        if values.shape[axis] > cells:
            first = np.arange(cells) * values.shape[axis] // cells
            values = np.maximum.reduceat(values, first, axis=axis)
    shown = Image.fromarray(values).resize(size, Image.Resampling.BILINEAR)
    share = (np.asarray(shown) - low) / max(high - low, 1e-12)
    tint = np.empty((*share.shape, 3), np.float32)
    tint[..., 0], tint[..., 2] = 255, 0
    tint[..., 1] = 220 * (share - 1).clip(0, 1)
    opacity = OPACITY * share.clip(0, 1)[..., None]
    mixed = np.asarray(below) * (1 - opacity) + tint * opacity
    picture = Image.fromarray(np.rint(mixed).astype(np.uint8))
    return _outlined(picture, listed, found.size)


def _enlarged(pixels: NDArray[np.uint8]) -> Image.Image:
    """An image (C, h, w) in colour, a small one by a whole number."""
    _, height, width = pixels.shape
    grow = -(-SMALL // max(height, width))
    planes = pixels.transpose(1, 2, 0) if len(pixels) == 3 else pixels.mean(axis=0)
    return (
        Image.fromarray(planes.astype(np.uint8))
        .convert("RGB")
        .resize((width * grow, height * grow), Image.Resampling.NEAREST)
    )


def _outlined(picture: Image.Image, listed: Sequence[Box], size: tuple[int, int]) -> Image.Image:
    """The picture of an image of ``size`` (H, W), with boxes drawn on it."""
    pen, scale = ImageDraw.Draw(picture), picture.size[0] / size[1]
    for box in listed:
        corners = np.array([box.left, box.top, box.right, box.bottom]) * scale
        around = corners + np.array([-3, -3, 3, 3])
        pen.rectangle([*around.tolist()], outline=ANOMALY, width=2)
    return picture


def _near(listed: Sequence[Box], size: tuple[int, int]) -> tuple[int, int, int] | None:
    """A square around the highest box in an image of ``size`` (H, W): its top, left and side; None
    where there is no box, or the whole image is not much larger."""
    if not listed:
        return None
    box = listed[0]
    side = max(CLOSE, 2 * (box.right - box.left), 2 * (box.bottom - box.top))
    if WORTH * side > min(size):
        return None
    top = (box.top + box.bottom - side) // 2
    left = (box.left + box.right - side) // 2
    height, width = size
    return min(max(top, 0), height - side), min(max(left, 0), width - side), side


def _moved(box: Box, top: int, left: int) -> Box:
    return replace(
        box,
        left=box.left - left,
        right=box.right - left,
        top=box.top - top,
        bottom=box.bottom - top,
    )


def _pixels(images: ImageSet | LargeImages, position: int) -> NDArray[np.uint8]:
    if isinstance(images, LargeImages):
        return images.picture(position, SIDE)
    return images.read(slice(position, position + 1))[0]
