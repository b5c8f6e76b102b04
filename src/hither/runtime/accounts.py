"""Accounts of memory: who holds how many bytes of what, until the owner is gone."""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable
from typing import Any

PROGRAMS = "programs"  # a kind of owners that are counted; what they hold is of other kinds


class Account:
    """The bytes that live owners hold, by kind ("weights", "state", …).

    A finalizer may run in the middle of anything, here too, so this takes no lock: every change is one operation on a dict.

    Example:
        account = Account()
        account.hold(buffer, "weights", buffer.size)
        account.bytes("weights")
    """

    def __init__(self) -> None:
        self._held: dict[int, tuple[str, int]] = {}
        self._keys = itertools.count()

    def hold(self, owner: Any, kind: str, nbytes: int, then: Callable[[], object] | None = None) -> None:
        """Count these bytes until `owner` is collected; `then` is called afterwards."""
        key = next(self._keys)
        self._held[key] = (kind, nbytes)
        weakref.finalize(owner, self._leave, key, then).atexit = False

    def _leave(self, key: int, then: Callable[[], object] | None) -> None:
        self._held.pop(key, None)
        if then is not None:
            then()

    def bytes(self, *kinds: str) -> int:
        """How much is held, of these kinds or of all."""
        return sum(n for kind, n in list(self._held.values()) if not kinds or kind in kinds)

    def count(self, *kinds: str) -> int:
        """How many owners there are, of these kinds or of all."""
        return sum(not kinds or kind in kinds for kind, _ in list(self._held.values()))
