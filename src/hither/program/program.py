"""Program: named entries over shared weights, compiled for one device and ready to run.

Calling one hands inputs in, runs one native function (or replays recorded dispatches), and copies results out. Nothing is
planned, compiled or allocated on the device per call.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ..array import Array
from ..errors import DTypeMismatch, NameMismatch, ShapeMismatch
from ..graph.core import Abstract
from ..kernels.ir import Machine
from ..runtime.device_array import DeviceArray
from ..runtime.threads import get_num_threads
from ..spec import plain_array
from .cpu import CpuSession
from .signature import Entry, Outline, Port, outline
from .wasm import WasmSession, warn_no_llvm

if TYPE_CHECKING:
    from .accuracy import AccuracyReport
    from .plan import Plan
    from .profile import Profile

PlanSource = Callable[[], "Plan"]


class Session(Protocol):
    """Code on a device with its own state and arena: what a Program drives."""

    @property
    def lost(self) -> bool: ...  # pragma: no cover

    def call(self, entry: str, inputs: list[tuple[Port, Any]], outputs: list[Port], stay: bool) -> list[Any]:
        """Inputs are host arrays, or Tensors of the session's device; with `stay` results are Tensors too."""
        ...  # pragma: no cover

    def read_state(self, ports: list[Port]) -> list[np.ndarray]: ...  # pragma: no cover

    def write_state(self, values: list[tuple[Port, np.ndarray]]) -> None: ...  # pragma: no cover

    def fork(self) -> Session: ...  # pragma: no cover

    def adopt_state(self, other: Session) -> bool: ...  # pragma: no cover

    def resident(self) -> dict[str, int]: ...  # pragma: no cover


class WebGpuSession:
    """A session of the native WebGPU target."""

    def __init__(self, plan: Plan, executable: Any = None) -> None:
        from ..runtime.webgpu import WebGpuExecutable

        self.plan = plan
        if executable is None:
            executable = WebGpuExecutable(plan.code, plan.machine, plan.weights_image())
            plan.release(executable.stored)
        self.executable = executable
        self._lock = threading.Lock()

    @property
    def lost(self) -> bool:
        return bool(self.executable.device.lost)

    def call(self, entry: str, inputs: list[tuple[Port, Any]], outputs: list[Port], stay: bool = False) -> list[Any]:
        with self._lock:
            run = self.executable.run_there if stay else self.executable.run
            return run(
                entry,
                [(port.ref, array, port.name) for port, array in inputs if port.abstract.size],
                [(port.ref, port.abstract.dtype, port.abstract.shape) for port in outputs],
            )

    def read_state(self, ports: list[Port]) -> list[np.ndarray]:
        with self._lock:
            return self.executable.read([(port.ref, port.abstract.dtype, port.abstract.shape) for port in ports])

    def write_state(self, values: list[tuple[Port, np.ndarray]]) -> None:
        with self._lock:
            for port, array in values:
                if array.size:
                    self.executable.write(port.ref, array, port.name)

    def fork(self) -> WebGpuSession:
        return WebGpuSession(self.plan, self.executable.fork())

    def adopt_state(self, other: Session) -> bool:
        if not isinstance(other, WebGpuSession) or not self.executable.adopt_state(other.executable):
            return False
        self._lock = other._lock
        return True

    def resident(self) -> dict[str, int]:
        held = self.executable.memory()
        return {"weights": held["weights"], "state": held["state"], "arena": held["arena"] + held["io"] + held["staging"]}


@dataclass(frozen=True)
class Device:
    """Where programs run: what to compile for, and the session that runs a plan there."""

    machine: Callable[[], Machine]
    session: Callable[[Plan], Session]


def _host() -> Machine:
    from ..runtime import cpu

    if cpu.has_llvm():
        return cpu.host_machine()
    warn_no_llvm()
    return _wasm()


def _host_session(plan: Plan) -> Session:
    return WasmSession(plan) if plan.machine.name == "wasm" else CpuSession.of_plan(plan)


def _adapter() -> Machine:
    from ..runtime.webgpu_device import webgpu_machine

    return webgpu_machine()


def _wasm() -> Machine:
    from ..runtime.wasm import wasm_machine

    return wasm_machine()


DEVICES = {
    "cpu": Device(_host, _host_session),
    "webgpu": Device(_adapter, WebGpuSession),
    "wasm": Device(_wasm, WasmSession),
}


