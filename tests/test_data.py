"""Pipelines: what each step gives, orders as functions of seed and epoch, threads that end, errors that say where."""

from __future__ import annotations

import gc
import threading
import time
import wave
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hither.data import Dataset, EmptyFolder, audio_folder, image_folder
from hither.errors import ShapeMismatch
from hither.media import MediaError
from hither.train.batches import ArrayBatches, Batch
from hither.train.epochs import Epochs


def numbers(count: int) -> Dataset:
    """Elements that can be had one by one."""
    return Dataset.from_arrays(np.arange(count))


def stream(count: int) -> Dataset:
    """The same as a stream of unknown length."""
    return Dataset.from_generator(lambda: iter(range(count)))


def plain(items: Any) -> list[Any]:
    return [np.asarray(i).tolist() for i in items]


SOURCES = pytest.mark.parametrize("source", [numbers, stream], ids=["indexed", "stream"])

STEPS: dict[str, tuple[Callable[[Dataset], Dataset], list[Any]]] = {
    "map": (lambda d: d.map(lambda n: n * 2), [0, 2, 4, 6, 8, 10, 12]),
    "map workers": (lambda d: d.map(lambda n: n * 2, workers=3), [0, 2, 4, 6, 8, 10, 12]),
    "filter": (lambda d: d.filter(lambda n: n % 3 == 0), [0, 3, 6]),
    "batch": (lambda d: d.batch(3), [[0, 1, 2], [3, 4, 5], [6]]),
    "batch whole": (lambda d: d.batch(3, drop_remainder=True), [[0, 1, 2], [3, 4, 5]]),
    "unbatch": (lambda d: d.batch(3).unbatch(), [0, 1, 2, 3, 4, 5, 6]),
    "take": (lambda d: d.take(2), [0, 1]),
    "take more": (lambda d: d.take(9), [0, 1, 2, 3, 4, 5, 6]),
    "skip": (lambda d: d.skip(4), [4, 5, 6]),
    "skip more": (lambda d: d.skip(9), []),
    "repeat": (lambda d: d.take(2).repeat(3), [0, 1, 0, 1, 0, 1]),
    "endless": (lambda d: d.take(2).repeat().take(5), [0, 1, 0, 1, 0]),
    "nothing": (lambda d: d.take(0).repeat(), []),
    "cache": (lambda d: d.cache(), [0, 1, 2, 3, 4, 5, 6]),
    "prefetch": (lambda d: d.prefetch(2), [0, 1, 2, 3, 4, 5, 6]),
    "zip": (lambda d: d.zip(d.skip(1).map(lambda n: -n)), [[0, -1], [1, -2], [2, -3], [3, -4], [4, -5], [5, -6]]),
    "concatenate": (lambda d: d.take(2).concatenate(d.skip(4)), [0, 1, 4, 5, 6]),
    "both shuffled": (lambda d: d.take(3).concatenate(d).shuffle(seed=2), []),
    "shuffle": (lambda d: d.shuffle(seed=3).map(lambda n: n), []),
    "buffer": (lambda d: d.shuffle(3, seed=3), []),
    "batched batches": (lambda d: d.take(6).batch(2).batch(2, drop_remainder=True), [[[0, 1], [2, 3]]]),
    "shuffled batches": (lambda d: d.batch(3).shuffle(seed=1).unbatch(), []),
}  # fmt: skip


@SOURCES
@pytest.mark.parametrize("step", STEPS)
def test_steps(source: Callable[[int], Dataset], step: str) -> None:
    """Each step gives what it says from either kind of source, as many as it says, and from any place on: what `skip` leaves is
    the end of the whole, in every epoch."""
    make, expected = STEPS[step]
    made = make(source(7))
    whole = plain(made.epoch(2))
    if expected:
        assert whole == expected
    if made.length is not None:
        assert made.length == len(whole) == len(made)
    for skip in range(len(whole) + 2):
        assert plain(made.epoch(2, skip)) == whole[skip:]


