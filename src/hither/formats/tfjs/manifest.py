"""The weight manifest of TF.js models, of both kinds (graph models and layers models): binary shards to named arrays.

A manifest is a list of groups: {"paths": [shard files], "weights": [{"name", "shape", "dtype", "quantization"?}]}. A group's
weights lie one after another in its shards, little-endian. It is untrusted: all sizes are added up and checked before anything
is fetched, and shards must have together exactly the bytes that the weights need.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import InvalidModel, LimitExceeded, UnsupportedFeature

MAX_WEIGHT_BYTES = 1 << 32  # of all weights of a model, as stored
MAX_DECODED_BYTES = 1 << 33  # the same, as arrays
MAX_RANK = 32
MAX_STRINGS = 1 << 24

Fetch = Callable[[str, int], bytes]

STORED = {"float32": "<f4", "int32": "<i4", "bool": "u1", "uint8": "u1", "uint16": "<u2", "float16": "<f2", "complex64": "<c8"}


@dataclass(frozen=True)
class Entry:
    """One weight of a manifest: what it is (`dtype`) and how it is stored (`stored`, a NumPy dtype; None for strings)."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    stored: np.dtype | None
    scale: float = 1.0
    minimum: float = 0.0
    affine: bool = False  # stored integers mean stored · scale + minimum

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    def decode(self, data: memoryview, offset: int) -> tuple[np.ndarray, int]:
        """The array that starts at an offset, and the offset after it."""
        if self.stored is None:
            return self._strings(data, offset)
        end = offset + self.size * self.stored.itemsize
        raw = np.frombuffer(data, self.stored, self.size, offset).reshape(self.shape)
        if self.affine:
            made = raw.astype(np.float32) * np.float32(self.scale) + np.float32(self.minimum)
            made = np.round(made).astype(np.int32) if self.dtype == "int32" else made
        else:
            made = raw.astype(_result(self.dtype))  # a copy: shards are let go
        return made, end

    def _strings(self, data: memoryview, offset: int) -> tuple[np.ndarray, int]:
        """Strings are each four bytes of length and as many bytes."""
        found = np.empty(self.size, object)
        for i in range(self.size):
            length = int.from_bytes(data[offset : offset + 4], "little")
            if len(data) < offset + 4 or len(data) < offset + 4 + length:
                raise InvalidModel(f"weight {self.name!r}: its strings need more bytes than the shards have")
            found[i] = bytes(data[offset + 4 : offset + 4 + length])
            offset += 4 + length
        return found.reshape(self.shape), offset


def _result(dtype: str) -> np.dtype:
    """The dtype in memory: TF.js computes with 32 bits."""
    return np.dtype({"float16": "float32", "uint8": "int32", "uint16": "int32"}.get(dtype, dtype))


def read_weights(manifest: Any, fetch: Fetch) -> dict[str, np.ndarray]:
    """All weights of a manifest by name.

    Args:
        manifest: the parsed JSON of `weightsManifest`, or of a file that holds nothing but a manifest.
        fetch: (path as the manifest has it, the most bytes that count) → the bytes of a shard. It may read a little more
            than it is asked for, so that a shard that is too long is told from one that fits.

    Returns:
        float32, int32, bool and complex64 arrays, and object arrays of bytes for strings. Quantised weights are restored
        to the dtype they had.

    Raises:
        InvalidModel: if the manifest is malformed, or a shard is missing, short or long.
        LimitExceeded: if the weights need more memory than MAX_WEIGHT_BYTES.
        UnsupportedFeature: for dtypes that TF.js does not have.
    """
    groups = [_group(g, i) for i, g in enumerate(_list(manifest, "the weight manifest"))]
    stored = sum(e.size * e.stored.itemsize for _, entries in groups for e in entries if e.stored is not None)
    decoded = sum(e.size * 8 for _, entries in groups for e in entries)
    if stored > MAX_WEIGHT_BYTES or decoded > 2 * MAX_DECODED_BYTES:
        raise LimitExceeded(f"the weights have {stored} bytes; hither reads at most {MAX_WEIGHT_BYTES}")
    found: dict[str, np.ndarray] = {}
    for paths, entries in groups:
        for name, array in _read_group(paths, entries, fetch):
            if name in found:
                raise InvalidModel(f"the weight manifest names {name!r} twice")
            found[name] = array
    return found


