"""What the Python array API standard asks a namespace to say about itself: capabilities, devices and dtypes.

`hither.__array_namespace_info__()` gives the one object of this class; the functions, dtypes and constants themselves are names
of the package.
"""

from __future__ import annotations

from typing import Any

from . import dtypes as dt
from .dtypes import DType

_DEVICE = "cpu"  # where arrays are made


class NamespaceInfo:
    """Inspection of the namespace, by the standard's section of that name.

    Example:
        >>> import hither as ht
        >>> ht.__array_namespace_info__().default_dtypes()["real floating"]
        hither.float32
    """

    def capabilities(self) -> dict[str, Any]:
        """What arrays that are not being traced can do: masks as indices, results whose size depends on values."""
        return {"boolean indexing": True, "data-dependent shapes": True, "max dimensions": 64}

    def default_device(self) -> str:
        """Where arrays are made: "cpu"."""
        return _DEVICE

    def devices(self) -> list[str]:
        """Where arrays can be on every machine: ["cpu"]; `hither.devices` lists what there is on this one."""
        return [_DEVICE]

    def default_dtypes(self, *, device: Any = None) -> dict[str, DType]:
        """The dtypes of Python numbers, of results without a dtype, and of indices."""
        self._require(device)
        return {"real floating": dt.float32, "complex floating": dt.complex64, "integral": dt.int32, "indexing": dt.int64}

    def dtypes(self, *, device: Any = None, kind: str | tuple[str, ...] | None = None) -> dict[str, DType]:
        """The standard's dtypes by name, those of a kind (see `hither.isdtype`) if one is given.

        float16, which hither has besides, is not among them: generic code may not expect it.

        Raises:
            ValueError: for a kind or device that there is not.
        """
        self._require(device)
        return {d.name: d for d in dt.of_kind(kind) if d is not dt.float16}

    def _require(self, device: Any) -> None:
        if device not in (None, _DEVICE):
            raise ValueError(f"arrays live on {_DEVICE!r}, asked about {device!r}")


INFO = NamespaceInfo()
