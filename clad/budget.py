"""How long to train: the epochs and the width that fill the time given, tried on this machine."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from clad.config import Config, build
from clad.data.images import ImageSet
from clad.errors import ConfigError
from clad.recipes import merge
from clad.runtime import Runtime, log

TRIAL = 600  # images of the trial; a sixth of them go first, to warm up
SHARE = 0.9  # of the time is planned with; the rest is for what a trial does not show
OF_AUTOENCODER = 0.25  # of the time for training, at most
OF_COLOURS = 0.25  # of the classifier's epochs, where colours are told
WIDTHS = (16, 32, 64)  # of the classifier
FEWEST = 5  # epochs of the classifier: for fewer it is made narrower
MOST = 60  # of them where none are configured: few images are learnt by heart

Trial = Callable[[Config, ImageSet], tuple[dict[str, float], int]]


def within(config: Config, images: ImageSet, trial: Trial, runtime: Runtime) -> dict[str, Any]:
    """Keys that make a fit on ``images`` take about ``config.budget`` seconds on this machine.

    ``trial`` fits with another configuration on some images and returns the seconds of each stage
    and how many images it was fitted on. The trial's own time is part of the budget. Chosen are
    ``classifier.epochs`` and ``autoencoder.epochs``, up to the numbers configured (60 for
    ``auto``), and the classifier's ``width`` and ``rounds``, whatever is configured.

    Raises ConfigError where the time is too short.
    """
    assert config.budget is not None
    start = time.monotonic()
    end = start + SHARE * config.budget
    most = MOST if config.classifier.epochs == "auto" else config.classifier.epochs
    order = runtime.rng("budget").permutation(len(images))
    trial(_short(config, config.classifier.width), images.take(order[: TRIAL // 6]))
    tried = images.take(order[:TRIAL])

    def plan(width: int) -> dict[str, Any]:
        seconds, n = trial(_short(config, width), tried)
        of_one = {stage: value / n for stage, value in seconds.items()}
        scored = min(len(images), config.score.limit + config.validation.maximum)
        clustering = len(images) * of_one["dec"]
        fixed = clustering * config.classifier.rounds + scored * of_one.get("score", 0)
        left = (end - time.monotonic() - fixed) / len(images)
        of_epoch = of_one["classifier"] + OF_COLOURS * of_one.get("colours", 0)
        first = int(OF_AUTOENCODER * left / of_one["autoencoder"])
        first = max(min(first, config.autoencoder.epochs), 1)
        epochs = min(int((left - first * of_one["autoencoder"]) / of_epoch), most)
        if epochs < 1:
            least = time.monotonic() - start + fixed
            least += (of_one["autoencoder"] + of_epoch) * len(images)
            raise ConfigError(
                f"budget = {config.budget:g} s: {len(images)} images take at least "
                f"{math.ceil(least / SHARE)} s on this machine; raise it, or give fewer or smaller "
                "images"
            )
        rounds = min(config.classifier.rounds, max(epochs // 2, 1))
        return {
            "autoencoder": {"epochs": first},
            "classifier": {"epochs": epochs, "width": width, "rounds": rounds},
        }

    chosen = plan(config.classifier.width)
    epochs, width = (chosen["classifier"][key] for key in ("epochs", "width"))
    wider, narrower = ([w for w in WIDTHS if w > width], [w for w in WIDTHS if w < width])
    if epochs == most and wider:
        with suppress(ConfigError):  # so dear that not one epoch fits
            other = plan(wider[0])
            chosen = other if other["classifier"]["epochs"] >= most // 2 else chosen
    elif epochs < min(FEWEST, most) and narrower:
        chosen = plan(narrower[-1])
    log.info("budget: %s", ", ".join(f"{s}.{k}={v}" for s in chosen for k, v in chosen[s].items()))
    return chosen


def _short(config: Config, width: int) -> Config:
    """One epoch of each stage, on few images, whatever their scores are."""
    changes = {
        "budget": None,
        "calibration": {"method": "split", "minimum": 10, "fraction": 0.1},
        "autoencoder": {"epochs": 1},
        "dec": {"epochs": min(config.dec.epochs, 1)},
        "classifier": {"epochs": 1, "rounds": 1, "width": width},
        "threshold": {"method": "quantile", "alpha": 0.5},
    }
    return build(merge(config.model_dump(), changes))
