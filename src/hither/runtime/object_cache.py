"""What hither has made, on disk: objects compile once per machine and not once per process.

A key covers everything that the bytes depend on. Files are private (what is read here is executed), written atomically,
checked by hash when read, and bounded in total size: the least recently used go first. HITHER_CACHE=off turns all of it off.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import stat
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

_DIGEST = hashlib.sha256
_DIGEST_BYTES = 32
DEFAULT_LIMIT = 256 << 20
_log = logging.getLogger("hither.cache")


def caching() -> bool:
    """Whether anything is kept on disk, and looked for there: unless HITHER_CACHE is "off"."""
    return os.environ.get("HITHER_CACHE", "on").strip().lower() not in ("off", "0", "no", "false")


def cache_directory() -> Path:
    """Where hither keeps what it can make again: HITHER_CACHE_DIR, else the platform's place for caches."""
    chosen = os.environ.get("HITHER_CACHE_DIR")
    if chosen:
        return Path(chosen).expanduser()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "hither" / "Cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "hither"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hither"


class ObjectCache:
    """A directory of objects by key.

    Args:
        directory: made (mode 0700) when first written to.
        limit: bytes of all objects together. One that would take more than half of them is not kept.
        suffix: of the files.
    """

    def __init__(self, directory: Path, limit: int = DEFAULT_LIMIT, suffix: str = ".o") -> None:
        self.directory, self.limit, self.suffix = directory, limit, suffix
        self._usable: bool | None = None

    @staticmethod
    def key(*parts: str) -> str:
        """The key of an object made from these texts; where one ends and the next begins counts."""
        digest = _DIGEST()
        for part in parts:
            data = part.encode()
            digest.update(len(data).to_bytes(8, "little"))
            digest.update(data)
        return digest.hexdigest()

    def get(self, key: str) -> bytes | None:
        """The object, or None if it is not there or not what was written; a damaged file is removed."""
        found: bytearray | None = self.read(key, bytearray)
        return None if found is None else bytes(found)

    def read(self, key: str, allocate: Callable[[int], Any]) -> Any:
        """What `get` gives, in the memory of so many bytes that `allocate` returns."""
        if not self._open():
            return None
        path = self._path(key)
        try:
            with open(path, "rb") as file:
                digest = file.read(_DIGEST_BYTES)
                data = allocate(max(os.fstat(file.fileno()).st_size - _DIGEST_BYTES, 0))
                file.readinto(data)
        except FileNotFoundError:
            return None
        if _DIGEST(data).digest() != digest:
            _log.debug("%s is damaged; what was in it is made again", path)
            with contextlib.suppress(OSError):  # Windows keeps open files
                path.unlink(missing_ok=True)
            return None
        with contextlib.suppress(FileNotFoundError):  # another process may have just evicted it
            os.utime(path)
        return data

    def has(self, key: str) -> bool:
        """Whether there is an object of this key, which counts as a use. Only reading it tells whether it is whole."""
        try:
            os.utime(self._path(key))
        except OSError:
            return False
        return self._open()

    def put(self, key: str, data: Any) -> None:
        """Keep an object: bytes, or anything with a buffer of them. Readers see all of it or nothing."""
        if not self._open():
            return
        nbytes = memoryview(data).nbytes
        if nbytes > self.limit // 2:
            _log.debug("%d bytes are too many to be kept in %s", nbytes, self.directory)
            return
        try:
            handle, temporary = tempfile.mkstemp(dir=self.directory, suffix=".tmp")
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(_DIGEST(data).digest())
                    file.write(data)
                os.replace(temporary, self._path(key))
            except BaseException:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(temporary)
                raise
        except OSError as error:  # a full disk must not stop a program that has its code
            warnings.warn(f"hither: could not keep what was compiled in {self.directory}: {error}", stacklevel=2)
            return
        self._evict()

    def _path(self, key: str) -> Path:
        return self.directory / f"{key}{self.suffix}"

    def _open(self) -> bool:
        """Make the directory, and refuse one that others could write to; said once."""
        if not caching():
            return False
        if self._usable is None:
            reason = self._objection()
            self._usable = reason is None
            if reason is not None:
                warnings.warn(
                    f"hither: compiled code is not cached: {self.directory} {reason}; "
                    "set HITHER_CACHE_DIR to a private directory",
                    stacklevel=3,
                )
        return self._usable

    def _objection(self) -> str | None:
        try:
            self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            status = self.directory.stat()
        except OSError as error:
            return f"cannot be made ({error.strerror})"
        if not os.access(self.directory, os.W_OK | os.X_OK):
            return "is not writable"
        if os.name == "posix":
            if status.st_uid != os.getuid():
                return "belongs to another user"
            if stat.S_IMODE(status.st_mode) & 0o022:
                return "can be written by other users"
        return None

    def _evict(self) -> None:
        files = []
        for entry in os.scandir(self.directory):
            if entry.name.endswith((self.suffix, ".tmp")):  # a process that was killed leaves the latter
                with contextlib.suppress(FileNotFoundError):
                    status = entry.stat()
                    files.append((status.st_mtime, status.st_size, entry.path))
        total = sum(size for _, size, _ in files)
        for _, size, path in sorted(files):
            if total <= self.limit:
                break
            with contextlib.suppress(OSError):  # Windows keeps open files
                os.unlink(path)
            total -= size
