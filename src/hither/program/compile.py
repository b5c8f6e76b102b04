"""compile: a model or functions, with the shapes they will see, become a Program on a device."""

from __future__ import annotations

import functools
import inspect
import threading
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..array import Array
from ..dtypes import dtype
from ..errors import HitherError, UnsupportedFeature
from ..graph.core import Abstract, Graph, abstract_of
from ..graph.trace import trace_function
from ..graph.tree import flatten, unflatten
from ..kernels.ir import Machine
from ..ops import asarray
from ..passes.bytes import SEVEN_BITS, SIGNED
from ..passes.precision import ACTIVATIONS, FLOAT32, PRECISIONS, Numbers, PrecisionWarning, store_weights
from ..runtime.devices import WITH_NUMPY, default_device, require_device
from .program import DEVICES, Program
from .stored import keep_program, load_program, program_key

if TYPE_CHECKING:
    from .plan import Plan


BYTES = {"wasm": SEVEN_BITS, "wgsl": SIGNED}  # that products are fast with, or exist of; native code takes any


class CompileError(HitherError, ValueError):
    """Something cannot be compiled as asked; says what and what to do."""


def machine_for(device: str) -> Machine:
    """The machine that programs for this device run on."""
    return DEVICES[require_device(device)].machine()


def compile(
    target: Any,
    specs: Mapping[str, Any] | None = None,
    *,
    device: str | None = None,
    precision: str = "float32",
    activations: str = "float32",
    calibrate: Any = None,
    tolerance: Mapping[str, float] | None = None,
    state: Any = None,
    tune: bool = False,
) -> Program:
    """Compile a Model, a function, or several functions as entries of one Program.

    Args:
        target: a Model or a network of layers; a function of arrays returning an array, a tuple or a dict of arrays;
            {entry name: function}; or a Trainer (see `Trainer.as_entries`).
        specs: {input name: Spec} (for several entries, {entry: {input: Spec}} or one dict for all).
        device: "cpu", "webgpu", or "wasm" (what a bundle ships, run through wasmtime).
        precision: how weights are stored: "float32", "float16" in half the memory, or "int8", with a scale for each output
            channel, in a quarter, or "int4", matrices and tables with a scale for each 32 numbers in a seventh and all else
            as int8. They are widened as they are read; all else computes in float32. A weight that this cannot
            hold is stored larger, with a PrecisionWarning. "int8/int8" is int8 with such activations. A Trainer keeps its
            weights in float32. Weights whose values are exactly small ones are stored so anyway.
        activations: what a program computes with between its inputs and outputs. "float32". "float16": what kernels store for
            each other is stored so, in half the memory, and widened as it is read; arithmetic and sums, and with them norms,
            softmax and losses, stay float32, as do inputs, outputs, state, sums over axes and small arrays. Halves reach to
            65504: larger results become infinite, and nothing looks for them unless `calibrate` or `tolerance` is given. Give
            samples, or `tolerance` alone to have it tried on random numbers: what does damage then keeps float32. "int8",
            with int8 weights: what they multiply is rounded to bytes, by scales that are found in every run, or, those of
            convolutions, on the samples of `calibrate` (faster; what lies further out than anything in them becomes the
            largest byte). Bytes hold no NaN: where a convolution's scale is known beforehand (on samples, or because a clip,
            a sigmoid or the like bounds what it multiplies), a NaN becomes some number within the bounds, and results do not
            show it. Scales found in every run pass it on. Where NaN must be seen, leave activations float32, or test what
            goes in.
        calibrate: samples of real inputs, on which the accuracy of a precision is judged: an iterable of {input: array} (or of
            arrays, where there is one input), or one {input: array} of samples stacked along a new first axis. With several
            entries they are of the first, and of those that take the same inputs; or {entry: samples}. Entries without are not
            judged, and the report names them.
        tolerance: {"relative": 0.01} (the default, if samples are given): no output may be further from float32 than that
            share of its largest magnitude. {"top1": 0.99}: how often the largest element along the last axis must be the
            same. Or both. Weights that do too much damage take as small a step towards float32 as will do: from bytes for
            activations to int8 weights alone, from int4 to int8, to float16, to float32; such results keep float32.
            `Program.accuracy` says which, and how accurate the program is. Without samples, random numbers are used, which
            say less.
        state: what survives calls: nested dicts and lists of arrays. Functions are then called as
            `f(state, **inputs)` and return outputs, or `(outputs, new_state)` to change it: of the same structure, shapes and
            dtypes, and nothing is copied that stays as it is. All entries share it. Program.state gives it by path
            ("weights.dense.kernel"), `load_state` takes it back, and a bundle's `save` and `restore` keep it.
        tune: measure the tiles of products on this machine instead of choosing them by rule: some seconds the first time,
            then known from the disk cache. Only for native code; which tiles win, and so the last digits of results, may
            differ from machine to machine.

    What a Model from a file becomes on the CPU is kept on disk, and compiled once per machine (HITHER_CACHE=off: never kept).

    Returns:
        A Program. Outputs of a function are named by its dict's keys; `output_0`… for a tuple, `output` for one array.

    Raises:
        CompileError: without specs, for an unknown precision, for a Trainer in other than float32 (compile the trained network,
            for prediction), for `tune` where the device runs no native code, for a new state that differs from the old in
            structure, shape or dtype.
        AccuracyError: results are not within the tolerance even if everything keeps float32.
        UnknownDevice: there is no device of this name; lists those there are.
        UnsupportedFeature: something in the model has no meaning on the device (float64 on WebGPU).

    Example:
        >>> import numpy as np, hither as ht
        >>> double = ht.compile(lambda x: x * 2, {"x": ht.Spec((3,), "float32")})
        >>> double(np.array([1, 2, 3], np.float32))["output"]
        Array([2., 4., 6.], dtype=float32)
        >>> def count(state, x):
        ...     total = state["total"] + x
        ...     return {"sum": total}, {"total": total}
        >>> counter = ht.compile(count, {"x": ht.Spec((), "int32")}, state={"total": ht.asarray(0)})
        >>> [int(counter(x=5)["sum"]), int(counter(x=2)["sum"]), int(counter.state["total"])]
        [5, 7, 7]
    """
    device = device or default_device()
    numbers = numbers_from(precision, activations)
    refuse_small_state(target, numbers)
    check_specs(specs)
    machine = machine_for(device)
    if tune and machine.name != "llvm":
        raise CompileError(f"tune=True measures native code, and device {device!r} runs none here; compile without it")
    if calibrate is not None or tolerance is not None:
        return accurate(graphs_of(target, specs, state), specs, numbers, calibrate, tolerance, device, tune)
    make_plan = Once(functools.partial(plan_target, target, specs, machine, tune, state, numbers))
    key = program_key(target, specs, machine, tune, (numbers.precision, numbers.activations)) if state is None else None
    stored = None if key is None else load_program(key, machine)
    if stored is not None:
        outline, session = stored
        return Program(make_plan, device, next(iter(outline.entries)), session, outline)
    program = Program(make_plan, device, next(iter(make_plan().entries)))
    if key is not None:
        keep_program(key, program)
    return program


