"""Cells: what a recurrent layer does in one step.

A cell's step is cut in two so that whole sequences run well: `enter`, what depends on the input alone and is computed for all
steps at once, and `step`, what also needs the states. Any layer with `state_size` and `call(x, states)` is a cell too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ... import ops
from .. import activations, config, constraints, initializers, regularizers
from ..layer import Layer
from ..randomness import next_key
from .regularization import dropped

States = list[Any]
Noise = Any  # (factor of the input, factor of the first state), None where nothing is dropped; a list for stacked cells


class Cell(Layer):
    """Base of cells. `dropout` and `recurrent_dropout` are the rates for what enters and for the state."""

    kernel: Any
    recurrent_kernel: Any
    bias: Any
    units: int
    dropout: float = 0.0
    recurrent_dropout: float = 0.0
    seed: int | None = None
    gates = 1
    states = 1

    @property
    def state_size(self) -> int | list[int]:
        """The extent of each state."""
        return self.units if self.states == 1 else [self.units] * self.states

    @property
    def output_size(self) -> int:
        """The extent of the output."""
        return self.units

    def enter(self, x: Any) -> Any:
        """What the input contributes to all gates: x [..., features] → [..., gates · units]."""
        y = ops.matmul(x, self.kernel)
        return y + self.input_bias() if self.use_bias else y

    use_bias: bool

    def input_bias(self) -> Any:
        """The bias that belongs to the input."""
        return self.bias

    def step(self, entered: Any, states: States, noise: Noise = None) -> tuple[Any, States]:
        """Output and next states, of what `enter` made for this step and the states before it."""
        raise NotImplementedError

    def begin(self, entered: Any) -> States:
        """The first states, for `entered` [steps, batch, …]."""
        return [ops.zeros((entered.shape[1], self.units), dtype=entered.dtype) for _ in range(self.states)]

    def draw(self, x: Any, states: States, training: bool) -> Noise:
        """The factors of dropout for a whole sequence whose steps look like x."""
        if not training or not (self.dropout or self.recurrent_dropout):
            return None
        key = next_key(self.name)
        key = key if self.seed is None else ops.random.fold_in(key, self.seed)
        keys = [ops.random.fold_in(key, i) for i in range(2)]
        of_input, of_state = (
            dropped(ops.ones_like(like), rate, lambda k=k: k) if rate else None
            for like, rate, k in ((x, self.dropout, keys[0]), (states[0], self.recurrent_dropout, keys[1]))
        )
        return of_input, of_state

    def call(self, x: Any, states: Any, training: bool = False) -> tuple[Any, States]:
        before = list(states) if isinstance(states, list | tuple) else [states]
        noise = self.draw(x, before, training)
        return self.step(self.enter(with_dropout(x, noise)), before, noise)

    def keep(
        self, units: int, use_bias: bool, initial: Sequence[Any], regularized: Sequence[Any], constrained: Sequence[Any],
        dropout: float, recurrent_dropout: float, seed: int | None,
    ) -> None:  # fmt: skip
        """Keep the arguments that all cells have; three of each: of the kernel, of the recurrent kernel, of the bias."""
        self.units, self.use_bias = units, use_bias
        parts = ("kernel", "recurrent", "bias")
        for name, i, r, c in zip(parts, initial, regularized, constrained, strict=True):
            setattr(self, f"{name}_initializer", initializers.get(i))
            setattr(self, f"{name}_regularizer", regularizers.get(r))
            setattr(self, f"{name}_constraint", constraints.get(c))
        for rate in (dropout, recurrent_dropout):
            if not 0 <= rate <= 1:
                raise ValueError(f"a dropout rate is between 0 and 1, got {rate}")
        self.dropout, self.recurrent_dropout, self.seed = dropout, recurrent_dropout, seed

    def add_part(self, name: str, part: str, shape: Sequence[int], initializer: Any = None) -> None:
        """Make one of the weights, trained as the arguments of `part` say."""
        self.add_weight(
            name, shape, initializer or getattr(self, f"{part}_initializer"),
            regularizer=getattr(self, f"{part}_regularizer"), constraint=getattr(self, f"{part}_constraint"),
        )  # fmt: skip

    def build(self, input_shape: Any) -> None:
        self.add_part("kernel", "kernel", (input_shape[-1], self.gates * self.units))
        self.add_part("recurrent_kernel", "recurrent", (self.units, self.gates * self.units))
        if self.use_bias:
            self.add_bias()

    def add_bias(self) -> None:
        """Make the bias."""
        self.add_part("bias", "bias", (self.gates * self.units,))


def with_dropout(x: Any, noise: Noise) -> Any:
    """What enters a cell, where dropout leaves it."""
    noise = noise[0] if isinstance(noise, list) else noise
    return x if noise is None or noise[0] is None else x * noise[0]


def dropped_state(h: Any, noise: Noise) -> Any:
    return h if noise is None or noise[1] is None else h * noise[1]


@config.register()
class SimpleRNNCell(Cell):
    """h' = activation(x @ kernel + h @ recurrent_kernel + bias).

    Args:
        units: extent of state and output.
        activation: function or name.
        use_bias: whether a bias is added.
        dropout, recurrent_dropout: rates, in training, for the input and for the state.
        seed: makes the draws of dropout its own.

    Example:
        >>> import numpy as np, hither as ht
        >>> y, states = ht.nn.SimpleRNNCell(4)(np.ones((2, 3), np.float32), [np.zeros((2, 4), np.float32)])
        >>> y.shape, len(states)
        ((2, 4), 1)
    """

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        recurrent_regularizer: Any = None,
        bias_regularizer: Any = None,
        kernel_constraint: Any = None,
        recurrent_constraint: Any = None,
        bias_constraint: Any = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.keep(
            units, use_bias, (kernel_initializer, recurrent_initializer, bias_initializer),
            (kernel_regularizer, recurrent_regularizer, bias_regularizer),
            (kernel_constraint, recurrent_constraint, bias_constraint), dropout, recurrent_dropout, seed,
        )  # fmt: skip
        self.activation = activations.get(activation)

    def step(self, entered: Any, states: States, noise: Noise = None) -> tuple[Any, States]:
        h = self.activation(entered + ops.matmul(dropped_state(states[0], noise), self.recurrent_kernel))
        return h, [h]


@config.register()
class LSTMCell(Cell):
    """One step of a long short-term memory; states h and c, gates in the order input, forget, cell, output.

    Args:
        units: extent of states and output.
        activation: of the new content and of the output.
        recurrent_activation: of the gates.
        use_bias: whether a bias is added.
        unit_forget_bias: whether the forget gate's bias begins at 1.
        dropout, recurrent_dropout: rates, in training, for the input and for the state.
        seed: makes the draws of dropout its own.

    Hochreiter, Schmidhuber: Long Short-Term Memory, 1997.
    """

    gates = 4
    states = 2

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        recurrent_activation: Any = "sigmoid",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        unit_forget_bias: bool = True,
        kernel_regularizer: Any = None,
        recurrent_regularizer: Any = None,
        bias_regularizer: Any = None,
        kernel_constraint: Any = None,
        recurrent_constraint: Any = None,
        bias_constraint: Any = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.keep(
            units, use_bias, (kernel_initializer, recurrent_initializer, bias_initializer),
            (kernel_regularizer, recurrent_regularizer, bias_regularizer),
            (kernel_constraint, recurrent_constraint, bias_constraint), dropout, recurrent_dropout, seed,
        )  # fmt: skip
        self.activation, self.recurrent_activation = activations.get(activation), activations.get(recurrent_activation)
        self.unit_forget_bias = unit_forget_bias

    def add_bias(self) -> None:
        self.add_part("bias", "bias", (4 * self.units,), self._first_bias if self.unit_forget_bias else None)

    def _first_bias(self, shape: Sequence[int], dtype: Any = None) -> Any:
        """1 for the forget gate, as initialised for the others. Jozefowicz et al., 2015."""
        n = shape[0] // 4
        others = [self.bias_initializer((m,), dtype=dtype) for m in (n, 2 * n)]  # type: ignore[attr-defined]
        return ops.concat([others[0], ops.ones((n,), dtype=dtype), others[1]])

    def step(self, entered: Any, states: States, noise: Noise = None) -> tuple[Any, States]:
        h, c = states
        entered = entered + ops.matmul(dropped_state(h, noise), self.recurrent_kernel)
        i, f, new, o = ops.split(entered, 4, axis=-1)
        gate = self.recurrent_activation
        c = gate(f) * c + gate(i) * self.activation(new)
        h = gate(o) * self.activation(c)
        return h, [h, c]


@config.register()
class GRUCell(Cell):
    """One step of a gated recurrent unit; gates in the order update, reset, new.

    Args:
        units: extent of state and output.
        activation: of the new content.
        recurrent_activation: of the gates.
        use_bias: whether a bias is added.
        reset_after: whether the reset gate is applied after the product with the recurrent kernel (as cuDNN does, with a
            second bias) or before.
        dropout, recurrent_dropout: rates, in training, for the input and for the state.
        seed: makes the draws of dropout its own.

    Cho et al.: Learning Phrase Representations using RNN Encoder-Decoder, 2014.
    """

    gates = 3

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        recurrent_activation: Any = "sigmoid",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        recurrent_regularizer: Any = None,
        bias_regularizer: Any = None,
        kernel_constraint: Any = None,
        recurrent_constraint: Any = None,
        bias_constraint: Any = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        reset_after: bool = True,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.keep(
            units, use_bias, (kernel_initializer, recurrent_initializer, bias_initializer),
            (kernel_regularizer, recurrent_regularizer, bias_regularizer),
            (kernel_constraint, recurrent_constraint, bias_constraint), dropout, recurrent_dropout, seed,
        )  # fmt: skip
        self.activation, self.recurrent_activation = activations.get(activation), activations.get(recurrent_activation)
        self.reset_after = reset_after

    @classmethod
    def from_config(cls, data: dict[str, Any]) -> Any:
        # Files that do not know the argument are older than it, or TensorFlow.js's, which has no such variant.
        return super().from_config({"reset_after": False, **data})

    def add_bias(self) -> None:
        self.add_part("bias", "bias", (2, 3 * self.units) if self.reset_after else (3 * self.units,))

    def input_bias(self) -> Any:
        return self.bias[0] if self.reset_after else self.bias

    def step(self, entered: Any, states: States, noise: Noise = None) -> tuple[Any, States]:
        h = states[0]
        seen, gate = dropped_state(h, noise), self.recurrent_activation
        z, r, new = ops.split(entered, 3, axis=-1)
        if self.reset_after:
            inner = ops.matmul(seen, self.recurrent_kernel)
            of_z, of_r, of_new = ops.split(inner + self.bias[1] if self.use_bias else inner, 3, axis=-1)
            z = gate(z + of_z)
            new = new + gate(r + of_r) * of_new
        else:
            of_gates, of_content = ops.split(self.recurrent_kernel, [2 * self.units, self.units], axis=-1)
            of_z, of_r = ops.split(ops.matmul(seen, of_gates), 2, axis=-1)
            z = gate(z + of_z)
            new = new + ops.matmul(gate(r + of_r) * seen, of_content)
        h = z * h + (1 - z) * self.activation(new)
        return h, [h]


@config.register()
class StackedRNNCells(Cell):
    """Cells one on top of the other, as one cell.

    Args:
        cells: from the one that sees the input to the one that makes the output.

    Example:
        >>> import numpy as np, hither as ht
        >>> cells = [ht.nn.LSTMCell(4), ht.nn.GRUCell(3)]
        >>> ht.nn.RNN(ht.nn.StackedRNNCells(cells))(np.ones((2, 5, 6), np.float32)).shape
        (2, 3)
    """

    def __init__(self, cells: Sequence[Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.cells = [config.deserialize(c, Layer) for c in cells]

    @property
    def state_size(self) -> Any:
        return [cell.state_size for cell in self.cells]

    @property
    def output_size(self) -> int:
        return output_size(self.cells[-1])

    def build(self, input_shape: Any) -> None:
        shape = tuple(input_shape)
        for cell in self.cells:
            if not cell.built:
                cell.build(shape)
                cell.built = True
            shape = (shape[0], output_size(cell))

    def enter(self, x: Any) -> Any:
        return enter(self.cells[0], x)

    def begin(self, entered: Any) -> States:
        zero = [ops.zeros((1, entered.shape[1], output_size(cell)), dtype=entered.dtype) for cell in self.cells[:-1]]
        return [begin(cell, e) for cell, e in zip(self.cells, [entered, *zero])]

    def draw(self, x: Any, states: States, training: bool) -> Noise:
        if not training:
            return None
        made = []
        for cell, own in zip(self.cells, states):
            made.append(cell.draw(x, own, training) if isinstance(cell, Cell) else None)
            x = ops.zeros((x.shape[0], output_size(cell)), dtype=x.dtype)
        return made

    def step(self, entered: Any, states: States, noise: Noise = None) -> tuple[Any, States]:
        value, after = entered, []
        drawn = [None] * len(self.cells) if noise is None else noise
        for i, (cell, own, n) in enumerate(zip(self.cells, states, drawn, strict=True)):
            value, new = step(cell, enter(cell, with_dropout(value, n)) if i else value, own, n)
            after.append(new)
        return value, after


def output_size(cell: Any) -> int:
    """The extent of any cell's output."""
    size = getattr(cell, "output_size", None)
    if size is None:
        size = cell.state_size[0] if isinstance(cell.state_size, list | tuple) else cell.state_size
    return int(size)


def enter(cell: Any, x: Any) -> Any:
    """What depends on the input alone, for any cell."""
    return cell.enter(x) if isinstance(cell, Cell) else x


def begin(cell: Any, entered: Any) -> States:
    """The first states of any cell, for `entered` [steps, batch, …]."""
    if isinstance(cell, Cell):
        return cell.begin(entered)
    sizes = cell.state_size if isinstance(cell.state_size, list | tuple) else [cell.state_size]
    shapes = [tuple(n) if isinstance(n, list | tuple) else (n,) for n in sizes]
    return [ops.zeros((entered.shape[1], *shape), dtype=entered.dtype) for shape in shapes]


def step(cell: Any, entered: Any, states: States, noise: Noise) -> tuple[Any, States]:
    """One step of any cell."""
    if isinstance(cell, Cell):
        return cell.step(entered, states, noise)
    output, after = cell(entered, states)
    return output, list(after) if isinstance(after, list | tuple) else [after]
