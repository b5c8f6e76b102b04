"""Tensor data kept in files beside the model.

The model file is untrusted, so what it names is opened only if it lies inside the model's own directory, also after every
symbolic link is followed, and if the file is long enough for what the tensor claims.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import InvalidModel
from ..paths import file_inside


class ExternalData:
    """Reads external tensor data of the model in `directory` (None: the model came as bytes and may have none)."""

    def __init__(self, directory: Path | None) -> None:
        self.directory = None if directory is None else directory.resolve()
        self._read: dict[str, tuple[int, int]] = {}  # location → time and size of the file when it was first read

    def read(self, proto: Any, kind: np.dtype, size: int, where: str) -> np.ndarray:
        """The elements of a TensorProto whose data_location is EXTERNAL."""
        entries = {e.key: e.value for e in proto.external_data}
        path = self._path(entries.get("location", ""), where)
        offset = _number(entries.get("offset", "0"), "offset", where)
        nbytes = size * kind.itemsize
        length = _number(entries.get("length", str(nbytes)), "length", where)
        status = path.stat()
        available = status.st_size
        self._read.setdefault(entries.get("location", ""), (status.st_mtime_ns, available))
        if length != nbytes or offset + length > available:
            raise InvalidModel(
                f"{where}: needs {nbytes} bytes; the model says {length} at offset {offset} of {path.name}, "
                f"which has {available}"
            )
        array = np.fromfile(path, stored_as(kind), size, offset=offset)
        if array.size != size:
            raise InvalidModel(f"{where}: {path.name} ended early")
        return stored(array, kind)

    def digests(self) -> dict[str, str] | None:
        """Location → digest of every file that was read, None if one has changed since."""
        found = {location: self.digest(location) for location in self._read}
        for location, first in self._read.items():
            status = self._path(location, "digest").stat()
            if (status.st_mtime_ns, status.st_size) != first:
                return None
        return found

    def digest(self, location: str) -> str:
        """Digest of the content of a file."""
        with open(self._path(location, "digest"), "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def _path(self, location: str, where: str) -> Path:
        if self.directory is None:
            raise InvalidModel(f"{where}: data is in the file {location!r}; load the model from its path, not from bytes")
        return file_inside(self.directory, location, f"{where}: external data")


def stored_as(kind: np.dtype) -> np.dtype:
    """What elements of a dtype are in a file: little-endian, and bools bytes, since any byte may be there."""
    return np.dtype(np.uint8) if kind == np.bool_ else kind.newbyteorder("<")


def stored(array: np.ndarray, kind: np.dtype) -> np.ndarray:
    """Elements of a file, read as `stored_as` says, as the dtype that they are of."""
    return array != 0 if kind == np.bool_ else array.astype(kind, copy=False)


def _number(text: str, what: str, where: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise InvalidModel(f"{where}: external data {what} {text!r} is no number")
    return int(text)
