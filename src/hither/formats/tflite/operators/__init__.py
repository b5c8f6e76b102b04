"""One function per TensorFlow Lite operator, by theme; importing this package fills the registry."""

from . import (  # noqa: F401
    activation,
    arithmetic,
    control,
    custom,
    dynamic,
    indexing,
    logic,
    movement,
    nn,
    pool,
    quantize,
    recurrent,
    reduce,
    resize,
    signal,
)
