"""Where training keeps its state, stage by stage, as bundles."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import torch
from torch import Tensor

from clad.artifact import Bundle, read_bundle, write_bundle
from clad.errors import ModelError


class CheckpointFolder:
    """Each stage's last state, so that an interrupted run goes on where it was.

    ``fingerprint`` says what is being trained (configuration and images); what another run left
    behind is not used. Checkpoints are at least ``every`` seconds apart, and further where one
    takes long to write, so that they cost at most the share ``COST`` of the time; with ``every=0``
    all of them are kept.
    """

    COST = 0.02

    def __init__(self, folder: Path, fingerprint: str, every: float = 30.0) -> None:
        self.folder = folder
        self.fingerprint = fingerprint
        self.every = every
        self._last = time.monotonic()
        self._took = 0.0

    def due(self) -> bool:
        """Whether enough time has passed since the last checkpoint."""
        gap = max(self.every, self._took / self.COST) if self.every else 0.0
        return time.monotonic() - self._last >= gap

    def save(self, stage: str, tensors: dict[str, Tensor], progress: dict[str, object]) -> None:
        """Keep the state of ``stage``, replacing what was kept before."""
        document = {"fingerprint": self.fingerprint, "progress": progress}
        arrays = {name: tensor.detach().cpu().numpy() for name, tensor in tensors.items()}
        start = time.monotonic()
        write_bundle(self.folder / stage, Bundle({"state": arrays}, document))
        self._last = time.monotonic()
        self._took = self._last - start

    def load(self, stage: str) -> tuple[dict[str, Tensor], dict[str, object]] | None:
        """What was kept for ``stage`` of this very run, or None; a damaged one is not used."""
        try:
            bundle = read_bundle(self.folder / stage)
        except ModelError:
            return None
        if bundle.document.get("fingerprint") != self.fingerprint:
            return None
        state = {name: torch.from_numpy(a.copy()) for name, a in bundle.arrays["state"].items()}
        return state, bundle.document["progress"]

    def part(self, name: str) -> CheckpointFolder:
        """The checkpoints of a part of the run that trains the same stages, such as a fold."""
        return CheckpointFolder(self.folder / name, self.fingerprint, self.every)

    def clear(self) -> None:
        """Remove the checkpoints: the run is complete."""
        shutil.rmtree(self.folder, ignore_errors=True)
