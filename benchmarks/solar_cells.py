"""Real defects, which no recipe of this project is of: solar cells (Deitsch et al. 2019).

    pip install --no-deps --target elpv elpv-dataset
    python benchmarks/solar_cells.py elpv/elpv_dataset/data OUT
    clad bench OUT/cells.yaml --methods clad,pca-neighbours

Photographs of 2,624 cells of 44 modules by their own light, grey, 300x300, mono- and
polycrystalline (CC BY-NC-SA 4.0, so none is kept here). Functional cells are normal, those that are
surely defective anomalous, and those that the experts doubt are left out. The files do not say of
which module a cell is, but follow the modules, so they are split in runs: a quarter of the
functional cells are tested with, and the others are given to fit, uint8 (N, 300, 300).
"""

from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray
from own_set import write_own
from PIL import Image

from clad.runtime import track

RUN = 60  # cells one after the other: about a module


def read(path: Path) -> NDArray[np.uint8]:
    """A cell, uint8 (300, 300)."""
    with Image.open(path) as image:
        return np.asarray(image.convert("L"))


@click.command()
@click.argument("data", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--kind",
    type=click.Choice(["all", "mono", "poly"]),
    default="all",
    show_default=True,
    help="Of which crystals.",
)
def main(data: Path, out: Path, kind: str) -> None:
    """Read them, split by place in the list."""
    try:
        rows = [line.split() for line in (data / "labels.csv").read_text("ascii").splitlines()]
        cells = [(data / name, float(defective), made) for name, defective, made in rows]
        images = np.stack([read(path) for path, _, _ in track(cells, "cells", unit="cell")])
    except (OSError, ValueError) as error:
        raise SystemExit(f"{data}: not labels.csv and the cells that it names ({error})") from None
    shown = np.array([kind in ("all", made) for _, _, made in cells])
    defective = np.array([probability for _, probability, _ in cells])
    sound, broken = defective == 0, defective == 1
    later = np.arange(len(cells)) // RUN % 4 == 3
    tested = shown & (sound & later | broken)
    given = images[shown & sound & ~later]
    train = np.random.default_rng(0).permutation(given)  # nothing is to be read from the order
    write_own(out, "cells", train, images[tested], broken[tested])


if __name__ == "__main__":
    main()
