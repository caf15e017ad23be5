"""Images that have no way up: those of a scenario, each turned at random by quarters.

    clad data prepare cifar10
    python benchmarks/turned.py cifar10 THG OUT
    clad bench OUT/turned.yaml --methods clad,pca-neighbours

Turns can be told by no one there, as of parts on a belt or of fields seen from above. Of the
training images alone: a share of each class is tested with, as by ``clad bench --held-out``.
At most 6,000 normal images are given, and 1,500 of each kind tested with.
"""

from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray
from own_set import write_own

from clad.benchmark.plan import Source
from clad.data.splits import make_task
from clad.errors import CladError

GIVEN, TESTED = 6000, 1500


def turned(images: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Each of (N, C, S, S) by quarters of its own, as (N, S, S, C)."""
    quarters = rng.integers(4, size=len(images))
    found = [np.rot90(x, k, axes=(1, 2)) for x, k in zip(images, quarters, strict=True)]
    return np.stack(found).transpose(0, 2, 3, 1)


@click.command()
@click.argument("dataset")
@click.argument("scenario")
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--held-out",
    type=click.FloatRange(0, 0.5, min_open=True),
    default=0.2,
    show_default=True,
    help="The share of each class that is tested with.",
)
@click.option("--data-root", type=click.Path(path_type=Path), help="Where clad keeps its data.")
def main(dataset: str, scenario: str, out: Path, held_out: float, data_root: Path | None) -> None:
    """Turn the images and write them as a benchmark of one's own."""
    try:
        source = Source(dataset, data_root, held_out)
        chosen, *others = source.scenarios([scenario])
        task = make_task(source.open(), chosen)
    except CladError as error:
        raise click.ClickException(str(error)) from None
    if others:
        raise click.ClickException(f"{scenario!r} is several scenarios of {dataset}; name one")
    rng = np.random.default_rng(0)
    train, test, anomalous = task.train.read(), task.test.read(), task.answers.test_anomalous
    train = train[rng.permutation(len(train))[:GIVEN]]
    kinds = [rng.permutation(np.flatnonzero(anomalous == kind))[:TESTED] for kind in (False, True)]
    tested = np.concatenate(kinds)
    write_own(out, "turned", turned(train, rng), turned(test[tested], rng), anomalous[tested])


if __name__ == "__main__":
    main()
