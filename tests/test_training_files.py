"""What a training writes and reads back: checkpoints after a kill, weights, logs, event files, reports; and the callbacks."""

from __future__ import annotations

import json
import random
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hither as ht
from hither.errors import InvalidModel, NameMismatch
from hither.train.tensorboard import crc32c

from .test_trainer import LOSS, data, dense_net, noisy_net

TRAIN = """
import sys
import numpy as np, hither as ht
folder, mark, epochs = sys.argv[1:]
rng = np.random.default_rng(5)
x, y = rng.normal(size=(50, 5)).astype(np.float32), rng.integers(0, 3, 50)
ht.nn.seed(2)
net = ht.nn.Sequential([ht.nn.Input((5,)), ht.nn.Dense(8, activation="relu"), ht.nn.BatchNormalization(), ht.nn.Dropout(0.3),
                        ht.nn.Dense(3)])
trainer = ht.Trainer(net, ht.nn.losses.SparseCategoricalCrossentropy(from_logits=True), "adam", ["accuracy"])
callbacks = [
    ht.train.EarlyStopping(patience=50, restore_best_weights=True),
    ht.train.ReduceLROnPlateau(patience=1, factor=0.9),
    ht.train.CSVLogger(folder + "/log.csv"),
    ht.train.LambdaCallback(on_train_batch_begin=lambda batch, logs=None: open(mark, "a").write(".")),
]
backup = ht.train.BackupAndRestore(folder, save_freq=2)
history = trainer.fit(x, y, batch_size=8, epochs=int(epochs), validation_data=(x[:20], y[:20]), verbose=0, callbacks=callbacks,
                      resume=backup)
np.savez(folder + "/end.npz", **{n: a.numpy() for n, a in trainer.state.items()})
import json
print(json.dumps(history.history))
"""


