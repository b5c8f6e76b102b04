"""Model: a network with named inputs, outputs and weights, whatever file format it came from.

A format's importer gives a Model a function that rebuilds the network on arrays. Tracing it for concrete shapes gives a
Graph, so free dimensions cost nothing: each combination of shapes that is used is specialised, compiled and kept.
"""

from __future__ import annotations

import copy
import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from .array import Array
from .dtypes import dtype
from .errors import InvalidModel, NameMismatch, NeedsValue, UnsupportedFeature
from .graph.core import Abstract, Graph, evaluate
from .graph.trace import Tracer, trace_function
from .runtime.devices import default_device
from .spec import Spec, plain_array

if TYPE_CHECKING:
    from .program.profile import Profile

MAX_STATIC_BYTES = 4096  # of one input that is compiled in by value
MAX_PROGRAMS = 64  # specialisations that a Model keeps


@dataclass(frozen=True)
class BoundedOutput:
    """An output of data-dependent size: `data` has room for the largest, of which `length` entries along `axis` count."""

    data: Any
    length: Any
    axis: int


@dataclass(frozen=True, eq=False)
class ModelGraph(Graph):
    """A Graph whose outputs may have to be trimmed where they leave the program.

    `output_lengths` maps the name of such an output to (index of the companion output that holds its length, axis). The
    companions come after the named outputs and are no outputs to the user. `state` holds what survives calls, by name, as it is
    before the first: each is an input of the Graph and, under the same name, one of its last outputs.
    """

    output_lengths: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    state: Mapping[str, np.ndarray] = field(default_factory=dict)


Build = Callable[[Mapping[str, Any]], Mapping[str, Any]]


