"""The weights of a bundle as files: all tensors one after another (the blob), cut into segments that are verified one by one.

A progressive bundle sends each float32 weight as two halves. The upper ones are the weights rounded to bfloat16 (8 bits of
precision, float32's range), with which a program starts; the lower ones, which come while it runs already, restore every bit.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from .. import dtypes as dt
from ..kernels.steps import ALIGN
from .manifest import WeightTensor

SEGMENT_BYTES = 1 << 20
FILE_SEGMENTS = 16  # static hosts refuse files above 25 MiB


def lay_out(tensors: Sequence[WeightTensor], halved: Collection[int], files: dict[str, bytes]) -> dict[str, Any]:
    """Put the tensors into files, which are added to `files`.

    Args:
        tensors: in the order in which layouts count them.
        halved: the numbers of those that are sent as halves: float32, see `can_be_halved`.

    Returns:
        The manifest's record of them.
    """
    order = [*(i for i in range(len(tensors)) if i not in halved), *(i for i in range(len(tensors)) if i in halved)]
    offsets, end = {}, 0
    for i in order:
        offsets[i] = end
        end += -(-tensors[i].array.nbytes // ALIGN) * ALIGN
    whole = sum(-(-tensors[i].array.nbytes // ALIGN) * ALIGN for i in order if i not in halved)
    writer = _Writer(files)
    segments: list[dict[str, Any]] = []
    lower: list[dict[str, Any]] = []
    for start, piece in _pieces([tensors[i] for i in order if i not in halved], 0, SEGMENT_BYTES):
        segments.append(writer.add(start, piece))
    writer.flush()
    rest = _Writer(files)
    for start, piece in _pieces([tensors[i] for i in order if i in halved], whole, 2 * SEGMENT_BYTES):
        high, low = halves(piece)
        segments.append(writer.add(start, high))
        segments[-1]["half"] = True
        lower.append(rest.add(start, low))
    writer.flush()
    rest.flush()
    records = [
        {"name": t.name, "dtype": dt.dtype(t.array.dtype).name, "shape": list(t.array.shape), "offset": offsets[i]}
        for i, t in enumerate(tensors)
    ]
    made: dict[str, Any] = {"bytes": end, "tensors": records, "segments": segments}
    return {**made, "refinement": lower} if lower else made


class _Writer:
    """Packs segments into files of FILE_SEGMENTS."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self._files = files
        self._pending: list[tuple[dict[str, Any], bytes]] = []

    def add(self, start: int, data: bytes) -> dict[str, Any]:
        """The record of a segment, whose file is known once it is full."""
        if len(self._pending) == FILE_SEGMENTS:
            self.flush()
        offset = sum(len(d) for _, d in self._pending)
        sha = hashlib.sha256(data).hexdigest()
        record = {"file": "", "offset": offset, "start": start, "bytes": len(data), "sha256": sha}
        self._pending.append((record, data))
        return record

    def flush(self) -> None:
        """Write the file of what is pending."""
        if not self._pending:
            return
        data = b"".join(d for _, d in self._pending)
        name = f"weights-{hashlib.sha256(data).hexdigest()[:12]}.bin"
        self._files[name] = data
        for record, _ in self._pending:
            record["file"] = name
        self._pending.clear()


def _pieces(tensors: Iterable[WeightTensor], start: int, size: int) -> Iterator[tuple[int, bytes]]:
    """(start in the blob, bytes) of pieces of `size`, holding no more than one tensor and one piece at a time."""
    buffer = bytearray()
    for t in tensors:
        little = t.array.astype(t.array.dtype.newbyteorder("<"), copy=False)
        buffer += np.ascontiguousarray(little).tobytes()
        buffer += bytes(-len(buffer) % ALIGN)
        full = len(buffer) // size * size
        for at in range(0, full, size):
            yield start + at, bytes(buffer[at : at + size])
        start += full
        del buffer[:full]
    if buffer:
        yield start, bytes(buffer)


# -- halves --------------------------------------------------------------------------------------------------------------


def halves(data: bytes) -> tuple[bytes, bytes]:
    """float32 numbers as the upper halves, rounded to nearest, and what is left: (upper << 16) + signed lower, modulo 2^32."""
    words = np.frombuffer(data, "<u4")
    upper = ((words.astype(np.uint64) + 0x8000) >> 16).astype("<u2")
    return upper.tobytes(), (words & 0xFFFF).astype("<u2").tobytes()


def joined(upper: bytes, lower: bytes | None = None) -> bytes:
    """The numbers of `halves` again; rounded to their upper halves where there are no lower ones."""
    words = np.frombuffer(upper, "<u2").astype(np.uint32) << np.uint32(16)
    if lower is not None:
        words = words + np.frombuffer(lower, "<i2").astype(np.int32).view(np.uint32)
    return words.astype("<u4").tobytes()


def can_be_halved(array: np.ndarray) -> bool:
    """Whether an array is float32 and finite after rounding too."""
    if array.dtype != np.float32:
        return False
    return bool(np.isfinite(rounded(array)).all()) if np.isfinite(array).all() else False


def rounded(array: np.ndarray) -> np.ndarray:
    """A float32 array as its upper halves alone have it."""
    little = np.ascontiguousarray(array.astype("<f4", copy=False))
    return np.frombuffer(joined(halves(little.tobytes())[0]), "<f4").reshape(array.shape)
