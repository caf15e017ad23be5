"""Stage 4: ODIN (Liang et al. 2018), temperature and perturbation, logits -> confidence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from clad.data.images import ImageSet
from clad.errors import FitError
from clad.runtime import Runtime, log

Auto = Literal["auto"]
PERTURBATIONS = (0.0, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2)  # what ``auto`` chooses from
TEMPERATURES = (0.1, 1000.0)  # ``auto`` stays between these


def log_confidence(logits: Tensor, temperature: float) -> Tensor:
    """log S(x; T) = log max_j softmax(logits / T), float64 (N,).

    In float64, since at T = 1000 S is about (1/K)(1 + (z_max - mean z)/T) and float32 rounds the
    ranking away.
    """
    scaled = logits.double() / temperature
    return scaled.amax(dim=1) - scaled.logsumexp(dim=1)


@dataclass(frozen=True)
class Confidences:
    """What ODIN says of N images.

    ``confidence``: float64 (N,) in [1/K, 1], S(x'; T). ``scores``: float64 (N,), anomaly scores, a
    decreasing function of it. ``classes``: int64 (N,), the class of the largest logit.
    """

    confidence: NDArray[np.float64]
    scores: NDArray[np.float64]
    classes: NDArray[np.int64]


class ODIN:
    """Confidence of a classifier after a small step that raises it.

    The step x' = x + epsilon * sign(grad_x log S(x; T)) raises normal images' confidence more than
    anomalies' (Liang et al. 2018, equation 2). ``perturbation`` is in units of the pixel range.
    """

    def __init__(self, temperature: float = 1000.0, perturbation: float = 1e-4) -> None:
        self.temperature = temperature
        self.perturbation = perturbation

    def score(
        self, network: nn.Module, images: ImageSet, runtime: Runtime, batch_size: int = 512
    ) -> Confidences:
        """Score all images, in order.

        The anomaly score is -T (log S(x'; T) + log K): 0 where the classifier knows nothing, at
        large T minus the largest logit's lead over their mean. The order is that of S.
        """
        network.eval().requires_grad_(False)
        log_s, classes, n_classes = [], [], 1
        n_batches = -(-len(images) // batch_size)
        bar = {"total": n_batches, "unit": "image", "unit_scale": batch_size}
        for batch in runtime.track(images.batches(batch_size), "odin", **bar):
            x = runtime.floats(batch)
            if self.perturbation > 0:
                x.requires_grad_(True)
                with runtime.autocast(scoring=True):  # of the gradient only the sign counts
                    logits = network(x)
                # log S times T has the same sign and no underflow at large T
                objective = self.temperature * log_confidence(logits, self.temperature).sum()
                (gradient,) = torch.autograd.grad(objective, x)
                classes.append(logits.detach().argmax(dim=1))
                x = x.detach() + self.perturbation * gradient.sign()
            with torch.inference_mode():
                logits = network(x)
                log_s.append(log_confidence(logits, self.temperature))
                n_classes = logits.shape[1]
            if self.perturbation == 0:
                classes.append(logits.argmax(dim=1))
        log_confidences = torch.cat(log_s).cpu().numpy()
        return Confidences(
            confidence=np.exp(log_confidences),
            scores=-self.temperature * (log_confidences + np.log(n_classes)),
            classes=torch.cat(classes).cpu().numpy(),
        )


def choose(
    temperature: float | Auto,
    perturbation: float | Auto,
    network: nn.Module,
    images: ImageSet,
    classes: NDArray[np.int64],
    runtime: Runtime,
) -> ODIN:
    """ODIN with the numbers given; ``auto`` is chosen by normal images alone.

    ``images``: normal ones that the network was not trained on. ``classes``: int64 (N,), what it
    should say of them. The temperature is the one that makes these likeliest (Guo et al. 2017,
    arXiv 1706.04599), the perturbation the one that raises the mean confidence at that temperature
    most (Hsu et al. 2020, arXiv 2002.11297).

    Raises FitError where something is ``auto`` and there is no image to choose by.
    """
    if len(images) == 0 and "auto" in (temperature, perturbation):
        raise FitError(
            "odin.temperature or odin.perturbation: auto needs images held out from training; "
            "raise validation.fraction, or give a number"
        )
    if temperature == "auto":
        temperature = likeliest_temperature(network, images, classes, runtime)
        log.info("odin: temperature %.4g", temperature)
    if perturbation == "auto":
        tried = [ODIN(temperature, step) for step in PERTURBATIONS]
        means = [each.score(network, images, runtime).confidence.mean() for each in tried]
        perturbation = PERTURBATIONS[int(np.argmax(means))]
        log.info("odin: perturbation %g", perturbation)
    return ODIN(temperature, perturbation)


@torch.inference_mode()
def likeliest_temperature(
    network: nn.Module, images: ImageSet, classes: NDArray[np.int64], runtime: Runtime
) -> float:
    """The temperature at which ``classes``, int64 (N,), of the images are likeliest."""
    from scipy.optimize import minimize_scalar

    network.eval()
    logits = torch.cat([network(runtime.floats(batch)).double() for batch in images.batches(512)])
    wanted = torch.from_numpy(classes).to(logits.device)

    def loss(exponent: float) -> float:
        return float(nn.functional.cross_entropy(logits / 10**exponent, wanted))

    bounds = tuple(np.log10(TEMPERATURES))
    return float(10 ** minimize_scalar(loss, bounds=bounds, method="bounded").x)
