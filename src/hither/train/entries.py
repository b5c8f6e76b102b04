"""A Trainer as functions over one state, which compile and bundle like any others: predict, train_step, evaluate.

Here arrays get the names that people know them by. What specs leave out looks as it did where the Trainer was fitted.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import dtypes as dt
from ..errors import NameMismatch, ShapeMismatch, UnsupportedFeature
from ..graph.core import Abstract, Graph
from ..graph.tree import flatten, tree_map, unflatten
from ..nn.module import Module
from ..nn.network import Functional, Sequential
from ..program.compile import Entries, abstract_of_spec, named_state, trace_entry
from ..transforms.rows import for_fewer_rows
from .batches import Batch
from .steps import Steps

if TYPE_CHECKING:
    from .trainer import Trainer

Specs = Mapping[str, Any]
STEPS = {"predict": "predict", "train_step": "train", "evaluate": "test"}
PARTIAL = {"predict": "predict_partial", "train_step": "train_partial", "evaluate": "evaluate_partial"}


class PartialBatchWarning(UserWarning):
    """A network mixes the samples of a batch, so that batches which are not full cannot be had from a program for full ones."""


@dataclass(frozen=True)
class _Like:
    """What an entry's batches look like, as Abstracts: the network's inputs with their names, targets, weights of samples."""

    x: Any
    names: list[str]
    y: Any = None
    sample_weight: Any = None

    @property
    def zeros(self) -> Batch:
        """A batch that looks so and takes no memory."""

        def zero(a: Abstract) -> np.ndarray:
            return np.broadcast_to(np.zeros((), a.dtype.numpy), a.shape)

        return Batch(*(tree_map(zero, part) for part in (self.x, self.y, self.sample_weight)))

    @property
    def rows(self) -> int:
        """How many samples."""
        extent: int = flatten(self.x)[0][0].shape[0]
        return extent

    def of(self, rows: int) -> _Like:
        """The same with so many samples."""

        def resized(a: Abstract) -> Abstract:
            return Abstract((rows, *a.shape[1:]), a.dtype)

        x, y, sample_weight = (tree_map(resized, part) for part in (self.x, self.y, self.sample_weight))
        return _Like(x, self.names, y, sample_weight)


def entries_of(trainer: Trainer, specs: Specs | None, seen: Batch | None) -> Entries:
    """The entries of a Trainer, over its state as it is now; metrics begin anew.

    Args:
        trainer: what trains.
        specs: {input: Spec}, or {entry: {input: Spec}}; None: the shapes of `seen`.
        seen: a batch of Abstracts like those that the Trainer was fitted with, or None.

    Raises:
        ShapeMismatch: nothing says what an array looks like, or arrays have different numbers of samples.
        NameMismatch: specs name an input or an output that there is not.
    """
    net = trainer._net
    given = _by_entry(specs or {})
    likes = {name: _like(net, name, given[name], seen) for name in STEPS}
    steps = trainer.prepare(likes["train_step"].zeros)
    functions: dict[str, Callable[..., Any]] = {}
    taken: dict[str, Specs] = {}
    for name, like in likes.items():
        functions[name], inputs = _entry(steps, STEPS[name], like)
        taken[name] = {n: given[name].get(n, a) for n, a in inputs.items()}

    def reset_metrics(state: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        return {}, {**state, "metrics": steps.initial["metrics"]}

    def take_averages(state: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        return {}, {**state, "weights": {**state["weights"], **state["optimizer"]["average"]}}

    functions["reset_metrics"], taken["reset_metrics"] = reset_metrics, {}
    if trainer.optimizer.use_ema:
        functions["take_averages"], taken["take_averages"] = take_averages, {}
    for name, partial in _partial_entries(steps, likes).items():
        functions[PARTIAL[name]], taken[PARTIAL[name]] = partial, {"rows": Abstract((), dt.int32), **taken[name]}
    current: dict[str, Any] = {**steps.state, **named_state({"metrics": steps.initial["metrics"]})}
    state = unflatten(flatten(steps.initial)[1], [current[name] for name in named_state(steps.initial)])
    frozen = {f"weights.{path}": a.numpy() for path, a in steps.constant.items()}
    return Entries(functions, taken, state, frozen, _classes(steps, likes["train_step"]))


def _classes(steps: Steps, like: _Like) -> dict[str, tuple[int, int | None]]:
    """The targets that are numbers of classes, by the names that people know."""
    assert steps.objective is not None
    each = {f"y.{i}": known for i, known in enumerate(steps.objective.classes) if known is not None}
    return {_public(own, like, steps.objective.names): known for own, known in each.items()}


def _entry(steps: Steps, entry: str, like: _Like) -> tuple[Callable[..., Any], dict[str, Abstract]]:
    """A step that takes arrays, and gives results, by the names that people know; what its inputs look like."""
    assert steps.objective is not None  # prepare has seen targets
    outputs = steps.objective.names
    named, structure = steps.named(entry, like.zeros)
    function = steps.function(entry, structure)
    public = {own: _public(own, like, outputs) for own in named}
    for name in like.names:
        if list(public.values()).count(name) > 1:
            raise NameMismatch(f"{name!r} is an input of the network and a target; call the input otherwise in specs")

    def run(state: dict[str, Any], **inputs: Any) -> Any:
        result = function(state, **{own: inputs[name] for own, name in public.items()})
        found, after = result if isinstance(result, tuple) else (result, state)
        if entry == "predict":
            return dict(zip(outputs, found.values(), strict=True)), after
        if entry == "train":
            found = {"loss": found["batch_loss"], **{n: v for n, v in found.items() if n not in ("loss", "batch_loss")}}
        return found, after

    return run, {public[own]: abstract_of_spec(own, a) for own, a in named.items()}


def _partial_entries(steps: Steps, likes: Mapping[str, _Like]) -> dict[str, Callable[..., Any]]:
    """The entries for the first `rows` samples of a batch, by the names of those for full ones; predicting only where it mixes
    samples. None, with a warning, where they cannot be had."""
    made: dict[str, Callable[..., Any]] = {}
    for name, like in likes.items():
        function, needed = _partial(steps, name, like)
        if needed is not None:
            warnings.warn(
                f"{name} is for full batches only: {needed}. Pages cannot train on a last batch that is not full; "
                "have specs of several sizes, 1 among them",
                PartialBatchWarning,
                stacklevel=5,
            )
            return {}
        if function is not None:
            made[name] = function
    return made


def _partial(steps: Steps, name: str, like: _Like) -> tuple[Callable[..., Any] | None, str | None]:
    """An entry for the first `rows` samples of a batch, None where the one for full batches gives their results anyway; or why
    there is none."""
    whole, inputs = _entry(steps, STEPS[name], like)
    if like.rows == 1:
        return (None if name == "predict" else lambda state, rows, **given: whole(state, **given)), None

    def graph_of(rows: int) -> Graph:
        function, inputs = _entry(steps, STEPS[name], like.of(rows))
        try:
            return trace_entry(function, inputs, name, steps.initial)
        except (ValueError, TypeError) as error:  # a network may take full batches alone; those are traced elsewhere, too
            raise UnsupportedFeature(str(error)) from error

    kept = named_state(steps.initial)

    def run(state: Any, rows: Any, **given: Any) -> Any:
        leaves, structure = flatten(state)
        results = dict(zip(fewer.graphs[0].output_names, fewer(rows, *leaves, *given.values()), strict=True))
        found = {n: v for n, v in results.items() if n not in kept}
        return found, unflatten(structure, [results[n] for n in kept]) if kept.keys() <= results.keys() else state

    try:
        fewer = for_fewer_rows(graph_of, like.rows)
        trace_entry(run, {"rows": Abstract((), dt.int32), **inputs}, name, steps.initial)
    except UnsupportedFeature as error:
        return None, str(error)
    return (run if fewer.masked or name != "predict" else None), None


def _public(own: str, like: _Like, outputs: Sequence[str]) -> str:
    """The name that people know for an input of a step: "x.0" is the network's first, "y.1" the second output's target."""
    part, _, number = own.partition(".")
    if part == "x":
        return like.names[int(number)]
    single = isinstance(getattr(like, part), Abstract) or len(outputs) == 1
    return part if single else f"{part}_{outputs[int(number)]}"


# -- what batches look like ---------------------------------------------------------------------------------------------------


def _by_entry(specs: Specs) -> dict[str, Specs]:
    """The specs of each entry; an entry without takes what training takes."""
    if not any(isinstance(s, Mapping) for s in specs.values()):
        return dict.fromkeys(STEPS, specs)
    unknown = [n for n in specs if n not in STEPS]
    if unknown:
        raise NameMismatch(f"no entry {unknown[0]!r} of a Trainer takes inputs; there are {', '.join(STEPS)}")
    return {name: specs.get(name, specs.get("train_step", {})) for name in STEPS}


def _like(net: Module, entry: str, specs: Specs, seen: Batch | None) -> _Like:
    """What an entry's batches look like, by its specs and what the Trainer was fitted with."""
    parts: dict[str, dict[str, Abstract]] = {"x": {}, "y": {}, "sample_weight": {}}
    for name, spec in specs.items():
        part = next((p for p in ("y", "sample_weight") if name == p or name.startswith(p + "_")), "x")
        parts["x" if name in _declared(net) else part][name] = abstract_of_spec(name, spec)
    if seen is None and not (parts["x"] and (parts["y"] or entry == "predict")):
        raise ShapeMismatch(
            "nothing says what batches of the Trainer look like: fit it first, or give specs, "
            '{"x": hither.Spec((32, 28, 28, 1)), "y": hither.Spec((32,), "int32")}'
        )
    x, names = _inputs(net, parts["x"], seen)
    if entry == "predict":
        return _Like(x, names)
    weights = seen.sample_weight if seen is not None and not specs else None
    y, sample_weight = _targets("y", parts["y"]), _targets("sample_weight", parts["sample_weight"]) or weights
    if y is None:
        assert seen is not None
        y = _resized(seen.y, seen.x, x)
    like = _Like(x, names, y, sample_weight)
    rows = {a.shape[:1] for a in flatten((x, y, sample_weight))[0]}
    if len(rows) != 1 or () in rows:
        shown = ", ".join(f"{n}: {s}" for n, s in specs.items())
        raise ShapeMismatch(f"{entry}: inputs, targets and weights have one row per sample, got {shown}")
    return like


