"""Dataset: samples that are read epoch by epoch through steps such as map, shuffle and batch.

A Dataset is one of two things. Where its elements can be had one by one (arrays, files in a folder) it is a function of
positions, `at(epoch, positions)`, and so is what is made of it: shuffling in full permutes positions and reads nothing, and a
training that goes on in the middle of an epoch begins there. Otherwise it is a stream, `read(epoch, skip)`.
Either is a function of the epoch's number: reading an epoch again gives the same elements in the same order.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ..array import Array
from ..errors import ShapeMismatch
from ..graph.tree import flatten, tree_map, unflatten
from .concurrency import made_ahead, ordered_map
from .order import permutation, shuffled

Items = Iterator[Any]
Positions = Sequence[int] | np.ndarray
Read = Callable[[int, int], Items]  # of an epoch, without the first so many elements
At = Callable[[int, Positions], Items]  # of an epoch, at these positions


class Dataset:
    """Samples, by the names of tf.data: sources, then steps, then `Trainer.fit(dataset)`.

    An element is anything: an array, a tuple (x, y), a dict. Functions given to `map` and `filter` take a tuple's parts as
    arguments. Nothing is computed before elements are asked for. `for element in dataset` reads an epoch, and the next loop the
    next; `epoch(n)` reads a certain one.

    Example:
        >>> import numpy as np, hither as ht
        >>> x, y = np.arange(10.0), np.arange(10) % 2
        >>> data = ht.data.Dataset.from_arrays((x, y)).filter(lambda x, y: y == 1).map(lambda x, y: (x / 10, y)).batch(2)
        >>> next(iter(data))
        (array([0.1, 0.3]), array([1, 1]))
        >>> ht.Trainer(net, "mse").fit(data.prefetch(2), epochs=3)                                     # doctest: +SKIP
    """

    def __init__(
        self, read: Read | None = None, at: At | None = None, length: float | None = None,
        class_names: Sequence[str] | None = None,
    ) -> None:  # fmt: skip
        """A source of one's own.

        Args:
            read: for a stream: (epoch, skip) → the epoch's elements without the first `skip`.
            at: for elements that can be had one by one: (epoch, positions) → the elements there.
            length: how many elements: math.inf without end, None if it is not known.
            class_names: what the numbers of classes mean.
        """
        if (read is None) == (at is None) or (at is not None and not isinstance(length, int)):
            raise TypeError("a Dataset is made of read, or of at and a length; from_arrays and from_generator do that")
        self._at: At | None = at
        self.length: float | None = length
        self._read: Read = read or (lambda epoch, skip: at(epoch, range(skip, length)))  # type: ignore[misc]
        self.class_names = None if class_names is None else list(class_names)
        self._begun = 0

    # -- sources -------------------------------------------------------------------------------------------------------------

    @staticmethod
    def from_arrays(arrays: Any) -> Dataset:
        """The rows of an array, or of several in a tuple or dict; a list is an array.

        Raises:
            ShapeMismatch: they do not have one number of rows.
        """
        rows, structure = flatten(_arrays(arrays))
        rows = [_read_only(a) for a in rows]  # a step that works in place must not change what the next epoch reads
        shapes = [a.shape for a in rows]
        if len({shape[:1] for shape in shapes}) != 1 or shapes[0] == ():
            raise ShapeMismatch(f"from_arrays takes arrays with one number of rows, got the shapes {shapes}")

        def at(epoch: int, positions: Positions) -> Items:
            if structure.kind is None:
                return (rows[0][i] for i in positions)
            return (unflatten(structure, [a[i] for a in rows]) for i in positions)

        return Dataset(at=at, length=len(rows[0]))

    @staticmethod
    def from_generator(generator: Callable[[], Iterable[Any]] | Iterable[Any], length: int | None = None) -> Dataset:
        """What a function's iterator gives; the function is called for every epoch. Or any iterable that can be begun anew.

        Args:
            generator: gives the same elements in each epoch, or a training cannot go on exactly after an interruption.
            length: how many elements, if it is known.

        Raises:
            TypeError: an iterator, which has one epoch only.
        """
        if not callable(generator) and (not isinstance(generator, Iterable) or iter(generator) is generator):
            raise TypeError(
                f"from_generator takes a function that makes an iterator for each epoch, got a {type(generator).__name__}; "
                "write lambda: … around what makes it"
            )

        def read(epoch: int, skip: int) -> Items:
            return itertools.islice(generator() if callable(generator) else generator, skip, None)

        return Dataset(read, length=length)

    # -- reading -------------------------------------------------------------------------------------------------------------

    def epoch(self, number: int = 0, skip: int = 0) -> Iterator[Any]:
        """The elements of an epoch (0 is the first), without the first `skip`."""
        return self._read(number, skip)

    def __iter__(self) -> Iterator[Any]:
        self._begun += 1
        return self.epoch(self._begun - 1)

    def __len__(self) -> int:
        if not isinstance(self.length, int):
            raise TypeError(
                "this Dataset has no end" if self.length == math.inf else "how many elements this Dataset has is not known"
            )
        return self.length

    def __repr__(self) -> str:
        count = "?" if self.length is None else "∞" if self.length == math.inf else f"{self.length:,}"
        return f"<Dataset of {count} elements>"

    # -- steps ---------------------------------------------------------------------------------------------------------------

    def _derived(self, read: Read, at: At | None, length: float | None) -> Dataset:
        return Dataset(read if at is None else None, at, length, self.class_names)

    def _elementwise(self, step: Callable[[int, Iterable[int], Items], Items]) -> Dataset:
        """A step (epoch, positions, elements there) → as many elements."""
        own = self._at

        def read(epoch: int, skip: int) -> Items:
            return step(epoch, itertools.count(skip), self._read(epoch, skip))

        def at(epoch: int, positions: Positions) -> Items:
            return step(epoch, positions, own(epoch, positions))  # type: ignore[misc]

        return self._derived(read, None if own is None else at, self.length)

    def _streamed(self, step: Callable[[int, Items], Items], length: float | None) -> Dataset:
        """A step that has to see all elements to know the ones after `skip`."""
        return self._derived(lambda e, skip: itertools.islice(step(e, self._read(e, 0)), skip, None), None, length)

    def map(self, function: Callable[..., Any], *, workers: int = 0, seed: int | None = None) -> Dataset:
        """function(element) for each element; a tuple's parts are arguments.

        Args:
            workers: threads that call the function; 0 calls it where elements are taken. The order stays.
            seed: the function takes rng=, a `numpy.random.Generator` that seed, epoch and the element's position decide: random
                changes that are the same when an interrupted training goes on.

        Example:
            >>> import hither as ht
            >>> list(ht.data.Dataset.from_generator(lambda: range(3)).map(lambda n: n * 10))
            [0, 10, 20]
        """

        def applied(epoch: int, positions: Iterable[int], items: Items) -> Items:
            def one(numbered: tuple[int, Any]) -> Any:
                position, item = numbered
                extra = {} if seed is None else {"rng": np.random.default_rng((seed, epoch, int(position)))}
                return _called(function, item, extra)

            return ordered_map(one, zip(positions, items), workers)

        return self._elementwise(applied)

    def filter(self, predicate: Callable[..., Any]) -> Dataset:
        """The elements for which the predicate is true."""
        return self._streamed(lambda e, items: (i for i in items if _called(predicate, i, {})), None)

    def shuffle(
        self, buffer_size: int | None = None, *, seed: int = 0, reshuffle_each_iteration: bool = True
    ) -> Dataset:  # fmt: skip
        """The elements in random order, another in each epoch; seed and epoch decide which.

        Args:
            buffer_size: out of how many elements, read ahead, each is drawn. None, or as many as there are, is a full shuffle,
                which only permutes positions of elements that can be had one by one, and reads a stream as a whole.
            reshuffle_each_iteration: False gives every epoch the order of the first.
        """
        if buffer_size is not None and buffer_size < 1:
            raise ValueError(f"buffer_size is 1 or more, got {buffer_size}")
        if buffer_size is None and self.length == math.inf:
            raise ValueError("a Dataset without end has no full shuffle: give shuffle a buffer_size, or shuffle before repeat")
        full = buffer_size is None or (isinstance(self.length, int) and buffer_size >= self.length)
        own, count = self._at, self.length

        def turn(epoch: int) -> int:
            return epoch if reshuffle_each_iteration else 0

        if full and own is not None:

            def at(epoch: int, positions: Positions) -> Items:
                return own(epoch, permutation(seed, turn(epoch), int(count or 0))[np.asarray(positions, np.int64)])

            return self._derived(self._read, at, count)

        def whole(epoch: int, items: Items) -> Items:
            kept = list(items)
            return (kept[i] for i in permutation(seed, turn(epoch), len(kept)))

        if buffer_size is None:
            return self._streamed(whole, count)
        return self._streamed(lambda e, items: shuffled(items, buffer_size, seed, turn(e)), count)

    def batch(self, size: int, *, drop_remainder: bool = False) -> Dataset:
        """Elements in groups of `size`, their arrays stacked; the last group may be smaller, or is left out.

        Raises:
            ShapeMismatch: elements of one batch with different structures or shapes; when it is read.
        """
        if size < 1:
            raise ValueError(f"the size of a batch is 1 or more, got {size}")
        own, known = self._at, self.length
        count = known if known is None or known == math.inf else known // size if drop_remainder else -(-known // size)

        def read(epoch: int, skip: int) -> Items:
            items = self._read(epoch, skip * size)
            for number in itertools.count(skip):
                group = list(itertools.islice(items, size))
                if not group or (drop_remainder and len(group) < size):
                    return
                yield _stacked(group, number * size)

        def at(epoch: int, positions: Positions) -> Items:
            firsts = [int(p) * size for p in positions]
            groups = [np.arange(first, min(first + size, int(known or 0))) for first in firsts]
            items = own(epoch, np.concatenate(groups or [np.arange(0)]))  # type: ignore[misc]
            return (_stacked(list(itertools.islice(items, len(g))), first) for g, first in zip(groups, firsts))

        return self._derived(read, None if own is None else at, count)

    def unbatch(self) -> Dataset:
        """The rows of each element's arrays as elements: the opposite of `batch`."""

        def rows(epoch: int, items: Items) -> Items:
            for item in items:
                leaves, structure = flatten(item)
                counts = {np.shape(leaf)[:1] for leaf in leaves}
                if len(counts) != 1 or counts == {()}:
                    raise ShapeMismatch(
                        f"unbatch: arrays with one number of rows, got the shapes {[np.shape(a) for a in leaves]}"
                    )
                for i in range(counts.pop()[0]):
                    yield unflatten(structure, [leaf[i] for leaf in leaves])

        return self._streamed(rows, None)

    def zip(self, *others: Dataset) -> Dataset:
        """Tuples of this Dataset's elements and the others', as long as all have some: a.zip(b), or Dataset.zip(a, b)."""
        parts = (self, *others)
        wrong = [p for p in parts if not isinstance(p, Dataset)]
        if wrong:
            raise TypeError(f"zip takes Datasets, got a {type(wrong[0]).__name__}")
        lengths = [p.length for p in parts]
        length = None if None in lengths else min(n for n in lengths if n is not None)
        ats: list[At] = [p._at for p in parts if p._at is not None]

        def at(epoch: int, positions: Positions) -> Items:
            return zip(*(one(epoch, positions) for one in ats))

        def read(epoch: int, skip: int) -> Items:
            return zip(*(p._read(epoch, skip) for p in parts))

        return self._derived(read, at if len(ats) == len(parts) else None, length)

    def concatenate(self, other: Dataset) -> Dataset:
        """This Dataset's elements, then the other's."""
        own, its = self._at, other._at
        length = None if self.length is None or other.length is None else self.length + other.length

        def at(epoch: int, positions: Positions) -> Items:
            here = [int(p) for p in positions]
            first = own(epoch, [p for p in here if p < len(self)])  # type: ignore[misc]
            second = its(epoch, [p - len(self) for p in here if p >= len(self)])  # type: ignore[misc]
            return (next(first if p < len(self) else second) for p in here)

        if own is not None and its is not None:
            return self._derived(self._read, at, length)
        return self._streamed(lambda epoch, items: itertools.chain(items, other._read(epoch, 0)), length)

    def take(self, count: int) -> Dataset:
        """The first `count` elements."""
        _counted("take", count)
        length = None if self.length is None and count else min(self.length or 0, count)
        return self._derived(lambda e, skip: itertools.islice(self._read(e, skip), max(count - skip, 0)), self._at, length)

    def skip(self, count: int) -> Dataset:
        """All elements but the first `count`."""
        _counted("skip", count)
        own = self._at

        def at(epoch: int, positions: Positions) -> Items:
            return own(epoch, np.asarray(positions, np.int64) + count)  # type: ignore[misc]

        length = None if self.length is None else max(self.length - count, 0)
        return self._derived(lambda e, skip: self._read(e, skip + count), None if own is None else at, length)

    def repeat(self, count: int | None = None) -> Dataset:
        """The elements `count` times over, or without end. Each pass is an epoch of its own for what comes before."""
        if count is not None:
            _counted("repeat", count)
        known = self.length
        length = (math.inf if known != 0 else 0) if count is None else None if known is None else known * count if count else 0

        def read(epoch: int, skip: int) -> Items:
            first = epoch * (1 if count is None else count)
            for turn in itertools.count(first) if count is None else range(first, first + count):
                if isinstance(known, int) and skip >= known:  # pass by without reading
                    skip -= known
                    if not known:
                        return
                    continue
                empty = True
                for item in self._read(turn, skip if isinstance(known, int) else 0):
                    empty = False
                    if skip and not isinstance(known, int):
                        skip -= 1
                    else:
                        yield item
                skip = skip if known is None else 0
                if empty:
                    return  # nothing to repeat

        return self._derived(read, None, length)

    def cache(self) -> Dataset:
        """The elements as they are in the first epoch, kept in memory once they have been read.

        A stream is kept when it has been read to its end. Shuffle after `cache`, or every epoch has one order.
        """
        own, known = self._at, self.length
        kept: dict[int, Any] = {}
        if own is not None:

            def at(epoch: int, positions: Positions) -> Items:
                there = [int(p) in kept for p in positions]
                read = own(0, [int(p) for p, has in zip(positions, there) if not has])
                for position, has in zip(positions, there):
                    if not has:
                        kept[int(position)] = next(read)
                    yield kept[int(position)]

            return self._derived(self._read, at, known)
        whole: list[list[Any]] = []

        def items(epoch: int, skip: int) -> Items:
            if whole:
                yield from itertools.islice(whole[0], skip, None)
                return
            made = []
            for item in self._read(0, 0):
                made.append(item)
                if len(made) > skip:
                    yield item
            whole[:] = [made]

        return self._derived(items, None, known)

    def prefetch(self, size: int = 2) -> Dataset:
        """A thread makes up to `size` elements ahead, while the ones before are used. It ends with the iterator."""
        if size < 1:
            raise ValueError(f"prefetch makes 1 or more elements ahead, got {size}")
        return self._elementwise(lambda epoch, positions, items: made_ahead(items, size))


