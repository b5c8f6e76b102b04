"""How far float results may lie from what is expected: one table for every suite, by family and dtype.

It holds for the NumPy evaluator against independent references and for every compiled target against the evaluator. Integers
and bools are compared exactly everywhere. A target that needs more is wrong, or the family is: split it.
"""

from __future__ import annotations

# family → dtype → (relative, absolute)
TOLERANCE: dict[str, dict[str, tuple[float, float]]] = {
    "exact": {"float16": (0, 0), "float32": (0, 0), "float64": (0, 0)},
    "arithmetic": {"float16": (1e-3, 1e-3), "float32": (2e-6, 1e-6), "float64": (1e-13, 1e-13)},
    "transcendental": {"float16": (2e-3, 1e-3), "float32": (4e-6, 2e-6), "float64": (1e-12, 1e-12)},
    "sums": {"float16": (5e-3, 5e-3), "float32": (2e-5, 2e-5), "float64": (1e-11, 1e-11)},
}
