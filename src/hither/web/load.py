"""Reads a bundle back: `ht.load("folder/")` is a Model that runs the very WebAssembly module that browsers run.

A bundle is untrusted input. Nothing is used before it is verified: the manifest against its digest (and the one that the
caller pins), every weight segment and the module against their hashes, every number in the manifest against the bytes that
there are. The module itself runs in WebAssembly's sandbox.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from ..array import Array
from ..dtypes import DType, dtype
from ..errors import NameMismatch, ShapeMismatch, UnsupportedFeature
from ..model import Model
from ..runtime.wasm import FEATURES, WasmExecutable, WasmState
from ..spec import Extent, Spec
from .bundle import read_manifest, read_tensors
from .manifest import BundleError, EntryPlan, EntrySignature, Layout, Place, Placement, TensorSpec

_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")  # a file beside manifest.json, never elsewhere
DEVICE = "wasm"


def load(path: Path, *, device: str | None = None, precision: str | None = None, integrity: str | None = None) -> BundleModel:
    """The Model in a bundle's folder, loaded and ready to run.

    Args:
        path: the folder, or its manifest.json.
        device: "wasm" or None: from Python, bundles run as WebAssembly.
        precision: that of the bundle, or None.
        integrity: accept only the bundle with this digest (`hither bundle` prints it).

    Raises:
        BundleError: if anything is damaged, malformed, or not the bundle that `integrity` names.
        UnsupportedFeature: for another device or precision, or a bundle without a WASM build that runs here.
        WasmtimeMissing: if wasmtime is not installed.
    """
    folder = path if path.is_dir() else path.parent
    manifest = read_manifest(folder)
    if integrity is not None and manifest["digest"] != integrity:
        raise BundleError(f"the bundle's digest is {manifest['digest']}, but load was told to accept only {integrity}")
    contents = parse_contents(manifest)
    _check_target(contents, device, precision)
    return BundleModel(LoadedBundle(folder, contents), contents.default_entry)


# -- the manifest --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Piece:
    """Bytes of a file and their hash: a weight segment (which starts at `start` of the blob), or a module."""

    what: str
    file: str
    offset: int
    nbytes: int
    sha256: str
    start: int = 0


@dataclass(frozen=True)
class Stored:
    """Where a tensor lies in the blob of weights."""

    name: str
    dtype: DType
    size: int
    offset: int


@dataclass(frozen=True)
class Contents:
    """What running a bundle here takes from its manifest. `variants` and `plans` are {entry: …} for each variant."""

    manifest: dict[str, Any]
    default_entry: str
    variants: tuple[dict[str, EntrySignature], ...]
    tensors: tuple[Stored, ...]
    segments: tuple[Piece, ...]
    layout: Layout
    module: Piece
    sizes: dict[str, int]
    plans: tuple[dict[str, EntryPlan], ...]
    init: EntryPlan | None


def parse_contents(manifest: dict[str, Any]) -> Contents:
    """The manifest's parts, checked against one another. Of its builds, the first WASM one that runs here.

    Raises:
        BundleError: if a part is missing or does not fit.
        UnsupportedFeature: if no build runs here.
    """
    try:
        return _contents(manifest)
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise BundleError(f"manifest.json is malformed: {type(error).__name__}: {error}") from error


def _contents(manifest: dict[str, Any]) -> Contents:
    variants = tuple({str(n): _signature(e) for n, e in v["entries"].items()} for v in manifest["variants"])
    if not variants or any(manifest["default_entry"] not in entries for entries in variants):
        _malformed(f"no default entry {manifest['default_entry']!r} in every variant")
    for entries in variants:
        for name, signature in variants[0].items():
            if [(s.name, s.dtype) for s in entries[name].inputs] != [(s.name, s.dtype) for s in signature.inputs]:
                _malformed(f"the variants' inputs of entry {name!r} differ")
    weights = manifest["weights"]
    tensors = tuple(
        Stored(str(t["name"]), dtype(t["dtype"]), _count(_shape(t["shape"])), _natural(t["offset"])) for t in weights["tensors"]
    )
    segments = tuple(
        Piece(f"weight segment {i}", s["file"], _natural(s["offset"]), _natural(s["bytes"]), s["sha256"], _natural(s["start"]))
        for i, s in enumerate(weights["segments"])
    )
    end = 0
    for segment in segments:
        if segment.start != end:
            _malformed(f"{segment.what} starts at {segment.start}, the one before it ends at {end}")
        end += segment.nbytes
    for t in tensors:
        if end != weights["bytes"] or t.offset + t.size * t.dtype.itemsize > end:
            _malformed(f"weight {t.name!r} is not in the {end} bytes of the segments")

    build = _choose(manifest["builds"])
    layout = _layout(manifest["layouts"][build["layout"]], len(tensors))
    plans = tuple({n: _plan(p) for n, p in v.items()} for v in build["variants"])
    if len(plans) != len(variants):
        _malformed(f"the WASM build has plans for {len(plans)} of {len(variants)} variants")
    for entries, planned in zip(variants, plans):
        for name, signature in entries.items():
            plan = planned[name]
            if (len(plan.inputs), len(plan.outputs)) != (len(signature.inputs), len(signature.outputs)):
                _malformed(f"the plan of entry {name!r} does not fit its signature")
            for output, place in zip(signature.outputs, plan.outputs):
                for axis, number in place.lengths:
                    if axis >= len(output.shape) or signature.outputs[number].shape:
                        _malformed(f"output {output.name!r} of entry {name!r} has a length that is no integer scalar")
    sizes = {name: _natural(build[name]) for name in ("arena", "io", "scratch", "sync")}
    return Contents(
        manifest=manifest,
        default_entry=manifest["default_entry"],
        variants=variants,
        tensors=tensors,
        segments=segments,
        layout=layout,
        module=Piece("the WASM module", build["file"], 0, _natural(build["bytes"]), build["sha256"]),
        sizes={"weights": layout.weights, "state": layout.state, **sizes},
        plans=plans,
        init=_plan(build["init"]) if "init" in build else None,
    )


def _choose(builds: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The first WASM build whose requirements this runtime meets: builds stand in order of preference."""
    for build in builds:
        if build["target"] == "wasm" and set(build["requires"]) <= set(FEATURES):
            return build
    there = ", ".join(" with ".join([b["target"], *b["requires"]]) for b in builds)
    raise UnsupportedFeature(
        f"the bundle has builds for {there}; from Python bundles run as WebAssembly: write it with targets=('webgpu', 'wasm')"
    )


