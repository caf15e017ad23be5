"""Device, precision, seeds and threads: chosen once, passed down."""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from clad.errors import ConfigError, FitError

if TYPE_CHECKING:
    import torch

T = TypeVar("T")
log = logging.getLogger("clad")
# OpenBLAS's kernels for the instructions that torch finds
OPENBLAS_KERNELS = {"AVX2": "Haswell", "AVX512": "SkylakeX"}


def derive_seed(seed: int, *path: object) -> int:
    """A 63-bit seed for one random choice, a function of the run's seed and where it is made.

    ``path`` is (stage, epoch, batch, ...). Nothing else is random, so a run that resumes at any
    epoch needs no saved generator state.
    """
    key = repr((int(seed), *path)).encode()
    return int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "big") >> 1


@dataclass(frozen=True)
class Runtime:
    """Where and how to compute. Build it with :meth:`choose`; it is passed to every stage.

    ``bfloat16``: stages 1 and 3 learn in it; the local network of tiles learns and scores in it.
    ``bfloat16_scores``: stage 4 asks stage 3 in it, only where it was asked for by name: a model of
    small images must say the same on every machine.
    """

    seed: int = 0
    device: str = "cpu"
    bfloat16: bool = False
    bfloat16_scores: bool = False
    progress: bool = False

    @classmethod
    def choose(
        cls,
        *,
        seed: int = 0,
        device: str = "auto",
        precision: str = "auto",
        threads: int | None = None,
        progress: bool = False,
    ) -> Runtime:
        """Resolve ``auto`` against this machine, and set what torch keeps for all: the number of
        threads where it is given, and on a GPU convolutions that give one answer, in float32 where
        float32 is asked for (cuDNN would round to TF32). And tell FAISS's OpenBLAS, unless
        OPENBLAS_CORETYPE does, what this CPU can: the one in its wheels (0.3.15) knows none that is
        newer and takes SSE3 there, a fifth as fast (github.com/OpenMathLib/OpenBLAS/issues/4267).

        Raises ConfigError where the device asked for is not there.
        """
        import torch

        if threads is not None:
            torch.set_num_threads(threads)
        kernels = OPENBLAS_KERNELS.get(torch.backends.cpu.get_cpu_capability())
        if kernels is not None:  # it reads the environment when it is loaded
            os.environ.setdefault("OPENBLAS_CORETYPE", kernels)
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        elif device.startswith("cuda"):
            number, there = int(device.partition(":")[2] or 0), torch.cuda.device_count()
            if number >= there:
                raise ConfigError(
                    f"runtime.device is {device!r} but there are {there} CUDA devices; use 'cpu'"
                    + (f" or 'cuda:0' to 'cuda:{there - 1}'" if there else "")
                )
        if device.startswith("cuda"):
            torch.backends.cudnn.deterministic = True
            torch.backends.cudnn.allow_tf32 = False
        asked = precision == "bfloat16"
        return cls(
            seed=seed,
            device=device,
            bfloat16=asked or (precision == "auto" and native_bfloat16(device)),
            bfloat16_scores=asked,
            progress=progress,
        )

    def seed_for(self, *path: object) -> int:
        """See :func:`derive_seed`."""
        return derive_seed(self.seed, *path)

    def rng(self, *path: object) -> np.random.Generator:
        """A numpy generator for one random choice."""
        return np.random.default_rng(self.seed_for(*path))

    def generator(self, *path: object) -> torch.Generator:
        """A torch CPU generator for one random choice (CPU, so that a seed means one thing)."""
        import torch

        return torch.Generator().manual_seed(self.seed_for(*path))

    @contextmanager
    def seeded(self, *path: object) -> Iterator[None]:
        """Seed torch's global generator inside, restore it after: for layers' initial weights."""
        import torch

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed_for(*path))
            yield

    @contextmanager
    def autocast(self, *, scoring: bool = False) -> Iterator[None]:
        """Bfloat16 autocast where it was chosen for learning, or ``scoring``; nothing otherwise."""
        import torch

        kind = torch.device(self.device).type
        enabled = self.bfloat16_scores if scoring else self.bfloat16
        with torch.autocast(kind, dtype=torch.bfloat16, enabled=enabled):
            yield

    @contextmanager
    def deterministic(self) -> Iterator[None]:
        """Of operations that have a way to give one answer on a GPU, that one; on a CPU all do."""
        import torch
        from torch.utils import deterministic

        if not self.device.startswith("cuda"):
            yield
            return
        before = torch.are_deterministic_algorithms_enabled()
        warned = torch.is_deterministic_algorithms_warn_only_enabled()
        filled: bool = deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS reads it nowhere else
        torch.use_deterministic_algorithms(True, warn_only=True)
        # none is read, and filling it costs launches
        deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(before, warn_only=warned)
            deterministic.fill_uninitialized_memory = filled  # type: ignore[attr-defined]

    def place(self, network: torch.nn.Module) -> torch.nn.Module:
        """``network`` itself, moved to the device in the layout its convolutions are fastest in."""
        import torch

        network.to(self.device)
        network.to(memory_format=torch.channels_last)
        return network

    def floats(self, images: np.ndarray) -> torch.Tensor:
        """uint8 (B, C, H, W) -> float32 (B, C, H, W) in [0, 1] on the device."""
        import torch

        tensor = torch.from_numpy(images).to(self.device, non_blocking=True)
        return tensor.to(torch.float32).div_(255.0)

    def track(self, items: Iterable[T], label: str, **options: Any) -> Iterable[T]:
        """A progress bar over ``items`` where progress was asked for."""
        return track(items, label, **options) if self.progress else items


def track(items: Iterable[T] | None, label: str, **options: Any) -> Any:
    """A tqdm bar, on a terminal only, once the work has taken two seconds.

    Silencing the logger ``clad.progress`` (above WARNING) silences the bars.
    """
    from tqdm import tqdm

    heard = logging.getLogger("clad.progress").isEnabledFor(logging.WARNING)
    disable = None if heard else True  # None: where standard error is no terminal
    return tqdm(items, desc=label, delay=2, leave=False, disable=disable, **options)


@contextmanager
def quiet() -> Iterator[None]:
    """Nothing is logged inside: for what is only a trial."""
    before, log.disabled = log.disabled, True
    try:
        yield
    finally:
        log.disabled = before


@contextmanager
def memory_advice(message: str) -> Iterator[None]:
    """Raise FitError with ``message`` where memory runs out inside, on the CPU or a GPU."""
    import torch

    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise FitError(message) from error
    except RuntimeError as error:
        if "alloc" in str(error):  # torch's CPU allocator has no exception of its own
            raise FitError(message) from error
        raise


@contextmanager
def timed(stage: str, seconds: dict[str, float]) -> Iterator[None]:
    """Say in the log that ``stage`` begins and ends; keep its ``seconds``; advise on memory."""
    log.info("%s ...", stage)
    start = time.perf_counter()
    with memory_advice(f"{stage}: out of memory; lower images.size or give fewer images"):
        yield
    seconds[stage] = time.perf_counter() - start
    log.info("%s: %.1f s", stage, seconds[stage])


def native_bfloat16(device: str) -> bool:
    """Whether this device multiplies bfloat16 in hardware (emulation is slower than float32)."""
    import torch

    if device.startswith("cuda"):
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device != "cpu":
        return False
    probes = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    return any(getattr(torch.cpu, probe, lambda: False)() for probe in probes)
