"""A pool of threads for the slow parts of reading data, with a progress bar."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from clad.runtime import track

T = TypeVar("T")
R = TypeVar("R")


def in_threads(function: Callable[[T], R], items: list[T], label: str) -> Iterator[R]:
    """``map`` over a few threads, order kept; what is still queued is dropped on an exception."""
    pool = ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1))
    try:
        yield from track(pool.map(function, items), label, total=len(items), unit="image")
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
