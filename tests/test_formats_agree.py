"""One network, published in several formats: whatever file it is read from, the same answers. Outputs are found by name.

A failure means that two readers understand the same network differently, though each may pass against its own runtime.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hither as ht
from hither.formats.tflite import load_bytes

from . import models, models_tfjs, models_tflite

pytestmark = [pytest.mark.slow, pytest.mark.models]


def relative(got: np.ndarray, want: np.ndarray) -> float:
    return models.Sampled.of(want).error(got)


# -- pitch: ONNX, TF.js, TensorFlow Lite -----------------------------------------------------------------------------------


def two_notes() -> np.ndarray:
    """Two seconds: middle C, and a G that joins it."""
    t = np.arange(43844) / 22050
    sound = 0.4 * np.sin(2 * np.pi * 261.63 * t) + 0.3 * np.sin(2 * np.pi * 392.0 * t) * (t > 0.7)
    return (sound + 0.01 * np.random.default_rng(0).standard_normal(t.size)).astype(np.float32)[None, :, None]


@pytest.mark.parametrize("device", ["cpu", "wasm"])
def test_pitch_from_onnx_tfjs_and_tflite(device: str) -> None:
    """Their orders differ (onset, note, contour; contour, note, onset), and so do their names."""
    names = {"StatefulPartitionedCall:2": "onset", "StatefulPartitionedCall:1": "note", "StatefulPartitionedCall:0": "contour"}
    onnx = ht.load(models.MODELS["basic-pitch"].path(), device=device).rename(names)
    tfjs = ht.load(models_tfjs.MODELS["basic-pitch-tfjs"].path(), device=device)
    tfjs = tfjs.rename({"Identity_1:0": "note", "Identity_2:0": "onset"})
    tflite = load_bytes(models_tflite.MODELS["basic-pitch"].content(), device=device)
    assert list(onnx.outputs) == ["onset", "note", "contour"] and list(tfjs.outputs) == ["contour", "note", "onset"]
    sound = two_notes()
    want = {name: array.numpy() for name, array in tflite(sound).items()}
    heard = want["note"][0, 80:160].mean(0).argsort()[-2:] + 21  # piano keys as MIDI numbers
    assert sorted(heard) == [60, 67]
    for other in (onnx, tfjs):
        got = other(sound)
        assert set(got) == set(want)
        for name, array in want.items():
            assert relative(got[name].numpy(), array) <= 1e-4, (other.name, name)


# -- people before a background: TF.js, TensorFlow Lite --------------------------------------------------------------------


def astronaut() -> np.ndarray:
    image = pytest.importorskip("PIL.Image").open(models.PHOTOS["astronaut"].path()).convert("RGB").resize((256, 256))
    return np.asarray(image, np.float32)[None] / 255


def with_exact_sixths(path: Path, folder: Path) -> Path:
    """The TF.js model with weights in float32, and the scalars of its hard swishes 1/6 instead of 1/6 in float16."""
    document = json.loads(path.read_text())
    ((group),) = document["weightsManifest"]
    data, offset, made, sixths = path.with_name(group["paths"][0]).read_bytes(), 0, [], 0
    for entry in group["weights"]:
        kind = entry.pop("quantization", {}).get("dtype", entry["dtype"])
        array = np.frombuffer(data, kind, int(np.prod(entry["shape"])), offset)
        offset += array.nbytes
        if array.size == 1 and array[0] == np.float16(1 / 6):
            array, sixths = np.array([1 / 6]), sixths + 1
        made.append(array.astype(entry["dtype"]).tobytes())
    assert sixths == 11
    (folder / group["paths"][0]).write_bytes(b"".join(made))
    (folder / "model.json").write_text(json.dumps(document))
    return folder / "model.json"


def test_people_from_tfjs_and_tflite(tmp_path: Path) -> None:
    """All weights are equal. The TF.js file stores the 1/6 of its hard swishes in float16 too, 2e-4 off eleven times in a row,
    which decides a few pixels at the edge of the mask; with 1/6 as it is in the other file, masks are equal."""
    (tflite,) = load_bytes(models_tflite.MODELS["selfie"].content())(astronaut()).values()
    published = models_tfjs.MODELS["selfie"].path()
    (exact,) = ht.load(with_exact_sixths(published, tmp_path))(astronaut()).values()
    (rounded,) = ht.load(published)(astronaut()).values()
    mask = tflite.numpy()
    assert 0.2 < (mask > 0.5).mean() < 0.8
    assert relative(exact.numpy(), mask) <= 1e-3
    assert np.abs(rounded.numpy() - mask).mean() <= 1e-3 and ((rounded.numpy() > 0.5) != (mask > 0.5)).mean() <= 1e-3


# -- voice activity: ONNX, and a network written here that is fed from safetensors ------------------------------------------


class Layer(ht.nn.Module):
    """A weight and a bias."""

    def __init__(self, shape: tuple[int, ...], bias: bool = True) -> None:
        self.weight = ht.zeros(shape)
        if bias:
            self.bias = ht.zeros(shape[:1])


class Cell(ht.nn.Module):
    """An LSTM cell, gates in PyTorch's order: input, forget, cell, output."""

    def __init__(self, inputs: int, units: int) -> None:
        self.weight_ih, self.weight_hh = ht.zeros((4 * units, inputs)), ht.zeros((4 * units, units))
        self.bias_ih, self.bias_hh = ht.zeros((4 * units,)), ht.zeros((4 * units,))

    def __call__(self, x: Any, h: Any, c: Any) -> tuple[Any, Any]:
        gates = x @ self.weight_ih.T + self.bias_ih + h @ self.weight_hh.T + self.bias_hh
        let_in, forget, cell, out = ht.split(gates, 4, axis=1)
        c = ht.sigmoid(forget) * c + ht.sigmoid(let_in) * ht.tanh(cell)
        return ht.sigmoid(out) * ht.tanh(c), c


