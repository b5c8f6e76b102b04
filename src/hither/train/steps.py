"""Steps: the pure functions that train, test and predict, compiled for the shapes of batches, over one state.

The state is a dict: weights by path, the optimizer's, the metrics', and keys of random numbers. Weights that nothing changes
are constants of the programs, which packs and folds them as those of any model. A program is made for each entry and each
combination of shapes; all work on one state: on one device in the same memory, elsewhere it is handed over.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from .. import ops
from ..array import Array
from ..dtypes import dtype
from ..errors import NameMismatch
from ..graph.core import Abstract, Graph
from ..graph.trace import source, trace_function, weight
from ..graph.tree import Structure, flatten, unflatten
from ..nn.layer import Layer, collecting_penalties
from ..nn.module import Module
from ..nn.network import Network
from ..nn.randomness import randomness
from ..ops import random
from ..optim import Optimizer
from ..program.compile import compile, named_state, trace_entry
from ..program.program import Program
from ..spec import Spec
from ..transforms import value_and_grad
from .batches import Batch
from .objective import Objective

State = dict[str, Any]


def apply(net: Module, x: Any, training: bool) -> tuple[list[Any], list[Any], list[str], Structure]:
    """What a network makes of a batch's inputs: its outputs, their masks, their names, and in which structure it gives them."""
    masks: Any = None
    if isinstance(net, Layer):
        result, masks = net.with_mask((x,), {}, None, training)
    else:
        args, kwargs = ((), dict(x)) if isinstance(x, Mapping) else (tuple(x) if isinstance(x, list | tuple) else (x,), {})
        if "training" in inspect.signature(net.__call__).parameters:  # type: ignore[operator]
            kwargs["training"] = training
        result = net(*args, **kwargs)  # type: ignore[operator]
    values, structure = flatten(result)
    marks = [masks] if structure.kind is None else list(masks.values()) if isinstance(masks, Mapping) else list(masks or ())
    marks += [None] * (len(values) - len(marks))
    return values, marks, output_names(net, result, len(values)), structure


def output_names(net: Module, result: Any, count: int) -> list[str]:
    """The names of a network's outputs: a dict's keys, or those of the layers that make them."""
    if isinstance(result, Mapping):
        return [str(k) for k in result]
    own = getattr(net, "output_names", None) if isinstance(net, Network) else None
    if isinstance(own, list) and len(own) == count:
        return list(own)
    return [getattr(net, "name", "output")] if count == 1 else [f"output_{i}" for i in range(count)]


def by_output(given: Any, names: Sequence[str], what: str) -> list[Any]:
    """One array per output from targets or weights: one array, a list in order, or a dict by name."""
    if given is None:
        return [None] * len(names)
    if isinstance(given, Mapping):
        unknown = [n for n in given if n not in names]
        if unknown:
            raise NameMismatch(f"{what} names the output {unknown[0]!r}; the network's outputs are {', '.join(names)}")
        return [given.get(n) for n in names]
    if isinstance(given, list | tuple):
        if len(given) != len(names):
            raise NameMismatch(f"{what} has {len(given)} arrays and the network {len(names)} outputs ({', '.join(names)})")
        return list(given)
    if len(names) > 1 and what == "sample_weight":
        return [given] * len(names)
    return [given, *[None] * (len(names) - 1)]


