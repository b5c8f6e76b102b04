"""TF.js graph models: files, weights, signatures, and files that are damaged.

If one fails, a model.json is read wrong, or a damaged or hostile one ends in something else than a clear error.
"""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hither as ht
from hither.errors import HitherError, InvalidModel, LimitExceeded, UnsupportedFeature, UnsupportedOperators
from hither.formats.tfjs.graphdef import graph_def

from .tfjs_build import GraphModel, frame_loop, function, node

RNG = np.random.default_rng(3)


def double(folder: Path, shards: int = 1) -> Path:
    """A model of two inputs' sum, times a weight."""
    model = GraphModel()
    total = model.op("AddV2", model.input("a", (None, 3)), model.input("b", (3,)))
    model.output("product", model.op("MatMul", total, np.arange(12, dtype=np.float32).reshape(3, 4), name="product"))
    return model.save(folder, shards)


# -- files and signatures ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shards", [1, 3])
def test_a_file_and_its_folder_load_alike(shards: int, tmp_path: Path) -> None:
    path = double(tmp_path, shards)
    a, b = RNG.standard_normal((2, 3)).astype(np.float32), RNG.standard_normal(3).astype(np.float32)
    for where in (path, tmp_path, str(path)):
        model = ht.load(where, device="cpu")
        assert {k: (s.shape, s.dtype.name) for k, s in model.inputs.items()} == {
            "a": ((None, 3), "float32"), "b": ((3,), "float32"),
        }  # fmt: skip
        assert list(model.outputs) == ["product"] and model.outputs["product"].shape is None
        assert [w.shape for w in model.weights.values()] == [(3, 4)]
        want = (a + b) @ np.arange(12, dtype=np.float32).reshape(3, 4)
        np.testing.assert_allclose(model(a=a, b=b)["product"].numpy(), want, rtol=1e-5, atol=1e-5)


def test_a_signature_in_the_metadata_and_none_at_all(tmp_path: Path) -> None:
    document = json.loads(double(tmp_path).read_text())
    signature = document.pop("signature")
    (tmp_path / "model.json").write_text(json.dumps({**document, "userDefinedMetadata": {"signature": signature}}))
    assert list(ht.load(tmp_path).outputs) == ["product"]
    (tmp_path / "model.json").write_text(json.dumps(document))
    model = ht.load(tmp_path)
    assert list(model.inputs) == ["a", "b"] and list(model.outputs) == ["product"]
    assert model.inputs["a"].shape == (None, 3)  # from the placeholder itself


def test_what_only_the_topology_shows_is_a_graph_model_and_a_layers_model_is_not(tmp_path: Path) -> None:
    document = json.loads(double(tmp_path).read_text())
    del document["format"]
    (tmp_path / "model.json").write_text(json.dumps(document))
    assert list(ht.load(tmp_path).outputs) == ["product"]
    from hither.formats import tfjs

    layers = {"format": "layers-model", "modelTopology": {"model_config": {}}, "weightsManifest": []}
    (tmp_path / "model.json").write_text(json.dumps(layers))
    if "layers-model" not in tfjs.READERS:
        with pytest.raises(InvalidModel, match="layers-model"):
            tfjs.load(tmp_path / "model.json")


def test_all_operators_that_are_missing_are_named_at_once(tmp_path: Path) -> None:
    model = GraphModel()
    x = model.op("StringSplit", model.op("RaggedRange", model.input("x", (2,))))
    model.op("NobodyReadsThis", x)
    model.output("y", model.op("PartitionedCall", x, f=("func", "inner")))
    model.functions.append(function("inner", ["x"], [node("deep", "SimpleMLInferenceOpWithHandle", ["x"])], {"y": "deep:y:0"}))
    with pytest.raises(UnsupportedOperators) as error:
        ht.load(model.save(tmp_path))
    assert {name for _, name, _ in error.value.operators} == {"RaggedRange", "StringSplit", "SimpleMLInferenceOpWithHandle"}


# -- weights -------------------------------------------------------------------------------------------------------------------


