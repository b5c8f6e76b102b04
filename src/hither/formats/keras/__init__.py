"""Keras: networks and weights in `.keras`, `.h5` and `.weights.h5` files, those of Keras 3 and of Keras 2."""

from __future__ import annotations

from .file import load
from .writer import write as save

__all__ = ["load", "save"]
