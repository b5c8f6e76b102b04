"""`hither convert`: a small model of every format that is read, into every format that is written, and back: the same answers.

A failure means that a conversion loses something, or is refused in words that do not help.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from typer.testing import CliRunner

import hither as ht
from hither.cli import application

from .onnx_build import build, info
from .tfjs_build import GraphModel
from .tflite_build import File

RNG = np.random.default_rng(3)
SHAPE = (1, 6, 6, 2)
FILTERS = RNG.standard_normal((3, 3, 2, 3)).astype(np.float32)  # window, in, out
WEIGHT, BIAS = RNG.standard_normal((48, 4)).astype(np.float32), RNG.standard_normal(4).astype(np.float32)


def picture(batch: int = 1) -> np.ndarray:
    return np.random.default_rng(batch).standard_normal((batch, *SHAPE[1:])).astype(np.float32)


def reference(x: np.ndarray) -> np.ndarray:
    """What every file below computes, by its definition: a convolution, ReLU, a dense layer, softmax."""
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), (1, 2))
    y = np.maximum(np.einsum("nhwcij,ijco->nhwo", windows, FILTERS), 0).reshape(len(x), 48) @ WEIGHT + BIAS
    exps = np.exp(y - y.max(1, keepdims=True))
    return exps / exps.sum(1, keepdims=True)


# -- one file of each format ------------------------------------------------------------------------------------------------


def onnx_file(folder: Path) -> Path:
    node = onnx.helper.make_node
    nodes = [
        node("Transpose", ["image"], ["t"], perm=[0, 3, 1, 2]),
        node("Conv", ["t", "filters"], ["c"]),
        node("Relu", ["c"], ["r"]),
        node("Transpose", ["r"], ["b"], perm=[0, 2, 3, 1]),
        node("Flatten", ["b"], ["f"]),
        node("Gemm", ["f", "weight", "bias"], ["g"]),
        node("Softmax", ["g"], ["scores"]),
    ]
    constants = {"filters": FILTERS.transpose(3, 2, 0, 1), "weight": WEIGHT, "bias": BIAS}
    path = folder / "net.onnx"
    path.write_bytes(build(nodes, [info("image", np.float32, ["n", *SHAPE[1:]])], ["scores"], constants))
    return path


def tfjs_graph(folder: Path) -> Path:
    model = GraphModel()
    x = model.input("image", [None, *SHAPE[1:]])
    c = model.op(
        "Conv2D", x, model.const("filters", FILTERS), strides=[1, 1, 1, 1], padding="VALID", data_format="NHWC",
        dilations=[1, 1, 1, 1],
    )  # fmt: skip
    flat = model.op("Reshape", model.op("Relu", c), np.array([-1, 48]))
    made = model.op("BiasAdd", model.op("MatMul", flat, model.const("weight", WEIGHT)), model.const("bias", BIAS))
    model.output("scores", model.op("Softmax", made))
    return model.save(folder).parent


def tflite_file(folder: Path) -> Path:
    file = File()
    graph = file.graph()
    x, c, flat, made, y = (graph.tensor(s) for s in (SHAPE, (1, 4, 4, 3), (1, 48), (1, 4), (1, 4)))
    options = {"Padding": 1, "StrideH": 1, "StrideW": 1, "DilationHFactor": 1, "DilationWFactor": 1}
    filters = graph.constant(FILTERS.transpose(3, 0, 1, 2).copy(), "filters")
    zeros = graph.constant(np.zeros(3, np.float32))
    graph.operator("CONV_2D", [x, filters, zeros], [c], "Conv2DOptions", FusedActivationFunction=1, **options)
    graph.operator("RESHAPE", [c, graph.constant(np.array([1, 48], np.int32))], [flat])
    dense = [flat, graph.constant(WEIGHT.T.copy(), "weight"), graph.constant(BIAS, "bias")]
    graph.operator("FULLY_CONNECTED", dense, [made], "FullyConnectedOptions")
    graph.operator("SOFTMAX", [made], [y], "SoftmaxOptions", Beta=1.0)
    graph.inputs, graph.outputs = [x], [y]
    file.signature("serve", 0, {"image": x}, {"scores": y})
    path = folder / "net.tflite"
    path.write_bytes(file.finish())
    return path


def network() -> ht.nn.Sequential:
    nn = ht.nn
    net = nn.Sequential(
        [
            nn.Input(SHAPE[1:], name="image"), nn.Conv2D(3, 3, activation="relu", use_bias=False, name="conv"),
            nn.Flatten(name="flat"), nn.Dense(4, activation="softmax", name="scores"),
        ]
    )  # fmt: skip
    net.load_weights({"conv.kernel": FILTERS, "scores.kernel": WEIGHT, "scores.bias": BIAS})
    return net


def saved(name: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        ht.save(network(), folder / name)
        return folder / name

    return write


def keras_h5(folder: Path) -> Path:
    """Written by Keras itself, which hither does not write."""
    keras = pytest.importorskip("keras")
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input(SHAPE[1:], name="image"), layers.Conv2D(3, 3, activation="relu", use_bias=False),
            layers.Flatten(), layers.Dense(4, activation="softmax", name="scores"),
        ]
    )  # fmt: skip
    model.set_weights([FILTERS, WEIGHT, BIAS])
    model.save(folder / "net.h5")
    return folder / "net.h5"


def bundle_folder(folder: Path) -> Path:
    ht.bundle(network(), folder / "bundle", {"image": ht.Spec(SHAPE)}, targets=("wasm",))
    return folder / "bundle"


NETWORKS = {"keras": saved("net.keras"), "keras-h5": keras_h5, "tfjs-layers": saved("model.json"),
            "safetensors": saved("net.safetensors")}  # fmt: skip
GRAPHS = {"onnx": onnx_file, "tfjs-graph": tfjs_graph, "tflite": tflite_file}
INPUTS = {**NETWORKS, **GRAPHS}
OUTPUTS = {"bundle": "out", "onnx": "out.onnx", "safetensors": "out.safetensors", "keras": "out.keras",
           "tfjs-layers": "out/model.json"}  # fmt: skip


def convert(*arguments: Any) -> Any:
    return CliRunner().invoke(application(), ["convert", *map(str, arguments)])


def answers(model: Any, x: np.ndarray) -> np.ndarray:
    (result,) = model(x).values()
    return result.numpy()


@pytest.mark.parametrize("to", OUTPUTS)
@pytest.mark.parametrize("kind", INPUTS)
def test_any_format_into_any_that_can_hold_it(kind: str, to: str, tmp_path: Path) -> None:
    source, target = INPUTS[kind](tmp_path), tmp_path / "made" / OUTPUTS[to]
    name = next(iter(ht.load(source).inputs))
    shape = ["--shape", f"{name}={','.join(map(str, SHAPE))}"] if to in ("bundle", "onnx") else []
    targets = ["--targets", "wasm"] if to == "bundle" else []
    result = convert(source, "-o", target, *shape, *targets)
    if kind in GRAPHS and to in ("keras", "tfjs-layers"):
        assert result.exit_code == 1 and "networks of layers" in str(result.exception)
        return
    assert result.exit_code == 0, (result.output, result.exception)
    want = reference(picture())
    if kind in GRAPHS and to == "safetensors":  # the weights alone
        found = [a.numpy() for a in ht.load_weights(target).values()]
        for array in (FILTERS, WEIGHT, BIAS):
            assert any(np.array_equal(np.sort(a, None), np.sort(array, None)) for a in found)
        return
    model = ht.load(target)
    np.testing.assert_allclose(answers(model, picture()), want, rtol=1e-4, atol=1e-6)
    if to not in ("bundle", "onnx"):  # what keeps the network keeps the batch free
        np.testing.assert_allclose(answers(model, picture(3)), reference(picture(3)), rtol=1e-4, atol=1e-6)


def test_a_bundle_of_several_shapes(tmp_path: Path) -> None:
    shapes = [a for n in (1, 3) for a in ("--shape", f"image={n},6,6,2")]
    result = convert(onnx_file(tmp_path), "-o", tmp_path / "out", "--targets", "wasm", *shapes)
    assert result.exit_code == 0, result.output
    for batch in (1, 3):
        found = answers(ht.load(tmp_path / "out"), picture(batch))
        np.testing.assert_allclose(found, reference(picture(batch)), rtol=1e-4, atol=1e-6)


def test_names_and_constants(tmp_path: Path) -> None:
    result = convert(
        onnx_file(tmp_path), "-o", tmp_path / "out.onnx", "--shape", "x=1,6,6,2", "--rename", "image=x", "--rename", "scores=y"
    )
    assert result.exit_code == 0, result.output
    proto = onnx.load(tmp_path / "out.onnx")
    assert [i.name for i in proto.graph.input] == ["x"] and [o.name for o in proto.graph.output] == ["y"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["-o", "out.onnx"], r"shape of image.*--shape"),
        (["-o", "out.onnx", "--shape", "image=1,6,6,2", "--shape", "image=3,6,6,2"], "only bundles hold several"),
        (["-o", "out.pb"], r"hither writes.*\.onnx.*out\.pb"),
        (["-o", "out", "--to", "tflite"], r"hither writes.*'tflite'"),
        (["-o", "out.safetensors", "--shape", "image=1,6,6,2"], r"--shape.*bundles and ONNX"),
        (["-o", "out.safetensors", "--rename", "image=x"], r"--rename.*bundles and ONNX"),
        (["-o", "out.onnx", "--targets", "wasm", "--shape", "image=1,6,6,2"], r"--targets.*bundles"),
        (["-o", "out.keras"], "networks of layers.*Model"),
    ],
)
def test_what_cannot_be_is_refused_in_words(arguments: list[str], says: str, tmp_path: Path) -> None:
    made = [str(tmp_path / a) if a.startswith("out") else a for a in arguments]
    result = convert(onnx_file(tmp_path), *made)
    assert result.exit_code == 1 and not list(tmp_path.glob("out*"))
    with pytest.raises(ht.errors.HitherError, match=says):
        raise result.exception


@pytest.mark.parametrize("to", ["onnx", "keras", "tfjs-layers", "safetensors", "bundle"])
def test_a_bundle_holds_code_and_no_network(to: str, tmp_path: Path) -> None:
    result = convert(bundle_folder(tmp_path), "-o", tmp_path / "made" / OUTPUTS[to])
    assert result.exit_code == 1
    with pytest.raises(ht.errors.HitherError, match=r"(?i)bundle"):
        raise result.exception
