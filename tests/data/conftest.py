from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from clad.data.images import ImageSet

SHARED = Path(__file__).parents[2] / ".." / "shared"


@pytest.fixture
def shared() -> Path:
    if not (SHARED / "data").is_dir():
        pytest.skip("../shared/data is absent: the genuine images stay out of the repository")
    return SHARED


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def images_of(*levels: int, groups: list[int] | None = None) -> ImageSet:
    """One 4x4 grey image a level; equal levels are exact duplicates."""
    array = np.stack([np.full((1, 4, 4), level, np.uint8) for level in levels])
    array[:, 0, 0, 0] ^= 1  # not flat
    return ImageSet.of(array, groups=None if groups is None else np.array(groups))


@pytest.fixture(scope="session")
def make_images():
    return images_of
