"""Rows of the op table: functions of whole pictures, and random numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import hither as ht

from . import references as ref
from .op_case import Operand, Table

A = Operand
TABLE = Table()
op = TABLE.op

# -- pictures ----------------------------------------------------------------------------------------------------------------

op(
    "flip_left_right",
    lambda x: ht.flip_left_right(x, layout="channels_last"),
    lambda x: x[..., ::-1, :],
    A((2, 3, 4, 2)),
    dtypes=("float32", "int64"),
    gradient=True,
    tolerance="exact",
)
op(
    "flip_up_down",
    ht.flip_up_down,
    lambda x: x[..., ::-1, :],
    A((2, 3, 4, 2)),
    dtypes=("float32", "int64"),
    gradient=True,
    tolerance="exact",
)
op(
    "grayscale_to_rgb",
    ht.grayscale_to_rgb,
    lambda x: np.repeat(x, 3, 1),
    A((2, 1, 3, 4)),
    dtypes=("float32", "int64"),
    gradient=True,
    tolerance="exact",
)
op(
    "rgb_to_grayscale", ht.rgb_to_grayscale,
    lambda x: (x * np.reshape([0.2989, 0.587, 0.114], (3, 1, 1))).sum(1, keepdims=True), A((2, 3, 4, 5)),
    dtypes=("float32", "float16"), gradient=True, tolerance="sums",
)  # fmt: skip
op(
    "rotate",
    lambda x: ht.rotate(x, 0.7, fill=9.0),
    lambda x: ref.rotate(x, 0.7, (0.5, 0.5), 9.0),
    A((1, 2, 6, 7)),
    dtypes=("float32",),
    gradient=True,
)
op(
    "rotate_about", lambda x: ht.rotate(x, -2.5, center=(0.2, 0.7), layout="channels_last"),
    lambda x: np.moveaxis(ref.rotate(np.moveaxis(x, 3, 1), -2.5, (0.2, 0.7), 0.0), 1, 3), A((2, 5, 6, 3)), dtypes=("float32",),
)  # fmt: skip
op(
    "threshold",
    lambda x: ht.threshold(x, 0.25),
    lambda x: np.where(x > 0.25 * 255, 255, 0),
    A((1, 6, 7), 0, 256),
    dtypes=("int32",),
)
op(
    "threshold_otsu", lambda x: ht.threshold(x, method="otsu", inverted=True), lambda x: np.where(x > ref.otsu(x), 0, 255),
    A((1, 8, 9), 0, 256), dtypes=("int32",),
)  # fmt: skip

# -- random numbers: the distributions are tested in test_random; here, that targets agree -------------------------------------

KEY = A((2,), dtype="uint32", values=[7, 20])


def alike(name: str, function: Callable[..., Any], tolerance: str = "sums") -> None:
    """A row whose reference is the evaluator itself."""
    op(
        name, function, lambda k: np.asarray(function(ht.asarray(k.astype(np.uint32))).numpy()), KEY, dtypes=("float32",),
        tolerance=tolerance,
    )  # fmt: skip


RATES = np.array([0.5, 4.0, 9.0, 30.0], np.float32)
alike("random_exponential", lambda k: ht.random.exponential(k, (9,), scale=2.0))
alike("random_laplace", lambda k: ht.random.laplace(k, (9,), mean=1.0))
alike("random_gamma", lambda k: ht.random.gamma(k, RATES, (5, 4)))
alike("random_beta", lambda k: ht.random.beta(k, RATES, 2.0))
alike("random_poisson", lambda k: ht.random.poisson(k, RATES, (5, 4)))
alike("random_multinomial", lambda k: ht.random.multinomial(k, np.log(RATES), 6))
