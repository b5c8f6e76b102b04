"""Real data to train on, fetched by pinned package and checksum."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np

from hither.data.packages import fetch

Arrays = tuple[np.ndarray, np.ndarray]

FASHION = ("dataset-fashion-mnist", "0.0~git20200523.55506a9-1")
FASHION_FILES = {
    "train-images-idx3-ubyte.gz": "b0564c3eedabfbf835052cff8503ea422014ce006caf5b757f851416ee8300c7",
    "train-labels-idx1-ubyte.gz": "0ae29f65d86684f32d1b9c85147786c547b9c6aebcaf235f0400a0cce308b056",
    "t10k-images-idx3-ubyte.gz": "cc1d090a38ace84dfa1aa66e3ada7c336ef481a96936906477e6dd344da56eaa",
    "t10k-labels-idx1-ubyte.gz": "8d3605d196f4be44669e46906da9733c8131fef761fdbfec72c424d5222f1a05",
}
FASHION_CLASSES = ("T-shirt", "trousers", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot")


def digits() -> tuple[Arrays, Arrays]:
    """Handwritten digits, 8×8 (Alpaydin and Kaynak, 1998), as scikit-learn has them: 1,797, every fifth of them for testing."""
    path = fetch(
        "scikit-learn", "1.5.2", "sklearn/datasets/data/digits.csv.gz",
        "09f66e6debdee2cd2b5ae59e0d6abbb73fc2b0e0185d2e1957e9ebb51e23aa22", python="3.11", platform="manylinux2014_x86_64",
    )  # fmt: skip
    with gzip.open(path, "rt") as file:
        table = np.loadtxt(file, delimiter=",", dtype=np.float32)
    x, y = (table[:, :64] / 16).reshape(-1, 8, 8, 1), table[:, 64].astype(np.int32)
    held = np.arange(len(x)) % 5 == 0
    return (x[~held], y[~held]), (x[held], y[held])


def fashion() -> tuple[Arrays, Arrays]:
    """Fashion-MNIST (Xiao et al., 2017): 60,000 grey pictures of clothes, 28×28, and 10,000 for testing."""
    train, test = (
        (idx(_fashion(f"{part}-images-idx3-ubyte.gz"))[..., None], idx(_fashion(f"{part}-labels-idx1-ubyte.gz")))
        for part in ("train", "t10k")
    )
    return (train[0].astype(np.float32) / 255, train[1].astype(np.int32)), (
        test[0].astype(np.float32) / 255,
        test[1].astype(np.int32),
    )


def _fashion(name: str) -> Path:
    return fetch(*FASHION, f"usr/share/datasets/fashion-mnist/{name}", FASHION_FILES[name], "debian")


def idx(path: Path) -> np.ndarray:
    """An array of bytes in LeCun's IDX format: 0, 0, type 8, number of axes, extents (big-endian), elements."""
    raw = gzip.decompress(path.read_bytes())
    assert raw[:3] == b"\0\0\x08", f"{path.name} is no IDX file of bytes"
    shape = np.frombuffer(raw, ">u4", raw[3], 4)
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * raw[3]).reshape(shape)
