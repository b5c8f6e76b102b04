"""From what the compiler makes to what a bundle holds: `bundle`, the one call that ships a model.

Every variant is an entry of one Code per target, so that variants share weights and kernels. Weights are pooled over targets:
where WASM and WebGPU keep an array in the same bytes, it is stored once.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from .. import dtypes as dt
from ..graph.core import Graph
from ..kernels.ir import Machine
from ..kernels.steps import While, most_work, walk
from ..passes import optimize
from ..passes.bytes import SEVEN_BITS
from ..passes.precision import Numbers, PrecisionWarning
from ..program.accuracy import AccuracyReport, compare
from ..program.compile import (
    Entries,
    accurate,
    as_target,
    check_dtypes,
    graphs_of,
    lengths_of,
    machine_for,
    numbers_from,
    plan_graphs,
    reduce_numbers,
    refuse_small_state,
    state_of,
)
from ..program.plan import Plan, plan, to_storage
from ..program.program import Program
from ..program.signature import Entry, Port
from ..program.trial import unjudged
from .bundle import encode_steps, write_bundle
from .manifest import (
    BundleError,
    BundleSpec,
    EntryPlan,
    EntrySignature,
    Layout,
    Place,
    Placement,
    Precision,
    TensorSpec,
    Variant,
    WasmBuild,
    WebGpuBuild,
    WeightTensor,
)
from .segments import can_be_halved, rounded

TARGETS = ("webgpu", "wasm")
FIRST_STAGE = 0.05  # relative error of a progressive bundle before its weights are refined
MACHINES = {  # per target, the best first; what has no fused multiply-add takes smaller tiles, and is packed the same
    "wasm": (Machine("wasm", fma=True, dot="unsigned"), Machine("wasm", fma=False, dot="unsigned")),
    "webgpu": (Machine("wgsl", gpu=True, dot="signed", wide=("int64", "uint64"), vector_bits=32),),
}


def machines(kind: str, numbers: Numbers) -> list[Machine]:
    """The machines that a target is built for, the best first. Of halves between kernels WebGPU gets two builds: adapters
    without shader-f16 store them two to a word, where that can be."""
    if kind != "webgpu" or numbers.activations != "float16":
        return list(MACHINES[kind])
    return [replace(machine, float16=half) for half in (True, False) for machine in MACHINES[kind]]


class TensorPool:
    """The tensors of a bundle. Within a precision names are unique: they are what `ht.load` gives back."""

    def __init__(self) -> None:
        self.tensors: list[WeightTensor] = []
        self._known: dict[tuple[str, tuple[int, ...], bytes], int] = {}
        self._names: dict[tuple[str, str], int] = {}  # (precision, name)

    def add(self, precision: str, name: str, array: np.ndarray) -> int:
        """The number of this tensor: of equal ones the same, under the first one's name."""
        digest = hashlib.sha256(np.ascontiguousarray(array).data).digest()
        return self._once((array.dtype.name, array.shape, digest), precision, name, array)

    def add_state(self, precision: str, name: str, array: np.ndarray) -> int:
        """The number of the tensor that a value which survives calls starts as: its own, for it is saved by its name."""
        return self._once(("state", (), name.encode()), precision, name, array)

    def add_frozen(self, name: str, array: np.ndarray) -> int:
        """The number of a tensor that no build needs as it is, and that is exported by its name."""
        return self._once(("frozen", (), name.encode()), "", name, array)

    def _once(self, key: tuple[str, tuple[int, ...], bytes], precision: str, name: str, array: np.ndarray) -> int:
        number = self._known.get(key)
        if number is not None and self._names.setdefault((precision, self.tensors[number].name), number) == number:
            return number
        base = unique = name or f"constant_{len(self.tensors)}"
        for n in range(1, len(self._names) + 2):
            if (precision, unique) not in self._names:
                break
            unique = f"{base}.{n}"
        number = len(self.tensors)
        self._names[precision, unique] = number
        self._known.setdefault(key, number)  # another name for the same bytes, which are stored once all the same
        self.tensors.append(WeightTensor(unique, array))
        return number