def _inputs(net: Module, specs: Mapping[str, Abstract], seen: Batch | None) -> tuple[Any, list[str]]:
    """What the network's inputs look like, in the structure that it takes, and their names."""
    leaves, structure = flatten(list(specs.values()) if seen is None else seen.x)
    if seen is None and len(leaves) == 1:
        leaves, structure = flatten(leaves[0])
    own = _input_names(net, list(structure.keys), len(leaves))
    if not specs:
        return unflatten(structure, leaves), own
    if set(specs) == set(own):
        return unflatten(structure, [specs[name] for name in own]), own
    if len(specs) != len(own) or set(specs) & set(own):
        raise NameMismatch(
            f"specs name the inputs {', '.join(specs)}; the network's inputs are {', '.join(own)}, targets are y or y_OUTPUT"
        )
    return unflatten(structure, specs.values()), list(specs)  # other names, in order


def _input_names(net: Module, keys: Sequence[Any], count: int) -> list[str]:
    """A dict's keys; "x" where there is one input; else the names of Input layers, or of the parameters of the call."""
    if keys and len(keys) == count:
        return [str(key) for key in keys]
    names = _declared(net)
    if count == 1 or len(names) == 1:
        return ["x"]
    if isinstance(net, Functional):
        return names
    return names[:count] if len(names) >= count else [f"x_{i}" for i in range(count)]


def _declared(net: Module) -> list[str]:
    """The names of Input layers, or of the parameters of a network's call."""
    if isinstance(net, Functional | Sequential):
        return list(net.input_names)
    parameters = inspect.signature(net.call if hasattr(net, "call") else net.__call__).parameters  # type: ignore[operator]
    return [n for n in parameters if n not in ("training", "mask")]


def _targets(part: str, given: Mapping[str, Abstract]) -> Any:
    """Targets or weights from specs: one array, or a dict by output."""
    if not given:
        return None
    return given[part] if list(given) == [part] else {name.removeprefix(part + "_"): a for name, a in given.items()}


def _resized(y: Any, before: Any, x: Any) -> Any:
    """The targets that were seen, for as many samples as the inputs have."""
    old, new = (flatten(value)[0] for value in (before, x))
    if [a.shape[1:] for a in old] != [a.shape[1:] for a in new]:
        raise ShapeMismatch('specs give the inputs another shape than the Trainer was fitted with, and no targets: add "y"')
    return tree_map(lambda a: Abstract((*new[0].shape[:1], *a.shape[1:]), a.dtype), y)
