"""Tree: a folder or a zip seen as sorted relative names that can be opened."""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path
from typing import BinaryIO

from clad.data.archives import open_zip, reasons
from clad.errors import DataError


class Tree:
    """A folder, or a zip read member by member without unpacking. A context manager.

    ``names``: relative paths with "/" between parts, sorted; hidden files and the resource forks
    that macOS adds to archives are left out.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._zip: zipfile.ZipFile | None = None
        if path.is_dir():
            names = [
                (Path(folder) / name).relative_to(path).as_posix()
                for folder, _, files in os.walk(path)
                for name in files
            ]
        elif path.is_file():
            self._zip = open_zip(path)
            names = [info.filename for info in self._zip.infolist() if not info.is_dir()]
        else:
            raise DataError(f"{path} does not exist; give a folder or a zip")
        self.names = sorted(name for name in names if not _hidden(name))

    def __enter__(self) -> Tree:
        return self

    def __exit__(self, *_: object) -> None:
        if self._zip is not None:
            self._zip.close()

    def open(self, name: str) -> BinaryIO:
        """A seekable stream of one file's bytes. Raises DataError for a damaged member of a zip."""
        if self._zip is None:
            return (self.path / name).open("rb")
        with reasons("damaged inside the zip"):
            return io.BytesIO(self._zip.read(name))


def _hidden(name: str) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in name.split("/"))
