"""Imported models as layers: their weights are trained as those of the network that they came from; cut, frozen, adapted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import hither as ht
from hither.errors import NameMismatch, UnsupportedFeature
from hither.formats.onnx import load_bytes

from .test_trainer import LOSS, data, dense_net, numpy_steps


def cnn() -> ht.nn.Sequential:
    ht.nn.seed(4)
    net = ht.nn.Sequential([
        ht.nn.Input((8, 8, 2)), ht.nn.Conv2D(4, 3, padding="same", name="conv1"), ht.nn.BatchNormalization(name="norm"),
        ht.nn.ReLU(), ht.nn.MaxPooling2D(), ht.nn.Conv2D(6, 3, activation="relu", name="conv2"), ht.nn.GlobalAveragePooling2D(),
        ht.nn.Dense(3, name="head"),
    ])  # fmt: skip
    rng = np.random.default_rng(0)
    layer = net.get_layer("norm")
    layer.moving_mean = ht.asarray(rng.normal(size=4).astype(np.float32))
    layer.moving_variance = ht.asarray(rng.uniform(0.5, 2, 4).astype(np.float32))
    return net


def exported(net: Any, path: Path, batch: int) -> ht.Model:
    """The network through an ONNX file for a fixed batch."""
    shape = net.input.shape[1:]
    ht.save(net, path, {"x": ht.Spec((batch, *shape), "float32")})
    return ht.load(path)


def pictures() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    return rng.normal(size=(16, 8, 8, 2)).astype(np.float32), rng.integers(0, 3, 16)


def test_an_imported_net_trains_by_gradient_descent(tmp_path: Path) -> None:
    """Losses and weights that NumPy computes by hand, though the file is for one sample at a time."""
    x, y = data()
    net = dense_net()
    expected, weights = numpy_steps(net, x, y, 0.5, 4)
    layer = ht.nn.from_model(exported(net, tmp_path / "net.onnx", 1))
    trainer = ht.Trainer(layer, LOSS, ht.optim.SGD(0.5))
    got = [trainer.train_on_batch(x, y)["loss"] for _ in range(4)]
    np.testing.assert_allclose(got, expected, rtol=1e-5)
    assert len(layer.trainable_weights) == len(weights)
    for array in (a.numpy().squeeze() for a in layer.trainable_weights.values()):  # the file has biases as rows
        assert min(np.abs(w - array).max() for w in weights.values() if w.shape == array.shape) < 1e-5


def onnx_cnn(net: ht.nn.Sequential, batch: int) -> ht.Model:
    """The network of `cnn` as an ONNX file of PyTorch's kind: channels first, a BatchNormalization node, a Gemm at the end."""
    conv1, norm, conv2, head = (net.get_layer(n) for n in ("conv1", "norm", "conv2", "head"))
    weights = {
        "conv1.weight": conv1.kernel.numpy().transpose(3, 2, 0, 1), "conv1.bias": conv1.bias.numpy(),
        "bn.weight": norm.gamma.numpy(), "bn.bias": norm.beta.numpy(),
        "bn.running_mean": norm.moving_mean.numpy(), "bn.running_var": norm.moving_variance.numpy(),
        "conv2.weight": conv2.kernel.numpy().transpose(3, 2, 0, 1), "conv2.bias": conv2.bias.numpy(),
        "fc.weight": head.kernel.numpy().T, "fc.bias": head.bias.numpy(),
    }  # fmt: skip
    node = onnx.helper.make_node
    nodes = [
        node("Conv", ["x", "conv1.weight", "conv1.bias"], ["c1"], "conv_one", pads=[1, 1, 1, 1]),
        node("BatchNormalization", ["c1", "bn.weight", "bn.bias", "bn.running_mean", "bn.running_var"], ["n1"], epsilon=1e-3),
        node("Relu", ["n1"], ["r1"]),
        node("MaxPool", ["r1"], ["p1"], kernel_shape=[2, 2], strides=[2, 2]),
        node("Conv", ["p1", "conv2.weight", "conv2.bias"], ["c2"], "conv_two"),
        node("Relu", ["c2"], ["r2"]),
        node("GlobalAveragePool", ["r2"], ["g"]),
        node("Flatten", ["g"], ["features"]),
        node("Gemm", ["features", "fc.weight", "fc.bias"], ["scores"], transB=1),
    ]  # fmt: skip
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        nodes, "net", [value("x", onnx.TensorProto.FLOAT, [batch, 2, 8, 8])],
        [value("scores", onnx.TensorProto.FLOAT, [batch, 3])],
        [onnx.numpy_helper.from_array(np.ascontiguousarray(a), n) for n, a in weights.items()],
    )  # fmt: skip
    made = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    return load_bytes(made.SerializeToString())


