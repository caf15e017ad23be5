"""Stage 3's networks: residual, of any width, with a stem that suits the image's size."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from clad.stages.convolution import Convolution
from clad.stages.layers import FeatureModel, Standardize

Stem = Literal["torchvision", "small", "small-stride"]
Network = Literal["resnet8", "resnet18"]

STRIDES: dict[Stem, int] = {"torchvision": 4, "small": 1, "small-stride": 2}
LARGE = 48  # pixels a side, from which a quarter of them is enough of a map


def stem_for(asked: Stem | Literal["auto"], height: int, width: int) -> Stem:
    """The stem ``asked`` for; ``auto``: the one that suits images of so many pixels."""
    if asked != "auto":
        return asked
    return "torchvision" if min(height, width) >= LARGE else "small-stride"


class BasicBlock(nn.Module):
    """x or its shortcut + two 3x3 convolutions.

    It is torchvision's block, the import of which would take most of the time to load a model.
    """

    def __init__(
        self, inner: int, outer: int, stride: int = 1, downsample: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inner, outer, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outer)
        self.conv2 = nn.Conv2d(outer, outer, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outer)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        """Float (N, C, h, w) -> (N, outer, h / stride, w / stride)."""
        out = F.relu(self.bn1(self.conv1(x)), inplace=True)
        out = self.bn2(self.conv2(out))
        out += x if self.downsample is None else self.downsample(x)
        return F.relu(out, inplace=True)


class PoolingBlock(nn.Module):
    """A 3x3 convolution, halved by max-pooling, + another one of it."""

    def __init__(self, inner: int, outer: int) -> None:
        super().__init__()
        self.conv1 = Convolution(inner, outer)
        self.bn1 = nn.BatchNorm2d(outer)
        self.conv2 = Convolution(outer, outer)
        self.bn2 = nn.BatchNorm2d(outer)

    def forward(self, x: Tensor) -> Tensor:
        """Float (N, C, h, w) -> (N, outer, h / 2, w / 2), rounded up."""
        x = F.max_pool2d(self.conv1(x), 2, ceil_mode=True)
        x = F.relu(self.bn1(x), inplace=True)
        out = self.bn2(self.conv2(x))
        out += x
        return F.relu(out, inplace=True)


class ResNet(FeatureModel):
    """A stem, four maps each smaller than the one before, and a linear ``head`` on the last.

    ``CHANNELS``: how many channels the maps have, in units of the width.

    Stems: ``torchvision``, 7x7 stride 2 and max-pool, for 48 to 224 pixels; ``small``, 3x3 stride
    1, no pool, for 28 to 64 pixels; ``small-stride``, 3x3 stride 2, a quarter of its cost. The map
    is smaller than the image by their ``STRIDES``. ``blocks`` are what follows it, and ``ends``
    after which of those (0: the stem) each map is taken.
    """

    CHANNELS: ClassVar[tuple[int, int, int, int]]

    def __init__(
        self,
        channels: int,
        n_classes: int,
        *,
        width: int,
        stem: Stem,
        blocks: Iterable[nn.Module],
        ends: tuple[int, ...],
    ) -> None:
        super().__init__()
        self.standardize = Standardize(channels)
        if stem == "torchvision":
            first = nn.Conv2d(channels, width, 7, stride=2, padding=3, bias=False)
        else:
            first = nn.Conv2d(channels, width, 3, stride=STRIDES[stem], padding=1, bias=False)
        layers: list[nn.Module] = [first, nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
        if stem == "torchvision":
            layers.append(nn.MaxPool2d(3, stride=2, padding=1))
        self._ends = [len(layers) - 1 + end for end in ends]
        self.trunk = nn.Sequential(*layers, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head = nn.Linear(8 * width, n_classes)
        for module in self.modules():
            # where there are no weights yet it would have torch import its compiler, 150 MiB
            if isinstance(module, nn.Conv2d) and not module.weight.is_meta:
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def maps(self, x: Tensor) -> list[Tensor]:
        """Float (N, C, H, W) in [0, 1] -> the four maps, float (N, F_s, h_s, w_s)."""
        x = self.standardize(x).contiguous(memory_format=torch.channels_last)
        maps = []
        for number, layer in enumerate(self.trunk[:-2]):
            x = layer(x)
            if number in self._ends:
                maps.append(x)
        return maps

    def pool(self, last: Tensor) -> Tensor:
        """The last map -> penultimate features float32 (N, 8 * width)."""
        return self.trunk[-2:](last.float())

    def forward(self, x: Tensor) -> Tensor:
        """Float (N, C, H, W) in [0, 1] -> logits (N, K)."""
        return self.head(self.features(x))


class ResNet18(ResNet):
    """He et al. 2016, arXiv 1512.03385: four stages of two blocks, halved by strides."""

    CHANNELS = (1, 2, 4, 8)

    def __init__(
        self, channels: int, n_classes: int, *, width: int = 64, stem: Stem = "torchvision"
    ) -> None:
        blocks, inner = [], width
        for times, stride in zip(self.CHANNELS, (1, 2, 2, 2), strict=True):
            outer = times * width
            shortcut = None
            if stride != 1:
                convolution = nn.Conv2d(inner, outer, 1, stride=stride, bias=False)
                shortcut = nn.Sequential(convolution, nn.BatchNorm2d(outer))
            two = [BasicBlock(inner, outer, stride, shortcut), BasicBlock(outer, outer)]
            two[0].conv2 = Convolution(outer, outer)
            two[1].conv1 = Convolution(outer, outer)
            two[1].conv2 = Convolution(outer, outer)
            blocks += two
            inner = outer
        super().__init__(
            channels, n_classes, width=width, stem=stem, blocks=blocks, ends=(2, 4, 6, 8)
        )


class ResNet8(ResNet):
    """Seven convolutions and the head, halved by max-pooling (after Page 2018 and Jordan 2024).

    Few wide layers learn more in a few epochs than many narrow ones, and a CPU is faster at them.
    myrtle.ai/learn/how-to-train-your-resnet, arXiv 2404.00498.
    """

    CHANNELS = (1, 2, 6, 8)

    def __init__(
        self, channels: int, n_classes: int, *, width: int = 64, stem: Stem = "small-stride"
    ) -> None:
        blocks = [PoolingBlock(*pair) for pair in pairwise(width * n for n in self.CHANNELS)]
        super().__init__(
            channels, n_classes, width=width, stem=stem, blocks=blocks, ends=(0, 1, 2, 3)
        )


NETWORKS: dict[Network, type[ResNet18] | type[ResNet8]] = {"resnet8": ResNet8, "resnet18": ResNet18}