def bundle(
    target: Any,
    directory: str | Path,
    specs: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
    *,
    targets: str | Sequence[str] = TARGETS,
    precision: str | Sequence[str] = "float32",
    activations: str = "float32",
    calibrate: Any = None,
    tolerance: Mapping[str, float] | None = None,
    state: Any = None,
    progressive: bool = False,
    name: str | None = None,
) -> dict[str, Any]:
    """Compile a model or function for the browser and write a folder that any static host can serve.

    Args:
        target: what `compile` takes: a Model, a hither.nn network, a function, {entry: function}, or a Trainer: the page then
            goes on with the training, from the weights, the optimizer's state and the random keys as they are. Frozen weights
            are folded and packed like a Model's; to be exported with the others, they are downloaded as they were.
        directory: the folder; made if missing.
        specs: {input: Spec}, or a list of them: one variant per choice of shapes, over the same weights and state. For a
            Trainer see `Trainer.as_entries`.
        targets: "webgpu", "wasm" or both.
        precision: how weights are stored, downloaded and held in memory, as for `compile`; with activations behind a stroke,
            "int8/int8". Several, the preferred one first: ("float32", "float16", "int8"). Whoever loads the bundle downloads
            one of them: that asked for by name, or the first that the device has room for, and `program.info.why` says why.
            Tensors that are the same in several are stored once.
        activations: what products are computed in, as for `compile`, which says what becomes of NaN in bytes, and of numbers
            beyond 65504 in halves: give `calibrate` or `tolerance`. With several precisions, see there.
        calibrate, tolerance: as for `compile`: weights that do too much damage keep larger numbers. The first variant is
            judged, on the CPU, in each precision; what only other variants have, or have more of, keeps float32 there, with a
            PrecisionWarning. The manifest and the loader's `program.info.accuracy` have the reports.
        state: what survives calls of functions, as for `compile`; `program.save` and `restore` keep it in the browser. One
            state for all variants and precisions.
        progressive: send float32 weights as halves: a program starts with weights rounded to bfloat16, after half the download,
            and has every bit of them once the rest has come (`program.refine()`, which begins by itself). The first stage is
            judged like a precision: on `calibrate`, or on random numbers, by `tolerance`, or at most 5 % relative error.
        name: the bundle's name; the folder's by default.

    Returns:
        The manifest; its "digest" is what `load(url, {integrity})` pins.

    Raises:
        BundleError: for unknown targets, or variants whose inputs or entries have different names; for a precision twice, or
            `activations` beside several; `progressive` with weights that are not float32, or several precisions.
        CompileError: for unknown precisions and activations, and a Trainer's weights in other than float32.
        AccuracyError: `tolerance` cannot be had in one of the precisions.
        UnsupportedFeature: something in the model does not run on a target.

    Example:
        ht.bundle(model, "site/model/", {"image": ht.Spec((1, 224, 224, 3), "float32", media="image", layout="NHWC")})
    """
    targets = (targets,) if isinstance(targets, str) else targets
    wrong = [t for t in targets if t not in TARGETS]
    if wrong or not targets:
        raise BundleError(f"no target {', '.join(map(repr, wrong)) or 'given'}; there are {', '.join(TARGETS)}")
    wanted = numbers_of(precision, activations)
    for numbers in wanted.values():
        refuse_small_state(target, numbers)
    if progressive and [*wanted] != ["float32"]:
        raise BundleError(
            f"progressive=True sends float32 weights in two stages, and precision is {', '.join(wanted)}: choose one of them"
        )
    choices = [specs] if specs is None or isinstance(specs, Mapping) else list(specs)
    target = target if hasattr(target, "as_entries") else as_target(target, choices[0])
    made = [as_target(target, choice) for choice in choices]
    graphs = [graphs_of(each, choice, state) for each, choice in zip(made, choices)]
    reports: dict[str, AccuracyReport] = {}
    if progressive:
        reports["float32"] = first_stage(graphs[0], choices[0], calibrate, tolerance)
    elif calibrate is not None or tolerance is not None:
        samples = calibrate if calibrate is None or isinstance(calibrate, Mapping) else list(calibrate)  # read more than once
        for each, numbers in wanted.items():
            reports[each] = _judge(graphs[0], choices[0], numbers, samples, tolerance, "wasm" in targets)
            wanted[each] = replace(numbers, kept=reports[each].keys, steps=reports[each].steps, ranges=reports[each].ranges)
    tidied = [{entry: optimize(graph) for entry, graph in entries.items()} for entries in graphs]
    judged = not progressive and bool(reports)
    alike = {each: _as_judged(tidied, numbers) if judged else [numbers] * len(tidied) for each, numbers in wanted.items()}
    pool = TensorPool()
    builds: list[WasmBuild | WebGpuBuild] = []
    meanings = [getattr(each, "specs", choice) for each, choice in zip(made, choices)]
    for kind in [t for t in TARGETS if t in targets]:
        for each, numbers in wanted.items():
            for machine in machines(kind, numbers):
                planned = _plan(graphs, tidied, machine, alike[each])
                variants = [{e: planned.entries[_export(i, e)] for e in entries} for i, entries in enumerate(graphs)]
                builds += [_webgpu(planned, variants, pool, each)] if kind == "webgpu" else _wasm(planned, variants, pool, each)
    frozen = tuple(pool.add_frozen(n, a) for n, a in made[0].frozen.items()) if isinstance(made[0], Entries) else ()
    signatures = [_variant(*each) for each in zip(variants, made, meanings, strict=True)]
    return write_bundle(
        directory,
        BundleSpec(
            name=name or Path(directory).resolve().name,
            variants=_named(signatures),
            default_entry=next(iter(graphs[0])),
            tensors=tuple(pool.tensors),
            builds=tuple(builds),
            precisions=tuple(Precision(n, reports[n].to_json() if n in reports else None) for n in wanted),
            progressive=progressive,
            frozen=frozen,
        ),
    )


