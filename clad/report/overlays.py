"""Where the anomalies are: a picture an image, and the boxes of the regions over the threshold."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from clad.artifact import make_folder, write_atomic, write_json
from clad.data.images import ImageSet
from clad.data.large import LargeImages
from clad.report.canvas import ANOMALY
from clad.scorefile import write_scores
from clad.scoremap import ScoreMap

SIDE = 2048  # pixels of a picture, at most
SMALL = 256  # a smaller image is enlarged to at least this
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
    from scipy.ndimage import find_objects, label, maximum

    regions, n = label(found.values > threshold, structure=np.ones((3, 3)))
    scores = maximum(found.values, regions, np.arange(1, n + 1))
    height, width = found.size
    made = [
        Box(
            left=columns.start * found.step,
            top=rows.start * found.step,
            right=min(columns.stop * found.step, width),
            bottom=min(rows.stop * found.step, height),
            score=float(score),
        )
        for (rows, columns), score in zip(find_objects(regions), np.atleast_1d(scores), strict=True)
    ]
    return sorted(made, key=lambda box: -box.score)[:BOXES]


class Heatmaps:
    """Writes a picture an image into ``folder``, and when closed ``boxes.csv`` and ``boxes.json``.

    One scale for all images: nothing is tinted under ``low``, the lowest score of a normal
    calibration image; the tint is full from ``threshold`` on, and turns from red to yellow up to as
    far again above it. Attributions are tinted up to their own image's highest.
    """

    def __init__(self, folder: Path, low: float, threshold: float) -> None:
        self.folder = folder
        self.low = low
        self.threshold = threshold
        self._entries: list[dict[str, Any]] = []

    def add(self, images: ImageSet | LargeImages, position: int, found: ScoreMap) -> None:
        """Write one image's picture and remember its boxes."""
        name = images.names[position]
        listed = boxes(found, self.threshold) if found.kind == "score" else []
        picture = overlay(_pixels(images, position), found, self.low, self.threshold, listed)
        file = self._free_name(PurePath(name))
        make_folder((self.folder / file).parent)
        content = io.BytesIO()
        picture.save(content, "PNG", optimize=False)
        write_atomic(self.folder / file, content.getvalue())
        self._entries.append(
            {
                "path": name,
                "heatmap": file,
                "kind": found.kind,
                "boxes": [asdict(b) for b in listed],
            }
        )

    def _free_name(self, name: PurePath) -> str:
        """``a/b.png`` for an image ``a/b.tif``, as ``clad report --heatmaps`` looks for it."""
        inside = not name.is_absolute() and ".." not in name.parts
        wanted = (name if inside else PurePath(name.name)).with_suffix(".png")
        taken = {entry["heatmap"] for entry in self._entries}
        file, n = wanted, 1
        while str(file) in taken:
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
    _, height, width = pixels.shape
    grow = -(-SMALL // max(height, width))
    size = width * grow, height * grow
    planes = pixels.transpose(1, 2, 0) if len(pixels) == 3 else pixels.mean(axis=0)
    below = (
        Image.fromarray(planes.astype(np.uint8))
        .convert("RGB")
        .resize(size, Image.Resampling.NEAREST)
    )
    values = found.values
    if found.kind == "attribution":
        low, high = 0.0, float(values.max())
    shrink = found.size[1] / width  # of the picture against the original
    if shrink > found.step:  # a small spot must not be averaged away
        from scipy.ndimage import maximum_filter

        values = maximum_filter(values, size=int(np.ceil(shrink / found.step)))
    shown = Image.fromarray(values).resize(size, Image.Resampling.BILINEAR)
    share = (np.asarray(shown) - low) / max(high - low, 1e-12)
    tint = np.empty((*share.shape, 3), np.float32)
    tint[..., 0], tint[..., 2] = 255, 0
    tint[..., 1] = 220 * (share - 1).clip(0, 1)
    opacity = OPACITY * share.clip(0, 1)[..., None]
    mixed = np.asarray(below) * (1 - opacity) + tint * opacity
    picture = Image.fromarray(np.rint(mixed).astype(np.uint8))
    pen, scale = ImageDraw.Draw(picture), size[0] / found.size[1]
    for box in listed:
        corners = np.array([box.left, box.top, box.right, box.bottom]) * scale
        around = corners + np.array([-3, -3, 3, 3])
        pen.rectangle([*around.tolist()], outline=ANOMALY, width=2)
    return picture


def _pixels(images: ImageSet | LargeImages, position: int) -> NDArray[np.uint8]:
    if isinstance(images, LargeImages):
        return images.picture(position, SIDE)
    return images.read(slice(position, position + 1))[0]
