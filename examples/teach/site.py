"""The page as a folder for any static host: bundles of backbones and heads, the page's own files, and what it knows of them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import hither as ht

from .networks import CLASSES, KINDS, RATE, SIDE, Kind, plain, specs, trainer

PAGE = Path(__file__).resolve().parent / "page"
SNIPPETS = {
    "pictures": """\
import hither as ht
from hither import media
from examples.teach.networks import pictures, square

embed, head = pictures(), ht.load("FILE")
picture = square(media.read_image("photo.jpg"))
head(embed(picture)["embedding"])["likelihood"].numpy()

# or, for some files:
# python -m examples.teach ask FILE photo.jpg""",
    "sounds": """\
import hither as ht
from hither import media
from examples.teach.networks import RATE, seconds, sounds

embed, head = sounds(), ht.load("FILE")
samples, _ = media.read_sound("sound.wav", RATE)
head(embed(seconds(samples)[0])["embedding"])["likelihood"].numpy()

# or, for some files:
# python -m examples.teach ask FILE sound.wav""",
}


def write_site(folder: Path, kinds: Mapping[str, Kind] = KINDS, stage: Callable[[str], object] = lambda text: None) -> None:
    """Write the page.

    Args:
        folder: where to; made if missing.
        kinds: what can be taught there.
        stage: told what is being done.

    Raises:
        FetchError: a network cannot be fetched.
    """
    folder.mkdir(parents=True, exist_ok=True)
    known: dict[str, Any] = {"classes": CLASSES, "kinds": {}}
    for kind in kinds.values():
        stage(f"compiling the network for {kind.name}")
        ht.bundle(kind.backbone(), folder / kind.name, name=kind.name)
        stage(f"compiling the steps of training on {kind.name}")
        ht.bundle(trainer(kind), folder / f"{kind.name}-head", specs(kind), name=f"{kind.name}-head")
        known["kinds"][kind.name] = {
            "name": kind.name, "licence": kind.licence, "citation": kind.citation,
            "packages": list(dict.fromkeys(map(str, kind.sources))),
            "head": {
                "side": SIDE, "rate": RATE, "snippet": SNIPPETS[kind.name],
                "config": ht.nn.serialize(plain(kind, CLASSES)),
            },
        }  # fmt: skip
    for file in PAGE.iterdir():
        shutil.copyfile(file, folder / file.name)
    (folder / "page.json").write_text(json.dumps(known, ensure_ascii=False), encoding="utf-8")
