"""TF.js: a model.json and its shards become a Model. One function per TensorFlow operator, by theme, in `operators`."""

from __future__ import annotations

import os
from importlib import import_module

from ...errors import InvalidModel
from ...model import Model
from .source import kind, parse, source_of

# What reads each kind of TF.js model: a module with `load_document(document, source, device=, precision=)`.
READERS = {"graph-model": "hither.formats.tfjs.reader"}


def load(where: str | os.PathLike[str], *, device: str | None = None, precision: str | None = None) -> Model:
    """Read a TF.js model: its JSON file, the folder with its model.json, or the http(s) address of either.

    From an address, the JSON file and its shards are fetched with urllib: nothing outside the JSON file's folder on that
    server is asked for, and not more than the weights' sizes say is read.

    Arrays have the dtypes that TF.js computes with: int32 for all integers, float32 for all floats.

    Raises:
        InvalidModel: if the model is malformed, or a file is missing, short or long.
        UnsupportedOperators: if it uses operators that hither does not have; names all of them.
    """
    source = source_of(where)
    document = parse(source.document(), source.name)
    found = kind(document)
    if found not in READERS:
        raise InvalidModel(f"{source.name} is a {found or 'JSON file of another kind'}; this reads {', '.join(READERS)}")
    model: Model = import_module(READERS[found]).load_document(document, source, device=device, precision=precision)
    return model


__all__ = ["READERS", "load"]
