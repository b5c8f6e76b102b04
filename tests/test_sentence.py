"""MiniLM in hither.nn layers: a small one against BERT written in NumPy, the real one against PyTorch's numbers."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

import hither as ht
from hither import models
from hither.errors import NameMismatch, ShapeMismatch
from hither.models import sentence
from tests.sentence_reference import COSINES, FIRST, SENTENCES

WIDTH, HEADS, INNER, LAYERS, WORDS, PLACES = 12, 3, 20, 2, 30, 96
ROOT = Path(__file__).resolve().parent.parent


def torch_weights() -> dict[str, np.ndarray]:
    """Random weights under the names, and in the arrangement, that transformers' BertModel saves."""
    rng = np.random.default_rng(5)
    shapes = {
        "embeddings.word_embeddings.weight": (WORDS, WIDTH), "embeddings.position_embeddings.weight": (PLACES, WIDTH),
        "embeddings.token_type_embeddings.weight": (2, WIDTH), "pooler.dense.weight": (WIDTH, WIDTH),
        "pooler.dense.bias": (WIDTH,),
    }  # fmt: skip
    norms = ["embeddings.LayerNorm"]
    dense = {}
    for i in range(LAYERS):
        at = f"encoder.layer.{i}."
        dense |= {f"{at}attention.self.{n}": (WIDTH, WIDTH) for n in ("query", "key", "value")}
        dense |= {f"{at}attention.output.dense": (WIDTH, WIDTH)}
        dense |= {f"{at}intermediate.dense": (INNER, WIDTH), f"{at}output.dense": (WIDTH, INNER)}  # [out, in]
        norms += [f"{at}attention.output.LayerNorm", f"{at}output.LayerNorm"]
    for name, (out, into) in dense.items():
        shapes |= {f"{name}.weight": (out, into), f"{name}.bias": (out,)}
    for name in norms:
        shapes |= {f"{name}.weight": (WIDTH,), f"{name}.bias": (WIDTH,)}
    made = {name: rng.standard_normal(shape).astype(np.float32) * np.float32(0.4) for name, shape in shapes.items()}
    return {**made, "embeddings.position_ids": np.arange(PLACES)[None]}


def bert(w: dict[str, np.ndarray], ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Devlin et al. (2019), one sentence at a time and without its padding, in float64."""

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-12)
        return x * w[f"{name}.weight"] + w[f"{name}.bias"]

    def dense(x: np.ndarray, name: str) -> np.ndarray:
        return x @ w[f"{name}.weight"].T.astype(np.float64) + w[f"{name}.bias"]

    rows = []
    for tokens, counts in zip(ids, mask):
        tokens = tokens[counts > 0]
        x = w["embeddings.word_embeddings.weight"][tokens] + w["embeddings.position_embeddings.weight"][: len(tokens)]
        x = norm(x + w["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
        for i in range(LAYERS):
            at, size = f"encoder.layer.{i}.", WIDTH // HEADS
            q, k, v = (dense(x, f"{at}attention.self.{n}") for n in ("query", "key", "value"))
            heads = []
            for h in range(HEADS):
                part = slice(h * size, (h + 1) * size)
                scores = np.exp(q[:, part] @ k[:, part].T / math.sqrt(size))
                heads.append(scores / scores.sum(-1, keepdims=True) @ v[:, part])
            x = norm(x + dense(np.concatenate(heads, -1), f"{at}attention.output.dense"), f"{at}attention.output.LayerNorm")
            up = dense(x, f"{at}intermediate.dense")
            gelu = up * 0.5 * (1 + np.vectorize(math.erf)(up / math.sqrt(2)))
            x = norm(x + dense(gelu, f"{at}output.dense"), f"{at}output.LayerNorm")
        mean = x.mean(0)
        rows.append(mean / np.linalg.norm(mean))
    return np.array(rows)


def small() -> ht.nn.Functional:
    return sentence.network(WORDS, WIDTH, LAYERS, HEADS, INNER, PLACES)


def test_the_layers_are_bert_and_take_the_weights_of_pytorch(tmp_path: Path) -> None:
    """Names, transposed matrices, heads, exact gelu, masks, the mean over what is no padding."""
    weights = torch_weights()
    save_file(weights, tmp_path / "model.safetensors")
    model = ht.load(
        tmp_path / "model.safetensors", network=small(), names=sentence.torch_name, transform=sentence.from_torch(HEADS)
    )
    rng = np.random.default_rng(6)
    ids = rng.integers(1, WORDS, (3, 7)).astype(np.int32)
    mask = np.array([[1] * 7, [1] * 4 + [0] * 3, [1] + [0] * 6], np.int32)
    made = model({"ids": ids * mask, "mask": mask})["embedding"].numpy()
    np.testing.assert_allclose(made, bert(weights, ids, mask), atol=2e-5)


def test_without_the_transform_the_file_does_not_fit(tmp_path: Path) -> None:
    save_file(torch_weights(), tmp_path / "model.safetensors")
    with pytest.raises(ShapeMismatch, match=r"block_0\.attention\.query_dense\.kernel.* has shape .* got"):
        ht.load(tmp_path / "model.safetensors", network=small(), names=sentence.torch_name)
    with pytest.raises(NameMismatch, match=r"has no weight"):
        ht.load(tmp_path / "model.safetensors", network=small(), transform=sentence.from_torch(HEADS))


def test_the_network_is_saved_with_its_configuration(tmp_path: Path) -> None:
    net = small()
    ht.save(net, tmp_path / "net.safetensors")
    again = ht.load(tmp_path / "net.safetensors")
    given = {"ids": np.array([[1, 2, 3]], np.int32), "mask": np.array([[1, 1, 0]], np.int32)}
    wanted = net([given["ids"], given["mask"]]).numpy()
    np.testing.assert_allclose(again(given)["embedding"].numpy(), wanted, atol=1e-5)


@pytest.mark.models
def test_minilm_says_what_it_says_in_pytorch() -> None:
    made = sentence.embed(models.load("sentence-embedding"), SENTENCES)
    np.testing.assert_allclose(made[:, :8], FIRST, atol=1e-5)
    np.testing.assert_allclose(made @ made.T, COSINES, atol=1e-5)


@pytest.mark.models
def test_the_example_finds_the_nearest_question() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "examples.minilm", "my screen stays dark"], cwd=ROOT, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stderr
    assert "The display shows nothing" in done.stdout.splitlines()[0]
