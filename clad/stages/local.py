"""Stage 4 for large images: a small network that finds defects painted on normal crops."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from clad.data.defects import paint
from clad.data.images import ImageSet
from clad.runtime import Runtime
from clad.stages.layers import Standardize
from clad.training import Checkpoints, train

STEP = 4  # pixels a side of a cell of the map
GRID = 8  # pixels a side of the coarsest cells inside; blocks of an image begin at multiples of it
REACH = 80  # pixels beyond a cell that its score may depend on, in whole coarsest cells
CROP = 128  # pixels a side of what is trained on
GRIDS = 2  # of cells, half a cell apart, that a score is the mean of
PRIOR = -4.0  # log-odds before anything is learnt: few cells are defective
OF_RARE = 0.25  # share of the crops shown, once there are rare ones
LEAST = 3  # changed pixels of a cell that make it defective; between none and these it is left out


class LocalNetwork(nn.Module):
    """Float (N, C, H, W) in [0, 1] -> logits (N, H / 4, W / 4), rounded up: is this cell defective?

    Two branches, at a quarter and at an eighth of the resolution, the second for what surrounds a
    cell. A defect of few pixels would be lost in a deeper one.
    """

    def __init__(self, channels: int, width: int = 24) -> None:
        super().__init__()
        inner = 2 * width
        self.standardize = Standardize(channels)
        self.near = nn.Sequential(
            nn.PixelUnshuffle(2),
            _convolution(4 * channels, width),
            _convolution(width, width),
            _convolution(width, inner, stride=2),
            _Residual(inner),
            _Residual(inner),
        )
        self.around = nn.Sequential(
            _convolution(inner, inner, stride=2), _Residual(inner), _Residual(inner)
        )
        last = nn.Conv2d(inner, 1, 1)
        nn.init.constant_(last.bias, PRIOR)  # type: ignore[arg-type]
        self.head = nn.Sequential(nn.Conv2d(2 * inner, inner, 1), nn.ReLU(inplace=True), last)

    def forward(self, x: Tensor) -> Tensor:
        """Of every cell of 4 x 4 pixels."""
        height, width = x.shape[2:]
        x = F.pad(self.standardize(x), (0, -width % GRID, 0, -height % GRID), mode="replicate")
        near = self.near(x.contiguous(memory_format=torch.channels_last))
        around = F.interpolate(self.around(near), scale_factor=2, mode="bilinear")
        joined = self.head[:2](torch.cat([near, around], 1))
        with torch.autocast(x.device.type, enabled=False):  # scores that differ must not be rounded
            logits: Tensor = self.head[2](joined.float())[:, 0]
        return logits[:, : -(-height // STEP), : -(-width // STEP)]


def _convolution(inner: int, outer: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inner, outer, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(outer),
        nn.ReLU(inplace=True),
    )


class _Residual(nn.Module):
    """x + two convolutions."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = _convolution(width, width)
        self.second = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.second(self.first(x)))


class Local:
    """Learns which cells of an image are out of place, from normal crops alone.

    Three crops in four have defects painted on them, anew each time, and the network is to say
    which cells they changed (binary cross-entropy). So it learns what in normal images looks like a
    defect and is none, which a distance to normal spots does not.
    """

    grids = GRIDS

    def __init__(
        self,
        *,
        width: int = 24,
        epochs: int = 12,
        batch_size: int = 16,
        learning_rate: float = 3e-3,
    ) -> None:
        self.width = width
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate

    def fit(
        self, crops: ImageSet, runtime: Runtime, checkpoints: Checkpoints | None = None
    ) -> Local:
        """Train a quarter of the epochs on normal ``crops``; ``refine`` does the rest.

        Sets ``network_`` and ``losses_`` (one an epoch).
        """
        with runtime.seeded("local", "weights"):
            self.network_ = LocalNetwork(crops.shape[0], self.width)
        self.network_.standardize.adapt(crops)
        runtime.place(self.network_)
        self.losses_ = self._train(crops, None, self._first, runtime, checkpoints)
        return self

    @property
    def _first(self) -> int:
        return max(self.epochs // 4, 1)

    def refine(
        self,
        crops: ImageSet,
        rare: ImageSet,
        runtime: Runtime,
        checkpoints: Checkpoints | None = None,
    ) -> Local:
        """Train on, a quarter of the crops being ``rare`` ones: normal, and taken for defects.

        ``losses_`` goes on.
        """
        checkpoints = checkpoints and checkpoints.part("rare")
        rest = self.epochs - self._first
        self.losses_ += self._train(crops, rare, rest, runtime, checkpoints)
        return self

    def _train(
        self,
        crops: ImageSet,
        rare: ImageSet | None,
        epochs: int,
        runtime: Runtime,
        checkpoints: Checkpoints | None,
    ) -> list[float]:
        network = self.network_

        def loss(positions: NDArray[np.int64], generator: torch.Generator) -> Tensor:
            rng = np.random.default_rng((generator.initial_seed(), rare is not None))
            shown = crops.read(positions)
            if rare is not None:
                swapped = np.flatnonzero(rng.random(len(shown)) < OF_RARE)
                shown[swapped] = rare.read(rng.integers(len(rare), size=len(swapped)))
            painted, masks = paint(shown, rng)
            changed = changed_pixels(torch.from_numpy(masks).to(runtime.device))
            with runtime.autocast():
                logits = network(runtime.floats(painted))
            clear = (changed == 0) | (changed >= LEAST)
            return F.binary_cross_entropy_with_logits(
                logits.float()[clear], (changed >= LEAST).float()[clear]
            )

        return train(
            "local",
            network,
            torch.optim.AdamW(network.parameters(), lr=self.learning_rate, fused=True),
            loss,
            len(crops),
            epochs=epochs,
            batch_size=self.batch_size,
            runtime=runtime,
            schedule="one-cycle",
            checkpoints=checkpoints,
        )

    @torch.inference_mode()
    def score(self, pixels: NDArray[np.uint8], runtime: Runtime) -> NDArray[np.float32]:
        """Log-odds float32 (H / 4, W / 4), rounded up, that a cell of uint8 (C, H, W) is defective.

        Higher = more anomalous; of defects as painted, so an order and no probability. The mean of
        the image as it is and moved by half a cell: what counts is not where the cells begin. With
        ``grids`` = 1, of models of before, of the image as it is.
        """
        self.network_.eval()
        found = self._logits(pixels, runtime)
        if self.grids == GRIDS:
            half = STEP // 2
            moved = np.pad(pixels, ((0, 0), (half, half), (half, half)), mode="edge")
            found = (found + F.avg_pool2d(self._logits(moved, runtime), 2, stride=1)) / 2
        return np.asarray(found[0].cpu().numpy())

    def _logits(self, pixels: NDArray[np.uint8], runtime: Runtime) -> Tensor:
        with runtime.autocast():
            logits: Tensor = self.network_(runtime.floats(np.ascontiguousarray(pixels)[None]))
        return logits.float()


def changed_pixels(masks: Tensor) -> Tensor:
    """Bool (N, H, W) -> float (N, H / 4, W / 4), rounded up: how many pixels of each cell are."""
    height, width = masks.shape[1:]
    whole = F.pad(masks.float(), (0, -width % STEP, 0, -height % STEP))
    return F.avg_pool2d(whole[:, None], STEP)[:, 0] * STEP**2
