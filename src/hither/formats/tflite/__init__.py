"""TensorFlow Lite: a .tflite file, or one inside a task bundle or packed assets, becomes a Model.

One function per operator, by theme, in the folder operators.
"""

from __future__ import annotations

from .file import load, load_bytes

__all__ = ["load", "load_bytes"]