class Program:
    """A compiled model or function.

    Example:
        prog = ht.compile(lambda x: x * 2, {"x": ht.Spec((3,), "float32")})
        prog(x=np.ones(3, np.float32))["output"]
    """

    def __init__(
        self,
        plan: Plan | PlanSource,
        device: str,
        default_entry: str,
        session: Session | None = None,
        outline_of_plan: Outline | None = None,
    ) -> None:
        self._make_plan: PlanSource = plan if callable(plan) else lambda: plan
        self.device, self.default_entry = device, default_entry
        self.outline = outline_of_plan or outline(self.plan)
        self.session = session or DEVICES[device].session(self.plan)
        self.accuracy: AccuracyReport | None = None  # of a program that was compiled with `calibrate` or `tolerance`
        self.reset()

    @property
    def plan(self) -> Plan:
        """Kernels, steps and weights; a program from disk traces and lowers its model when it is first asked for them."""
        return self._make_plan()

    @property
    def lost(self) -> bool:
        """Whether the device that it is on went away, so that it cannot run any more."""
        return self.session.lost

    @property
    def entries(self) -> dict[str, Entry]:
        """Name → signature (inputs and outputs with shapes and dtypes)."""
        return self.outline.entries

    def __call__(self, *args: Any, **kwargs: Any) -> dict[str, Array]:
        """Run the default entry: `prog(x)`, `prog(image=x)` or `prog({"x.1": x})`. Returns {output name: Array} in order."""
        return self.run(self.default_entry, *args, **kwargs)

    def run(self, entry: str, *args: Any, **kwargs: Any) -> dict[str, Array]:
        """Run an entry by name. On a GPU, results of inputs that are there stay there."""
        inputs, signature = self._inputs(entry, args, kwargs), self.entries[entry]
        lengths = signature.lengths
        stay = not lengths and any(not isinstance(array, np.ndarray) for _, array in inputs)
        results = self.session.call(entry, inputs, list(signature.outputs), stay)
        found = {p.name: array for p, array in zip(signature.outputs, results, strict=True)}
        if stay:
            return {name: DeviceArray(tensor) for name, tensor in found.items()}
        for p in signature.outputs:
            if p.length is not None:
                found[p.name] = found[p.name].take(range(int(found[p.length])), axis=p.length_axis)
        return {name: Array(array) for name, array in found.items() if name not in lengths}

    def profile(self, *args: Any, entry: str | None = None, repeats: int = 20, **kwargs: Any) -> Profile:
        """Where the time of a run goes: seconds, FLOPs and bytes of every launch, against the device's measured roofline.

        Runs each launch on its own, on a copy of the program with a state of zeros: this program's state stays as it is.
        On the CPU with as many threads as `set_num_threads` says. The first profile on a machine measures its roofline,
        which takes some seconds and is kept on disk.

        Args:
            args, kwargs: inputs, as for a run. Inputs named `entry` or `repeats` are given as a dict.
            entry: which entry; the default one if not given.
            repeats: passes, of which the median counts.

        Returns:
            A Profile: print it, look at its `rows`, or write `profile.to_html("profile.html")`.

        Raises:
            KeyError, TypeError, ValueError: as for a run.
        """
        from .profile import profile

        if repeats < 1:
            raise ValueError(f"profile(repeats={repeats}): expected at least one pass")
        name = self.default_entry if entry is None else entry
        inputs = [(p, a if isinstance(a, np.ndarray) else a.fetch()) for p, a in self._inputs(name, args, kwargs)]
        return profile(self.plan, self.device, name, inputs, repeats, get_num_threads())

    def _inputs(self, entry: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[tuple[Port, Any]]:
        """One checked host array per input, or what is on the program's device already."""
        if entry not in self.entries:
            raise KeyError(f"no entry {entry!r}; this program has {', '.join(map(repr, self.entries))}")
        signature = self.entries[entry]
        given = bind_inputs(signature.input_names, args, kwargs)
        return [(p, self._here(p, given[p.name])) for p in signature.inputs]

    def _here(self, port: Port, value: Any) -> Any:
        if isinstance(value, DeviceArray) and value.device == self.device and value.dtype == port.abstract.dtype:
            if value.shape != port.abstract.shape:
                raise ShapeMismatch(f"input {port.name!r} has shape {value.shape}, expected {port.abstract.shape}")
            return value.tensor
        return check_input(port.name, port.abstract, value)

    @property
    def state(self) -> dict[str, Array]:
        """What survives calls, as it is now: {name: Array}."""
        ports = [v.port for v in self.outline.state]
        return {p.name: Array(a) for p, a in zip(ports, self.session.read_state(ports), strict=True)} if ports else {}

    def load_state(self, values: Mapping[str, Any]) -> None:
        """Go on from a state that `state` gave, here or elsewhere. Names that are left out keep their value.

        Raises:
            NameMismatch: there is no such name; lists those there are.
            ShapeMismatch, DTypeMismatch: a value does not fit.
        """
        ports = {v.port.name: v.port for v in self.outline.state}
        unknown = [name for name in values if name not in ports]
        if unknown:
            raise NameMismatch(f"no state {unknown[0]!r}; this program keeps {', '.join(map(repr, ports)) or 'none'}")
        self.session.write_state([(ports[n], check_input(n, ports[n].abstract, value)) for n, value in values.items()])

    def reset(self) -> None:
        """Make the state what it was before the first call."""
        if self.outline.state:
            self.session.write_state([(v.port, v.initial) for v in self.outline.state])

    def share_state(self, other: Program) -> bool:
        """Work on the state of another program from now on, where both lie on one device and their states are laid out alike.

        Returns:
            Whether it does. If not (WebAssembly programs have a memory each), hand the state over: `load_state(other.state)`.

        Raises:
            NameMismatch, ShapeMismatch: the other keeps another state.
        """
        mine, theirs = ({v.port.name: v.port for v in p.outline.state} for p in (self, other))
        for name in (*mine, *theirs):
            if name not in mine or name not in theirs:
                raise NameMismatch(f"the state {name!r} is in one of the two programs only, so they cannot share it")
            if mine[name].abstract != theirs[name].abstract:
                raise ShapeMismatch(f"the state {name!r} is {mine[name].abstract} here and {theirs[name].abstract} there")
        alike = all(mine[name].ref == theirs[name].ref for name in mine)
        return alike and self.device == other.device and self.session.adopt_state(other.session)

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise TypeError(
            "a Program is machine code and memory of one device, and neither copied nor pickled: fork() gives another state "
            "over the same weights, and hither.bundle writes a folder that other processes load"
        )

    def fork(self) -> Program:
        """Another state, what it is before the first call, over the same weights and code."""
        forked = Program(self._make_plan, self.device, self.default_entry, self.session.fork(), self.outline)
        forked.accuracy = self.accuracy
        return forked

    def memory(self) -> dict[str, int]:
        """Bytes resident on the device: weights, state, arena (inputs and outputs included) and their total."""
        held = self.session.resident()
        return {**held, "total": sum(held.values())}

    def statistics(self) -> dict[str, int]:
        """What one run of the default entry does: distinct kernels, launches, run-time decisions read back (GPU)."""
        counts = self.outline.counts[self.default_entry]
        return {
            "kernels": self.outline.kernels,
            "launches": counts.launches,
            "loops": counts.loops,
            "round_trips": counts.loops + counts.conditions if self.device == "webgpu" else 0,
        }

    def __repr__(self) -> str:
        instead = " as WebAssembly" if self.device == "cpu" and self.outline.machine.name == "wasm" else ""
        lines = [f"Program on {self.device}{instead}"]
        for name, entry in self.entries.items():
            ins = ", ".join(f"{p.name}: {p.abstract}" for p in entry.inputs)
            outs = ", ".join(f"{p.name}: {p.abstract}" for p in entry.outputs)
            lines.append(f"  {name}({ins}) -> {outs}")
        return "\n".join(lines)


def bind_inputs(names: Sequence[str], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Inputs by name from `f(x)`, `f({"x": x})` or `f(x=x)`.

    Raises:
        TypeError: unknown, missing or doubly given inputs; lists those there are.
    """
    if len(args) == 1 and isinstance(args[0], Mapping):
        given = {**args[0], **kwargs}
    elif len(args) <= len(names):
        given = dict(zip(names, args))
        twice = set(given) & set(kwargs)
        if twice:
            raise NameMismatch(f"inputs given twice: {', '.join(sorted(twice))}")
        given.update(kwargs)
    else:
        raise NameMismatch(f"takes {len(names)} inputs ({', '.join(names)}), got {len(args)}")
    if given.keys() != set(names):
        unknown = [n for n in given if n not in names]
        missing = [n for n in names if n not in given]
        wrong = (("unknown", unknown), ("missing", missing))
        said = [f"{what}: {', '.join(map(repr, which))}" for what, which in wrong if which]
        raise NameMismatch(f"wrong input names ({'; '.join(said)}); the inputs are {', '.join(map(repr, names))}")
    return given


def check_input(name: str, expected: Abstract, value: Any) -> np.ndarray:
    """The input as a NumPy array of exactly the expected shape and dtype.

    Python numbers and lists take the expected dtype if it holds them; arrays must have it (64-bit defaults of NumPy are
    narrowed where that is exact).

    Raises:
        ValueError, TypeError: says what was received and what is expected.
    """
    if isinstance(value, Array):
        array = value.numpy()
    else:
        array = np.asarray(value) if hasattr(value, "dtype") else plain_array(name, value, expected.dtype)
    wanted = expected.dtype.numpy
    if array.dtype != wanted:
        if np.can_cast(array.dtype, wanted, "safe"):
            converted = array.astype(wanted)
        elif array.dtype.kind in "iu" and expected.dtype.is_integer and array.size:
            info = np.iinfo(wanted)
            if array.min() < info.min or array.max() > info.max:
                raise DTypeMismatch(
                    f"input {name!r} holds {array.min()}…{array.max()}, {expected.dtype} holds {info.min}…{info.max}"
                )
            converted = array.astype(wanted)
        else:
            raise DTypeMismatch(
                f"input {name!r} has dtype {array.dtype}, expected {expected.dtype}; "
                f"convert it, e.g. x.astype({str(expected.dtype)!r})"
            )
        array = converted
    if array.shape != expected.shape:
        raise ShapeMismatch(f"input {name!r} has shape {array.shape}, expected {expected.shape}")
    return array
