"""How each benchmark is published, and the plain tree {train,test}/<class>/* -> arrays."""

from __future__ import annotations

import contextlib
import csv
import gzip
import re
import struct
from collections.abc import Callable, Sequence
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from clad.data.cache import Decoded, Part
from clad.data.decode import EXTENSIONS
from clad.data.folder import read_tree
from clad.data.scenarios import known
from clad.data.tree import Tree
from clad.errors import DataError

DIGITS = tuple("0123456789")
CIFAR10 = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip
GTSRB = tuple(str(i) for i in range(43))

_TRACK = re.compile(r"(\d{5})_\d{5}$")  # GTSRB: <track>_<frame>
_MAX_IDX_BYTES = 2**30


def read_layout(name: str, tree: Tree) -> Decoded:
    """Decode a benchmark from its official layout or from a tree, whichever ``tree`` holds.

    Raises DataError where it holds neither, or something in it is damaged.
    """
    official, shape, classes = LAYOUTS[name]
    found = official(tree)
    if found is None:
        found = class_tree(tree, shape, classes)
    if found is None:
        raise DataError(
            f"{tree.path}: neither the official layout of {name} nor a tree "
            "{train,test}/<class>/<image>; give the folder or zip that holds one"
        )
    return found


def read_mnist(tree: Tree) -> Decoded | None:
    """Four IDX files, gzipped or not, in any folder of the tree."""
    paths = {}
    for path in tree.names:
        match = re.match(r"(train|t10k)-(images|labels)[-.]idx[13]-ubyte(\.gz)?$", _base(path))
        if match:
            paths[match[1], match[2]] = path
    if not paths:
        return None
    parts = []
    for part in ("train", "t10k"):
        for what in ("images", "labels"):
            if (part, what) not in paths:
                raise DataError(f"{tree.path}: {part}-{what}-idx*-ubyte[.gz] is missing")
        images = _idx(tree, paths[part, "images"], ndim=3)[:, None]
        labels = _idx(tree, paths[part, "labels"], ndim=1).astype(np.int64)
        parts.append(Part(images, labels))
    return Decoded(DIGITS, *parts)


def _idx(tree: Tree, path: str, ndim: int) -> NDArray[np.uint8]:
    """An IDX file of unsigned bytes: magic 0x0800 + ndim, ndim big-endian sizes, the values."""
    with contextlib.ExitStack() as stack:
        stream = stack.enter_context(tree.open(path))
        if path.endswith(".gz"):
            stream = stack.enter_context(gzip.GzipFile(fileobj=stream))  # type: ignore[assignment]
        try:
            magic, *shape = struct.unpack(f">{1 + ndim}I", stream.read(4 * (1 + ndim)))
            size = int(np.prod(shape, dtype=object))
            if magic != 0x0800 + ndim or size > _MAX_IDX_BYTES:
                raise DataError(f"{tree.path}: {path} is not an IDX file of {ndim} dimensions")
            data = stream.read(size + 1)
        except (struct.error, EOFError, OSError) as error:
            raise DataError(f"{tree.path}: {path} is damaged: {error}") from error
    if len(data) != size:
        raise DataError(f"{tree.path}: {path} should hold {size} values; the file is damaged")
    return np.frombuffer(data, np.uint8).reshape(shape)


def read_cifar10(tree: Tree) -> Decoded | None:
    """The Python batches, in a folder ``cifar-10-batches-py``; unpacked, not inside a zip."""
    batches = [path for path in tree.names if path.endswith("cifar-10-batches-py/batches.meta")]
    own = tree.path.name == "cifar-10-batches-py"
    if not batches and not own:
        return None
    if not tree.path.is_dir():
        raise DataError(f"{tree.path}: unpack it first, then import the folder")
    root = tree.path.parent if own else (tree.path / batches[0]).parent.parent
    from torchvision import datasets

    parts = []
    for train in (True, False):
        try:
            # The one place where something unpickles: these batches are pickles, and torchvision
            # compares every file's MD5 with the published one before it opens any.
            data = datasets.CIFAR10(root, train=train, download=False)
        except RuntimeError as error:
            raise DataError(f"{root}: CIFAR-10's batches are incomplete or altered") from error
        images = np.ascontiguousarray(np.moveaxis(data.data, 3, 1))
        parts.append(Part(images, np.array(data.targets, np.int64)))
    return Decoded(CIFAR10, *parts)


def read_gtsrb(tree: Tree) -> Decoded | None:
    """GTSRB/Training/<class>/<track>_<frame>, GTSRB/Final_Test/Images/*, GT-final_test.csv."""
    training, testing, truth = [], [], None
    for path in tree.names:
        if re.search(r"(^|/)Training/\d{5}/\d{5}_\d{5}\.(ppm|png)$", path):
            training.append(path)
        elif re.search(r"(^|/)Final_Test/Images/\d{5}\.(ppm|png)$", path):
            testing.append(path)
        elif _base(path) == "GT-final_test.csv":
            truth = path
    if not training and not testing:
        return None
    if not training or not testing or truth is None:
        raise DataError(
            f"{tree.path}: GTSRB needs Training/, Final_Test/Images/ and GT-final_test.csv; found "
            f"{len(training)} training images, {len(testing)} test images, csv: {truth or 'none'}"
        )
    try:
        # By stem: the extension in the list is that of the original, .ppm.
        labels = {
            _stem(row["Filename"]): str(int(row["ClassId"]))
            for row in csv.DictReader(_lines(tree, truth), delimiter=";")
        }
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{tree.path}: {truth} is damaged; it needs columns Filename;...;ClassId"
        ) from error
    unlisted = [path for path in testing if _stem(path) not in labels]
    if unlisted:
        raise DataError(f"{tree.path}: {truth} does not list {_base(unlisted[0])}")
    return Decoded(
        GTSRB,
        _part(
            tree, training, [_class_folder(path, GTSRB) for path in training], GTSRB, (3, 32, 32)
        ),
        _part(tree, testing, [labels[_stem(path)] for path in testing], GTSRB, (3, 32, 32)),
    )


