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

SEGMENT_BYTES = 1 << 19  # what browsers hand out again; from a MiB on, they have the system map each piece anew
FILE_SEGMENTS = 32  # static hosts refuse files above 25 MiB


def lay_out(
    tensors: Sequence[WeightTensor], users: Sequence[frozenset[str]], halved: Collection[int], files: dict[str, bytes]
) -> dict[str, Any]:
    """Put the tensors into files, which are added to `files`; equal bytes once.

    Args:
        tensors: in the order in which layouts count them.
        users: of each, the precisions that need it. Tensors of the same users lie together, in segments and files of their
            own: whoever loads one precision downloads nothing of another.
        halved: the numbers of those that are sent as halves: float32, see `can_be_halved`.

    Returns:
        The manifest's record of them.
    """
    twins: dict[bytes, list[int]] = {}
    for i, t in enumerate(tensors):
        twins.setdefault(hashlib.sha256(_little(t.array).data).digest(), []).append(i)
    groups: dict[tuple[bool, frozenset[str]], list[list[int]]] = {}
    for alike in twins.values():
        key = (all(i in halved for i in alike), frozenset[str]().union(*(users[i] for i in alike)))
        groups.setdefault(key, []).append(alike)
    offsets: dict[int, int] = {}
    segments: list[dict[str, Any]] = []
    lower: list[dict[str, Any]] = []
    end = 0
    for (half, _), group in sorted(groups.items(), key=lambda item: (item[0][0], -len(item[0][1]))):
        start = end
        for alike in group:
            offsets |= dict.fromkeys(alike, end)
            end += -(-tensors[alike[0]].array.nbytes // ALIGN) * ALIGN
        writer, rest = _Writer(files), _Writer(files)
        for at, piece in _pieces([tensors[alike[0]] for alike in group], start, SEGMENT_BYTES << half):
            if half:
                high, low = halves(piece)
                segments.append(writer.add(at, high))
                segments[-1]["half"] = True
                lower.append(rest.add(at, low))
            else:
                segments.append(writer.add(at, piece))
        writer.flush()
        rest.flush()
    records = [
        {"name": t.name, "dtype": dt.dtype(t.array.dtype).name, "shape": list(t.array.shape), "offset": offsets[i]}
        for i, t in enumerate(tensors)
    ]
    made: dict[str, Any] = {"bytes": end, "tensors": records, "segments": segments}
    return {**made, "refinement": lower} if lower else made


def content_digest(array: np.ndarray) -> str:
    """The SHA-256 of an array's bytes as files have them."""
    return hashlib.sha256(_little(array).data).hexdigest()


def _little(array: np.ndarray) -> np.ndarray:
    """An array as files have it: contiguous and little-endian."""
    return np.ascontiguousarray(array.astype(array.dtype.newbyteorder("<"), copy=False))


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
        buffer += _little(t.array).tobytes()
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
