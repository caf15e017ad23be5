"""Small images that a stage can learn from, and a run that is cut off in the middle."""

import numpy as np
import pytest

from clad.checkpoints import CheckpointFolder
from clad.data.images import ImageSet
from clad.runtime import Runtime


def kinds_of_images(n=30, shape=(1, 12, 12), seed=0):
    """n noisy images of three kinds in turn (bright top, bright left, bright middle)."""
    rng = np.random.default_rng(seed)
    _, height, width = shape
    array = rng.integers(0, 60, (n, *shape))
    array[0::3, :, : height // 2, :] += 150
    array[1::3, :, :, : width // 2] += 150
    array[2::3, :, height // 3 : -height // 3, width // 3 : -width // 3] += 190
    return ImageSet.of(array.astype(np.uint8))


class CutOff(CheckpointFolder):
    """Keeps every epoch; the run is interrupted right after ``saves`` of them."""

    def __init__(self, folder, saves=0):
        super().__init__(folder, "this run", every=0.0)
        self.left = saves

    def save(self, stage, tensors, progress):
        super().save(stage, tensors, progress)
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt


def same_weights(one, other):
    ours, theirs = one.state_dict(), other.state_dict()
    return ours.keys() == theirs.keys() and all(ours[k].equal(theirs[k]) for k in ours)


@pytest.fixture
def make_images():
    return kinds_of_images


@pytest.fixture
def images():
    return kinds_of_images()


@pytest.fixture
def kinds():
    return np.arange(30) % 3


@pytest.fixture
def runtime():
    return Runtime(seed=3)


@pytest.fixture
def equal():
    return same_weights


@pytest.fixture
def resume(tmp_path):
    """Cut a fit off after one epoch, take it up again from what lies on the disk."""

    def cut_and_resume(fit, saves=1):
        with pytest.raises(KeyboardInterrupt):
            fit(CutOff(tmp_path, saves))
        return fit(CutOff(tmp_path))

    return cut_and_resume
