"""Networks of layers: how modules hold arrays, networks are drawn, run, compiled, and written as configurations.

What single layers compute is tests/test_nn_layers.py's business.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

import hither as ht
from hither import nn
from hither.errors import HitherError, InvalidModel, NameMismatch, ShapeMismatch, UnsupportedFeature

X = np.random.default_rng(0).standard_normal((2, 4)).astype(np.float32)


def branched() -> nn.Functional:
    """Two outputs, a layer used twice, a network within."""
    x = nn.Input((4,), name="a")
    h = nn.Dense(8, activation="relu", name="first")(x)
    shared = nn.Dense(8, activation="tanh", name="shared")
    inner = nn.Sequential([nn.Input((8,)), nn.Dense(3, name="last")], name="inner")
    return nn.Functional(x, [inner(shared(shared(h))), h], name="branched")


def by_hand(net: nn.Functional, x: np.ndarray) -> list[np.ndarray]:
    w = {path: array.numpy().astype(np.float64) for path, array in net.weights.items()}
    h = np.maximum(x @ w["first.kernel"] + w["first.bias"], 0)
    y = h
    for _ in range(2):
        y = np.tanh(y @ w["shared.kernel"] + w["shared.bias"])
    return [y @ w["inner.last.kernel"] + w["inner.last.bias"], h]


def test_a_functional_network_computes_what_was_drawn() -> None:
    net = branched()
    for got, want in zip(net(X), by_hand(net, X), strict=True):
        np.testing.assert_allclose(got.numpy(), want, rtol=1e-5, atol=1e-6)
    assert [t.shape for t in net.outputs] == [(None, 3), (None, 8)]


def test_a_network_compiles_as_a_model_with_named_outputs() -> None:
    net = branched()
    program = ht.compile(net, {"x": ht.Spec((2, 4))})
    outputs = program(x=X)
    assert list(outputs) == ["inner", "first"]
    for got, want in zip(outputs.values(), by_hand(net, X), strict=True):
        np.testing.assert_allclose(got.numpy(), want, rtol=1e-5, atol=1e-6)


def test_a_configuration_makes_an_equal_network() -> None:
    net = branched()
    again = nn.deserialize(json.loads(json.dumps(nn.serialize(net))))
    again.set_weights(net.get_weights())
    assert [w.shape for w in again.get_weights()] == [w.shape for w in net.get_weights()]
    for got, want in zip(again(X), net(X), strict=True):
        np.testing.assert_array_equal(got.numpy(), want.numpy())


def keras2(node_of_inner: int) -> dict[str, Any]:
    """As Keras 2 and TensorFlow.js write a network: references with keyword arguments, nested networks from call 1."""
    dense = {"units": 3, "use_bias": False}
    first = {"batch_input_shape": [None, 4], "dtype": "float32", "name": "a"}
    inner = [
        {"class_name": "InputLayer", "config": {**first, "name": "b"}},
        {"class_name": "Dense", "config": {**dense, "name": "last"}},
    ]
    return {
        "class_name": "Model",
        "config": {
            "name": "net",
            "layers": [
                {"class_name": "InputLayer", "config": first, "name": "a", "inbound_nodes": []},
                {
                    "class_name": "Sequential",
                    "config": {"name": "inner", "layers": inner},
                    "name": "inner",
                    "inbound_nodes": [[["a", 0, 0, {}]]],
                },
                {
                    "class_name": "Activation",
                    "config": {"name": "act", "activation": "relu"},
                    "name": "act",
                    "inbound_nodes": [[["inner", node_of_inner, 0, {}]]],
                },
            ],
            "input_layers": [["a", 0, 0]],
            "output_layers": [["act", 0, 0]],
        },
    }


@pytest.mark.parametrize("node", [0, 1])
def test_keras_2_configurations_are_read(node: int) -> None:
    net = nn.deserialize(keras2(node))
    (kernel,) = net.get_weights()
    np.testing.assert_allclose(net(X).numpy(), np.maximum(X @ kernel, 0), rtol=1e-5, atol=1e-6)


BROKEN: dict[str, tuple[str, Any, str]] = {
    "unknown layer": ("class_name", "Densee", "Dense"),
    "circle": ("inbound_nodes", [[["act", 0, 0, {}]]], "their own results"),
    "no such layer": ("inbound_nodes", [[["b", 0, 0, {}]]], "'b'"),
    "no such call": ("inbound_nodes", [[["a", 7, 0, {}]]], "call 7"),
    "no such result": ("inbound_nodes", [[["a", 0, 2, {}]]], "result 2"),
    "no reference": ("inbound_nodes", [17], "list of its inputs"),
    "wrong argument": ("config", {"name": "inner", "layers": [{"class_name": "Dense", "config": {"unit": 1}}]}, "unit"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_configurations_say_what_is_wrong(case: str) -> None:
    key, value, says = BROKEN[case]
    data = keras2(1)
    data["config"]["layers"][1][key] = value
    with pytest.raises(HitherError, match=says) as caught:
        nn.deserialize(data)
    assert isinstance(caught.value, InvalidModel | UnsupportedFeature)


def test_a_sequential_network_is_built_by_its_first_input() -> None:
    net = nn.Sequential([nn.Dense(3, use_bias=False), nn.Flatten()])
    assert net(np.ones((2, 5, 4), np.float32)).shape == (2, 15)
    assert net.output is not None and net.output.shape == (None, 15)
    with pytest.raises(UnsupportedFeature, match="shape of its input"):
        nn.as_model(nn.Sequential([nn.Dense(3)]))


def test_freezing_a_layer_freezes_what_is_in_it() -> None:
    net = branched()
    net.get_layer("inner").trainable = False
    assert set(net.non_trainable_weights) == {"inner.last.kernel", "inner.last.bias"}
    assert len(net.trainable_weights) == 4


def test_swapped_arrays_are_used_and_then_gone() -> None:
    net = branched()
    zeros = {path: w * 0 for path, w in net.weights.items()}
    with net.swapped(zeros) as after:
        assert not np.any(net(X)[0].numpy())
    assert set(after) == set(net.weights)
    assert np.any(net(X)[0].numpy())


def test_weights_by_path_are_checked() -> None:
    net = branched()
    weights = {path: w.numpy() for path, w in net.weights.items()}
    net.load_weights(weights)
    with pytest.raises(NameMismatch, match=r"first\.kernel"):
        net.load_weights({k: v for k, v in weights.items() if k != "first.kernel"})
    with pytest.raises(ShapeMismatch, match=r"\(4, 8\)"):
        net.load_weights({**weights, "first.kernel": np.zeros((8, 4), np.float32)})


def test_a_network_made_again_has_the_same_names_after_clear_session() -> None:
    """Keras's way: names count through the process until `clear_session`; what was made before keeps its names. Weights whose
    paths differ by these numbers alone get told so."""

    def make() -> nn.Sequential:
        return nn.Sequential([nn.Input((4,)), nn.Dense(3), nn.Dense(2), nn.BatchNormalization()])

    nn.clear_session()
    first, second = make(), make()
    assert [x.name for x in first.layers] == ["dense", "dense_1", "batch_normalization"]
    assert [x.name for x in second.layers] == ["dense_2", "dense_3", "batch_normalization_1"]
    with pytest.raises(NameMismatch, match=r"no weight 'dense\.kernel'.*clear_session"):
        second.load_weights(first.weights)
    with pytest.raises(NameMismatch) as caught:
        second.load_weights({"other.kernel": np.zeros(1)})
    assert "clear_session" not in str(caught.value)
    nn.clear_session()
    third = make()
    third.load_weights(first.weights)
    assert second.layers[0].name == "dense_2"
    np.testing.assert_array_equal(third(X).numpy(), first(X).numpy())


def test_dropout_draws_anew_and_needs_a_key_in_compiled_code() -> None:
    layer, ones = nn.Dropout(0.5), np.ones((8, 64), np.float32)
    first, second = layer(ones, training=True).numpy(), layer(ones, training=True).numpy()
    assert set(np.unique(first)) == {0.0, 2.0} and not np.array_equal(first, second)
    assert abs(first.mean() - 1) < 0.25
    np.testing.assert_array_equal(layer(ones).numpy(), ones)
    with pytest.raises(RuntimeError, match="key"):
        ht.jit(lambda x: layer(x, training=True))(ones)

    def keyed(x: Any, key: Any) -> Any:
        with nn.randomness(key):
            return layer(x, training=True)

    drawn = [ht.jit(keyed)(ones, ht.random.key(k)).numpy() for k in (1, 1, 2)]
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0], drawn[2])


def test_a_custom_layer_is_loaded_once_it_is_registered() -> None:
    data = {"class_name": "Thrice", "config": {"name": "t"}}
    with pytest.raises(UnsupportedFeature, match="register"):
        nn.deserialize(data)

    @nn.register()
    class Thrice(nn.Layer):
        def call(self, x: Any) -> Any:
            return x * 3

    np.testing.assert_allclose(nn.deserialize(data)(X).numpy(), X * 3)


def test_plain_modules_hold_their_arrays_as_a_tree() -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            self.parts_ = [nn.Dense(2, name="d"), {"again": nn.Dense(2, name="e")}]
            self.scale = ht.asarray([2.0])

        def __call__(self, x: Any) -> Any:
            return self.parts_[1]["again"](self.parts_[0](x)) * self.scale

    block = Block()
    block(X)
    assert list(block.weights) == ["scale", *(f"parts_.{k}.{n}" for k in ("0", "1.again") for n in ("kernel", "bias"))]
    program = ht.compile(block, {"x": ht.Spec((2, 4))})
    np.testing.assert_allclose(program(x=X)["output"].numpy(), block(X).numpy(), rtol=1e-5, atol=1e-6)


def test_initialisers_go_by_keras_short_names_too() -> None:
    """Keras's own defaults use them: an Embedding is "uniform"."""
    names = {"zero": "Zeros", "one": "Ones", "normal": "RandomNormal", "uniform": "RandomUniform"}
    assert {n: type(nn.initializers.get(n)).__name__ for n in names} == names
    assert nn.Embedding(3, 2)(np.array([[1, 2]])).shape == (1, 2, 2)