class Once:
    """A Plan that is made when it is first asked for. What it is made from (a model, with all its weights) is let go then."""

    def __init__(self, make: Callable[[], Plan]) -> None:
        self._make: Callable[[], Plan] | None = make
        self._plan: Plan | None = None
        self._lock = threading.Lock()

    def __call__(self) -> Plan:
        with self._lock:
            if self._make is not None:
                self._plan, self._make = self._make(), None
            assert self._plan is not None
            return self._plan


def numbers_from(precision: str, activations: str = "float32") -> Numbers:
    """What is asked for by a precision's name, "int8" or "int8/int8", where activations stand behind the stroke.

    Raises:
        CompileError: what weights and results cannot be stored in, or products computed in; says what there is.
    """
    if not isinstance(precision, str):
        raise CompileError(f"precision= is one of {', '.join(PRECISIONS)}; got a {type(precision).__name__}, {precision!r}")
    if "/" in precision:
        if activations != "float32":
            raise CompileError(f"precision={precision!r} names activations, and so does activations={activations!r}: give one")
        precision, _, activations = precision.partition("/")
    if precision not in PRECISIONS:
        raise CompileError(f"no precision {precision!r}; there are {', '.join(PRECISIONS)}")
    if activations not in ACTIVATIONS:
        raise CompileError(f"no activations {activations!r}; there are {', '.join(ACTIVATIONS)}")
    if activations == "int8" and precision != "int8":
        raise CompileError(f'activations="int8" multiply int8 weights: give precision="int8" too, not {precision!r}')
    return Numbers(precision, activations)


