"""ONNX's own operator tests on the compiled targets: of each family the test that asks most. `make conformance` runs all."""

from __future__ import annotations

import pytest

from .conformance import Result, report, run_test
from .models import node_tests

# On every device: what differs most between the targets (templates, epilogues, run-time indices and sizes, control flow).
EVERYWHERE = (
    "add_bcast", "conv_with_strides_and_asymmetric_padding", "convtranspose_group_2", "gemm_all_attributes",
    "gru_seq_length", "if", "loop11", "maxpool_2d_dilations", "nonmaxsuppression_two_classes", "qlinearconv",
    "reduce_sum_empty_set", "softmax_axis_1", "top_k_negative_axis",
)  # fmt: skip
IN_NODE = (
    "argmax_no_keepdims_random_select_last_index", "averagepool_2d_precomputed_pads_count_include_pad",
    "basic_deform_conv_with_padding", "bitshift_left_uint64", "bitwise_and_i16_3d", "cast_FLOAT_to_DOUBLE",
    "cast_FLOAT16_to_FLOAT", "clip_default_int8_min", "compress_default_axis", "cumsum_2d_negative_axis",
    "dequantizelinear_blocked", "dynamicquantizelinear", "einsum_batch_diagonal", "equal_bcast",
    "gathernd_example_int32_batch_dim1", "gather_negative_indices", "instancenorm_epsilon", "isinf_float16",
    "lstm_with_peepholes", "matmulinteger", "max_float64", "mod_mixed_sign_int64", "nonzero_example",
    "onehot_negative_indices", "pow_types_float32_int64", "resize_upsample_scales_cubic_asymmetric", "scan9_sum",
    "scatternd_add", "unique_sorted_with_axis_3d",
)  # fmt: skip
ON_CPU = (
    "and_bcast4v3d", "batchnorm_example_training_mode", "col2im_dilations", "convinteger_with_padding", "det_nd",
    "dft_axis", "gridsample_bicubic", "group_normalization_epsilon", "layer_normalization_4d_axis1", "lppool_2d_dilations",
    "lrn", "maxunpool_export_without_output_shape", "nllloss_NCd1d2_with_weight_reduction_mean", "prelu_broadcast",
    "reduce_prod_empty_set", "reflect_pad", "reversesequence_time", "roialign_mode_max", "stft", "tril_zero",
)  # fmt: skip
SUBSETS = {"cpu": (*EVERYWHERE, *IN_NODE, *ON_CPU), "wasm": (*EVERYWHERE, *IN_NODE), "webgpu": EVERYWHERE}
MARKS = {"wasm": [pytest.mark.node], "webgpu": [pytest.mark.gpu]}


@pytest.mark.parametrize(
    ("device", "name"),
    [pytest.param(d, n, id=f"{d}-{n}", marks=MARKS.get(d, [])) for d, names in SUBSETS.items() for n in names],
)
def test_operator(device: str, name: str) -> None:
    result = run_test(node_tests() / f"test_{name}", device)
    assert result == Result(f"test_{name}", "pass")


@pytest.mark.gpu
def test_a_dtype_that_a_device_lacks_is_excluded_by_name() -> None:
    """WebGPU has no float64: refused by name, not run in float32."""
    result = run_test(node_tests() / "test_cast_FLOAT_to_DOUBLE", "webgpu")
    assert result == Result("test_cast_FLOAT_to_DOUBLE", "excluded", "webgpu has no float64")


def test_report_says_where_a_test_fails() -> None:
    text = report({"cpu": [Result("test_a", "pass")], "wasm": [Result("test_a", "fail", "differs")]})
    assert "- `test_a` on wasm: differs" in text