def _signature(entry: Mapping[str, Any]) -> EntrySignature:
    def specs(which: str) -> tuple[TensorSpec, ...]:
        return tuple(TensorSpec(**{**t, "shape": _shape(t["shape"]), "dtype": dtype(t["dtype"]).name}) for t in entry[which])

    return EntrySignature(specs("inputs"), specs("outputs"), bool(entry["updates_state"]))


def _plan(plan: Mapping[str, Any]) -> EntryPlan:
    def places(which: str) -> tuple[Place, ...]:
        return tuple(
            Place(
                _natural(p["offset"]),
                dtype(p["dtype"]).name,
                tuple((_natural(x["axis"]), _natural(x["output"])) for x in p.get("lengths", ())),
            )
            for p in plan[which]
        )

    return EntryPlan(places("inputs"), places("outputs"), call=plan["call"])


def _layout(layout: Mapping[str, Any], tensors: int) -> Layout:
    placements = []
    for number, space, offset, kind in layout["placements"]:
        if space not in ("weights", "state", "arena") or _natural(number) >= tensors:
            _malformed(f"tensor {number} is placed in {space!r}")
        placements.append(Placement(number, space, _natural(offset), dtype(kind).name))
    return Layout(_natural(layout["weights"]), _natural(layout["state"]), tuple(placements))


