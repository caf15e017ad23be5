"""Muon: a step turns a layer's weights by the same angle in every direction that it is asked to."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

# Newton-Schulz of Jordan et al. (2024): after five rounds singular values lie within 0.7 to 1.2
QUINTIC = (3.4445, -4.7750, 2.0315)
ROUNDS = 5
MOMENTUM = 0.9
CHANNELS_LAST = (0, 2, 3, 1)
STEP = 25.0  # the share of its length that a kernel moves, over AdamW's learning rate beside it


class Muon(torch.optim.AdamW):
    """AdamW for most ``parameters``; ``kernels`` move along their orthogonalised momentum.

    Of convolutions that a batch norm follows the direction alone counts, so each kernel, a matrix
    of outputs by everything else, keeps its length, and moves by ``STEP * lr`` of it (Jordan et al.
    2024, kellerjordan.github.io/posts/muon; momentum is Nesterov's). Weight decay is AdamW's alone.
    torch's own Muon takes matrices only, and not before its version 2.9.
    """

    def __init__(
        self, parameters: Iterable[Tensor], kernels: Iterable[Tensor], **of_adamw: Any
    ) -> None:
        others: dict[str, Any] = {"params": list(parameters)}
        turned: dict[str, Any] = {"params": list(kernels), "lr": STEP * of_adamw["lr"]}
        super().__init__([others, turned], **of_adamw)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """As every optimizer's; the kernels' gradients are gone after it."""
        turned = self.param_groups[1]
        together: dict[object, list[Tensor]] = {}
        for kernel in turned["params"]:
            if kernel.grad is not None:
                # a GPU waits for launches: one for all of a shape; a CPU's cache holds one kernel
                key = kernel.shape if kernel.is_cuda else id(kernel)
                together.setdefault(key, []).append(kernel)
        for kernels in together.values():
            self._turn(kernels, turned["lr"])
            for kernel in kernels:
                kernel.grad = None  # AdamW passes it by
        return super().step(closure)

    def _turn(self, kernels: list[Tensor], share: float) -> None:
        """Move these, all of one shape, by ``share`` of their lengths."""
        direction = orthogonalised(torch.stack([_matrix(self._ahead(each)) for each in kernels]))
        weights = torch.stack([_matrix(each) for each in kernels])
        length = _norms(weights)
        # a kernel without a gradient has no direction: it stays
        weights -= direction.mul_(share * length / _norms(direction).clamp_min(1e-12))
        weights *= length / _norms(weights).clamp_min(1e-12)
        for kernel, turned in zip(kernels, weights, strict=True):
            there = kernel.permute(CHANNELS_LAST)
            there.copy_(turned.view_as(there))

    def _ahead(self, kernel: Tensor) -> Tensor:
        """Its momentum, with this step's gradient taken in."""
        assert kernel.grad is not None
        state = self.state[kernel]
        if not state:  # by AdamW's names, which it looks for when a state is loaded
            state["step"] = torch.zeros((), device=kernel.device)
            state["exp_avg"] = torch.zeros_like(kernel)
        state["step"] += 1
        average: Tensor = state["exp_avg"].lerp_(kernel.grad, 1 - MOMENTUM)
        return kernel.grad.lerp(average, MOMENTUM)


def orthogonalised(matrices: Tensor) -> Tensor:
    """float32 (G, M, N), each with its singular values brought near 1; those of 0 stay.

    The rounds are done on Gram matrices, of the smaller side, which costs half as much. It has to
    be float32: rounded to less, they have negative eigenvalues, and these grow.
    """
    tall = matrices.shape[1] > matrices.shape[2]
    wide = matrices.mT if tall else matrices
    wide = wide / _norms(wide).clamp_min(1e-12)
    gram = wide @ wide.mT
    factor = product = _polynomial(gram)
    for _ in range(ROUNDS - 1):
        gram = factor @ gram @ factor
        factor = _polynomial(gram)
        product = factor @ product
    turned = product @ wide
    return turned.mT if tall else turned


def _matrix(kernel: Tensor) -> Tensor:
    """A kernel (O, I, h, w) as (O, h * w * I): no copy where its channels are last in memory."""
    return kernel.permute(CHANNELS_LAST).flatten(1)


def _norms(matrices: Tensor) -> Tensor:
    """Frobenius norms (G, 1, 1) of (G, M, N)."""
    return torch.linalg.vector_norm(matrices, dim=(1, 2), keepdim=True)


def _polynomial(gram: Tensor) -> Tensor:
    a, b, c = QUINTIC
    found = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
    found.diagonal(dim1=1, dim2=2).add_(a)
    return found
