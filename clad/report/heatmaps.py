"""Heatmaps of scored images, from a folder of PNGs named as the images are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePath

import numpy as np
from numpy.typing import NDArray

from clad import thumbnails
from clad.data.folder import read_parts
from clad.errors import DataError
from clad.exhibits import Exhibits
from clad.thumbnails import SIDE


def read_heatmaps(folder: Path, names: Sequence[str]) -> Exhibits:
    """Thumbnails of ``a/b.png`` (or ``b.png``) for an image named ``a/b.jpg``, where there is one.

    Raises DataError where there is none at all, or one that cannot be read.
    """
    files = {name: file for name in names if (file := _file(folder, name)) is not None}
    if not files:
        raise DataError(f"{folder}: holds no heatmap of these images (such as {_first(names)}.png)")
    paths = list(files.values())

    def batches() -> Iterator[NDArray[np.uint8]]:
        for part, _ in read_parts(paths, size=(SIDE, SIDE), channels=3, part=512):
            yield part.read()

    return Exhibits(list(files), thumbnails.make(batches()))


def _file(folder: Path, name: str) -> Path | None:
    relative = PurePath(name)
    inside = [relative] if not relative.is_absolute() and ".." not in relative.parts else []
    for each in (*inside, PurePath(relative.name)):
        path = folder / each.with_suffix(".png")
        if path.is_file():
            return path
    return None


def _first(names: Sequence[str]) -> str:
    return PurePath(names[0]).stem if names else "image"