class Steps:
    """The three step functions of a network, an optimizer and an objective, as programs over one state.

    Args:
        net: a built network.
        objective: None where there are no targets: then it predicts only.
        optimizer: of its weights.
        device, precision: to compile for.
        seed: of the random numbers of layers.
        constant: {path: array} of weights that are no part of the state: neither the optimizer nor a layer changes them.
    """

    def __init__(
        self, net: Module, objective: Objective | None, optimizer: Optimizer, device: str | None, precision: str, seed: int,
        constant: Mapping[str, Array] | None = None,
    ) -> None:  # fmt: skip
        self.net, self.objective, self.optimizer = net, objective, optimizer
        self.device, self.precision, self.seed = device, precision, seed
        self.constant = dict(constant or {})
        self.trainable = list(net.trainable_weights)
        weights = {path: array for path, array in net.weights.items() if path not in self.constant}
        learned = {path: weights[path] for path in self.trainable}
        key = random.key(seed)
        self.initial: State = {
            "weights": weights,
            "optimizer": optimizer.init(learned),
            "metrics": {} if objective is None else objective.init(),
            "keys": {"train": key, "test": random.fold_in(key, 1)},
        }
        self.structure: Structure | None = None  # of the outputs, once something was predicted
        self.carries = False  # whether predicting and testing change weights: the states of stateful layers
        self._programs: dict[Any, tuple[Program, Program]] = {}  # a program, and the one in whose memory its state lies
        self._keeper: Program | None = None  # in whose memory the state is up to date
        self._current: dict[str, Array] = {n: Array(a) for n, a in named_state(self.initial).items()}

    # -- the functions -------------------------------------------------------------------------------------------------------

    def train(self, state: State, x: Any, y: Sequence[Any], weights: Sequence[Any]) -> tuple[dict[str, Any], State]:
        """One step of training. A batch whose loss is not finite leaves the state as it was."""
        objective = self.objective
        assert objective is not None
        key, step_key = random.split(state["keys"]["train"])
        kept_by_layers = {p: w for p, w in state["weights"].items() if p not in set(self.trainable)}
        scale = self.optimizer.loss_scale_factor

        def loss_of(learned: dict[str, Any]) -> Any:
            with self._holding({**learned, **kept_by_layers}) as after, randomness(step_key) as draws:
                with collecting_penalties() as penalties:
                    predicted, masks, *_ = apply(self.net, x, True)
                total, each = objective.loss(y, predicted, masks, weights)
                total = total + self._penalty(penalties) if penalties or self._regularized() else total
            drew.append(draws.count)
            changed = {p: after[p] for p, w in kept_by_layers.items() if after[p] is not w}
            return (total * scale if scale else total), (total, each, predicted, masks, changed)

        drew: list[int] = []
        learned = {p: state["weights"][p] for p in self.trainable}
        (_, (loss, each, predicted, masks, changed)), gradients = value_and_grad(loss_of, has_aux=True)(learned)
        gradients = {p: g / scale for p, g in gradients.items()} if scale else gradients
        with source(f"optimizer {self.optimizer.name}"):
            learned, optimizer = self.optimizer.update(gradients, state["optimizer"], learned)
            for path, _, constraint in self.net.weight_rules():
                learned[path] = constraint(learned[path]) if constraint is not None else learned[path]
        made: State = {
            "weights": {p: learned.get(p, changed.get(p, w)) for p, w in state["weights"].items()},
            "optimizer": optimizer,
            "metrics": objective.update(state["metrics"], loss, each, y, predicted, masks, weights),
            "keys": {**state["keys"], "train": key if drew[-1] else state["keys"]["train"]},
        }
        kept = _chosen(ops.isfinite(loss), made, state)
        return {"batch_loss": loss, **objective.results(kept["metrics"])}, kept

    def test(self, state: State, x: Any, y: Sequence[Any], weights: Sequence[Any]) -> tuple[dict[str, Any], State]:
        """Add a batch to the metrics; stateful layers go on from batch to batch."""
        objective = self.objective
        assert objective is not None
        key, step_key = random.split(state["keys"]["test"])
        with self._holding(state["weights"]) as after, randomness(step_key) as draws:
            with collecting_penalties() as penalties:
                predicted, masks, *_ = apply(self.net, x, False)
            loss, each = objective.loss(y, predicted, masks, weights)
            loss = loss + self._penalty(penalties) if penalties or self._regularized() else loss
        found = objective.update(state["metrics"], loss, each, y, predicted, masks, weights)
        keys = {**state["keys"], "test": key if draws.count else state["keys"]["test"]}
        return objective.results(found), {**state, **self._carried(state, after), "metrics": found, "keys": keys}

    def predict(self, state: State, x: Any, y: Any = (), weights: Any = ()) -> Any:
        """The network's outputs, in order; of x alone."""
        key, step_key = random.split(state["keys"]["test"])
        with self._holding(state["weights"]) as after, randomness(step_key) as draws:
            predicted, *_, self.structure = apply(self.net, x, False)
        outputs = {f"output.{i}": p for i, p in enumerate(predicted)}
        changed = self._carried(state, after)
        if draws.count:
            changed["keys"] = {**state["keys"], "test": key}
        return (outputs, {**state, **changed}) if changed else outputs

    def _carried(self, state: State, after: Mapping[str, Any]) -> State:
        """The weights after a call that is no training, if it changed some: {"weights": …}, or nothing."""
        changed = {p: after[p] for p, w in state["weights"].items() if after[p] is not w}
        self.carries |= bool(changed)
        return {"weights": {**state["weights"], **changed}} if changed else {}

    def _holding(self, weights: Mapping[str, Any]) -> AbstractContextManager[dict[str, Any]]:
        """The network with these weights of the state and with the constant ones; yields what `swapped` does."""
        return self.net.swapped({**weights, **{path: weight(a.numpy(), path) for path, a in self.constant.items()}})

    def _regularized(self) -> bool:
        return any(regularizer is not None for _, regularizer, _ in self.net.weight_rules())

    def _penalty(self, penalties: Sequence[Any]) -> Any:
        """What layers and their weights' regularizers add to the loss; called with the weights in their places."""
        weights = self.net.weights
        own = [r(weights[path]) for path, r, _ in self.net.weight_rules() if r is not None]
        total: Any = 0.0
        with source("regularization"):
            for value in (*own, *penalties):
                total = ops.sum(ops.asarray(value)) + total
        return total

    # -- inputs --------------------------------------------------------------------------------------------------------------

    def named(self, entry: str, batch: Batch) -> tuple[dict[str, Any], Structure]:
        """A batch's arrays by the names that the entry's inputs have, and the structure of `x`."""
        leaves, structure = flatten(batch.x)
        named = {f"x.{i}": a for i, a in enumerate(leaves)}
        if entry != "predict":
            assert self.objective is not None
            for part, given in (("y", batch.y), ("sample_weight", batch.sample_weight)):
                each = by_output(given, self.objective.names, part)
                named.update({f"{part}.{i}": a for i, a in enumerate(each) if a is not None})
        return named, structure

    def function(self, entry: str, structure: Structure) -> Callable[..., Any]:
        """An entry as a function of the state and of arrays by name."""
        step: Callable[..., Any] = {"train": self.train, "test": self.test, "predict": self.predict}[entry]
        outputs = range(0 if self.objective is None else len(self.objective.names))

        def run(state: State, **inputs: Any) -> Any:
            x = unflatten(structure, [a for n, a in inputs.items() if n.startswith("x.")])
            return step(state, x, *([inputs.get(f"{part}.{i}") for i in outputs] for part in ("y", "sample_weight")))

        return run

    # -- programs ------------------------------------------------------------------------------------------------------------

    def run(self, entry: str, batch: Batch) -> dict[str, Array]:
        """Run "train", "test" or "predict" on a batch.

        Raises:
            LabelOutOfRange: a target should be the number of a class, and is not.
        """
        if entry != "predict" and self.objective is not None and any(self.objective.classes):
            names = self.objective.names
            self.objective.check(by_output(batch.y, names, "y"), by_output(batch.sample_weight, names, "sample_weight"))
        named, structure = self.named(entry, batch)
        return self._program(entry, named, structure).run(entry, named)

    def _program(self, entry: str, named: Mapping[str, np.ndarray], structure: Structure) -> Program:
        key = (entry, structure, *((n, a.shape, a.dtype.str) for n, a in named.items()))
        made = self._programs.get(key)
        if made is None:
            function = self.function(entry, structure)
            program = compile(
                {entry: function}, _specs(named), device=self.device, precision=self.precision, state=self.initial
            )
            home = next((h for _, h in self._programs.values() if program.share_state(h)), program)
            made = self._programs[key] = (program, home)
        program, home = made
        if self._keeper is not home:  # its memory has an old state
            home.load_state(self.state)
            self._keeper = home
        return program

    @property
    def state(self) -> dict[str, Array]:
        """All of the state by name, as it is now."""
        return self._current if self._keeper is None else self._keeper.state

    def load_state(self, values: Mapping[str, Any]) -> None:
        """Change some of the state. Names as in `state`."""
        if self._keeper is not None:
            self._keeper.load_state(values)
            return
        unknown = [n for n in values if n not in self._current]
        if unknown:
            raise NameMismatch(f"no state {unknown[0]!r}; there are {', '.join(self._current)}")
        self._current.update({n: Array(np.asarray(v)) for n, v in values.items()})

    def reset_metrics(self) -> None:
        """Begin to report anew."""
        self.load_state(named_state({"metrics": self.initial["metrics"]}))

    def graph(self, entry: str, batch: Batch) -> tuple[Graph, dict[str, np.ndarray]]:
        """The Graph of an entry for a batch, and its inputs, the state's arrays included."""
        named, structure = self.named(entry, batch)
        graph = trace_entry(self.function(entry, structure), _specs(named), entry, self.initial)
        return graph, {**{n: a.numpy() for n, a in self.state.items()}, **named}


