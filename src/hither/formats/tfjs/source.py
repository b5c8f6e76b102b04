"""Where a TF.js model's files are: a folder, or a web address. Both are untrusted.

A model is one JSON file and the shards it names. Locally, shards lie in the JSON file's folder or below it, also after symbolic
links are followed; on the web, below the address of the JSON file, on the same server.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from ...errors import InvalidModel, LimitExceeded
from ..paths import file_inside, inside

MAX_JSON_BYTES = 1 << 28
TIMEOUT_SECONDS = 60
_CHUNK = 1 << 20


def is_url(where: Any) -> bool:
    """Whether this is an http(s) address rather than a path."""
    return isinstance(where, str) and re.match(r"https?://", where, re.IGNORECASE) is not None


class Folder:
    """A model in local files."""

    def __init__(self, file: Path) -> None:
        self.file, self.name = file, file.name
        self.directory = file.parent.resolve()

    def document(self) -> bytes:
        """The JSON file's bytes."""
        size = self.file.stat().st_size
        if size > MAX_JSON_BYTES:
            raise LimitExceeded(f"{self.name} has {size} bytes; the JSON of a TF.js model has at most {MAX_JSON_BYTES}")
        return self.file.read_bytes()

    def fetch(self, path: str, most: int) -> bytes:
        """A shard's bytes, of which `most` count."""
        place = file_inside(self.directory, path, "shard")
        with open(place, "rb") as file:
            return file.read(most + 1)


class Web:
    """A model on a web server. The query of the address (a token, say) goes with every request."""

    def __init__(self, url: str) -> None:
        parts = urllib.parse.urlsplit(url)
        if parts.scheme.lower() not in ("http", "https") or not parts.hostname:
            raise InvalidModel(f"{url!r} is no http(s) address")
        if parts.path.endswith("/") or not parts.path:
            parts = parts._replace(path=f"{parts.path.rstrip('/')}/model.json")
        self.parts = parts._replace(fragment="")
        self.name = PurePosixPath(parts.path).name

    def document(self) -> bytes:
        """The JSON file's bytes."""
        data = self._download(self.parts.geturl(), MAX_JSON_BYTES)
        if len(data) > MAX_JSON_BYTES:
            raise LimitExceeded(f"{self.name} is too long; the JSON of a TF.js model has at most {MAX_JSON_BYTES} bytes")
        return data

    def fetch(self, path: str, most: int) -> bytes:
        """A shard's bytes, of which `most` count."""
        folder = self.parts.path.rpartition("/")[0]
        return self._download(self.parts._replace(path=f"{folder}/{urllib.parse.quote(inside(path, 'shard'))}").geturl(), most)

    def _download(self, url: str, most: int) -> bytes:
        """At most `most` + 1 bytes."""
        request = urllib.request.Request(url, headers={"User-Agent": "hither", "Accept-Encoding": "identity"})
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as response:
                data = bytearray()
                while len(data) <= most and (chunk := response.read(min(_CHUNK, most + 1 - len(data)))):
                    data += chunk
                promised = response.headers.get("Content-Length")
        except (OSError, http.client.HTTPException, ValueError) as error:  # URLError is an OSError
            raise InvalidModel(f"could not fetch {url}: {error}") from error
        if promised is not None and promised.isdigit() and len(data) < min(int(promised), most + 1):
            raise InvalidModel(f"{url} ended after {len(data)} of {promised} bytes")
        return bytes(data)


Source = Folder | Web


def parse_any(data: bytes, name: str) -> Any:
    """The JSON in these bytes; InvalidModel if they hold none."""
    try:
        return json.loads(data)
    except RecursionError as error:
        raise LimitExceeded(f"{name}: its JSON is nested too deep") from error
    except ValueError as error:
        raise InvalidModel(f"{name} is no JSON, or is damaged or cut short: {error}") from error


def parse(data: bytes, name: str) -> Mapping[str, Any]:
    """The JSON object in these bytes; InvalidModel if they hold none."""
    document = parse_any(data, name)
    if not isinstance(document, dict):
        raise InvalidModel(f"{name} must hold a JSON object, got {type(document).__name__}")
    return document


def source_of(where: str | os.PathLike[str]) -> Source:
    """The files of a model: `where` is its JSON file, the folder with its model.json, or the address of either."""
    if is_url(where):
        return Web(str(where))
    path = Path(where).absolute()
    return Folder(path / "model.json" if path.is_dir() else path)


def kind(document: Any) -> str | None:
    """ "graph-model" or "layers-model" (what the file says, or what its topology looks like), "weights" for a weight manifest
    without a network, None for other JSON."""
    if isinstance(document, list):
        return "weights" if document and all(isinstance(group, dict) and "paths" in group for group in document) else None
    if not isinstance(document, dict):
        return None
    said, topology = document.get("format"), document.get("modelTopology")
    if said in ("graph-model", "tfjs-graph-model"):
        return "graph-model"
    if said in ("layers-model", "tfjs-layers-model"):
        return "layers-model"
    if not isinstance(topology, dict):
        return "weights" if isinstance(document.get("weightsManifest"), list) else None
    return "graph-model" if isinstance(topology.get("node"), list) else "layers-model"
