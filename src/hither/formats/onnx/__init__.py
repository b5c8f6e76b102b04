"""ONNX: a model file becomes a Model. One function per ONNX operator, by theme, in the other files of this folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .file import load

if TYPE_CHECKING:
    from .reader import load_bytes


def __getattr__(name: str) -> Any:
    if name != "load_bytes":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .reader import load_bytes  # with all operators: a file that is known needs none of them

    return load_bytes


__all__ = ["load", "load_bytes"]