class Silero(ht.nn.Module):
    """Silero VAD at 16 kHz as a network of one's own, weights called as in the published safetensors file.

    Power of 258 filters (a short-time Fourier transform), four convolutions, an LSTM cell, one probability.
    """

    def __init__(self) -> None:
        self.stft_conv = Layer((258, 1, 256), bias=False)
        self.conv1, self.conv2 = Layer((128, 129, 3)), Layer((64, 128, 3))
        self.conv3, self.conv4 = Layer((64, 64, 3)), Layer((128, 64, 3))
        self.lstm_cell = Cell(128, 128)
        self.final_conv = Layer((1, 128, 1))

    def __call__(self, input: Any, state: Any) -> dict[str, Any]:
        """input: f32[B,576]; state: f32[2,B,128]."""
        x = ht.pad(input, [(0, 0), (0, 64)], mode="reflect")[:, None, :]
        x = ht.conv(x, self.stft_conv.weight, strides=128)
        x = ht.sqrt(x[:, :129] ** 2 + x[:, 129:] ** 2)
        for layer, stride in ((self.conv1, 1), (self.conv2, 2), (self.conv3, 2), (self.conv4, 1)):
            x = ht.relu(ht.conv(x, layer.weight, layer.bias, strides=stride, padding=1))
        h, c = self.lstm_cell(x[:, :, 0], state[0], state[1])
        score = ht.conv(ht.relu(h)[:, :, None], self.final_conv.weight, self.final_conv.bias)
        return {"output": ht.sigmoid(score)[:, :, 0], "stateN": ht.stack([h, c])}


def voiced(frames: int = 24) -> np.ndarray:
    """Frames of 576 samples, 64 of them the end of the frame before: a buzz with two formants that comes and goes."""
    t = np.arange(frames * 512) / 16000
    harmonics = [(k, 1 / (1 + abs(k * 130 - 600) / 150) + 1 / (1 + abs(k * 130 - 1200) / 200)) for k in range(1, 30)]
    buzz = sum(a * np.sin(2 * np.pi * 130 * k * t) for k, a in harmonics) * (np.sin(2 * np.pi * 2 * t) > 0)
    sound = (0.05 * buzz + 0.001 * np.random.default_rng(0).standard_normal(t.size)).astype(np.float32)
    padded = np.concatenate([np.zeros(64, np.float32), sound])
    return np.stack([padded[i * 512 : i * 512 + 576] for i in range(frames)])[:, None]


