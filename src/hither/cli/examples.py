"""Where the examples are: in a clone beside src/, in an installed package inside it."""

from __future__ import annotations

from pathlib import Path

from ..errors import HitherError

_HERE = Path(__file__).resolve()
PLACES = (_HERE.parents[3] / "examples", _HERE.parents[1] / "examples")


class ExamplesMissing(HitherError, RuntimeError):
    """An example's files are not installed."""


def example(name: str) -> Path:
    """The folder of an example.

    Raises:
        ExamplesMissing: it is neither in a clone nor in the package.
    """
    for place in PLACES:
        if (place / name).is_dir():
            return place / name
    looked = " and ".join(str(place / name) for place in PLACES)
    raise ExamplesMissing(f"the files of the example {name!r} are missing (looked in {looked}); run it from a clone")