def check_specs(specs: Any) -> None:
    """Refuse what says nothing of shapes and dtypes.

    Raises:
        CompileError: no {input: Spec}, nor {entry: {input: Spec}}; says what it is instead.
    """
    if specs is None:
        return
    if not isinstance(specs, Mapping):
        raise CompileError(
            f'specs= is {{input: hither.Spec}}, e.g. {{"x": hither.Spec((1, 3), "float32")}}; got a {type(specs).__name__} '
            "(several shapes over the same weights are for hither.bundle, which takes a list of such dicts)"
        )
    for name, spec in specs.items():
        if isinstance(spec, Mapping):
            check_specs(spec)
        elif not (hasattr(spec, "shape") and hasattr(spec, "dtype")) and not hasattr(spec, "abstract"):
            got = f"a {type(spec).__name__}, {spec!r}"
            raise CompileError(f'the spec of {name!r} is a hither.Spec, e.g. hither.Spec((1, 3), "float32"); got {got}')


def refuse_small_state(target: Any, numbers: Numbers) -> None:
    """Refuse small weights for what trains: those that change are state, which stays float32.

    Raises:
        CompileError: it is a Trainer, and its weights would not be float32.
    """
    if hasattr(target, "as_entries") and numbers.precision != "float32":
        raise CompileError(
            f"a Trainer keeps its weights in float32, and precision is {numbers.name!r}: leave precision out, or compile or "
            'bundle the trained network, net.as_model(), which predicts in small numbers; activations="float16" is for both'
        )


def reduce_numbers(graph: Graph, machine: Machine, numbers: Numbers) -> Graph:
    """A Graph with its weights and results stored and its products computed as asked, as far as the machine can."""
    if numbers.activations == "int8" and not machine.dot:
        warnings.warn(
            f"{machine.name} has no products of bytes here: weights are {numbers.precision}, products computed in float32",
            PrecisionWarning,
            stacklevel=2,
        )
        numbers = replace(numbers, activations="float32")
    if numbers.activations == "float16":
        from ..kernels.halves import store_halves  # as the passes, not before something is compiled

        graph = store_halves(graph, numbers)
    return store_weights(graph, replace(numbers, byte=BYTES.get(machine.name, numbers.byte)))


def plan_target(
    target: Any,
    specs: Mapping[str, Any] | None,
    machine: Machine,
    tune: bool = False,
    state: Any = None,
    numbers: Numbers = FLOAT32,
) -> Plan:
    """Everything short of code generation: trace, passes, fusion, memory plan. `tune`: as for compile."""
    return plan_graphs(graphs_of(target, specs, state), machine, tune, numbers)


def plan_graphs(graphs: Mapping[str, Graph], machine: Machine, tune: bool = False, numbers: Numbers = FLOAT32) -> Plan:
    """The Plan of entries as they were traced."""
    from ..passes import optimize  # not before something is compiled: programs from disk need neither
    from .plan import plan

    lengths = {name: lengths_of(graph) for name, graph in graphs.items()}
    optimized = {name: reduce_numbers(optimize(graph), machine, numbers) for name, graph in graphs.items()}
    for graph in optimized.values():
        check_dtypes(graph, machine)
    tiles = None
    if tune:
        from .tune import TileSearch

        tiles = TileSearch(machine)
    return plan(optimized, machine, lengths, tiles, state_of(graphs.values()))


def accurate(
    graphs: Mapping[str, Graph],
    specs: Mapping[str, Any] | None,
    numbers: Numbers,
    calibrate: Any,
    tolerance: Mapping[str, float] | None,
    device: str = "cpu",
    tune: bool = False,
) -> Program:
    """A program of entries as they were traced, the first of which is as accurate as asked for. See `compile`."""
    from .accuracy import guard

    def compiled(numbers: Numbers) -> Program:
        made = plan_graphs(graphs, machine_for(device), tune, numbers)
        return Program(made, device, next(iter(made.entries)))

    judged = replace(numbers, byte=BYTES.get(machine_for(device).name, numbers.byte))
    program, report = guard(graphs, specs, judged, compiled, calibrate, tolerance)
    program.accuracy = report
    return program


def lengths_of(graph: Graph) -> dict[str, tuple[str, int]]:
    """{output: (output that says how much of it is valid, axis)} of outputs whose extents are known at run time only."""
    found = getattr(graph, "output_lengths", {})
    return {out: (graph.output_names[index], axis) for out, (index, axis) in found.items()}


@dataclass(frozen=True, eq=False)
class StatefulGraph(Graph):
    """A Graph some of whose inputs, and outputs of the same names, are what survives calls; `state` has their first values."""

    state: Mapping[str, np.ndarray] = field(default_factory=dict)


def state_of(graphs: Iterable[Graph]) -> dict[str, np.ndarray]:
    """{name: value before the first call} of what survives calls, over all graphs: equal names are one value."""
    found: dict[str, np.ndarray] = {}
    for graph in graphs:
        found.update(getattr(graph, "state", {}))
    return found


