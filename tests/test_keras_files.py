"""Files of Keras and TF.js layers models: written by Keras 3 and read here, written here and read by Keras and TF.js, damaged.

If one fails, a network from a file computes something else than where it was saved, or a broken file does harm.
"""

from __future__ import annotations

import copy
import json
import random
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import hither as ht
from hither import nn
from hither.errors import HitherError, InvalidModel, UnsupportedFeature
from hither.formats.tfjs.layers import write_layers_model
from hither.nn.operations import Operation

from .keras_reference import keras
from .models import Asset

layers = keras.layers
X = np.random.default_rng(0).standard_normal((2, 4, 5)).astype(np.float32)


def nested() -> Any:
    """Layers used twice, networks inside networks, cells, wrappers, statistics, masks, a function."""
    core = keras.Sequential([keras.Input((8,)), layers.Dense(6, name="one"), layers.BatchNormalization()], name="core")
    a = keras.Input((8,))
    inner = keras.Model(a, [core(a), layers.Dense(2)(a)], name="inner")
    x = keras.Input((4, 5), name="x")
    h = layers.Bidirectional(layers.LSTM(4))(layers.Masking()(x))
    shared = layers.Dense(8, name="shared", activation="relu")
    h = shared(shared(h))
    stacked = layers.RNN([layers.GRUCell(2), layers.LSTMCell(3)])(x)
    each = layers.TimeDistributed(layers.Dense(2))(layers.MultiHeadAttention(2, 3)(x, x))
    return keras.Model(x, [*inner(h), stacked, each, layers.Dense(2)(h) * 2], name="whole")


def sequential() -> Any:
    return keras.Sequential(
        [keras.Input((4, 5)), layers.Conv1D(6, 2), layers.BatchNormalization(), layers.GRU(3), layers.Dense(2, "softmax")]
    )


def frozen() -> Any:
    """Frozen layers come last in Keras 2's files."""
    core = keras.Sequential([keras.Input((4, 5)), layers.Dense(5), layers.BatchNormalization(), layers.Dense(5)], name="core")
    core.layers[0].trainable = False
    other = keras.Sequential([keras.Input((4, 5)), layers.BatchNormalization(), layers.Dense(3)], name="other")
    other.trainable = False
    return keras.Sequential([keras.Input((4, 5)), core, other])


NETWORKS: dict[str, Callable[[], Any]] = {"nested": nested, "sequential": sequential, "frozen": frozen}


def randomised(model: Any) -> Any:
    rng = np.random.default_rng(1)
    model.set_weights([(np.abs(rng.standard_normal(w.shape)) * 0.3 + 0.05).astype(w.dtype) for w in model.get_weights()])
    return model


