"""Heatmaps of scored images, from a folder of PNGs named as the images are."""

from __future__ import annotations

import json
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

    Where ``boxes.json`` knows a close-up of an image, it is taken: small defects would not be seen.
    Raises DataError where there is none at all, or one that cannot be read.
    """
    close = _close_ups(folder / "boxes.json")
    found = {name: _file(folder, close.get(name, name)) or _file(folder, name) for name in names}
    files = {name: file for name, file in found.items() if file is not None}
    if not files:
        raise DataError(f"{folder}: holds no heatmap of these images (such as {_first(names)}.png)")
    paths = list(files.values())

    def batches() -> Iterator[NDArray[np.uint8]]:
        for part, _ in read_parts(paths, size=(SIDE, SIDE), channels=3, part=512):
            yield part.read()

    return Exhibits(list(files), thumbnails.make(batches()))


def _close_ups(path: Path) -> dict[str, str]:
    """Names of close-ups by image, from what ``clad score --heatmaps`` wrote; none without it."""
    if not path.is_file():
        return {}
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))["images"]
        return {str(e["path"]): str(e["close_up"]) for e in entries if "close_up" in e}
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise DataError(f"{path}: not as clad score --heatmaps writes it ({error!r})") from None


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
