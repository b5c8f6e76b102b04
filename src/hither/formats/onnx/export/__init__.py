"""ONNX out: a Model, a network or a function becomes an ONNX file. One rule per primitive, in rules_*.py."""

from __future__ import annotations

from .writer import export, save

__all__ = ["export", "save"]
