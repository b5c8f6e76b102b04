"""What running a bundle takes from its manifest, checked; and the bytes that the manifest speaks of, verified.

A manifest is untrusted: its digest tells damage, not intent. So every number is checked against the others and against the
bytes that there are, and a bundle that does not add up is refused before anything of it is used.
"""

from __future__ import annotations

import hashlib
import math
import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from itertools import accumulate
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from ..dtypes import DType, dtype
from ..errors import HitherError, UnsupportedFeature
from ..runtime.wasm import FEATURES
from .bundle import read_manifest
from .manifest import BundleError, EntryPlan, EntrySignature, Layout, Place, Placement, TensorSpec
from .segments import joined

_MEANING = [f.name for f in fields(TensorSpec)][3:]  # of a tensor to people; before it name, shape and dtype
_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")  # a file beside manifest.json, never elsewhere


@dataclass(frozen=True)
class Piece:
    """Bytes of a file and their hash: a weight segment (which starts at `start` of the blob), or a module. `lower`: a segment
    that is the upper halves of numbers, and where their lower halves are."""

    what: str
    file: str
    offset: int
    nbytes: int
    sha256: str
    start: int = 0
    lower: Piece | None = None


@dataclass(frozen=True)
class Stored:
    """Where a tensor lies in the blob of weights."""

    name: str
    dtype: DType
    shape: tuple[int, ...]
    offset: int

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Contents:
    """What running a bundle here in one of its precisions takes from its manifest. `variants` and `plans` are {entry: …} for
    each variant, `segments` those that hold anything of it; `tensors` are all, for layouts count them."""

    manifest: dict[str, Any]
    precision: str
    default_entry: str
    variants: tuple[dict[str, EntrySignature], ...]
    tensors: tuple[Stored, ...]
    segments: tuple[Piece, ...]
    layout: Layout
    module: Piece
    sizes: dict[str, int]
    plans: tuple[dict[str, EntryPlan], ...]
    init: EntryPlan | None

    def placed(self) -> list[Stored]:
        """The tensors of this precision."""
        return [self.tensors[n] for n in sorted({p.tensor for p in self.layout.placements})]


def parse_contents(manifest: dict[str, Any], precision: str | None = None) -> Contents:
    """The manifest's parts, checked against one another. Of its builds, the first WASM one that runs here, in the precision
    that is asked for or else the bundle's first.

    Raises:
        BundleError: if a part is missing or does not fit.
        UnsupportedFeature: if no build runs here, or none has the precision.
    """
    with _well_formed():
        return _contents(manifest, precision)


def accuracies(manifest: Mapping[str, Any]) -> dict[str, dict[str, Any] | None]:
    """{precision: what the accuracy guard found, if it was asked}, the preferred one first.

    Raises:
        BundleError: if the precisions are not those of the builds.
    """
    with _well_formed():
        if "precisions" not in manifest:
            return {str(manifest["precision"]): manifest.get("accuracy")}
        found = {str(p["name"]): p.get("accuracy") for p in manifest["precisions"]}
        built = {b["precision"] for b in manifest["builds"]}
        if len(found) != len(manifest["precisions"]) or set(found) != built:
            _malformed(f"it lists the precisions {', '.join(found)}, and has builds in {', '.join(map(str, built))}")
        return found


@contextmanager
def _well_formed() -> Iterator[None]:
    """Taking a manifest apart: what is not there, or is something else, makes it malformed."""
    try:
        yield
    except HitherError:
        raise
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise BundleError(f"manifest.json is malformed: {type(error).__name__}: {error}") from error


