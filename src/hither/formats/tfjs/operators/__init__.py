"""TensorFlow's operators as graph models have them, one function each, by theme. Importing this package fills the registry."""

from __future__ import annotations

from . import (
    arithmetic,
    control,
    convolution,
    creation,
    dynamic,
    image,
    lists,
    logic,
    matrices,
    movement,
    normalization,
    random,
    reduction,
    slices,
    sparse,
    spectral,
    tables,
)  # fmt: skip

__all__ = [
    "arithmetic", "control", "convolution", "creation", "dynamic", "image", "lists", "logic", "matrices", "movement",
    "normalization", "random", "reduction", "slices", "sparse", "spectral", "tables",
]  # fmt: skip
