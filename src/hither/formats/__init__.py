"""Model files in and out: `load` finds out which format a file is in, `save` takes it from the name to write.

Each format is a folder or file with a `load(path, …)`, a `save(target, path, specs, …)`, or both. The formats' packages are
imported when a file needs them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from ..errors import InvalidModel, UnsupportedFeature
from ..model import Model


@dataclass(frozen=True)
class Format:
    """A model format: the module that reads and writes it, and how its files are told from others.

    `matches(path, head)` is given the path and the file's first bytes (empty for a folder). `writes` are the endings of names
    that mean this format when a file is written, `for_shapes` says that it holds a graph for shapes that are chosen then.
    """

    name: str
    module: str
    matches: Callable[[Path, bytes], bool]
    writes: tuple[str, ...]
    for_shapes: bool = False


FORMATS: list[Format] = []


def register(
    name: str, module: str, matches: Callable[[Path, bytes], bool], writes: tuple[str, ...] = (), for_shapes: bool = False
) -> None:
    """Make `load` try a format; `module` has a `load(path, device=, precision=, **options)`, and a `save(target, path, specs,
    **options)` if the format `writes` files whose names end so."""
    FORMATS.append(Format(name, module, matches, writes, for_shapes))


def _is_onnx(path: Path, head: bytes) -> bool:
    # A ModelProto starts with its ir_version (field 1) in every file that an exporter wrote; the suffix decides otherwise.
    return path.suffix.lower() == ".onnx" or (
        len(head) > 4 and head[0] == 0x08 and head[1] < 0x20 and head[2] in (0x12, 0x3A, 0x42)
    )


def _is_tflite(path: Path, head: bytes) -> bool:
    # A task bundle is a zip archive; packed assets have nothing of their own at the start.
    names = (".tflite", ".lite", ".task", ".binarypb", "_assets.data")
    return head[4:8] == b"TFL3" or path.name.lower().endswith(names)


def _is_bundle(path: Path, head: bytes) -> bool:
    return (path / "manifest.json").is_file() or (path.name == "manifest.json" and b'"hither-bundle"' in head)


def _is_safetensors(path: Path, head: bytes) -> bool:
    return path.suffix.lower() == ".safetensors" or head[8:10] == b'{"'  # a length of eight bytes, then JSON


def _is_keras(path: Path, head: bytes) -> bool:
    return head.startswith(b"\x89HDF\r\n\x1a\n") or path.suffix.lower() in (".keras", ".h5", ".hdf5")


def _is_tfjs(path: Path, head: bytes) -> bool:
    file = path / "model.json" if path.is_dir() else path
    if not file.is_file() or (head and head.lstrip()[:1] not in (b"{", b"[")) or file.suffix.lower() != ".json":
        return False
    from .tfjs.source import Folder, kind, parse_any

    return kind(parse_any(Folder(file).document(), file.name)) is not None


register("ONNX", "hither.formats.onnx", _is_onnx, (".onnx",), for_shapes=True)
register("safetensors", "hither.formats.safetensors", _is_safetensors, (".safetensors",))
register("TFLite", "hither.formats.tflite", _is_tflite)
register("Keras", "hither.formats.keras", _is_keras, (".keras", ".weights.h5"))
register("hither", "hither.web.load", _is_bundle)  # by name: a bundle is read where it is written, in a room below this one
register("TF.js", "hither.formats.tfjs", _is_tfjs, ("model.json",))


def _is_url(path: str | os.PathLike[str]) -> bool:
    return isinstance(path, str) and path.lower().startswith(("http://", "https://"))


def load(
    path: str | os.PathLike[str],
    *,
    device: str | None = None,
    precision: str | None = None,
    activations: str | None = None,
    format: str | None = None,
    **options: Any,
) -> Model:
    """Read a model file or folder.

    Args:
        path: the file or folder; the folder of a bundle gives a Model that runs the bundle's WebAssembly. For TF.js models
            also the http(s) address of a model.json: it and its weights are then fetched from there.
        device: what the model runs on when it is called ("cpu", "webgpu", "wasm", "numpy"); None is the default device.
        precision: what its weights are stored in when it is called; None is float32. See `hither.compile`. Of a bundle, one of
            those that it holds; None is its first choice.
        activations: what is stored between kernels ("float16"), or multiplied ("int8"); None is float32. See `hither.compile`
            for what that does to NaN (bytes) and beyond 65504 (float16).
        format: the format's name, where the file does not tell.
        **options: passed to the format's reader.

    Raises:
        FileNotFoundError: if there is no such file.
        InvalidModel: if the file is malformed, or in no format that hither reads.
        UnsupportedOperators: if the network uses operators that hither does not have; names all of them.

    Example:
        >>> model = hither.load("model.onnx", device="cpu")     # doctest: +SKIP
    """
    model = _load(path, device, precision, format, options)
    return model if activations is None else model.to(activations=activations)


def _load(
    path: str | os.PathLike[str], device: str | None, precision: str | None, format: str | None, options: Mapping[str, Any]
) -> Model:
    if _is_url(path):
        from . import tfjs

        return tfjs.load(path, device=device, precision=precision, **options)
    where = Path(path)
    if not where.exists():
        raise FileNotFoundError(f"no model at {str(where)!r}")
    head = b""
    if where.is_file():
        with open(where, "rb") as file:
            head = file.read(64)
    known = ", ".join(f.name for f in FORMATS)
    for candidate in FORMATS:
        if (_plain(format) == _plain(candidate.name)) if format else candidate.matches(where, head):
            reader = import_module(candidate.module)
            return reader.load(where, device=device, precision=precision, **options)
    if format:
        raise InvalidModel(f"hither does not know the format {format!r}; it reads {known}")
    hint = "pass format= if its name hides it"
    if where.suffix in (".pt", ".pth", ".pkl", ".pb"):
        hint = "export it to ONNX, or from TensorFlow to .keras or .tflite, where it was made: hither runs no code of a file"
    raise InvalidModel(f"{str(where)!r} is in no format that hither reads ({known}); {hint}")


def save(
    target: Any,
    path: str | os.PathLike[str],
    specs: Mapping[str, Any] | None = None,
    *,
    format: str | None = None,
    **options: Any,
) -> None:
    """Write a model file, in the format that its name says (`hither.bundle` writes what browsers run).

    Args:
        target: a Model, a network of layers, or a function, as `hither.compile` takes it.
        path: the file, whose folder is made; its ending decides: .onnx, .safetensors, .keras, .weights.h5, model.json (TF.js,
            with shards beside it).
        specs: {input name: Spec} for formats that hold a graph of fixed shapes, where the model leaves some free.
        format: the format's name, where the ending does not tell.
        **options: passed to the format's writer.

    Raises:
        UnsupportedFeature: no format of this name is written, or it cannot hold this model; says why.

    Example:
        >>> import hither as ht
        >>> net = ht.nn.Sequential([ht.nn.Input((4,)), ht.nn.Dense(2)])
        >>> ht.save(net, "net.safetensors")                     # doctest: +SKIP
    """
    where = Path(path)
    writer = writer_of(where, format)
    where.parent.mkdir(parents=True, exist_ok=True)
    import_module(writer.module).save(target, where, specs, **options)


def _plain(name: str) -> str:
    """A format's name as people write it: tfjs is TF.js."""
    return name.lower().replace(".", "").replace(" ", "")


def writer_of(path: Path, format: str | None = None) -> Format:
    """The format that a file of this name is written in.

    Raises:
        UnsupportedFeature: none; names those that are.
    """
    for candidate in FORMATS:
        chosen = _plain(format) == _plain(candidate.name) if format else path.name.lower().endswith(candidate.writes)
        if chosen and candidate.writes:
            return candidate
    known = ", ".join(f"{f.name} ({', '.join(f.writes)})" for f in FORMATS if f.writes)
    raise UnsupportedFeature(f"hither writes {known}; got {f'format {format!r}' if format else f'the name {path.name!r}'}")
