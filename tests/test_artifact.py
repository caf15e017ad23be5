"""What lies on the disk: whole or untouched after any fault, checked to the last bit, never run."""

import errno
import io
import json
import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from faults.models import PICKLES, Trap, replace, rewrite
from hypothesis import given, settings
from hypothesis import strategies as st

from clad import artifact, checkpoints
from clad.artifact import (
    FORMAT,
    Bundle,
    load_weights,
    locked,
    make_folder,
    read_bundle,
    write_atomic,
    write_bundle,
    write_json,
)
from clad.checkpoints import CheckpointFolder
from clad.errors import CladError, ModelError

DOCUMENT = {"kind": "test", "rate": 1e-05, "name": "Stra\u00dfe", "list": [1, 2.5, None, True]}
NEWER = FORMAT + 1


def a_bundle(value=1.0):
    arrays = {
        "weights": {"w": np.full((2, 3), value, np.float32), "n": np.array([7, 8])},
        "scores": {"s": np.array([0.1, 0.2])},
    }
    return Bundle(arrays, DOCUMENT)


def assert_same(one, other):
    assert one.document == other.document
    assert one.arrays.keys() == other.arrays.keys()
    for group in one.arrays:
        ours, theirs = one.arrays[group], other.arrays[group]
        assert ours.keys() == theirs.keys()
        for name in ours:
            assert ours[name].dtype == theirs[name].dtype
            assert np.array_equal(ours[name], theirs[name])


@pytest.fixture
def folder(tmp_path):
    write_bundle(tmp_path / "model", a_bundle())
    return tmp_path / "model"


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# --- writing -----------------------------------------------------------------------------------


def no_space(*_args, **_kwargs):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class FullFile(io.BytesIO):
    """A file on a full disk."""

    write = no_space


FAULTS = {
    "write": lambda m: m.setattr(artifact.os, "fdopen", lambda h, mode: os.close(h) or FullFile()),
    "fsync": lambda m: m.setattr(artifact.os, "fsync", no_space),
    "rename": lambda m: m.setattr(Path, "replace", no_space),
    "open": lambda m: m.setattr(artifact.tempfile, "mkstemp", no_space),
}


def test_write_atomic_replaces(tmp_path):
    file = tmp_path / "a.json"
    write_atomic(file, b"old")
    write_json(file, {"b": [1, 2]})
    assert json.loads(file.read_bytes()) == {"b": [1, 2]}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]
    assert file.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("fault", list(FAULTS))
def test_a_full_disk_leaves_the_old_file_and_no_temporary_one(tmp_path, monkeypatch, fault):
    file = tmp_path / "scores.csv"
    file.write_bytes(b"old")
    with monkeypatch.context() as patched:
        FAULTS[fault](patched)
        with pytest.raises(CladError, match=r"scores\.csv: cannot be written \(No space left"):
            write_atomic(file, b"new")
    assert contents(tmp_path) == {"scores.csv": b"old"}