def _read_group(paths: list[str], entries: list[Entry], fetch: Fetch) -> Iterable[tuple[str, np.ndarray]]:
    text = any(e.stored is None for e in entries)
    need = sum(e.size * (4 if e.stored is None else e.stored.itemsize) for e in entries)
    data = bytearray()
    for path in paths:
        room = (MAX_WEIGHT_BYTES if text else need) - len(data)
        data += fetch(path, room)
        if len(data) > need and not text:
            raise InvalidModel(f"shard {path!r} is too long: its group's weights need {need} bytes")
    if len(data) < need:
        raise InvalidModel(
            f"the shards {', '.join(map(repr, paths)) or '(none)'} have {len(data)} bytes, need {need}: cut short?"
        )
    view, offset = memoryview(bytes(data)), 0
    del data
    for entry in entries:
        array, offset = entry.decode(view, offset)
        yield entry.name, array
    if offset != len(view):
        raise InvalidModel(f"the shards {', '.join(map(repr, paths))} have {len(view)} bytes, their weights {offset}")


def _list(value: Any, what: str) -> list[Any]:
    if not isinstance(value, list):
        raise InvalidModel(f"{what} must be a list, got {type(value).__name__}")
    return value


def _group(group: Any, index: int) -> tuple[list[str], list[Entry]]:
    if not isinstance(group, Mapping):
        raise InvalidModel(f"group {index} of the weight manifest must be an object, got {type(group).__name__}")
    paths = _list(group.get("paths"), f"paths of group {index} of the weight manifest")
    if not all(isinstance(p, str) for p in paths):
        raise InvalidModel(f"paths of group {index} of the weight manifest must be strings")
    return paths, [_entry(w) for w in _list(group.get("weights"), f"weights of group {index} of the weight manifest")]


def _entry(weight: Any) -> Entry:
    if not isinstance(weight, Mapping) or not isinstance(weight.get("name"), str):
        raise InvalidModel(f"a weight in the manifest must be an object with a name, got {weight!r:.100}")
    name, shape, dtype = weight["name"], weight.get("shape"), weight.get("dtype")
    if not isinstance(shape, list) or len(shape) > MAX_RANK or not all(type(n) is int and 0 <= n < 1 << 40 for n in shape):
        raise InvalidModel(f"weight {name!r}: shape must be a list of at most {MAX_RANK} extents, got {shape!r:.100}")
    if math.prod(shape) > (MAX_STRINGS if dtype == "string" else MAX_WEIGHT_BYTES):
        raise LimitExceeded(f"weight {name!r} of shape {tuple(shape)} is too large")
    if dtype == "string":
        return Entry(name, tuple(shape), dtype, None)
    if not isinstance(dtype, str) or dtype not in STORED:
        raise UnsupportedFeature(f"weight {name!r} has dtype {dtype!r}; TF.js weights are {', '.join(STORED)} or string")
    quantization = weight.get("quantization")
    if quantization is None:
        return Entry(name, tuple(shape), dtype, np.dtype(STORED[dtype]))
    kind = quantization.get("dtype") if isinstance(quantization, Mapping) else None
    if kind == "float16" and dtype == "float32":
        return Entry(name, tuple(shape), dtype, np.dtype("<f2"))
    if kind not in ("uint8", "uint16") or dtype not in ("float32", "int32"):
        raise UnsupportedFeature(f"weight {name!r}: {dtype} quantised as {quantization!r:.100} is not a TF.js quantisation")
    scale, minimum = quantization.get("scale"), quantization.get("min", 0)
    if not all(isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v) for v in (scale, minimum)):
        raise InvalidModel(f"weight {name!r}: quantisation needs a finite scale and min, got {quantization!r:.100}")
    return Entry(name, tuple(shape), dtype, np.dtype(STORED[kind]), float(scale), float(minimum), True)