@SOURCES
@pytest.mark.parametrize("buffer", [None, 3, 50])
def test_orders_follow_from_seed_and_epoch(source: Callable[[int], Dataset], buffer: int | None) -> None:
    def order(seed: int, epoch: int, **options: Any) -> list[int]:
        return plain(source(30).shuffle(buffer, seed=seed, **options).epoch(epoch))

    first = order(5, 0)
    assert sorted(first) == list(range(30)) and first != sorted(first)
    assert order(5, 0) == first and order(5, 1) != first and order(6, 0) != first
    assert order(5, 4, reshuffle_each_iteration=False) == first
    if buffer == 3:
        assert all(at + 3 > n for at, n in enumerate(first)), "what comes out at a place has been read by then"


def test_shuffling_is_even() -> None:
    """Every number comes first equally often, in full and, among those in the buffer, with a buffer."""
    for buffer, choices in ((None, 6), (3, 3)):
        firsts = [next(numbers(6).shuffle(buffer, seed=2).epoch(e)) for e in range(300)]
        counts = np.bincount(firsts, minlength=choices)
        assert len(counts) == choices and ((counts - 300 / choices) ** 2 / (300 / choices)).sum() < 20.5  # χ², p = 0.001


def test_full_shuffles_are_those_of_fit() -> None:
    """An array pipeline and `fit` of the same arrays see the same batches."""
    x = np.arange(23, dtype=np.float32)
    made = Epochs(ArrayBatches(Batch(x), 5, shuffle=True, seed=9))
    for epoch in range(3):
        ours = Dataset.from_arrays(x).shuffle(seed=9).batch(5).epoch(epoch)
        assert plain(ours) == [b.x.tolist() for b in made.epoch(epoch)]


def test_a_full_shuffle_reads_nothing_but_what_is_taken() -> None:
    read: list[int] = []
    made = numbers(1000).map(lambda n: read.append(int(n)) or n).shuffle(seed=1).batch(4)
    next(made.epoch(0, 100))
    assert len(read) == 4


def test_structures_and_names() -> None:
    data = Dataset.from_arrays({"a": [1.5, 2.5], "b": (np.eye(2), ["x", "y"])})
    assert [(d["a"], d["b"][0].tolist(), d["b"][1]) for d in data] == [(1.5, [1, 0], "x"), (2.5, [0, 1], "y")]
    batch = next(iter(data.batch(2)))
    assert batch["a"].tolist() == [1.5, 2.5] and batch["b"][0].shape == (2, 2) and batch["b"][1].tolist() == ["x", "y"]
    pairs = Dataset.zip(numbers(3), numbers(5).map(lambda n: n * n))
    assert plain(pairs) == [[0, 0], [1, 1], [2, 4]]
    assert [int(n) for n in pairs.map(lambda a, b: a + b)] == [0, 2, 6]
    assert repr(pairs) == "<Dataset of 3 elements>" and repr(pairs.repeat()) == "<Dataset of ∞ elements>"
    assert repr(pairs.filter(lambda a, b: a)) == "<Dataset of ? elements>"


def test_sources_of_one_s_own() -> None:
    """A function of positions, or of epoch and skip; steps keep the names of classes."""
    own = Dataset(at=lambda epoch, positions: (10 * epoch + int(p) for p in positions), length=4, class_names=["a", "b"])
    assert list(own.epoch(2, 1)) == [21, 22, 23] and sorted(own.shuffle().epoch(1)) == [10, 11, 12, 13]
    made = own.map(lambda n: n).filter(lambda n: True).shuffle(2).repeat(2).batch(3).prefetch()
    assert made.class_names == ["a", "b"]
    streamed = Dataset(lambda epoch, skip: iter(range(epoch + skip, 9)))
    assert list(streamed.epoch(3, 4)) == [7, 8] and streamed.length is None
    for wrong in (
        {},
        {"at": lambda e, p: iter(()), "length": None},
        {"read": lambda e, s: iter(()), "at": lambda e, p: iter(())},
    ):
        with pytest.raises(TypeError, match="from_arrays"):
            Dataset(**wrong)  # type: ignore[arg-type]