def test_an_interruption_leaves_no_temporary_file(tmp_path, monkeypatch):
    def interrupted(_):
        raise KeyboardInterrupt

    file = tmp_path / "scores.csv"
    file.write_bytes(b"old")
    monkeypatch.setattr(artifact.os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_atomic(file, b"new")
    assert contents(tmp_path) == {"scores.csv": b"old"}


@pytest.mark.parametrize("after", range(6))
def test_a_bundle_is_the_old_one_or_the_new_one(folder, monkeypatch, after):
    calls, fsync = [], os.fsync

    def full_after(handle):
        calls.append(handle)
        return fsync(handle) if len(calls) <= after else no_space()

    monkeypatch.setattr(artifact.os, "fsync", full_after)
    with pytest.raises(CladError, match="No space left"):
        write_bundle(folder, a_bundle(2.0))  # three files, and their folder after each
    kept = a_bundle(2.0 if after == 5 else 1.0)  # the manifest's rename is the moment
    assert_same(read_bundle(folder), kept)
    assert len(contents(folder)) == 3  # no temporary and no orphaned file


def test_what_a_killed_writer_left_is_swept_away(folder, tmp_path):
    (folder / ".manifest.json.a1b2.tmp").write_bytes(b"half")
    write_bundle(folder, a_bundle(2.0))
    assert not list(folder.glob(".*"))
    (tmp_path / ".scores.csv.a1b2.tmp").write_bytes(b"half")
    (tmp_path / ".keep").write_bytes(b"a user's own")
    with locked(tmp_path):
        assert {p.name for p in tmp_path.glob(".*")} == {".keep", ".lock"}


def test_an_old_bundles_files_are_removed(folder):
    before = contents(folder)
    write_bundle(folder, a_bundle(2.0))
    assert_same(read_bundle(folder), a_bundle(2.0))
    gone = set(before) - set(contents(folder))
    assert len(contents(folder)) == 3
    assert [name.split("-")[0] for name in gone] == ["weights"]  # the scores are the same


def test_a_users_own_files_stay(folder):
    mine = folder / "my-weights.safetensors"
    mine.write_bytes(b"mine")
    write_bundle(folder, a_bundle(2.0))
    assert mine.read_bytes() == b"mine"


def test_a_first_bundle_that_fails_leaves_nothing(tmp_path, monkeypatch):
    calls = []

    def fail_third(handle):
        calls.append(handle)
        if len(calls) == 3:
            no_space()

    monkeypatch.setattr(artifact.os, "fsync", fail_third)
    with pytest.raises(CladError, match="No space left"):
        write_bundle(tmp_path, a_bundle())
    assert list(tmp_path.iterdir()) == []


def test_a_missing_folder_or_a_file_in_its_place(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(CladError, match=r"absent.a\.json: cannot be written \(No such file"):
        write_atomic(tmp_path / "absent" / "a.json", b"")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(CladError, match=r"not a folder that can be written to .* another"):
            make_folder(path)
    assert make_folder(tmp_path / "a" / "b").is_dir()
    assert make_folder(tmp_path / "a" / "b") == tmp_path / "a" / "b"
    assert list((tmp_path / "a" / "b").iterdir()) == []


def test_json_without_nan(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"auroc": float("nan")})
    assert list(tmp_path.iterdir()) == []


# --- reading -----------------------------------------------------------------------------------


def test_round_trip(folder):
    assert_same(read_bundle(folder), a_bundle())


def test_layout_and_gradients_do_not_matter(tmp_path):
    last = torch.rand(2, 3, 4, 4).contiguous(memory_format=torch.channels_last).requires_grad_()
    checkpoints = CheckpointFolder(tmp_path, "run")
    checkpoints.save("stage", {"x": last, "scalar": torch.tensor(3.0)}, {})
    kept, _ = checkpoints.load("stage")
    assert kept["x"].equal(last.detach())
    assert kept["scalar"].shape == ()


def test_some_groups_alone(folder):
    """Only what is asked for is read: damage elsewhere does not stop it."""
    next(folder.glob("weights-*")).unlink()
    bundle = read_bundle(folder, only=["scores"])
    assert set(bundle.arrays) == {"scores"}
    assert bundle.document == DOCUMENT
    assert read_bundle(folder, only=()).arrays == {}
    with pytest.raises(ModelError, match=r"not a trained model \(it holds no 'other'"):
        read_bundle(folder, only=["other"])


def test_an_update_keeps_the_other_groups(folder, tmp_path):
    before = contents(folder)
    write_bundle(folder, Bundle({"scores": {"s": np.zeros(1)}}, {"new": 1}), update=True)
    kept = read_bundle(folder)
    assert kept.document == {"new": 1}
    assert kept.arrays["scores"]["s"].tolist() == [0.0]
    assert np.array_equal(kept.arrays["weights"]["w"], a_bundle().arrays["weights"]["w"])
    gone = set(before) - set(contents(folder))
    assert [name.split("-")[0] for name in gone] == ["scores"]
    with pytest.raises(ModelError, match="not a manifest of a CLAD model"):
        write_bundle(tmp_path / "new", a_bundle(), update=True)


def test_a_run_folder_says_where_its_model_is(folder):
    with pytest.raises(ModelError, match=rf"no model here .* give {folder}"):
        read_bundle(folder.parent)


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kept")
    write_bundle(folder, a_bundle())
    return folder


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_a_flipped_bit_or_a_cut_is_found_in_any_file(kept, data):
    file = data.draw(st.sampled_from(sorted(kept.iterdir())))
    whole = file.read_bytes()
    at = data.draw(st.integers(0, len(whole) - 1))
    try:
        if data.draw(st.booleans()):
            file.write_bytes(whole[:at])
        else:
            bit = data.draw(st.integers(0, 7))
            file.write_bytes(whole[:at] + bytes([whole[at] ^ (1 << bit)]) + whole[at + 1 :])
        with pytest.raises(ModelError, match=file.name):
            read_bundle(kept)
    finally:
        file.write_bytes(whole)


def test_every_byte_of_the_manifest_counts(folder):
    file = folder / "manifest.json"
    whole = file.read_bytes()
    for at in range(len(whole)):
        file.write_bytes(whole[:at] + bytes([whole[at] ^ (1 << at % 7)]) + whole[at + 1 :])
        with pytest.raises(ModelError, match=r"manifest\.json"):
            read_bundle(folder)


def test_what_is_missing_is_named(folder, tmp_path):
    weights = next(folder.glob("weights-*"))
    weights.rename(tmp_path / "away")
    with pytest.raises(ModelError, match=rf"{weights.name}: cannot be read \(No such file"):
        read_bundle(folder)
    (folder / "manifest.json").unlink()
    with pytest.raises(ModelError, match=r"model: no model here \(manifest\.json is missing\)"):
        read_bundle(folder)
    with pytest.raises(ModelError, match=r"absent: no model here"):
        read_bundle(tmp_path / "absent")


def test_a_newer_format_names_both_versions(folder):
    rewrite(folder, lambda m: m.update(format=NEWER))
    with pytest.raises(
        ModelError, match=rf"written in format {NEWER}, .* reads 2 to {FORMAT}; upgrade clad"
    ):
        read_bundle(folder)


def test_a_newer_format_may_look_otherwise(folder):
    (folder / "manifest.json").write_text(json.dumps({"format": NEWER, "parts": []}))
    with pytest.raises(ModelError, match=rf"written in format {NEWER}, .* reads 2 to {FORMAT}"):
        read_bundle(folder)


def test_an_older_format_says_what_to_do(folder):
    rewrite(folder, lambda m: m.update(format=1))
    with pytest.raises(
        ModelError, match=rf"in format 1, .* reads 2 to {FORMAT}; fit the model again"
    ):
        read_bundle(folder)


def test_names_that_lead_elsewhere_are_refused(folder, tmp_path):
    weights = next(folder.glob("weights-*"))
    outside = tmp_path / "outside.safetensors"
    outside.write_bytes(weights.read_bytes())

    def named(name):
        rewrite(folder, lambda m: m["files"]["weights"].update(file=name))
        with pytest.raises(ModelError, match="names a file outside its folder"):
            read_bundle(folder)

    named("../outside.safetensors")
    named(str(outside))
    named("sub/../../outside.safetensors")
    named(".")
    (folder / "link.safetensors").symlink_to(outside)
    named("link.safetensors")


@pytest.mark.parametrize("name", ["..", "a\0b", "a" * 300, 3, None, ["x"], {}])
def test_names_that_are_no_files_are_refused(folder, name):
    rewrite(folder, lambda m: m["files"]["weights"].update(file=name))
    with pytest.raises(ModelError, match=r"model"):
        read_bundle(folder)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        "null",
        '"x"',
        "\xff",
        "[" * 100_000,
        '{"format": 2, "files": [], "document": {}, "sha256": ""}',
        '{"format": 2, "files": {"a": ["file", "sha256"]}, "document": {}, "sha256": ""}',
        '{"format": 2, "files": {}, "document": {"a": NaN}, "sha256": ""}',
        '{"format": true, "files": {}, "document": {}, "sha256": ""}',
    ],
)
def test_other_json_is_no_model(tmp_path, text):
    (tmp_path / "manifest.json").write_text(text, encoding="latin-1")
    with pytest.raises(ModelError, match=r"manifest\.json: (not a manifest|damaged)"):
        read_bundle(tmp_path)