class Model:
    """A network: `inputs` and `outputs` {name: Spec}, `weights` {name: array}, `metadata` {str: str}.

    Call it with an array for its only input, with arrays by keyword or by dict; it returns {output name: Array} in order. It
    is compiled for the shapes it is called with, once for each.

    Args:
        build: the network as a function of {input name: array or traced array} to {output name: …}.
        state: {name: value before the first call} of what survives calls. `build` is given it among the inputs and gives
            what it is afterwards among the outputs.
        device, precision, activations, tune: what to compile for, and how (see hither.compile); device "numpy" evaluates
            the Graph without compiling, and is one for Models alone.

    Example:
        >>> model = hither.load("model.onnx")                  # doctest: +SKIP
        >>> model(image=x)["scores"]                           # doctest: +SKIP
    """

    module: Any = None  # the hither.nn module whose network this is, if it is one
    packed: bool = False  # whether the weights lie as compiled code reads them, not as the network has them
    identity: str | None = None  # stands for all that `build` computes, where that is known: what programs are stored under

    def __init__(
        self,
        build: Build,
        inputs: Mapping[str, Spec],
        outputs: Mapping[str, Spec],
        *,
        weights: Mapping[str, np.ndarray] | None = None,
        metadata: Mapping[str, str] | None = None,
        name: str = "model",
        device: str | None = None,
        precision: str | None = None,
        activations: str | None = None,
        tune: bool = False,
        state: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        self._build = build
        self.inputs = dict(inputs)
        self.outputs = dict(outputs)
        self.weights: Mapping[str, np.ndarray] = dict(weights or {})
        self.metadata = dict(metadata or {})
        self.name = name
        self.device = device
        self.precision, self.activations = precision, activations
        self._check_numbers()
        self.tune = tune
        self._initial = dict(state or {})
        self._keeper: Any = None  # the program that ran last: it holds the state
        self._turn = threading.Lock()  # of programs that share a state
        self._guard = threading.Lock()  # over `_programs`: threads may call a Model at the same time
        self._static: set[str] = set()
        self._programs: OrderedDict[Any, Callable[[dict[str, np.ndarray]], dict[str, Array]]] = OrderedDict()

    # -- other views of the same network ---------------------------------------------------------------------------------

    def rename(self, names: Mapping[str, str]) -> Model:
        """The same model with inputs and outputs under other names.

        Raises:
            NameMismatch: if a name is no input or output, or two would become the same.
        """
        unknown = [n for n in names if n not in self.inputs and n not in self.outputs]
        if unknown:
            raise NameMismatch(
                f"cannot rename {unknown[0]!r}: inputs are {_names(self.inputs)}, outputs are {_names(self.outputs)}"
            )
        inputs = {names.get(n, n): s for n, s in self.inputs.items()}
        outputs = {names.get(n, n): s for n, s in self.outputs.items()}
        if len(inputs) != len(self.inputs) or len(outputs) != len(self.outputs):
            raise NameMismatch(f"renaming {dict(names)} would give two inputs or two outputs the same name")
        taken = [n for n in self._initial if n in inputs or n in outputs]
        if taken:
            raise NameMismatch(f"renaming {dict(names)} would give an input or output the name of the state {taken[0]!r}")
        build = self._build

        def renamed(arrays: Mapping[str, Any]) -> dict[str, Any]:
            kept = {n: arrays[n] for n in self._initial}
            results = build({old: arrays[new] for old, new in zip(self.inputs, inputs)} | kept)
            return {names.get(n, n): value for n, value in results.items()}

        other = self._copy()
        other._build, other.inputs, other.outputs = renamed, inputs, outputs
        other._static = {names.get(n, n) for n in self._static}
        if self.identity is not None:
            other.identity = f"{self.identity} with other names: {sorted(names.items())}"
        return other

    def to(
        self, device: str | None = None, precision: str | None = None, tune: bool | None = None, activations: str | None = None
    ) -> Model:
        """The same model for another device, in other numbers or with measured tiles (see hither.compile).

        Raises:
            CompileError: for an unknown precision or activations.
        """
        other = self._copy()
        other.device = device or self.device
        other.precision = precision or self.precision
        other.activations = activations or self.activations
        other.tune = self.tune if tune is None else tune
        other._check_numbers()
        return other

    def _check_numbers(self) -> None:
        if self.precision is not None or self.activations is not None:
            from .program.compile import numbers_from

            numbers_from(self.precision or "float32", self.activations or "float32")

    def with_specs(self, specs: Mapping[str, Spec]) -> Model:
        """The same model with more said about some inputs and outputs (media, labels, fixed extents)."""
        other = self._copy()
        for name, spec in specs.items():
            if name in self.inputs:
                other.inputs[name] = spec
            elif name in self.outputs:
                other.outputs[name] = spec
            else:
                raise NameMismatch(
                    f"no input or output {name!r}: inputs are {_names(self.inputs)}, outputs are {_names(self.outputs)}"
                )
        return other

    def _copy(self) -> Model:
        other = copy.copy(self)
        other.inputs, other.outputs = dict(self.inputs), dict(self.outputs)
        other._static, other._programs = set(self._static), OrderedDict()
        other._guard = threading.Lock()
        other._keeper, other._turn = None, threading.Lock()  # a state of its own
        return other

    # -- Graphs --------------------------------------------------------------------------------------------------------------

    def graph(
        self, specs: Mapping[str, Spec | Abstract] | None = None, static: Mapping[str, np.ndarray] | None = None
    ) -> ModelGraph:
        """The network as a Graph for concrete shapes.

        Args:
            specs: a Spec without free extents, or an Abstract, for each input whose own Spec leaves something free. A Spec
                with a value makes the input a constant.
            static: values of more inputs that become constants.

        Returns:
            A Graph whose inputs are those that are not constants, in the model's order.

        Raises:
            NeedsValue: if a shape depends on the values of an input that is not given.
            ShapeMismatch: if an extent stays free, or a given one contradicts the model.
        """
        abstracts, constants = self._bound(specs, static)
        abstracts |= {name: Abstract(a.shape, dtype(a.dtype)) for name, a in self._initial.items()}
        names: list[str] = []
        lengths: dict[str, tuple[int, int]] = {}

        def function(*tracers: Any) -> list[Any]:
            results = dict(self._build({**constants, **dict(zip(abstracts, tracers))}))
            kept = self._kept(results)
            flat: list[Any] = []
            companions: list[Any] = []
            for name, value in results.items():
                names.append(name)
                if isinstance(value, BoundedOutput):
                    lengths[name] = (len(results) + len(companions), value.axis)
                    companions.append(value.length)
                    value = value.data
                flat.append(value)
            names.extend(f"{name}.length" for name in lengths)
            names.extend(kept)
            return flat + companions + list(kept.values())

        graph, _ = trace_function(function, list(abstracts.values()), list(abstracts), name=self.name)
        return ModelGraph(
            graph.inputs, graph.constants, graph.nodes, graph.outputs, graph.input_names, tuple(names), graph.name, lengths,
            self._initial,
        )  # fmt: skip

    def _kept(self, results: dict[str, Any]) -> dict[str, Any]:
        """What of the results of `build` is the state, taken out of them.

        Raises:
            UnsupportedFeature: a value changed its shape or dtype.
        """
        kept = {name: results.pop(name) for name in self._initial}
        for name, value in kept.items():
            initial = self._initial[name]
            if tuple(value.shape) != initial.shape or dtype(value.dtype) != dtype(initial.dtype):
                raise UnsupportedFeature(
                    f"{self.name}: the state {name!r} is {initial.dtype}{list(initial.shape)} and becomes "
                    f"{value.dtype}{list(value.shape)}; what survives calls must keep its shape and dtype"
                )
        return kept

    def _bound(
        self, specs: Mapping[str, Spec | Abstract] | None, static: Mapping[str, np.ndarray] | None
    ) -> tuple[dict[str, Abstract], dict[str, Array]]:
        """The inputs that stay inputs, and those that become constants; checked."""
        given, values = dict(specs or {}), dict(static or {})
        for name in (*given, *values):
            if name not in self.inputs:
                raise NameMismatch(f"{self.name} has no input {name!r}; its inputs are {_names(self.inputs)}")
        abstracts: dict[str, Abstract] = {}
        constants: dict[str, Array] = {}
        for name, own in self.inputs.items():
            spec = given.get(name, own)
            value = values.get(name, spec.value if isinstance(spec, Spec) else None)
            if value is not None:
                value = np.asarray(value)
                own.check(f"input {name!r}", value)
                constants[name] = Array(value)
                continue
            abstracts[name] = spec.abstract(name) if isinstance(spec, Spec) else spec
            own.check(f"input {name!r}", abstracts[name])
        return abstracts, constants

    def fingerprint(self, specs: Mapping[str, Spec | Abstract] | None = None) -> tuple[str, ...]:
        """What tells `graph(specs)` from all other Graphs without tracing it; for models that have an identity.

        Raises:
            NameMismatch, ShapeMismatch, DTypeMismatch: as `graph` does.
        """
        abstracts, constants = self._bound(specs, None)
        inputs = [f"{name!r}: {abstract.dtype.name} {abstract.shape}" for name, abstract in abstracts.items()]
        for name, array in constants.items():
            value = array.numpy()
            inputs.append(f"{name!r} = {value.dtype} {value.shape} {hashlib.sha256(value.tobytes()).hexdigest()}")
        return str(self.identity), *inputs

    # -- calls ---------------------------------------------------------------------------------------------------------------

    def __call__(self, *args: Any, **kwargs: Any) -> dict[str, Array]:
        """Run the network.

        Args:
            *args: the array of the only input, or one {name: array}.
            **kwargs: arrays by input name.

        Returns:
            {output name: Array}, in the model's order. With a traced array among the arguments, inside a function that is
            being compiled, the network becomes part of that function and the results are traced arrays.

        Raises:
            NameMismatch, ShapeMismatch, DTypeMismatch: if the arrays are not those that the model takes.
        """
        named = self._named(args, kwargs)
        if any(isinstance(x, Tracer) for x in named.values()):
            return self._inline(named)
        program, rest = self._program(self._arrays(named))
        if not self._initial:
            return program(rest)
        with self._turn:
            if self._keeper is not program:
                if self._keeper is not None:
                    program.load_state(self._keeper.state)
                else:
                    program.reset()
                self._keeper = program
            return program(rest)

    @property
    def state(self) -> dict[str, Array]:
        """What survives calls, as it is now: {name: Array}; empty for most networks."""
        with self._turn:
            return {n: Array(a) for n, a in self._initial.items()} if self._keeper is None else self._keeper.state

    def reset(self) -> None:
        """Make the state what it was before the first call."""
        with self._turn:
            self._keeper = None

    def profile(self, *args: Any, repeats: int = 20, **kwargs: Any) -> Profile:
        """Where the time of a run goes, kernel by kernel: see `Program.profile`. Inputs are given as for a call.

        Raises:
            UnsupportedFeature: the model has no kernels that could be timed (device "numpy", a bundle).
        """
        from .program import Program

        program, rest = self._program(self._arrays(self._named(args, kwargs)))
        if not isinstance(program, Program):
            raise UnsupportedFeature(f"{self.name} has no kernels to profile here; load the model itself, on a device")
        return program.profile(rest, repeats=repeats)

    def _program(self, arrays: Mapping[str, np.ndarray]) -> tuple[Any, dict[str, np.ndarray]]:
        """What runs the network for such arrays, compiled at first use, and those that are its inputs."""
        while True:
            static = {n: a for n, a in arrays.items() if n in self._static}
            where = self.device or default_device()
            key = (where, *((n, a.dtype.str, a.shape, a.tobytes() if n in static else None) for n, a in arrays.items()))
            with self._guard:
                program = self._programs.get(key)
            if program is None or getattr(program, "lost", False):
                try:
                    program = self._specialise(arrays, static)
                except NeedsValue as need:
                    self._learn(need, arrays)
                    continue
            with self._guard:
                self._programs[key] = program
                self._programs.move_to_end(key)
                if len(self._programs) > MAX_PROGRAMS:
                    self._programs.popitem(last=False)
            return program, {n: a for n, a in arrays.items() if n not in static}

    def _learn(self, need: NeedsValue, arrays: Mapping[str, np.ndarray]) -> None:
        """Treat the inputs that a shape depends on as constants from now on."""
        fresh = [n for n in need.inputs if n not in self._static]
        if not fresh:
            raise need
        for name in fresh:
            if arrays[name].nbytes > MAX_STATIC_BYTES:
                raise InvalidModel(
                    f"{need.where}: {need.what} depends on the values of input {name!r}, which is too large "
                    f"({arrays[name].nbytes} bytes, at most {MAX_STATIC_BYTES}) to be compiled in by value"
                ) from need
        self._static.update(fresh)

    def _inline(self, named: Mapping[str, Any]) -> dict[str, Any]:
        """The network on traced arrays, as part of the trace that they belong to."""
        if self._initial:
            raise UnsupportedFeature(
                f"{self.name} keeps state from call to call ({_names(self._initial)}), which a function that is being traced "
                "cannot; compile the model on its own"
            )
        operands: dict[str, Any] = {}
        for name, spec in self.inputs.items():
            x = named[name]
            operands[name] = x if isinstance(x, Tracer) else Array(_as_numpy(x, spec, name))
            spec.check(f"input {name!r}", operands[name])
        results = dict(self._build(operands))
        for name, value in results.items():
            if isinstance(value, BoundedOutput):
                raise UnsupportedFeature(
                    f"output {name!r} of {self.name} has a size that depends on data, which cannot be used inside another "
                    "function; compile the model on its own and go on with its result"
                )
        return results

    def _named(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """The arguments of a call by input name, each input once."""
        named = dict(kwargs)
        if len(args) == 1 and isinstance(args[0], Mapping):
            named = {**args[0], **kwargs}
        elif args:
            if len(args) > 1 or len(self.inputs) != 1:
                raise NameMismatch(
                    f"{self.name} has {len(self.inputs)} inputs, {_names(self.inputs)}: name them, as in "
                    f"model({{{next(iter(self.inputs), 'x')!r}: x}})"
                )
            named = {**kwargs, next(iter(self.inputs)): args[0]}
        unknown = [n for n in named if n not in self.inputs]
        missing = [n for n in self.inputs if n not in named]
        if unknown or missing:
            what = f"has no input {unknown[0]!r}" if unknown else f"misses input {missing[0]!r}"
            raise NameMismatch(f"{self.name} {what}; its inputs are {_names(self.inputs)}")
        return named

    def _arrays(self, named: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """One checked array for each input, in order."""
        arrays: dict[str, np.ndarray] = {}
        for name, spec in self.inputs.items():
            array = _as_numpy(named[name], spec, name)
            spec.check(f"input {name!r}", array)
            arrays[name] = array
        return arrays

    def _specialise(
        self, arrays: Mapping[str, np.ndarray], static: Mapping[str, np.ndarray]
    ) -> Callable[[dict[str, np.ndarray]], dict[str, Array]]:
        """A function that runs the network for arrays of these shapes, with `static` compiled in."""
        if self.device == "numpy":
            abstracts = {n: Abstract(a.shape, dtype(a.dtype)) for n, a in arrays.items() if n not in static}
            return _Evaluated(self.graph(abstracts, static))
        from .program import compile

        specs = {n: Spec(a.shape, a.dtype, value=a if n in static else None) for n, a in arrays.items()}
        activations = self.activations or "float32"
        return compile(
            self, specs, device=self.device, precision=self.precision or "float32", activations=activations, tune=self.tune
        )

    def __repr__(self) -> str:
        inputs = ", ".join(f"{n}: {s}" for n, s in self.inputs.items())
        outputs = ", ".join(f"{n}: {s}" for n, s in self.outputs.items())
        return f"<Model {self.name} ({inputs}) -> ({outputs})>"


class _Evaluated:
    """A specialised model on the NumPy evaluator: the oracle of every compiled one."""

    def __init__(self, graph: ModelGraph) -> None:
        self.graph = graph
        self.state: dict[str, Array] = {}
        self.reset()

    def __call__(self, named: dict[str, np.ndarray]) -> dict[str, Array]:
        arrays = {**named, **{n: a.numpy() for n, a in self.state.items()}}
        results = evaluate(self.graph, *[arrays[n] for n in self.graph.input_names])
        self.state = {n: Array(a) for n, a in zip(self.state, results[len(results) - len(self.state) :])}
        return trim(self.graph, results)

    def load_state(self, values: Mapping[str, Array]) -> None:
        self.state = dict(values)

    def reset(self) -> None:
        self.state = {n: Array(a) for n, a in self.graph.state.items()}


def trim(graph: ModelGraph, results: Sequence[np.ndarray]) -> dict[str, Array]:
    """The named outputs of a run, those of data-dependent size cut to it."""
    found: dict[str, Array] = {}
    hidden = len(graph.output_lengths) + len(graph.state)
    for name, array in zip(graph.output_names[: len(graph.output_names) - hidden], results):
        if name in graph.output_lengths:
            index, axis = graph.output_lengths[name]
            array = np.ascontiguousarray(array.take(np.arange(int(results[index])), axis))
        found[name] = Array(array)
    return found


def _as_numpy(x: Any, spec: Spec, name: str) -> np.ndarray:
    """An argument as an array; Python numbers and lists take the input's dtype, arrays keep theirs."""
    if isinstance(x, Array):
        return x.numpy()
    if isinstance(x, np.ndarray | np.generic):
        return np.asarray(x)
    if hasattr(x, "__array__"):
        return np.asarray(x)
    return plain_array(name, x, spec.dtype)


def _names(names: Mapping[str, Any]) -> str:
    return ", ".join(map(repr, names)) or "none"
