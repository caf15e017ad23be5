"""A 3x3 convolution that is as fast on small maps as the matrix products it amounts to there."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F  # noqa: N812
from torch.nn.grad import conv2d_input

TINY = 2  # pixels a side; beyond, more of the matrix is zeros than the convolution wastes
SMALL = 7  # pixels a side; beyond, gathering what each tap sees takes what the product saves


class Convolution(nn.Conv2d):
    """A 3x3 convolution of stride 1 with one pixel of padding.

    The kernels for CPUs are made for large maps. In those of at most 2x2 pixels most taps see
    nothing but padding, and a matrix product is several times as fast; up to 7x7 one is for the
    gradient of the weights, in bfloat16 (``benchmarks/speed.py``). The sums are the same. A GPU
    waits for launches, of which a convolution needs fewest.
    """

    def __init__(self, inner: int, outer: int) -> None:
        super().__init__(inner, outer, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Float (N, C, H, W) -> (N, D, H, W)."""
        side = max(x.shape[2:])
        if side > SMALL or x.is_cuda or (side > TINY and x.dtype != torch.bfloat16):
            return super().forward(x)
        of_its_size = _TinyConvolution if side <= TINY else _SmallConvolution
        result: Tensor = of_its_size.apply(x, self.weight.to(x.dtype))
        return result


class _TinyConvolution(torch.autograd.Function):
    """Maps as rows of H * W * C numbers, times a matrix whose blocks are the kernel's taps."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        n, inner, height, width = x.shape
        outer = len(weight)
        matrix = weight.new_empty(height, width, outer, height, width, inner)
        for (a, b), (i, j), (p, q) in _taps(height, width):
            matrix[a, b, :, i, j] = weight[:, :, p, q]
        matrix = matrix.view(height * width * outer, -1)
        rows = x.permute(0, 2, 3, 1).reshape(n, -1)
        ctx.save_for_backward(rows, matrix)
        ctx.shape = height, width, outer, inner
        return (rows @ matrix.t()).view(n, height, width, outer).permute(0, 3, 1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        rows, matrix = ctx.saved_tensors
        height, width, outer, inner = ctx.shape
        gradient = gradients[0].permute(0, 2, 3, 1).reshape(len(rows), -1)
        of_x = (gradient @ matrix).view(-1, height, width, inner).permute(0, 3, 1, 2)
        of_matrix = (gradient.t() @ rows).view(height, width, outer, height, width, inner)
        of_weight = matrix.new_zeros(outer, 3, 3, inner).permute(0, 3, 1, 2)
        for (a, b), (i, j), (p, q) in _taps(height, width):
            of_weight[:, :, p, q] += of_matrix[a, b, :, i, j]
        return of_x, of_weight


class _SmallConvolution(torch.autograd.Function):
    """torch's, but that the weights' gradient is that of the output times what each tap saw."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return F.conv2d(x, weight, padding=1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        (gradient,) = gradients
        of_x = of_weight = None
        if ctx.needs_input_grad[0]:
            of_x = conv2d_input(x.shape, weight, gradient, padding=1)
        if ctx.needs_input_grad[1]:
            height, width = x.shape[2:]
            padded = F.pad(x.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1))
            seen = [padded[:, i:, j:][:, :height, :width] for i in range(3) for j in range(3)]
            rows = torch.cat(seen, dim=3).flatten(0, 2)
            of_rows = gradient.permute(0, 2, 3, 1).flatten(0, 2)
            of_weight = (of_rows.t() @ rows).view(-1, 3, 3, x.shape[1]).permute(0, 3, 1, 2)
        return of_x, of_weight


def _taps(
    height: int, width: int
) -> Iterator[tuple[tuple[int, int], tuple[int, int], tuple[int, int]]]:
    """Every pixel of the result, every pixel it sees, and the tap it sees it by."""
    pixels = list(product(range(height), range(width)))
    for (a, b), (i, j) in product(pixels, pixels):
        yield (a, b), (i, j), (i - a + 1, j - b + 1)