def _contents(manifest: dict[str, Any], precision: str | None) -> Contents:
    if not isinstance(manifest["name"], str):
        _malformed(f"its name is {manifest['name']!r}")
    variants = tuple({str(n): _signature(e) for n, e in v["entries"].items()} for v in manifest["variants"])
    if not variants or any(manifest["default_entry"] not in entries for entries in variants):
        _malformed(f"no default entry {manifest['default_entry']!r} in every variant")
    for entries in variants:
        for name, signature in variants[0].items():
            if [(s.name, s.dtype) for s in entries[name].inputs] != [(s.name, s.dtype) for s in signature.inputs]:
                _malformed(f"the variants' inputs of entry {name!r} differ")
    tensors, segments = _weights(manifest["weights"])
    build = _choose(manifest, precision)
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
                    length = signature.outputs[number]
                    if axis >= len(output.shape) or length.shape or not dtype(length.dtype).is_integer:
                        _malformed(f"output {output.name!r} of entry {name!r} has a length that is no integer scalar")
    sizes = {name: _natural(build[name]) for name in ("arena", "io", "scratch", "sync")}
    return Contents(
        manifest=manifest,
        precision=build.get("precision", manifest["precision"]),
        default_entry=manifest["default_entry"],
        variants=variants,
        tensors=tensors,
        segments=_needed(segments, [tensors[p.tensor] for p in layout.placements]),
        layout=layout,
        module=Piece("the WASM module", build["file"], 0, _natural(build["bytes"]), build["sha256"]),
        sizes={"weights": layout.weights, "state": layout.state, **sizes},
        plans=plans,
        init=_plan(build["init"]) if "init" in build else None,
    )


def _weights(weights: Mapping[str, Any]) -> tuple[tuple[Stored, ...], tuple[Piece, ...]]:
    tensors = tuple(
        Stored(str(t["name"]), dtype(t["dtype"]), _shape(t["shape"]), _natural(t["offset"])) for t in weights["tensors"]
    )
    lower = {s["start"]: s for s in weights.get("refinement", ())}

    def piece(what: str, s: Mapping[str, Any], rest: Piece | None = None) -> Piece:
        return Piece(
            what, s["file"], _natural(s["offset"]), _natural(s["bytes"]), s["sha256"], _natural(s["start"]), rest
        )  # fmt: skip

    segments = tuple(
        piece(
            f"weight segment {i}", s, piece(f"refinement of weight segment {i}", lower[s["start"]]) if s.get("half") else None
        )
        for i, s in enumerate(weights["segments"])
    )
    end = 0
    for segment in segments:
        if segment.start != end:
            _malformed(f"{segment.what} starts at {segment.start}, the one before it ends at {end}")
        if segment.lower is not None and segment.lower.nbytes != segment.nbytes:
            _malformed(f"{segment.what} has {segment.nbytes} bytes, its refinement {segment.lower.nbytes}")
        end += segment.nbytes * (1 if segment.lower is None else 2)
    for t in tensors:
        if t.offset + t.size * t.dtype.itemsize > end:
            _malformed(f"weight {t.name!r} is not in the {end} bytes of the segments")
    return tensors, segments


def _needed(segments: Sequence[Piece], tensors: Sequence[Stored]) -> tuple[Piece, ...]:
    """Those that hold a part of a tensor."""
    starts = [s.start for s in segments]
    found: set[int] = set()
    for t in tensors:
        if t.size:
            end = t.offset + t.size * t.dtype.itemsize
            found.update(range(bisect_right(starts, t.offset) - 1, bisect_left(starts, end)))
    return tuple(segments[i] for i in sorted(found))


def _choose(manifest: Mapping[str, Any], precision: str | None) -> Mapping[str, Any]:
    """The first WASM build in this precision whose requirements this runtime meets: builds stand in order of preference."""
    there = list(accuracies(manifest))
    if precision is not None and precision not in there:
        raise UnsupportedFeature(
            f"the bundle computes in {' or '.join(there)}; for precision={precision!r}, bundle the model again"
        )
    builds = manifest["builds"]
    for build in builds:
        if build["target"] != "wasm" or precision not in (None, build.get("precision", precision)):
            continue
        if set(build["requires"]) <= set(FEATURES):
            return dict(build)
    what = ", ".join(" with ".join([b["target"], *b["requires"]]) for b in builds)
    raise UnsupportedFeature(
        f"the bundle has builds for {what}; from Python bundles run as WebAssembly: write it with targets=('webgpu', 'wasm')"
    )


