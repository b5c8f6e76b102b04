"""Keras 3 as a reference: its NumPy backend, which computes at once and on the CPU.

Import `keras` from here: the backend is chosen when Keras is first imported. A process of its own that needs gradients sets
HITHER_TEST_KERAS=jax.
"""

from __future__ import annotations

import os

os.environ["KERAS_BACKEND"] = os.environ.get("HITHER_TEST_KERAS", "numpy")

import keras

__all__ = ["keras"]