def test_loops_are_epochs() -> None:
    data = numbers(20).shuffle()
    assert [plain(data), plain(data)] == [plain(data.epoch(0)), plain(data.epoch(1))]
    passes = plain(data.repeat(2).epoch(1))
    assert [passes[:20], passes[20:]] == [plain(data.epoch(2)), plain(data.epoch(3))]


@SOURCES
def test_cache_reads_once(source: Callable[[int], Dataset]) -> None:
    read: list[int] = []
    made = source(5).map(lambda n: read.append(int(n)) or n).cache()
    assert plain(made.epoch(0)) == plain(made.epoch(1, 0)) == [0, 1, 2, 3, 4]
    assert plain(made.epoch(3, 2)) == [2, 3, 4] and read == [0, 1, 2, 3, 4]
    assert plain(source(9).shuffle(seed=4).cache().epoch(7)) == plain(source(9).shuffle(seed=4).epoch(0))


def test_random_changes_follow_from_seed_epoch_and_position() -> None:
    def noisy(n: Any, rng: np.random.Generator) -> float:
        return float(n + rng.random())

    data = numbers(6).map(noisy, seed=3, workers=2)
    whole = list(data.epoch(1))
    assert list(data.epoch(1, 4)) == whole[4:] and whole != list(data.epoch(0)) and len(set(np.floor(whole))) == 6
    assert sorted(data.shuffle(seed=1).epoch(1)) == whole, "the position is the element's own, wherever it comes"
    assert whole[2] == 2 + np.random.default_rng((3, 1, 2)).random()


def threads() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name.startswith("hither-data")]


def test_a_step_that_works_in_place_cannot_change_the_source() -> None:
    x = np.ones((3, 2), np.float32)

    def halved(row: np.ndarray) -> np.ndarray:
        row *= 0.5
        return row

    with pytest.raises(ValueError, match="read-only"):
        list(Dataset.from_arrays(x).map(halved))
    assert (x == 1).all()


@pytest.mark.parametrize("step", [lambda d: d.prefetch(3), lambda d: d.map(lambda n: n, workers=2)], ids=["prefetch", "map"])
def test_threads_end_with_the_iterator(step: Callable[[Dataset], Dataset]) -> None:
    """Half read and dropped, read to the end, and never begun: no thread stays."""
    data = step(step(Dataset.from_generator(lambda: iter(range(10**9)))))
    items = iter(data)
    assert next(items) == 0 and threads()
    del items
    gc.collect()
    assert not threads()
    assert plain(step(stream(5))) == [0, 1, 2, 3, 4] and not threads()
    items = iter(data)
    del items
    assert not threads()