@pytest.mark.parametrize(("suffix", "dump"), list(PICKLES.items()))
def test_a_pickle_is_refused_and_never_run(tmp_path, folder, suffix, dump):
    sprung = tmp_path / "sprung"
    file = tmp_path / f"model{suffix}"
    file.write_bytes(dump(Trap(sprung)))
    with pytest.raises(
        ModelError, match=r"is a folder .* pickles \(\.pt, \.pkl\) are never opened"
    ):
        read_bundle(file)

    # ... nor from inside a model folder, with hashes that fit.
    replace(folder, "weights", file.read_bytes())
    with pytest.raises(ModelError, match=r"weights-\w+\.safetensors: not a safetensors file"):
        read_bundle(folder)
    (folder / "manifest.json").write_bytes(file.read_bytes())
    with pytest.raises(ModelError, match="not a manifest of a CLAD model"):
        read_bundle(folder)
    assert not sprung.exists()
    pickle.loads(pickle.dumps(Trap(sprung)))
    assert sprung.exists()  # the trap works


def test_a_wrong_shape_names_the_tensor_and_both_shapes():
    module = torch.nn.Linear(3, 2)
    before = module.weight.clone()
    with pytest.raises(
        ModelError, match=r"m: tensor 'weight' has shape \(2, 4\), the model needs \(2, 3\)"
    ):
        load_weights(module, {"weight": np.ones((2, 4)), "bias": np.ones(2)}, "m")
    with pytest.raises(ModelError, match="m: tensor 'bias' is missing"):
        load_weights(module, {"weight": np.ones((2, 3))}, "m")
    good = {"weight": np.ones((2, 3)), "bias": np.zeros(2)}
    with pytest.raises(ModelError, match="m: tensor 'extra' has no place in this model"):
        load_weights(module, {**good, "extra": np.ones(1)}, "m")
    assert module.weight.equal(before)
    load_weights(module, good, "m")
    assert module(torch.ones(1, 3)).tolist() == [[3.0, 3.0]]


