"""Opening an ONNX file: a file that this computer has read before is not read again until its network is needed.

What it looks like from outside (inputs, outputs, metadata) is kept on disk under the hash of its content, so that a program
that is kept too runs without the onnx package being loaded. The model's identity covers the file and the external data.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import InvalidModel, LimitExceeded
from ...model import Model
from ...runtime.object_cache import ObjectCache, cache_directory
from ...runtime.provenance import code_identity, is_unchanged
from ...spec import Spec
from .external import ExternalData

if TYPE_CHECKING:
    from .reader import Network

MAX_FILE_BYTES = (1 << 31) - 1  # protobuf's own limit
CACHE_LIMIT = 16 << 20


def load(path: str | os.PathLike[str], *, device: str | None = None, precision: str | None = None) -> Model:
    """Read an ONNX file; tensor data kept in other files must lie in the same directory.

    Raises:
        InvalidModel: if the file is malformed or too large.
        UnsupportedOperators: if it uses operators that hither does not have.
    """
    where = Path(path).absolute()
    data, reader = _content(where), _reader_identity()
    digest = None if reader is None else hashlib.sha256(data).hexdigest()
    if reader is not None and digest is not None:
        known = _known(ObjectCache.key(reader, digest), where.parent)
        if known is not None:
            identity = _identity(digest, known["external"])
            later = _Later(where, identity)
            inputs, outputs = ({n: Spec(*s) for n, s in known[which].items()} for which in ("inputs", "outputs"))
            model = Model(
                later.build, inputs, outputs, metadata=known["metadata"], name=where.name, device=device, precision=precision
            )
            model.weights, model.identity = _Weights(later), identity
            return model
    from .reader import read

    external = ExternalData(where.parent)
    network = read(data, external, where.name)
    model = network.model(where.name, device, precision)
    digests = external.digests() if digest is not None else None
    if reader is not None and digest is not None and digests is not None:
        model.identity = _identity(digest, digests)
        if is_unchanged():
            _cache_at(cache_directory() / "models").put(ObjectCache.key(reader, digest), _plain(model, digests))
    return model


def _content(where: Path) -> bytes:
    size = where.stat().st_size
    if size > MAX_FILE_BYTES:
        raise LimitExceeded(
            f"{where.name} has {size} bytes; an ONNX file has at most {MAX_FILE_BYTES}: save the weights as external data"
        )
    return where.read_bytes()


def _identity(digest: str, external: Mapping[str, str]) -> str:
    """What stands for the network in a file: a change of any byte that it is read from changes it."""
    return f"ONNX {_reader_identity()} {digest} {sorted(external.items())}"


@functools.cache
def _onnx_package() -> str | None:
    """Which onnx package there is, found without loading it: its operators' definitions are part of what a file means."""
    found = importlib.util.find_spec("onnx")
    if found is None or found.origin is None:
        return None
    try:
        status = os.stat(found.origin)
        version = (Path(found.origin).parent / "version.py").read_text(encoding="utf-8")
    except OSError:
        return None
    return f"{found.origin} {status.st_mtime_ns} {status.st_size} {version}"


def _reader_identity() -> str | None:
    """What stands for this reader of ONNX files; None where nothing is to be kept."""
    code, package = code_identity(), _onnx_package()
    return None if code is None or package is None else hashlib.sha256(f"{code} {package}".encode()).hexdigest()


@functools.cache
def _cache_at(directory: Path) -> ObjectCache:
    return ObjectCache(directory, CACHE_LIMIT, ".model")


def _plain(model: Model, external: Mapping[str, str]) -> bytes:
    specs = {
        which: {n: (s.shape, s.dtype.name) for n, s in ports.items()}
        for which, ports in (("inputs", model.inputs), ("outputs", model.outputs))
    }
    return json.dumps({**specs, "metadata": model.metadata, "external": external}).encode()


def _known(key: str, directory: Path) -> Any:
    """What is known of the file of this key, if the external data is what it was."""
    content = _cache_at(cache_directory() / "models").get(key)
    if content is None:
        return None
    known, external = json.loads(content), ExternalData(directory)
    try:
        unchanged = all(external.digest(location) == digest for location, digest in known["external"].items())
    except (InvalidModel, OSError):
        return None  # reading the file says what is wrong with it
    return known if unchanged else None


class _Later:
    """The network of a file, read when it is first used."""

    def __init__(self, where: Path, identity: str) -> None:
        self.where, self.identity = where, identity

    @functools.cached_property
    def network(self) -> Network:
        from .reader import read

        data, external = _content(self.where), ExternalData(self.where.parent)
        network = read(data, external, self.where.name)
        digests = external.digests()
        if digests is None or _identity(hashlib.sha256(data).hexdigest(), digests) != self.identity:
            raise InvalidModel(f"{self.where} has changed since it was loaded; load it again")
        return network

    def build(self, arrays: Mapping[str, Any]) -> Mapping[str, Any]:
        return self.network.build(arrays)


class _Weights(Mapping[str, np.ndarray]):
    """The weights by name, read when one is first asked for."""

    def __init__(self, later: _Later) -> None:
        self._later = later

    def __getitem__(self, name: str) -> np.ndarray:
        return self._later.network.weights[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._later.network.weights)

    def __len__(self) -> int:
        return len(self._later.network.weights)
