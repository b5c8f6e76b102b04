"""Training on data that come in batches: as on the arrays they are made of, epoch after epoch as in Keras, exactly resumed."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hither as ht
from hither.data import Dataset
from hither.errors import ShapeMismatch
from hither.train.epochs import OutOfDataWarning, batches_of

from .keras_reference import keras


def samples() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(5)
    return rng.normal(size=(50, 5)).astype(np.float32), rng.integers(0, 3, 50)


def trainer() -> ht.Trainer:
    ht.nn.seed(2)
    net = ht.nn.Sequential([ht.nn.Input((5,)), ht.nn.Dense(8, name="a"), ht.nn.Dropout(0.3), ht.nn.Dense(3, name="b")])
    return ht.Trainer(net, ht.nn.losses.SparseCategoricalCrossentropy(from_logits=True), "adam", ["accuracy"], seed=4)


def bits(made: ht.Trainer) -> dict[str, bytes]:
    return {n: a.numpy().tobytes() for n, a in made.state.items()}


def test_fit_evaluate_predict() -> None:
    """A Dataset trains bit by bit as the arrays that it is made of, and evaluates and predicts as they do."""
    x, y = samples()
    arrays, datasets = trainer(), trainer()
    first = arrays.fit(x, y, batch_size=8, epochs=2, verbose=0, validation_data=(x[:20], y[:20]))
    data = Dataset.from_arrays((x, y))
    held = data.take(20).batch(32)
    second = datasets.fit(data.shuffle(seed=4).batch(8).prefetch(2), epochs=2, verbose=0, validation_data=held)
    assert first.history == second.history and bits(arrays) == bits(datasets)
    assert arrays.evaluate(x, y, verbose=0) == datasets.evaluate(data.batch(32), verbose=0)
    said = datasets.predict(Dataset.from_arrays(x).batch(32)).numpy()
    assert said.tobytes() == datasets.predict(data.batch(32)).numpy().tobytes() == arrays.predict(x).numpy().tobytes()
    assert not [t for t in threading.enumerate() if t.name.startswith("hither-data")]


@pytest.mark.filterwarnings("ignore::hither.train.epochs.OutOfDataWarning")
@pytest.mark.parametrize("steps", [None, 4])
def test_an_interrupted_training_goes_on_exactly(steps: int | None, tmp_path: Path) -> None:
    """Stopped in the middle of an epoch, with random changes and threads in the pipeline: the end is the same, bit by bit."""
    x, y = samples()

    def changed(x: Any, y: Any, rng: np.random.Generator) -> Any:
        return x + rng.normal(size=5).astype(np.float32), y

    data = Dataset.from_arrays((x, y)).shuffle(seed=3).map(changed, seed=1, workers=2).batch(8).prefetch(2)
    whole = trainer()
    expected = whole.fit(data, epochs=4, steps_per_epoch=steps, verbose=0)

    class Stop(Exception):
        pass

    class StopAt(ht.train.Callback):
        at: tuple[int, int] | None = (2, 3)

        def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
            if self.trainer.position == self.at:
                raise Stop

    def backup() -> ht.train.BackupAndRestore:
        return ht.train.BackupAndRestore(tmp_path, save_freq=1)

    stopping = StopAt()
    with pytest.raises(Stop):
        trainer().fit(data, epochs=4, steps_per_epoch=steps, verbose=0, callbacks=[stopping], resume=backup())
    stopping.at = None
    again = trainer()
    found = again.fit(data, epochs=4, steps_per_epoch=steps, verbose=0, callbacks=[stopping], resume=backup())
    assert found.history == expected.history and bits(again) == bits(whole)


def given(kind: str, count: int) -> Any:
    """The numbers up to `count` as arrays that `fit` cuts, or batches of two of them, of each kind that it takes."""
    x = np.arange(count, dtype=np.float32)[:, None]
    batches = [x[i : i + 2] for i in range(0, count, 2)]

    class Sequence(keras.utils.PyDataset):  # type: ignore[misc]
        def __len__(self) -> int:
            return len(batches)

        def __getitem__(self, i: int) -> Any:
            return (batches[i],)

    class Anew:
        def __iter__(self) -> Iterator[Any]:
            return iter([(b,) for b in batches])

    kinds = {
        "arrays": lambda: x, "sequence": Sequence, "anew": Anew, "dataset": lambda: Dataset.from_arrays(x).batch(2),
        "stream": lambda: Dataset.from_generator(lambda: iter(batches)),
        "endless": lambda: Dataset.from_arrays(x).batch(2).repeat(),
        "generator": lambda: ((b,) for _ in range(9) for b in batches),
    }  # fmt: skip
    return kinds[kind]()


@pytest.mark.parametrize("kind", ["arrays", "sequence", "anew", "dataset", "stream", "endless", "generator"])
@pytest.mark.parametrize("count, steps", [(14, 3), (12, 3), (13, 3), (6, 4), (4, 1)])
def test_epochs_go_on_where_the_last_stopped(kind: str, count: int, steps: int) -> None:
    """With steps_per_epoch, as in Keras: an epoch in which data end is shorter, with a warning; what has no end has none."""
    from keras.src.trainers.epoch_iterator import EpochIterator  # once Keras has its backend

    first = lambda item: item[0] if isinstance(item, tuple) else item  # noqa: E731
    expected = []
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always")
        keras_kind = {"sequence": "sequence", "endless": "generator", "generator": "generator"}.get(kind, "arrays")
        source = given(keras_kind, count)
        theirs = EpochIterator(source, batch_size=2 if keras_kind == "arrays" else None, steps_per_epoch=steps)
        for _ in range(6):
            expected.append([np.asarray(first(buffer[0])).reshape(-1).tolist() for _, _, buffer in theirs])
    data = given(kind, count)
    made = batches_of(data, size=2 if kind == "arrays" else None, steps=steps)
    found = []
    for epoch in range(6):
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            found.append([np.asarray(b.x).reshape(-1).tolist() for b in made.epoch(epoch)])
        assert [w.category for w in said] == [OutOfDataWarning] * (len(found[-1]) < steps)
    assert found == expected
    for epoch, skip in ((4, 0), (2, 1), (5, 1), (0, 0)):  # to go on after an interruption
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            again = batches_of(given(kind, count), size=2 if kind == "arrays" else None, steps=steps)
            assert again.first().x.reshape(-1).tolist() == expected[0][0]
            assert [np.asarray(b.x).reshape(-1).tolist() for b in again.epoch(epoch, skip)] == expected[epoch][skip:]


def test_training_ends_when_an_iterator_does() -> None:
    x, y = samples()
    batches = [(x[i : i + 4], y[i : i + 4]) for i in range(0, 20, 4)]
    with pytest.warns(OutOfDataWarning) as said:
        history = trainer().fit(iter(batches), steps_per_epoch=2, epochs=5, verbose=0)
    assert history.epoch == [0, 1, 2]
    assert [str(w.message).partition(".")[0][-24:] for w in said] == ["epoch 3 has 1 of 2 steps", "epoch 4 has 0 of 2 steps"]
    with pytest.warns(OutOfDataWarning), pytest.raises(ShapeMismatch, match="no batches"):
        trainer().fit(iter([]), verbose=0)


def test_steps_of_arrays_make_their_batches() -> None:
    """As in Keras: without a batch_size, `steps` are a pass."""
    assert [len(b.x) for b in batches_of(np.zeros((10, 1)), steps=4).epoch(0)] == [3, 3, 3, 1]
    assert [len(b.x) for b in batches_of(np.zeros((40, 1))).epoch(0)] == [32, 8]


def test_training_says_what_is_wrong_with_a_dataset() -> None:
    x, y = samples()
    data = Dataset.from_arrays((x, y))
    with pytest.raises(ShapeMismatch, match=r"dataset\.batch\(32\)"):
        trainer().fit(data, verbose=0)
    with pytest.raises(TypeError, match="batch_size is for arrays"):
        trainer().fit(data.batch(4), batch_size=8, verbose=0)
    with pytest.raises(ValueError, match="no end"):
        trainer().fit(data.batch(4).repeat(), verbose=0)
    with pytest.raises(TypeError, match="y is not given"):
        trainer().fit(data.batch(4), y, verbose=0)


def test_generators_still_train() -> None:
    x, y = samples()

    def forever() -> Iterator[Any]:
        while True:
            yield x[:8], y[:8]

    assert trainer().fit(forever(), steps_per_epoch=3, epochs=2, verbose=0).epoch == [0, 1]
