"""Opening HDF5 files, which are untrusted: only data in the file itself is read, and sizes are checked against what it stores.

h5py is loaded when a file is opened.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import HitherError, InvalidModel, LimitExceeded, UnsupportedFeature

MAX_BYTES = 1 << 33  # of one array, and of all
MOST_COMPRESSED = 1100  # deflate makes at most 1032 bytes of one
MAGIC = b"\x89HDF\r\n\x1a\n"


@contextmanager
def opened(source: Path | bytes, name: str, mode: str = "r") -> Iterator[Any]:
    """The root group of a file, or of one in memory. What h5py and NumPy find wrong with it is an InvalidModel.

    Raises:
        ModuleNotFoundError: without h5py; says what to install.
    """
    try:
        import h5py
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"{name} is an HDF5 file, which h5py reads: pip install 'hither[keras]'") from error
    try:
        with h5py.File(io.BytesIO(source) if isinstance(source, bytes) else source, mode) as file:
            yield file
    except HitherError:
        raise
    except (OSError, KeyError, RuntimeError, ValueError, TypeError, OverflowError) as error:
        raise InvalidModel(f"{name} is damaged or cut short, or no HDF5 file: {error}") from error


def member(group: Any, path: str) -> Any:
    """What a path inside a group leads to, None if nothing does.

    Raises:
        UnsupportedFeature: if part of it is in another file, or a link of another kind than files of Keras have.
    """
    import h5py

    found = group
    for step in path.split("/"):
        if not step:
            continue
        if not isinstance(found, h5py.Group) or step not in found:
            return None
        if not isinstance(found.get(step, getlink=True), h5py.HardLink):
            raise UnsupportedFeature(f"{found.name}/{step} is a link; files of Keras hold their data themselves")
        found = found[step]
    return found


def array(group: Any, path: str) -> np.ndarray:
    """The dataset at a path.

    Raises:
        InvalidModel: if there is none, or it holds no numbers, or claims more of them than the file stores.
    """
    dataset = member(group, path)
    where = f"{group.name.rstrip('/')}/{path}"
    if dataset is None or not hasattr(dataset, "shape") or dataset.shape is None:
        raise InvalidModel(f"the file has no array {where!r}")
    check(dataset, where)
    return np.asarray(dataset[()])


def check(dataset: Any, where: str) -> None:
    """Raise unless a dataset can be read: numbers, in this file, not more than it stores."""
    if dataset.dtype.kind not in "fiub":
        raise InvalidModel(f"{where!r} holds {dataset.dtype}, no numbers")
    if dataset.external or dataset.is_virtual:
        raise UnsupportedFeature(f"{where!r} is in another file; files of Keras hold their data themselves")
    claimed = math.prod(dataset.shape) * dataset.dtype.itemsize
    if claimed > MAX_BYTES:
        raise LimitExceeded(f"{where!r} of shape {dataset.shape} has {claimed} bytes; at most {MAX_BYTES} are read")
    if claimed > MOST_COMPRESSED * dataset.id.get_storage_size():
        raise InvalidModel(f"{where!r} claims {claimed} bytes, the file stores {dataset.id.get_storage_size()} for it")


def count_numbers(root: Any) -> int:
    """How many numbers the datasets of a file hold together."""
    import h5py

    total, size = 0, 0

    def visit(name: str, item: Any) -> None:
        nonlocal total, size
        if isinstance(item, h5py.Dataset) and item.shape is not None and item.dtype.kind in "fiub":
            check(item, name)
            total += math.prod(item.shape)
            size += math.prod(item.shape) * item.dtype.itemsize

    root.visititems(visit)
    if size > MAX_BYTES:
        raise LimitExceeded(f"the file holds {size} bytes of arrays; at most {MAX_BYTES} are read")
    return total


def text(group: Any, name: str) -> str | None:
    """A text attribute, None if there is none."""
    value = group.attrs.get(name)
    if isinstance(value, np.ndarray) and value.size == 1:
        value = value.reshape(()).item()
    if isinstance(value, bytes):
        value = value.decode("utf-8")
    return value if isinstance(value, str) else None


def texts(group: Any, name: str) -> list[str] | None:
    """A list of texts in an attribute, or in several numbered ones where it was too long; None if there is none."""
    parts = [name] if name in group.attrs else []
    while f"{name}{len(parts)}" in group.attrs and name not in group.attrs:
        parts.append(f"{name}{len(parts)}")
    if not parts:
        return None
    found: list[str] = []
    for part in parts:
        for value in np.asarray(group.attrs[part]).reshape(-1).tolist():
            if not isinstance(value, bytes | str):
                raise InvalidModel(f"attribute {part!r} of {group.name} must hold names, got {value!r:.100}")
            found.append(value.decode("utf-8") if isinstance(value, bytes) else value)
    return found