def numbers_of(precision: str | Sequence[str], activations: str = "float32") -> dict[str, Numbers]:
    """What the precisions of a bundle store and compute in, by name: "float32", "int8", "int8/int8".

    Raises:
        BundleError: none, one twice, a set, which has no order, or `activations` that could belong to any of several.
        CompileError: one that does not exist.
    """
    if not isinstance(precision, str | Sequence):
        raise BundleError(
            f"precision= is a name, or a list or tuple of names, the preferred one first; got a {type(precision).__name__}"
        )
    names = [precision] if isinstance(precision, str) else list(precision)
    if activations != "float32":
        if len(names) != 1 or "/" in names[0]:
            raise BundleError(
                f"activations={activations!r} beside precision={precision!r}: say which of them compute so, as in 'int8/int8'"
            )
        names = [f"{names[0]}/{activations}"]
    found: dict[str, Numbers] = {}
    for each in names:
        numbers = numbers_from(each)
        found[numbers.name] = numbers
    if len(found) < len(names) or not found:
        raise BundleError(f"precision={precision!r}: give at least one, and each once")
    return found


def _judge(
    graphs: Mapping[str, Graph], specs: Mapping[str, Any] | None, numbers: Numbers, calibrate: Any,
    tolerance: Mapping[str, float] | None, wasm: bool,
) -> AccuracyReport:  # fmt: skip
    """What the accuracy guard finds in a precision. `wasm`: whose bytes have the fewest bits, so that what is accurate there
    is accurate elsewhere."""
    if numbers.activations == "int8" and not machine_for("cpu").dot:
        raise BundleError(
            'activations="int8" cannot be judged here: this processor has no products of bytes; bundle without '
            "calibrate and tolerance, or on one that has"
        )
    report = accurate(graphs, specs, replace(numbers, byte=SEVEN_BITS) if wasm else numbers, calibrate, tolerance).accuracy
    assert report is not None  # the guard always has one
    return report


def _as_judged(tidied: Sequence[Mapping[str, Graph]], numbers: Numbers) -> list[Numbers]:
    """The numbers of each variant: what the first one, which was judged, says nothing of keeps float32, with a warning."""
    entry, judged = next(iter(tidied[0].items()))
    made = [numbers]
    for i, entries in enumerate(tidied[1:], 1):
        more = unjudged(judged, entries[entry], numbers) - numbers.kept if entry in entries else frozenset()
        if more:
            warnings.warn(
                f"{len(more)} weights and results of variant {i} keep float32: accuracy is judged on the first variant, which "
                "has nothing that corresponds to them; give first the one that has most, the largest shapes for example",
                PrecisionWarning,
                stacklevel=3,
            )
        made.append(replace(numbers, kept=numbers.kept | more))
    return made


