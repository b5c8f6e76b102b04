"""TF.js graph models written by tests: JSON and shards as the converter writes them, node by node."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import hither as ht

TYPES = {"float32": "DT_FLOAT", "int32": "DT_INT32", "bool": "DT_BOOL", "string": "DT_STRING"}


def attribute(value: Any) -> dict[str, Any]:
    """A Python value as an AttrValue; ("type", name), ("shape", dims) and ("func", name) say so."""
    if isinstance(value, tuple) and len(value) == 2 and value[0] in ("type", "shape", "func"):
        kind, content = value
        if kind == "type":
            return {"type": TYPES.get(content, content)}
        return {"func": {"name": content}} if kind == "func" else {"shape": shape(content)}
    if isinstance(value, bool):
        return {"b": value}
    if isinstance(value, int):
        return {"i": str(value)}
    if isinstance(value, float):
        return {"f": value}
    if isinstance(value, str):
        return {"s": base64.b64encode(value.encode()).decode()}
    listed = list(value)
    if not listed:
        return {"list": {}}
    key, made = next(iter(attribute(listed[0]).items()))
    return {"list": {key: [made] + [attribute(v)[key] for v in listed[1:]]}}


def shape(dims: Sequence[int | None] | None) -> dict[str, Any]:
    """A TensorShape."""
    return {"unknownRank": True} if dims is None else {"dim": [{"size": str(-1 if n is None else n)} for n in dims]}


def node(name: str, op: str, inputs: Sequence[str] = (), **attributes: Any) -> dict[str, Any]:
    """A NodeDef."""
    return {"name": name, "op": op, "input": list(inputs), "attr": {k: attribute(v) for k, v in attributes.items()}}


def function(
    name: str, arguments: Sequence[str], nodes: Sequence[dict[str, Any]], results: Mapping[str, str]
) -> dict[str, Any]:
    """A function of the library; results are {name: reference}."""
    return {
        "signature": {
            "name": name,
            "inputArg": [{"name": a, "type": "DT_FLOAT"} for a in arguments],
            "outputArg": [{"name": r, "type": "DT_FLOAT"} for r in results],
        },
        "nodeDef": list(nodes),
        "ret": dict(results),
    }


class GraphModel:
    """A model under construction: inputs, constants and nodes in, a folder out."""

    def __init__(self) -> None:
        self.nodes: list[dict[str, Any]] = []
        self.functions: list[dict[str, Any]] = []
        self.inputs: dict[str, Any] = {}
        self.outputs: dict[str, Any] = {}
        self.weights: list[tuple[dict[str, Any], bytes]] = []

    def input(self, name: str, dims: Sequence[int | None] | None, dtype: str = "float32") -> str:
        """A placeholder that the signature names."""
        self.nodes.append(node(name, "Placeholder", dtype=("type", dtype), shape=("shape", dims)))
        self.inputs[name] = {"name": f"{name}:0", "dtype": TYPES[dtype], "tensorShape": shape(dims)}
        return name

    def const(self, name: str, values: Any, dtype: str | None = None) -> str:
        """A constant; floats are float32 and integers int32."""
        array = np.asarray(values)
        array = array.astype(dtype or {"f": "float32", "i": "int32", "u": "int32", "b": "bool"}[array.dtype.kind])
        self.nodes.append(node(name, "Const", dtype=("type", array.dtype.name)))
        self.weights.append(({"name": name, "shape": list(array.shape), "dtype": array.dtype.name}, array.tobytes()))
        return name

    def stored(self, entry: dict[str, Any], data: bytes) -> str:
        """A constant as it is stored, quantised say."""
        self.nodes.append(node(entry["name"], "Const", dtype=("type", entry["dtype"])))
        self.weights.append((entry, data))
        return str(entry["name"])

    def op(self, op: str, *inputs: Any, name: str | None = None, **attributes: Any) -> str:
        """A node; arrays among its inputs become constants."""
        name = name or f"n{len(self.nodes)}"
        names = [x if isinstance(x, str) else self.const(f"{name}_{i}", x) for i, x in enumerate(inputs)]
        self.nodes.append(node(name, op, names, **attributes))
        return name

    def output(self, name: str, reference: str, dtype: str = "float32") -> None:
        """An output that the signature names."""
        self.outputs[name] = {"name": reference if ":" in reference else f"{reference}:0", "dtype": TYPES[dtype]}

    def document(self, shards: Sequence[str] = ("group1-shard1of1.bin",)) -> dict[str, Any]:
        """The JSON."""
        topology: dict[str, Any] = {"node": self.nodes, "library": {"function": self.functions}, "versions": {}}
        return {
            "format": "graph-model",
            "generatedBy": "test",
            "signature": {"inputs": self.inputs, "outputs": self.outputs},
            "modelTopology": topology,
            "weightsManifest": [{"paths": list(shards), "weights": [w for w, _ in self.weights]}],
        }

    def data(self) -> bytes:
        """The weights' bytes."""
        return b"".join(d for _, d in self.weights)

    def save(self, folder: Path, shards: int = 1) -> Path:
        """Writes model.json and as many shards of nearly equal size."""
        names = [f"group1-shard{i + 1}of{shards}.bin" for i in range(shards)]
        data = self.data()
        cuts = [len(data) * i // shards for i in range(shards + 1)]
        folder.mkdir(parents=True, exist_ok=True)
        for shard, low, high in zip(names, cuts, cuts[1:]):
            (folder / shard).write_bytes(data[low:high])
        path = folder / "model.json"
        path.write_text(json.dumps(self.document(names)))
        return path


def frame_loop(model: GraphModel, start: dict[str, str], constants: dict[str, str], test: Any, step: Any) -> dict[str, str]:
    """A while loop as TensorFlow 1 writes it; `test` and `step` make nodes from the names of the values."""
    enters = {k: model.op("Enter", v, name=f"enter_{k}", frame_name="f", is_constant=False) for k, v in start.items()}
    kept = {k: model.op("Enter", v, name=f"keep_{k}", frame_name="f", is_constant=True) for k, v in constants.items()}
    merges = {k: model.op("Merge", e, f"next_{k}", name=f"merge_{k}") for k, e in enters.items()}
    condition = model.op("LoopCond", test({**merges, **kept}), name="loop_cond")
    switches = {k: model.op("Switch", m, condition, name=f"switch_{k}") for k, m in merges.items()}
    inside = {k: model.op("Identity", f"{s}:1") for k, s in switches.items()}
    for k, made in step({**inside, **kept}).items():
        model.op("NextIteration", made, name=f"next_{k}")
    return {k: model.op("Exit", s, name=f"exit_{k}") for k, s in switches.items()}


# -- one operator ------------------------------------------------------------------------------------------------------------


def run(folder: Path, op: str, *operands: Any, outputs: int = 1, dtype: str = "float32", **attributes: Any) -> list[np.ndarray]:
    """One operator on operands, of which arrays are inputs and others (in a list) constants."""
    model, feeds, names = GraphModel(), {}, []
    for i, x in enumerate(operands):
        if isinstance(x, np.ndarray):
            names.append(model.input(f"x{i}", x.shape, x.dtype.name))
            feeds[f"x{i}"] = x
        else:
            names.append(model.const(f"c{i}", np.asarray(x[0]) if isinstance(x, list) else x))
    made = model.op(op, *names, **attributes)
    if not feeds:
        feeds["zero"] = np.zeros((), np.float32)
        model.input("zero", ())
    for i in range(outputs):
        model.output(f"y{i}", f"{made}:{i}", dtype)
    loaded = ht.load(model.save(folder), device="cpu")
    return [y.numpy() for y in loaded(feeds).values()]


def agree(got: np.ndarray, want: Any, tolerance: float = 2e-5) -> None:
    want = np.asarray(want)
    assert got.shape == want.shape
    if got.dtype.kind == "f":
        np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance)
    else:
        np.testing.assert_array_equal(got, want)


def C(values: Any) -> list[Any]:
    """A constant operand."""
    return [values]