def _specs(named: Mapping[str, np.ndarray]) -> dict[str, Spec]:
    return {n: Spec(a.shape, a.dtype) for n, a in named.items()}


def _chosen(flag: Any, new: Any, old: Any) -> Any:
    """One of two equal structures; what is the same in both stays as it is."""
    if isinstance(new, dict):
        return {k: _chosen(flag, v, old[k]) for k, v in new.items()}
    return old if new is old else ops.where(flag, new, old)


def ensure_built(net: Module, batch: Batch) -> tuple[list[Abstract], list[str], list[bool]]:
    """Make the weights that a network does not have yet; what its outputs for the batch look like, their names, and whether
    they have masks."""
    leaves, structure = flatten(batch.x)
    names: list[str] = []
    masked: list[bool] = []

    def run(*tracers: Any) -> list[Any]:
        with net.swapped({}), randomness(random.key(0)):
            values, masks, found, _ = apply(net, unflatten(structure, tracers), False)
        names[:], masked[:] = found, [m is not None for m in masks]
        return values

    graph, _ = trace_function(run, [Abstract(a.shape, dtype(a.dtype)) for a in leaves])
    return [v.abstract for v in graph.outputs], names, masked


def unchanging(net: Module, batch: Batch) -> dict[str, Array]:
    """The weights of a built network that training leaves as they are: those that are not trained and that no layer's call
    assigns to, as batch normalisations do to their moving averages.
    """
    held = net.non_trainable_weights
    if not held:
        return {}
    leaves, structure = flatten(batch.x)
    changed: set[str] = set()

    def run(*tracers: Any) -> list[Any]:
        given = {path: weight(array.numpy(), path) for path, array in net.weights.items()}
        with net.swapped(given) as after, randomness(random.key(0)), collecting_penalties():
            values, *_ = apply(net, unflatten(structure, tracers), True)
        changed.update(path for path, array in after.items() if array is not given[path])
        return values

    trace_function(run, [Abstract(a.shape, dtype(a.dtype)) for a in leaves])
    return {path: array for path, array in held.items() if path not in changed}


__all__ = ["Steps", "apply", "by_output", "ensure_built", "unchanging"]
