import io
import json
import zipfile

import numpy as np
import pytest
from filelock import FileLock
from PIL import Image

from clad.data import benchmarks, cache
from clad.data.benchmarks import available, data_root, import_, load, prepare
from clad.data.cache import Decoded, Part
from clad.data.scenarios import SCENARIOS, scenario
from clad.data.splits import make_task
from clad.errors import DataError


@pytest.fixture
def small(rng):
    images = rng.integers(0, 256, (6, 1, 28, 28), dtype=np.uint8)
    images[4] = images[1]
    labels = np.arange(6, dtype=np.int64)
    part = Part(images, labels, np.array([5, 6, 6, 7, 7, 8]))
    return Decoded(benchmarks.DIGITS, part, Part(images[:2], labels[:2]))


@pytest.fixture
def prepared(tmp_path, small):
    cache.write(tmp_path / "mnist", small, "a test")
    return tmp_path


def test_where_data_lives(monkeypatch, tmp_path):
    monkeypatch.setenv("CLAD_DATA", "~/somewhere")
    assert data_root(tmp_path) == tmp_path
    assert data_root() == data_root("~/somewhere")
    monkeypatch.delenv("CLAD_DATA")
    assert data_root().name == "clad"


def test_what_is_written_is_read_back(prepared, small):
    benchmark = load("mnist", prepared)
    assert isinstance(benchmark.train.images.array, np.memmap)
    np.testing.assert_array_equal(benchmark.train.images.read(), small.train.images)
    assert benchmark.train.labels.tolist() == [0, 1, 2, 3, 4, 5]
    assert benchmark.train.images.groups.tolist() == [0, 1, 1, 1, 1, 2]  # 1 and 4 tie two tracks
    assert benchmark.test.images.groups.tolist() == [0, 1]
    manifest = json.loads((prepared / "mnist/manifest.json").read_text())
    assert manifest["counts"] == {"train": 6, "test": 2}
    assert manifest["source"] == "a test"
    assert len(manifest["sha256"]) == 6


def test_a_flipped_bit_is_found(prepared):
    path = prepared / "mnist/test_images.npy"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"test_images.npy does not match its hash; remove"):
        load("mnist", prepared)
    path.unlink()
    with pytest.raises(DataError, match=r"test_images.npy cannot be read"):
        load("mnist", prepared)


@pytest.mark.parametrize(
    ("text", "match"),
    [("{", "manifest.json is damaged"), ('{"format": 2}', "has format 2, this version reads 1")],
)
def test_foreign_manifests(prepared, text, match):
    (prepared / "mnist/manifest.json").write_text(text)
    with pytest.raises(DataError, match=match):
        load("mnist", prepared)


def test_writing_again_replaces_and_cleans_up(prepared, small):
    (prepared / ".mnist-killed").mkdir()
    cache.write(prepared / "mnist", small._replace(train=small.test), "again")
    assert len(load("mnist", prepared).train) == 2
    assert sorted(p.name for p in prepared.iterdir()) == [".mnist.lock", "mnist"]