def test_quantised_weights_get_their_dtype_and_values_back(tmp_path: Path) -> None:
    model = GraphModel()
    half = np.array([0.5, -1.25, 3], np.float16)
    model.output(
        "half",
        model.stored({"name": "h", "shape": [3], "dtype": "float32", "quantization": {"dtype": "float16"}}, half.tobytes()),
    )
    eight = {"dtype": "uint8", "scale": 0.25, "min": -2.0}
    model.output("eight", model.stored({"name": "e", "shape": [2], "dtype": "float32", "quantization": eight}, bytes([0, 255])))
    sixteen = {"dtype": "uint16", "scale": 2.0, "min": -4}
    stored = np.array([1, 65535], "<u2").tobytes()
    model.output(
        "sixteen", model.stored({"name": "s", "shape": [2], "dtype": "int32", "quantization": sixteen}, stored), "int32"
    )
    model.output("flag", model.const("f", np.array([True, False])), "bool")
    model.input("unused", ())
    got = {k: v.numpy() for k, v in ht.load(model.save(tmp_path), device="cpu")(np.float32(0)).items()}
    np.testing.assert_array_equal(got["half"], half.astype(np.float32))
    np.testing.assert_allclose(got["eight"], [-2, 61.75])
    np.testing.assert_array_equal(got["sixteen"], np.array([-2, 131066], np.int32))
    np.testing.assert_array_equal(got["flag"], [True, False])
    assert [a.dtype.name for a in got.values()] == ["float32", "float32", "int32", "bool"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("missing", "missing"), ("short", "cut short"), ("long", "too long"), ("../outside.bin", "inside"),
        ("/etc/passwd", "inside"), ("C:\\x.bin", "inside"), ("http://localhost/x.bin", "inside"), ("link", "leads out"),
    ],
)  # fmt: skip
def test_shards_that_are_not_what_the_manifest_says(change: str, message: str, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    path = double(folder)
    shard = folder / "group1-shard1of1.bin"
    data = shard.read_bytes()
    (tmp_path / "outside.bin").write_bytes(data)
    if change == "missing":
        shard.unlink()
    elif change in ("short", "long"):
        shard.write_bytes(data[:-1] if change == "short" else data + b"\0")
    elif change == "link":
        shard.unlink()
        shard.symlink_to(tmp_path / "outside.bin")
    else:
        document = json.loads(path.read_text())
        document["weightsManifest"][0]["paths"] = [change]
        path.write_text(json.dumps(document))
    with pytest.raises(InvalidModel, match=message):
        ht.load(path)


def test_sizes_are_checked_before_anything_is_made(tmp_path: Path) -> None:
    path = double(tmp_path)
    document = json.loads(path.read_text())
    document["weightsManifest"][0]["weights"][0]["shape"] = [1 << 20, 1 << 20]
    path.write_text(json.dumps(document))
    with pytest.raises(LimitExceeded, match="too large"):
        ht.load(path)
    model = GraphModel()
    model.output("y", model.op("Add", model.input("x", ()), model.op("Fill", np.array([1 << 20, 1 << 20]), np.float32(0))))
    with pytest.raises(LimitExceeded):
        ht.load(model.save(tmp_path / "fill"), device="cpu")(np.float32(1))
    (tmp_path / "deep.json").write_text('{"modelTopology":' + "[" * 200_000 + "]" * 200_000 + "}")
    with pytest.raises(InvalidModel):
        ht.load(tmp_path / "deep.json", format="TF.js")


def constant(extent: int, **values: Any) -> dict[str, Any]:
    """A node of a GraphDef that is a vector of floats."""
    tensor = {"dtype": "DT_FLOAT", "tensorShape": {"dim": [{"size": str(extent)}]}, **values}
    return {"name": f"c{id(tensor)}", "op": "Const", "attr": {"value": {"tensor": tensor}}}


def test_constants_in_json_take_a_bounded_size_together() -> None:
    """One number may stand for many: some hundred bytes a node must not become gigabytes."""
    filled = [constant(1 << 24, floatVal=[0]) for _ in range(5)]
    with pytest.raises(LimitExceeded, match=r"constants written in JSON take more than \d+ bytes together"):
        graph_def({"node": filled}, "model.json")
    library = {"function": [{"signature": {"name": f"f{i}"}, "nodeDef": [node]} for i, node in enumerate(filled)]}
    with pytest.raises(LimitExceeded, match="together"):
        graph_def({"node": [], "library": library}, "model.json")


def test_weights_of_the_manifest_may_be_larger_than_what_json_holds() -> None:
    """An embedding table of 2^27 numbers is a constant without values in the JSON: its bytes are in the shards."""
    graph, _ = graph_def({"node": [constant(1 << 27)]}, "model.json")
    (node,) = graph.nodes.values()
    assert node.attributes["value"].shape == (1 << 27,) and node.attributes["value"].values is None


# -- addresses -----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[str, Path, list[str]]]:
    """A server of a folder that notes what it is asked for; /endless/… never stops sending."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            file = tmp_path / self.path.partition("?")[0].lstrip("/")
            if not file.is_file():
                self.send_error(404)
                return
            data = file.read_bytes()
            self.send_response(200)
            if "cut" in self.path and file.suffix == ".bin":
                self.send_header("Content-Length", str(len(data)))
                data = data[:5]
            elif "endless" in self.path and file.suffix == ".bin":
                data *= 10_000
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", tmp_path, asked
    server.shutdown()
    server.server_close()


def test_an_address_is_fetched(site: tuple[str, Path, list[str]]) -> None:
    origin, folder, asked = site
    double(folder / "net", 2)
    model = ht.load(f"{origin}/net/model.json?token=1", device="cpu")
    ones = np.ones((1, 3), np.float32)
    np.testing.assert_allclose(model(a=ones, b=ones[0])["product"].numpy(), [[24, 30, 36, 42]])
    assert asked == [f"/net/{f}?token=1" for f in ("model.json", "group1-shard1of2.bin", "group1-shard2of2.bin")]
    assert list(ht.load(f"{origin}/net/").outputs) == ["product"]


@pytest.mark.parametrize(
    ("name", "message"), [("gone", "404"), ("cut", "could not fetch|ended after"), ("endless", "too long")]
)
def test_what_goes_wrong_on_the_way_is_said(name: str, message: str, site: tuple[str, Path, list[str]]) -> None:
    origin, folder, _ = site
    double(folder / name)
    if name == "gone":
        (folder / name / "group1-shard1of1.bin").unlink()
    with pytest.raises(InvalidModel, match=message):
        ht.load(f"{origin}/{name}/model.json")


# -- damage --------------------------------------------------------------------------------------------------------------------


def small_models(folder: Path) -> list[Path]:
    """Models that between them have every kind of thing a file can get wrong."""
    model = GraphModel()
    x = model.input("x", (1, 6, 6, 2))
    y = model.op(
        "_FusedConv2D",
        x,
        RNG.standard_normal((3, 3, 2, 4)).astype(np.float32),
        np.zeros(4, np.float32),
        fused_ops=["BiasAdd", "Relu"],
        strides=[1, 1, 1, 1],
        padding="SAME",
        data_format="NHWC",
        dilations=[1, 1, 1, 1],
    )
    y = model.op("MaxPool", y, ksize=[1, 2, 2, 1], strides=[1, 2, 2, 1], padding="VALID")
    flat = model.op("Reshape", y, np.array([-1, 4]))
    kept = model.op(
        "GatherV2",
        flat,
        model.op(
            "Squeeze",
            model.op("Where", model.op("Greater", model.op("Max", flat, np.array([1])), np.float32(0))),
            squeeze_dims=[1],
        ),
        np.array(0),
    )
    out = frame_loop(
        model, {"i": model.const("zero", np.array(0)), "v": model.op("Sum", kept, np.array([0]))}, {},
        lambda v: model.op("Less", v["i"], np.array(20)),
        lambda v: {"i": model.op("Add", v["i"], np.array(1)), "v": model.op("Tanh", v["v"])},
    )  # fmt: skip
    model.output("y", model.op("StridedSlice", out["v"], np.array([0]), np.array([3]), np.array([1])))
    model.functions.append(function("f", ["a"], [node("n", "Relu", ["a"])], {"r": "n:activations:0"}))
    model.output("z", model.op("PartitionedCall", flat, f=("func", "f")))
    return [model.save(folder / "whole", 2), double(folder / "double")]


def mutated(data: bytes, rng: random.Random) -> bytes:
    """JSON with one value replaced, removed or moved; or bytes with some changed, cut or repeated."""
    if rng.random() < 0.5:
        document = json.loads(data)
        places: list[tuple[Any, Any]] = []
        stack = [document]
        while stack:
            item = stack.pop()
            for key in item if isinstance(item, dict) else range(len(item)):
                places.append((item, key))
                if isinstance(item[key], dict | list):
                    stack.append(item[key])
        holder, key = rng.choice(places)
        other, source = rng.choice(places)
        match rng.randrange(4):
            case 0:
                del holder[key]
            case 1:
                holder[key] = rng.choice([None, -1, 0, 1e300, 1 << 70, "", "x", [], {}, True, "NaN", [[]], -(1 << 31)])
            case 2:
                holder[key] = json.loads(json.dumps(other[source]))
            case _:
                if isinstance(holder[key], int) and not isinstance(holder[key], bool):
                    holder[key] += rng.choice([-1, 1, 1 << 16])
                elif isinstance(holder[key], str):
                    holder[key] = holder[key][: rng.randrange(len(holder[key]) + 1)] + rng.choice(["", "0", "x", ":1"])
        return json.dumps(document).encode()
    changed = bytearray(data)
    for _ in range(rng.randrange(1, 4)):
        changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed[: rng.randrange(len(changed))] if rng.random() < 0.2 else changed)


def test_damaged_files_end_in_an_error_of_ours_or_run(tmp_path: Path) -> None:
    rng, errors = random.Random(11), 0
    for path in small_models(tmp_path):
        shards = sorted(path.parent.glob("*.bin"))
        whole = {f: f.read_bytes() for f in (path, *shards)}
        for turn in range(200):
            target = path if rng.random() < 0.85 else rng.choice(shards)
            changed = mutated(whole[target], rng) if target == path else mutated_bytes(whole[target], rng)
            target.write_bytes(changed)
            try:
                model = ht.load(path, device="numpy", format="TF.js")
                feeds = {
                    k: np.zeros([1 if n is None else n for n in s.shape or ()], s.dtype.numpy) for k, s in model.inputs.items()
                }
                if all(a.size < 1 << 16 for a in feeds.values()):
                    model(feeds)
            except HitherError:
                errors += 1
            except Exception as error:
                (tmp_path / "offending.json").write_bytes(changed)
                raise AssertionError(f"mutation {turn} of {target.name} gave {type(error).__name__}: {error}") from error
            target.write_bytes(whole[target])
    assert errors > 100


def endless(model: ht.Model, feeds: dict[str, np.ndarray]) -> bool:
    """Whether data alone ends a loop of the model, or never does."""
    graph = model.graph({k: ht.Spec(a.shape, a.dtype) for k, a in feeds.items()})
    return any(n.primitive.name == "while_loop" and n.params["bound"] is None for n in graph.nodes)


def mutated_bytes(data: bytes, rng: random.Random) -> bytes:
    """A shard with bytes changed, cut off or added."""
    changed = bytearray(data)
    for _ in range(3):
        changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed + b"0" * rng.choice([0, 0, 1]))[: len(changed) + 1 - rng.choice([0, 0, 2])]


def test_text_and_unknown_placeholders_are_refused_by_name(tmp_path: Path) -> None:
    model = GraphModel()
    model.output("y", model.op("Identity", model.input("x", (2,), "string")), "string")
    with pytest.raises(UnsupportedFeature, match="string"):
        ht.load(model.save(tmp_path))
