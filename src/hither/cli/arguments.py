"""What users write after options, as values: shapes, names and input files.

`--input x=photo.png` must become the array that the model takes. What is read is decided by the file's suffix and by the
input's Spec; whatever had to be assumed (a picture's layout, its scaling) is said.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .. import media
from ..errors import HitherError
from ..model import Model
from ..spec import Spec

RANDOM_SEED = 0


class ArgumentError(HitherError, ValueError):
    """An option cannot be understood or used; says how to write it."""


def pairs(option: str, texts: Iterable[str]) -> dict[str, str]:
    """NAME=VALUE options as a dict. Names may hold `=` no more than values hold it first: the first one divides."""
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (name and equals and value):
            raise ArgumentError(f"{option} takes NAME=VALUE, got {text!r}")
        if name in found:
            raise ArgumentError(f"{option} gives {name!r} twice")
        found[name] = value
    return found


def shapes(text: str) -> dict[str, tuple[int, ...]]:
    """`x=1,3,48,320` as {"x": (1, 3, 48, 320)}; several inputs are separated by spaces or semicolons."""
    found = {}
    for name, value in pairs("--shape", text.replace(";", " ").split()).items():
        extents = [] if value == "scalar" else value.replace("x", ",").split(",")
        if not all(e.isdecimal() for e in extents):
            raise ArgumentError(f"--shape takes NAME=N,N,… with whole numbers, as in x=1,3,48,320, got {name}={value}")
        found[name] = tuple(map(int, extents))
    return found


def variants(texts: Iterable[str]) -> list[dict[str, tuple[int, ...]]]:
    """What repeated --shape options mean: one that names an input again begins another variant of the inputs' shapes."""
    found: list[dict[str, tuple[int, ...]]] = [{}]
    for text in texts:
        given = shapes(text)
        if given.keys() & found[-1].keys():
            found.append({})
        found[-1] |= given
    return found