def named_state(state: Any) -> dict[str, np.ndarray]:
    """The leaves of a state by path: keys of dicts and places in lists, joined by points.

    Raises:
        CompileError: no dict or list, two leaves of the same path, or a leaf that is no array.
    """
    if not isinstance(state, Mapping | list | tuple | None):
        raise CompileError(f"state= is a dict or list of arrays, nested or not; got {type(state).__name__}")
    leaves, _ = flatten(state)
    named: dict[str, np.ndarray] = {}
    for path, leaf in zip(_paths(state), leaves, strict=True):
        array = leaf.numpy() if isinstance(leaf, Array) else np.asarray(leaf)
        if array.dtype.kind not in "biuf":
            raise CompileError(f"the state {path!r} is a {type(leaf).__name__}; a state holds arrays of numbers")
        if path in named:
            raise CompileError(f"two arrays of the state have the path {path!r}; rename a key that has a point in it")
        named[path] = array
    return named


def _paths(state: Any, prefix: str = "") -> list[str]:
    if state is None:
        return []
    if not isinstance(state, Mapping | list | tuple):
        return [prefix]
    items = state.items() if isinstance(state, Mapping) else enumerate(state)
    return [path for key, part in items for path in _paths(part, f"{prefix}.{key}" if prefix else str(key))]


@dataclass(frozen=True)
class Entries:
    """Functions over one state, each with its inputs' specs: what something that has `as_entries` (a Trainer) is compiled as.

    `specs` are {entry: {input: Spec or Abstract}}; `state` is as for `compile`. `frozen` are {name: array}, named like state,
    of what the functions hold as constants: bundles give them back under these names. `classes` are {input: (how many classes
    it has numbers of, which number is ignored)}.
    """

    functions: Mapping[str, Callable[..., Any]]
    specs: Mapping[str, Mapping[str, Any]]
    state: Any
    frozen: Mapping[str, np.ndarray] = field(default_factory=dict)
    classes: Mapping[str, tuple[int, int | None]] = field(default_factory=dict)


def as_target(target: Any, specs: Mapping[str, Any] | None) -> Any:
    """What to compile: a network of layers as the Model that it is, a Trainer as its Entries, anything else as it is."""
    if hasattr(target, "as_entries"):
        return target.as_entries(specs)
    return target.as_model(specs) if hasattr(target, "as_model") else target


def graphs_of(target: Any, specs: Mapping[str, Any] | None, state: Any = None) -> dict[str, Graph]:
    """Entry name → Graph for whatever `compile` and `bundle` take."""
    check_specs(specs)
    target = as_target(target, specs)
    if hasattr(target, "graph") and hasattr(target, "inputs"):
        if state is not None:
            raise CompileError("state= is for functions; a Model brings what survives its calls itself")
        return {"predict": target.graph(specs)}
    if isinstance(target, Entries):
        if state is not None:
            raise CompileError("state= is for functions; a Trainer brings what survives its calls itself")
        return {name: trace_entry(f, target.specs[name], name, target.state) for name, f in target.functions.items()}
    functions = target if isinstance(target, Mapping) else {"predict": target}
    if not all(callable(f) for f in functions.values()):
        raise CompileError(f"can compile a Model, a function or a dict of functions, got {type(target).__name__}")
    if specs is None:
        raise CompileError(
            "compile needs the shapes of the inputs: compile(f, {'x': hither.Spec((1, 3), 'float32')}); "
            "to compile for whatever shapes come, use hither.jit"
        )
    per_entry = all(isinstance(s, Mapping) for s in specs.values()) and set(specs) == set(functions)
    return {name: trace_entry(f, specs[name] if per_entry else specs, name, state) for name, f in functions.items()}