# The ONNX file's names of the weights, as those of the network above.
NAMES = {
    r"^model\.": "",
    r"stft\.forward_basis_buffer": "stft_conv.weight",
    r"encoder\.0\.reparam_conv": "conv1",
    r"encoder\.1\.reparam_conv": "conv2",
    r"encoder\.2\.reparam_conv": "conv3",
    r"encoder\.3\.reparam_conv": "conv4",
    r"decoder\.rnn": "lstm_cell",
    r"decoder\.decoder\.2": "final_conv",
}


def test_voice_activity_from_onnx_and_safetensors(tmp_path: Path) -> None:
    """The ONNX file's weights, through a safetensors file, in a network of one's own: the same answers as the ONNX network's,
    over twenty-four frames with the state carried on, so that what differs would add up."""
    onnx = ht.load(models.MODELS["silero-vad-16k-op15"].path())
    ht.save(onnx, tmp_path / "weights.safetensors")
    fed = ht.load(tmp_path / "weights.safetensors", network=Silero(), names=NAMES)
    scores, states = [], [np.zeros((2, 1, 128), np.float32)] * 2
    for frame in voiced():
        a = fed(input=frame, state=states[0])
        b = onnx(input=frame, state=states[1], sr=np.int64(16000))
        assert relative(a["stateN"].numpy(), b["stateN"].numpy()) <= 1e-4
        scores.append((float(a["output"].numpy().item()), float(b["output"].numpy().item())))
        states = [a["stateN"].numpy(), b["stateN"].numpy()]
    ours, theirs = np.array(scores).T
    np.testing.assert_allclose(ours, theirs, atol=1e-4)
    assert theirs.max() - theirs.min() > 0.1  # else it has heard nothing


def test_the_published_safetensors_file_feeds_the_network() -> None:
    """As published, names and all. It is from another training than the ONNX files (only the filters of its Fourier transform
    are equal), so what it must do is what its own arrays say in NumPy."""
    fed = ht.load(models.SILERO_WEIGHTS.path(), network=Silero())
    from safetensors.numpy import load_file

    w = {name: array.astype(np.float64) for name, array in load_file(models.SILERO_WEIGHTS.path()).items()}
    state = np.zeros((2, 1, 128), np.float32)
    h = c = np.zeros(128)
    heard = []
    for frame in voiced():
        got = fed(input=frame, state=state)
        state = got["stateN"].numpy()
        score, h, c = in_numpy(w, frame[0].astype(np.float64), h, c)
        np.testing.assert_allclose(got["output"].numpy().item(), score, atol=1e-4)
        np.testing.assert_allclose(state[:, 0], [h, c], atol=1e-3)
        heard.append(score)
    assert np.ptp(h) > 0.5 and np.ptp(heard) > 1e-3  # else nothing has happened


def in_numpy(w: dict[str, np.ndarray], x: np.ndarray, h: np.ndarray, c: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """The same network by its definition, in float64."""

    def windows(x: np.ndarray, size: int, stride: int) -> np.ndarray:
        return np.lib.stride_tricks.sliding_window_view(x, size, -1)[:, ::stride]

    def sigmoid(x: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-x))

    spectrum = np.einsum("ctk,ock->ot", windows(np.pad(x, (0, 64), "reflect")[None], 256, 128), w["stft_conv.weight"])
    y = np.hypot(spectrum[:129], spectrum[129:])
    for name, stride in (("conv1", 1), ("conv2", 2), ("conv3", 2), ("conv4", 1)):
        y = np.einsum("ctk,ock->ot", windows(np.pad(y, ((0, 0), (1, 1))), 3, stride), w[f"{name}.weight"])
        y = np.maximum(y + w[f"{name}.bias"][:, None], 0)
    cell = {k.removeprefix("lstm_cell."): v for k, v in w.items() if k.startswith("lstm_cell.")}
    gates = cell["weight_ih"] @ y[:, 0] + cell["bias_ih"] + cell["weight_hh"] @ h + cell["bias_hh"]
    let_in, forget, content, out = np.split(gates, 4)
    c = sigmoid(forget) * c + sigmoid(let_in) * np.tanh(content)
    h = sigmoid(out) * np.tanh(c)
    return float(sigmoid(w["final_conv.weight"][0, :, 0] @ np.maximum(h, 0) + w["final_conv.bias"][0])), h, c