def read_tiny_imagenet(tree: Tree) -> Decoded | None:
    """train/<wnid>/images/*, val/images/*, val/val_annotations.txt; val is the test part."""
    training: list[tuple[str, str]] = []
    testing, truth = [], None
    for path in tree.names:
        match = re.search(r"(^|/)train/(n\d{8})/images/[^/]+\.JPEG$", path)
        if match:
            training.append((path, match[2]))
        elif re.search(r"(^|/)val/images/[^/]+\.JPEG$", path):
            testing.append(path)
        elif path.endswith("val/val_annotations.txt"):
            truth = path
    if truth is None or not training:
        return None
    labels = dict(line.split("\t")[:2] for line in _lines(tree, truth) if "\t" in line)
    unlisted = [path for path in testing if _base(path) not in labels]
    if unlisted or not testing:
        what = _base(unlisted[0]) if unlisted else "any image of val/images"
        raise DataError(f"{tree.path}: {truth} does not list {what}")
    classes = tuple(sorted({wnid for _, wnid in training}))
    paths, wnids = zip(*training, strict=True)
    return Decoded(
        classes,
        _part(tree, paths, wnids, classes, (3, 64, 64)),
        _part(tree, testing, [labels[_base(path)] for path in testing], classes, (3, 64, 64)),
    )


def class_tree(
    tree: Tree, shape: tuple[int, int, int], classes: tuple[str, ...] | None
) -> Decoded | None:
    """{train,test}/<class>/*, possibly below one more folder.

    ``classes`` None: the class names are those of the folders, sorted; else a folder's name must
    be among them, or be the number of one (00014 for 14).
    """
    found: dict[str, list[str]] = {"train": [], "test": []}
    for path in tree.names:
        match = re.match(r"(?:[^/]+/)?(train|test)/[^/]+/[^/]+$", path)
        if match and PurePosixPath(path).suffix.lower() in EXTENSIONS:
            found[match[1]].append(path)
    if not all(found.values()):
        return None
    if classes is None:
        classes = tuple(sorted({_folder(path) for paths in found.values() for path in paths}))
    parts = []
    for paths in found.values():
        labels = [_class_folder(path, classes) for path in paths]
        parts.append(_part(tree, paths, labels, classes, shape))
    return Decoded(classes, *parts)


def _part(
    tree: Tree,
    paths: Sequence[str],
    labels: Sequence[str],
    classes: tuple[str, ...],
    shape: tuple[int, int, int],
) -> Part:
    """Decode these files to (N, *shape); a class nobody knows is an error, never a guess."""
    code = {label: i for i, label in enumerate(classes)}
    for label in dict.fromkeys(labels):
        known(label, classes, f"class in {tree.path}:")
    images, _ = read_tree(tree, paths, size=shape[1:], channels=shape[0])
    return Part(images.array, np.array([code[label] for label in labels], np.int64), _tracks(paths))


def _tracks(paths: Sequence[str]) -> NDArray[np.int64] | None:
    """One number a (class folder, track) where every file is named <track>_<frame>, else None."""
    matches = [_TRACK.match(_stem(path)) for path in paths]
    numbers: dict[tuple[str, str], int] = {}
    groups = [
        numbers.setdefault((_folder(path), match[1]), len(numbers))
        for path, match in zip(paths, matches, strict=True)
        if match
    ]
    return np.array(groups, np.int64) if len(groups) == len(paths) else None


def _lines(tree: Tree, path: str) -> list[str]:
    with tree.open(path) as stream:
        return stream.read().decode("utf-8", errors="replace").splitlines()


def _class_folder(path: str, classes: tuple[str, ...]) -> str:
    """The class a file's folder names: as it is written, or as a number without leading zeros."""
    folder = _folder(path)
    return folder if folder in classes or not folder.isdecimal() else str(int(folder))


def _folder(path: str) -> str:
    return PurePosixPath(path).parent.name


def _base(path: str) -> str:
    return PurePosixPath(path).name


def _stem(path: str) -> str:
    return PurePosixPath(path).stem


LAYOUTS: dict[
    str,
    tuple[Callable[[Tree], Decoded | None], tuple[int, int, int], tuple[str, ...] | None],
] = {
    "mnist": (read_mnist, (1, 28, 28), DIGITS),
    "gtsrb": (read_gtsrb, (3, 32, 32), GTSRB),
    "cifar10": (read_cifar10, (3, 32, 32), CIFAR10),
    "tiny_imagenet": (read_tiny_imagenet, (3, 64, 64), None),
}