def _natural(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        _malformed(f"{value!r} stands where a whole number ≥ 0 must")
    return value


def _shape(value: Sequence[Any]) -> tuple[int, ...]:
    return tuple(_natural(extent) for extent in value)


def _count(shape: tuple[int, ...]) -> int:
    size = 1
    for extent in shape:
        size *= extent
    return size


def _malformed(why: str) -> NoReturn:
    raise BundleError(f"manifest.json is malformed: {why}")


# -- the files -----------------------------------------------------------------------------------------------------------


def verified(folder: Path, piece: Piece) -> bytes:
    """The bytes of a piece, which have the hash that the manifest says.

    Raises:
        BundleError: if they are missing, truncated or changed.
    """
    if not isinstance(piece.file, str) or not _FILE.fullmatch(piece.file):
        _malformed(f"{piece.what} is said to be in {piece.file!r}, which is no file beside the manifest")
    try:
        with (folder / piece.file).open("rb") as file:
            file.seek(piece.offset)
            data = file.read(piece.nbytes)
    except OSError as error:
        raise BundleError(f"{piece.what} cannot be read: {error}") from error
    if hashlib.sha256(data).hexdigest() != piece.sha256:
        raise BundleError(
            f"{piece.what} ({piece.file} at {piece.offset}) is damaged: {len(data)} of {piece.nbytes} bytes, which do not have "
            "the hash that the manifest says; copy the bundle again"
        )
    return data


class StoredTensors(Mapping[str, np.ndarray]):
    """The weights of a bundle by name, read and verified when one is first asked for: running needs no second copy."""

    def __init__(self, folder: Path, contents: Contents) -> None:
        self._folder, self._contents = folder, contents

    @functools.cached_property
    def _arrays(self) -> dict[str, np.ndarray]:
        return read_tensors(self._folder, self._contents.manifest)

    def __getitem__(self, name: str) -> np.ndarray:
        return self._arrays[name]

    def __iter__(self) -> Iterator[str]:
        return iter([t.name for t in self._contents.tensors])

    def __len__(self) -> int:
        return len(self._contents.tensors)


class LoadedBundle:
    """A bundle's module in memory with its weights and one state."""

    def __init__(self, folder: Path, contents: Contents) -> None:
        self.folder, self.contents = folder, contents
        sizes = contents.sizes
        module = verified(folder, contents.module)
        self.executable = WasmExecutable(module, sizes, sizes["scratch"], sizes["sync"])
        self.state: WasmState = self.executable.new_state()
        for segment in contents.segments:
            self._place(segment.start, verified(folder, segment))
        if contents.init is not None:
            self.executable.run(_call(contents.init), [], [], self.state)

    def _place(self, start: int, data: bytes) -> None:
        """Put those parts of tensors that a segment holds where the layout wants them."""
        for p in self.contents.layout.placements:
            t = self.contents.tensors[p.tensor]
            width = t.dtype.itemsize
            low, high = max(t.offset, start), min(t.offset + t.size * width, start + len(data))
            if low < high:
                part = np.frombuffer(data, t.dtype.numpy, (high - low) // width, low - start)
                there = dtype(p.dtype)
                offset = p.offset + (low - t.offset) // width * there.itemsize
                self.executable.write(p.space, offset, convert(part, there, f"weight {t.name!r}"), self.state)

    def run(self, variant: int, entry: str, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """All outputs of an entry, those of data-dependent size cut to it."""
        signature, plan = self.contents.variants[variant][entry], self.contents.plans[variant][entry]
        stored = self.executable.run(
            _call(plan),
            [
                (place.offset, convert(array, dtype(place.dtype), f"input {spec.name!r}"))
                for spec, place, array in zip(signature.inputs, plan.inputs, arrays, strict=True)
            ],
            [(p.offset, dtype(p.dtype).numpy, s.shape) for p, s in zip(plan.outputs, signature.outputs)],
            self.state,
            keep=signature.updates_state,
        )
        results = []
        for spec, place, array in zip(signature.outputs, plan.outputs, stored):
            for axis, number in place.lengths:
                array = array.take(range(int(stored[number])), axis=axis)
            results.append(convert(array, dtype(spec.dtype), f"output {spec.name!r}"))
        return results


def _call(plan: EntryPlan) -> str:
    if not isinstance(plan.call, str):
        _malformed(f"a WASM entry calls {plan.call!r}")
    return plan.call


def convert(array: np.ndarray, to: DType, what: str) -> np.ndarray:
    """An array in the dtype in which the device carries it, or back. Integers that do not fit raise BundleError."""
    if array.dtype == to.numpy:
        return array
    if to.is_integer and array.size:
        limits = np.iinfo(to.numpy)
        low, high = array.min(), array.max()
        if array.dtype.kind == "f" or low < limits.min or high > limits.max:
            raise BundleError(f"{what} holds {low}…{high} ({array.dtype.name}), which {to} does not hold")
    return array.astype(to.numpy)


# -- the model -----------------------------------------------------------------------------------------------------------


def _check_target(contents: Contents, device: str | None, precision: str | None) -> None:
    if device not in (None, DEVICE):
        raise UnsupportedFeature(
            f"a bundle does not run on {device!r} from Python: its kernels are compiled already and run as WebAssembly "
            f"(device={DEVICE!r}); for another device, load the model that it was made from"
        )
    made = contents.manifest["precision"]
    if precision not in (None, made):
        raise UnsupportedFeature(f"the bundle computes in {made}; for {precision}, bundle the model again")


class BundleModel(Model):
    """An entry of a bundle as a Model. It has the shapes that the bundle was compiled for, and no others.

    Example:
        >>> model = hither.load("site/model/")                 # doctest: +SKIP
        >>> model(image=x)["scores"]                           # doctest: +SKIP
        >>> model.run("train_step", x=x, y=y)                  # doctest: +SKIP
    """

    def __init__(self, bundle: LoadedBundle, entry: str) -> None:
        self._bundle, self._entry = bundle, entry
        signatures = self._signatures = [v[entry] for v in bundle.contents.variants]
        plan, manifest = bundle.contents.plans[0][entry], bundle.contents.manifest
        lengths = {number for place in plan.outputs for _, number in place.lengths}
        self._visible = [i for i in range(len(plan.outputs)) if i not in lengths]
        super().__init__(
            self._no_graph,
            {s.name: _spec([v.inputs[i] for v in signatures]) for i, s in enumerate(signatures[0].inputs)},
            {
                signatures[0].outputs[i].name: _spec(
                    [v.outputs[i] for v in signatures], [a for a, _ in plan.outputs[i].lengths]
                )
                for i in self._visible
            },
            metadata={k: str(manifest[k]) for k in ("generator", "description", "digest") if k in manifest},
            name=str(manifest["name"]),
            device=DEVICE,
            precision=manifest["precision"],
        )
        self.weights = StoredTensors(bundle.folder, bundle.contents)

    @property
    def entries(self) -> tuple[str, ...]:
        """The names of the bundle's entries; calling the model runs the default one."""
        return tuple(self._bundle.contents.variants[0])

    def entry(self, name: str) -> BundleModel:
        """Another entry of the bundle as a Model over the same weights and state.

        Raises:
            NameMismatch: if there is no such entry.
        """
        if name not in self.entries:
            raise NameMismatch(f"{self.name} has no entry {name!r}; it has {', '.join(map(repr, self.entries))}")
        return BundleModel(self._bundle, name)

    def run(self, entry: str, *args: Any, **kwargs: Any) -> dict[str, Array]:
        """Run an entry by name."""
        return self.entry(entry)(*args, **kwargs)

    def to(self, device: str | None = None, precision: str | None = None) -> Model:
        """The same model; a bundle has one precision and runs as WebAssembly."""
        _check_target(self._bundle.contents, device, precision)
        return super().to(device, precision)

    def _no_graph(self, *_: Any, **__: Any) -> NoReturn:
        raise UnsupportedFeature(
            f"the bundle {self.name!r} is compiled already and holds no graph; compile, bundle or inspect the model that it "
            "was made from"
        )

    graph = _no_graph

    def _arguments(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, np.ndarray]:
        try:
            return super()._arguments(args, kwargs)
        except ShapeMismatch as error:
            raise ShapeMismatch(f"{error}; {self._takes()}") from error

    def _specialise(
        self, arrays: Mapping[str, np.ndarray], static: Mapping[str, np.ndarray]
    ) -> Callable[[dict[str, np.ndarray]], dict[str, Array]]:
        shapes = [a.shape for a in arrays.values()]
        for variant, signature in enumerate(self._signatures):
            if [s.shape for s in signature.inputs] == shapes:
                return functools.partial(self._run, variant)
        given = ", ".join(f"{name}: {dtype(a.dtype)}{list(a.shape)}" for name, a in arrays.items())
        raise ShapeMismatch(f"no variant of {self.name} takes {given}; {self._takes()}")

    def _run(self, variant: int, named: Mapping[str, np.ndarray]) -> dict[str, Array]:
        results = self._bundle.run(variant, self._entry, [named[name] for name in self.inputs])
        return {name: Array(results[i]) for name, i in zip(self.outputs, self._visible)}

    def _takes(self) -> str:
        """The shapes that there are, by the names that the inputs have here."""
        variants = (
            ", ".join(f"{name}: {s.dtype}{list(s.shape)}" for name, s in zip(self.inputs, v.inputs)) for v in self._signatures
        )
        return "the bundle is compiled for " + " or ".join(variants)


def _spec(variants: Sequence[TensorSpec], free: Sequence[int] = ()) -> Spec:
    """What a tensor is in all variants: extents that differ, or depend on data, are free."""
    shapes = [v.shape for v in variants]
    shape: list[Extent] | None = None
    if len({len(s) for s in shapes}) == 1:
        shape = [extents[0] if len(set(extents)) == 1 and i not in free else None for i, extents in enumerate(zip(*shapes))]
    s = variants[0]
    return Spec(
        shape, s.dtype, media=s.media, layout=s.layout, scale=s.scale, mean=s.mean, std=s.std, labels=s.labels
    )  # fmt: skip
