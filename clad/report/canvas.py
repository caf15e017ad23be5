"""What all pictures share: the look, the colours, an image on an axis, the file at the end.

Figures are drawn by matplotlib's Agg canvas without pyplot, so that no window, no global figure
and no display is needed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clad.artifact import write_atomic

# Okabe and Ito's colours, told apart with every common colour blindness.
NORMAL, ANOMALY, NEUTRAL, INK = "#0072B2", "#D55E00", "#767676", "#222222"
CLUSTERS = (
    *("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#B8A800", "#555555"),
    # Past eight no palette is safe for all: the maps number their clusters as well.
    *("#7A3E9D", "#8C564B", "#00B5AD", "#F28E8E", "#1B4965", "#6B8E23", "#A0A0A0", "#C2185B"),
)
STYLE: Any = {
    "font.size": 10,
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": NEUTRAL,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 9,
}
DPI = 120


@contextmanager
def drawing(width: float, height: float, **style: Any) -> Iterator[Any]:
    """A matplotlib Figure of this size in inches, in the common look with ``style`` over it."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    look: Any = {**STYLE, **style}
    with rc_context(look):
        figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained", facecolor="white")
        FigureCanvasAgg(figure)
        yield figure


@contextmanager
def picture(path: Path, width: float, height: float) -> Iterator[Any]:
    """A ``drawing`` written to ``path`` as PNG when the block ends.

    The file appears whole or not at all; an error inside the block leaves the old one.
    """
    with drawing(width, height) as figure:
        yield figure
        content = BytesIO()
        figure.savefig(content, format="png")
    write_atomic(Path(path), content.getvalue())


def short(value: float, among: NDArray[np.float64]) -> str:
    """A score with the decimals that tell it from its neighbours: 14.41, but 0.100312."""
    return f"{value:.{decimals(among)}f}"


def decimals(among: NDArray[np.float64]) -> int:
    """How many tell these scores apart.

    ODIN at temperature 1000 differs in the fifth decimal, distances in the first.
    """
    low, high = np.quantile(among, [0.1, 0.9])  # one far score must not hide the rest's decimals
    spread = high - low
    return 3 if spread == 0 else int(np.clip(2 - np.floor(np.log10(spread)), 0, 9))


def cluster_colour(cluster: int) -> str:
    """The colour that one cluster has in every picture."""
    return CLUSTERS[cluster % len(CLUSTERS)]


def stage_for_images(ax: Any, columns: float, rows: float) -> None:
    """Turn an axis into an empty sheet of unit cells, the origin at the upper left."""
    ax.set(xlim=(0, columns), ylim=(max(rows, 1), 0), aspect="equal", anchor="NW")
    ax.axis("off")


def place_image(
    ax: Any,
    image: NDArray[np.uint8],
    x: float,
    y: float,
    colour: str | None = None,
    size: float = 0.92,
) -> None:
    """Draw one image (C, H, W) uint8 with its upper left corner at (x, y), framed if coloured.

    One channel is grey, three are RGB; of any other number the mean is shown. Images keep their
    proportions within a square of ``size`` cells.
    """
    from matplotlib.patches import Rectangle

    channels, height, width = image.shape
    w, h = size * width / max(height, width), size * height / max(height, width)
    shown = image.transpose(1, 2, 0) if channels == 3 else image.mean(axis=0)
    ax.imshow(
        shown,
        cmap="gray",
        vmin=0,
        vmax=255,
        extent=(x, x + w, y + h, y),
        interpolation="nearest",
        aspect="equal",
    )
    if colour:
        ax.add_patch(Rectangle((x, y), w, h, fill=False, edgecolor=colour, linewidth=2.2))
