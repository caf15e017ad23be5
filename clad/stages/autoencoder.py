"""Stage 1: convolutional autoencoder, images -> latents."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from clad.data.images import ImageSet
from clad.errors import ConfigError
from clad.runtime import Runtime
from clad.stages.augmentation import Augmentation
from clad.stages.contrastive import nt_xent
from clad.stages.layers import LatentModel, Standardize, encode
from clad.stages.transformations import choose_transformations
from clad.training import Checkpoints, train

Architecture = Literal["cvae", "cvae_large"]

# Output channels of each 3x3 convolution, in multiples of the image's channels; "pool" halves the
# map. The two networks of Park et al. 2021 (arXiv 2104.09793), section 4.
PLANS: dict[Architecture, tuple[int | Literal["pool"], ...]] = {
    "cvae": (4, "pool", 8, "pool", 16),
    "cvae_large": (16, 16, "pool", 32, 32, "pool", 64, 64),
}
HIDDEN = 512


class ConvolutionalAutoencoder(LatentModel):
    """Encoder and mirrored decoder. Deterministic: the latent is the mean head alone.

    The authors read the last layer as (mean, sigma) and add noise without a KL term, at prediction
    time too, which makes pseudo-labels random; here there is no noise. Input and reconstruction
    are both in [0, 1], the range of the sigmoid.
    """

    def __init__(
        self, architecture: Architecture, shape: tuple[int, int, int], latent_dim: int
    ) -> None:
        super().__init__()
        channels, height, width = shape
        plan = PLANS[architecture]
        n_pools = plan.count("pool")
        if min(height, width) < 2**n_pools:
            raise ConfigError(
                f"autoencoder.architecture {architecture!r} needs images of at least "
                f"{2**n_pools} pixels a side, got {height}x{width}"
            )
        batch_norm = architecture == "cvae_large"
        self.standardize = Standardize(channels)
        layers: list[nn.Module] = []
        sizes = [(height, width)]
        widths = [channels]
        for step in plan:
            if step == "pool":
                # ELU rises everywhere, so it may follow: the same, for a quarter of the work
                layers.insert(-1, nn.MaxPool2d(2))
                sizes.append((sizes[-1][0] // 2, sizes[-1][1] // 2))
            else:
                layers += _convolution(widths[-1], step * channels, batch_norm)
                widths.append(step * channels)
        flat = widths[-1] * sizes[-1][0] * sizes[-1][1]
        self.encoder = nn.Sequential(
            *layers, nn.Flatten(), nn.Linear(flat, HIDDEN), nn.ELU(), nn.Linear(HIDDEN, latent_dim)
        )
        layers = [nn.Unflatten(1, (widths[-1], *sizes[-1]))]
        sizes.pop()
        for step in reversed(plan):
            if step == "pool":
                layers.append(nn.Upsample(size=sizes.pop()))
            else:
                inner = widths.pop()
                last = len(widths) == 1
                if last:
                    layers.append(nn.Conv2d(inner, channels, 3, padding=1))
                else:
                    layers += _convolution(inner, widths[-1], batch_norm)
        self.decoder = nn.Sequential(
            nn.Linear(latent_dim, HIDDEN), nn.ELU(), nn.Linear(HIDDEN, flat), nn.ELU(), *layers
        )

    def encode(self, x: Tensor) -> Tensor:
        """Float (N, C, H, W) in [0, 1] -> latents (N, D)."""
        return self.encoder(self.standardize(x))

    def decode(self, z: Tensor) -> Tensor:
        """Latents (N, D) -> float (N, C, H, W) in [0, 1]."""
        return torch.sigmoid(self.decoder(z))

    def forward(self, x: Tensor) -> Tensor:
        """Reconstruction of ``x``."""
        return self.decode(self.encode(x))


def _convolution(inner: int, outer: int, batch_norm: bool) -> list[nn.Module]:
    norm = [nn.BatchNorm2d(outer)] if batch_norm else []
    return [nn.Conv2d(inner, outer, 3, padding=1, bias=not batch_norm), *norm, nn.ELU()]


class Autoencoder:
    """Learns latents by reconstruction: mean squared error, Adam.

    With ``denoise`` an image is to be restored from an augmented copy of it (Vincent et al. 2008),
    so that the latent holds less of what augmentation changes, such as the lighting. ``turns`` and
    ``contrastive`` are the weights of two further terms, 0 for none: the cross-entropy of a linear
    head that tells from the latent which way up the image is (Gidaris et al. 2018), and that of
    finding an image's latent by the latent of another augmented copy of it (Chen et al. 2020).
    """

    def __init__(
        self,
        architecture: Architecture = "cvae",
        latent_dim: int = 10,
        *,
        epochs: int = 100,
        batch_size: int = 512,
        learning_rate: float = 1e-3,
        schedule: str = "constant",
        denoise: bool = False,
        turns: float = 0.0,
        contrastive: float = 0.0,
    ) -> None:
        self.denoise = denoise
        self.turns = turns
        self.contrastive = contrastive
        self.architecture: Architecture = architecture
        self.latent_dim = latent_dim
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.schedule = schedule

    def fit(
        self,
        images: ImageSet,
        runtime: Runtime,
        checkpoints: Checkpoints | None = None,
        *,
        augment: Augmentation | None = None,
    ) -> Autoencoder:
        """Train on ``images``; sets ``network_`` and ``losses_`` (one an epoch).

        ``augment`` makes the copies that ``denoise`` and ``contrastive`` ask for.
        """
        turned = choose_transformations("auto", False, False, False, images.shape)
        with runtime.seeded("autoencoder", "weights"):
            network = ConvolutionalAutoencoder(self.architecture, images.shape, self.latent_dim)
            head = nn.Linear(self.latent_dim, len(turned)) if self.turns else None
        network.standardize.adapt(images)
        trained = network if head is None else nn.ModuleList([network, head])
        runtime.place(trained)

        def copy_of(x: Tensor, generator: torch.Generator) -> Tensor:
            return x if augment is None else augment(x, generator)

        def loss(positions: NDArray[np.int64], generator: torch.Generator) -> Tensor:
            x = runtime.floats(images.read(positions))
            shown = copy_of(x, generator) if self.denoise else x
            with runtime.autocast():
                latents = network.encode(shown)
                reconstruction = network.decode(latents)
            value = F.mse_loss(reconstruction.float(), x)
            if self.contrastive:
                with runtime.autocast():
                    others = network.encode(copy_of(x, generator))
                value = value + self.contrastive * nt_xent(latents.float(), others.float())
            if head is not None:
                turns = torch.randint(len(turned), (len(x),), generator=generator).to(x.device)
                with runtime.autocast():
                    told = head(network.encode(turned.apply_each(shown, turns)))
                value = value + self.turns * F.cross_entropy(told.float(), turns)
            return value

        self.losses_ = train(
            "autoencoder",
            trained,
            torch.optim.Adam(trained.parameters(), lr=self.learning_rate, fused=True),
            loss,
            len(images),
            epochs=self.epochs,
            batch_size=self.batch_size,
            schedule=self.schedule,
            runtime=runtime,
            checkpoints=checkpoints,
        )
        self.network_ = network
        return self

    def transform(self, images: ImageSet, runtime: Runtime) -> NDArray[np.float32]:
        """Latents float32 (N, D)."""
        return encode(self.network_, images, runtime)
