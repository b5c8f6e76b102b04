"""Objects made of configurations in files, which are untrusted: whatever goes wrong is the file's fault, and said so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..errors import HitherError, InvalidModel, LimitExceeded


def guarded(make: Callable[[], Any], name: str) -> Any:
    """What `make` gives.

    Raises:
        InvalidModel: the configuration in the file of this name makes nothing.
        LimitExceeded: it is nested too deep, or wants more memory than there is.
    """
    try:
        return make()
    except HitherError:
        raise
    except (RecursionError, MemoryError) as error:
        raise LimitExceeded(f"{name}: the network is nested too deep, or too large") from error
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, ArithmeticError, NotImplementedError) as error:
        raise InvalidModel(f"{name}: its configuration makes no network: {error}") from error
