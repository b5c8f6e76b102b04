"""TensorBoard's event files, written by hand: scalars and histograms that `tensorboard --logdir` shows.

A file is a sequence of TFRecords: length (8 bytes, little-endian), its masked CRC-32C, the data, their masked CRC-32C. The data
are `Event` messages in Protocol Buffers' encoding (event.proto and summary.proto of TensorBoard): wall_time = 1 (double),
step = 2 (varint), file_version = 3 (string), summary = 5; a Summary has value = 1 with tag = 1, simple_value = 2 (float) and
histo = 5: min, max, num, sum, sum_squares = 1…5 (doubles), bucket_limit = 6 and bucket = 7 (packed doubles).
"""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

import numpy as np

from .callbacks import Callback, Logs


def _crc_table() -> list[int]:
    table = []
    for n in range(256):
        for _ in range(8):
            n = n >> 1 ^ (0x82F63B78 if n & 1 else 0)
        table.append(n)
    return table


_TABLE = _crc_table()


def crc32c(data: bytes) -> int:
    """CRC-32C (Castagnoli), as in RFC 3720, appendix B.4."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def _masked(data: bytes) -> bytes:
    crc = crc32c(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def record(data: bytes) -> bytes:
    """A TFRecord."""
    length = struct.pack("<Q", len(data))
    return length + _masked(length) + data + _masked(data)


def _varint(number: int) -> bytes:
    made = bytearray()
    while number > 0x7F:
        made.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*made, number])


def _double(field: int, value: float) -> bytes:
    return _varint(field << 3 | 1) + struct.pack("<d", value)


def _bytes(field: int, data: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(data)) + data


def event(step: int, summary: bytes = b"", version: str = "", wall_time: float | None = None) -> bytes:
    """An Event message."""
    made = _double(1, time.time() if wall_time is None else wall_time) + _varint(2 << 3) + _varint(step)
    return made + (_bytes(3, version.encode()) if version else b"") + (_bytes(5, summary) if summary else b"")


def scalar(tag: str, value: float) -> bytes:
    """A Summary with a number."""
    return _bytes(1, _bytes(1, tag.encode()) + _varint(2 << 3 | 5) + struct.pack("<f", value))


def histogram(tag: str, values: np.ndarray, bins: int = 30) -> bytes:
    """A Summary with a histogram."""
    flat = np.asarray(values, np.float64).ravel()
    flat = flat[np.isfinite(flat)]
    counts, edges = np.histogram(flat, bins=bins) if flat.size else (np.zeros(1), np.array([0.0, 0.0]))
    low, high = (float(flat.min()), float(flat.max())) if flat.size else (0.0, 0.0)
    numbers = (low, high, float(flat.size), float(flat.sum()), float((flat * flat).sum()))
    message = b"".join(_double(i + 1, n) for i, n in enumerate(numbers))
    message += _bytes(6, struct.pack(f"<{len(counts)}d", *edges[1:])) + _bytes(7, struct.pack(f"<{len(counts)}d", *counts))
    return _bytes(1, _bytes(1, tag.encode()) + _bytes(5, message))


class EventFile:
    """An event file that is written to."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        stamp = f"events.out.tfevents.{time.time():.0f}.{socket.gethostname()}.{os.getpid()}"
        taken = sum(1 for _ in folder.glob(f"{stamp}*"))
        self.file: IO[bytes] = (folder / f"{stamp}.{taken}.v2").open("xb")
        self.file.write(record(event(0, version="brain.Event:2")))

    def write(self, step: int, summaries: Iterable[bytes]) -> None:
        """Add an event with these Summaries."""
        self.file.write(record(event(step, b"".join(summaries))))
        self.file.flush()

    def close(self) -> None:
        self.file.close()


class TensorBoard(Callback):
    """Writes what is reported to event files, in `log_dir`/train and `log_dir`/validation.

    Args:
        log_dir: the folder for `tensorboard --logdir`.
        histogram_freq: every so many epochs, histograms of the weights; 0: never.
        update_freq: "epoch", or a number of batches after which batches' values are written, too.
    """

    def __init__(
        self, log_dir: str | os.PathLike[str] = "logs", histogram_freq: int = 0, update_freq: str | int = "epoch"
    ) -> None:
        if update_freq not in ("epoch", "batch") and not isinstance(update_freq, int):
            raise ValueError(f"update_freq is 'epoch', 'batch' or a number of batches, got {update_freq!r}")
        self.folder, self.histogram_freq = Path(log_dir), histogram_freq
        self.every = 0 if update_freq == "epoch" else 1 if update_freq == "batch" else int(update_freq)
        self.files: dict[str, EventFile] = {}
        self.batches = 0

    def _file(self, kind: str) -> EventFile:
        if kind not in self.files:
            self.files[kind] = EventFile(self.folder / kind)
        return self.files[kind]

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        self.batches += 1
        if self.every and self.batches % self.every == 0:
            self._file("train").write(self.batches, [scalar(f"batch_{n}", v) for n, v in _numbers(logs)])

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        for kind, prefix in (("train", ""), ("validation", "val_")):
            values = [(n, v) for n, v in _numbers(logs) if n.startswith("val_") == bool(prefix)]
            if values:
                self._file(kind).write(epoch, [scalar(f"epoch_{n.removeprefix(prefix)}", v) for n, v in values])
        if self.histogram_freq and (epoch + 1) % self.histogram_freq == 0:
            weights = self.trainer.get_weights()
            self._file("train").write(epoch, [histogram(n.replace(".", "/"), w.numpy()) for n, w in weights.items()])

    def on_train_end(self, logs: Logs = None) -> None:
        for file in self.files.values():
            file.close()
        self.files = {}

    def state(self) -> dict[str, Any]:
        return {"batches": self.batches}

    def load_state(self, state: Any) -> None:
        self.batches = state["batches"]


def _numbers(logs: Logs) -> list[tuple[str, float]]:
    return [(n, float(v)) for n, v in (logs or {}).items() if np.ndim(v) == 0]
