"""Keras 3 on its NumPy backend: the reference for layers, optimizers, losses and metrics. Never imported by hither."""

from __future__ import annotations

import os

os.environ["KERAS_BACKEND"] = "numpy"

import keras

__all__ = ["keras"]
