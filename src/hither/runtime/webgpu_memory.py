"""GPU buffers and their accounts.

WebGPU cannot be asked how much memory it holds, so every buffer is made here and counted until its Python object is gone
(dropping the last reference frees it on the device).
"""

from __future__ import annotations

import threading
import weakref
from collections import Counter
from typing import Any

_lock = threading.RLock()  # re-entrant: a finalizer may run while this thread holds it
_bytes: Counter[str] = Counter()
_buffers: Counter[str] = Counter()


def _count(kind: str, nbytes: int, sign: int) -> None:
    with _lock:
        _bytes[kind] += sign * nbytes
        _buffers[kind] += sign


def allocate(device: Any, size: int, usage: int, kind: str) -> Any:
    """A GPUBuffer of `size` bytes (rounded up to 4), counted under `kind` ("weights", "state", "arena", "io", "staging").

    Raises:
        MemoryError: the device has no room for it.
    """
    import wgpu

    size = max(4, -(-size // 4) * 4)
    try:
        buffer = device.create_buffer(size=size, usage=usage, label=kind)
    except wgpu.GPUOutOfMemoryError as error:
        held = memory()["live"]
        raise MemoryError(f"WebGPU: no room for {size} bytes of {kind}; hither holds {held} bytes on the device") from error
    _count(kind, size, 1)
    weakref.finalize(buffer, _count, kind, size, -1)
    return buffer


def memory() -> dict[str, int]:
    """Bytes and buffers that live on the device: {"live", "weights", "buffers"}."""
    with _lock:
        return {"live": sum(_bytes.values()), "weights": _bytes["weights"], "buffers": sum(_buffers.values())}
