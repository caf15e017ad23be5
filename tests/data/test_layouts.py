import gzip
import io
import pickle
import struct
import tarfile
import zipfile

import numpy as np
import pytest
from PIL import Image

from clad.data.layouts import CIFAR10, read_layout
from clad.data.tree import Tree
from clad.errors import DataError


def png(level: int, side: int = 32, kind: str = "PNG") -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (side, side), (level, level, level)).save(stream, kind)
    return stream.getvalue()


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">{1 + array.ndim}I", 0x0800 + array.ndim, *array.shape) + array.tobytes()


def put(root, files: dict[str, bytes]):
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def zipped(path, files: dict[str, bytes]):
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def read(name, path):
    with Tree(path) as tree:
        return read_layout(name, tree)


@pytest.fixture
def mnist(rng):
    images = rng.integers(0, 256, (5, 28, 28), dtype=np.uint8)
    labels = np.array([3, 1, 4, 1, 5], np.uint8)
    return {
        "train-images-idx3-ubyte": idx(images),
        "train-labels-idx1-ubyte": idx(labels),
        "t10k-images-idx3-ubyte": idx(images[:2]),
        "t10k-labels-idx1-ubyte": idx(labels[:2]),
    }


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("under", ["", "raw/", "MNIST/raw/"])
def test_mnist_idx(tmp_path, mnist, packed, under):
    files = {
        f"{under}{name}{'.gz' if packed else ''}": gzip.compress(data) if packed else data
        for name, data in mnist.items()
    }
    for path in (put(tmp_path / "a", files), zipped(tmp_path / "a.zip", files)):
        data = read("mnist", path)
        assert data.train.images.shape == (5, 1, 28, 28)
        assert data.train.images[2].tobytes() == mnist["train-images-idx3-ubyte"][16:][1568:2352]
        assert data.train.labels.tolist() == [3, 1, 4, 1, 5]
        assert data.test.labels.tolist() == [3, 1]


@pytest.mark.parametrize(
    ("spoil", "match"),
    [
        (lambda f: f.pop("t10k-labels-idx1-ubyte"), r"t10k-labels-idx\*-ubyte\[.gz\] is missing"),
        (lambda f: f.update({"train-labels-idx1-ubyte": b"\0\0"}), "is damaged"),
        (
            lambda f: f.update({"train-labels-idx1-ubyte": f["train-images-idx3-ubyte"]}),
            "not an IDX file of 1 dimensions",
        ),
        (
            lambda f: f.update({"train-images-idx3-ubyte": f["train-images-idx3-ubyte"][:-1]}),
            "should hold 3920 values",
        ),
    ],
)
def test_damaged_idx(tmp_path, mnist, spoil, match):
    spoil(mnist)
    with pytest.raises(DataError, match=match):
        read("mnist", put(tmp_path, mnist))


@pytest.fixture
def gtsrb():
    train = {
        f"gtsrb/GTSRB/Training/{c:05d}/{track:05d}_{frame:05d}.ppm": png(
            100 * c + 10 * track + frame, 40, "PPM"
        )
        for c in (0, 1)
        for track in (0, 1)
        for frame in (0, 1)
    }
    return train | {
        "gtsrb/GTSRB/Training/00000/GT-00000.csv": b"ignored",
        "gtsrb/GTSRB/Final_Test/Images/00000.png": png(1),
        "gtsrb/GTSRB/Final_Test/Images/00001.png": png(2),
        "gtsrb/GT-final_test.csv": b"Filename;Width;ClassId\n00001.ppm;32;7\n00000.ppm;32;42\n",
    }


def test_gtsrb(tmp_path, gtsrb):
    for path in (put(tmp_path / "a", gtsrb), zipped(tmp_path / "a.zip", gtsrb)):
        data = read("gtsrb", path)
        assert data.classes[:3] == ("0", "1", "2")
        assert data.train.images.shape == (8, 3, 32, 32)
        assert data.train.labels.tolist() == [0] * 4 + [1] * 4
        assert data.train.groups.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]  # a track of one class
        assert data.train.images[:, 0, 0, 0].tolist() == [0, 1, 10, 11, 100, 101, 110, 111]
        assert data.test.labels.tolist() == [42, 7]
        assert data.test.groups is None


def test_incomplete_gtsrb(tmp_path, gtsrb):
    gtsrb["gtsrb/GT-final_test.csv"] = b"Filename;Width;ClassId\n00001.ppm;32;7\n"
    with pytest.raises(DataError, match=r"does not list 00000\.png"):
        read("gtsrb", put(tmp_path, gtsrb))
    (tmp_path / "gtsrb/GT-final_test.csv").write_text("Name,Class\n00001.ppm,7\n")
    with pytest.raises(DataError, match="csv is damaged; it needs columns"):
        read("gtsrb", tmp_path)
    (tmp_path / "gtsrb/GT-final_test.csv").unlink()
    with pytest.raises(DataError, match="found 8 training images, 2 test images, csv: none"):
        read("gtsrb", tmp_path)


@pytest.fixture
def tiny():
    return {
        "tiny-imagenet-200/train/n00000002/images/n00000002_0.JPEG": png(9, 64, "JPEG"),
        "tiny-imagenet-200/train/n00000001/images/n00000001_0.JPEG": png(5, 64, "JPEG"),
        "tiny-imagenet-200/val/images/val_0.JPEG": png(9, 64, "JPEG"),
        "tiny-imagenet-200/val/images/val_1.JPEG": png(5, 64, "JPEG"),
        "tiny-imagenet-200/val/val_annotations.txt": b"val_0.JPEG\tn00000002\t0\t0\t9\t9\n"
        b"val_1.JPEG\tn00000001\t0\t0\t9\t9\n",
        "tiny-imagenet-200/test/images/test_0.JPEG": b"unlabelled, unread",
    }