def _signature(entry: Mapping[str, Any]) -> EntrySignature:
    def specs(which: str) -> tuple[TensorSpec, ...]:
        found = []
        for t in entry[which]:
            if not isinstance(t["name"], str):
                _malformed(f"one of the {which} is called {t['name']!r}")
            meaning = {key: t[key] for key in _MEANING if key in t}  # what later versions add says nothing here
            if not isinstance(meaning.get("labels", []), list):
                _malformed(f"the labels of {t['name']!r} are {meaning['labels']!r:.100}")
            found.append(TensorSpec(t["name"], _shape(t["shape"]), dtype(t["dtype"]).name, **meaning))
        return tuple(found)

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

    if not isinstance(plan["call"], str):
        _malformed(f"a WASM entry calls {plan['call']!r}")
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
            there = file.seek(0, 2)
            if piece.offset + piece.nbytes > there:  # before memory is taken for what is not there
                raise BundleError(
                    f"{piece.what} ends at byte {piece.offset + piece.nbytes} of {piece.file}, which has {there}: it is "
                    "truncated; copy the bundle again"
                )
            file.seek(piece.offset)
            data = file.read(piece.nbytes)
    except OSError as error:
        raise BundleError(f"{piece.what} cannot be read: {error}") from error
    if hashlib.sha256(data).hexdigest() != piece.sha256:
        raise BundleError(
            f"{piece.what} ({piece.file} at {piece.offset}) is damaged: it does not have the hash that the manifest says; "
            "copy the bundle again"
        )
    return data


def segment_of_weights(folder: Path, segment: Piece) -> bytes:
    """The part of the blob that begins at `segment.start`, refined where it comes in halves."""
    data = verified(folder, segment)
    return data if segment.lower is None else joined(data, verified(folder, segment.lower))


def weights_of(manifest: Mapping[str, Any], precision: str | None = None) -> tuple[tuple[Stored, ...], tuple[Piece, ...]]:
    """The tensors of a precision (the bundle's first choice if none is named) and the segments that hold anything of them.

    Raises:
        BundleError: if the manifest is malformed.
        UnsupportedFeature: if the bundle does not have the precision.
    """
    with _well_formed():
        tensors, segments = _weights(manifest["weights"])
        there = list(accuracies(manifest))
        if precision is not None and precision not in there:
            raise UnsupportedFeature(f"the bundle has weights in {' and '.join(there)}, not in {precision!r}")
        if len(there) > 1:
            builds = [b for b in manifest["builds"] if b["precision"] == (precision or there[0])]
            layouts = [_layout(manifest["layouts"][b["layout"]], len(tensors)) for b in builds]
            tensors = tuple(tensors[n] for n in sorted({p.tensor for each in layouts for p in each.placements}))
        return tensors, _needed(segments, tensors)


def read_tensors(
    folder: str | Path, manifest: dict[str, Any] | None = None, precision: str | None = None
) -> dict[str, np.ndarray]:
    """The weights of a bundle by name, in one of its precisions; see `weights_of`.

    Raises:
        BundleError: if a segment is missing, truncated or changed.
        UnsupportedFeature: if the bundle does not have the precision.
    """
    tensors, segments = weights_of(manifest or read_manifest(folder), precision)
    parts = [segment_of_weights(Path(folder), segment) for segment in segments]
    blob, starts = b"".join(parts), [s.start for s in segments]
    places = list(accumulate(map(len, parts), initial=0))  # of the segments in the joined bytes

    def place(t: Stored) -> int:
        i = bisect_right(starts, t.offset) - 1
        return places[i] + t.offset - starts[i]

    return {t.name: np.ndarray(t.shape, t.dtype.numpy, blob, place(t) if t.size else 0) for t in tensors}
