"""A model file is untrusted: malformed, hostile and unsupported ones end, soon, in a hither error that says what is wrong."""

from __future__ import annotations

import random
import resource
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import hither.formats
from hither.errors import HitherError, InvalidModel, LimitExceeded, UnsupportedFeature, UnsupportedOperators
from hither.formats.onnx import load_bytes
from hither.formats.onnx.external import ExternalData
from hither.formats.onnx.proto import Decoder

from .onnx_build import build, info, one_node

node = helper.make_node


def relu() -> onnx.ModelProto:
    return onnx.ModelProto.FromString(one_node("Relu", [np.zeros((2, 3), np.float32)]))


def small_model() -> bytes:
    """A model whose bytes are mostly structure: shape arithmetic, a loop, a resize, a convolution, constants of all kinds."""
    rng = np.random.default_rng(0)
    body = helper.make_graph(
        [node("Add", ["v", "v"], ["w"]), node("Identity", ["going"], ["more"])],
        "body",
        [info("i", np.int64), info("going", bool), info("v", np.float32)],
        [info("more", bool), info("w", np.float32)],
    )
    nodes = [
        node("Conv", ["x", "w", "b"], ["c"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        node("Relu", ["c"], ["r"]),
        node("Shape", ["r"], ["s"]),
        node("Gather", ["s", "zero"], ["n"], axis=0),
        node("Unsqueeze", ["n", "zeros"], ["n1"]),
        node("Concat", ["n1", "minus"], ["shape"], axis=0),
        node("Reshape", ["r", "shape"], ["flat"]),
        node("Gemm", ["flat", "g"], ["y"], transB=1),
        node("ConstantOfShape", ["extents"], ["ones"], value=numpy_helper.from_array(np.ones(1, np.float32))),
        node("Expand", ["ones", "wide"], ["many"]),
        node("ReduceSum", ["many"], ["total"], keepdims=0),
        node("Tile", ["y", "times"], ["tiled"]),
        node("Pad", ["tiled", "pads"], ["padded"]),
        node("Range", ["zero", "ten", "two"], ["count"]),
        node("Cast", ["count"], ["real"], to=TensorProto.FLOAT),
        node("ReduceMax", ["real"], ["most"], keepdims=0),
        node("Mul", ["padded", "most"], ["out"]),
        node("Resize", ["r", "", "scales"], ["resized"], mode="linear"),
        node("Loop", ["turns", "", "total"], ["looped"], body=body),
    ]
    constants = {
        "w": rng.standard_normal((3, 2, 3, 3)).astype(np.float32), "b": np.zeros(3, np.float32), "zero": np.int64(0),
        "zeros": np.array([0]), "minus": np.array([-1]), "g": rng.standard_normal((4, 108)).astype(np.float32),
        "extents": np.array([2, 3]), "wide": np.array([4, 2, 3]), "times": np.array([2, 2]), "pads": np.array([0, 1, 2, 3]),
        "ten": np.int64(10), "two": np.int64(2), "scales": np.array([1, 1, 2, 2], np.float32), "turns": np.int64(5),
    }  # fmt: skip
    return build(nodes, [info("x", np.float32, ["N", 2, 6, 6])], ["out", "resized", "looped"], constants)


# -- damage ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_damaged_files_give_an_error_or_an_answer(seed: int) -> None:
    """100 mutations for each seed: cut short, bits flipped, bytes overwritten."""
    data = small_model()
    draw = random.Random(seed)
    for _ in range(100):
        damaged = bytearray(data)
        kind = draw.randrange(3)
        if kind == 0:
            damaged = damaged[: draw.randrange(len(data))]
        elif kind == 1:
            for _ in range(draw.choice((1, 1, 8))):
                damaged[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        else:
            damaged[draw.randrange(len(data))] = draw.choice((0, 1, 0x7F, 0x80, 0xFF))
        started = time.process_time()
        try:
            model = load_bytes(bytes(damaged), device="numpy")
            arrays = {
                name: np.ones([e if isinstance(e, int) else 2 for e in spec.shape or ()], spec.dtype.numpy)
                for name, spec in model.inputs.items()
                if np.prod([e if isinstance(e, int) else 2 for e in spec.shape or ()]) < 1e6
            }
            model(arrays)
        except HitherError:
            pass
        assert time.process_time() - started < 30
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 6 << 20  # KiB


@pytest.mark.parametrize("data", [b"", b"\0" * 100, b"not a model at all", b"\x08\x08"])
def test_other_bytes_are_no_model(data: bytes) -> None:
    with pytest.raises(InvalidModel, match="ONNX"):
        load_bytes(data)


def test_tensor_with_too_few_bytes() -> None:
    model = relu()
    tensor = model.graph.initializer.add(name="w", data_type=TensorProto.FLOAT, dims=[1000, 1000], raw_data=b"abcd")
    with pytest.raises(InvalidModel, match=r"'w'.*4000000 bytes, the file has 4"):
        load_bytes(model.SerializeToString())
    tensor.dims[0] = -1
    with pytest.raises(InvalidModel, match="no shape"):
        load_bytes(model.SerializeToString())
    tensor.dims[0] = 1 << 40
    with pytest.raises(LimitExceeded):
        load_bytes(model.SerializeToString())


def test_sparse_tensors_expand_to_a_bounded_size() -> None:
    """Some bytes each, gigabytes as dense arrays: together they are refused before the memory is taken."""
    model = relu()
    for i in range(6):
        value = helper.make_tensor(f"s{i}", TensorProto.FLOAT, [1], [1.0])
        place = helper.make_tensor(f"i{i}", TensorProto.INT64, [1], [0])
        model.graph.sparse_initializer.append(helper.make_sparse_tensor(value, place, [1 << 26]))
    with pytest.raises(LimitExceeded, match=r"'s4'.*sparse tensors"):
        load_bytes(model.SerializeToString())


def test_a_byte_that_is_no_bool_is_true() -> None:
    """NumPy and kernels would disagree about a bool of 2."""
    model = relu()
    model.graph.initializer.add(name="w", data_type=TensorProto.BOOL, dims=[3], raw_data=bytes([2, 0, 1]))
    (weight,) = (t for t in Decoder({"": 17}, ExternalData(None)).graph(model.graph).initializers.values())
    assert weight.dtype == bool and weight.view(np.uint8).tolist() == [1, 0, 1]


def test_names_must_be_text() -> None:
    data = one_node("Relu", [np.zeros(2, np.float32)]).replace(b"Relu", b"Re\xff\xfe")
    with pytest.raises(InvalidModel, match="UTF-8"):
        load_bytes(data)


# -- graphs that are none ---------------------------------------------------------------------------------------------------


def test_cycles_duplicates_and_missing_values() -> None:
    x = [info("x", np.float32, [2])]
    with pytest.raises(InvalidModel, match="own result"):
        load_bytes(build([node("Add", ["x", "b"], ["a"]), node("Relu", ["a"], ["b"])], x, ["b"]))
    with pytest.raises(InvalidModel, match="made twice"):
        load_bytes(build([node("Relu", ["x"], ["a"]), node("Abs", ["x"], ["a"])], x, ["a"]))
    with pytest.raises(InvalidModel, match="'nowhere', which nothing makes"):
        load_bytes(build([node("Add", ["x", "nowhere"], ["a"])], x, ["a"]))
    with pytest.raises(InvalidModel, match="output 'z'"):
        load_bytes(build([node("Relu", ["x"], ["a"])], x, ["z"]))


def test_nodes_out_of_order_are_sorted() -> None:
    data = build([node("Relu", ["a"], ["b"]), node("Neg", ["x"], ["a"])], [info("x", np.float32, [2])], ["b"])
    result = load_bytes(data, device="numpy")(x=np.array([-1, 2], np.float32))
    np.testing.assert_array_equal(result["b"], [1, 0])


def test_functions_that_call_themselves() -> None:
    function = helper.make_function(
        "local", "F", ["a"], ["b"], [node("F", ["a"], ["b"], domain="local")], [helper.make_opsetid("local", 1)]
    )
    data = build(
        [node("F", ["x"], ["y"], domain="local")],
        [info("x", np.float32, [2])],
        ["y"],
        domains={"local": 1},
        functions=[function],
    )
    with pytest.raises(LimitExceeded, match="nested"):
        load_bytes(data, device="numpy")(x=np.zeros(2, np.float32))


def test_wrong_attributes_are_named() -> None:
    for attributes, text in (({"axis": 1.5}, "'axis' must be int"), ({"axis": 7}, "axis 7")):
        data = one_node("Softmax", [np.zeros((2, 3), np.float32)], **attributes)
        with pytest.raises(InvalidModel, match=f"Softmax 'node'.*{text}"):
            load_bytes(data, device="numpy").graph()


@pytest.mark.parametrize(("op", "operands"), [
    ("ConstantOfShape", [np.array([1 << 20, 1 << 20])]),
    ("Expand", [np.zeros(1, np.float32), np.array([1 << 40])]),
    ("Tile", [np.zeros(4, np.float32), np.array([1 << 38])]),
    ("Range", [np.int64(0), np.int64(1 << 60), np.int64(1)]),
    ("Pad", [np.zeros(4, np.float32), np.array([0, 1 << 40])]),
    ("Resize", [np.zeros(4, np.float32), None, np.array([1e12], np.float32)]),
    ("OneHot", [np.array([1]), np.int64(1 << 50), np.array([0, 1])]),
    ("EyeLike", [np.zeros((1 << 16, 1 << 16), bool)]),
    ("HannWindow", [np.int64(1 << 50)]),
])  # fmt: skip
def test_giant_results_are_refused_before_they_are_allocated(op: str, operands: list) -> None:
    if op == "EyeLike":  # broadcast from one element: the file stays small
        nodes = [node("ConstantOfShape", ["s"], ["z"]), node("EyeLike", ["z"], ["y"])]
        data = build(nodes, [], ["y"], {"s": np.array([1 << 16, 1 << 16])})
    else:
        data = one_node(op, operands, known=range(len(operands)))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(LimitExceeded, match="bytes"):
        load_bytes(data, device="numpy").graph()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1 << 19


def test_folding_many_constants_is_bounded() -> None:
    nodes = [node("RandomUniform", [], [f"r{i}"], shape=[1 << 20]) for i in range(2)]
    nodes += [node("Add", [f"r{i}", f"r{i + 1}"], [f"r{i + 2}"]) for i in range(200)]
    with pytest.raises(LimitExceeded, match="too much memory"):
        load_bytes(build(nodes, [], ["r201"]), device="numpy").graph()


def test_loops_that_would_never_end_are_refused_at_once() -> None:
    """A flipped bit in a constant trip count must not make importing run the loop."""
    body = helper.make_graph(
        [node("Add", ["v", "v"], ["w"]), node("Identity", ["going"], ["more"])],
        "body",
        [info("i", np.int64), info("going", bool), info("v", np.float32)],
        [info("more", bool), info("w", np.float32)],
    )
    for start in ({"v0": np.float32(1)}, {}):  # known while importing, or an input
        inputs = [] if start else [info("v0", np.float32)]
        data = build(
            [node("Loop", ["turns", "", "v0"], ["y"], body=body)], inputs, ["y"], {"turns": np.int64(5 | 1 << 62), **start}
        )
        started = time.process_time()
        with pytest.raises(LimitExceeded, match="turns that nothing ends earlier"):
            load_bytes(data, device="numpy").graph()
        assert time.process_time() - started < 5


def test_resize_to_nothing_is_empty() -> None:
    """Found by mutation: a scale so small that no element contributes."""
    image = np.ones((1, 1, 4, 4), np.float32)
    data = one_node("Resize", [image, None, np.array([1, 1, 2, 2e-38], np.float32)], known=[2], mode="linear")
    assert load_bytes(data, device="numpy")(x0=image)["y0"].shape == (1, 1, 8, 0)


# -- what is not supported ---------------------------------------------------------------------------------------------------


def test_all_unsupported_operators_are_named_at_once() -> None:
    inner = helper.make_graph([node("StringNormalizer", ["x"], ["t"])], "inner", [], [onnx.ValueInfoProto(name="t")])
    nodes = [
        node("Whirl", ["x"], ["a"], domain="com.example"),
        node("If", ["flag"], ["b"], then_branch=inner, else_branch=inner),
        node("Relu", ["a"], ["c"]),
    ]
    data = build(nodes, [info("x", np.float32, [2]), info("flag", bool)], ["b", "c"], domains={"com.example": 3})
    with pytest.raises(UnsupportedOperators, match=r"ai\.onnx\.StringNormalizer \(opset 17\), com\.example\.Whirl") as caught:
        load_bytes(data)
    assert caught.value.operators == (("ai.onnx", "StringNormalizer", 17), ("com.example", "Whirl", 3))


def test_dtypes_and_versions_that_hither_does_not_have() -> None:
    model = relu()
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.STRING
    with pytest.raises(UnsupportedFeature, match="string"):
        load_bytes(model.SerializeToString())
    model = relu()
    model.opset_import[0].version = 9999
    with pytest.raises(InvalidModel, match=r"opset 9999.*update"):
        load_bytes(model.SerializeToString())
    model.opset_import[0].version = 5
    with pytest.raises(InvalidModel, match="Relu had another meaning"):
        load_bytes(model.SerializeToString())


# -- external data ------------------------------------------------------------------------------------------------------------


def external_model(location: str, offset: int = 0, length: int | None = None) -> bytes:
    model = onnx.ModelProto.FromString(
        build([node("Add", ["x", "w"], ["y"])], [info("x", np.float32, [4])], ["y"], {"w": np.zeros(4, np.float32)})
    )
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", str(offset)), ("length", str(16 if length is None else length))):
        tensor.external_data.add(key=key, value=value)
    return model.SerializeToString()


def test_external_data_beside_the_model(tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    values = np.arange(6, dtype=np.float32)
    (tmp_path / "weights" / "w.bin").write_bytes(values.tobytes())
    (tmp_path / "model.onnx").write_bytes(external_model("weights/w.bin", offset=8))
    model = hither.formats.load(tmp_path / "model.onnx", device="numpy")
    np.testing.assert_array_equal(model.weights["w"], values[2:])
    np.testing.assert_array_equal(model(np.zeros(4, np.float32))["y"], values[2:])


def test_external_data_elsewhere_is_refused(tmp_path: Path) -> None:
    secret = tmp_path / "secret.bin"
    secret.write_bytes(b"\0" * 64)
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "link.bin").symlink_to(secret)
    for location in (
        "../secret.bin",
        str(secret),
        "a/../../secret.bin",
        "link.bin",
        "",
        "C:\\w.bin",
        "..\\secret.bin",
        "w\0.bin",
    ):
        (folder / "m.onnx").write_bytes(external_model(location))
        with pytest.raises(InvalidModel, match=r"external data|'w'"):
            hither.formats.load(folder / "m.onnx")
    (folder / "w.bin").write_bytes(b"\0" * 15)
    for offset, length in ((0, 16), (1 << 50, 16), (0, 8)):
        (folder / "m.onnx").write_bytes(external_model("w.bin", offset, length))
        with pytest.raises(InvalidModel, match=r"w\.bin"):
            hither.formats.load(folder / "m.onnx")
    with pytest.raises(InvalidModel, match="from its path"):
        load_bytes(external_model("w.bin"))


# -- finding the format -------------------------------------------------------------------------------------------------------


def test_the_format_is_found_by_content(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(small_model())
    assert list(hither.formats.load(tmp_path / "model.bin").inputs) == ["x"]
    (tmp_path / "other.bin").write_bytes(b"something else")
    with pytest.raises(InvalidModel, match="no format that hither reads"):
        hither.formats.load(tmp_path / "other.bin")
    with pytest.raises(FileNotFoundError):
        hither.formats.load(tmp_path / "missing.onnx")


def test_weights_are_kept_once() -> None:
    """The Graph's constants are the very arrays of Model.weights."""
    model = load_bytes(small_model())
    from hither.spec import Spec

    graph = model.graph({"x": Spec((1, 2, 6, 6))})
    held = {v.name: a for v, a in graph.constants.items() if v.name}
    assert held["w"] is model.weights["w"]
    assert held["g"] is model.weights["g"]
