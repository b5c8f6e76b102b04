"""Memory that a file's contents may take together, where they take less room in the file than out of it."""

from __future__ import annotations

from ..errors import LimitExceeded


class Room:
    """A number of bytes that is used up.

    Args:
        nbytes: how many there are.
        what: who uses them, for the error ("sparse tensors").

    Example:
        >>> room = Room(100, "sparse tensors")
        >>> room.take(60, "w")
        >>> room.take(60, "v")
        Traceback (most recent call last):
        hither.errors.LimitExceeded: v: sparse tensors take more than 100 bytes together
    """

    def __init__(self, nbytes: int, what: str) -> None:
        self.limit = self.left = nbytes
        self.what = what

    def take(self, nbytes: int, where: str) -> None:
        """Use so many bytes, before they are allocated.

        Raises:
            LimitExceeded: there are not so many left.
        """
        self.left -= nbytes
        if self.left < 0:
            raise LimitExceeded(f"{where}: {self.what} take more than {self.limit} bytes together")
