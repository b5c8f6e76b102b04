"""ONNX: a model file becomes a Model, one function per operator in operators/; and a Model a file, one rule per primitive in
export/."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .file import load

if TYPE_CHECKING:
    from .export import save
    from .reader import load_bytes


def __getattr__(name: str) -> Any:
    if name == "load_bytes":
        from .reader import load_bytes  # with all operators: a file that is known needs none of them

        return load_bytes
    if name == "save":
        from .export import save

        return save
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = ["load", "load_bytes", "save"]
