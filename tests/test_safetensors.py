"""Safetensors: networks and arrays through a file and back, and files of other frameworks or broken ones."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from typer.testing import CliRunner

import hither as ht
from hither.cli import application
from hither.errors import HitherError, InvalidModel, NameMismatch, ShapeMismatch

X = np.random.default_rng(1).standard_normal((2, 4)).astype(np.float32)


def network() -> ht.nn.Sequential:
    return ht.nn.Sequential([ht.nn.Input((4,)), ht.nn.Dense(3, activation="relu", name="a"), ht.nn.Dense(2, name="b")])


def test_a_network_comes_back(tmp_path: Path) -> None:
    net = network()
    ht.save(net, tmp_path / "net.safetensors")
    again = ht.load(tmp_path / "net.safetensors")
    np.testing.assert_allclose(again(X)["b"].numpy(), net(X).numpy(), rtol=1e-5, atol=1e-6)
    assert set(load_file(tmp_path / "net.safetensors")) == {"a.kernel", "a.bias", "b.kernel", "b.bias"}


def test_arrays_of_another_framework_feed_a_network(tmp_path: Path) -> None:
    net, other = network(), network()
    foreign = {f"model.{k.replace('.kernel', '.weight')}": w.numpy() for k, w in other.weights.items()}
    save_file(foreign, tmp_path / "w.safetensors")
    with pytest.raises(InvalidModel, match="network=net"):
        ht.load(tmp_path / "w.safetensors")
    model = ht.load(tmp_path / "w.safetensors", network=net, names={r"^model\.": "", "weight": "kernel"})
    np.testing.assert_allclose(model(X)["b"].numpy(), other(X).numpy(), rtol=1e-5, atol=1e-6)
    with pytest.raises(NameMismatch, match="model"):
        ht.load(tmp_path / "w.safetensors", network=network())
    foreign["model.a.weight"] = np.zeros((3, 4), np.float32)
    save_file(foreign, tmp_path / "w.safetensors")
    with pytest.raises(ShapeMismatch, match=r"\(4, 3\)"):
        ht.load(tmp_path / "w.safetensors", network=net, names={r"^model\.": "", "weight": "kernel"})


def test_bfloat16_becomes_float32(tmp_path: Path) -> None:
    values = np.array([1.0, -2.5, 0.15625], np.float32)
    bits = (values.view(np.uint32) >> 16).astype("<u2").tobytes()
    header = json.dumps({"w": {"dtype": "BF16", "shape": [3], "data_offsets": [0, 6]}}).encode()
    (tmp_path / "b.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bits)
    np.testing.assert_array_equal(ht.load_weights(tmp_path / "b.safetensors")["w"].numpy(), values)


def test_damaged_files_are_refused_or_harmless(tmp_path: Path) -> None:
    net = network()
    ht.save(net, tmp_path / "net.safetensors")
    data = (tmp_path / "net.safetensors").read_bytes()
    rng = np.random.default_rng(0)
    for case in range(200):
        broken = bytearray(data)
        if case % 3 == 0:
            broken = broken[: rng.integers(0, len(data))]
        else:
            for at in rng.integers(0, len(data), rng.integers(1, 4)):
                broken[at] = rng.integers(0, 256)
        (tmp_path / "broken.safetensors").write_bytes(bytes(broken))
        try:
            ht.load(tmp_path / "broken.safetensors", format="safetensors")(X)
        except HitherError as error:
            assert str(error)


def test_a_byte_that_is_no_bool_is_true(tmp_path: Path) -> None:
    """NumPy and kernels would disagree about a bool of 2: it counts as true, and is 1 from then on."""
    save_file({"w": np.array([True, False, True])}, tmp_path / "b.safetensors")
    data = bytearray((tmp_path / "b.safetensors").read_bytes())
    data[-3] = 2
    (tmp_path / "b.safetensors").write_bytes(bytes(data))
    assert ht.load_weights(tmp_path / "b.safetensors")["w"].numpy().view(np.uint8).tolist() == [1, 0, 1]


def test_a_configuration_larger_than_its_file_is_refused(tmp_path: Path) -> None:
    """A file of some bytes must not have a network of terabytes built, nor end in an error that is not ours."""
    net = network()
    config = json.dumps(ht.nn.serialize(net))
    huge = config.replace('"units": 3', f'"units": {10**11}')
    deep = config
    for _ in range(2000):
        deep = f'{{"class_name": "Sequential", "config": {{"layers": [{deep}]}}}}'
    for wrong in (huge, deep):
        assert wrong != config
        save_file({"w": np.zeros(1, np.float32)}, tmp_path / "net.safetensors", {"hither.network": wrong})
        with pytest.raises(InvalidModel):
            ht.load(tmp_path / "net.safetensors")


def test_convert_writes_what_the_name_says(tmp_path: Path) -> None:
    net = network()
    ht.save(net, tmp_path / "net.safetensors")
    name = next(iter(ht.load(tmp_path / "net.safetensors").inputs))
    command = ["convert", str(tmp_path / "net.safetensors"), "-o", str(tmp_path / "net.onnx"), "--shape", f"{name}=2,4"]
    result = CliRunner().invoke(application(), command)
    assert result.exit_code == 0, result.output
    np.testing.assert_allclose(ht.load(tmp_path / "net.onnx")(X)["b"].numpy(), net(X).numpy(), rtol=1e-5, atol=1e-6)
    wrong = CliRunner().invoke(application(), [*command[:3], str(tmp_path / "net.xyz")])
    assert wrong.exit_code == 1 and ".onnx" in str(wrong.exception)
