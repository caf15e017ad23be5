"""The one training loop: seeded epochs, learning-rate schedule, checkpoints, faults named."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from clad.errors import FitError
from clad.runtime import Runtime, log, memory_advice

Positions = NDArray[np.int64]


class Checkpoints(Protocol):
    """Where training keeps what it would hate to lose; see ``checkpoints.CheckpointFolder``."""

    def save(self, stage: str, tensors: dict[str, Tensor], progress: dict[str, object]) -> None:
        """Keep the state of ``stage``, replacing what was kept before."""

    def load(self, stage: str) -> tuple[dict[str, Tensor], dict[str, object]] | None:
        """What was kept for ``stage``, or None."""

    def due(self) -> bool:
        """Whether enough time has passed to be worth the writing."""

    def part(self, name: str) -> Checkpoints:
        """Those of a part of the run that trains the same stages, such as a fold."""


def learning_rate(schedule: str, base: float, done: float) -> float:
    """The rate after the share ``done`` in [0, 1] of training.

    ``one-cycle`` rises linearly over the first tenth, then falls as a cosine to a hundredth.
    """
    if schedule == "constant":
        return base
    warm = 0.1
    if done < warm:
        return base * (0.1 + 0.9 * done / warm)
    return base * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * (done - warm) / (1 - warm))))


def train(
    stage: str,
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    loss: Callable[[Positions, torch.Generator], Tensor],
    n: int,
    *,
    epochs: int,
    batch_size: int,
    runtime: Runtime,
    schedule: str = "constant",
    share: tuple[float, float] = (0.0, 1.0),
    before_epoch: Callable[[int], bool] | None = None,
    checkpoints: Checkpoints | None = None,
) -> list[float]:
    """Minimise ``loss(positions, generator)`` over ``n`` items; returns each epoch's mean loss.

    ``positions``: int64 (B,), a random batch; every item is seen once an epoch, batches differ in
    size by at most one. ``share``: from where to where in the schedule these epochs lead, where
    several calls share it. ``before_epoch(epoch)`` may prepare the epoch; True ends training. With
    ``checkpoints`` the state at an epoch's end is kept, and training goes on from there to the same
    weights, bit for bit.

    Raises FitError where the loss is not finite (the last checkpoint stays) or memory runs out.
    """
    start, end = share
    base_rates = [group["lr"] for group in optimizer.param_groups]
    losses = _resume(stage, module, optimizer, checkpoints)
    if losses:
        log.info("%s: resumed after epoch %d of %d", stage, len(losses), epochs)
    # at least two images a batch: batch norm has nothing to say of one
    n_batches = max(1, min(math.ceil(n / batch_size), n // 2))
    progress = {"initial": len(losses), "total": epochs, "unit": "image", "unit_scale": n}
    for epoch in runtime.track(range(len(losses), epochs), stage, **progress):
        if before_epoch is not None and before_epoch(epoch):
            break
        module.train()
        order = runtime.rng(stage, "order", epoch).permutation(n)
        total = 0.0
        for step, positions in enumerate(np.array_split(order, n_batches)):
            done = start + (end - start) * (epoch + step / n_batches) / epochs
            for group, base in zip(optimizer.param_groups, base_rates, strict=True):
                group["lr"] = learning_rate(schedule, base, done)
            advice = f"{stage}: out of memory; lower {stage}.batch_size (now {batch_size})"
            with memory_advice(advice), runtime.deterministic():
                value = loss(positions, runtime.generator(stage, epoch, step))
                optimizer.zero_grad(set_to_none=True)
                value.backward()
                batch_loss = value.item()
            if not math.isfinite(batch_loss):
                raise FitError(
                    f"{stage}: the loss became {batch_loss} in epoch {epoch + 1}, step {step + 1}; "
                    f"lower {stage}.learning_rate (the last good checkpoint is kept)"
                )
            optimizer.step()
            total += batch_loss * len(positions)
        if not all(bool(torch.isfinite(weight).all()) for weight in module.parameters()):
            raise FitError(
                f"{stage}: the weights are not finite after epoch {epoch + 1}; "
                f"lower {stage}.learning_rate (the last good checkpoint is kept)"
            )
        losses.append(total / n)
        log.debug("%s: epoch %d of %d, loss %.6g", stage, epoch + 1, epochs, losses[-1])
        if checkpoints is not None and (checkpoints.due() or epoch + 1 == epochs):
            _keep(stage, module, optimizer, losses, checkpoints)
    module.eval()
    return losses


def _keep(
    stage: str,
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    losses: list[float],
    checkpoints: Checkpoints,
) -> None:
    tensors = {f"module.{k}": v for k, v in module.state_dict().items()}
    for i, state in optimizer.state_dict()["state"].items():
        for key, value in state.items():
            if value is not None:
                tensors[f"optimizer.{i}.{key}"] = torch.as_tensor(value)
    checkpoints.save(stage, tensors, {"losses": losses})


def _resume(
    stage: str,
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    checkpoints: Checkpoints | None,
) -> list[float]:
    kept = None if checkpoints is None else checkpoints.load(stage)
    if kept is None:
        return []
    tensors, progress = kept
    weights: dict[str, Tensor] = {}
    state: dict[int, dict[str, Tensor]] = {}
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for name, value in tensors.items():
        kind, _, rest = name.partition(".")
        if kind == "module":
            weights[rest] = value
            continue
        number, _, key = rest.partition(".")
        parameter = parameters[int(number)]
        if value.shape == parameter.shape:
            # in the parameter's memory layout: fused kernels walk both side by side
            value = torch.empty_like(parameter).copy_(value)
        state.setdefault(int(number), {})[key] = value
    module.load_state_dict(weights)
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})
    return list(progress["losses"])  # type: ignore[call-overload]
