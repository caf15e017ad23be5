"""The page of a model's most suspicious normal images."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clad.artifact import write_atomic
from clad.review import Suspects

TITLES = {
    "calibration": "Calibration images",
    "fit": "Images fitted on",
}


def review_page(
    path: Path, model: str, suspects: Mapping[str, Suspects], threshold: float, guarantee: str
) -> None:
    """Write one self-contained HTML file with a thumbnail, a name and a score an image."""
    from jinja2 import Environment, PackageLoader

    parts = [
        {
            "title": title,
            "note": f"The {len(found.scores)} highest scores of {found.total}.",
            "cards": [
                {"png": _png(image), "name": name, "score": score, "over": score > threshold}
                for image, name, score in zip(
                    found.images, found.names, found.scores.tolist(), strict=True
                )
            ],
        }
        for part, title in TITLES.items()
        if (found := suspects.get(part)) is not None
    ]
    pages = Environment(loader=PackageLoader("clad.report"), autoescape=True)
    facts: dict[str, Any] = {"model": model, "threshold": threshold, "guarantee": guarantee}
    page = pages.get_template("review.html").render(parts=parts, **facts)
    write_atomic(path, page.encode(errors="replace"))


def _png(image: NDArray[np.uint8]) -> str:
    """An image (C, H, W) as base64 of a PNG."""
    from PIL import Image

    planes = image.transpose(1, 2, 0)
    stream = io.BytesIO()
    Image.fromarray(planes[..., 0] if len(image) == 1 else planes).save(stream, "PNG")
    return base64.b64encode(stream.getvalue()).decode()
