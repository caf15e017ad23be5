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
        for kernel in turned["params"]:
            if kernel.grad is not None:
                self._turn(kernel, turned["lr"])
                kernel.grad = None  # AdamW passes it by
        return super().step(closure)

    def _turn(self, kernel: Tensor, share: float) -> None:
        assert kernel.grad is not None
        state = self.state[kernel]
        if not state:  # by AdamW's names, which it looks for when a state is loaded
            state["step"] = torch.zeros((), device=kernel.device)
            state["exp_avg"] = torch.zeros_like(kernel)
        state["step"] += 1
        average = state["exp_avg"].lerp_(kernel.grad, 1 - MOMENTUM)
        ahead = kernel.grad.lerp(average, MOMENTUM)
        direction = orthogonalised(ahead.flatten(1)).view_as(kernel)
        length = kernel.norm()
        # a kernel without a gradient has no direction: it stays
        kernel.sub_(direction * (share * length / direction.norm().clamp_min(1e-12)))
        kernel.mul_(length / kernel.norm().clamp_min(1e-12))


def orthogonalised(matrix: Tensor) -> Tensor:
    """The float32 (M, N) matrix with its singular values brought near 1; those of 0 stay.

    The rounds are done on its Gram matrix, the smaller of the two, which costs half as much. It has
    to be float32: rounded to less, it has negative eigenvalues, and these grow.
    """
    wide = matrix if len(matrix) <= matrix.shape[1] else matrix.mT
    wide = wide / wide.norm().clamp_min(1e-12)
    gram = wide @ wide.mT
    factor = product = _polynomial(gram)
    for _ in range(ROUNDS - 1):
        gram = factor @ gram @ factor
        factor = _polynomial(gram)
        product = factor @ product
    turned = product @ wide
    return turned if len(matrix) <= matrix.shape[1] else turned.mT


def _polynomial(gram: Tensor) -> Tensor:
    a, b, c = QUINTIC
    found = torch.addmm(gram, gram, gram, beta=b, alpha=c)
    found.diagonal().add_(a)
    return found
