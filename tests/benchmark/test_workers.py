"""Cells in several processes and on a cluster: every row once, whoever dies."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from clad.benchmark import workers
from clad.benchmark.plan import Source, cells
from clad.benchmark.results import key
from clad.benchmark.workers import run_all
from clad.errors import CladError
from clad.provenance import log_file

DIGITS = Source("digits")
METHODS = ["pca-reconstruction", "pca-neighbours"]


@pytest.fixture(scope="module")
def wanted():
    return cells(DIGITS, ["CUR", "STR"], METHODS, 2)


@pytest.fixture(scope="module")
def alone(wanted):
    return {key(row): row["auroc"] for row in run_all(wanted, DIGITS)}


def test_two_processes_give_the_rows_of_one(wanted, alone):
    rows = list(run_all(wanted, DIGITS, jobs=2))
    assert len(rows) == len(wanted)
    assert {key(row): row["auroc"] for row in rows} == pytest.approx(alone)


def test_what_the_processes_log_is_kept_under_the_cells_names(tmp_path, set_tiny):
    assignments = [item for item in set_tiny if item != "--set"]
    wanted = cells(DIGITS, ["CUR", "STR"], ["clad"], 1, assignments)
    with log_file(tmp_path / "bench.log"):
        list(run_all(wanted, DIGITS, jobs=2))
    lines = (tmp_path / "bench.log").read_text().splitlines()
    for name in ("CUR clad seed 0", "STR clad seed 0"):
        assert any(line.endswith(f"INFO {name}: autoencoder ...") for line in lines)
        assert any(f"DEBUG {name}: classifier: epoch 1 of 1" in line for line in lines)


def test_a_worker_of_another_commit_is_refused(wanted, monkeypatch):
    monkeypatch.setattr(workers, "commit", lambda: "another")
    with pytest.raises(CladError, match=r"a worker runs clad of .*, this command is of another"):
        list(run_all(wanted, DIGITS, jobs=2))


class Slow(Source):
    """Its cells take a minute to begin."""

    def open(self):
        time.sleep(60)
        return super().open()


def test_a_signal_does_not_wait_for_the_cells_that_are_running(wanted):
    def interrupted(_number, _frame):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupted)
    start = time.monotonic()
    signal.alarm(8)
    try:
        with pytest.raises(KeyboardInterrupt):
            list(run_all(wanted, Slow("digits"), jobs=2))
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    assert time.monotonic() - start < 55
    assert not multiprocessing.active_children()


@pytest.fixture
def running(tmp_path):
    """``clad bench --jobs 2`` in the middle of two cells, in a process group of its own."""
    words = ["bench", "digits", "--methods", "clad", "--seeds", "1", "--jobs", "2", "-o", tmp_path]
    command = [sys.executable, "-c", "from clad.cli import main; main()", *map(str, words)]
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    said = tmp_path / "bench.log"
    wait_until(lambda: said.exists() and "autoencoder ..." in said.read_text(), 120)
    yield process
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def test_a_signal_to_the_whole_group_ends_it_without_a_traceback(running):
    """As a cluster's scheduler or a container sends it: to the command and all its processes."""
    os.killpg(running.pid, signal.SIGTERM)
    _, errors = running.communicate(timeout=60)
    assert running.returncode == 143
    assert "Terminated. The same command goes on" in errors
    assert "Traceback" not in errors


def lives(process):
    """Neither gone nor a zombie that nobody has asked after."""
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="no /proc here")
def test_a_kill_of_the_command_alone_leaves_no_process_behind(running):
    children = Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text().split()
    assert len(children) >= 3, "the manager and two that run cells"
    running.kill()
    running.communicate(timeout=60)
    wait_until(lambda: not any(map(lives, children)), 60)


def key_count(cluster):
    """Cells that the cluster still owes: what a dying worker holds of others is run again."""
    return sum(key.startswith("_run") for key in cluster.scheduler.tasks)


def wait_until(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


# Dask's own warnings are not ours to mend
@pytest.mark.filterwarnings("default")
def test_a_worker_killed_in_the_middle_loses_and_repeats_nothing(wanted, alone):
    distributed = pytest.importorskip("distributed")
    import dask

    # BLAS has as many threads as in `alone`, not one: sums in another order may swap two ranks
    same_threads = dask.config.set({"distributed.nanny.pre-spawn-environ": {}})
    with (
        same_threads,
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None
        ) as cluster,
    ):
        rows = []
        for row in run_all(wanted, DIGITS, scheduler=cluster.scheduler_address):
            if rows:
                wait_until(lambda: key_count(cluster) <= len(wanted) - len(rows))
            rows.append(row)
            if len(rows) == 2:
                os.kill(cluster.workers[0].pid, signal.SIGKILL)
    assert len(rows) == len(wanted)
    assert {key(row): row["auroc"] for row in rows} == pytest.approx(alone)


@pytest.mark.filterwarnings("default")
def test_no_scheduler_there(wanted, monkeypatch):
    distributed = pytest.importorskip("distributed")
    client = distributed.Client
    monkeypatch.setattr(
        distributed, "Client", lambda *a, **k: client(*a, **{**k, "timeout": "0.5s"})
    )
    with pytest.raises(CladError, match=r"tcp://127\.0\.0\.1:9: no Dask scheduler there"):
        list(run_all(wanted, DIGITS, scheduler="tcp://127.0.0.1:9"))
