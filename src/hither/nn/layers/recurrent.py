"""Recurrent layers: a cell applied to the steps of a sequence. Compiled, many steps are one loop."""

from __future__ import annotations

from typing import Any

from ... import ops
from ...errors import ShapeMismatch
from ...graph.tree import flatten, unflatten
from .. import config
from ..layer import Layer, own_arguments
from . import recurrent_cells as cells
from .recurrent_cells import GRUCell, LSTMCell, SimpleRNNCell, States

_WRITTEN_OUT = 16  # steps; more are a scan
_UNROLLED = 1024  # the most that `unroll` writes out


@config.register()
class RNN(Layer):
    """A cell applied to the steps of [batch, steps, …].

    Args:
        cell: the cell, or a list of cells to be stacked.
        return_sequences: whether to give the outputs of all steps, or of the last only.
        return_state: whether to give the last states too.
        go_backwards: whether to begin with the last step; outputs are in the order of computation.
        stateful: whether each call begins with the states that the last one ended with.
        unroll: whether compiled code writes the steps out (up to 1024) instead of looping.
        zero_output_for_mask: what a masked step gives: 0, or the output of the step before.

    Called with `initial_state`, a list of arrays, it begins with that.

    Example:
        >>> import numpy as np, hither as ht
        >>> layer = ht.nn.RNN(ht.nn.LSTMCell(4), return_sequences=True)
        >>> layer(np.ones((2, 5, 3), np.float32)).shape
        (2, 5, 4)
    """

    supports_masking = True

    def __init__(
        self,
        cell: Any,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        unroll: bool = False,
        zero_output_for_mask: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if isinstance(cell, list | tuple):
            cell = cells.StackedRNNCells(cell)
        self.cell = config.deserialize(cell, Layer)
        if not hasattr(self.cell, "state_size"):
            raise ValueError(f"a cell has a state_size, which {type(self.cell).__name__} has not")
        self.return_sequences, self.return_state, self.go_backwards = return_sequences, return_state, go_backwards
        self.stateful, self.unroll, self.zero_output_for_mask = stateful, unroll, zero_output_for_mask
        self._forgot = False  # whether the states are those of no batch yet

    def build(self, input_shape: Any) -> None:
        shape = input_shape[0] if isinstance(input_shape, list) else input_shape
        if self.stateful and shape[0] is None:
            raise ShapeMismatch(
                f"{self.name} is stateful and keeps its states for batches of one size; say it: Input(batch_shape=(32, …))"
            )
        if not self.cell.built:
            self.cell.build((shape[0], *shape[2:]))
            self.cell.built = True

    def call(self, x: Any, initial_state: Any = None, training: bool = False, mask: Any = None) -> Any:
        if isinstance(x, list | tuple):
            x, initial_state = x[0], initial_state if initial_state is not None else list(x[1:]) or None
        mask = mask[0] if isinstance(mask, list | tuple) else mask
        sequence = ops.moveaxis(x, 0, 1)
        marks = None if mask is None else ops.matrix_transpose(mask)
        if self.go_backwards:
            sequence, marks = ops.flip(sequence, axis=0), None if marks is None else ops.flip(marks, axis=0)
        noise = self._noise(sequence, training)
        entered = cells.enter(self.cell, cells.with_dropout(sequence, noise))
        states = self._first_states(entered, initial_state)
        outputs, states = self._run(entered, states, marks, noise)
        if self.stateful:
            for name, state in zip(self._state_names(states), flatten(states)[0]):
                setattr(self, name, state)
            self._forgot = False
        result = ops.moveaxis(outputs, 0, 1) if self.return_sequences else outputs[-1]
        return (result, *states) if self.return_state else result

    def _noise(self, sequence: Any, training: bool) -> Any:
        if not training or not isinstance(self.cell, cells.Cell):
            return None
        return self.cell.draw(sequence[0], cells.begin(self.cell, cells.enter(self.cell, sequence)), training)

    def _first_states(self, entered: Any, initial_state: Any) -> States:
        fresh = cells.begin(self.cell, entered)
        leaves, structure = flatten(fresh)
        if initial_state is not None:
            given, _ = flatten(initial_state)
            if len(given) != len(leaves):
                raise ValueError(f"{self.name} has {len(leaves)} states, got {len(given)} initial ones")
            return unflatten(structure, [ops.asarray(g, dtype=f.dtype) for g, f in zip(given, leaves)])
        if not self.stateful:
            return fresh
        names = self._state_names(fresh)
        if not hasattr(self, names[0]):
            for name, leaf in zip(names, leaves):
                self.add_weight(name, leaf.shape, "zeros", trainable=False, persistent=False)
        kept = [getattr(self, name) for name in names]
        if kept[0].shape[0] != leaves[0].shape[0]:
            if self._forgot:
                return fresh
            raise ValueError(
                f"{self.name} keeps its states for a batch of {kept[0].shape[0]}, got {leaves[0].shape[0]}; "
                "reset_states() forgets them"
            )
        return unflatten(structure, kept)

    def _state_names(self, states: States) -> list[str]:
        return [f"state_{i}" for i in range(len(flatten(states)[0]))]

    def reset_states(self) -> None:
        """Forget the states that a stateful layer keeps: the next batch, which may be of another size, begins with zeros."""
        for name in [n for n in self._kept if n.startswith("state_")]:
            setattr(self, name, ops.zeros_like(getattr(self, name)))
        self._forgot = True

    reset_state = reset_states

    def _run(self, entered: Any, states: States, marks: Any, noise: Any) -> tuple[Any, States]:
        """Outputs [steps, batch, …] and the last states."""

        def advance(before: States, now: Any) -> tuple[States, Any]:
            row, mark = now
            output, after = cells.step(self.cell, row, before, noise)
            if mark is None:
                return after, output
            stacked = isinstance(before[-1], list)
            masked = output * 0 if self.zero_output_for_mask else before[-1][0] if stacked else before[0]
            old, structure = flatten(before)
            kept = [ops.where(_beside(mark, o), n, o) for o, n in zip(old, flatten(after)[0], strict=True)]
            return unflatten(structure, kept), ops.where(_beside(mark, output), output, masked)

        count = entered.shape[0]
        if count > (_UNROLLED if self.unroll else _WRITTEN_OUT):
            last, outputs = ops.scan(advance, states, (entered, marks))
            return outputs, last
        rows = []
        for t in range(count):
            states, row = advance(states, (entered[t], None if marks is None else marks[t]))
            rows.append(row)
        if not rows:
            raise ValueError(f"{self.name} takes sequences of at least one step")
        return ops.stack(rows), states

    def compute_mask(self, inputs: Any, mask: Any) -> Any:
        mask = mask[0] if isinstance(mask, list | tuple) and mask else mask
        mask = mask if self.return_sequences else None
        return [mask] + [None] * len(flatten(self.cell.state_size)[0]) if self.return_state else mask


def _beside(mark: Any, x: Any) -> Any:
    """One bool per sample, to broadcast to x."""
    return ops.reshape(mark, (mark.shape[0], *(1,) * (x.ndim - 1)))


class CellLayer(RNN):
    """A recurrent layer with a cell of its own. `own` are the layer's arguments: some of them the cell's, some RNN's."""

    def __init__(self, cell: Layer, own: dict[str, Any]) -> None:
        common = ("return_sequences", "return_state", "go_backwards", "stateful", "unroll", "zero_output_for_mask")
        passed = {k: own[k] for k in common if k in own}
        super().__init__(cell, activity_regularizer=own.get("activity_regularizer"), **passed, **own["kwargs"])

    def __getattr__(self, name: str) -> Any:
        # Arguments of the cell are read where the cell keeps them.
        cell = vars(self).get("cell")
        if cell is None or name.startswith("_") or name not in vars(cell):
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")
        return getattr(cell, name)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "zero_output_for_mask": self.zero_output_for_mask}


