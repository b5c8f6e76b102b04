"""TensorFlow Lite files: names, signatures, subgraphs, state, packed models; and damaged ones, which end in clear errors."""

from __future__ import annotations

import random
import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

import hither as ht
from hither.errors import HitherError, InvalidModel, LimitExceeded, UnsupportedOperators
from hither.formats.tflite import load_bytes
from hither.formats.tflite.sparsity import Level as SparseLevel
from hither.formats.tflite.sparsity import expand

from .tflite_build import Arrays, File, Level, Operand, Quantized, Result, Sparse, litert, one_operator

RNG = np.random.default_rng(3)


def floats(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def agree(data: bytes, calls: list[Arrays], device: str = "numpy", tolerance: float = 1e-6) -> None:
    """hither and LiteRT give the same, call by call."""
    model = load_bytes(data, device=device)
    for feeds, expected in zip(calls, litert(data, calls, reference=True), strict=True):
        got = model(feeds)
        assert set(got) == set(expected)
        for name, want in expected.items():
            assert got[name].numpy().dtype == want.dtype
            np.testing.assert_allclose(got[name].numpy(), want, rtol=tolerance, atol=tolerance)


# -- names -----------------------------------------------------------------------------------------------------------------


def two_signatures() -> bytes:
    """A file with two functions: "double" and "add", the second with two inputs."""
    file = File()
    first, second = file.graph("first"), file.graph("second")
    x, y = first.tensor((2, 3), name="double_x:0", free=(-1, 3)), first.tensor((2, 3), name="Identity")
    first.operator("ADD", [x, x], [y], "AddOptions")
    first.inputs, first.outputs = [x], [y]
    a, b, c = (second.tensor((2,), name=n) for n in ("a:0", "b:0", "sum"))
    second.operator("ADD", [a, b], [c], "AddOptions")
    second.inputs, second.outputs = [a, b], [c]
    file.signature("double", 0, {"x": x}, {"doubled": y})
    file.signature("add", 1, {"left": b, "right": a}, {"total": c})
    return file.finish()


def test_signatures_name_inputs_and_outputs() -> None:
    model = load_bytes(two_signatures())
    assert (list(model.inputs), list(model.outputs)) == (["x"], ["doubled"])
    assert model.inputs["x"].shape == (None, 3)
    x = floats(4, 3)  # not the two rows that the file was made with
    np.testing.assert_array_equal(model.to("numpy")(x)["doubled"].numpy(), 2 * x)
    other = load_bytes(two_signatures(), signature="add", device="numpy")
    assert list(other.inputs) == ["left", "right"]
    total = other(left=np.array([1, 2], np.float32), right=np.array([10, 20], np.float32))
    np.testing.assert_array_equal(total["total"].numpy(), [11, 22])
    with pytest.raises(InvalidModel, match="'double', 'add'"):
        load_bytes(two_signatures(), signature="subtract")


def test_without_signatures_tensors_name_inputs_and_weights() -> None:
    file = File()
    graph = file.graph()
    x, w = graph.tensor((1, 4), name="input_1"), graph.constant(floats(3, 4), "dense/kernel")
    y = graph.tensor((1, 3), name="Identity")
    graph.operator("FULLY_CONNECTED", [x, w, -1], [y], "FullyConnectedOptions")
    graph.inputs, graph.outputs = [x], [y]
    model = load_bytes(file.finish())
    assert (list(model.inputs), list(model.outputs), list(model.weights)) == (["input_1"], ["Identity"], ["dense/kernel"])


def test_unsupported_operators_are_named_all_at_once() -> None:
    file = File()
    graph = file.graph()
    x, y, z = graph.tensor((2,), name="x"), graph.tensor((2,)), graph.tensor((2,))
    graph.operator("SKIP_GRAM", [x], [y])
    graph.operator("MyOperator", [y], [z])
    graph.inputs, graph.outputs = [x], [z]
    with pytest.raises(UnsupportedOperators) as caught:
        load_bytes(file.finish())
    assert {name for _, name, _ in caught.value.operators} == {"SKIP_GRAM", "MyOperator"}


# -- subgraphs -------------------------------------------------------------------------------------------------------------


def branches(known: bool) -> bytes:
    """y = 2x if flag else x - 1, in subgraphs."""
    file = File()
    main = file.graph()
    x = main.tensor((3,), name="x")
    flag = main.constant(np.array(True)) if known else main.tensor((), "bool", name="flag")
    y = main.tensor((3,), name="y")
    main.operator("IF", [flag, x], [y], "IfOptions", ThenSubgraphIndex=1, ElseSubgraphIndex=2)
    main.inputs, main.outputs = [x] if known else [x, flag], [y]
    for kind, table in (("ADD", "AddOptions"), ("SUB", "SubOptions")):
        branch = file.graph(kind)
        a = branch.tensor((3,))
        other = a if kind == "ADD" else branch.constant(np.ones(1, np.float32))
        out = branch.tensor((3,))
        branch.operator(kind, [a, other], [out], table)
        branch.inputs, branch.outputs = [a], [out]
    return file.finish()


@pytest.mark.parametrize("device", ["numpy", "cpu"])
def test_if_takes_the_branch_of_its_condition(device: str) -> None:
    agree(branches(True), [{"x": floats(3)}], device)
    agree(branches(False), [{"x": floats(3), "flag": np.array(f)} for f in (True, False)], device)


def counted_loop() -> bytes:
    """i, y = 0, x; while i < n: i, y = i + 1, y · 1.5"""
    file = File()
    main = file.graph()
    n, x = main.tensor((), "int32", name="n"), main.tensor((3,), name="x")
    zero = main.constant(np.array(0, np.int32))
    i, last, y = main.tensor((), "int32", name="i"), main.tensor((), "int32"), main.tensor((3,), name="y")
    main.operator("WHILE", [zero, n, x], [i, last, y], "WhileOptions", CondSubgraphIndex=1, BodySubgraphIndex=2)
    main.inputs, main.outputs = [n, x], [i, y]
    test = file.graph("test")
    test.inputs = [test.tensor((), "int32"), test.tensor((), "int32"), test.tensor((3,))]
    test.outputs = [test.tensor((), "bool")]
    test.operator("LESS", test.inputs[:2], test.outputs)
    body = file.graph("body")
    body.inputs = [body.tensor((), "int32"), body.tensor((), "int32"), body.tensor((3,))]
    more, scaled = body.tensor((), "int32"), body.tensor((3,))
    body.operator("ADD", [body.inputs[0], body.constant(np.array(1, np.int32))], [more], "AddOptions")
    body.operator("MUL", [body.inputs[2], body.constant(np.array([1.5], np.float32))], [scaled], "MulOptions")
    body.outputs = [more, body.inputs[1], scaled]
    return file.finish()


@pytest.mark.parametrize("device", ["numpy", "cpu"])
def test_while_runs_as_often_as_its_condition_says(device: str) -> None:
    agree(counted_loop(), [{"n": np.array(n, np.int32), "x": floats(3)} for n in (0, 1, 5)], device)


@pytest.mark.parametrize("device", ["numpy", "cpu"])
@pytest.mark.parametrize("shape, to", [((2, 4, 8), (4, 8)), ((3, 20), (1, 11)), ((1, 5000), (1, 5003)), ((6, 5), (8, 6))])
def test_fourier_transforms(shape: tuple[int, ...], to: tuple[int, int], device: str) -> None:
    """Cut or padded, of any length, and what makes complex numbers real; between the two they are numbers like others."""
    file = File()
    graph = file.graph()
    x, lengths = graph.tensor(shape, name="x"), graph.constant(np.array(to, np.int32))
    made = (*shape[:-2], to[0], to[1] // 2 + 1)
    spectrum, doubled = graph.tensor(made, "complex64"), graph.tensor(made, "complex64")
    graph.operator("RFFT2D", [x, lengths], [spectrum])
    graph.operator("ADD", [spectrum, spectrum], [doubled])
    graph.inputs, graph.outputs = [x], []
    for name in ("COMPLEX_ABS", "REAL", "IMAG"):
        graph.outputs.append(graph.tensor(made, name=name))
        graph.operator(name, [doubled], graph.outputs[-1:])
    given = floats(*shape)
    got = load_bytes(file.finish(), device=device)(given)
    expected = 2 * np.fft.rfft2(given, to)
    for name, want in (("COMPLEX_ABS", np.abs(expected)), ("REAL", expected.real), ("IMAG", expected.imag)):
        np.testing.assert_allclose(got[name].numpy(), want, rtol=1e-5, atol=2e-5 * np.abs(expected).max())


# -- sparse weights --------------------------------------------------------------------------------------------------------


def test_sparse_rows() -> None:
    """CSR: the second axis sparse."""
    dense = np.array([[0, 5, 0, 1], [0, 0, 0, 0], [2, 0, 0, 3]], np.float32)
    levels = [SparseLevel(3), SparseLevel(0, np.array([0, 2, 2, 4]), np.array([1, 3, 0, 3]))]
    made = expand(np.array([5, 1, 2, 3], np.float32), (3, 4), (0, 1), (), levels)
    np.testing.assert_array_equal(made, dense)


def test_sparse_blocks() -> None:
    """Blocks of 2 × 2: axes 2 and 3 are those within blocks."""
    dense = np.zeros((4, 4), np.float32)
    dense[0:2, 2:4] = [[1, 2], [3, 4]]
    dense[2:4, 0:2] = [[5, 6], [7, 8]]
    levels = [SparseLevel(2), SparseLevel(0, np.array([0, 1, 2]), np.array([1, 0])), SparseLevel(2), SparseLevel(2)]
    made = expand(np.arange(1, 9, dtype=np.float32), (4, 4), (0, 1, 2, 3), (0, 1), levels)
    np.testing.assert_array_equal(made, dense)


def sparse_file() -> bytes:
    file = File()
    graph = file.graph()
    x, y, dense = graph.tensor((1, 4), name="x"), graph.tensor((1, 3), name="y"), graph.tensor((3, 4))
    layout = Sparse((0, 1), (), [Level(3), Level(4, np.array([0, 2, 2, 4], np.uint8), np.array([1, 3, 0, 3], np.uint8))])
    w = graph.tensor((3, 4), "float32", np.array([5, 1, 2, 3], np.float32), "w", sparse=layout)
    graph.operator("DENSIFY", [w], [dense])
    graph.operator("FULLY_CONNECTED", [x, dense, -1], [y], "FullyConnectedOptions")
    graph.inputs, graph.outputs = [x], [y]
    return file.finish()


def test_sparse_weights_are_expanded() -> None:
    model = load_bytes(sparse_file(), device="numpy")
    np.testing.assert_array_equal(model.weights["w"], [[0, 5, 0, 1], [0, 0, 0, 0], [2, 0, 0, 3]])
    np.testing.assert_array_equal(model(np.array([[1, 2, 3, 4]], np.float32))["y"].numpy(), [[14, 0, 14]])


# -- packed models ---------------------------------------------------------------------------------------------------------


def small(kind: str = "RELU") -> bytes:
    return one_operator(kind, [floats(2, 3)])[0]


def test_a_task_bundle_of_one_model_loads(tmp_path: Path) -> None:
    path = tmp_path / "detector.task"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("labels.txt", "cat\ndog\n")
        archive.writestr("detector.tflite", small())
    x = floats(2, 3)
    np.testing.assert_array_equal(ht.load(path, device="numpy")(x)["y0"].numpy(), np.maximum(x, 0))


@pytest.mark.parametrize("seed", range(40))
def test_a_damaged_task_bundle_is_an_error_or_a_model(tmp_path: Path, seed: int) -> None:
    path, draw = tmp_path / "detector.task", random.Random(seed)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("detector.tflite", small())
    damaged = bytearray(path.read_bytes())
    damaged[draw.randrange(len(damaged))] ^= 1 << draw.randrange(8)
    path.write_bytes(damaged)
    with suppress(HitherError):
        ht.load(path, device="numpy")(floats(2, 3))


def test_packed_assets_list_their_models(tmp_path: Path) -> None:
    path = tmp_path / "face_solution_packed_assets.data"
    text, first, second = b"Left\nRight\n", small("RELU"), small("TANH")
    path.write_bytes(text + first + second)
    with pytest.raises(InvalidModel, match=r"holds 2 .*'model at 11'.*member="):
        ht.load(path)
    end = len(text) + len(first)
    (tmp_path / "face_solution_packed_assets_loader.js").write_text(
        f'loadPackage({{"files": [{{"filename": "/a/labels.txt", "start": 0, "end": 11}}, '
        f'{{"filename": "/a/relu.tflite", "start": 11, "end": {end}}}, '
        f'{{"filename": "/a/tanh.tflite", "start": {end}, "end": {end + len(second)}}}]}});'
    )
    x = floats(2, 3)
    got = ht.load(path, member="tanh.tflite", device="numpy")(x)["y0"].numpy()
    np.testing.assert_allclose(got, np.tanh(x), rtol=1e-6)
    with pytest.raises(InvalidModel, match=r"'relu\.tflite', 'tanh\.tflite'"):
        ht.load(path, member="sigmoid.tflite")


def test_a_file_without_a_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.tflite"
    path.write_bytes(b"no model")
    with pytest.raises(InvalidModel, match=r"x\.tflite"):
        ht.load(path)


# -- damage ----------------------------------------------------------------------------------------------------------------


def varied() -> bytes:
    """A file whose bytes are mostly structure: two subgraphs, state, quantised and sparse weights, a custom operator."""
    file = File()
    main, start = file.graph(), file.graph("start")
    x = main.tensor((1, 6, 6, 2), name="x")
    w = main.constant(floats(3, 3, 3, 2), "w")
    c, flat, q, scores = (
        main.tensor((1, 6, 6, 3)),
        main.tensor((1, 108)),
        main.tensor((1, 108), "int8", quantized=Quantized(0.1)),
        None,
    )
    options = {"Padding": 0, "StrideH": 1, "StrideW": 1, "DilationHFactor": 1, "DilationWFactor": 1}
    main.operator("CONV_2D", [x, w, main.constant(np.zeros(3, np.float32))], [c], "Conv2DOptions", **options)
    main.operator("RESHAPE", [c, main.constant(np.array([1, -1], np.int32))], [flat])
    main.operator("QUANTIZE", [flat], [q])
    dense = main.constant(RNG.integers(-127, 128, (4, 108)).astype(np.int8), "dense", Quantized([0.01, 0.02, 0.03, 0.04]))
    scores = main.tensor((1, 4), "int8", quantized=Quantized(0.2, 3))
    main.operator("FULLY_CONNECTED", [q, dense, -1], [scores], "FullyConnectedOptions")
    layout = Sparse((0, 1), (), [Level(3), Level(4, np.array([0, 2, 2, 4], np.uint8), np.array([1, 3, 0, 3], np.uint8))])
    sparse = main.tensor((3, 4), "float32", np.array([5, 1, 2, 3], np.float32), "sparse", sparse=layout)
    real, made, y, handle = main.tensor((1, 4)), main.tensor((3, 4)), main.tensor((1, 3)), main.tensor((), "resource")
    main.operator("DEQUANTIZE", [scores], [real])
    main.operator("DENSIFY", [sparse], [made])
    main.operator("FULLY_CONNECTED", [real, made, -1], [y], "FullyConnectedOptions")
    main.operator("CALL_ONCE", [], [], "CallOnceOptions", InitSubgraphIndex=1)
    main.operator("VAR_HANDLE", [], [handle], "VarHandleOptions", SharedName="total")
    old, new, image = main.tensor((1, 3)), main.tensor((1, 3)), main.tensor((1, 12, 12, 2))
    main.operator("READ_VARIABLE", [handle], [old])
    main.operator("ADD", [old, y], [new], "AddOptions")
    main.operator("ASSIGN_VARIABLE", [handle, new], [])
    kernel = main.constant(floats(2, 2, 2, 3), "kernel")
    main.operator("Convolution2DTransposeBias", [c, kernel, -1], [image], custom=bytes([1, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0]))
    main.inputs, main.outputs = [x], [new, image]
    own = start.tensor((), "resource")
    start.operator("VAR_HANDLE", [], [own], "VarHandleOptions", SharedName="total")
    start.operator("ASSIGN_VARIABLE", [own, start.constant(np.zeros((1, 3), np.float32))], [])
    file.signature("serve", 0, {"image": x}, {"scores": new, "picture": image})
    return file.finish()


@pytest.mark.parametrize("seed", range(4))
def test_damaged_files_give_an_error_or_an_answer(seed: int) -> None:
    """50 mutations for each seed: cut short, bits flipped, bytes overwritten, offsets sent elsewhere."""
    data, draw = varied(), random.Random(seed)
    x = np.ones((1, 6, 6, 2), np.float32)
    load_bytes(data, device="numpy")(x)
    for _ in range(50):
        damaged = bytearray(data)
        kind = draw.randrange(4)
        if kind == 0:
            damaged = damaged[: draw.randrange(len(data))]
        elif kind == 1:
            for _ in range(draw.randrange(1, 5)):
                damaged[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        elif kind == 2:
            at = draw.randrange(len(data) - 8)
            damaged[at : at + 8] = draw.randbytes(8)
        else:
            at = draw.randrange(len(data) // 4 - 1) * 4
            damaged[at : at + 4] = draw.choice((0, 1, 4, len(data), 2**31 - 1, 2**32 - 4, draw.randrange(len(data)))).to_bytes(
                4, "little"
            )
        try:
            model = load_bytes(bytes(damaged), device="numpy")
            given = {
                n: np.ones([e or 1 for e in s.shape or ()], s.dtype.numpy)
                for n, s in model.inputs.items()
                if s.shape is not None
            }
            if all(a.size < 1 << 20 for a in given.values()):
                model(given)
        except HitherError:
            pass


def test_shared_vectors_do_not_multiply() -> None:
    """Many operators may name one long vector of inputs: what is read is bounded, not the file alone."""
    file = File()
    graph = file.graph()
    x, y = graph.tensor((1,), name="x"), graph.tensor((1,))
    many = [x] * 60_000
    for _ in range(300):
        graph.operator("ADD_N", many, [y])
    graph.inputs, graph.outputs = [x], [y]
    with pytest.raises(LimitExceeded):
        load_bytes(file.finish())


def test_tensors_that_share_a_buffer_askew_do_not_multiply() -> None:
    """Where a file lies at an odd address its tensors are copied; a thousand of one buffer must not take a thousand copies."""
    file = File()
    graph = file.graph()
    x, y = graph.tensor((1,), name="x"), graph.tensor((1,))
    first = graph.constant(floats(1000))
    for _ in range(1000):
        graph.tensors[graph.tensor((1000,))].buffer = graph.tensors[first].buffer
    graph.operator("ADD", [x, x], [y], "AddOptions")
    graph.inputs, graph.outputs = [x], [y]
    data = file.finish()
    assert len(load_bytes(data).weights) == 1001
    askew = memoryview(b"x" + data)[1:]
    with pytest.raises(LimitExceeded, match="askew"):
        load_bytes(askew)  # type: ignore[arg-type]


def test_a_subgraph_that_calls_itself_ends() -> None:
    file = File()
    graph = file.graph()
    x, y = graph.tensor((1,), name="x"), graph.tensor((1,))
    flag = graph.constant(np.array(True))
    graph.operator("IF", [flag, x], [y], "IfOptions", ThenSubgraphIndex=0, ElseSubgraphIndex=0)
    graph.inputs, graph.outputs = [x], [y]
    with pytest.raises(LimitExceeded, match="deep"):
        load_bytes(file.finish(), device="numpy")(floats(1))


def test_options_of_another_operator_are_refused() -> None:
    data, feeds = one_operator(
        "CONV_2D", [floats(1, 4, 4, 1), Operand(floats(1, 2, 2, 1), known=True)], [Result()], "AddOptions"
    )
    with pytest.raises(InvalidModel, match="another operator"):
        load_bytes(data, device="numpy")(feeds)