@pytest.mark.parametrize("batch", [16, 1])
def test_convolutions_train_as_in_the_network_itself(batch: int) -> None:
    """Equal to the network of layers with its statistics held, step by step, weight by weight; the file is channels first."""
    x, y = pictures()
    net = cnn()
    layer = ht.nn.from_model(onnx_cnn(net, batch))
    norm = net.get_layer("norm")
    net.get_layer(
        "norm"
    ).trainable = False  # runs with its statistics; scale and offset do not train then, so nor do the file's
    channels_first = x.transpose(0, 3, 1, 2)
    np.testing.assert_allclose(layer(channels_first).numpy(), net(x).numpy(), atol=1e-5)
    assert list(layer.non_trainable_weights) == ["bn.running_mean", "bn.running_var"], "measured on data, not parameters"
    layer = ht.nn.from_model(onnx_cnn(net, batch), freeze="bn.*")
    settings = {"batch_size": 16, "epochs": 5, "shuffle": False, "verbose": 0}
    expected = ht.Trainer(net, LOSS, ht.optim.SGD(0.1, momentum=0.9)).fit(x, y, **settings)
    got = ht.Trainer(layer, LOSS, ht.optim.SGD(0.1, momentum=0.9)).fit(channels_first, y, **settings)
    np.testing.assert_allclose(got.history["loss"], expected.history["loss"], rtol=1e-4)
    weights = layer.weights
    kernel = net.get_layer("conv1").kernel.numpy().transpose(3, 2, 0, 1)
    np.testing.assert_allclose(weights["conv1.weight"].numpy(), kernel, atol=1e-5)
    np.testing.assert_allclose(weights["fc.weight"].numpy(), net.get_layer("head").kernel.numpy().T, atol=1e-5)
    assert (weights["bn.running_mean"].numpy() == norm.moving_mean.numpy()).all()


@pytest.mark.parametrize("cut", ["r2", "conv_two", "features"])
def test_cutting_freezing_and_a_new_head(cut: str) -> None:
    """By the name of a tensor or a node; for a file of one sample at a time; with a new head the frozen part stays."""
    x, y = pictures()
    x = x.transpose(0, 3, 1, 2)
    model = onnx_cnn(cnn(), 1)
    with pytest.raises(NameMismatch, match=r"computes nothing called 'feature'.*'features'"):
        ht.nn.from_model(model, "feature")(x)
    features = ht.nn.from_model(model, cut, freeze=True)
    net = ht.nn.Sequential([features, ht.nn.Flatten(), ht.nn.Dense(3, name="new")])
    before = {n: w.numpy().copy() for n, w in features.weights.items()}
    assert "fc.weight" not in before, "what is cut off is gone"
    history = ht.Trainer(net, LOSS, ht.optim.Adam(0.05)).fit(x, y, batch_size=8, epochs=15, verbose=0)
    assert history.history["loss"][-1] < 0.96 * history.history["loss"][0]
    assert list(net.trainable_weights) == ["new.kernel", "new.bias"]
    assert all((features.weights[n].numpy() == a).all() for n, a in before.items())
    program = ht.compile(net, {"x": ht.Spec((2, 2, 8, 8), "float32")}, device="cpu")  # and it ships as any network
    np.testing.assert_allclose(next(iter(program(x[:2]).values())).numpy(), net(x[:2]).numpy(), atol=1e-5)


