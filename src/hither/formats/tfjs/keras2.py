"""A network's configuration as Keras 2 wrote it, which is what TensorFlow.js reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...errors import UnsupportedFeature
from ...nn import GRU, Bidirectional, GRUCell, InputLayer, Layer, LeakyReLU, ReLU, Sequential
from ...nn.activations import keras2
from ...nn.network import Functional, Network

# The layers that TensorFlow.js 4.22 registers.
LAYERS = frozenset(
    (
        "Activation", "Add", "AlphaDropout", "Average", "AveragePooling1D", "AveragePooling2D", "AveragePooling3D",
        "BatchNormalization", "Bidirectional", "CategoryEncoding", "CenterCrop", "Concatenate", "Conv1D", "Conv2D",
        "Conv2DTranspose", "Conv3D", "Conv3DTranspose", "ConvLSTM2D", "ConvLSTM2DCell", "Cropping2D", "Dense",
        "DepthwiseConv2D", "Dot", "Dropout", "ELU", "Embedding", "Flatten", "GRU", "GRUCell", "GaussianDropout",
        "GaussianNoise", "GlobalAveragePooling1D", "GlobalAveragePooling2D", "GlobalMaxPooling1D", "GlobalMaxPooling2D",
        "InputLayer", "LSTM", "LSTMCell", "LayerNormalization", "LeakyReLU", "Masking", "MaxPooling1D", "MaxPooling2D",
        "MaxPooling3D", "Maximum", "Minimum", "Multiply", "PReLU", "Permute", "RNN", "RandomWidth", "ReLU", "RepeatVector",
        "Rescaling", "Reshape", "Resizing", "SeparableConv2D", "SimpleRNN", "SimpleRNNCell", "Softmax", "SpatialDropout1D",
        "StackedRNNCells", "ThresholdedReLU", "TimeDistributed", "UpSampling2D", "ZeroPadding2D",
    )
)  # fmt: skip
_ONLY_KERAS_3 = ("use_cudnn", "seed", "renorm", "renorm_clipping", "renorm_momentum", "zero_output_for_mask")


def topology(network: Network) -> dict[str, Any]:
    """class_name and config of a network.

    Raises:
        UnsupportedFeature: if TensorFlow.js lacks a layer or an argument of it; names it.
    """
    with keras2():
        return _entry(network)


def _entry(layer: Layer) -> dict[str, Any]:
    if isinstance(layer, Sequential):
        return {"class_name": "Sequential", "config": _sequential(layer)}
    if isinstance(layer, Functional):
        return {"class_name": "Model", "config": _functional(layer)}
    name = type(layer).__name__
    if name not in LAYERS or type(layer).__module__.endswith(".operations"):
        raise UnsupportedFeature(f"layer {layer.name!r} is a {name}, which TensorFlow.js does not have")
    if isinstance(layer, GRU | GRUCell) and layer.reset_after:
        raise UnsupportedFeature(f"layer {layer.name!r}: TensorFlow.js has no {name} with reset_after=True")
    if isinstance(layer, ReLU) and (layer.negative_slope or layer.threshold):
        raise UnsupportedFeature(f"layer {layer.name!r}: TensorFlow.js's ReLU has neither negative_slope nor threshold")
    config = layer.get_config()
    if isinstance(layer, InputLayer):
        config["batch_input_shape"] = config.pop("batch_shape")
    if isinstance(layer, LeakyReLU):
        config["alpha"] = config.pop("negative_slope")
    if isinstance(layer, Bidirectional):
        backward = {**layer.forward_layer.get_config(), "go_backwards": True, "name": layer.backward_layer.name}
        if layer.backward_layer.get_config() != backward:
            raise UnsupportedFeature(f"layer {layer.name!r}: TensorFlow.js has no backward layer unlike the forward one")
        del config["backward_layer"]
    plain = {k: _plain(v) for k, v in config.items() if k not in _ONLY_KERAS_3}
    parts = {
        "layer": getattr(layer, "forward_layer", None) or getattr(layer, "layer", None),
        "cell": getattr(layer, "cell", None),
        "cells": getattr(layer, "cells", None),
    }
    for key, part in parts.items():
        if key in config and part is not None:
            plain[key] = [_entry(p) for p in part] if isinstance(part, list) else _entry(part)
    if isinstance(layer, Bidirectional):  # TensorFlow.js puts forward_ and backward_ before the name
        plain["layer"]["config"]["name"] = layer.forward_layer.name.removeprefix("forward_")
    return {"class_name": name, "config": plain}


def _plain(value: Any) -> Any:
    """A part of a configuration without what Keras 3 adds."""
    if isinstance(value, Mapping):
        if "class_name" in value:
            return {"class_name": value["class_name"], "config": _plain(value.get("config") or {})}
        return {k: _plain(v) for k, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, list | tuple) else value


def _sequential(network: Sequential) -> dict[str, Any]:
    if network.input is None:
        raise UnsupportedFeature(
            f"{network.name} does not know the shape of its input yet: begin it with hither.nn.Input(shape)"
        )
    return {"name": network.name, "layers": [_entry(x) for x in (network.input.call.layer, *network.layers)]}


def _functional(network: Functional) -> dict[str, Any]:
    config, stacks = network.get_config(), {x.name for x in network.layers if isinstance(x, Sequential)}

    def reference(key: list[Any]) -> list[Any]:
        # Being drawn counts as the first call of a network; Keras 3 counts so for Functional ones only.
        name, call, result = key
        return [name, call + 1 if name in stacks else call, result]

    layers = []
    for layer, entry in zip(network.layers, config["layers"], strict=True):
        written = {"name": layer.name, **_entry(layer)}  # refuses a class that is not there before the way it is called
        nodes = [[[*reference(key), {}] for key in _node(node, layer)] for node in entry["inbound_nodes"]]
        layers.append({**written, "inbound_nodes": nodes})
    ports = {key: [reference(k) for k in _listed(config[key])] for key in ("input_layers", "output_layers")}
    return {"name": network.name, "layers": layers, **ports}


def _node(node: Mapping[str, Any], layer: Layer) -> list[Any]:
    """[[layer, call, result], …] of a call."""
    args, kwargs = list(node["args"]), {k: v for k, v in node["kwargs"].items() if k != "training" and v is not None}
    states = kwargs.pop("initial_state", None)
    if kwargs or len(args) != 1:
        raise UnsupportedFeature(f"layer {layer.name!r} is called with more than arrays, which TensorFlow.js does not read")
    inputs = args[0] if isinstance(args[0], list) else [args[0]]
    return [x["config"]["keras_history"] for x in (*inputs, *(states or []))]


def _listed(value: Any) -> list[Any]:
    """A structure of references as a list of them."""
    if isinstance(value, Mapping):
        return [key for part in value.values() for key in _listed(part)]
    if value and isinstance(value[0], str):
        return [value]
    return [key for part in value for key in _listed(part)]
