"""Memory of native programs: aligned, counted, and, where only runs need it, shared between programs.

An arena is worth nothing between runs, so programs own none: a run takes one and gives it back. Programs that run one after
the other use one piece of memory, as large as the largest of them needs, which also is still in the cache.
"""

from __future__ import annotations

import itertools
import mmap
import weakref
from contextlib import suppress
from typing import Any

import numpy as np

from ..errors import OutOfMemory
from .accounts import Account
from .threads import available_cpus

ALIGNMENT = 256
LARGE_PAGE = 1 << 21  # bytes, on x86-64 and, beside pages of 4 KB, on AArch64
account = Account()


def aligned_empty(nbytes: int, kind: str = "scratch") -> np.ndarray:
    """Uninitialised memory for a region: uint8, at a multiple of 256, counted under `kind` as long as any view of it lives.

    Raises:
        OutOfMemory: the computer has no room for it.
    """
    try:
        raw, alignment = _reserved(nbytes)
    except (MemoryError, OSError):
        raise OutOfMemory("cpu", nbytes, kind, account.bytes()) from None
    if nbytes:
        account.hold(raw, kind, nbytes)
    start = -raw.ctypes.data % alignment
    return raw[start : start + nbytes]


def _reserved(nbytes: int) -> tuple[np.ndarray, int]:
    """Room for a region, and its alignment there. A large one has large pages where a system gives them for the asking: small
    ones lie anywhere, and parts of a network push each other out of the caches, more or less of them in every process.
    """
    large = (nbytes + LARGE_PAGE // 2) // LARGE_PAGE * LARGE_PAGE  # of the last page a half at least is used
    if not large or not hasattr(mmap, "MADV_HUGEPAGE"):
        return np.empty(nbytes + ALIGNMENT, np.uint8), ALIGNMENT
    room = mmap.mmap(-1, max(nbytes, large) + LARGE_PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    raw = np.frombuffer(room, np.uint8)
    with suppress(OSError):  # a kernel that was built without them
        room.madvise(mmap.MADV_HUGEPAGE, -raw.ctypes.data % LARGE_PAGE, large)
    return raw, LARGE_PAGE


class Piece:
    """Memory for runs, and what its last user knows about it: views and addresses, for the next run of the same one.

    Between runs a large network has put Python itself out of the caches, and whatever a run does not have to do again pays
    several times of what it seems to cost.
    """

    __slots__ = ("_known", "_user", "memory")

    def __init__(self, nbytes: int) -> None:
        self.memory = aligned_empty(nbytes, "arena")
        self._user: object = None
        self._known: dict[str, Any] = {}

    def known(self, user: object) -> dict[str, Any]:
        """What `user` has put here, if nobody else was here since. The memory keeps `user` alive, so let that be little."""
        if self._user is not user:
            self._user, self._known = user, {}
        return self._known


class Arenas:
    """Scratch memory for runs: at most as many idle pieces as there are processors, none larger than a live user needs.

    Takes no lock, because finalizers end up here: pieces change hands by `list.pop` and `list.append`.

    Example:
        arenas.join(session, 1 << 20)
        piece = arenas.take(1 << 20)
        ...  # a run in piece.memory
        arenas.give(piece)
    """

    def __init__(self) -> None:
        self._idle: list[Piece] = []
        self._needs: dict[int, int] = {}
        self._keys = itertools.count()
        self._largest = 0

    def join(self, user: Any, nbytes: int) -> None:
        """As long as `user` lives, memory of this size is worth keeping."""
        key = next(self._keys)
        self._needs[key] = nbytes
        self._largest = max(self._largest, nbytes)
        weakref.finalize(user, self._leave, key).atexit = False

    def _leave(self, key: int) -> None:
        self._needs.pop(key, None)
        self._largest = max(list(self._needs.values()), default=0)
        for _ in range(len(self._idle)):
            try:
                piece = self._idle.pop(0)
            except IndexError:  # a run took it meanwhile
                return
            self.give(piece)

    def take(self, nbytes: int) -> Piece:
        """Memory of at least `nbytes`, with anything in it, that is nobody else's until it is given back.

        Raises:
            OutOfMemory: the computer has no room for it.
        """
        try:
            piece = self._idle.pop()
        except IndexError:
            return Piece(nbytes)
        if piece.memory.nbytes >= nbytes:
            return piece
        del piece  # before its larger successor is made
        return Piece(nbytes)

    def give(self, piece: Piece) -> None:
        """Give back what `take` gave."""
        if 0 < piece.memory.nbytes <= self._largest and len(self._idle) < available_cpus():
            self._idle.append(piece)

    def idle(self) -> int:
        """Bytes that wait for a run."""
        return sum(piece.memory.nbytes for piece in list(self._idle))


arenas = Arenas()