def one_variant(texts: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """The shapes of --shape options where only one variant can be used."""
    found = variants(texts)
    if len(found) > 1:
        twice = next(iter(found[0].keys() & found[1].keys()))
        raise ArgumentError(f"--shape gives {twice!r} twice, and only bundles hold several variants: name each input once")
    return found[0]


def load_model(path: str, device: str | None = None, precision: str | None = None, activations: str | None = None) -> Model:
    """The model in a file or folder."""
    from ..formats import load

    return load(path, device=device, precision=precision, activations=activations)


def specs_for(model: Model, given: Mapping[str, tuple[int, ...]], values: Mapping[str, str] | None = None) -> dict[str, Spec]:
    """A Spec without free extents for each input.

    Args:
        given: shapes from --shape.
        values: literals from --value, which become constants of the program.

    Raises:
        ArgumentError: names that the model does not have; extents that stay free, all of them at once.
    """
    values = values or {}
    unknown = [n for n in (*given, *values) if n not in model.inputs]
    if unknown:
        raise ArgumentError(f"{model.name} has no input {unknown[0]!r}; its inputs are {', '.join(map(repr, model.inputs))}")
    found, free = {}, []
    for name, own in model.inputs.items():
        if name in values:
            value = literal(values[name], own, name)
            found[name] = Spec(value.shape, own.dtype, value=value)
        elif name in given or own.is_static:
            shape = given.get(name, own.shape)
            found[name] = Spec(
                shape, own.dtype, media=own.media, layout=own.layout, scale=own.scale, mean=own.mean, std=own.std,
                labels=own.labels,
            )  # fmt: skip
        else:
            free.append((name, own))
    if free:
        example = " ".join(f"{name}={_example(own)}" for name, own in free)
        named = ", ".join(f"{name}: {own}" for name, own in free)
        raise ArgumentError(f'the shape of {named} is free; give numbers for it, for example --shape "{example}"')
    return found


def _example(spec: Spec) -> str:
    if spec.shape is None:
        return "N,N,…"
    return ",".join(str(e) if isinstance(e, int) else "1" if i == 0 else "N" for i, e in enumerate(spec.shape)) or "scalar"


def literal(text: str, spec: Spec, name: str) -> np.ndarray:
    """A number or a JSON list as an array of the input's dtype."""
    try:
        return np.asarray(json.loads(text), spec.dtype.numpy)
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise ArgumentError(
            f"{text!r:.100} is no value for input {name!r} ({spec}): expected a number or a list ({error})"
        ) from error


def read_inputs(
    model: Model, texts: Sequence[str], given: Mapping[str, tuple[int, ...]]
) -> tuple[dict[str, np.ndarray], list[str]]:
    """The arrays for a model's inputs from `--input NAME=SOURCE`, and what had to be assumed.

    SOURCE is a file (.npy, .npz, a picture, a sound, .json), a number or list, `zeros`, or `random`. For a model with one
    input, NAME= may be left out.

    Raises:
        ArgumentError: unknown or missing inputs, or a file that does not fit.
    """
    only = next(iter(model.inputs), "x")
    named = pairs("--input", (t if _names_input(t, model) or len(model.inputs) != 1 else f"{only}={t}" for t in texts))
    unknown = [n for n in (*named, *given) if n not in model.inputs]
    missing = [n for n in model.inputs if n not in named]
    if unknown:
        raise ArgumentError(f"{model.name} has no input {unknown[0]!r}; its inputs are {', '.join(map(repr, model.inputs))}")
    if missing:
        wanted = ", ".join(f"{n}: {model.inputs[n]}" for n in missing)
        raise ArgumentError(
            f"no --input for {wanted}; give a file, a number, zeros or random, as in --input {missing[0]}=FILE.npy"
        )
    notes: list[str] = []
    arrays = {n: _read(named[n], n, spec, given.get(n), notes) for n, spec in model.inputs.items()}
    return arrays, notes


def samples(model: Model, sources: Sequence[str], specs: Mapping[str, Spec]) -> list[dict[str, np.ndarray]]:
    """Real inputs for `--calibrate`: files, or folders of files, each of which is one sample.

    A model of several inputs takes .npz files with an array for each of them.

    Raises:
        ArgumentError: no such file, an empty folder, or a file that does not fit.
    """
    files: list[Path] = []
    for source in map(Path, sources):
        found = [source]
        if source.is_dir():  # what begins with a dot is some tool's
            found = sorted(p for p in source.iterdir() if p.is_file() and not p.name.startswith("."))
        if not found or not found[0].is_file():
            raise ArgumentError(f"--calibrate {source}: no such file, or no file in it")
        files += found
    if len(specs) > 1 and any(file.suffix.lower() != ".npz" for file in files):
        raise ArgumentError(
            f"{model.name} has {len(specs)} inputs: --calibrate takes .npz files, with an array for each by name"
        )
    shapes = {name: spec.shape for name, spec in specs.items() if spec.value is None}
    return [{n: _read(str(file), n, specs[n], shape, []) for n, shape in shapes.items()} for file in files]  # type: ignore[arg-type]


def tolerance(texts: Iterable[str]) -> dict[str, float] | None:
    """`--tolerance NAME=NUMBER` as hither.compile takes it; None if there is none."""
    try:
        return {name: float(value) for name, value in pairs("--tolerance", texts).items()} or None
    except ValueError as error:
        raise ArgumentError(f"--tolerance takes NAME=NUMBER, as in relative=0.01 or top1=0.99: {error}") from error


def _names_input(text: str, model: Model) -> bool:
    name, equals, _ = text.partition("=")
    return bool(equals) and (name in model.inputs or not Path(text).exists())


def _read(source: str, name: str, own: Spec, shape: tuple[int, ...] | None, notes: list[str]) -> np.ndarray:
    if source in ("random", "zeros"):
        return _made(source, name, own, shape, notes)
    path = Path(source)
    suffix = path.suffix.lower()
    if not path.is_file():
        if suffix and not suffix[1:].isdecimal():
            raise ArgumentError(f"no file {source!r} for input {name!r}")
        array = literal(source, own, name)
    elif suffix in (".npy", ".npz"):
        array = _numpy(path, name)
    elif suffix == ".json":
        array = literal(path.read_text("utf-8", errors="replace"), own, name)  # what is no text is no JSON
    elif suffix in media.IMAGES:
        array = _image(path, name, own, shape, notes)
    elif suffix in media.SOUNDS:
        array = _sound(path, name, own, shape, notes)
    else:
        raise ArgumentError(f"cannot read {source!r}: expected .npy, .npz, .json, a picture or a sound")
    if shape is not None and array.shape != shape:
        raise ArgumentError(f"{source} gives input {name!r} shape {array.shape}, --shape says {shape}")
    return array


def _numpy(path: Path, name: str) -> np.ndarray:
    """The array of a NumPy file; of several, the one of this name."""
    try:
        found = np.load(path, allow_pickle=False)
        if isinstance(found, np.ndarray):
            return found
        with found as archive:
            if name not in archive and len(archive.files) != 1:
                raise ArgumentError(f"{path} has no array {name!r}; it has {', '.join(archive.files)}")
            array: np.ndarray = archive[name if name in archive else archive.files[0]]
            return array
    except ArgumentError:
        raise
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError) as error:
        raise ArgumentError(f"{path} is no NumPy file of numbers, or is damaged: {error}") from error