def test_networks_of_layers_are_cut_by_layer() -> None:
    """A Keras-like model cut at a layer gives that layer's output."""
    net = cnn()
    x, _ = pictures()
    cut = ht.nn.from_model(net.as_model(), "conv2")
    expected = x
    for layer in net.layers[:5] if not isinstance(net.layers[0], ht.nn.InputLayer) else net.layers[1:6]:
        expected = layer(expected)
    np.testing.assert_allclose(cut(x).numpy(), expected.numpy(), atol=1e-5)


@pytest.mark.parametrize("layer", [ht.nn.Dense(6, name="wide"), ht.nn.EinsumDense("ab,bc->ac", 6, name="wide")])
def test_lora_trains_a_change_of_low_rank(layer: Any) -> None:
    x, y = data()
    adapted = ht.nn.LoRA(layer, rank=2, alpha=4)
    net = ht.nn.Sequential([ht.nn.Input((5,)), adapted, ht.nn.Dense(3)])
    kernel = layer.kernel.numpy().copy()
    np.testing.assert_allclose(net(x).numpy(), net.layers[-1](layer(x)).numpy(), atol=1e-6, err_msg="it begins without change")
    ht.Trainer(net, LOSS, ht.optim.Adam(0.05)).fit(x, y, epochs=10, verbose=0)
    assert (layer.kernel.numpy() == kernel).all()
    change = adapted.lora_a.numpy() @ adapted.lora_b.numpy() * 2
    assert np.abs(change).max() > 1e-3 and np.linalg.matrix_rank(change, tol=1e-5) == 2
    after = net(x).numpy()
    merged = adapted.merge()
    np.testing.assert_allclose(merged.kernel.numpy(), kernel + change, atol=1e-6)
    np.testing.assert_allclose(net.layers[-1](merged(x)).numpy(), after, atol=1e-5)
    with pytest.raises(UnsupportedFeature, match="has none"):
        ht.nn.LoRA(ht.nn.Flatten())(x)


def test_lora_of_an_imported_model(tmp_path: Path) -> None:
    x, y = data()
    layer = ht.nn.from_model(exported(dense_net(), tmp_path / "net.onnx", 1), lora=2)
    trainer = ht.Trainer(layer, LOSS, ht.optim.Adam(0.1))
    history = trainer.fit(x, y, epochs=20, verbose=0).history["loss"]
    assert history[-1] < 0.5 * history[0]
    assert all(".lora_" in n for n in layer.trainable_weights) and len(layer.trainable_weights) == 4
    before = trainer.predict(x).numpy()
    np.testing.assert_allclose(layer.merge()(x).numpy(), before, atol=1e-4)
    with pytest.raises(UnsupportedFeature, match=r"keep its file.*save_weights"):
        ht.save(layer, tmp_path / "net.safetensors")


