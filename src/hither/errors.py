"""Errors that users can cause, one class per kind of mistake, each also the built-in exception that fits.

Catching HitherError catches them all. Messages say what was received, what was expected, and what to do about it.
"""

from __future__ import annotations

from collections.abc import Iterable


class HitherError(Exception):
    """The base of every error that hither raises on purpose."""


class InvalidModel(HitherError, ValueError):
    """A model file or a part of it is malformed: truncated, inconsistent, or not what its format allows."""


class LimitExceeded(InvalidModel):
    """A model asks for more memory, nesting or nodes than an untrusted file may."""


class UnsupportedFeature(HitherError, ValueError):
    """A valid model uses something that hither does not do: a dtype, a mode, a size that no bound is known for."""


class UnsupportedOperators(UnsupportedFeature):
    """A model uses operators that hither does not have. `operators` lists every one of them: (domain, name, opset)."""

    def __init__(self, model: str, operators: Iterable[tuple[str, str, int]]) -> None:
        self.operators = tuple(sorted(set(operators)))
        names = ", ".join(f"{domain}.{name} (opset {version})" for domain, name, version in self.operators)
        super().__init__(
            f"{model} uses {len(self.operators)} operator(s) that hither does not support: {names}; "
            "replace them when exporting, or cut the model before them"
        )


class NameMismatch(HitherError, TypeError):
    """An input or output is named that does not exist, or one is missing."""


class ShapeMismatch(HitherError, ValueError):
    """An array has a shape that its input does not take."""


class DTypeMismatch(HitherError, TypeError):
    """An array has a dtype that its input does not take."""


class LabelOutOfRange(HitherError, ValueError):
    """A target is no number of a class that the network has an output for."""


class PackageMissing(HitherError, ModuleNotFoundError):
    """Something needs a package that hither itself does without, and that is not installed."""

    def __init__(self, what: str, package: str, extra: str) -> None:
        said = f"{what} needs the package {package}, which is not installed: pip install 'hither[{extra}]'"
        super().__init__(said, name=package)


class OutOfMemory(HitherError, MemoryError):
    """A device has no room for what is asked for. What was there before still works."""

    def __init__(self, device: str, nbytes: int, what: str, held: int | None = None, because: str = "") -> None:
        others = " or ".join(f'"{d}"' for d in ("cpu", "webgpu") if d != device)
        super().__init__(
            f"{device}: no room for {nbytes} bytes of {what}"
            + (f" beside the {held} bytes that hither holds there" if held is not None else "")
            + (f" ({because})" if because else "")
            + f"; use a smaller batch or precision='float16', drop programs and arrays that nobody needs, or device={others}"
        )


class NonFiniteLoss(HitherError, FloatingPointError):
    """The loss of a training step is NaN or infinite. The state is what it was before the step. `where` made the first such
    value."""

    def __init__(self, message: str, where: str) -> None:
        self.where = where
        super().__init__(message)


class NeedsValue(HitherError, ValueError):
    """A shape depends on the values of these inputs, so they must be known while compiling.

    A Model called directly makes the inputs constants by itself; `ht.compile` and `ht.bundle` need them in the Spec.
    """

    def __init__(self, inputs: Iterable[str], where: str, what: str) -> None:
        self.inputs = tuple(dict.fromkeys(inputs))
        self.where, self.what = where, what
        names = " and ".join(repr(n) for n in self.inputs)
        first = self.inputs[0] if self.inputs else "x"
        super().__init__(
            f"{where}: {what} depends on the values of input {names} and must be known while compiling; "
            f'give them: {{"{first}": ht.Spec(shape, dtype, value=...)}}'
        )