def _read_only(array: np.ndarray) -> np.ndarray:
    view = array.view()
    view.flags.writeable = False
    return view


def _arrays(value: Any) -> Any:
    """Everything in tuples and dicts as NumPy arrays."""
    if isinstance(value, Mapping):
        return {k: _arrays(v) for k, v in value.items()}
    if isinstance(value, tuple):
        return tuple(_arrays(v) for v in value)
    return value.numpy() if isinstance(value, Array) else np.asarray(value)


def _counted(what: str, count: int) -> None:
    if count < 0:
        raise ValueError(f"{what} takes a number of 0 or more, got {count}")


def _called(function: Callable[..., Any], item: Any, extra: Mapping[str, Any]) -> Any:
    return function(*item, **extra) if isinstance(item, tuple) else function(item, **extra)


def _stacked(items: Sequence[Any], first: int) -> Any:
    """Elements as one, their arrays stacked; `first` is the number of the first, for errors."""
    columns, structure = [], None
    for number, item in enumerate(items, first):
        leaves, its = flatten(item)
        if structure is not None and its != structure:
            raise ShapeMismatch(
                f"batch: elements of one batch have one structure; element {first} is {_look(items[0])} and element {number} "
                f"{_look(item)}"
            )
        structure = its
        columns.append(leaves)
    made = []
    for column in zip(*columns):
        arrays = [_arrays(a) for a in column]
        odd = next((i for i, a in enumerate(arrays) if a.shape != arrays[0].shape), None)
        if odd is not None:
            raise ShapeMismatch(
                f"batch: elements of one batch have one shape; element {first} has {arrays[0].shape} and element {first + odd} "
                f"has {arrays[odd].shape}. Bring them to one size before, with map"
            )
        made.append(np.stack(arrays))
    assert structure is not None
    return unflatten(structure, made)


def _look(item: Any) -> Any:
    """An element's structure, for people."""
    return tree_map(lambda leaf: f"{type(leaf).__name__}{np.shape(leaf)}", item)


__all__ = ["Dataset", "Items", "Positions"]
