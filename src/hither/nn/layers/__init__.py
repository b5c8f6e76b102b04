"""Layers, by theme. Each file registers its classes for files to name; `hither.nn` shows them all."""

from .core import Activation, Dense, Dropout, Flatten

__all__ = ["Activation", "Dense", "Dropout", "Flatten"]