def test_pop_takes_the_last_layer_off_and_shapes_are_known_without_running() -> None:
    net = ht.nn.Sequential([ht.nn.Input((4,)), ht.nn.Dense(3), ht.nn.Dense(2)])
    x = np.ones((5, 4), np.float32)
    whole, last = net(x).numpy(), net.layers[-1]
    assert net.pop() is last and net(x).shape == (5, 3) and net.output_names == [net.layers[0].name]
    np.testing.assert_array_equal(last(net(x)).numpy(), whole)
    net.pop()
    with pytest.raises(IndexError, match="no layer"):
        net.pop()
    assert ht.nn.Conv2D(8, 3, strides=2).compute_output_shape((None, 9, 9, 1)) == (None, 4, 4, 8)
    assert ht.nn.Concatenate().compute_output_shape([(None, 2), (None, 3)]) == (None, 5)


@pytest.mark.parametrize(
    ("make", "parent"),
    [
        (lambda: ht.optim.get("adamm"), r"did you mean adam .*hither\.optim\.Optimizer and"),
        (lambda: nn.Dense(1, kernel_initializer="glorott"), r"hither\.nn\.initializers\.Initializer and"),
        (lambda: nn.deserialize({"class_name": "Densse", "config": {}}, nn.Layer), r"mean Dense\?.*hither\.nn\.Layer and"),
    ],
)
def test_an_unknown_name_says_what_its_class_would_be_a_subclass_of(make: Any, parent: str) -> None:
    """An optimizer is no layer, so to write one as a layer would be no advice."""
    with pytest.raises(UnsupportedFeature, match=parent):
        make()
