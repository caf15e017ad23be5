"""Where cells are run: in this process, in several on this machine, or on a Dask cluster."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from logging.handlers import QueueHandler, QueueListener
from multiprocessing.managers import SyncManager
from queue import Queue
from typing import Any

from clad.benchmark.cells import Cell, run_cell
from clad.benchmark.plan import Source
from clad.errors import CladError, MissingExtraError
from clad.provenance import commit, log

Row = dict[str, Any]


def run_all(
    cells: Sequence[Cell],
    source: Source,
    *,
    jobs: int = 1,
    scheduler: str | None = None,
    progress: bool = False,
) -> Iterator[Row]:
    """The cells' rows, each as soon as it is there, so that an interruption loses no finished one.

    ``jobs`` processes share this machine's cores. ``scheduler``: the address of a Dask scheduler,
    whose workers need this package and the data under the same path; a cell of a worker that dies
    is given to another. Raises CladError where no process or scheduler is left to run them.
    """
    if scheduler is not None:
        yield from _on_dask(cells, source, scheduler)
    elif jobs > 1:
        yield from _in_processes(cells, source, jobs)
    else:
        for cell in cells:
            yield run_cell(cell, source.open(), progress=progress)


def _in_processes(cells: Sequence[Cell], source: Source, jobs: int) -> Iterator[Row]:
    threads, here = max(1, (os.cpu_count() or 1) // jobs), commit()
    context = multiprocessing.get_context("spawn")  # a fork would take torch's locks along
    manager = SyncManager(ctx=context)  # whose queue outlives a process killed while it writes
    manager.start(_outlive_signals)
    with (
        manager,
        _heard(said := manager.Queue()),
        ProcessPoolExecutor(jobs, mp_context=context, initializer=_say, initargs=(said,)) as pool,
    ):
        others = multiprocessing.active_children()  # the manager's
        futures = [pool.submit(_run, cell, source, threads, here) for cell in cells]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BrokenProcessPool as error:
            raise CladError(
                "a process that ran cells was killed (out of memory?); finished cells are kept, "
                "the same command goes on, with fewer --jobs perhaps"
            ) from error
        except BaseException:  # nobody waits for the cells that are running: do not let them end
            for process in set(multiprocessing.active_children()).difference(others):
                process.terminate()
            raise


@contextmanager
def _heard(said: Queue[Any]) -> Iterator[None]:
    """What the processes log is logged here."""
    listener = QueueListener(said, *log.handlers, respect_handler_level=True)
    listener.start()
    try:
        yield
    finally:
        listener.stop()


def _outlive_signals() -> None:
    """In the manager, once: a signal to all processes must not end what the others log to."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _end_with_parent()


def _end_with_parent() -> None:
    """In a process, once: where the one that waits for it was killed, there is nothing to do."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def _say(said: Queue[Any]) -> None:
    """In a process, once: log to the one that waits for it."""
    _end_with_parent()
    log.addHandler(QueueHandler(said))
    log.setLevel(logging.DEBUG)


def _on_dask(cells: Sequence[Cell], source: Source, scheduler: str) -> Iterator[Row]:
    try:
        import distributed
    except ImportError:
        raise MissingExtraError(
            "--scheduler needs Dask Distributed: pip install 'clad[cluster]'"
        ) from None
    try:
        client = distributed.Client(scheduler, timeout="30s", set_as_default=False)
    except (OSError, ValueError) as error:
        raise CladError(f"--scheduler {scheduler}: no Dask scheduler there ({error})") from None
    here = commit()
    with client, client.as_current():
        futures = [client.submit(_run, cell, source, None, here, pure=False) for cell in cells]
        try:
            for future, row in distributed.as_completed(futures, with_results=True):
                future.release()  # or the death of the worker that has it would run it again
                yield row
        except distributed.KilledWorker as error:
            raise CladError(
                f"workers that ran cells kept dying ({error}); finished cells are kept, the same "
                "command goes on"
            ) from error


def _run(cell: Cell, source: Source, threads: int | None, expected: str | None) -> Row:
    """In a worker. Raises CladError where its code is of another commit than the command's."""
    import torch

    if commit() != expected:
        raise CladError(
            f"a worker runs clad of commit {commit()}, this command is of {expected}; install the "
            "same everywhere"
        )
    if threads is not None:
        torch.set_num_threads(threads)
    name = f"{cell.scenario.name} {cell.method} seed {cell.config.seed}"
    for handler in log.handlers:  # several cells log into one file
        if isinstance(handler, QueueHandler):
            handler.setFormatter(logging.Formatter(f"{name}: %(message)s"))
    return run_cell(cell, source.open(), progress=False)
