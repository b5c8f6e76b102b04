"""The bundle's manifest as plain data: what a loader must know, and nothing that only the compiler knows.

A bundle separates what is *logical* (variants: the names, shapes and dtypes a user sees; tensors: the weights, stored once)
from what is *physical* (builds: one way to run all variants on one kind of device, in one precision, with its own memory
layout). So several shapes and several devices share one copy of the weights. Layouts say which tensors a build needs: of a
bundle of several precisions, loaders bring those alone. docs/manifest.schema.json is the published description; this file
writes it, runtime/hither.js reads it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from ..errors import HitherError

FORMAT = "hither-bundle"
VERSION = 1
EXTENSIONS = ("refinement", "precisions", "frozen")  # extensions that this writer uses; only the first is ever required
MAX_BYTES = 1 << 28  # of a manifest that is read
ZERO_DIGEST = "sha256-" + "0" * 64

Space = Literal["weights", "state", "arena", "io"]


class BundleError(HitherError, ValueError):
    """A bundle that cannot be written or must not be used; the message says why and what to do."""


# -- logical ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TensorSpec:
    """One input or output as the user sees it. The media fields say how a picture or a sound becomes this tensor:
    `(value * scale - mean) / std`, where pixels are 0 to 255 and samples -1 to 1."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    media: str | None = None  # "image" | "audio"
    layout: str | None = None  # "NCHW" | "NHWC", for images
    scale: float | Sequence[float] | None = None
    mean: float | Sequence[float] | None = None
    std: float | Sequence[float] | None = None
    rate: int | None = None  # samples per second, for audio
    labels: Sequence[str] | None = None
    classes: int | None = None  # its elements are numbers of so many classes,
    ignored: int | None = None  # or this one, which counts nothing

    def to_json(self) -> dict[str, Any]:
        out: dict[str, Any] = {"name": self.name, "shape": [int(n) for n in self.shape], "dtype": self.dtype}
        for key in ("media", "layout", "scale", "mean", "std", "rate", "labels", "classes", "ignored"):
            value = getattr(self, key)
            if value is not None:
                out[key] = value if isinstance(value, (str, int, float)) else [_plain(v) for v in value]
        return out


