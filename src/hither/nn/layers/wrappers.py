"""Layers around other layers: both directions of a sequence, every step of one."""

from __future__ import annotations

from typing import Any

from ... import ops
from .. import config
from ..layer import Layer
from .geometry import one_of


@config.register()
class Bidirectional(Layer):
    """A recurrent layer that reads a sequence from both ends.

    Args:
        layer: the recurrent layer; one of its configuration is made for each direction.
        merge_mode: how the two outputs become one: "concat", "sum", "ave", "mul"; None gives both.
        backward_layer: what reads backwards, where it is not to be like `layer`.

    Example:
        >>> import numpy as np, hither as ht
        >>> ht.nn.Bidirectional(ht.nn.GRU(4))(np.ones((2, 5, 3), np.float32)).shape
        (2, 8)
    """

    supports_masking = True

    def __init__(self, layer: Any, merge_mode: str | None = "concat", backward_layer: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        given = config.deserialize(layer, Layer)
        self.merge_mode = one_of("merge_mode", merge_mode, ("concat", "sum", "ave", "mul", None))
        plain = given.get_config()
        name = plain["name"].removeprefix("forward_").removeprefix("backward_")
        self.forward_layer = type(given).from_config({**plain, "name": f"forward_{name}"})
        if backward_layer is None:
            other = {"name": f"backward_{name}", "go_backwards": not plain["go_backwards"]}
            self.backward_layer = type(given).from_config({**plain, **other})
        else:
            self.backward_layer = config.deserialize(backward_layer, Layer)
        first, second = self.forward_layer, self.backward_layer
        if first.go_backwards == second.go_backwards:
            raise ValueError(
                f"{self.name}: one of the two layers goes backwards, got go_backwards={first.go_backwards} for both"
            )
        for flag in ("return_sequences", "return_state", "stateful"):
            if getattr(first, flag) != getattr(second, flag):
                raise ValueError(f"{self.name}: {flag} is the same for both layers, got {getattr(first, flag)} and another")
        for part in (first, second):
            part.zero_output_for_mask = part.return_sequences
        self.return_sequences, self.return_state = first.return_sequences, first.return_state

    def parts(self) -> Any:
        yield "forward_layer", self.forward_layer
        yield "backward_layer", self.backward_layer

    def build(self, input_shape: Any) -> None:
        for part in (self.forward_layer, self.backward_layer):
            if not part.built:
                part.build(input_shape)
                part.built = True

    def call(self, x: Any, initial_state: Any = None, training: bool = False, mask: Any = None) -> Any:
        if isinstance(x, list | tuple):
            x, initial_state = x[0], initial_state if initial_state is not None else list(x[1:]) or None
        mask = mask[0] if isinstance(mask, list | tuple) else mask
        halves: list[Any] = [None, None]
        if initial_state is not None:
            half = len(initial_state) // 2
            halves = [initial_state[:half], initial_state[half:]]
        made = [
            part(x, initial_state=state, training=training, mask=mask)
            for part, state in zip((self.forward_layer, self.backward_layer), halves)
        ]
        states: list[Any] = []
        if self.return_state:
            states = [state for result in made for state in result[1:]]
            made = [result[0] for result in made]
        forward, backward = made
        if self.return_sequences:
            backward = ops.flip(backward, axis=1)
        outputs = self._merged(forward, backward)
        return (*outputs, *states) if self.return_state or self.merge_mode is None else outputs[0]

    def _merged(self, a: Any, b: Any) -> tuple[Any, ...]:
        match self.merge_mode:
            case "concat":
                return (ops.concat([a, b], axis=-1),)
            case "sum":
                return (a + b,)
            case "ave":
                return ((a + b) / 2,)
            case "mul":
                return (a * b,)
        return a, b

    def reset_states(self) -> None:
        """Forget the states that stateful layers keep."""
        self.forward_layer.reset_states()
        self.backward_layer.reset_states()

    def compute_mask(self, inputs: Any, mask: Any) -> Any:
        made = self.forward_layer.compute_mask(inputs, mask)
        own, states = (made[0], made[1:]) if self.return_state else (made, [])
        outputs = [own, own] if self.merge_mode is None else [own]
        return [*outputs, *states, *states] if self.return_state or self.merge_mode is None else own

    def get_config(self) -> dict[str, Any]:
        about = {"name": self.name, "trainable": self.trainable, "dtype": self.dtype.name, "merge_mode": self.merge_mode}
        layers = {"layer": self.forward_layer, "backward_layer": self.backward_layer}
        return {**about, **{k: config.serialize(v) for k, v in layers.items()}}


@config.register()
class TimeDistributed(Layer):
    """A layer applied to every step of [batch, steps, …] by itself.

    Args:
        layer: the layer.

    Example:
        >>> import numpy as np, hither as ht
        >>> ht.nn.TimeDistributed(ht.nn.Conv2D(4, 3))(np.ones((2, 5, 8, 8, 3), np.float32)).shape
        (2, 5, 6, 6, 4)
    """

    supports_masking = True

    def __init__(self, layer: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.layer = config.deserialize(layer, Layer)

    def build(self, input_shape: Any) -> None:
        if not self.layer.built:
            shape = tuple(input_shape)
            self.layer.build((shape[0], *shape[2:]))
            self.layer.built = True

    def call(self, x: Any, training: bool = False, mask: Any = None) -> Any:
        batch, steps = x.shape[:2]
        inner = None if mask is None or mask.ndim < 3 else ops.reshape(mask, (batch * steps, *mask.shape[2:]))
        y = self.layer(ops.reshape(x, (batch * steps, *x.shape[2:])), training=training, mask=inner)
        return ops.reshape(y, (batch, steps, *y.shape[1:]))
