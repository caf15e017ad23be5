"""digits, MNIST, GTSRB, CIFAR-10, Tiny-ImageNet: downloaded or imported once, then loaded."""

from __future__ import annotations

import os
import tarfile
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from clad.data.archives import extract
from clad.data.cache import Decoded, Part, as_benchmark, read, read_manifest, write
from clad.data.download import fetch
from clad.data.labelled import Benchmark
from clad.data.layouts import DIGITS, read_layout
from clad.data.scenarios import known
from clad.data.tree import Tree
from clad.errors import DataError

NAMES = ("digits", "mnist", "gtsrb", "cifar10", "tiny_imagenet")


@dataclass(frozen=True)
class Availability:
    """A row of ``clad data list``; the counts are None where nothing is prepared."""

    name: str
    prepared: bool
    n_train: int | None = None
    n_test: int | None = None
    shape: tuple[int, int, int] | None = None
    classes: int | None = None


def data_root(given: Path | str | None = None) -> Path:
    """Where prepared data lives: the argument, else $CLAD_DATA, else the user's cache folder."""
    from platformdirs import user_cache_path

    chosen = given or os.environ.get("CLAD_DATA")
    return Path(chosen).expanduser() if chosen else user_cache_path("clad")


def load(name: str, root: Path | str | None = None) -> Benchmark:
    """A prepared benchmark, memory-mapped and checked; digits need no preparation.

    Raises DataError for an unknown name, for one not prepared (with the commands that do it), and
    for damaged files.
    """
    if known(name, NAMES, "data set") == "digits":
        return _digits()
    folder = data_root(root) / name
    manifest = read_manifest(folder)
    if manifest is None:
        raise DataError(
            f"{name} is not in {folder.parent}; run: clad data prepare {name}, "
            f"or with a copy at hand: clad data import {name} PATH"
        )
    return read(folder, manifest)


def available(root: Path | str | None = None) -> list[Availability]:
    """A row for every known benchmark, in a fixed order."""
    rows = []
    for name in NAMES:
        if name == "digits":
            digits = _digits()
            shape, k = digits.train.images.shape, len(digits.classes)
            rows.append(Availability(name, True, len(digits.train), len(digits.test), shape, k))
            continue
        manifest = read_manifest(data_root(root) / name)
        if manifest is None:
            rows.append(Availability(name, False))
            continue
        c, h, w = manifest["shape"]
        n = manifest["counts"]
        k = len(manifest["classes"])
        rows.append(Availability(name, True, n["train"], n["test"], (c, h, w), k))
    return rows


def import_(name: str, path: Path | str, root: Path | str | None = None) -> Benchmark:
    """Decode a copy at hand into the prepared cache and load it.

    ``path``: a folder, zip or tar in the official layout, or a tree {train,test}/<class>/*. What
    was prepared before under this name is replaced, once the new files are complete.
    """
    if known(name, NAMES, "data set") == "digits":
        raise DataError("digits come with scikit-learn; there is nothing to import")
    path, folder = Path(path), data_root(root) / name
    if path.is_file() and tarfile.is_tarfile(path):
        with _scratch(folder) as scratch:
            decoded = _decode(name, extract(path, Path(scratch) / "unpacked"))
    else:
        decoded = _decode(name, path)
    write(folder, decoded, source=path.name)
    return load(name, root)


def prepare(name: str, root: Path | str | None = None) -> Benchmark:
    """Download what is missing, then as ``import_``; at once where it is prepared already.

    Raises DataError as ``download.fetch`` does; the same command resumes.
    """
    known(name, NAMES, "data set")
    base = data_root(root)
    if name == "digits" or read_manifest(base / name) is not None:
        return load(name, root)
    files = [
        fetch(urls, base / "downloads" / name / urls[0].rsplit("/", 1)[1], f"md5:{md5}")
        for urls, md5 in _sources(name)
    ]
    if len(files) == 1:
        return import_(name, files[0], root)
    if name == "mnist":
        return import_(name, files[0].parent, root)
    with _scratch(base / name) as scratch:  # GTSRB comes as three zips
        for file in files:
            extract(file, Path(scratch) / file.stem)
        return import_(name, scratch, root)


def _decode(name: str, path: Path) -> Decoded:
    with Tree(path) as tree:
        return read_layout(name, tree)


def _scratch(folder: Path) -> tempfile.TemporaryDirectory[str]:
    folder.parent.mkdir(parents=True, exist_ok=True)
    return tempfile.TemporaryDirectory(prefix=".unpack-", dir=folder.parent)


def _sources(name: str) -> list[tuple[list[str], str]]:
    """([addresses], MD5) of every file; torchvision's own wherever it exposes them."""
    if name == "mnist":
        from torchvision.datasets import MNIST

        return [([m + file for m in MNIST.mirrors], md5) for file, md5 in MNIST.resources]
    if name == "cifar10":
        from torchvision.datasets import CIFAR10

        return [([CIFAR10.url], CIFAR10.tgz_md5)]
    if name == "gtsrb":  # as in torchvision, which keeps them inside GTSRB.download
        base = "https://sid.erda.dk/public/archives/daaeac0d7ce1152aea9b61d9f1e19370/"
        return [
            ([base + "GTSRB-Training_fixed.zip"], "513f3c79a4c5141765e10e952eaa2478"),
            ([base + "GTSRB_Final_Test_Images.zip"], "c7e4e6327067d32654124b0fe9e82185"),
            ([base + "GTSRB_Final_Test_GT.zip"], "fe31e9c9270bbcd7b84b7f21a9d9d9e5"),
        ]
    address = "http://cs231n.stanford.edu/tiny-imagenet-200.zip"
    return [([address], "90528d7ca1a48142e341f4ef8d21d0de")]


@cache
def _digits() -> Benchmark:
    """scikit-learn's 1,797 digits, 16 grey levels scaled to 0..255; 60 % of each class to train."""
    from sklearn.datasets import load_digits

    data = load_digits()
    images = np.rint(data.images * (255 / 16)).astype(np.uint8)[:, None]
    labels = data.target.astype(np.int64)
    rng = np.random.default_rng(0)  # part of the data set's definition, not of a run
    train = np.zeros(len(labels), bool)
    for label in range(len(DIGITS)):
        rows = rng.permutation(np.flatnonzero(labels == label))
        train[rows[: round(0.6 * len(rows))]] = True
    parts = (Part(images[rows], labels[rows]) for rows in (train, ~train))
    return as_benchmark("digits", Decoded(DIGITS, *parts))