def test_tiny_imagenet(tmp_path, tiny):
    data = read("tiny_imagenet", put(tmp_path, tiny))
    assert data.classes == ("n00000001", "n00000002")
    assert data.train.images.shape == (2, 3, 64, 64)
    assert data.train.labels.tolist() == [0, 1]
    assert data.test.labels.tolist() == [1, 0]
    assert data.test.images[:, 0, 0, 0].tolist() == [9, 5]


def test_damaged_tiny_imagenet(tmp_path, tiny):
    annotations = "tiny-imagenet-200/val/val_annotations.txt"
    put(tmp_path, tiny | {annotations: b"val_0.JPEG\tn00000002\n"})
    with pytest.raises(DataError, match=r"does not list val_1\.JPEG"):
        read("tiny_imagenet", tmp_path)
    put(tmp_path, {annotations: tiny[annotations].replace(b"n00000001", b"n00000003")})
    with pytest.raises(DataError, match="'n00000003'; known are n00000001, n00000002"):
        read("tiny_imagenet", tmp_path)


@pytest.mark.parametrize("top", ["", "cifar10/"])
def test_a_tree_of_classes(tmp_path, top):
    files = {
        f"{top}{part}/{label}/{i}.png": png(level)
        for part in ("train", "test")
        for i, (label, level) in enumerate([("truck", 1), ("cat", 2)])
    }
    data = read("cifar10", put(tmp_path, files))
    assert data.classes == CIFAR10
    assert data.train.labels.tolist() == [CIFAR10.index("cat"), CIFAR10.index("truck")]
    assert data.test.images[:, 2, 9, 9].tolist() == [2, 1]


def test_a_tree_with_numbers_or_unknown_classes(tmp_path):
    files = {
        f"{part}/00014/00003_0000{i}.png": png(i) for part in ("train", "test") for i in (0, 1)
    }
    data = read("gtsrb", put(tmp_path, files))
    assert data.train.labels.tolist() == [14, 14]
    assert data.train.groups.tolist() == [0, 0]
    put(tmp_path, {"train/00043/a.png": png(0)})
    with pytest.raises(DataError, match="'43'; known are 0, 1"):
        read("gtsrb", tmp_path)
    wnids = {f"{part}/n0000000{i}/a.png": png(i) for part in ("train", "test") for i in (2, 1)}
    assert read("tiny_imagenet", put(tmp_path / "w", wnids)).classes == ("n00000001", "n00000002")


@pytest.mark.parametrize("name", ["mnist", "gtsrb", "cifar10", "tiny_imagenet"])
def test_something_else(tmp_path, name):
    put(tmp_path, {"train/cat/a.png": png(0)})  # no test part
    with pytest.raises(DataError, match=f"neither the official layout of {name} nor a tree"):
        read(name, tmp_path)


def batches(rng, trace=None) -> dict[str, bytes]:
    """CIFAR-10's files in small; ``trace``: a file whose unpickling would leave one."""
    names = [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]
    files = {
        f"cifar-10-batches-py/{name}": pickle.dumps(
            {"data": rng.integers(0, 256, (2, 3072), dtype=np.uint8), "labels": [i, 9]}
        )
        for i, name in enumerate(names)
    }
    return files | {"cifar-10-batches-py/batches.meta": pickle.dumps({"label_names": [*CIFAR10]})}


@pytest.fixture
def genuine(monkeypatch):
    """Make torchvision take our small batches for the published ones."""
    from torchvision.datasets import cifar

    monkeypatch.setattr(cifar, "check_integrity", lambda path, md5=None: True)


def test_cifar10_batches(tmp_path, rng, genuine):
    files = batches(rng)
    first = pickle.loads(files["cifar-10-batches-py/data_batch_1"])["data"][0]
    put(tmp_path, files)
    for path in (tmp_path, tmp_path / "cifar-10-batches-py"):
        data = read("cifar10", path)
        assert data.train.labels.tolist() == [0, 9, 1, 9, 2, 9, 3, 9, 4, 9]
        assert data.test.labels.tolist() == [5, 9]
        np.testing.assert_array_equal(data.train.images[0], first.reshape(3, 32, 32))
    with pytest.raises(DataError, match="unpack it first"):
        read("cifar10", zipped(tmp_path / "a.zip", files))


def test_altered_cifar10_batches_are_not_unpickled(tmp_path, rng):
    trace = tmp_path / "trace"

    class Explosive:
        def __reduce__(self):
            return trace.mkdir, ()

    files = batches(rng)
    for name in files:
        files[name] = pickle.dumps(Explosive())
    with pytest.raises(DataError, match="incomplete or altered"):
        read("cifar10", put(tmp_path / "data", files))
    assert not trace.exists()


def test_cifar10_in_a_tar(tmp_path, rng, genuine):
    from clad.data.benchmarks import import_

    put(tmp_path / "data", batches(rng))
    with tarfile.open(tmp_path / "cifar.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "data", "")
    benchmark = import_("cifar10", tmp_path / "cifar.tar.gz", tmp_path / "root")
    assert (len(benchmark.train), len(benchmark.test)) == (10, 2)
    assert sorted(p.name for p in (tmp_path / "root").iterdir()) == [".cifar10.lock", "cifar10"]
