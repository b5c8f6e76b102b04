"""How many threads native code uses, and the threads themselves.

Helpers are Python threads that claim work in native code (targets/llvm/sharing.py). Between runs they spin for a moment,
because waking a parked thread costs more than many kernels take, and then park. A run wakes them, but never waits for them.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence

import numpy as np

PARK_AFTER = 4000  # pauses a helper spins for work before it parks: about 100 µs, somewhat longer than waking it takes
NAP = 5e-4  # seconds; of a helper in a run that has had nothing for it for as long
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
    """Threads that help the one that runs an entry. One run at a time has them; a second at the same time does without.

    Args:
        memory: zeroed, aligned; where work is published. Lives as long as the process.
        threads: the number in that memory that says how many threads the run has, 0 between runs.
        work: native `(memory, index, spins)`: help; returns when there was nothing to do for a while.
    """

    def __init__(self, memory: np.ndarray, threads: np.ndarray, work: Callable[[int, int, int], None]) -> None:
        self._memory, self._threads, self._work = memory, threads, work
        self._address: int = memory.ctypes.data
        self._running = threading.Lock()
        self._guard = threading.Lock()  # over what follows
        self._invited = 0  # how many threads the run has
        self._runs = 0  # that there have been, this one included
        self._parked = [False]
        self._wake = [threading.Lock()]

    def run(self, entry: Callable[..., None], regions: Sequence[int], threads: int) -> None:
        """Run a native entry `(*regions, memory)` on up to `threads` threads, this one included."""
        if not self._running.acquire(blocking=False):
            entry(*regions, None)
            return
        try:
            while len(self._wake) < threads:
                self._hire()
            with self._guard:
                self._invited = threads
                self._runs += 1
                for i in range(1, threads):
                    if self._parked[i]:
                        self._parked[i] = False
                        self._wake[i].release()
            self._threads[0] = threads
            entry(*regions, self._address)
        finally:
            self._threads[0] = self._invited = 0
            self._running.release()

    def _hire(self) -> None:
        index = len(self._wake)
        wake = threading.Lock()
        wake.acquire()
        self._parked.append(False)
        self._wake.append(wake)
        threading.Thread(target=self._live, args=(index, wake), name=f"hither-{index}", daemon=True).start()

    def _live(self, index: int, wake: threading.Lock) -> None:
        while True:
            before = self._runs
            self._work(self._address, index, PARK_AFTER)
            with self._guard:
                invited, idle = index < self._invited, self._runs == before
                self._parked[index] = not invited
            if not invited:
                wake.acquire()
            elif idle:  # else a run has begun while this thread waited for its turn in Python
                time.sleep(NAP)
