"""GPU buffers: their accounts, the pool that those of gone owners wait in, and the scratch memory that all programs share.

WebGPU cannot be asked how much memory it holds, so every buffer is made here and counted. Making one costs some 50 µs and more
where it is large, so a buffer whose owner is gone waits in a bounded pool for the next owner.
"""

from __future__ import annotations

import gc
import itertools
import threading
import weakref
from collections.abc import Callable, Sequence
from typing import Any

from ..errors import OutOfMemory
from .accounts import PROGRAMS, Account

ALIGN = 256
POOL_BYTES = 64 << 20  # idle buffers kept at most
POOL_BUFFERS = 256
UPLOAD_BYTES = 1 << 20  # written at a time: wgpu copies each write, and keeps the memory of the copies beside the buffer
SLACK = 4  # a pooled buffer serves where at most a quarter of what is wanted stays unused

account = Account()
_pools: weakref.WeakSet[Pool] = weakref.WeakSet()


class Buffer:
    """A GPUBuffer with one owner; when that is gone, it waits in the pool for another. `size` may exceed what was asked for."""

    __slots__ = ("__weakref__", "handle", "size")

    def __init__(self, handle: Any) -> None:
        self.handle = handle
        self.size: int = handle.size


class Pool:
    """The buffers of one device that nobody uses, the longest idle first.

    Takes no lock, because finalizers end up here: every change is one operation on a dict.
    """

    def __init__(self, device: Any) -> None:
        self._device = device
        self._idle: dict[int, tuple[int, Any]] = {}  # → (usage, handle)
        self._keys = itertools.count()
        _pools.add(self)

    def allocate(self, size: int, usage: int, kind: str, zeroed: bool = False) -> Buffer:
        """A buffer of at least `size` bytes, counted under `kind` ("weights", "state", "arena", "io", "staging", "arrays").

        Args:
            zeroed: without, it may hold what its last owner wrote.

        Raises:
            OutOfMemory: the device has no room for it.
        """
        size = max(ALIGN, -(-size // ALIGN) * ALIGN)
        handle = self._take(size, usage)
        if handle is None:
            handle = self._make(size, usage, kind)
        elif zeroed:
            encoder = self._device.create_command_encoder()
            encoder.clear_buffer(handle, 0, handle.size)
            self._device.queue.submit([encoder.finish()])
        buffer = Buffer(handle)
        account.hold(buffer, kind, buffer.size, lambda: self._give(usage, handle))
        return buffer

    def _take(self, size: int, usage: int) -> Any:
        while True:
            fits = [
                (handle.size, key)
                for key, (kind, handle) in list(self._idle.items())
                if kind == usage and size <= handle.size <= size + size // SLACK
            ]
            if not fits:
                return None
            if (found := self._idle.pop(min(fits)[1], None)) is not None:
                return found[1]

    def _give(self, usage: int, handle: Any) -> None:
        self._idle[next(self._keys)] = (usage, handle)
        while len(self._idle) > POOL_BUFFERS or self.idle() > POOL_BYTES:
            self._idle.pop(next(iter(list(self._idle)), -1), None)

    def _make(self, size: int, usage: int, kind: str) -> Any:
        import wgpu

        for last in (False, True):
            try:
                return self._device.create_buffer(size=size, usage=usage, label=kind)
            except wgpu.GPUError as error:
                if not isinstance(error, wgpu.GPUOutOfMemoryError) and "memory" not in str(error).lower():
                    raise
                if last:
                    reason = str(error).strip().splitlines()[-1].strip()
                    raise OutOfMemory("webgpu", size, kind, account.bytes(), reason) from error
            self.trim()
            gc.collect()  # owners in cycles
            self.trim()
        raise AssertionError("unreachable")

    def trim(self) -> None:
        """Free what nobody uses."""
        for key in list(self._idle):
            self._idle.pop(key, None)

    def idle(self) -> int:
        """Bytes that nobody uses."""
        return sum(handle.size for _, handle in list(self._idle.values()))


class Scratch:
    """A buffer that all programs of a device use in turn, as large as the largest of them needs.

    Bind groups name buffers, so who uses one is told when another takes its place.

    Args:
        turn: held by whoever runs on the device.
    """

    def __init__(self, pool: Pool, usage: int, kind: str, turn: threading.Lock) -> None:
        self._pool, self._usage, self._kind, self._turn = pool, usage, kind, turn
        self._users: weakref.WeakKeyDictionary[Any, tuple[int, Callable[[Any], None]]] = weakref.WeakKeyDictionary()
        self._buffer: Buffer | None = None

    def join(self, user: Any, nbytes: int, moved: Callable[[Any], None]) -> None:
        """From now on `user` runs in so much of it; `moved(user)` is called when the buffer is another one."""
        if user not in self._users:
            weakref.finalize(user, self._left).atexit = False
        self._users[user] = (nbytes, moved)

    def buffer(self, user: Any) -> Buffer:
        """The buffer, for the one whose turn it is.

        Raises:
            OutOfMemory: the device has no room for it.
        """
        nbytes, _ = self._users[user]
        if self._buffer is None or self._buffer.size < nbytes or self._too_large():
            self._release()
            self._buffer = self._pool.allocate(nbytes, self._usage, self._kind)
        return self._buffer

    def _too_large(self) -> bool:
        """Whether the users left need less than half of it."""
        needed = max((nbytes for nbytes, _ in list(self._users.values())), default=0)
        return self._buffer is not None and self._buffer.size > 2 * needed + ALIGN

    def _release(self) -> None:
        self._buffer = None
        for user, (_, moved) in list(self._users.items()):
            moved(user)

    def _left(self) -> None:
        """A user is gone. If somebody runs now, whoever runs next looks after it."""
        if self._turn.acquire(blocking=False):
            try:
                if self._too_large() or not list(self._users):
                    self._release()
            finally:
                self._turn.release()


def write(device: Any, buffer: Any, offset: int, data: memoryview) -> None:
    """Write bytes into a GPUBuffer; an odd end is padded to the 4 that WebGPU writes at least."""
    queue, whole = device.queue, data.nbytes // 4 * 4
    for start in range(0, whole, UPLOAD_BYTES):
        queue.write_buffer(buffer, offset + start, data[start : min(start + UPLOAD_BYTES, whole)])
        if whole > UPLOAD_BYTES:
            queue.submit([])
    if whole < data.nbytes:
        queue.write_buffer(buffer, offset + whole, bytes(data[whole:]) + bytes(4 - data.nbytes + whole))


def read_back(device: Any, encoder: Any, ranges: Sequence[tuple[Any, int, int]], staging: Buffer | None) -> list[bytes]:
    """Submit what an encoder has, and wait for these (GPUBuffer, offset, bytes) ranges, if there are any.

    Args:
        staging: room for the ranges, each rounded up to 8 bytes; needed where there are any.
    """
    import wgpu

    total = sum(-(-n // 8) * 8 for _, _, n in ranges)
    if total:
        assert staging is not None
        encoder = encoder or device.create_command_encoder()
        at = 0
        for buffer, offset, n in ranges:
            encoder.copy_buffer_to_buffer(buffer, offset, staging.handle, at, -(-n // 4) * 4)
            at += -(-n // 8) * 8
    if encoder is not None:
        device.queue.submit([encoder.finish()])
    if not total or staging is None:
        return [b"" for _ in ranges]
    staging.handle.map_sync(wgpu.MapMode.READ, 0, total)
    try:
        found, at = [], 0
        for _, _, n in ranges:
            found.append(bytes(staging.handle.read_mapped(at, -(-n // 4) * 4))[:n])
            at += -(-n // 8) * 8
    finally:
        staging.handle.unmap()
    return found


def memory() -> dict[str, int]:
    """Bytes and buffers that live on the device: {"live", "weights", "buffers", "pooled"}."""
    return {
        "live": account.bytes(),
        "weights": account.bytes("weights"),
        "buffers": account.count() - account.count(PROGRAMS),
        "pooled": sum(pool.idle() for pool in list(_pools)),
    }
