"""ONNX's operators, one function each, by theme. Importing this package fills the registry."""

from __future__ import annotations

from . import (
    activation,
    arithmetic,
    attention,
    control,
    conversion,
    dynamic,
    image,
    indexing,
    logic,
    loss,
    microsoft,
    movement,
    nn,
    norm,
    pool,
    quantize,
    random,
    reduce,
    resize,
    rnn,
    sampling,
    sequence,
    signal,
    text,
)  # fmt: skip

__all__ = [
    "activation", "arithmetic", "attention", "control", "conversion", "dynamic", "image", "indexing", "logic", "loss",
    "microsoft", "movement", "nn", "norm", "pool", "quantize", "random", "reduce", "resize", "rnn", "sampling", "sequence",
    "signal", "text",
]  # fmt: skip
