"""Writing networks as Keras 3 reads them: `.keras`, and weights alone as `.weights.h5`."""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ... import nn
from ...errors import PackageMissing, UnsupportedFeature
from ...nn import Module
from ...nn.layer import saved
from ...nn.network import Network
from .file import CONFIG, METADATA, WEIGHTS
from .layouts import children, network_of

KERAS_VERSION = "3.0.0"  # what the files are written for


def write(target: Any, path: str | os.PathLike[str], specs: Mapping[str, Any] | None = None) -> None:
    """Write a network.

    Args:
        target: a network of layers, or a Model of one.
        specs: {input name: Spec}, for a network that does not know the shape of its input yet.
        path: a `.keras` file for network and weights, a `.weights.h5` file for the weights alone.

    Raises:
        UnsupportedFeature: another suffix, a network that is not built, a Model that is no network of layers.
        PackageMissing: h5py is not installed.
    """
    network = network_of(target, specs, "Keras's files")
    where = Path(path)
    if where.name.endswith(".weights.h5"):
        where.write_bytes(weights(network))
        return
    if where.suffix != ".keras":
        raise UnsupportedFeature(f"{where.name}: networks are written to .keras files, weights alone to .weights.h5 files")
    config, stored = json.dumps(nn.serialize(network)), weights(network)
    with zipfile.ZipFile(where, "w") as archive:
        archive.writestr(METADATA, json.dumps({"keras_version": KERAS_VERSION}))
        archive.writestr(CONFIG, config)
        archive.writestr(WEIGHTS, stored)


def weights(network: Network) -> bytes:
    """The HDF5 file of a network's weights."""
    try:
        import h5py
    except ImportError as error:
        raise PackageMissing("writing Keras's files", "h5py", "keras") from error
    buffer = io.BytesIO()
    written: set[int] = set()

    def visit(module: Module, group: Any) -> None:
        if id(module) in written:
            return
        written.add(id(module))
        values = group.create_group("vars")
        for i, name in enumerate(saved(module)):
            values.create_dataset(str(i), data=getattr(module, name).numpy())
        for key, part in children(module):
            visit(part, group.require_group(key))

    with h5py.File(buffer, "w") as root:
        visit(network, root)
    return buffer.getvalue()
