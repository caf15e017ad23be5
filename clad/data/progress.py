"""Progress bars and thread pools for the slow parts of reading data."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")
R = TypeVar("R")


def bar(iterable: Iterable[T] | None, label: str, total: int | None = None, **options: Any) -> Any:
    """A tqdm bar that shows only on a terminal, and only once the work has taken two seconds.

    Silencing the ``clad`` logger (above WARNING, as ``--quiet`` does) silences the bars too.
    """
    from tqdm import tqdm

    heard = logging.getLogger("clad").isEnabledFor(logging.WARNING)
    return tqdm(
        iterable, desc=label, total=total, delay=2, leave=False, disable=None if heard else True,
        **options,
    )  # fmt: skip


def in_threads(function: Callable[[T], R], items: list[T], label: str) -> Iterator[R]:
    """``map`` over a few threads, order kept; what is still queued is dropped on an exception."""
    pool = ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1))
    try:
        yield from bar(pool.map(function, items), label, total=len(items))
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
