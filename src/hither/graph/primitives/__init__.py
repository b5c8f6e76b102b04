"""The core operations, one file per family. Importing this package fills `hither.graph.primitive.REGISTRY`.

Everything else in hither is a composition of these; see the Primitive record for what each of them declares.
"""

from __future__ import annotations

from . import (
    call,
    codes,
    control,
    conv,
    conv_gradients,
    dynamic,
    elementwise,
    gather,
    linalg,
    reduce,
    rounding,
    scatter,
    shape,
    sort,
)
from .rules import apply, counter, full, scalar
from .shape import REPEAT

__all__ = [
    "REPEAT", "apply", "call", "codes", "control", "conv", "conv_gradients", "counter", "dynamic", "elementwise", "full",
    "gather", "linalg", "reduce", "rounding", "scalar", "scatter", "shape", "sort",
]  # fmt: skip