@pytest.mark.parametrize("step", [lambda d: d, lambda d: d.prefetch(2)], ids=["map", "prefetch"])
@pytest.mark.parametrize("workers", [0, 2])
def test_errors_of_threads_reach_the_consumer(step: Callable[[Dataset], Dataset], workers: int) -> None:
    def check(n: Any) -> Any:
        if n == 3:
            raise KeyError("three")
        return n

    items = step(numbers(9).map(check, workers=workers)).epoch()
    assert [int(next(items)) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(KeyError, match="three"):
        next(items)
    assert not threads()


@pytest.mark.parametrize("workers", [0, 2])
def test_errors_come_where_their_element_would(workers: int) -> None:
    """What comes before a source's error is not lost to workers, and a function that raises StopIteration (a bare `next` in it)
    is an error, not the end of the data."""

    def source() -> Iterator[int]:
        yield from range(5)
        raise KeyError("five")

    items = Dataset.from_generator(source).map(lambda n: n, workers=workers).epoch()
    assert [next(items) for _ in range(5)] == [0, 1, 2, 3, 4]
    with pytest.raises(KeyError, match="five"):
        next(items)
    exhausted: Iterator[int] = iter(())
    with pytest.raises(RuntimeError, match="StopIteration"):
        list(numbers(3).map(lambda n: next(exhausted), workers=workers).prefetch(2))
    assert not threads()


def test_prefetch_makes_ahead_and_no_further() -> None:
    made: list[int] = []
    data = stream(50).map(lambda n: made.append(n) or n).prefetch(3)
    items = data.epoch()
    next(items)
    until = time.monotonic() + 20
    while len(made) < 5 and time.monotonic() < until:
        time.sleep(0.002)
    time.sleep(0.02)
    assert len(made) == 5, "one taken, three ready, one in the maker's hands"


def test_workers_work_at_once() -> None:
    """Two calls wait for each other, which one thread could not do."""
    meeting = threading.Barrier(2, timeout=20)
    assert plain(numbers(6).map(lambda n: (meeting.wait(), n)[1], workers=2)) == [0, 1, 2, 3, 4, 5]


def test_mistakes() -> None:
    with pytest.raises(ShapeMismatch, match=r"\(3,\).*\(2, 2\)"):
        Dataset.from_arrays((np.zeros(3), np.zeros((2, 2))))
    with pytest.raises(ShapeMismatch, match=r"one number of rows"):
        Dataset.from_arrays(3.0)
    with pytest.raises(TypeError, match="lambda"):
        Dataset.from_generator(iter([1]))
    ragged = Dataset.from_generator(lambda: iter([np.zeros(2), np.zeros(2), np.zeros(2), np.zeros(3)]))
    with pytest.raises(ShapeMismatch, match=r"element 2 has \(2,\) and element 3 has \(3,\).*map"):
        list(ragged.batch(2))
    mixed = Dataset.from_generator(lambda: iter([(1, 2), (1, 2, 3)]))
    with pytest.raises(ShapeMismatch, match="element 1"):
        list(mixed.batch(2))
    with pytest.raises(TypeError, match="no end"):
        len(numbers(3).repeat())
    with pytest.raises(TypeError, match="not known"):
        len(stream(3))
    with pytest.raises(ValueError, match="buffer_size"):
        numbers(3).repeat().shuffle()
    for wrong in (lambda: numbers(3).batch(0), lambda: numbers(3).take(-1), lambda: numbers(3).prefetch(0)):
        with pytest.raises(ValueError, match=r"got|or more"):
            wrong()
    with pytest.raises(TypeError, match="list"):
        Dataset.zip(numbers(3), [1])  # type: ignore[arg-type]


# -- folders -----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Four red and six blue pictures of different sizes; the red's brightness is their number."""
    from PIL import Image

    for kind, count, channel in (("red", 4, 0), ("blue", 6, 2)):
        for i in range(count):
            pixels = np.zeros((6 + i, 12, 3), np.uint8)
            pixels[..., channel] = 10 * (i + 1)
            place = tmp_path / kind / ("deeper" if i % 2 else ".")
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(place / f"{i}.png")
    (tmp_path / "red" / "notes.txt").write_text("no picture")
    (tmp_path / "red" / "._0.png").write_text("what macOS keeps beside a file in an archive")
    (tmp_path / ".ipynb_checkpoints").mkdir()
    (tmp_path / ".ipynb_checkpoints" / "0.png").write_text("a class of no name")
    return tmp_path


def test_image_folder(pictures: Path) -> None:
    data = image_folder(pictures, (5, 4), workers=2)
    assert data.class_names == ["blue", "red"] and len(data) == 10
    x, y = next(iter(data.shuffle(seed=1).batch(10)))
    assert x.shape == (10, 5, 4, 3) and x.dtype == np.float32 and y.dtype == np.int32
    assert np.bincount(y).tolist() == [6, 4]
    assert sorted(x[y == 1].max((1, 2, 3)).tolist()) == [10, 20, 30, 40] and (x[y == 1][..., 1:] == 0).all()
    train, held = image_folder(pictures, 4, validation_split=0.3, subset="both", seed=5, dtype="uint8")
    again = image_folder(pictures, 4, validation_split=0.3, subset="validation", seed=5, dtype="uint8")
    seen = [(int(x.max()), int(y)) for part in (train, held) for x, y in part]
    assert (len(train), len(held)) == (7, 3) and len(set(seen)) == 10
    assert [x.tolist() for x, _ in again] == [x.tolist() for x, _ in held]
    named = image_folder(pictures, 4, labels=lambda p: "even" if int(p.stem) % 2 == 0 else None)
    assert named.class_names == ["even"] and len(named) == 5
    only = image_folder(pictures, 4, class_names=["red"])
    assert len(only) == 4 and {int(y) for _, y in only} == {0}
    assert image_folder(pictures, 4, labels=None, channels=1).epoch().__next__().shape == (4, 4, 1)


def test_cropping_keeps_proportions(tmp_path: Path) -> None:
    from PIL import Image

    pixels = np.zeros((8, 24, 3), np.uint8)
    pixels[:, 8:16] = 200
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    cut = next(iter(image_folder(tmp_path, 4, labels=None, crop_to_aspect_ratio=True)))
    whole = next(iter(image_folder(tmp_path, 4, labels=None)))
    assert (cut == 200).all() and (whole != 200).any()


def test_folders_that_do_not_fit(pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(EmptyFolder, match="no files that end in"):
        image_folder(tmp_path / "empty", 4)
    with pytest.raises(EmptyFolder, match="is no folder"):
        image_folder(tmp_path / "nowhere", 4)
    with pytest.raises(EmptyFolder, match="no folders with files"):
        image_folder(pictures / "red" / "deeper", 4)
    with pytest.raises(EmptyFolder, match="class 'green'"):
        image_folder(pictures, 4, class_names=["red", "green"])
    with pytest.raises(ValueError, match="go together"):
        image_folder(pictures, 4, validation_split=0.5)
    with pytest.raises(ValueError, match="leaves one part"):
        image_folder(pictures, 4, validation_split=0.01, subset="both")
    broken = pictures / "red" / "0.png"
    whole = broken.read_bytes()
    for content in (b"no picture", whole[:45], whole[:40] + bytes(9) + whole[49:]):
        broken.write_bytes(content)
        with pytest.raises(MediaError, match=r"red/0\.png"):
            list(image_folder(pictures, 4).prefetch(2))


def test_audio_folder(tmp_path: Path) -> None:
    for kind, pitch in (("low", 100), ("high", 1000)):
        (tmp_path / kind).mkdir()
        tone = np.sin(2 * np.pi * pitch * np.arange(4000) / 8000)
        with wave.open(str(tmp_path / kind / "a.wav"), "wb") as file:
            file.setparams((1, 2, 8000, 0, "NONE", ""))
            file.writeframes((tone * 32767).astype("<i2").tobytes())
    data = audio_folder(tmp_path, 4000, 3000)
    assert data.class_names == ["high", "low"]
    for (x, _), pitch in zip(data, (1000, 100), strict=True):
        assert x.shape == (3000, 1) and x.dtype == np.float32 and (x[2000:] == 0).all()
        assert int(np.argmax(np.abs(np.fft.rfft(x[:2000, 0])))) == pitch // 2, "half a second: 2 Hz a bin"
    assert next(iter(audio_folder(tmp_path, 8000)))[0].shape == (4000, 1)
    (tmp_path / "low" / "b.wav").write_bytes(b"RIFF no sound")
    with pytest.raises(MediaError, match=r"b\.wav"):
        list(audio_folder(tmp_path, 8000))