def first_stage(
    graphs: Mapping[str, Graph], specs: Mapping[str, Any] | None, calibrate: Any, tolerance: Mapping[str, float] | None
) -> AccuracyReport:
    """How accurate a progressive bundle is before its weights are refined.

    Raises:
        AccuracyError: not within the tolerance.
    """
    machine = machine_for("cpu")
    full = plan_graphs(graphs, machine)
    weights = [replace(w, held=rounded(w.array)) if can_be_halved(w.array) else w for w in full.weights]
    programs = [Program(p, "cpu", next(iter(full.entries))) for p in (full, replace(full, weights=weights))]
    return compare(programs[0], programs[1], "bfloat16", specs, calibrate, tolerance or {"relative": FIRST_STAGE})


def _export(variant: int, entry: str) -> str:
    return f"{entry}@{variant}"


def _plan(
    graphs: Sequence[Mapping[str, Graph]], tidied: Sequence[Mapping[str, Graph]], machine: Machine, numbers: Sequence[Numbers]
) -> Plan:
    """All entries of all variants in one plan: they share weights, kernels and memory. `tidied`: the graphs, optimized; the
    numbers are each variant's."""
    optimized: dict[str, Graph] = {}
    lengths: dict[str, dict[str, tuple[str, int]]] = {}
    for i, entries in enumerate(graphs):
        for name, graph in entries.items():
            key = _export(i, name)
            lengths[key] = lengths_of(graph)
            optimized[key] = reduce_numbers(tidied[i][name], machine, numbers[i])
            check_dtypes(optimized[key], machine)
    return plan(optimized, machine, lengths, state=state_of(g for each in graphs for g in each.values()))


def _layout(planned: Plan, pool: TensorPool, precision: str) -> Layout:
    states = []  # first, that no weight has their names: they are saved by them
    for v in planned.state:
        stored = dt.dtype(to_storage(v.initial, planned.machine, v.port.name).dtype).name
        states.append(Placement(pool.add_state(precision, v.port.name, v.initial), "state", v.port.ref.offset, stored))
    weights = [
        Placement(pool.add(precision, w.name, w.array), w.ref.space, w.ref.offset, dt.dtype(w.array.dtype).name)  # type: ignore[arg-type]
        for w in planned.weights
    ]
    return Layout(planned.code.sizes["weights"], planned.code.sizes["state"], (*weights, *states))


def _places(ports: Sequence[Port], machine: Machine) -> Iterator[Place]:
    names = [p.name for p in ports]
    for p in ports:
        lengths = () if p.length is None else ((p.length_axis, names.index(p.length)),)
        yield Place(p.ref.offset, machine.storage(p.abstract.dtype).name, lengths)


def _wasm(planned: Plan, variants: Sequence[Mapping[str, Entry]], pool: TensorPool, precision: str) -> list[WasmBuild]:
    """The builds of one Plan, the one that needs most first: where relaxed SIMD multiplies bytes, one more for engines that
    make several operations of that."""
    from ..targets.wasm.printer import multiplies_bytes, print_module

    layout, sizes = _layout(planned, pool, precision), planned.code.sizes
    plans = tuple(
        {
            name: EntryPlan(
                tuple(_places(e.inputs, planned.machine)),
                tuple(_places(e.outputs, planned.machine)),
                call=_export(i, name),
                rehearsable=not any(isinstance(step, While) for step in walk(planned.code.entries[_export(i, name)])),
                work=_work(planned, _export(i, name), e.updates_state),
            )
            for name, e in entries.items()
        }
        for i, entries in enumerate(variants)
    )
    relaxed = planned.machine.fma
    kinds = [("relaxed-simd", "dot-apart")] if relaxed and multiplies_bytes(planned.code) else []
    builds = []
    for requires in [*kinds, ("relaxed-simd",) if relaxed else ()]:
        made = print_module(planned.code, planned.machine, relaxed, apart="dot-apart" in requires)
        builds.append(
            WasmBuild(
                layout=layout,
                module=made.bytes,
                shared_flag_offset=made.shared_flag_offset,
                arena=sizes["arena"],
                io=sizes["io"],
                scratch=made.scratch_bytes,
                sync=made.sync_bytes,
                variants=plans,
                requires=requires,
                precision=precision,
            )
        )
    return builds