def test_weights_that_a_file_keeps_in_halves_train_in_float32(tmp_path: Path) -> None:
    """As most TFLite files do, and ONNX files made small: stored in halves, widened where they are read. Steps are those of the
    same numbers in float32, which NumPy computes; what is smaller than a half can hold is not lost."""
    x, y = data()
    net = dense_net()
    net.load_weights({n: w.numpy().astype(np.float16).astype(np.float32) for n, w in net.weights.items()})
    ht.save(net, tmp_path / "net.onnx", {"x": ht.Spec((1, *net.input.shape[1:]), "float32")})
    file = onnx.load(tmp_path / "net.onnx")
    casts = []
    for stored in file.graph.initializer:
        if stored.data_type == onnx.TensorProto.FLOAT:
            name, array = stored.name, onnx.numpy_helper.to_array(stored).astype(np.float16)
            stored.CopyFrom(onnx.numpy_helper.from_array(array, f"{name}.half"))
            casts.append(onnx.helper.make_node("Cast", [f"{name}.half"], [name], to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *file.graph.node]
    del file.graph.node[:]
    file.graph.node.extend(nodes)
    model = load_bytes(file.SerializeToString())
    expected, _ = numpy_steps(net, x, y, 0.5, 4)
    layer = ht.nn.from_model(model)
    trainer = ht.Trainer(layer, LOSS, ht.optim.SGD(0.5))
    np.testing.assert_allclose([trainer.train_on_batch(x, y)["loss"] for _ in range(4)], expected, rtol=1e-5)
    assert {w.dtype.name for w in layer.weights.values()} == {"float32"} and len(layer.weights) == len(casts) == 4
    adapted = ht.nn.from_model(model, lora=2)
    assert np.isfinite(ht.Trainer(adapted, LOSS).train_on_batch(x, y)["loss"])
    assert sum(".lora_" in n for n in adapted.trainable_weights) == 4


def test_lora_takes_the_output_axis_from_the_product_that_reads_a_weight() -> None:
    """ONNX has a convolution's outputs first: its change is a product of [inputs, rank] and [rank, outputs], whatever the
    file's order of axes; what is merged is that product, laid out as the file has it."""
    x, y = pictures()
    x = x.transpose(0, 3, 1, 2)
    layer = ht.nn.from_model(onnx_cnn(cnn(), 1), lora=2)
    trainer = ht.Trainer(layer, LOSS, ht.optim.Adam(0.05))
    trainer.fit(x, y, batch_size=8, epochs=3, verbose=0)
    shapes = {n: a.shape for n, a in layer.trainable_weights.items()}
    assert shapes == {
        "conv1.weight.lora_a": (18, 2), "conv1.weight.lora_b": (2, 4),
        "conv2.weight.lora_a": (36, 2), "conv2.weight.lora_b": (2, 6),
        "fc.weight.lora_a": (6, 2), "fc.weight.lora_b": (2, 3),
    }  # fmt: skip
    weights = {n: a.numpy().copy() for n, a in layer.weights.items()}
    before = layer(x).numpy()
    layer.merge()
    change = layer.weights["conv2.weight"].numpy() - weights["conv2.weight"]
    product = weights["conv2.weight.lora_a"] @ weights["conv2.weight.lora_b"]
    assert np.abs(product).max() > 1e-3
    np.testing.assert_allclose(change.reshape(6, 36), product.T, atol=1e-6)
    np.testing.assert_allclose(layer(x).numpy(), before, atol=1e-4)


def test_lora_patterns_pass_over_what_has_no_matrix() -> None:
    """A pattern that fits biases too, and matrices below the rank, adapts the others; a weight called by its name must fit."""
    x, _ = pictures()
    x = x.transpose(0, 3, 1, 2)

    def adapted(lora: Any) -> list[str]:
        layer = ht.nn.from_model(onnx_cnn(cnn(), 1), lora=lora)
        layer(x)
        return [n.removesuffix(".lora_a") for n in layer.trainable_weights if n.endswith(".lora_a")]

    assert adapted({"*": 4}) == ["conv1.weight", "conv2.weight"]
    assert adapted({"conv2*": 6}) == ["conv2.weight"]
    with pytest.raises(NameMismatch, match="fits no matrix"):
        adapted({"*.bias": 1})
    with pytest.raises(ValueError, match="6 outputs by 36 inputs: the rank lies between 1 and 6, got 8"):
        adapted({"conv2.weight": 8})
    with pytest.raises(UnsupportedFeature, match=r"nothing reads 'conv1\.bias' \[4\] as a matrix"):
        adapted({"conv1.bias": 1})


def test_lora_sees_through_the_transposes_and_reshapes_of_a_layout() -> None:
    """Kernels of Keras-like networks have outputs last, those of a depthwise convolution in two axes, [window, C, M]."""
    ht.nn.seed(0)
    net = ht.nn.Sequential([
        ht.nn.Input((8, 8, 4)), ht.nn.Conv2D(6, 3, name="conv"), ht.nn.DepthwiseConv2D(3, depth_multiplier=2, name="deep"),
        ht.nn.GlobalAveragePooling2D(),
    ])  # fmt: skip
    layer = ht.nn.from_model(net.as_model(), lora=2)
    layer(np.zeros((1, 8, 8, 4), np.float32))
    shapes = {n: a.shape for n, a in layer.trainable_weights.items()}
    assert shapes == {
        "conv.kernel.lora_a": (36, 2), "conv.kernel.lora_b": (2, 6),
        "deep.kernel.lora_a": (9, 2), "deep.kernel.lora_b": (2, 12),
    }  # fmt: skip
