"""Threads for pipelines: functions applied by several workers in order, and items made ahead of their use.

Both are generators. When one is dropped or closed its threads end, and what was raised in a thread is raised where the item
would have come out.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from threading import Condition, Thread, current_thread
from typing import Any

AHEAD = 2  # items in the making for each worker: one in work, one waiting


def ordered_map(function: Callable[[Any], Any], items: Iterable[Any], workers: int) -> Iterator[Any]:
    """function(item) for each item, in order, computed by `workers` threads (0: by the caller's)."""
    if not workers:
        for item in items:
            yield function(item)  # not `map`: a StopIteration of the function would end the items as if there were no more
        return
    waiting: deque[Future[Any]] = deque()
    pool = ThreadPoolExecutor(workers, "hither-data")
    error: Exception | None = None
    source = iter(items)
    try:
        while True:
            try:
                item = next(source)
            except StopIteration:
                break
            except Exception as raised:  # once those before it have come out
                error = raised
                break
            waiting.append(pool.submit(copy_context().run, function, item))
            if len(waiting) >= AHEAD * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
        if error is not None:
            raise error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


class _Ahead:
    """What one thread hands to another: at most `size` items, then the end or an error."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.items: deque[Any] = deque()
        self.changed = Condition()
        self.ended = self.dropped = False
        self.error: BaseException | None = None

    def fill(self, source: Iterator[Any]) -> None:
        """Runs in the thread that makes the items."""
        error: BaseException | None = None
        try:
            for item in source:
                with self.changed:
                    self.changed.wait_for(lambda: len(self.items) < self.size or self.dropped)
                    if self.dropped:
                        break
                    self.items.append(item)
                    self.changed.notify_all()
        except BaseException as raised:  # raised again where the items are taken
            error = raised
        finally:
            if hasattr(source, "close"):
                source.close()  # here, not in the taker's thread: a generator is closed by whom it runs in
            with self.changed:
                self.ended, self.error = True, error
                self.changed.notify_all()

    def take(self) -> Iterator[Any]:
        """The items."""
        while True:
            with self.changed:
                self.changed.wait_for(lambda: bool(self.items) or self.ended)
                if not self.items:
                    break
                item = self.items.popleft()
                self.changed.notify_all()
            yield item
        if self.error is not None:
            raise self.error

    def drop(self) -> None:
        """No more items are wanted."""
        with self.changed:
            self.dropped = True
            self.changed.notify_all()


def made_ahead(source: Iterator[Any], size: int) -> Iterator[Any]:
    """The items of `source`, of which a thread makes up to `size` before they are asked for."""
    ahead = _Ahead(size)
    thread = Thread(target=copy_context().run, args=(ahead.fill, source), name="hither-data-prefetch", daemon=True)
    del source  # the thread's alone
    thread.start()
    try:
        yield from ahead.take()
    finally:
        ahead.drop()
        if thread is not current_thread():  # where a collection of garbage may find the iterator
            thread.join()


__all__ = ["made_ahead", "ordered_map"]
