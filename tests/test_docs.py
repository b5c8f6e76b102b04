"""The documentation's Python runs: what a newcomer copies from it, or from a docstring, must work as it stands.

The blocks of one document run one after the other in a process of their own, in an empty folder with a small model.onnx.
"""

from __future__ import annotations

import doctest
import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
DOCUMENTS = [
    path for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")))
    if BLOCK.search(path.read_text("utf-8"))
]  # fmt: skip


def save_classifier(path: Path) -> None:
    """A net from image [1, 3, 224, 224] to scores [1, 10]."""
    from onnx import TensorProto, helper, numpy_helper, save

    weights = np.random.default_rng(0).normal(size=(10, 3)).astype(np.float32)
    nodes = [
        helper.make_node("GlobalAveragePool", ["image"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["row"]),
        helper.make_node("Gemm", ["row", "weights"], ["scores"], transB=1),
    ]
    graph = helper.make_graph(
        nodes, "classifier", [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 224, 224])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 10])], [numpy_helper.from_array(weights, "weights")],
    )  # fmt: skip
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))


MODULES = [  # whose docstrings have examples
    ".".join(path.relative_to(ROOT / "src").with_suffix("").parts).removesuffix(".__init__")
    for path in sorted((ROOT / "src").rglob("*.py"))
    if ">>> " in path.read_text("utf-8")
]


@pytest.mark.parametrize("module", MODULES)
def test_examples_in_docstrings_run(module: str) -> None:
    failed, _ = doctest.testmod(importlib.import_module(module))
    assert not failed


def test_documents_with_code_are_found() -> None:
    assert {"README.md", "CONTRIBUTING.md"} <= {path.name for path in DOCUMENTS}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_the_code_of_a_document_runs(document: Path, tmp_path: Path) -> None:
    save_classifier(tmp_path / "model.onnx")
    text = document.read_text("utf-8")
    # Blank lines in front, so that a traceback counts as the document does.
    script, line = "", 1
    for block in BLOCK.finditer(text):
        start = text.count("\n", 0, block.start(1)) + 1
        script += "\n" * (start - line) + block[1]
        line = start + block[1].count("\n")
    (tmp_path / "blocks.py").write_text(script)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT / "src"), str(ROOT)))}
    done = subprocess.run(
        [sys.executable, "blocks.py"], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=240
    )  # fmt: skip
    assert done.returncode == 0, f"{document.name}, lines as in the document:\n{done.stderr[-3000:]}"


def test_the_page_of_features_is_current() -> None:
    """docs/features.md says what exists: made again, it is the same, and no name that it gives is missing."""
    run = subprocess.run([sys.executable, str(ROOT / "scripts" / "features.py"), "--check"], capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
