"""Keras: networks and weights in `.keras`, `.h5` and `.weights.h5` files, those of Keras 3 and of Keras 2."""

from .file import load

__all__ = ["load"]
