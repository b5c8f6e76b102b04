"""Which hither is running: the part of a cache's keys that stands for everything that hither's code decides.

A developer who edits a file must never meet what the old one made. So the digest is of the sources' contents, and there is
none, and nothing is cached, where the code in memory may not be the code on disk.
"""

from __future__ import annotations

import functools
import hashlib
import logging
import os
import platform
import sys
from pathlib import Path

import numpy as np

from .object_cache import caching

_ROOT = Path(__file__).resolve().parent.parent
_log = logging.getLogger("hither.cache")


def source_digest() -> str | None:
    """Digest of hither's sources as they are now, with the versions of Python and NumPy, whose results are folded into
    programs; None if they changed after this process imported hither, or cannot be read."""
    digest = hashlib.sha256(f"{sys.version} {platform.machine()} NumPy {np.__version__}".encode())
    imported: float = sys.modules[__package__.partition(".")[0]]._IMPORTED
    try:
        for folder, folders, files in os.walk(_ROOT):
            folders.sort()
            for name in sorted(files):
                if name.endswith(".py"):
                    with open(os.path.join(folder, name), "rb") as file:
                        if os.fstat(file.fileno()).st_mtime > imported:
                            _log.debug("%s changed while hither was running: nothing is cached", file.name)
                            return None
                        content = file.read()
                    digest.update(f"{folder} {name} {len(content)} ".encode() + content)
    except OSError as error:
        _log.debug("hither's sources cannot be read, nothing is cached: %s", error)
        return None
    return digest.hexdigest()


@functools.cache
def _digest_at_first() -> str | None:
    return source_digest()


def code_identity() -> str | None:
    """What stands for this hither in the keys of caches, None where nothing is to be cached."""
    return _digest_at_first() if caching() else None


def is_unchanged() -> bool:
    """Whether the sources are still those of code_identity(): modules imported since then are of the same hither."""
    return code_identity() is not None and source_digest() == code_identity()
