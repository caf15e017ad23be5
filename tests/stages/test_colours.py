"""A network that tells exchanged colours, on stripes of which only red and blue matter."""

import numpy as np
import pytest

from clad.data.images import ImageSet
from clad.runtime import Runtime
from clad.stages.colours import Colours

RUNTIME = Runtime()
SETTINGS = {
    "network": "resnet8",
    "stem": "small-stride",
    "width": 16,
    "epochs": 40,
    "batch_size": 16,
    "learning_rate": 0.003,
    "schedule": "one-cycle",
    "rotations": 4,
    "mirror": True,
    "rounds": 2,
}


def stripes(n=64, seed=0, red=120, blue=0):
    """Noise, and stripes anywhere: as much more of red and of blue."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 60, (n, 3, 8, 8))
    for image, row in zip(pixels, rng.integers(0, 8, n), strict=True):
        image[0, row] += red
        image[2, row] += blue
    return ImageSet.of(pixels.astype(np.uint8))


@pytest.fixture(scope="module")
def reddish():
    return Colours(SETTINGS).fit(stripes(), stripes(seed=1), RUNTIME)


def test_it_learns_which_colours_are_exchanged_in_a_quarter_of_the_epochs(reddish):
    assert len(reddish.losses_) == 10
    assert reddish.network_.head.out_features == 2, "turns and mirror images are not told"
    assert reddish.known_ > 0.9


def test_a_run_cut_off_ends_at_the_same_weights(equal, resume):
    def fit(checkpoints):
        few = Colours({**SETTINGS, "epochs": 12})
        return few.fit(stripes(), stripes(seed=1), RUNTIME, checkpoints)

    whole, resumed = fit(None), resume(fit)
    assert resumed.losses_ == whole.losses_
    assert equal(resumed.network_, whole.network_)
    assert resumed.known_ == whole.known_


def test_of_grey_images_there_is_nothing_to_know():
    grey = (ImageSet.of(np.repeat(stripes(seed=s).read()[:, :1], 3, axis=1)) for s in (0, 1))
    assert Colours(SETTINGS).fit(*grey, RUNTIME).known_ < 0.05


def test_no_image_held_out_says_nothing():
    few = Colours({**SETTINGS, "epochs": 1}).fit(stripes(), stripes().take(np.arange(0)), RUNTIME)
    assert few.known_ == 0.5
    assert len(few.losses_) == 1, "one epoch at least"
