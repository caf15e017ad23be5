"""What augmentation does to an image, by hand, and what it never does."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from clad.data.images import ImageSet
from clad.runtime import Runtime
from clad.stages.augmentation import VARIED, Augmentation, mirror_share, spread_of_light


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def ramp(n=64, side=10):
    """Row i of every image is i / 10, column j adds j / 100."""
    rows, columns = torch.arange(side)[:, None] / 10, torch.arange(side)[None, :] / 100
    return (rows + columns).expand(n, 1, side, side).clone()


def test_nothing_asked_nothing_done():
    x = ramp()
    assert Augmentation()(x, seeded()) is x


def test_a_crop_shows_the_image_shifted_and_mirrored_at_its_edge():
    """Of ten rows at most two away: shown from row -2 on they are 2, 1, 0, 1, ..., 7."""
    x = Augmentation(crop=0.2)(ramp(400), seeded())
    rows = (100 * x).round().int() // 10
    first = {tuple(image[0, :, 0].tolist()) for image in rows}
    assert (2, 1, 0, 1, 2, 3, 4, 5, 6, 7) in first
    assert (0, 1, 2, 3, 4, 5, 6, 7, 8, 9) in first
    assert (2, 3, 4, 5, 6, 7, 8, 9, 8, 7) in first
    assert len(first) == 5, "shifts from -2 to 2"


def test_a_flip_swaps_left_and_right_every_other_time():
    x = ramp(400)
    flipped = Augmentation(flip=True)(x, seeded())
    same = (flipped == x).flatten(1).all(dim=1)
    assert torch.equal(flipped[~same], x[~same].flip(3))
    assert 150 < same.sum() < 250  # of 400 fair coins: 5 standard deviations


def test_contrast_keeps_the_mean_and_brightness_the_differences():
    x = 0.4 + 0.2 * torch.rand(50, 3, 6, 6, generator=seeded())
    contrast = Augmentation(contrast=0.5)(x, seeded())
    torch.testing.assert_close(contrast.mean(dim=(1, 2, 3)), x.mean(dim=(1, 2, 3)))
    factor = contrast.std(dim=(1, 2, 3)) / x.std(dim=(1, 2, 3))
    assert factor.min() > 0.5
    assert factor.max() < 1.5
    assert factor.std() > 0.2
    brightness = Augmentation(brightness=0.3)(x, seeded())
    shift = (brightness - x).flatten(1)
    torch.testing.assert_close(shift, shift[:, :1].expand_as(shift), atol=1e-6, rtol=0)
    assert shift.abs().max() <= 0.3 * x.mean(dim=(1, 2, 3)).max() + 1e-6


def test_saturation_keeps_the_grey_and_is_nothing_to_a_grey_image():
    x = 0.4 + 0.2 * torch.rand(20, 3, 4, 4, generator=seeded())
    coloured = Augmentation(saturation=0.5)(x, seeded())
    assert not torch.equal(coloured, x)
    torch.testing.assert_close(coloured.mean(dim=1), x.mean(dim=1))
    torch.testing.assert_close(Augmentation(saturation=0.5)(x[:, :1], seeded()), x[:, :1])


def test_a_turn_of_a_disc_is_the_disc_and_of_a_bar_is_no_more_than_asked():
    y, x = torch.meshgrid(torch.arange(33) - 16, torch.arange(33) - 16, indexing="ij")
    disc = ((y**2 + x**2) < 100).float().expand(30, 1, 33, 33)
    turned = Augmentation(rotation=20)(disc, seeded())
    assert (turned - disc).abs().mean() < 0.02
    bar = ((y.abs() < 2) & (x.abs() < 14)).float().expand(30, 1, 33, 33)
    turned = Augmentation(rotation=20)(bar, seeded())
    weight = turned / turned.sum(dim=(1, 2, 3), keepdim=True)
    angle = 0.5 * torch.atan2(
        2 * (weight * x * y).sum(dim=(1, 2, 3)), (weight * (x**2 - y**2)).sum(dim=(1, 2, 3))
    )
    assert angle.abs().max() <= math.radians(20) + 0.02
    assert angle.std() > math.radians(5)


@given(
    crop=st.floats(0, 0.49),
    flip=st.booleans(),
    rotation=st.floats(0, 45),
    light=st.floats(0, 1),
    channels=st.sampled_from([1, 3]),
    height=st.integers(3, 9),
    width=st.integers(3, 9),
    seed=st.integers(0, 99),
)
def test_shape_and_range_stay_and_one_seed_is_one_answer(
    crop, flip, rotation, light, channels, height, width, seed
):
    augment = Augmentation(
        crop=crop,
        flip=flip,
        rotation=rotation,
        brightness=light,
        contrast=light,
        saturation=light,
    )
    x = torch.rand(5, channels, height, width, generator=seeded(seed))
    before = x.clone()
    once, again = augment(x, seeded(seed)), augment(x, seeded(seed))
    assert torch.equal(x, before), "the image itself is left alone"
    assert once.shape == x.shape
    assert torch.equal(once, again)
    assert 0 <= once.min() <= once.max() <= 1


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_on_a_gpu_it_is_the_same():
    augment = Augmentation(crop=0.2, flip=True, brightness=0.3, contrast=0.3, saturation=0.3)
    x = torch.rand(5, 3, 8, 8, generator=seeded())
    torch.testing.assert_close(augment(x.cuda(), seeded()).cpu(), augment(x, seeded()))


def some(n=400, side=8, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, 1, side, side), dtype=np.uint8)


def test_mirror_images_that_are_the_images():
    symmetric = some()
    symmetric[..., 4:] = symmetric[..., 3::-1]
    assert mirror_share(ImageSet.of(symmetric), Runtime()) == 0.5


def test_mirror_images_of_noise_are_noise():
    assert abs(mirror_share(ImageSet.of(some(2000)), Runtime()) - 0.5) < 0.05


def test_mirror_images_that_never_occur():
    lit = some()
    lit[..., 4:] //= 4
    assert mirror_share(ImageSet.of(lit), Runtime()) == 1.0


def test_an_image_is_not_compared_with_its_own_group():
    """Ten shots each of scenes that are noise: nearest of all, but of the same scene."""
    scenes = np.repeat(some(60), 10, axis=0)
    groups = np.repeat(np.arange(60), 10)
    assert abs(mirror_share(ImageSet.of(scenes, groups=groups), Runtime()) - 0.5) < 0.2
    assert mirror_share(ImageSet.of(scenes), Runtime()) > 0.95
    assert mirror_share(ImageSet.of(scenes, groups=groups * 0), Runtime()) == 1.0


def test_spread_of_light_by_hand():
    """Two pixels: (0, 2), (0, 6) have means 1 and 3, deviations 1 and 3: both are 2 +- 1."""
    dark_and_light = np.array([[0, 2], [0, 6]], np.uint8).reshape(2, 1, 1, 2)
    assert spread_of_light(ImageSet.of(dark_and_light), Runtime()) == pytest.approx(0.5)
    # (0, 2), (4, 6): means 1 and 5, but deviations are alike, which light would not leave so
    other_things = np.array([[0, 2], [4, 6]], np.uint8).reshape(2, 1, 1, 2)
    assert spread_of_light(ImageSet.of(other_things), Runtime()) == 0
    assert spread_of_light(ImageSet.of(np.zeros((3, 1, 2, 2), np.uint8)), Runtime()) == 0


def test_things_of_any_size_and_grey_are_no_varied_light():
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[-32:32, -32:32]
    discs = np.hypot(rows, columns) < rng.uniform(8, 30, (500, 1, 1, 1))
    images = (discs * rng.integers(150, 256, (500, 1, 1, 1))).astype(np.uint8)
    assert spread_of_light(ImageSet.of(images), Runtime()) < VARIED


@given(st.floats(0.3, 1), st.integers(0, 9))
def test_spread_of_light_is_that_of_the_lamp(dim, seed):
    """Half of the images as they are, half of them dimmed: (1 - dim) / (1 + dim), and no less for
    what they show."""
    noise = some(200, seed=seed)
    dimmed = np.rint(noise[100:] * dim).astype(np.uint8)
    found = spread_of_light(ImageSet.of(np.concatenate([noise[:100], dimmed])), Runtime())
    assert found == pytest.approx((1 - dim) / (1 + dim), abs=0.1)
    assert spread_of_light(ImageSet.of(noise), Runtime()) < 0.1
