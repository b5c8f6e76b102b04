"""The real TensorFlow Lite networks that the tests run: package, version, file and SHA-256, as in models.py."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tflite

import hither as ht
from hither.formats.tflite.container import model_bytes

from .models import Asset

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class TfliteModel(Asset):
    """A file, or a member of one that holds several.

    `frames`: run on so many inputs one after the other, for networks that keep state. `probe`: give this tensor instead of the
    output: the scores of a wake word are 0 for almost everything that is no word.
    """

    member: str | None = None
    frames: int = 1
    probe: int | None = None

    def content(self) -> bytes:
        """The bytes of the model, with the probe as its output."""
        data = model_bytes(self.path(), self.member)[0]
        return data if self.probe is None else with_output(data, self.probe)

    def feeds(self, inputs: dict[str, ht.Spec], seed: int = 0) -> list[Arrays]:
        """One set of inputs for each frame: floats in 0 … 1, as pictures have; integers that swing slowly."""
        rng = np.random.default_rng(seed)
        made = []
        for frame in range(self.frames):
            arrays: Arrays = {}
            for name, spec in inputs.items():
                shape = [e if isinstance(e, int) else 1 for e in spec.shape or ()]
                if spec.dtype.kind == "f":
                    arrays[name] = rng.random(shape).astype(spec.dtype.numpy)
                else:
                    drawn = rng.normal(40 * np.sin(frame / 3), 60, shape)
                    arrays[name] = np.clip(drawn, -128, 127).astype(spec.dtype.numpy)
            made.append(arrays)
        return made


def with_output(data: bytes, tensor: int) -> bytes:
    """The file with another tensor as the only output of its main subgraph and of its only signature."""
    patched = bytearray(data)
    model = tflite.Model.GetRootAs(data, 0)
    table = model.Subgraphs(0)._tab
    outputs = int(table.Vector(table.Offset(8)))
    patched[outputs : outputs + 4] = tensor.to_bytes(4, "little")
    if model.SignatureDefsLength():
        named = model.SignatureDefs(0).Outputs(0)._tab
        at = int(named.Pos + named.Offset(6))
        patched[at : at + 4] = tensor.to_bytes(4, "little")
    return bytes(patched)


def eight_bit_results(data: bytes) -> list[int]:
    """The tensors of 8-bit integers that operators of the main subgraph make."""
    graph = tflite.Model.GetRootAs(data, 0).Subgraphs(0)
    made = []
    for i in range(graph.OperatorsLength()):
        op = graph.Operators(i)
        made += [int(op.Outputs(j)) for j in range(op.OutputsLength())]
    return [t for t in made if graph.Tensors(t).Type() in (tflite.TensorType.INT8, tflite.TensorType.UINT8)]


def _mediapipe(task: str, version: str, file: str, sha256: str, member: str | None = None) -> TfliteModel:
    return TfliteModel(f"@mediapipe/{task}", version, file, sha256, "npm", member=member)


def _wake_word(name: str, sha256: str, logits: int) -> TfliteModel:
    file = f"pymicro_wakeword/models/{name}.tflite"
    return TfliteModel(
        "pymicro-wakeword", "2.5.0", file, sha256, python="3.11", platform="manylinux_2_35_x86_64", frames=24, probe=logits
    )


_FACE, _HANDS, _POSE, _SELFIE = "0.4.1657300184", "0.4.1675469240", "0.5.1675469404", "0.1.1675465747"
_HAND_ASSETS = ("hands_solution_packed_assets.data", "bdce7b66bfc5b39ba86a47775c98e0b186fe73f8308c2279f852af4c89ffdf42")

MODELS: dict[str, TfliteModel] = {
    # Faces (Apache-2.0), float16 weights. input: f32[1,192,192,3] → boxes [1,2304,16], scores [1,2304,1]
    "face-full": _mediapipe(
        "face_detection", _FACE, "face_detection_full_range.tflite",
        "99bf9494d84f50acc6617d89873f71bf6635a841ea699c17cb3377f9507cfec3",
    ),
    # the same with sparse weights
    "face-sparse": _mediapipe(
        "face_detection", _FACE, "face_detection_full_range_sparse.tflite",
        "671dd2f9ed11a78436fc21cc42357a803dfc6f73e9fb86541be942d5716c2dce",
    ),
    # input: f32[1,128,128,3] → [1,896,16], [1,896,1]
    "face-short": _mediapipe(
        "face_detection", _FACE, "face_detection_short_range.tflite",
        "3bc182eb9f33925d9e58b5c8d59308a760f4adea8f282370e428c51212c26633",
    ),
    # Hands (Apache-2.0), float16 weights. f32[1,224,224,3] → 21 landmarks, presence, handedness, world landmarks
    "hand-full": _mediapipe(
        "hands", _HANDS, "hand_landmark_full.tflite", "8c026882c9ec059ce0f8e75266bee5a9a23c341a40e0000df755374d3d1b9b68"
    ),
    "hand-lite": _mediapipe(
        "hands", _HANDS, "hand_landmark_lite.tflite", "d7fde8ac11f8ce03f8663775bfc323f4fc9f2a38062b4f4efa142874ef5b2a48"
    ),
    # two models in one file: f32[1,192,192,3] → [1,2016,18], [1,2016,1]
    "palm-full": _mediapipe("hands", _HANDS, *_HAND_ASSETS, member="model at 11"),
    "palm-lite": _mediapipe("hands", _HANDS, *_HAND_ASSETS, member="model at 2341291"),
    # Poses (Apache-2.0), float16 weights. f32[1,256,256,3] → landmarks, presence, mask, heat maps, world landmarks
    "pose-detection": _mediapipe(
        "pose", _POSE, "pose_solution_packed_assets.data", "a63c614bef30d35947f13be361820b1e4e3bec9cfeebf4d11216a18373108e85"
    ),
    "pose-lite": _mediapipe(
        "pose", _POSE, "pose_landmark_lite.tflite", "f17bfbecadb61c3be1baa8b8d851cc6619c870a87167b32848ad20db306b9d61"
    ),
    "pose-full": _mediapipe(
        "pose", _POSE, "pose_landmark_full.tflite", "e9a5c5cb17f736fafd4c2ec1da3b3d331d6edbe8a0d32395855aeb2cdfd64b9f"
    ),
    "pose-heavy": _mediapipe(
        "pose", _POSE, "pose_landmark_heavy.tflite", "59e42d71bcd44cbdbabc419f0ff76686595fd265419566bd4009ef703ea8e1fe"
    ),
    # Background (Apache-2.0), float16 weights, custom operator Convolution2DTransposeBias. → mask
    "selfie": _mediapipe(
        "selfie_segmentation", _SELFIE, "selfie_segmentation.tflite",
        "8d13b7fae74af625c641226813616a2117bd6bca19eb3b75574621fc08557f27",
    ),
    "selfie-landscape": _mediapipe(
        "selfie_segmentation", _SELFIE, "selfie_segmentation_landscape.tflite",
        "4aafe6223bb8dac6fac8ca8ed56852870a33051ef3f6238822d282a109962894",
    ),
    # Pitch (Apache-2.0), float32. input_2: f32[B,43844,1] → contour, note, onset
    "basic-pitch": TfliteModel(
        "basic-pitch", "0.4.0", "basic_pitch/saved_models/icassp_2022/nmp.tflite",
        "3db297d54af8e01c6e5618245c956b1d71b6a2b978cb2dedb527173186552676",
    ),
    # Wake words (Apache-2.0), int8, streaming: 6 resource variables. input_audio: i8[1,3,40] → u8[1,1]
    "hey-mycroft": _wake_word("hey_mycroft", "c2a9b6ed51182db72e014781d5a4ece1929dc232a40b5b4be384f0295f0e1571", 68),
    "okay-nabu": _wake_word("okay_nabu", "d89128c4d16a72de429119fb2254ce46649553c2a24f5dd840175c80d7b9d094", 102),
    "alexa": _wake_word("alexa", "9011a8155b04de858c48038529235cbc0e42e9fca05a55bf588cb80a653a723b", 67),
    "hey-jarvis": _wake_word("hey_jarvis", "21a7976add39ee24ec96c63d96b7aaa18e24d1d9824b963e451da8feb4b78b77", 67),
}  # fmt: skip
