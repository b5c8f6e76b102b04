"""ONNX: a model file becomes a Model. One function per ONNX operator, by theme, in the other files of this folder."""

from __future__ import annotations

from .reader import load, load_bytes

__all__ = ["load", "load_bytes"]
