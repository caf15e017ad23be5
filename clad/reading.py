"""What fit is given, brought into the form that the configuration asks for."""

from __future__ import annotations

from typing import Any

from clad.config import Config
from clad.data.folder import BadFile
from clad.data.images import ImageSet
from clad.data.inputs import as_image_set
from clad.data.large import LargeImages, read_large
from clad.data.tiles import SIDES
from clad.errors import ConfigError


def read_for_fit(
    config: Config, source: Any, *, on_bad: str = "error", first_frame: bool = False
) -> tuple[ImageSet | LargeImages, list[BadFile]]:
    """Images in the form that fit works on, and the files left out (``on_bad="skip"``).

    Raises DataError as the readers do, ConfigError for settings that exclude each other.
    """
    options: Any = {
        "channels": config.images.channels,
        "on_bad": on_bad,
        "first_frame": first_frame,
    }
    tile = config.tiles.size
    if tile is None:
        return as_image_set(source, size=config.images.size, **options)
    if config.images.size is not None:
        raise ConfigError("images.size and tiles.size exclude each other: tiles are not resized")
    return read_large(source, smallest=SIDES[-1] if tile == "auto" else tile, **options)