def _work(planned: Plan, export: str, keeps: bool) -> int | None:
    """What a run takes at most; `keeps`: loaders copy the state aside before it."""
    most = most_work(planned.code.entries[export])
    return None if most is None else most + (2 * planned.code.sizes["state"] if keeps else 0)


def _webgpu(planned: Plan, variants: Sequence[Mapping[str, Entry]], pool: TensorPool, precision: str) -> WebGpuBuild:
    from ..targets.wgsl.bindings import plan_bindings
    from ..targets.wgsl.printer import print_dot_variants, print_module, print_subgroup_variants, print_variants

    bound = plan_bindings(planned.code, planned.machine)
    texts = print_variants(bound, planned.machine)
    across, dots = print_subgroup_variants(bound, planned.machine), print_dot_variants(bound, planned.machine)
    if both := across.keys() & dots.keys():
        raise AssertionError(f"modules {sorted(both)} would have two that take their places")
    return WebGpuBuild(
        layout=_layout(planned, pool, precision),
        wgsl=print_module([*texts, *across.values(), *dots.values()]),
        pipelines=tuple("".join("r" if a == "read" else "w" for a in v.access()) for v in bound.variants),
        buffers=tuple((b.space, b.offset, b.size) for b in bound.buffers),
        arena=planned.code.sizes["arena"],
        io=planned.code.sizes["io"],
        variants=tuple(
            {
                name: EntryPlan(
                    tuple(_places(e.inputs, planned.machine)),
                    tuple(_places(e.outputs, planned.machine)),
                    steps=encode_steps(bound.entries[_export(i, name)]),
                )
                for name, e in entries.items()
            }
            for i, entries in enumerate(variants)
        ),
        limits={k: n for k, n in bound.needs().items() if n},
        requires=("shader-f16",) if planned.machine.float16 else (),
        subgroups={run: len(texts) + i for i, run in enumerate(across)},
        packed_dot={run: len(texts) + len(across) + i for i, run in enumerate(dots)},
        precision=precision,
    )


def _variant(entries: Mapping[str, Entry], target: Any, specs: Any) -> Variant:
    """Signatures: shapes and dtypes from the plan, what they mean to a person from the Specs."""
    outputs = getattr(target, "outputs", None) or {}
    known_inputs = getattr(target, "inputs", None) or {}
    classes = target.classes if isinstance(target, Entries) else {}
    made = {}
    for name, entry in entries.items():
        given = (specs or {}).get(name, specs or {})
        given = given if isinstance(given, Mapping) else specs or {}
        made[name] = EntrySignature(
            tuple(
                replace(_spec(p, given.get(p.name), known_inputs.get(p.name)), classes=count, ignored=ignored)
                for p, (count, ignored) in ((p, classes.get(p.name, (None, None))) for p in entry.inputs)
            ),
            tuple(_spec(p, outputs.get(p.name)) for p in entry.outputs),
            entry.updates_state,
        )
    return Variant("", made)


def _spec(port: Port, *meanings: Any) -> TensorSpec:
    found: dict[str, Any] = {}
    for key in ("media", "layout", "scale", "mean", "std", "labels"):
        values = (getattr(m, key, None) for m in meanings)
        found[key] = next((v for v in values if v is not None), None)
        if isinstance(found[key], np.ndarray):
            found[key] = found[key].tolist()
    return TensorSpec(port.name, port.abstract.shape, port.abstract.dtype.name, **found)


def _named(variants: Sequence[Variant]) -> tuple[Variant, ...]:
    """Variants named by the shapes of their default entry's inputs."""
    names: list[str] = []
    for v in variants:
        inputs = next(iter(v.entries.values())).inputs
        text = "_".join("x".join(map(str, s.shape)) or "scalar" for s in inputs) or "default"
        names.append(text if text not in names else f"{text}-{len(names)}")
    first = {k: [s.name for s in e.inputs] for k, e in variants[0].entries.items()}
    for v in variants[1:]:
        if {k: [s.name for s in e.inputs] for k, e in v.entries.items()} != first:
            raise BundleError(f"every variant must have the entries and inputs {first}")
    return tuple(Variant(n, v.entries) for n, v in zip(names, variants))
