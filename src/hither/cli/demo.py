"""`hither demo`: the main job on real input: read the text of a photo here, then in a browser tab."""

from __future__ import annotations

NAME = "demo"


def demo_command() -> None:
    """Read the text of a photo natively, then from a page that runs the same networks in the browser."""
