"""Reads a bundle back: `ht.load("folder/")` is a Model that runs the very WebAssembly module that browsers run.

A bundle is untrusted input. Nothing is used before it is verified: the manifest against its digest (and the one that the
caller pins), every weight segment and the module against their hashes, every number in the manifest against the bytes that
there are. The module itself runs in WebAssembly's sandbox.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from ..array import Array
from ..dtypes import DType, dtype
from ..errors import NameMismatch, ShapeMismatch, UnsupportedFeature
from ..model import Model
from ..runtime.wasm import WasmExecutable, WasmState
from ..spec import Extent, Spec
from .bundle import read_manifest
from .contents import Contents, parse_contents, read_tensors, segment_of_weights, verified
from .manifest import BundleError, EntryPlan, TensorSpec

DEVICE = "wasm"


def load(path: Path, *, device: str | None = None, precision: str | None = None, integrity: str | None = None) -> BundleModel:
    """The Model in a bundle's folder, loaded and ready to run.

    Args:
        path: the folder, or its manifest.json.
        device: "wasm" or None: from Python, bundles run as WebAssembly.
        precision: one of the bundle's; None is the one that it prefers.
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
    _check_device(device)
    contents = parse_contents(manifest, precision)
    return BundleModel(LoadedBundle(folder, contents), contents.default_entry)


class StoredTensors(Mapping[str, np.ndarray]):
    """The weights of a bundle by name, read and verified when one is first asked for: running needs no second copy."""

    def __init__(self, folder: Path, contents: Contents) -> None:
        self._folder, self._contents = folder, contents

    @functools.cached_property
    def _arrays(self) -> dict[str, np.ndarray]:
        return read_tensors(self._folder, self._contents.manifest, self._contents.precision)

    def __getitem__(self, name: str) -> np.ndarray:
        return self._arrays[name]

    def __iter__(self) -> Iterator[str]:
        return iter([t.name for t in self._contents.placed()])

    def __len__(self) -> int:
        return len(self._contents.placed())


class LoadedBundle:
    """A bundle's module in memory with its weights and one state."""

    def __init__(self, folder: Path, contents: Contents) -> None:
        self.folder, self.contents = folder, contents
        sizes = contents.sizes
        module = verified(folder, contents.module)
        self.executable = WasmExecutable(module, sizes, sizes["scratch"], sizes["sync"])
        self.state: WasmState = self.executable.new_state()
        for segment in contents.segments:
            self._place(segment.start, segment_of_weights(folder, segment))
        if contents.init is not None:
            self.executable.run(_export(contents.init), [], [], self.state)
        self._first = self._state_bytes()

    def _state_bytes(self) -> np.ndarray:
        return self.executable.read("state", 0, np.dtype(np.uint8), (self.contents.layout.state,), self.state)

    def read_state(self) -> dict[str, np.ndarray]:
        """What survives calls, as it is now: {name: array}."""
        found = {}
        for p in self.contents.layout.placements:
            if p.space == "state":
                t, there = self.contents.tensors[p.tensor], dtype(p.dtype)
                stored = self.executable.read("state", p.offset, there.numpy, t.shape, self.state)
                found[t.name] = convert(stored, t.dtype, f"state {t.name!r}")
        return found

    def reset(self) -> None:
        """Make the state what it was when the bundle was loaded."""
        self.executable.write("state", 0, self._first, self.state)

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
            _export(plan),
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
            for axis, number in place.lengths:  # slicing, unlike take, is bounded whatever the module says
                array = array[(slice(None),) * axis + (slice(max(0, int(stored[number]))),)].copy()
            results.append(convert(array, dtype(spec.dtype), f"output {spec.name!r}"))
        return results


def _export(plan: EntryPlan) -> str:
    assert plan.call is not None, "parse_contents refuses WASM plans that call nothing"
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


def _check_device(device: str | None) -> None:
    if device not in (None, DEVICE):
        raise UnsupportedFeature(
            f"a bundle does not run on {device!r} from Python: its kernels are compiled already and run as WebAssembly "
            f"(device={DEVICE!r}); for another device, load the model that it was made from"
        )


class BundleModel(Model):
    """An entry of a bundle as a Model. It has the shapes that the bundle was compiled for, and no others.

    Example:
        >>> model = hither.load("site/model/")                 # doctest: +SKIP
        >>> model(image=x)["scores"]                           # doctest: +SKIP
        >>> model.run("train_step", x=x, y=y)                  # doctest: +SKIP
    """

    packed = True

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
            precision=bundle.contents.precision,
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

    @property
    def state(self) -> dict[str, Array]:
        """What survives calls, as it is now, for all entries: {name: Array}."""
        return {name: Array(value) for name, value in self._bundle.read_state().items()}

    def reset(self) -> None:
        """Make the state what it was when the bundle was loaded."""
        self._bundle.reset()

    def to(
        self, device: str | None = None, precision: str | None = None, tune: bool | None = None, activations: str | None = None
    ) -> Model:
        """The same model, in another of the bundle's precisions; it runs as WebAssembly.

        Raises:
            UnsupportedFeature: for a precision that the bundle does not have, and for `tune` and `activations`: tiles and
                numbers were chosen when it was made.
        """
        if tune:
            raise UnsupportedFeature(f"the bundle {self.name!r} is compiled already; tune the model that it was made from")
        if activations:
            raise UnsupportedFeature(
                f"the bundle {self.name!r} is compiled already; for activations={activations!r}, bundle again"
            )
        _check_device(device)
        contents = parse_contents(self._bundle.contents.manifest, precision or self.precision)
        other = super().to(device, precision)
        if precision not in (None, self.precision) and isinstance(other, BundleModel):
            other._bundle = LoadedBundle(self._bundle.folder, contents)
            other.weights = StoredTensors(self._bundle.folder, contents)
        return other

    def _no_graph(self, *_: Any, **__: Any) -> NoReturn:
        raise UnsupportedFeature(
            f"the bundle {self.name!r} is compiled already and holds no graph; compile, bundle or inspect the model that it "
            "was made from"
        )

    graph = _no_graph

    def _arrays(self, named: Mapping[str, Any]) -> dict[str, np.ndarray]:
        try:
            return super()._arrays(named)
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
    shape: list[Extent] | None = None  # not even the number of axes is the same
    if len({len(s) for s in shapes}) == 1:
        shape = [extents[0] if len(set(extents)) == 1 and i not in free else None for i, extents in enumerate(zip(*shapes))]
    s = variants[0]
    return Spec(shape, s.dtype, media=s.media, layout=s.layout, scale=s.scale, mean=s.mean, std=s.std, labels=s.labels)
