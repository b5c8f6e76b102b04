"""A network of layers as a Model: named inputs and outputs, weights by path. What compile, bundle and files deal in."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from ..array import Array
from ..errors import UnsupportedFeature
from ..graph.trace import weight
from ..graph.tree import flatten
from ..model import Model
from ..spec import Spec
from .module import Module
from .network import Functional, Network, Sequential
from .symbolic import SymbolicTensor


def as_model(
    module: Module,
    specs: Mapping[str, Any] | None = None,
    *,
    name: str | None = None,
    device: str | None = None,
    precision: str | None = None,
) -> Model:
    """The network as a Model, which runs, compiles and bundles like one from a file.

    Inputs are named after the network's Input layers, outputs after the layers that make them; those of any other module after
    the parameters of its `call` or `__call__`, `output`, or `output_0`….

    Args:
        module: the network.
        specs: {input name: Spec}, in the order of the network's inputs where the names are not its own: inputs are called so
            then, and a network that does not know its input's shape yet is built for it.
        name, device, precision: of the Model.

    Raises:
        UnsupportedFeature: a Sequential network that does not know its input's shape yet.
    """
    if specs and isinstance(module, Sequential) and not module.built:
        module.ensure_built(next(iter(specs.values())))
    inputs, outputs = _ports(module)
    if specs and not set(specs) & set(inputs) and len(specs) == len(inputs):
        inputs = dict(zip(specs, inputs.values()))

    def build(arrays: Mapping[str, Any]) -> dict[str, Any]:
        own = {path: weight(w.numpy(), path) if isinstance(w, Array) else w for path, w in module.weights.items()}
        with module.swapped(own) as after:
            if isinstance(module, Functional):
                result: Any = module(list(arrays.values()) if len(arrays) > 1 else next(iter(arrays.values())))
            else:
                result = module(*arrays.values())  # type: ignore[operator]
        changed = [path for path, array in after.items() if array is not own.get(path)]
        if changed:
            raise UnsupportedFeature(
                f"{module!r} changes its state {', '.join(changed)} in a call, which a compiled model does not keep; pass "
                "states as inputs (initial_state, return_state) instead of stateful=True"
            )
        if isinstance(result, dict) and not isinstance(module, Network):
            return result
        values, _ = flatten(result)
        names = list(outputs) or (["output"] if len(values) == 1 else [f"output_{i}" for i in range(len(values))])
        return dict(zip(names, values, strict=True))

    label = name or str(getattr(module, "name", type(module).__name__))
    model = Model(build, inputs, outputs, weights=module.weights, name=label, device=device, precision=precision)
    model.module = module
    return model


def _ports(module: Module) -> tuple[dict[str, Spec], dict[str, Spec]]:
    if isinstance(module, Sequential):
        if module.input is None or module.output is None:
            raise UnsupportedFeature(
                f"{module.name} does not know the shape of its input yet: begin it with hither.nn.Input(shape), or call it once"
            )
        return {module.input_names[0]: _spec(module.input)}, {module.output_names[0]: _spec(module.output)}
    if isinstance(module, Functional):
        return (
            dict(zip(module.input_names, map(_spec, module.inputs))),
            dict(zip(module.output_names, map(_spec, module.outputs))),
        )
    call = module.call if hasattr(module, "call") else module.__call__  # type: ignore[operator]
    parameters = [p for p in inspect.signature(call).parameters.values() if p.name not in ("training", "mask")]
    needed = [p.name for p in parameters if p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return {n: Spec(None, "float32") for n in needed}, {}


def _spec(tensor: SymbolicTensor) -> Spec:
    return Spec(tensor.shape, tensor.dtype)