def test_a_full_disk_keeps_the_old_files(prepared, small, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(DataError, match="mnist: cannot be written: No space left on device"):
        cache.write(prepared / "mnist", small, "again")
    assert len(load("mnist", prepared).train) == 6
    assert sorted(p.name for p in prepared.iterdir()) == [".mnist.lock", "mnist"]


def test_two_at_once(prepared, small):
    lock = FileLock(prepared / ".mnist.lock")
    with lock, pytest.raises(DataError, match="another process is preparing it"):
        cache.write(prepared / "mnist", small, "again")


def test_digits_need_nothing(tmp_path):
    digits = load("digits", tmp_path)
    assert digits.train.images.shape == (1, 8, 8)
    assert (len(digits.train), len(digits.test)) == (1078, 719)
    assert digits.train.images.array.max() == 255
    share = np.bincount(digits.train.labels) / np.bincount(
        np.concatenate([digits.train.labels, digits.test.labels])
    )
    assert np.abs(share - 0.6).max() < 0.01
    assert prepare("digits", tmp_path) is digits
    task = make_task(digits, scenario("digits", "CUR", digits.classes))
    assert set(task.answers.train_labels) == {0, 3, 8}
    assert list(tmp_path.iterdir()) == []


def test_errors_say_the_command(tmp_path):
    with pytest.raises(DataError, match=r"clad data prepare gtsrb.*clad data import gtsrb PATH"):
        load("gtsrb", tmp_path)
    with pytest.raises(DataError, match=r"unknown data set 'cifar'; .* did you mean 'cifar10'"):
        load("cifar", tmp_path)
    with pytest.raises(DataError, match="nothing to import"):
        import_("digits", tmp_path, tmp_path)
    with pytest.raises(DataError, match="absent does not exist"):
        import_("mnist", tmp_path / "absent", tmp_path)


def test_the_list(prepared):
    rows = {row.name: row for row in available(prepared)}
    assert list(rows) == ["digits", "mnist", "gtsrb", "cifar10", "tiny_imagenet"]
    assert rows["digits"].prepared
    assert rows["mnist"] == benchmarks.Availability("mnist", True, 6, 2, (1, 28, 28), 10)
    assert rows["gtsrb"] == benchmarks.Availability("gtsrb", False)


def test_prepare_downloads_then_imports(tmp_path, shared, monkeypatch):
    """The genuine MNIST from a mirror that is a folder: prepare = fetch + import."""
    asked = []

    def fetch(urls, path, checksum):
        asked.append((urls[0].rsplit("/", 1)[1], checksum))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes((shared / "data/MNIST/raw" / path.name).read_bytes())
        return path

    monkeypatch.setattr(benchmarks, "fetch", fetch)
    assert len(prepare("mnist", tmp_path).test) == 10_000
    assert asked[0] == ("train-images-idx3-ubyte.gz", "md5:f68b3c2dcbeaaa9fbdd348bbdeb94873")
    prepare("mnist", tmp_path)
    assert len(asked) == 4


def test_prepare_unpacks_the_three_archives_of_gtsrb(tmp_path, monkeypatch):
    stream = io.BytesIO()
    Image.new("RGB", (40, 50), (1, 2, 3)).save(stream, "PPM")
    members = {
        "GTSRB-Training_fixed.zip": ("GTSRB/Training/00003/00000_00000.ppm", stream.getvalue()),
        "GTSRB_Final_Test_Images.zip": ("GTSRB/Final_Test/Images/00000.ppm", stream.getvalue()),
        "GTSRB_Final_Test_GT.zip": ("GT-final_test.csv", b"Filename;ClassId\n00000.ppm;5\n"),
    }

    def fetch(urls, path, checksum):
        path.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(*members[path.name])
        return path

    monkeypatch.setattr(benchmarks, "fetch", fetch)
    benchmark = prepare("gtsrb", tmp_path)
    assert (benchmark.train.labels.tolist(), benchmark.test.labels.tolist()) == ([3], [5])
    assert benchmark.test.images.shape == (3, 32, 32)
    names = sorted(p.name for p in tmp_path.iterdir())
    assert names == [".gtsrb.lock", "downloads", "gtsrb"]


@pytest.mark.parametrize("name", ["mnist", "gtsrb", "cifar10", "tiny_imagenet"])
def test_every_download_has_an_address_and_a_checksum(name):
    for urls, md5 in benchmarks._sources(name):
        assert all(url.startswith(("http://", "https://")) for url in urls)
        assert len(md5) == 32


def test_genuine_mnist(tmp_path, shared):
    benchmark = import_("mnist", shared / "data/MNIST", tmp_path)
    assert np.bincount(benchmark.train.labels).tolist() == [
        5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949,
    ]  # fmt: skip
    assert len(benchmark.test) == 10_000
    task = make_task(benchmark, scenario("mnist", "CUR", benchmark.classes))
    assert len(task.train) == 5923 + 6131 + 5851


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "file", "n_train", "n_test", "shape", "classes"),
    [
        ("gtsrb", "gtsrb-32px.zip", 39_209, 12_630, (3, 32, 32), 43),
        ("cifar10", "cifar10-jpg.zip", 50_000, 10_000, (3, 32, 32), 10),
        ("tiny_imagenet", "tiny-imagenet-40.zip", 20_000, 2_000, (3, 64, 64), 40),
    ],
)
def test_genuine_archives(tmp_path, shared, name, file, n_train, n_test, shape, classes):
    benchmark = import_(name, shared / "data" / file, tmp_path)
    row = next(row for row in available(tmp_path) if row.name == name)
    assert row == benchmarks.Availability(name, True, n_train, n_test, shape, classes)
    assert len(benchmark.train) == n_train
    if name == "gtsrb":  # tracks of 30 frames; one has 29
        assert len(np.unique(benchmark.train.images.groups)) == 1307
    for ask in SCENARIOS[name]:
        task = make_task(benchmark, scenario(name, ask, benchmark.classes))
        assert 0 < task.answers.test_anomalous.mean() < 1
