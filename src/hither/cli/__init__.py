"""The command `hither`: one file per command, assembled here.

Commands raise hither's own errors; `main` turns them into one clear line. Only what a command needs is imported, when it runs.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from ..errors import HitherError, NeedsValue


def application() -> typer.Typer:
    """The command line as a typer application."""
    from . import bench, bundle, convert, demo, inspect, models, run, serve

    app = typer.Typer(
        name="hither",
        help="Run, look into and ship machine learning models: here, or in a browser tab.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )

    @app.callback()
    def options(debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False) -> None:
        global _debug
        _debug = debug

    for command in (run, inspect, convert, bundle, serve, bench, demo):
        app.command(command.NAME)(getattr(command, f"{command.NAME}_command"))
    app.add_typer(models.application, name="models")
    return app


_debug = False


def main() -> None:
    """Run the command line of this process. Exits with 0, with 1 for an error, and with 2 for wrong usage."""
    try:
        application()()
    except (HitherError, OSError) as error:
        if _debug:
            raise
        from .report import error_line

        hint = f"; here: --value {error.inputs[0]}=NUMBER" if isinstance(error, NeedsValue) and error.inputs else ""
        error_line(f"{error or type(error).__name__}{hint}")
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
