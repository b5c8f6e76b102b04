"""Reading models: `load` finds out which format a file is in and hands it to that format's reader.

Each format is a folder with a `load(path, …)` of its own. The formats' packages are imported when a file needs them.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from ..errors import InvalidModel
from ..model import Model


@dataclass(frozen=True)
class Format:
    """A model format: the module that reads it, and how its files are told from others.

    `matches(path, head)` is given the path and the file's first bytes (empty for a folder).
    """

    name: str
    module: str
    matches: Callable[[Path, bytes], bool]


FORMATS: list[Format] = []


def register(name: str, module: str, matches: Callable[[Path, bytes], bool]) -> None:
    """Make `load` try a format; `module` has a `load(path, device=, precision=, **options)`."""
    FORMATS.append(Format(name, module, matches))


def _is_onnx(path: Path, head: bytes) -> bool:
    # A ModelProto starts with its ir_version (field 1) in every file that an exporter wrote; the suffix decides otherwise.
    return path.suffix.lower() == ".onnx" or (
        len(head) > 4 and head[0] == 0x08 and head[1] < 0x20 and head[2] in (0x12, 0x3A, 0x42)
    )


def _is_bundle(path: Path, head: bytes) -> bool:
    return (path / "manifest.json").is_file() or (path.name == "manifest.json" and b'"hither-bundle"' in head)


register("ONNX", "hither.formats.onnx", _is_onnx)
register("hither", "hither.web.load", _is_bundle)  # by name: a bundle is read where it is written, in a room below this one


def load(
    path: str | os.PathLike[str],
    *,
    device: str | None = None,
    precision: str | None = None,
    format: str | None = None,
    **options: Any,
) -> Model:
    """Read a model file or folder.

    Args:
        path: the file or folder; the folder of a bundle gives a Model that runs the bundle's WebAssembly.
        device: what the model runs on when it is called ("cpu", "webgpu", "wasm", "numpy"); None is the default device.
        precision: what it computes in; None is float32.
        format: the format's name, where the file does not tell.
        **options: passed to the format's reader.

    Raises:
        FileNotFoundError: if there is no such file.
        InvalidModel: if the file is malformed, or in no format that hither reads.
        UnsupportedOperators: if the network uses operators that hither does not have; names all of them.

    Example:
        >>> model = hither.load("model.onnx", device="cpu")     # doctest: +SKIP
    """
    where = Path(path)
    if not where.exists():
        raise FileNotFoundError(f"no model at {str(where)!r}")
    head = b""
    if where.is_file():
        with open(where, "rb") as file:
            head = file.read(64)
    known = ", ".join(f.name for f in FORMATS)
    for candidate in FORMATS:
        if (format.lower() == candidate.name.lower()) if format else candidate.matches(where, head):
            reader = import_module(candidate.module)
            return reader.load(where, device=device, precision=precision, **options)
    if format:
        raise InvalidModel(f"hither does not know the format {format!r}; it reads {known}")
    raise InvalidModel(f"{str(where)!r} is in no format that hither reads ({known}); pass format= if its name hides it")
