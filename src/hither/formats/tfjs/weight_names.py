"""Which weight of a network a name in a layers model means: "conv1/kernel", "bidirectional/forward_lstm/lstm_cell/bias".

Names are made of the layers around a weight, but files leave some out, or have more: cells, networks inside others, and what
wrappers wrap come and go with who wrote the file.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from ...errors import InvalidModel
from ...nn import Bidirectional, DepthwiseConv2D, Layer, StackedRNNCells, TimeDistributed
from ...nn.layer import saved
from ...nn.layers.recurrent_cells import Cell
from ...nn.network import Network
from ..keras.layouts import Place, legacy_places

CELL = ("*",)  # stands for any one step of a name, or none
Step = tuple[str, ...]  # the names that a layer may have in a file


@dataclass(frozen=True)
class Candidate:
    """A weight: the names of the layers around it, what it is called in them, and where it is."""

    steps: tuple[Step, ...]
    leaf: str
    place: Place

    def distance(self, steps: Sequence[str]) -> int | None:
        """How badly a name fits: what it leaves out of this weight's steps counts; None if it has a step too many."""
        return _distance(tuple(steps), self.steps)


def _distance(steps: tuple[str, ...], own: tuple[Step, ...]) -> int | None:
    if len(steps) > len(own):
        return None
    if not own:
        return 0
    ways = [(0 if own[0] is CELL else 4, _distance(steps, own[1:]))]
    if steps and (own[0] is CELL or steps[0] in own[0]):
        ways.append((1 if own[0] is CELL else 0, _distance(steps[1:], own[1:])))
    return min((here + rest for here, rest in ways if rest is not None), default=None)


def candidates(network: Network) -> list[Candidate]:
    """All weights of a network, once each."""
    made: list[Candidate] = []
    seen: set[int] = set()

    def visit(layer: Layer, steps: tuple[Step, ...]) -> None:
        if id(layer) in seen:
            return
        seen.add(id(layer))
        made.extend(Candidate(steps, leaf_name(layer, name), (layer, name)) for name in saved(layer))
        for i, (_, part) in enumerate(layer.parts()):
            if isinstance(layer, StackedRNNCells) and isinstance(part, Layer):
                visit(part, (*steps, (part.name, f"RNNCell_{i}")))
            elif isinstance(part, Layer):  # the cell of a layer like LSTM is in no configuration, its name in no file
                visit(part, (*steps, CELL if isinstance(part, Cell) else (part.name,)))

    for layer in network.layers:
        visit(layer, ((layer.name,),))
    return made


def leaf_name(layer: Layer, name: str) -> str:
    """What Keras 2 and TensorFlow.js call a weight."""
    return "depthwise_kernel" if isinstance(layer, DepthwiseConv2D) and name == "kernel" else name


def matched(network: Network, names: Sequence[str], file: str) -> dict[str, Place]:
    """Which weight each name means.

    Raises:
        InvalidModel: if the names are not those of this network's weights.
    """
    every = candidates(network)
    by_leaf: dict[str, list[Candidate]] = defaultdict(list)
    for candidate in every:
        by_leaf[candidate.leaf].append(candidate)
        if candidate.leaf != candidate.place[1]:
            by_leaf[candidate.place[1]].append(candidate)
    found: dict[str, Place] = {}
    for name in names:
        *steps, leaf = name.removesuffix(":0").split("/")
        options = by_leaf.get(leaf) or by_leaf.get(re.sub(r"_\d+$", "", leaf), [])
        scored = sorted((d, i) for i, c in enumerate(options) if (d := c.distance(steps)) is not None)
        if not scored or (len(scored) > 1 and scored[0][0] == scored[1][0]):
            break
        found[name] = options[scored[0][1]].place
    if len(found) == len(names) == len(every) == len({(id(m), n) for m, n in found.values()}):
        return found
    # Names that say nothing of layers, or too little: then the order counts, as in Keras's own files.
    ordered = [place for layer in network.layers for place in legacy_places(layer)]
    if len(ordered) == len(names):
        return dict(zip(names, ordered))
    own = [f"{'/'.join(s[0] for s in c.steps if s is not CELL)}/{c.leaf}" for c in every]
    raise InvalidModel(
        f"{file} has {len(names)} weights ({_shown(names)}), its network {network.name} {len(own)} ({_shown(own)})"
    )


def _shown(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (", …" if len(names) > 8 else "") if names else "none"


def written_names(network: Network) -> dict[str, Place]:
    """The name that TensorFlow.js gives each weight of a network, in its order."""
    made: dict[str, Place] = {}

    def visit(layer: Layer, scope: str) -> None:
        for name in saved(layer):
            full = f"{scope}/{leaf_name(layer, name)}"
            if full in made:
                raise InvalidModel(
                    f"two weights of {network.name} would be called {full!r}; give the layers names of their own"
                )
            made[full] = (layer, name)
        if isinstance(layer, Network):
            for part in layer.layers:
                visit(part, part.name)
        elif isinstance(layer, Bidirectional):
            for half in (layer.forward_layer, layer.backward_layer):
                visit(half, f"{scope}/{half.name}")
        elif isinstance(layer, StackedRNNCells):
            for i, cell in enumerate(layer.cells):
                visit(cell, f"{scope}/RNNCell_{i}")
        else:
            inner = [part for _, part in layer.parts() if isinstance(part, Layer)]
            for part in inner:
                visit(part, part.name if isinstance(layer, TimeDistributed) and isinstance(part, Network) else scope)

    visit(network, network.name)
    return made