# --- one run at a time -------------------------------------------------------------------------

HOLD = """
import sys, time
from pathlib import Path
from clad.artifact import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_locked_twice_is_refused_and_a_dead_runs_lock_recovered(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(CladError, match="another run is using this folder"), locked(tmp_path):
            pass
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    with locked(tmp_path):
        pass


def test_locked_within_one_process(tmp_path):
    with locked(tmp_path):
        with pytest.raises(CladError, match="another run is using"), locked(tmp_path):
            pass
        (tmp_path / "other").mkdir()
        with locked(tmp_path / "other"):
            pass
    with locked(tmp_path):
        pass


def test_the_lock_is_given_back_after_an_error(tmp_path):
    with pytest.raises(ZeroDivisionError), locked(tmp_path):
        raise ZeroDivisionError
    with locked(tmp_path):
        pass


# --- checkpoints -------------------------------------------------------------------------------


def test_checkpoints_round_trip_a_stage_each(tmp_path):
    folder = CheckpointFolder(tmp_path / "c", "run 1")
    assert folder.load("dec") is None
    losses = [0.1 + 0.2, 1e-17, 1 / 3]
    folder.save("dec", {"w": torch.arange(3.0)}, {"losses": losses})
    folder.save("classifier", {"w": torch.zeros(1)}, {"losses": []})
    tensors, progress = CheckpointFolder(tmp_path / "c", "run 1").load("dec")
    assert tensors["w"].tolist() == [0, 1, 2]
    assert progress == {"losses": losses}  # to the last bit
    folder.save("dec", {"w": torch.ones(3)}, {"losses": [2.0]})
    assert folder.load("dec")[0]["w"].tolist() == [1, 1, 1]
    folder.clear()
    assert folder.load("dec") is None
    assert not (tmp_path / "c").exists()
    folder.clear()


def test_another_runs_checkpoint_is_not_used(tmp_path):
    CheckpointFolder(tmp_path, "run 1").save("dec", {"w": torch.ones(1)}, {"losses": [1.0]})
    assert CheckpointFolder(tmp_path, "run 2").load("dec") is None
    assert CheckpointFolder(tmp_path, "run 1").load("autoencoder") is None


@pytest.mark.parametrize("damage", [lambda b: b[:-1], lambda b: b"", lambda b: b[:-1] + b"\x55"])
@pytest.mark.parametrize("pattern", ["*.safetensors", "manifest.json"])
def test_a_damaged_checkpoint_is_not_used(tmp_path, pattern, damage):
    folder = CheckpointFolder(tmp_path, "run")
    folder.save("dec", {"w": torch.ones(4)}, {"losses": [1.0]})
    (file,) = (tmp_path / "dec").glob(pattern)
    file.write_bytes(
        damage(file.read_bytes()[:-1] if pattern == "manifest.json" else file.read_bytes())
    )
    assert folder.load("dec") is None
    folder.save("dec", {"w": torch.ones(4)}, {"losses": [3.0]})
    assert folder.load("dec")[1] == {"losses": [3.0]}


def test_checkpoints_are_due_after_their_interval(tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(checkpoints.time, "monotonic", lambda: now[0])
    folder = CheckpointFolder(tmp_path, "run", every=30)
    assert not folder.due()
    now[0] += 29
    assert not folder.due()
    now[0] += 1
    assert folder.due()
    folder.save("dec", {"w": torch.ones(1)}, {})
    assert not folder.due()


def test_slow_checkpoints_are_rarer(tmp_path, monkeypatch):
    """One that takes a second is written every 50 seconds: 2% of the time."""
    now = [100.0]
    monkeypatch.setattr(checkpoints.time, "monotonic", lambda: now[0])
    folder = CheckpointFolder(tmp_path, "run", every=30)

    def slow_write(*_):
        now[0] += 1.0

    monkeypatch.setattr(checkpoints, "write_bundle", slow_write)
    folder.save("dec", {"w": torch.ones(1)}, {})
    now[0] += 49
    assert not folder.due()
    now[0] += 1
    assert folder.due()