def assert_same(got: dict[str, Any], want: Any) -> None:
    wanted = want if isinstance(want, list | tuple) else [want]
    assert len(got) == len(wanted)
    for a, b in zip(got.values(), wanted):
        np.testing.assert_allclose(a.numpy(), np.asarray(b), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("name", NETWORKS)
def test_whole_models_of_keras_3(name: str, suffix: str, tmp_path: Path) -> None:
    theirs = randomised(NETWORKS[name]())
    theirs.save(tmp_path / f"model{suffix}")
    model = ht.load(tmp_path / f"model{suffix}", device="cpu")
    assert_same(model(X), theirs(X))
    assert [x.name for x in model.module.layers if not isinstance(x, Operation)] == [x.name for x in theirs.layers]
    for a, b in zip(model.module.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_layers_that_only_training_has_do_nothing_in_inference(suffix: str, tmp_path: Path) -> None:
    """Keras writes augmentation's calls with training=True and predicts without; SpatialDropout's config has no trainable."""
    inputs = keras.Input((4, 4, 3))
    x = keras.layers.RandomFlip()(inputs)
    x = keras.layers.SpatialDropout2D(0.5)(keras.layers.Rescaling(2.0)(x))
    model = keras.Model(inputs, keras.layers.Dropout(0.5)(x, training=True))
    model.save(path := tmp_path / f"net{suffix}")
    x = np.random.default_rng(0).standard_normal((2, 4, 4, 3)).astype(np.float32)
    assert_same(ht.load(path)(x), model.predict(x, verbose=0))


def test_a_layer_in_two_networks_is_one(tmp_path: Path) -> None:
    x = keras.Input((4, 5))
    dense = layers.Dense(5)
    theirs = randomised(keras.Sequential([x, dense, keras.Sequential([keras.Input((4, 5)), dense]), layers.Dense(2)]))
    theirs.save(tmp_path / "m.keras")
    model = ht.load(tmp_path / "m.keras", device="cpu")
    assert_same(model(X), theirs(X))
    assert len(model.module.get_weights()) == 4
    ht.save(model, tmp_path / "again.keras")
    assert len(keras.models.load_model(tmp_path / "again.keras").get_weights()) == 4


@pytest.mark.parametrize("suffix", [".weights.h5", ".h5"])
@pytest.mark.parametrize("name", NETWORKS)
def test_weights_alone_go_into_a_network(name: str, suffix: str, tmp_path: Path) -> None:
    theirs = randomised(NETWORKS[name]())
    path = tmp_path / f"w{suffix}"
    if suffix == ".h5":  # Keras 2's layout, which Keras 3 writes as part of a whole file
        theirs.save(tmp_path / "whole.h5")
        with h5py.File(tmp_path / "whole.h5") as whole, h5py.File(path, "w") as alone:
            for key in whole["model_weights"]:
                whole["model_weights"].copy(key, alone)
            alone.attrs.update(whole["model_weights"].attrs)
    else:
        theirs.save_weights(path)
    ours = nn.deserialize(json.loads(json.dumps(keras.saving.serialize_keras_object(theirs))))
    with pytest.raises(UnsupportedFeature, match="network=net"):
        ht.load(path)
    ours.load(path)
    assert_same(ht.load(path, network=ours, device="cpu")(X), theirs(X))
    other = nn.Sequential([nn.Input((4, 5)), nn.Dense(9)])
    with pytest.raises(InvalidModel):
        other.load(path)


@pytest.mark.parametrize("name", NETWORKS)
def test_keras_reads_what_is_written_here(name: str, tmp_path: Path) -> None:
    theirs = randomised(NETWORKS[name]())
    theirs.save(tmp_path / "model.keras")
    ours = ht.load(tmp_path / "model.keras").module
    ht.save(ours, tmp_path / "again.keras")
    again = keras.models.load_model(tmp_path / "again.keras")
    for a, b in zip(flat(again(X)), flat(theirs(X)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    ht.save(ours, tmp_path / "again.weights.h5")
    again.set_weights([w * 0 for w in again.get_weights()])
    again.load_weights(tmp_path / "again.weights.h5")
    for a, b in zip(flat(again(X)), flat(theirs(X)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def flat(value: Any) -> list[np.ndarray]:
    return [a for part in value for a in flat(part)] if isinstance(value, list | tuple) else [np.asarray(value)]


def test_keras_2_sigmoids_are_their_own(tmp_path: Path) -> None:
    """hard_sigmoid is 0.2·x + 0.5 in files of Keras 2 and TF.js, x/6 + 0.5 in those of Keras 3."""
    theirs = keras.Sequential([keras.Input((4, 5)), layers.Activation("hard_sigmoid")])
    theirs.save(tmp_path / "new.h5")
    shutil.copy(tmp_path / "new.h5", tmp_path / "old.h5")
    with h5py.File(tmp_path / "old.h5", "r+") as file:
        file.attrs["keras_version"] = file["model_weights"].attrs["keras_version"] = "2.4.0"
    np.testing.assert_allclose(
        first(ht.load(tmp_path / "new.h5", device="cpu")(X)), np.clip(X / 6 + 0.5, 0, 1), rtol=1e-5, atol=1e-6
    )
    np.testing.assert_allclose(
        first(ht.load(tmp_path / "old.h5", device="cpu")(X)), np.clip(X * 0.2 + 0.5, 0, 1), rtol=1e-5, atol=1e-6
    )


def first(outputs: dict[str, Any]) -> np.ndarray:
    return next(iter(outputs.values())).numpy()


# -- layers models ---------------------------------------------------------------------------------------------------------


def for_tfjs() -> nn.Functional:
    """What TF.js has of `nested`, and a convolution that it names in its own way."""
    x = nn.Input((4, 5), name="x")
    core = nn.Sequential([nn.Input((8,), name="c"), nn.Dense(6, name="one"), nn.BatchNormalization(name="bn")], name="core")
    h = nn.Bidirectional(nn.LSTM(4, name="lstm", recurrent_activation="hard_sigmoid_keras2"), name="both")(x)
    shared = nn.Dense(8, name="shared", activation="relu")
    h = shared(shared(h))
    image = nn.DepthwiseConv2D(2, depth_multiplier=2, name="depthwise")(nn.Reshape((4, 5, 1), name="image")(x))
    image = nn.GlobalAveragePooling2D(name="mean")(nn.LeakyReLU(0.1, name="leaky")(image))
    stacked = nn.RNN([nn.GRUCell(2, reset_after=False, name="g"), nn.LSTMCell(3, name="l")], name="stacked")(x)
    joined = nn.Concatenate(name="joined")([core(h), image, stacked])
    net = nn.Functional(x, [joined, core(h)], name="whole")
    rng = np.random.default_rng(1)
    net.set_weights([(np.abs(rng.standard_normal(w.shape)) * 0.3 + 0.05).astype(w.dtype) for w in net.get_weights()])
    return net


def test_layers_models_round_trip(tmp_path: Path) -> None:
    net = for_tfjs()
    ht.save(net, tmp_path / "model.json")
    assert_same(ht.load(tmp_path, device="cpu")(X), [a.numpy() for a in net(X)])
    document = json.loads((tmp_path / "model.json").read_text())
    (tmp_path / "weights_manifest.json").write_text(json.dumps(document["weightsManifest"]))
    again = for_tfjs()
    again.set_weights([w * 0 for w in again.get_weights()])
    again.load(tmp_path / "weights_manifest.json")
    for a, b in zip(again(X), net(X)):
        np.testing.assert_array_equal(a.numpy(), b.numpy())


def test_weights_are_found_by_the_names_that_keras_gives_them(tmp_path: Path) -> None:
    """The converter keeps Keras's names, with cells in them and networks around them, in whatever order."""
    net = for_tfjs()
    write_layers_model(net, tmp_path)
    document = json.loads((tmp_path / "model.json").read_text())
    renamed = {"both/forward_lstm/": "both/forward_lstm/lstm_cell/", "one/": "core/one/", "stacked/RNNCell_0/": "stacked/g/"}
    data = b"".join((tmp_path / p).read_bytes() for p in document["weightsManifest"][0]["paths"])
    pieces, offset = [], 0
    for weight in document["weightsManifest"][0]["weights"]:
        size = 4 * int(np.prod(weight["shape"]))
        for old, new in renamed.items():
            weight["name"] = weight["name"].replace(old, new)
        pieces.append((weight, data[offset : offset + size]))
        offset += size
    random.Random(0).shuffle(pieces)
    document["weightsManifest"] = [{"paths": ["all.bin"], "weights": [w for w, _ in pieces]}]
    (tmp_path / "all.bin").write_bytes(b"".join(d for _, d in pieces))
    (tmp_path / "model.json").write_text(json.dumps(document))
    assert_same(ht.load(tmp_path, device="cpu")(X), [a.numpy() for a in net(X)])


TFJS = Asset(
    "@tensorflow/tfjs", "4.22.0", "dist/tf.min.js", "300dfae273d20b4046f46a06d735688f03675a807561e9bcb5f664eb2f3d2831", "npm"
)  # fmt: skip


@pytest.mark.node
@pytest.mark.slow
def test_tfjs_loads_and_runs_what_is_written_here(node: str, tmp_path: Path) -> None:
    net = for_tfjs()
    write_layers_model(net, tmp_path)
    (tmp_path / "x.json").write_text(json.dumps(X.tolist()))
    command = [node, str(Path(__file__).parent / "tfjs_layers.mjs"), str(TFJS.path()), str(tmp_path), str(tmp_path / "x.json")]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert ran.returncode == 0, ran.stderr[-2000:]
    for got, want in zip(json.loads(ran.stdout.splitlines()[-1]), net(X), strict=True):
        np.testing.assert_allclose(got, want.numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("layer", "says"),
    [
        (nn.GRU(2), "reset_after"), (nn.ReLU(negative_slope=0.1), "negative_slope"), (nn.GroupNormalization(5), "GroupNorm"),
        (nn.Activation("hard_sigmoid"), "hard_sigmoid"),
    ],
)  # fmt: skip
def test_what_tfjs_lacks_is_named_when_writing(layer: Any, says: str, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedFeature, match=says):
        write_layers_model(nn.Sequential([nn.Input((4, 5)), layer]), tmp_path)


def test_attention_is_named_as_what_tfjs_lacks(tmp_path: Path) -> None:
    """Its weights have no names in TF.js, which must not be what the message is about."""
    inputs = nn.Input((3, 4))
    net = nn.Functional(inputs, nn.MultiHeadAttention(2, 2)(inputs, inputs))
    with pytest.raises(UnsupportedFeature, match=r"MultiHeadAttention, which TensorFlow\.js does not have"):
        write_layers_model(net, tmp_path)


# -- damaged files ---------------------------------------------------------------------------------------------------------

ODD: tuple[Any, ...] = (
    None,
    -1,
    0,
    2**40,
    1.5,
    "",
    "relu",
    [],
    {},
    [None],
    True,
    "Dense",
    {"class_name": "Dense"},
    [[1, 2], 3],
)


def small(masked: bool = True) -> Any:
    x = keras.Input((3, 2), name="x")
    h = layers.LSTM(2, name="lstm")(layers.Masking(name="m")(x) if masked else x)
    return randomised(keras.Model(x, layers.Dense(2, name="d")(h)))


def paths_in(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [p for k, v in items for p in [(*path, k), *paths_in(v, (*path, k))]]


def mutated_json(document: Any, rng: random.Random) -> Any:
    """One or two places of a document with something else in them, or gone."""
    made = copy.deepcopy(document)
    for _ in range(rng.choice((1, 1, 2))):
        places = paths_in(made)
        *way, last = rng.choice(places)
        owner = made
        for key in way:
            owner = owner[key]
        if rng.random() < 0.2:
            del owner[last]
        else:
            owner[last] = copy.deepcopy(rng.choice(ODD))
    return made


def mutated_bytes(data: bytes, rng: random.Random) -> bytes:
    made = bytearray(data)
    if rng.random() < 0.1:
        return bytes(made[: rng.randrange(len(made))])
    for _ in range(rng.choice((1, 1, 4, 64))):
        made[rng.randrange(len(made))] = rng.choice((0, 255, 1, 128, rng.randrange(256)))
    return bytes(made)


def runs_or_says_why(path: Path) -> str:
    """Loading and running either works or is an error of hither's own."""
    try:
        module = ht.load(path).module
    except HitherError as error:
        assert str(error)
        return "refused"
    try:
        module(np.zeros([2 if n is None else n for n in module.inputs[0].shape], np.float32))
    except (HitherError, ValueError):
        return "refused"
    return "ran"


@pytest.mark.parametrize("kind", ["h5", "keras", "keras config", "layers model"])
def test_damaged_files_are_refused_or_run(kind: str, tmp_path: Path) -> None:
    model, results = small(kind != "layers model"), []
    model.save(tmp_path / "m.keras")
    model.save(tmp_path / "m.h5")
    archive = {n: zipfile.ZipFile(tmp_path / "m.keras").read(n) for n in ("config.json", "metadata.json", "model.weights.h5")}
    document: Any = None
    if kind == "layers model":
        written_to = write_layers_model(ht.load(tmp_path / "m.keras").module, tmp_path / "layers")
        document = json.loads(written_to.read_text())
    for seed in range(200):
        rng = random.Random(seed)
        if kind == "h5":
            path = tmp_path / "broken.h5"
            path.write_bytes(mutated_bytes((tmp_path / "m.h5").read_bytes(), rng))
        elif kind == "layers model":
            path = tmp_path / "layers"
            (path / "model.json").write_text(json.dumps(mutated_json(document, rng)))
        else:
            path = tmp_path / "broken.keras"
            parts = dict(archive)
            if kind == "keras config":
                parts["config.json"] = json.dumps(mutated_json(json.loads(parts["config.json"]), rng)).encode()
            else:
                parts["model.weights.h5"] = mutated_bytes(parts["model.weights.h5"], rng)
            with zipfile.ZipFile(path, "w") as written:
                for name, data in parts.items():
                    written.writestr(name, data)
        results.append(runs_or_says_why(path))
    assert 20 < results.count("refused") < 200 or kind == "h5"


@pytest.mark.parametrize("name", [[None], -1, {"a": 1}])
def test_names_of_layers_are_text(name: Any, tmp_path: Path) -> None:
    """Found by mutation: a name that is no text made it into the network."""
    document = json.loads(write_layers_model(for_tfjs(), tmp_path).read_text())
    for layer in document["modelTopology"]["model_config"]["config"]["layers"]:
        if layer["class_name"] == "DepthwiseConv2D":
            layer["config"]["name"] = name
    (tmp_path / "model.json").write_text(json.dumps(document))
    with pytest.raises(InvalidModel, match=r"DepthwiseConv2D.*text"):
        ht.load(tmp_path)


def test_archives_and_links_are_checked(tmp_path: Path) -> None:
    model = small()
    model.save(tmp_path / "m.keras")
    (tmp_path / "not.keras").write_bytes(b"PK\x03\x04 no archive")
    with zipfile.ZipFile(tmp_path / "empty.keras", "w") as archive:
        archive.writestr("../config.json", "{}")
    for name, says in (("not", "damaged"), ("empty", "config.json")):
        with pytest.raises(InvalidModel, match=says):
            ht.load(tmp_path / f"{name}.keras")
    model.save(tmp_path / "m.h5")
    with h5py.File(tmp_path / "m.h5", "r+") as file:
        weights = file["model_weights/d/d"]
        shape = weights["bias"].shape
        del weights["bias"]
        weights["bias"] = h5py.ExternalLink("other.h5", "/x")
    with pytest.raises(InvalidModel):
        ht.load(tmp_path / "m.h5")
    with h5py.File(tmp_path / "m.h5", "r+") as file:
        weights = file["model_weights/d/d"]
        del weights["bias"]
        (tmp_path / "secret").write_bytes(bytes(8))
        weights.create_dataset("bias", shape, "<f4", external=[(str(tmp_path / "secret"), 0, 8)])
    with pytest.raises(InvalidModel):
        ht.load(tmp_path / "m.h5")
    with h5py.File(tmp_path / "m.h5", "r+") as file:
        weights = file["model_weights/d/d"]
        del weights["bias"]
        weights.create_dataset("bias", (1 << 40,), "<f4", chunks=(1 << 20,))
    with pytest.raises(HitherError, match="bytes"):
        ht.load(tmp_path / "m.h5")


def test_a_network_larger_than_its_file_is_refused_before_it_is_made(tmp_path: Path) -> None:
    small().save(tmp_path / "m.keras")
    with zipfile.ZipFile(tmp_path / "m.keras") as archive:
        parts = {n: archive.read(n) for n in archive.namelist()}
    config = json.loads(parts["config.json"])
    next(x for x in config["config"]["layers"] if x["name"] == "d")["config"]["units"] = 1 << 40
    with zipfile.ZipFile(tmp_path / "large.keras", "w") as archive:
        for name, data in {**parts, "config.json": json.dumps(config)}.items():
            archive.writestr(name, data)
    with pytest.raises(InvalidModel, match="more than the file has"):
        ht.load(tmp_path / "large.keras")
