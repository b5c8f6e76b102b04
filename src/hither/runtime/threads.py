"""How many threads native code uses, and the threads themselves.

Workers are Python threads that spend their lives in native code: between runs they spin for a moment, because waking a
parked thread costs more than many kernels take, and then park. A run therefore costs no Python on any thread but its own.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

import numpy as np

PARK_AFTER = 4000  # pauses a worker spins for its next run before it parks: about 100 µs
_chosen: int | None = None


def available_cpus() -> int:
    """Processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def set_num_threads(n: int | None) -> None:
    """Run native programs on `n` threads from now on; None gives back the default, one per available processor.

    Example:
        >>> import hither as ht
        >>> ht.set_num_threads(2)
    """
    global _chosen
    if n is not None and (not isinstance(n, int) or n < 1):
        raise ValueError(f"set_num_threads({n!r}): expected a positive int, or None for the default")
    _chosen = n


def get_num_threads() -> int:
    """How many threads a native program runs on."""
    return _chosen or available_cpus()


class WorkerPool:
    """Threads that run entries together. One run at a time has the pool; others wait for it.

    Args:
        memory: zeroed, aligned; shared with the native functions, which know its layout (targets/llvm/pool.py).
        mailboxes: one counter per thread in that memory: how many runs it has been given.
        run: native `(entry, weights, state, arena, io, threads)`: hand out work, do thread 0's part, wait for the rest.
        work: native `(index, seen, spins) -> seen`: do what comes; returns when nothing came for `spins` pauses.
    """

    def __init__(
        self, memory: np.ndarray, mailboxes: np.ndarray, run: Callable[..., None], work: Callable[[int, int, int], int]
    ) -> None:
        self.memory, self._mailboxes, self._run, self._work = memory, mailboxes, run, work
        self._running = threading.Lock()
        self._guard = threading.Lock()  # over the three lists
        self._tickets = [0]  # runs promised to each worker; ahead of its mailbox while a run is being handed out
        self._parked = [False]
        self._wake = [threading.Lock()]

    def run(self, entry: int, regions: tuple[int, ...], threads: int) -> None:
        """Run a native entry on `threads` threads, this one included."""
        if threads > len(self._mailboxes):
            raise ValueError(f"{threads} threads asked for; the pool has room for {len(self._mailboxes)}")
        with self._running:
            while len(self._tickets) < threads:
                self._hire()
            try:
                with self._guard:
                    for i in range(1, threads):
                        self._tickets[i] += 1
                        if self._parked[i]:
                            self._parked[i] = False
                            self._wake[i].release()
                self._run(entry, *regions, threads)
            finally:  # an interrupt may have come before the work was handed out
                with self._guard:
                    for i in range(1, threads):
                        self._tickets[i] = int(self._mailboxes[i])

    def _hire(self) -> None:
        index = len(self._tickets)
        wake = threading.Lock()
        wake.acquire()
        self._wake.append(wake)
        self._parked.append(False)
        self._tickets.append(0)
        threading.Thread(target=self._live, args=(index, wake), name=f"hither-{index}", daemon=True).start()

    def _live(self, index: int, wake: threading.Lock) -> None:
        seen = 0
        while True:
            seen = self._work(index, seen, PARK_AFTER)
            with self._guard:
                if self._tickets[index] != seen:
                    continue
                self._parked[index] = True
            wake.acquire()
