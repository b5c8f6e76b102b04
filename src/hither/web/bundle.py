"""Writes a bundle: a folder of static files that runs in a browser tab or in Node without anything else.

It takes plain data (see `manifest.BundleSpec`) and knows no compiler: whoever has kernels in WASM and WGSL, their steps
and the weights can write one. Weights are cut into segments that are hashed each, so that one unit serves verifying,
resuming, caching and uploading.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from .. import dtypes as dt
from ..targets.wgsl.plan import Branch, Dispatch, Repeat
from .join import join
from .manifest import (
    FORMAT,
    MAX_BYTES,
    VERSION,
    BundleError,
    BundleSpec,
    Layout,
    WasmBuild,
    WebGpuBuild,
    parse,
    seal,
)
from .segments import can_be_halved, content_digest, lay_out
from .squeeze import squeeze

CORE = ("hither-tensors.js", "hither-worker.js", "hither-wasm.js", "hither-store.js", "hither.js")  # what every page needs
SCRIPTS = (
    "hither-webgpu.js", "hither-media.js", "hither-room.js", "hither-refine.js", "hither-state.js", "hither-fit.js",
    "hither-sha256.js",
)  # fmt: skip
RUNTIME = ("hither.js", *SCRIPTS, "hither.d.ts", "hither-fit.d.ts", "package.json", "index.html", "try.js", "sw.js")


def runtime_file(name: str) -> bytes:
    """One file of the JavaScript runtime, as it is shipped."""
    if name == CORE[-1] or name in SCRIPTS:
        return _scripts()[name]
    data = _source(name)
    return squeeze(data.decode()).encode() if name.endswith(".js") else data


@cache
def _scripts() -> dict[str, bytes]:
    sources = {name: _source(name).decode() for name in (*CORE, *SCRIPTS)}
    return {name: squeeze(made).encode() for name, made in join(sources, CORE, SCRIPTS).items()}


def _source(name: str) -> bytes:
    return (resources.files(__package__) / "runtime" / name).read_bytes()


def encode_steps(steps: Sequence[Any]) -> list[dict[str, Any]]:
    """Planned WebGPU steps (see targets.wgsl.plan) as the manifest has them."""

    def at(binding: Any) -> list[int]:
        return [binding.buffer, binding.offset, binding.size]

    out: list[dict[str, Any]] = []
    for step in steps:
        match step:
            case Dispatch():
                out.append({"run": step.variant, "groups": list(step.workgroups), "bind": [at(b) for b in step.bindings]})
            case Branch():
                out.append({"if": at(step.flag), "then": encode_steps(step.then), "else": encode_steps(step.otherwise)})
            case Repeat():
                out.append({"while": at(step.flag), "do": encode_steps(step.body), "bound": step.bound})
    return out


def write_bundle(directory: str | Path, spec: BundleSpec) -> dict[str, Any]:
    """Write `spec` as a bundle into `directory` (made if missing; its older weights and kernels are removed).

    Returns:
        The manifest as written, its digest included: what `load(url, {integrity})` pins.

    Raises:
        BundleError: if the parts do not fit together; nothing is written then.
    """
    _check(spec)
    files: dict[str, bytes] = {}
    several = len(spec.precisions) > 1
    halved = _halved(spec) if spec.progressive else frozenset[int]()
    manifest: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "generator": f"hither {_version()}",
        "digest": "",
        "extensions_used": [
            *(["refinement"] if halved else []),
            *(["precisions"] if several else []),
            *(["frozen"] if spec.frozen else []),
        ],
        "extensions_required": ["refinement"] if halved else [],  # who knows one precision takes the first
        "name": spec.name,
        "precision": spec.precisions[0].name,
        "default_entry": spec.default_entry,
        "variants": [{"name": v.name, "entries": {k: e.to_json() for k, e in v.entries.items()}} for v in spec.variants],
        "weights": lay_out(spec.tensors, _users(spec), halved, files),
    }
    if spec.description:
        manifest["description"] = spec.description
    if several:
        manifest["precisions"] = [p.to_json() for p in spec.precisions]
    elif spec.precisions[0].accuracy is not None:
        manifest["accuracy"] = spec.precisions[0].accuracy
    if spec.frozen:
        manifest["frozen"] = [{"tensor": i, "sha256": content_digest(spec.tensors[i].array)} for i in spec.frozen]
    layouts: list[dict[str, Any]] = []
    manifest["layouts"] = layouts
    manifest["builds"] = [_build(b, spec, layouts, files) for b in spec.builds]

    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    for pattern in ("weights-*.bin", "kernels*.wasm", "kernels*.wgsl"):
        for old in directory.glob(pattern):
            if old.name not in files:
                old.unlink()
    for name, data in files.items():
        (directory / name).write_bytes(data)
    for name in RUNTIME:
        (directory / name).write_bytes(runtime_file(name))
    sealed = seal(manifest)
    (directory / "manifest.json").write_bytes(sealed)  # last: a folder without it is not a bundle yet
    return json.loads(sealed)


def read_manifest(directory: str | Path) -> dict[str, Any]:
    """The checked manifest of a bundle folder.

    Raises:
        BundleError: if there is none, or it must not be used (see `manifest.parse`).
    """
    path = Path(directory) / "manifest.json"
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise BundleError(f"{directory} is not a bundle: {error}") from error
    if len(data) > MAX_BYTES:
        raise BundleError(f"{path} has more than {MAX_BYTES} bytes; at most so many are read")
    return parse(data)


def _check(spec: BundleSpec) -> None:
    if not spec.variants or not spec.builds:
        raise BundleError(f"bundle {spec.name!r} needs at least one variant and one build")
    if spec.default_entry not in spec.variants[0].entries:
        raise BundleError(f"default entry {spec.default_entry!r} is none of {', '.join(spec.variants[0].entries)}")
    names = [p.name for p in spec.precisions]
    if not names or len(set(names)) < len(names) or set(names) != {b.precision for b in spec.builds}:
        raise BundleError(
            f"bundle {spec.name!r} lists the precisions {names}, its builds have {sorted({b.precision for b in spec.builds})}: "
            "list each one once"
        )
    if spec.progressive and (len(names) > 1 or any(b.init for b in spec.builds)):
        raise BundleError("a progressive bundle has one precision, and no init: weights that it packed could not be refined")
    for build in spec.builds:
        if len(build.variants) != len(spec.variants):
            raise BundleError(f"the {build.target} build has plans for {len(build.variants)} of {len(spec.variants)} variants")
        for variant, plans in zip(spec.variants, build.variants):
            for name, signature in variant.entries.items():
                plan = plans.get(name)
                if plan is None:
                    raise BundleError(f"the {build.target} build of variant {variant.name!r} lacks entry {name!r}")
                if (len(plan.inputs), len(plan.outputs)) != (len(signature.inputs), len(signature.outputs)):
                    raise BundleError(f"the {build.target} plan of entry {name!r} does not fit its signature")
                if (plan.steps is None) != (build.target == "wasm"):
                    raise BundleError(f"entry {name!r}: webgpu plans have steps, wasm plans have none")
        region = {"weights": build.layout.weights, "state": build.layout.state, "arena": build.arena}
        for p in build.layout.placements:
            tensor = spec.tensors[p.tensor]
            nbytes = tensor.array.size * dt.dtype(p.dtype).itemsize
            if p.offset % 4 or p.offset + nbytes > region.get(p.space, 0):
                raise BundleError(f"tensor {tensor.name!r} ({nbytes} bytes) does not fit into {p.space} at {p.offset}")


def _halved(spec: BundleSpec) -> frozenset[int]:
    """The numbers of the tensors that are sent as halves; what survives calls is whole from the beginning."""
    kept = {p.tensor for b in spec.builds for p in b.layout.placements if p.space != "weights"} | set(spec.frozen)
    return frozenset(i for i, t in enumerate(spec.tensors) if i not in kept and can_be_halved(t.array))


def _users(spec: BundleSpec) -> list[frozenset[str]]:
    """The precisions that need a tensor, for each."""
    users: list[set[str]] = [set() for _ in spec.tensors]
    for build in spec.builds:
        for p in build.layout.placements:
            users[p.tensor].add(build.precision)
    return [frozenset(names) for names in users]


def _suffix(spec: BundleSpec, build: WasmBuild | WebGpuBuild) -> str:
    """What tells the kernels of this build from those of the target's main (first) one."""
    siblings = [b for b in spec.builds if b.target == build.target]
    if build is siblings[0]:
        return ""
    same = next(b for b in siblings if b.precision == build.precision)  # the main one of its precision
    parts = [build.precision.replace("/", "-")] if build.precision != siblings[0].precision else []
    if build is not same:
        parts += build.requires or ("plain",)
    return "".join(f"-{part}" for part in parts)


def _build(
    build: WasmBuild | WebGpuBuild, spec: BundleSpec, layouts: list[dict[str, Any]], files: dict[str, bytes]
) -> dict[str, Any]:
    ending, data = "wasm" if build.target == "wasm" else "wgsl", build.kernels
    name = f"kernels{_suffix(spec, build)}.{ending}"
    name = next((n for n, known in files.items() if n.endswith(ending) and known == data), name)  # what another build has too
    if files.setdefault(name, data) != data:
        raise BundleError(f"two builds would both be written to {name}; give them different `requires`")
    return {
        "target": build.target,
        **({"precision": build.precision} if len(spec.precisions) > 1 else {}),
        "requires": list(build.requires),
        "layout": _layout(build.layout, layouts),
        "file": name,
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "arena": build.arena,
        "io": build.io,
        **build.details(),
        "variants": [{k: p.to_json() for k, p in plans.items()} for plans in build.variants],
        **({"init": build.init.to_json()} if build.init else {}),
    }


def _layout(layout: Layout, layouts: list[dict[str, Any]]) -> int:
    record = layout.to_json()
    if record not in layouts:
        layouts.append(record)
    return layouts.index(record)


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("hither")
    except PackageNotFoundError:  # run from a source tree
        return "unknown"
