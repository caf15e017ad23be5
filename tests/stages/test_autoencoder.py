"""Stage 1: the two networks' layers, their range, and what training does and does not depend on."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch.nn import functional

from clad.data.images import ImageSet
from clad.errors import ConfigError
from clad.runtime import Runtime
from clad.stages.augmentation import Augmentation
from clad.stages.autoencoder import Autoencoder, ConvolutionalAutoencoder
from clad.stages.contrastive import nt_xent
from clad.stages.layers import encode

both = pytest.mark.parametrize("architecture", ["cvae", "cvae_large"])


def shapes(network, kind):
    return [tuple(m.weight.shape) for m in network.modules() if isinstance(m, kind)]


def test_cvae_is_the_papers():
    network = ConvolutionalAutoencoder("cvae", (1, 28, 28), 10)
    assert shapes(network.encoder, torch.nn.Conv2d) == [(4, 1, 3, 3), (8, 4, 3, 3), (16, 8, 3, 3)]
    assert shapes(network.encoder, torch.nn.Linear) == [(512, 16 * 7 * 7), (10, 512)]
    assert shapes(network.decoder, torch.nn.Linear) == [(512, 10), (16 * 7 * 7, 512)]
    assert shapes(network.decoder, torch.nn.Conv2d) == [(8, 16, 3, 3), (4, 8, 3, 3), (1, 4, 3, 3)]
    assert shapes(network, torch.nn.BatchNorm2d) == []


def test_cvae_large_is_the_papers():
    network = ConvolutionalAutoencoder("cvae_large", (3, 32, 32), 20)
    outputs = [shape[0] for shape in shapes(network.encoder, torch.nn.Conv2d)]
    assert outputs == [3 * n for n in (16, 16, 32, 32, 64, 64)]
    assert shapes(network.encoder, torch.nn.Linear) == [(512, 192 * 8 * 8), (20, 512)]
    outputs = [shape[0] for shape in shapes(network.decoder, torch.nn.Conv2d)]
    assert outputs == [192, 96, 96, 48, 48, 3]
    norms = [shape[0] for shape in shapes(network, torch.nn.BatchNorm2d)]
    assert norms == [48, 48, 96, 96, 192, 192, 192, 96, 96, 48, 48]  # none before the sigmoid


@both
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 12, 12), (1, 9, 14), (3, 4, 7)])
def test_reconstruction_has_the_images_shape_and_range(architecture, shape):
    network = ConvolutionalAutoencoder(architecture, shape, 5).eval()
    x = 100 * torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        z, out = network.encode(x), network(x)
    assert z.shape == (2, 5)
    assert out.shape == x.shape
    assert float(out.min()) >= 0
    assert float(out.max()) <= 1


def test_what_is_halved_before_the_elu_is_the_papers_halved_after_it():
    network = ConvolutionalAutoencoder("cvae", (1, 8, 8), 5)
    one, two, three, hidden, latent = [
        m for m in network.encoder if isinstance(m, (torch.nn.Conv2d, torch.nn.Linear))
    ]
    x = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    halved = functional.max_pool2d(functional.elu(one(network.standardize(x))), 2)
    halved = functional.max_pool2d(functional.elu(two(halved)), 2)
    expected = latent(functional.elu(hidden(functional.elu(three(halved)).flatten(1))))
    torch.testing.assert_close(network.encode(x), expected)


@both
def test_too_small_images_are_named(architecture):
    with pytest.raises(ConfigError, match=rf"'{architecture}' needs .* 4 pixels a side, got 3x9"):
        ConvolutionalAutoencoder(architecture, (1, 3, 9), 5)


@both
def test_training_lowers_the_loss_and_is_a_function_of_the_seed(architecture, images, equal):
    def fit(seed):
        stage = Autoencoder(architecture, 4, epochs=3, batch_size=10)
        return stage.fit(images, Runtime(seed=seed))

    one, again, other = fit(0), fit(0), fit(1)
    assert one.losses_[-1] < one.losses_[0]
    assert len(one.losses_) == 3
    assert equal(one.network_, again.network_)
    assert one.losses_ == again.losses_
    assert not equal(one.network_, other.network_)


@both
def test_transform_is_deterministic_and_in_order(architecture, images, runtime):
    stage = Autoencoder(architecture, 4, epochs=1, batch_size=10).fit(images, runtime)
    z = stage.transform(images, runtime)
    assert z.shape == (30, 4)
    assert z.dtype == np.float32
    assert (stage.transform(images, runtime) == z).all()
    part = stage.transform(images.take(np.array([7, 2])), runtime)
    assert part == pytest.approx(z[[7, 2]], abs=1e-5)  # alone as in company


def test_the_global_generator_is_left_alone(images, runtime):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    Autoencoder("cvae", 2, epochs=1, batch_size=30).fit(images, runtime)
    assert torch.rand(3).equal(expected)


@both
def test_a_run_cut_off_ends_at_the_same_weights_bit_for_bit(
    architecture, images, runtime, equal, resume
):
    def fit(checkpoints):
        stage = Autoencoder(architecture, 3, epochs=3, batch_size=10, schedule="one-cycle")
        return stage.fit(images, runtime, checkpoints)

    whole, resumed = fit(None), resume(fit)
    assert resumed.losses_ == whole.losses_
    assert equal(resumed.network_, whole.network_)


def test_a_run_with_every_term_goes_on_with_the_head_it_had(images, runtime, equal, resume):
    def fit(checkpoints):
        stage = Autoencoder("cvae", 3, epochs=3, batch_size=10, turns=0.1, contrastive=0.1)
        return stage.fit(images, runtime, checkpoints, augment=Augmentation(crop=0.1))

    whole, resumed = fit(None), resume(fit)
    assert resumed.losses_ == whole.losses_
    assert equal(resumed.network_, whole.network_)


def test_contrastive_brings_the_copies_of_an_image_together(images, runtime):
    augment = Augmentation(crop=0.2, brightness=0.5)

    def confusion(weight):
        stage = Autoencoder("cvae", 6, epochs=20, batch_size=15, contrastive=weight)
        network = stage.fit(images, runtime, augment=augment).network_
        latents = [encode(network, images, Runtime(seed=i), augment=augment) for i in (1, 2)]
        return nt_xent(*map(torch.from_numpy, latents)).item()

    assert confusion(1.0) < confusion(0.0)


def test_turns_make_latents_that_tell_them(images, runtime):
    turned = [np.rot90(images.read(), turn, axes=(2, 3)).copy() for turn in range(4)]
    turns = np.repeat(np.arange(4), len(images))

    def told(weight):
        stage = Autoencoder("cvae", 3, epochs=30, batch_size=15, turns=weight)
        network = stage.fit(images, runtime).network_
        latents = np.concatenate([encode(network, ImageSet.of(each), runtime) for each in turned])
        return LogisticRegression(max_iter=1000).fit(latents, turns).score(latents, turns)

    assert told(1.0) > told(0.0)


def test_bfloat16_trains_float32_weights(images):
    stage = Autoencoder("cvae", 3, epochs=2, batch_size=15, learning_rate=0.003)
    stage.fit(images, Runtime(bfloat16=True))
    exact = Autoencoder("cvae", 3, epochs=2, batch_size=15, learning_rate=0.003)
    exact.fit(images, Runtime())
    assert {p.dtype for p in stage.network_.parameters()} == {torch.float32}
    assert stage.losses_ != exact.losses_
    assert stage.losses_ == pytest.approx(exact.losses_, rel=0.05)