def of_cell(cell: type[Layer], given: dict[str, Any]) -> Layer:
    """A cell of those of a layer's arguments that are the cell's."""
    names = own_arguments(cell)
    also = {k: v for k, v in given["kwargs"].items() if k in ("dtype", "trainable")}
    return cell(**{k: v for k, v in given.items() if k in names}, **also)


@config.register()
class SimpleRNN(CellLayer):
    """A fully connected recurrent layer; arguments as for SimpleRNNCell and RNN.

    Example:
        >>> import numpy as np, hither as ht
        >>> ht.nn.SimpleRNN(4)(np.ones((2, 5, 3), np.float32)).shape
        (2, 4)
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
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        recurrent_constraint: Any = None,
        bias_constraint: Any = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        unroll: bool = False,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        given = {k: v for k, v in locals().items() if k not in ("self", "__class__")}
        super().__init__(of_cell(SimpleRNNCell, given), given)


@config.register()
class LSTM(CellLayer):
    """A long short-term memory; arguments as for LSTMCell and RNN.

    Example:
        >>> import numpy as np, hither as ht
        >>> y, h, c = ht.nn.LSTM(4, return_state=True)(np.ones((2, 5, 3), np.float32))
        >>> y.shape, c.shape
        ((2, 4), (2, 4))
    """

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
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        recurrent_constraint: Any = None,
        bias_constraint: Any = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        seed: int | None = None,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        unroll: bool = False,
        **kwargs: Any,
    ) -> None:
        given = {k: v for k, v in locals().items() if k not in ("self", "__class__")}
        super().__init__(of_cell(LSTMCell, given), given)


@config.register()
class GRU(CellLayer):
    """A gated recurrent unit; arguments as for GRUCell and RNN.

    Example:
        >>> import numpy as np, hither as ht
        >>> ht.nn.GRU(4, return_sequences=True)(np.ones((2, 5, 3), np.float32)).shape
        (2, 5, 4)
    """

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
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        recurrent_constraint: Any = None,
        bias_constraint: Any = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        seed: int | None = None,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        unroll: bool = False,
        reset_after: bool = True,
        **kwargs: Any,
    ) -> None:
        given = {k: v for k, v in locals().items() if k not in ("self", "__class__")}
        super().__init__(of_cell(GRUCell, given), given)

    @classmethod
    def from_config(cls, data: dict[str, Any]) -> Any:
        return super().from_config({"reset_after": False, **data})  # see GRUCell
