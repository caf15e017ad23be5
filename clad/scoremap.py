"""ScoreMap: where in one image, and how strongly."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class ScoreMap:
    """Values over one image of ``size`` (H, W): float32 (h, w), of cells of ``step`` pixels a side.

    ``kind``: "score", anomaly scores of the spots, on the scale of the image's; or "attribution",
    what the image's score hangs on, comparable within the image alone.
    """

    values: NDArray[np.float32]
    step: int
    size: tuple[int, int]
    kind: str = "score"


Keep = Callable[[int, ScoreMap], None]  # an image's position among those measured, and its map
