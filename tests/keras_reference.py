"""Keras 3 as a reference: its NumPy backend, which computes at once and on the CPU.

Import `keras` from here: the backend is chosen when Keras is first imported.
"""

from __future__ import annotations

import os

os.environ["KERAS_BACKEND"] = "numpy"

import keras

__all__ = ["keras"]