def run_training(folder: Path, epochs: int) -> subprocess.Popen[str]:
    folder.mkdir(exist_ok=True)
    command = [sys.executable, "-c", TRAIN, str(folder), str(folder / "mark"), str(epochs)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finished(process: subprocess.Popen[str]) -> Any:
    out, error = process.communicate(timeout=1200)  # a busy machine may stop it for minutes
    assert process.returncode == 0, error
    return json.loads(out.splitlines()[-1])


@pytest.mark.timeout(1500)
@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_a_killed_training_goes_on_exactly(kills: int, tmp_path: Path) -> None:
    """Killed at random moments, also while it writes, a training ends with the bits of one that was not: weights, optimizer,
    metrics and keys; the same history, log, learning rates and best epoch."""
    epochs = 6 + 2 * kills  # of 7 batches: more than the runs get through before they are killed
    whole = finished(run_training(tmp_path / "whole", epochs))
    folder, moments = tmp_path / "killed", random.Random(kills)
    for kill in range(kills):
        process = run_training(folder, epochs)
        mark, before = folder / "mark", (folder / "mark").stat().st_size if (folder / "mark").exists() else 0
        until = time.monotonic() + 200
        wanted = before + moments.randint(1, 14)
        while process.poll() is None and (not mark.exists() or mark.stat().st_size < wanted) and time.monotonic() < until:
            time.sleep(0.0005)
        time.sleep(moments.random() * 0.004)
        assert process.poll() is None, f"run {kill} ended before it could be killed: {process.communicate()}"
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
    assert finished(run_training(folder, epochs)) == whole
    with np.load(tmp_path / "whole" / "end.npz") as expected, np.load(folder / "end.npz") as got:
        assert set(got) == set(expected)
        for name in expected:
            assert got[name].tobytes() == expected[name].tobytes(), name
    assert (folder / "log.csv").read_bytes() == (tmp_path / "whole" / "log.csv").read_bytes()
    left = {p.name for p in folder.iterdir()}
    assert left == {"end.npz", "log.csv", "mark", "training.safetensors"}, "half-written checkpoints are cleared away"


def test_a_log_is_taken_up_again_byte_by_byte(tmp_path: Path) -> None:
    """Its lines end as CSV's do, those from before an interruption and those from after it."""
    logger = ht.train.CSVLogger(tmp_path / "log.csv")
    logger.on_train_begin()
    logger.on_epoch_end(0, {"loss": 0.5})
    state, before = logger.state(), (tmp_path / "log.csv").read_bytes()
    logger.on_epoch_end(1, {"loss": 0.25})
    after = (tmp_path / "log.csv").read_bytes()
    again = ht.train.CSVLogger(tmp_path / "log.csv")
    again.on_train_begin()
    again.load_state(json.loads(json.dumps(state)))
    assert (tmp_path / "log.csv").read_bytes() == before == b"epoch,loss\r\n0,0.5\r\n"
    again.on_epoch_end(1, {"loss": 0.25})
    assert (tmp_path / "log.csv").read_bytes() == after


def test_checkpoints_of_other_trainings_are_refused(tmp_path: Path) -> None:
    x, y = data()
    ht.Trainer(dense_net(), LOSS, "adam").fit(x, y, verbose=0, resume=tmp_path)
    again = ht.Trainer(dense_net(), LOSS, "adam").fit(x, y, verbose=0, resume=tmp_path)
    assert again.epoch == [0], "a training that had ended is not run again"
    with pytest.raises(NameMismatch, match="another training"):
        ht.Trainer(dense_net(), LOSS, "sgd").fit(x, y, verbose=0, resume=tmp_path)
    with pytest.raises(NameMismatch, match="seed=0"):
        ht.Trainer(dense_net(), LOSS, "adam", seed=3).fit(x, y, verbose=0, resume=tmp_path)
    with pytest.raises(NameMismatch, match="CSVLogger"):
        callbacks = [ht.train.CSVLogger(tmp_path / "log.csv")]
        ht.Trainer(dense_net(), LOSS, "adam").fit(x, y, verbose=0, callbacks=callbacks, resume=tmp_path)
    file = tmp_path / "training.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(InvalidModel):
        ht.Trainer(dense_net(), LOSS, "adam").fit(x, y, verbose=0, resume=tmp_path)


def scripted(values: list[float], *callbacks: ht.train.Callback, **fit: Any) -> tuple[ht.Trainer, ht.train.History]:
    """A training whose "val_loss" is what the test says."""
    x, y = data()
    trainer = ht.Trainer(dense_net(), LOSS, ht.optim.SGD(0.5))

    class Script(ht.train.Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            logs["score"] = values[epoch]

    return trainer, trainer.fit(x, y, epochs=len(values), verbose=0, callbacks=[Script(), *callbacks], **fit)


def test_early_stopping_waits_and_restores() -> None:
    kept: dict[int, Any] = {}

    class Keep(ht.train.EarlyStopping):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            kept[epoch] = self.trainer.get_weights()
            super().on_epoch_end(epoch, logs)

    stopping = Keep("score", patience=2, restore_best_weights=True)
    trainer, history = scripted([3, 1, 2, 0.9, 0.5, 9, 9, 9, 9], stopping)
    assert history.epoch == list(range(7)), "the best is in epoch 5, and two that are not better follow"
    assert stopping.best_epoch == 4
    for name, array in trainer.net.weights.items():
        assert (array.numpy() == kept[4][name].numpy()).all()
    _, history = scripted([1, 2, 3, 2], ht.train.EarlyStopping("score", patience=1, mode="max"))
    assert history.epoch == [0, 1, 2, 3]


def test_learning_rates() -> None:
    rates: list[float] = []

    class Watch(ht.train.ReduceLROnPlateau):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            super().on_epoch_end(epoch, logs)
            rates.append(self.trainer.learning_rate)

    scripted([5, 5, 5, 4, 4, 4], Watch("score", factor=0.5, patience=2, min_lr=0.2))
    np.testing.assert_allclose(rates, [0.5, 0.5, 0.25, 0.25, 0.25, 0.2])
    trainer, _ = scripted([0, 0, 0], ht.train.LearningRateScheduler(lambda epoch, rate: rate / 2))
    assert trainer.learning_rate == pytest.approx(0.5 / 8)


def test_learning_rates_are_in_the_history_as_in_keras(tmp_path: Path) -> None:
    """The rate of each epoch, which callbacks that come later see as well; and schedules of the epoch alone."""
    scheduler = ht.train.LearningRateScheduler(lambda epoch: 0.5 / (1 + epoch))
    _, history = scripted([0, 0, 0], scheduler, ht.train.CSVLogger(tmp_path / "log.csv"))
    np.testing.assert_allclose(history.history["learning_rate"], [0.5, 0.25, 0.5 / 3], rtol=1e-6)
    assert "learning_rate" in (tmp_path / "log.csv").read_text().splitlines()[0]
    _, history = scripted([5, 5, 5, 4], ht.train.ReduceLROnPlateau("score", factor=0.5, patience=2))
    np.testing.assert_allclose(history.history["learning_rate"], [0.5, 0.5, 0.5, 0.25])


def test_model_checkpoint_keeps_the_best(tmp_path: Path) -> None:
    scripted([3, 1, 2], ht.train.ModelCheckpoint(tmp_path / "e{epoch}-{score:.1f}.safetensors", "score", save_best_only=True))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["e1-3.0.safetensors", "e2-1.0.safetensors"]
    model = ht.load(tmp_path / "e2-1.0.safetensors")
    assert next(iter(model(np.zeros((1, 5), np.float32)).values())).shape == (1, 3)


def fields(data_: bytes) -> dict[int, list[Any]]:
    """A Protocol Buffers message as {field: values}, read anew from the encoding's specification."""
    found: dict[int, list[Any]] = {}
    at = 0

    def varint() -> int:
        nonlocal at
        shift = number = 0
        while True:
            byte = data_[at]
            at += 1
            number |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return number

    while at < len(data_):
        key = varint()
        match key & 7:
            case 0:
                value: Any = varint()
            case 1:
                value, at = struct.unpack("<d", data_[at : at + 8])[0], at + 8
            case 2:
                size = varint()
                value, at = data_[at : at + size], at + size
            case _:
                value, at = struct.unpack("<f", data_[at : at + 4])[0], at + 4
        found.setdefault(key >> 3, []).append(value)
    return found


def events(folder: Path) -> list[dict[int, list[Any]]]:
    (file,) = folder.iterdir()
    raw, at, found = file.read_bytes(), 0, []
    while at < len(raw):
        (size,) = struct.unpack("<Q", raw[at : at + 8])
        for start, end in ((at, at + 8), (at + 12, at + 12 + size)):
            crc = crc32c(raw[start:end])
            masked = ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
            assert struct.unpack("<I", raw[end : end + 4])[0] == masked
        found.append(fields(raw[at + 12 : at + 12 + size]))
        at += size + 16
    return found


def test_event_files(tmp_path: Path) -> None:
    """Records, checksums and messages as TensorBoard reads them; CRC-32C against the check value of its definition."""
    assert crc32c(b"123456789") == 0xE3069283
    x, y = data()
    trainer = ht.Trainer(dense_net(), LOSS, "sgd")
    board = ht.train.TensorBoard(tmp_path, histogram_freq=2)
    history = trainer.fit(x, y, epochs=2, validation_data=(x, y), verbose=0, callbacks=[board]).history
    first, *rest = events(tmp_path / "train")
    assert first[3] == [b"brain.Event:2"]
    scalars: dict[str, list[tuple[int, float]]] = {}
    histograms: dict[str, dict[int, list[Any]]] = {}
    for message in rest + events(tmp_path / "validation")[1:]:
        for value in (fields(v) for v in fields(message[5][0])[1]):
            if 2 in value:
                scalars.setdefault(value[1][0].decode(), []).append((message[2][0], value[2][0]))
            else:
                histograms[value[1][0].decode()] = fields(value[5][0])
    assert [s for s, _ in scalars["epoch_loss"]] == [0, 1, 0, 1]
    np.testing.assert_allclose([v for _, v in scalars["epoch_loss"]], history["loss"] + history["val_loss"], rtol=1e-6)
    kernel, made = trainer.net.weights["head.kernel"].numpy(), histograms["head/kernel"]
    counts, edges = np.histogram(kernel.astype(np.float64), bins=30)
    np.testing.assert_allclose(np.frombuffer(made[7][0]), counts)
    np.testing.assert_allclose(np.frombuffer(made[6][0]), edges[1:])
    np.testing.assert_allclose([made[i][0] for i in (1, 2, 3, 4)], [kernel.min(), kernel.max(), 24, kernel.sum()], rtol=1e-5)


def test_report_and_plot(tmp_path: Path) -> None:
    """The page has the confusion matrix of the validation data, and asks nothing of anywhere."""
    x, y = data()
    trainer = ht.Trainer(noisy_net(), LOSS, "adam", ["accuracy"])
    history = trainer.fit(x, y, epochs=3, validation_split=0.5, verbose=0)
    history.report(tmp_path / "report.html", labels=["<low>", "mid", "high"])
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "&lt;low&gt;" in page and "<low>" not in page
    assert not [w for w in ("src=", "href=", "@import", "url(") if w in page]
    said = trainer.predict(x[20:]).numpy().argmax(1)
    right = int((said == y[20:]).sum())
    assert f"{right} of 20 right" in page
    for i in range(3):
        for j in range(3):
            assert f">{int(((y[20:] == i) & (said == j)).sum())}</td>" in page
    svg = history.plot(tmp_path / "curves.svg")
    assert svg.count("<polyline") == 4 and (tmp_path / "curves.svg").read_text(encoding="utf-8") == svg
    with pytest.raises(ValueError, match="2 classes"):
        history.report(tmp_path / "report.html", labels=["a", "b"])


def test_progress_is_quiet_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    x, y = data()
    trainer = ht.Trainer(dense_net(), LOSS, "sgd")
    trainer.fit(x, y, epochs=2, verbose="auto")
    assert capsys.readouterr().out == ""
    trainer.fit(x, y, epochs=2, verbose=2)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 and lines[1].startswith("Epoch 2/2 - ") and "loss: " in lines[1]
