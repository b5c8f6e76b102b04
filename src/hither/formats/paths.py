"""Paths that model files name: they are untrusted, and must lie in the model's own folder, also when links are followed."""

from __future__ import annotations

from pathlib import Path, PurePosixPath, PureWindowsPath

from ..errors import InvalidModel


def inside(path: str, what: str) -> str:
    """A relative path that does not lead out of its folder, as it is.

    Args:
        what: what the path is of, for messages ("shard").

    Raises:
        InvalidModel: for absolute paths, drives, addresses, "..", and the empty path.
    """
    parts = [*PurePosixPath(path).parts, *PureWindowsPath(path).parts]
    absolute = PurePosixPath(path).is_absolute() or PureWindowsPath(path).drive or path.startswith("\\")
    if not path or "\0" in path or absolute or ".." in parts or "://" in path:
        raise InvalidModel(f"{what} {path!r} must be a path inside the model's directory")
    return path


def file_inside(directory: Path, path: str, what: str) -> Path:
    """The file of such a path in a directory, whose own path is resolved.

    Raises:
        InvalidModel: also if a link leads out of the directory, or there is no such file.
    """
    found = (directory / inside(path, what)).resolve()
    if not found.is_relative_to(directory):
        raise InvalidModel(f"{what} {path!r} leads out of the model's directory")
    if not found.is_file():
        raise InvalidModel(f"{what} {path!r} is missing from {directory}")
    return found
