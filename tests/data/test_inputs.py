import os
import pickle
import zipfile

import numpy as np
import pytest
from PIL import Image

from clad.data.images import ImageSet
from clad.data.inputs import as_image_set
from clad.data.labelled import Benchmark, Labelled
from clad.data.splits import Answers, Task
from clad.errors import DataError


@pytest.mark.parametrize("shape", [(3, 12, 10), (1, 12, 10), (3, 90, 80)])
def test_same_pixels_whichever_way(tmp_path, rng, shape):
    """The issue's promise: array, tensor, Dataset, folder, list, zip, .npy agree to the bit."""
    import torch
    from torch.utils.data import TensorDataset

    nchw = rng.integers(0, 256, (4, *shape), dtype=np.uint8)
    nhwc = nchw.transpose(0, 2, 3, 1)
    pictures = [Image.fromarray(a[..., 0] if shape[0] == 1 else a) for a in nhwc]
    paths = [tmp_path / f"{i}.png" for i in range(4)]
    for path, picture in zip(paths, pictures, strict=True):
        picture.save(path)
    (tmp_path / "list.txt").write_text("\n".join(p.name for p in paths))
    np.save(tmp_path / "images.npy", nchw)
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as archive:
        for path in paths:
            archive.write(path, path.name)
    tensor = torch.from_numpy(nchw)
    ways = {
        "nchw": nchw,
        "nhwc": nhwc,
        "float": nhwc.astype(np.float32) / 255,
        "tensor": tensor,
        "float tensor": tensor.float() / 255,
        "dataset": TensorDataset(tensor, torch.arange(4)),
        "pictures": pictures,
        "pairs": list(zip(pictures, range(4), strict=True)),
        "arrays": list(nhwc),
        "folder": tmp_path,
        "paths": paths,
        "text": str(tmp_path / "list.txt"),
        "npy": tmp_path / "images.npy",
        "zip": tmp_path / "images.zip",
    }
    for options in ({}, {"size": (16, 16), "channels": 1}, {"channels": 3}):
        expected = as_image_set(nchw, **options)[0].read()
        for way, source in ways.items():
            images, bad = as_image_set(source, **options)
            np.testing.assert_array_equal(images.read(), expected, err_msg=f"{way} {options}")
            assert bad == []


def test_an_image_set_passes_through():
    images = ImageSet.of(np.zeros((2, 1, 100, 100), np.uint8))
    assert as_image_set(images)[0] is images
    assert as_image_set(images, channels=3)[0].shape == (3, 100, 100)


def test_an_ambiguous_tensor_is_nchw():
    import torch

    assert as_image_set(torch.zeros(2, 3, 8, 4))[0].shape == (3, 8, 4)
    with pytest.raises(DataError, match="8 channels, not 1, 3 or 4"):
        as_image_set(torch.zeros(2, 8, 8, 3))


def test_items_of_unequal_sizes_are_resized(rng):
    items = [rng.integers(0, 256, (h, 9, 3), dtype=np.uint8) for h in (8, 12)]
    assert as_image_set(items)[0].shape == (3, 64, 64)


def test_labelled_objects_are_refused():
    images = ImageSet.of(np.zeros((2, 1, 4, 4), np.uint8))
    labelled = Labelled(images, np.zeros(2, np.int64), ("a",))
    answers = Answers(labelled.labels, labelled.labels, labelled.labels > 0, ("a",))
    for source in (
        labelled,
        Benchmark("x", ("a",), labelled, labelled),
        Task(images, images, answers),
        answers,
    ):
        with pytest.raises(DataError, match=f"a {type(source).__name__} carries labels"):
            as_image_set(source)


class Explosive:
    """Leaves a trace when it is unpickled."""

    def __init__(self, trace):
        self.trace = str(trace)

    def __reduce__(self):
        return os.mkdir, (self.trace,)


@pytest.mark.parametrize("name", ["a.pkl", "a.pt", "a.npy", "a.npz"])
def test_pickles_are_refused_unopened(tmp_path, name):
    trace = tmp_path / "trace"
    if name == "a.npy":
        np.save(tmp_path / name, np.array([Explosive(trace)], object), allow_pickle=True)
    else:
        (tmp_path / name).write_bytes(pickle.dumps(Explosive(trace)))
    with pytest.raises(DataError, match="pickle"):
        as_image_set(tmp_path / name)
    assert not trace.exists()


@pytest.mark.parametrize(
    ("source", "match"),
    [
        (7, "cannot be read from a int"),
        (b"abc", "cannot be read from a bytes"),
        ([], "list of paths is empty"),
        ([("a", 1)], "item 0 is a str"),
        ("absent.npy", "absent.npy does not exist"),
    ],
)
def test_things_without_images(source, match):
    with pytest.raises(DataError, match=match):
        as_image_set(source)


def test_nan_in_an_item_names_it():
    items = [np.zeros((4, 4)), np.full((4, 4), np.nan)]
    with pytest.raises(DataError, match=r"item 1: nan at index \(0, 0, 0\)"):
        as_image_set(items)


def test_datasets_without_length_or_images():
    from torch.utils.data import Dataset, IterableDataset

    class Stream(IterableDataset):
        def __iter__(self):
            yield 1

    class Empty(Dataset):
        def __len__(self):
            return 0

    with pytest.raises(DataError, match="Stream has no length"):
        as_image_set(Stream())
    with pytest.raises(DataError, match="the Empty is empty"):
        as_image_set(Empty())