@dataclass(frozen=True)
class EntrySignature:
    """What one entry takes and gives. `updates_state` entries leave the state as it was when they fail."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    updates_state: bool = False

    def to_json(self) -> dict[str, Any]:
        return {
            "inputs": [s.to_json() for s in self.inputs],
            "outputs": [s.to_json() for s in self.outputs],
            "updates_state": self.updates_state,
        }


@dataclass(frozen=True)
class Variant:
    """The entries of the program for one choice of input shapes."""

    name: str
    entries: dict[str, EntrySignature]


@dataclass(frozen=True, eq=False)
class WeightTensor:
    """One tensor of the blob, in logical layout and storage dtype."""

    name: str
    array: np.ndarray


# -- physical --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Placement:
    """Tensor number `tensor` of the blob lies at `offset` bytes of region `space`, as elements of `dtype`.

    "weights" and "state" tensors stay; "arena" ones are only there for the build's `init` entry, which packs them.
    """

    tensor: int
    space: Space
    offset: int
    dtype: str


@dataclass(frozen=True)
class Layout:
    """The regions that all variants share, and what fills them. Builds with equal layouts share one record."""

    weights: int
    state: int
    placements: tuple[Placement, ...]

    def to_json(self) -> dict[str, Any]:
        return {
            "weights": self.weights,
            "state": self.state,
            "placements": [[p.tensor, p.space, p.offset, p.dtype] for p in self.placements],
        }


@dataclass(frozen=True)
class Place:
    """Where an input or output lies in the io region, and the dtype of its elements there.

    `lengths` are (axis, number of the output): that output is an integer scalar, the run-time extent of the axis.
    """

    offset: int
    dtype: str
    lengths: tuple[tuple[int, int], ...] = ()

    def to_json(self) -> dict[str, Any]:
        out: dict[str, Any] = {"offset": self.offset, "dtype": self.dtype}
        if self.lengths:
            out["lengths"] = [{"axis": axis, "output": output} for axis, output in self.lengths]
        return out


@dataclass(frozen=True)
class EntryPlan:
    """How one entry of one variant runs: the places of its arrays in signature order, and what to do.

    WASM calls the export `call`; WebGPU carries out `steps`, as `bundle.encode_steps` gives them. `rehearsable`: no step is
    repeated while data says so, so that the entry ends on weights that are still zero: a loader may run it before they arrive.
    `work`: operations and bytes of a run at most (`steps.most_work`); None where a loop may go on for any number of trips.
    """

    inputs: tuple[Place, ...]
    outputs: tuple[Place, ...]
    call: str | None = None
    steps: list[dict[str, Any]] | None = None
    rehearsable: bool = False
    work: int | None = None

    def to_json(self) -> dict[str, Any]:
        out: dict[str, Any] = {"inputs": [p.to_json() for p in self.inputs], "outputs": [p.to_json() for p in self.outputs]}
        if self.rehearsable:
            out["rehearsable"] = True
        if self.work is not None:
            out["work"] = self.work
        return out | ({"steps": self.steps} if self.steps is not None else {"call": self.call})


@dataclass(frozen=True)
class WasmBuild:
    """All variants as one module, whose exports are `call(weights, state, arena, io, threads, sync, scratch)`.

    `requires` names what the engine must have beyond simd128: "relaxed-simd", or how it is: "dot-apart" says that its relaxed
    products of bytes are several operations of the processor.
    """

    layout: Layout
    module: bytes
    shared_flag_offset: int
    arena: int
    io: int
    scratch: int  # bytes per thread
    sync: int  # bytes that threads share work through, zero at the start
    variants: tuple[dict[str, EntryPlan], ...]
    requires: tuple[str, ...] = ()
    init: EntryPlan | None = None
    precision: str = "float32"
    target: str = "wasm"

    @property
    def kernels(self) -> bytes:
        return self.module

    def details(self) -> dict[str, Any]:
        return {"shared_flag_offset": self.shared_flag_offset, "scratch": self.scratch, "sync": self.sync}


@dataclass(frozen=True)
class WebGpuBuild:
    """All variants as one text of WGSL modules, each after a line `//---- kernel N`.

    `requires` are WebGPU feature names, `limits` the least limits a device must have. `pipelines[N]` has a letter per binding
    of module N, r for read or w for read_write; `buffers` are (space, offset in the region, bytes). `subgroups` are modules to
    take for others on devices that have the feature of this name, `packed_dot` where WGSL has
    packed_4x8_integer_dot_product.
    """

    layout: Layout
    wgsl: str
    pipelines: tuple[str, ...]
    buffers: tuple[tuple[str, int, int], ...]
    arena: int
    io: int
    variants: tuple[dict[str, EntryPlan], ...]
    requires: tuple[str, ...] = ()
    limits: dict[str, int] = field(default_factory=dict)
    subgroups: dict[int, int] = field(default_factory=dict)
    packed_dot: dict[int, int] = field(default_factory=dict)
    init: EntryPlan | None = None
    precision: str = "float32"
    target: str = "webgpu"

    @property
    def kernels(self) -> bytes:
        return self.wgsl.encode()

    def details(self) -> dict[str, Any]:
        return {
            "limits": self.limits,
            "buffers": [list(b) for b in self.buffers],
            "pipelines": list(self.pipelines),
            **{
                name: {str(run): other for run, other in others.items()}
                for name, others in (("subgroups", self.subgroups), ("packed_dot", self.packed_dot))
                if others
            },
        }


@dataclass(frozen=True)
class Precision:
    """What a build's weights are stored in and its products computed in, by its name in `hither.bundle`, with what the accuracy
    guard found if it was asked."""

    name: str = "float32"
    accuracy: dict[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name} | ({"accuracy": self.accuracy} if self.accuracy is not None else {})


@dataclass(frozen=True)
class BundleSpec:
    """Everything `bundle.write_bundle` needs. Builds of one target stand in order of preference, and so do precisions."""

    name: str
    variants: tuple[Variant, ...]
    default_entry: str
    tensors: tuple[WeightTensor, ...]
    builds: tuple[WasmBuild | WebGpuBuild, ...]
    precisions: tuple[Precision, ...] = (Precision(),)
    progressive: bool = False
    frozen: tuple[int, ...] = ()  # tensors that are there to be exported, as their names' constants were
    description: str = ""


# -- the digest ------------------------------------------------------------------------------------------------------


def seal(manifest: dict[str, Any]) -> bytes:
    """The manifest as the bytes that are shipped, with its digest filled in.

    The digest is the SHA-256 of those very bytes with 64 zeros in its own place, so that checking it needs no canonical
    form of JSON and covers every byte.
    """
    text = json.dumps({**manifest, "digest": ZERO_DIGEST}, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    if text.count(ZERO_DIGEST) != 1:
        raise BundleError(f"a name or label in the manifest contains the reserved text {ZERO_DIGEST!r}; rename it")
    digest = "sha256-" + hashlib.sha256(text.encode()).hexdigest()
    return text.replace(ZERO_DIGEST, digest).encode()


def parse(data: bytes) -> dict[str, Any]:
    """A checked manifest from the bytes of manifest.json.

    Raises:
        BundleError: not a manifest, a newer format version, an unknown required extension, or a digest that does not fit.
    """
    try:
        text = data.decode()
        manifest = json.loads(text)
    except RecursionError as error:
        raise BundleError("manifest.json is nested too deep to be a bundle's") from error
    except ValueError as error:
        raise BundleError(f"manifest.json is damaged: {error}; copy the bundle again") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise BundleError(f'manifest.json is not a hither bundle: expected "format": "{FORMAT}"')
    if manifest.get("version") != VERSION:
        raise BundleError(
            f"the bundle has format version {manifest.get('version')}, this hither reads {VERSION}; update hither"
        )
    digest = manifest.get("digest")
    zeroed = text.replace(digest, ZERO_DIGEST, 1) if isinstance(digest, str) and digest.startswith("sha256-") else text
    if "sha256-" + hashlib.sha256(zeroed.encode()).hexdigest() != digest:
        raise BundleError("manifest.json is damaged: its digest does not fit its contents; copy the bundle again")
    required = manifest.get("extensions_required", [])
    unknown = [str(x) for x in required if x not in EXTENSIONS] if isinstance(required, list) else [str(required)]
    if unknown:
        raise BundleError(f"the bundle requires extensions that this hither does not know: {', '.join(unknown)}; update hither")
    return manifest


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
