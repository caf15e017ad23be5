"""A data set that no choice of this project was made on: capital letters of the fonts of a machine.

    python benchmarks/letters.py FONTS OUT [--normal ABKRS]
    clad bench OUT/letters.yaml --methods clad,pca-neighbours

Writes train.npy (the normal letters, in three quarters of the font families), test.npy (all 26,
in the other families), labels.txt and letters.yaml: uint8 (N, 28, 28), white on black. FONTS is a
folder with .ttf and .otf files somewhere below it, such as /usr/share/fonts. docs/benchmarks.md
says which fonts its numbers are of.
"""

from pathlib import Path
from string import ascii_uppercase as LETTERS  # noqa: N812

import click
import numpy as np
from own_set import write_own
from PIL import Image, ImageDraw, ImageFont

from clad.runtime import track

SIDE, DRAWN, MARGIN = 28, 64, 7
FAINT = 0.03  # a letter with less ink than this share of the picture is a placeholder


def drawn(font, letter):
    """uint8 (28, 28): the letter in the middle of a square that it fills."""
    left, top, right, bottom = font.getbbox(letter)
    side = max(right - left, bottom - top) + 2 * MARGIN
    image = Image.new("L", (side, side))
    place = ((side - right - left) / 2, (side - bottom - top) / 2)
    ImageDraw.Draw(image).text(place, letter, fill=255, font=font)
    return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.LANCZOS))


def alphabet(path):
    """The font's family, and uint8 (26, 28, 28); None where it lacks letters."""
    try:
        font = ImageFont.truetype(str(path), DRAWN)
        letters = np.stack([drawn(font, letter) for letter in LETTERS])
    except (OSError, ValueError):
        return None
    differ = len({letter.tobytes() for letter in letters}) == len(LETTERS)
    inked = bool(((letters > 60).mean(axis=(1, 2)) > FAINT).all())
    return (font.getname()[0], letters) if differ and inked else None


@click.command()
@click.argument("fonts", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--normal", default="ABKRS", show_default=True, help="The letters that are normal.")
def main(fonts: Path, out: Path, normal: str) -> None:
    """Draw them, split by family."""
    if not 0 < len({*normal} & {*LETTERS}) == len(normal) < len(LETTERS):
        raise click.BadParameter(f"{normal!r} is not some of the capital letters, each once")
    paths = sorted(p for p in fonts.rglob("*") if p.suffix.lower() in (".ttf", ".otf"))
    found = [a for path in track(paths, "fonts", unit="font") if (a := alphabet(path))]
    families = sorted({family for family, _ in found})
    if len(families) < 2:
        raise SystemExit(f"{fonts}: {len(families)} font families with all letters; need two")
    rng = np.random.default_rng(0)
    shown = {*rng.permutation(families)[: 3 * len(families) // 4].tolist()}
    told = np.isin(list(LETTERS), list(normal))
    train = np.concatenate([letters[told] for family, letters in found if family in shown])
    test = np.concatenate([letters for family, letters in found if family not in shown])
    click.echo(f"{len(found)} fonts of {len(families)} families")
    train = train[rng.permutation(len(train))]
    write_own(out, "letters", train, test, np.tile(~told, len(test) // len(LETTERS)))


if __name__ == "__main__":
    main()