def trace_entry(function: Callable[..., Any], specs: Mapping[str, Any], name: str, state: Any = None) -> Graph:
    """The Graph of a function called with these inputs, by keyword where its parameters have their names.

    With a state, it is called with that first, and the Graph has its leaves as inputs and, where they change, as outputs.
    """
    kept = named_state(state)
    taken = [n for n in specs if n in kept]
    if taken:
        raise CompileError(f"{name}: the input {taken[0]!r} has the name of a part of the state; rename one of them")
    structure = flatten(state)[1]
    abstracts = [*map(abstract_of, kept.values()), *(abstract_of_spec(n, s) for n, s in specs.items())]
    parameters = dict(list(inspect.signature(function).parameters.items())[0 if state is None else 1 :])
    keywords = {n for n, p in parameters.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    by_keyword = keywords >= set(specs) or any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    output_names: list[str] = []

    def flat(*tracers: Any) -> Sequence[Any]:
        first = () if state is None else (unflatten(structure, tracers[: len(kept)]),)
        inputs = tracers[len(kept) :]
        result = function(*first, **dict(zip(specs, inputs, strict=True))) if by_keyword else function(*first, *inputs)
        changed: dict[str, Any] = {}
        if (
            state is not None
            and isinstance(result, tuple)
            and len(result) == 2
            and isinstance(result[1], Mapping | list | tuple)
        ):
            result, after = result
            changed = _changed(after, kept, name)
        named = name_outputs(result)
        for output, value in named.items():
            _check_output(value, output, name)
        clash = [n for n in named if n in kept]
        if clash:
            raise CompileError(f"{name}: the output {clash[0]!r} has the name of a part of the state; rename one of them")
        output_names.extend((*named, *changed))
        return [*named.values(), *changed.values()]

    graph, captured = trace_function(flat, abstracts, [*kept, *specs], name=name)
    if captured:
        raise CompileError("compile was called inside a traced function; call it outside, or use hither.jit")
    return StatefulGraph(
        graph.inputs, graph.constants, graph.nodes, graph.outputs, graph.input_names, tuple(output_names), name, kept
    )


def _check_output(value: Any, output: str, entry: str) -> None:
    try:
        asarray(value)
    except (TypeError, ValueError) as error:
        raise CompileError(
            f"{entry}: the output {output!r} is a {type(value).__name__}, no array; return an array, or a tuple or dict of them"
        ) from error


def _changed(after: Any, kept: Mapping[str, np.ndarray], entry: str) -> dict[str, Any]:
    """The new state by path, checked against the old."""
    found = dict(zip(_paths(after), map(asarray, flatten(after)[0]), strict=True))
    if set(found) != set(kept):
        fresh, lost = [p for p in found if p not in kept], [p for p in kept if p not in found]
        what = f"{fresh[0]!r} is new" if fresh else f"{lost[0]!r} is missing"
        raise CompileError(f"{entry} returns another state than it was given: {what}; return the same structure")
    for path, value in found.items():
        old, new = abstract_of(kept[path]), Abstract(tuple(value.shape), dtype(value.dtype))
        if old != new:
            raise CompileError(
                f"{entry}: the state {path!r} is {old} and becomes {new}; what survives calls must keep its shape and dtype"
            )
    return {path: found[path] for path in kept}


def name_outputs(result: Any) -> dict[str, Any]:
    """A function's result as {name: array}: dict keys, `output_0`… for a tuple or list, `output` for one array."""
    if isinstance(result, Mapping):
        return {str(k): v for k, v in result.items()}
    if isinstance(result, tuple | list):
        return {f"output_{i}": v for i, v in enumerate(result)}
    return {"output": result}


def abstract_of_spec(name: str, spec: Any) -> Abstract:
    """The Abstract of a Spec, an Abstract, or anything with a shape and a dtype."""
    if isinstance(spec, Abstract):
        return spec
    if hasattr(spec, "abstract"):
        return spec.abstract(name)
    return Abstract(tuple(spec.shape), dtype(spec.dtype))


def check_dtypes(graph: Graph, machine: Machine) -> None:
    """Refuse what the machine cannot hold, naming where it comes from.

    Raises:
        UnsupportedFeature: float64 on a GPU, complex inputs and results anywhere (between them are pairs, by passes/pairs.py).
    """
    for value in graph.inputs:
        if value.dtype.kind == "c":
            said = f"give hither.real and hither.imag of it, and hither.make_complex inside, or {WITH_NUMPY}"
            raise UnsupportedFeature(f"input {value.name!r} is {value.dtype}, which {machine.name} does not take; {said}")
    for node in graph.nodes:
        for value in node.results:
            kind = value.dtype
            if kind.kind == "c":
                said = f"return hither.real and hither.imag of it, or {WITH_NUMPY}"
                raise UnsupportedFeature(f"a result is {kind}, which {machine.name} does not give; {said}")
            if machine.gpu and kind.name == "float64":
                where = node.source or node.primitive.name
                raise UnsupportedFeature(f"{where}: {kind} does not run on {machine.name}; convert to float32, or {WITH_NUMPY}")
        for inner in node.params.values():
            if isinstance(inner, Graph):
                check_dtypes(inner, machine)
    for value in graph.inputs:
        if machine.gpu and value.dtype.name == "float64":
            raise UnsupportedFeature(f"input {value.name!r} is {value.dtype}, which {machine.name} cannot hold")
