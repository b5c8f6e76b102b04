"""Keras: networks and weights in `.keras`, `.h5` and `.weights.h5` files, those of Keras 3 and of Keras 2."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from .file import load


def save(target: Any, path: str | os.PathLike[str], specs: Mapping[str, Any] | None = None) -> None:
    """Write a network as `.keras`, or its weights as `.weights.h5`: see `writer.write`."""
    from .writer import write  # with h5py, which reading does without

    write(target, path, specs)


__all__ = ["load", "save"]
