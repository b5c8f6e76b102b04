"""The mapping behind docs/features.md: if these fail it leaves out what TensorFlow.js has, or takes mistakes for names.

That the page itself is current, test_docs says.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent
MODULES = ROOT / "bench" / "js" / "node_modules"

# Internals that tf exports besides its API: classes of backends, registries of kernels, helpers of its own tests and tools.
INTERNAL = {
    "AdadeltaOptimizer", "AdagradOptimizer", "AdamOptimizer", "AdamaxOptimizer", "DataStorage", "Environment",
    "GPGPUContext", "GraphModel", "InputSpec", "KernelBackend", "LayerVariable", "LayersModel", "MathBackendCPU",
    "MathBackendWebGL", "MomentumOptimizer", "Optimizer", "OptimizerConstructors", "RMSPropOptimizer", "RNN",
    "SGDOptimizer", "Sequential", "Tensor", "TensorBuffer", "Variable", "copyRegisteredKernels", "deprecationWarn",
    "deregisterOp", "disableDeprecationWarnings", "enclosingPowerOfTwo", "engine", "findBackendFactory", "forceHalfFloat",
    "getGradient", "getKernel", "getKernelsForBackend", "op", "registerCallbackConstructor", "setPlatform",
    "setWebGLContext", "sumOutType", "train", "unregisterGradient", "unregisterKernel", "upcastType",
}  # fmt: skip


# Methods of its classes that it documents nowhere: parts of how they work.
INTERNAL_METHODS = {
    "LayersModel": "checkNumSamples checkTrainableWeightsConsistency execute fitLoop getDedupedMetricsNames getLossIdentifiers "
    "getMetricIdentifiers getNamedWeights getTrainingConfig getUserDefinedMetadata loadTrainingConfig makeTestFunction "
    "makeTrainFunction predictLoop retrieveSymbolicTensors setUserDefinedMetadata standardizeUserData standardizeUserDataXY "
    "testLoop",
    "GraphModel": "addStructuredOutputNames convertTensorMapToTensorsMap disposeIntermediateTensors executeInitializerGraph "
    "executeInitializerGraphAsync findIOHandler inputNodes loadStreaming loadSync loadWithWeightMap modelStructuredOutputKeys "
    "modelVersion normalizeInputs normalizeOutputs outputNodes setResourceIdToCapturedInput dispose",
    "data.Dataset": "iterator toArrayForTest",
    "Optimizer": "dispose extractIterations incrementIterations iterations saveIterations",
}


@pytest.fixture(scope="module")
def features() -> ModuleType:
    spec = importlib.util.spec_from_file_location("features", ROOT / "scripts" / "features.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["features"] = module
    spec.loader.exec_module(module)
    return module


def test_wrong_lines_are_refused(features: ModuleType) -> None:
    for line in ("abs", "abs = ", "abs = abs\nabs = abs", "addN = ~ add"):
        with pytest.raises(ValueError, match="expected"):
            features.read(f"[A | tf]\n{line}\n")
    assert features.exists("random.gamma") and features.exists("nn.Layer.get_config") and features.exists("Array.nbytes")
    assert features.exists("js:load") and features.exists("js:Program.run"), "what the loader declares counts too"
    for name in (
        "js:no_such_name",
        "js:Program.no_such_member",
        "js:Info.device",
        "no_such_name",
        "nn.NoSuchLayer",
        "ops.operands.common_shape",
        "formats.tensorflow.gather",
        "nn.layer.Layer",
    ):
        assert not features.exists(name), "only what users are offered counts"


def test_loose_matches_are_counted_apart(features: ModuleType) -> None:
    lines = ("[A | tf]", "abs = abs", "addN = ~ add ; in pairs", "tidy = * ; needless", "fft = -", "later = ? no_such_name")
    made = features.read("\n".join(lines))
    assert [s.count() for s in made] == [(1, 1, 4)]
    page = features.page(made)
    assert "**1 of 4 by name: 25%.** With the 1 that are written with others: 50%." in page
    assert "| `tf.addN` | with `add` | in pairs |" in page and "| `tf.tidy` | *not needed* | needless |" in page


@pytest.mark.skipif(
    not (MODULES / "@tensorflow" / "tfjs").exists() or not shutil.which("node"), reason="needs make bench's packages"
)
def test_no_function_of_tfjs_is_left_out(features: ModuleType) -> None:
    script = (
        "const tf=require('@tensorflow/tfjs');"
        "console.log('\\n'+JSON.stringify([[...Object.keys(tf).filter(k=>typeof tf[k]==='function'),"
        "...['image','signal','spectral','linalg','sparse','string','math','fused','train','losses','initializers','constraints',"
        "'regularizers'].flatMap(n=>Object.getOwnPropertyNames(tf[n]).filter(k=>typeof tf[n][k]==='function'&&"
        "!['length','name','prototype'].includes(k)).map(k=>n+'.'+k))],"
        "Object.fromEntries(Object.entries({LayersModel:tf.LayersModel,GraphModel:tf.GraphModel,Optimizer:tf.Optimizer,"
        "'data.Dataset':tf.data.Dataset}).map(([n,c])=>[n,Object.getOwnPropertyNames(c.prototype)]))]))"
    )
    made = subprocess.run(["node", "-e", script], cwd=MODULES.parent, capture_output=True, text=True, check=True, timeout=120)
    names, methods = json.loads(made.stdout.strip().splitlines()[-1])
    theirs = set(names)
    for owner, known in methods.items():
        theirs |= {f"{owner}.{m}" for m in known if not m.startswith("_")} - {
            f"{owner}.{m}" for m in ["constructor", *INTERNAL_METHODS[owner].split()]
        }
    listed = set()
    for section in features.read(features.MAPPING.read_text(encoding="utf-8")):
        listed |= {f"{section.prefix}.{f.name}".removeprefix("tf.") for f in section.features}
    listed |= {f"spectral.{n}" for n in ("fft", "ifft", "irfft", "rfft")}
    assert theirs - listed - INTERNAL == set()
