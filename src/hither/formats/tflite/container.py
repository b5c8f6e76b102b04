"""Finds TensorFlow Lite models inside other files: task bundles (zip archives) and packed assets.

Packed assets are files laid end to end, as Emscripten's file packager makes them; where each begins is in the JavaScript beside
them, not in the file. A model is found by its identifier, and said to end where its flatbuffer does or the next model begins.
"""

from __future__ import annotations

import json
import re
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

from ...errors import HitherError, InvalidModel, LimitExceeded

IDENTIFIER = b"TFL3"
MAX_BYTES = 1 << 31
MAX_MEMBERS = 1000


def model_bytes(path: Path, member: str | None) -> tuple[bytes, str]:
    """The bytes of a model and its name: of the file itself, or of the member of it that is asked for.

    Raises:
        InvalidModel: there is no model, no such member, or several and none is named; lists them.
    """
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise LimitExceeded(f"{path.name} has {size} bytes; hither reads at most {MAX_BYTES}")
    data = path.read_bytes()
    if data[4:8] == IDENTIFIER and member is None and not _is_packed(path):
        return data, path.name
    found = members(path, data)
    if member is None:
        if len(found) != 1:
            raise InvalidModel(
                f"{path.name} holds {len(found) or 'no'} TensorFlow Lite models"
                + (
                    f", {', '.join(map(repr, found))}: choose one, as in load(path, member={next(iter(found))!r})"
                    if found
                    else ""
                )
            )
        member = next(iter(found))
    chosen = found.get(member)
    if chosen is None:
        raise InvalidModel(f"{path.name} has no member {member!r}; its models are {', '.join(map(repr, found)) or 'none'}")
    return chosen, f"{path.name}:{member}"


def members(path: Path, data: bytes) -> Mapping[str, bytes]:
    """{name: bytes} of all models in a file that is no model itself."""
    return _zip_members(path) if data[:4] == b"PK\x03\x04" else _packed_members(path, data)


def _is_packed(path: Path) -> bool:
    return path.suffix.lower() == ".data"


def _zip_members(path: Path) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    total = 0
    try:
        with zipfile.ZipFile(path) as archive:
            for entry in archive.infolist()[:MAX_MEMBERS]:
                with archive.open(entry) as file:
                    head = file.read(8)
                    if head[4:8] != IDENTIFIER:
                        continue
                    total += entry.file_size
                    if total > MAX_BYTES:
                        raise LimitExceeded(f"{path.name}: its models take more than {MAX_BYTES} bytes")
                    found[entry.filename] = head + file.read(entry.file_size)
    except HitherError:
        raise
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError, OSError, ValueError) as error:
        raise InvalidModel(f"{path.name} is a damaged zip archive: {error}") from error
    return found


def _packed_members(path: Path, data: bytes) -> dict[str, bytes]:
    starts: list[int] = []
    at = data.find(IDENTIFIER, 4)
    while at >= 0 and len(starts) < MAX_MEMBERS:
        # The identifier follows the offset of the root table, which is small: the table is written last, at the front.
        if int.from_bytes(data[at - 4 : at], "little") < 1 << 16:
            starts.append(at - 4)
        at = data.find(IDENTIFIER, at + 4)
    names = _listed(path, len(data))
    found: dict[str, bytes] = {}
    for start, end in zip(starts, [*starts[1:], len(data)]):
        name, stop = names.get(start, (f"model at {start}", end))
        found[name if name not in found else f"{name} at {start}"] = data[start:stop]
    return found


def _listed(path: Path, size: int) -> dict[int, tuple[str, int]]:
    """{start: (file name, end)} by the loader script beside packed assets, where there is one."""
    script = path.with_name(f"{path.stem}_loader.js")
    if not script.is_file() or script.stat().st_size > 1 << 22:
        return {}
    text = script.read_text(encoding="utf-8", errors="replace")
    found: dict[int, tuple[str, int]] = {}
    for match in re.finditer(r'\{"filename": *("[^"\\]*"), *"start": *(\d+), *"end": *(\d+)', text):
        start, end = int(match[2]), int(match[3])
        if 0 <= start < end <= size:
            found[start] = (json.loads(match[1]).rsplit("/", 1)[-1], end)
    return found
