"""Real Keras and TF.js layers models against Keras 3: natively, and as bundles in Chromium. See tests/test_models.py.

A failure means that a published network computes something else here than where it came from.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from .keras_reference import keras
from .models import Sampled
from .models_keras import MODELS
from .models_report import KERAS, TOLERANCE, Measurement, record
from .test_models import Case, run_in_page, run_native, timed

KERAS_ORDER = ("kernel", "depthwise_kernel", "bias", "gamma", "beta", "moving_mean", "moving_variance")

pytestmark = pytest.mark.slow


def as_keras_file(folder: Path, target: Path) -> Path:
    """A layers model as an .h5 file, for Keras: the same configuration, weights decoded here by their definition."""
    document = json.loads((folder / "model.json").read_text())
    (group,) = document["weightsManifest"]
    data, offset = b"".join((folder / p).read_bytes() for p in group["paths"]), 0
    by_layer: dict[str, dict[str, np.ndarray]] = {}
    for weight in group["weights"]:
        how = weight["quantization"]
        raw = np.frombuffer(data, how["dtype"], int(np.prod(weight["shape"])), offset).reshape(weight["shape"])
        offset += raw.nbytes
        by_layer.setdefault(weight["name"].split("/")[0], {})[weight["name"]] = np.float32(raw * how["scale"] + how["min"])
    with h5py.File(target, "w") as file:
        file.attrs["model_config"] = json.dumps(document["modelTopology"]["model_config"])
        file.attrs["keras_version"] = document["modelTopology"]["keras_version"]
        weights = file.create_group("model_weights")
        layers = [x["name"] for x in document["modelTopology"]["model_config"]["config"]["layers"] if x["name"] in by_layer]
        weights.attrs["layer_names"] = np.array(layers, "S")
        for layer in layers:
            arrays = by_layer.pop(layer)
            inner = weights.create_group(layer)
            inner.attrs["weight_names"] = np.array(sorted(arrays, key=lambda n: KERAS_ORDER.index(n.split("/")[-1])), "S")
            for name, array in arrays.items():
                inner[name] = array
    assert not by_layer
    return target


def case(name: str, folder: Path) -> Case:
    """A network, what goes in, and what Keras makes of it."""
    model = MODELS[name]
    path, feeds = model.prepared(folder), model.feeds()
    theirs = keras.models.load_model(as_keras_file(path, folder / "k.h5") if path.is_dir() else path, compile=False)
    (x,) = feeds.values()
    result, milliseconds = timed(lambda: np.asarray(theirs(x)))
    expected = {theirs.layers[-1].name: Sampled.of(result)}
    return Case(name, model, path, feeds, expected, milliseconds, 0.0)  # type: ignore[arg-type]


MARKS = {"cpu": [], "webgpu": [pytest.mark.gpu, pytest.mark.models], "chromium wasm": [pytest.mark.browser, pytest.mark.models]}


@pytest.mark.parametrize(
    ("name", "device"),
    [pytest.param(n, d, id=f"{n}-{d.replace(' ', '-')}", marks=MARKS[d]) for n, d in KERAS.cases()],
)
def test_agrees_with_keras(name: str, device: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    network = case(name, tmp_path)
    outputs: Any
    if device.startswith("chromium"):
        page = request.getfixturevalue("page")
        outputs, milliseconds, size = run_in_page(network, page, tmp_path, device.split()[1])
    else:
        outputs, milliseconds, size = run_native(network, device)
    assert list(outputs) == list(network.expected)
    worst = max(want.error(outputs[output]) for output, want in network.expected.items())
    record(Measurement(KERAS.format, name, device, worst, milliseconds, size, network.milliseconds))
    assert worst <= TOLERANCE[device]
