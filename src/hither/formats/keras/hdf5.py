"""Reading HDF5 files, which are untrusted, with pyfive: it is written in Python, so that a damaged file is an exception.

The HDF5 library itself (h5py) is not for untrusted files: a few wrong bytes make it read where there is nothing, and crash.
What a file claims is held against what it stores before memory is taken; other files that it names are never opened.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import HitherError, InvalidModel, LimitExceeded, PackageMissing

MAX_BYTES = 1 << 33  # of all arrays of a file
MOST_COMPRESSED = 1032  # deflate makes at most so many bytes of one
_NOWHERE = (1 << 64) - 1  # the address of what a file does not hold
MAGIC = b"\x89HDF\r\n\x1a\n"


@contextmanager
def opened(source: Path | bytes, name: str) -> Iterator[Any]:
    """The root group of a file, or of one in memory.

    Raises:
        PackageMissing: pyfive is not installed.
        InvalidModel: in the block too, where the file turns out to be malformed.
    """
    try:
        import pyfive
    except ModuleNotFoundError as error:
        raise PackageMissing(f"reading {name}, an HDF5 file,", "pyfive", "keras") from error
    try:
        with pyfive.File(io.BytesIO(source) if isinstance(source, bytes) else str(source)) as file:
            file.stored_bytes = len(source) if isinstance(source, bytes) else source.stat().st_size
            yield file
    except HitherError:
        raise
    except Exception as error:  # the reader trusts its file: anything can come of a wrong number in it
        raise InvalidModel(f"{name} is damaged or cut short, or no HDF5 file: {error or type(error).__name__}") from error


def member(group: Any, path: str) -> Any:
    """What a path inside a group leads to, None if nothing does."""
    found = group
    for step in path.split("/"):
        if step and (not hasattr(found, "items") or step not in found):
            return None
        found = found[step] if step else found
    return found


def array(group: Any, path: str) -> np.ndarray:
    """A copy of the dataset at a path.

    Raises:
        InvalidModel: if there is none, or it holds no numbers, or claims more of them than the file stores.
    """
    dataset = member(group, path)
    where = f"{group.name.rstrip('/')}/{path}"
    if dataset is None or not is_array(dataset):
        raise InvalidModel(f"the file has no array {where!r}")
    claimed_bytes(dataset, where, group.file.stored_bytes)
    if dataset.chunks is None and getattr(dataset.id, "data_offset", 0) == _NOWHERE:
        raise InvalidModel(f"{where!r} was never written, or is in another file")
    made = np.array(dataset[()])
    if made.shape != tuple(dataset.shape):
        raise InvalidModel(f"{where!r} has shape {made.shape}, the file says {dataset.shape}")
    return made


def is_array(item: Any) -> bool:
    """Whether something in a file is an array of numbers."""
    return hasattr(item, "shape") and item.shape is not None and np.dtype(item.dtype).kind in "fiub"


def claimed_bytes(dataset: Any, where: str, stored: int) -> int:
    """The bytes of a dataset, held against those of its file."""
    claimed = math.prod(int(n) for n in dataset.shape) * np.dtype(dataset.dtype).itemsize
    if claimed > MAX_BYTES:
        raise LimitExceeded(f"{where!r} of shape {dataset.shape} has {claimed} bytes; at most {MAX_BYTES} are read")
    most = stored * MOST_COMPRESSED if dataset.chunks is not None else stored
    if claimed < 0 or claimed > most:
        raise InvalidModel(f"{where!r} of shape {dataset.shape} claims {claimed} bytes, the whole file has {stored}")
    return claimed


def count_numbers(root: Any) -> int:
    """How many numbers the datasets of a file hold together."""
    total, size = 0, 0

    def visit(name: str, item: Any) -> None:
        nonlocal total, size
        if is_array(item):
            total += math.prod(item.shape)
            size += claimed_bytes(item, name, root.stored_bytes)
            if size > MAX_BYTES:
                raise LimitExceeded(f"the file holds more than {MAX_BYTES} bytes of arrays")

    root.visititems(visit, noindex=True)
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
    while name not in group.attrs and f"{name}{len(parts)}" in group.attrs:
        parts.append(f"{name}{len(parts)}")
    if not parts:
        return None
    found: list[str] = []
    for part in parts:
        for value in np.asarray(group.attrs[part]).reshape(-1).tolist():
            if isinstance(value, float):  # how an empty list is written
                continue
            if not isinstance(value, bytes | str):
                raise InvalidModel(f"attribute {part!r} of {group.name} must hold names, got {value!r:.100}")
            found.append(value.decode("utf-8") if isinstance(value, bytes) else value)
    return found