def _made(kind: str, name: str, own: Spec, shape: tuple[int, ...] | None, notes: list[str]) -> np.ndarray:
    concrete = specs_for_one(name, own, shape)
    dtype = own.dtype.numpy
    if kind == "zeros":
        return np.zeros(concrete, dtype)
    notes.append(f"{name}: random numbers, seed {RANDOM_SEED}")
    return random_array(concrete, dtype)


def specs_for_one(name: str, own: Spec, shape: tuple[int, ...] | None) -> tuple[int, ...]:
    """The shape of one input, which --shape must give where the model leaves it free."""
    if shape is not None:
        return shape
    if not own.is_static:
        raise ArgumentError(f"the shape of {name!r} ({own}) is free; give numbers for it with --shape {name}={_example(own)}")
    return tuple(e for e in own.shape or () if isinstance(e, int))


def random_array(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Numbers that most networks accept: standard normal floats, small integers, booleans."""
    rng = np.random.default_rng(RANDOM_SEED)
    kind = np.dtype(dtype).kind
    if kind == "b":
        return rng.random(shape) < 0.5
    if kind in "iu":
        return rng.integers(0, 8, shape).astype(dtype)
    return rng.standard_normal(shape).astype(dtype)


def _image(path: Path, name: str, own: Spec, shape: tuple[int, ...] | None, notes: list[str]) -> np.ndarray:
    wanted = shape if shape is not None else own.shape
    if wanted is None or len(wanted) not in (2, 3, 4):
        raise ArgumentError(f"input {name!r} ({own}) is no picture; give an array (.npy)")
    layout = own.layout or _layout(wanted)
    axes = dict(zip(layout[-len(wanted) :], wanted))
    channels = axes.get("C", 1)
    pixels = media.read_image(path, channels if channels in (3, 4) else 1)
    size = pixels.shape[:2]
    height, width = (e if isinstance(e, int) else n for e, n in zip((axes["H"], axes["W"]), size))
    if (height, width) != size:
        notes.append(f"{name}: {path.name} resized from {size[1]}x{size[0]} to {width}x{height}")
        pixels = media.resize_image(pixels, height, width)
    if own.media != "image" and own.dtype.kind == "f":
        notes.append(f"{name}: pixels divided by 255, layout {layout}; give a .npy file for anything else")
        own = Spec(own.shape, own.dtype, scale=1 / 255)
    return media.image_array(pixels, own, wanted, layout)


def _layout(shape: Sequence[Any]) -> str:
    """The order of a picture's axes as its shape suggests it: a channel extent of 1, 3 or 4 stands first or last."""
    if len(shape) == 2:
        return "HW"
    first = shape[-3] in (1, 3, 4) or shape[-1] not in (1, 3, 4)
    return "NCHW" if first else "NHWC"


def _sound(path: Path, name: str, own: Spec, shape: tuple[int, ...] | None, notes: list[str]) -> np.ndarray:
    samples, rate = media.read_sound(path)
    notes.append(
        f"{name}: {len(samples)} samples at {rate} Hz, mono, -1 to 1; resample beforehand if the model expects another rate"
    )
    wanted = shape if shape is not None else own.shape or (None,)
    long = max(
        range(len(wanted)), key=lambda i: (not isinstance(wanted[i], int), wanted[i] if isinstance(wanted[i], int) else 0)
    )
    length = wanted[long]
    if isinstance(length, int) and length != len(samples):
        notes.append(f"{name}: {'cut' if length < len(samples) else 'padded with silence'} to {length} samples")
        samples = np.pad(samples[:length], (0, max(0, length - len(samples))))
    full = [1] * len(wanted)
    full[long] = len(samples)
    return samples.astype(own.dtype.numpy).reshape(full)
