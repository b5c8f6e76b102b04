"""`hither models`: the catalogue of ready models, running one here, and making a page that runs it in a browser."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

application = typer.Typer(no_args_is_help=False, help="Ready models by task: list them, run one.", invoke_without_command=True)


@application.callback()
def models(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        list_command()


@application.command("list")
def list_command() -> None:
    """Show the catalogue."""
    from ..models import catalogue
    from . import report

    shown = report.table("ready models", "name", "task", "takes", "licence", "package")
    for card in catalogue().values():
        packages = ", ".join(dict.fromkeys(map(str, card.sources.values())))
        shown.add_row(card.name, card.task, card.takes, card.licence, packages)
    report.out.print(shown)
    report.out.print("run one: hither models run NAME FILE -o out.png; without FILE on its own example", style="dim")


@application.command("run")
def run_command(
    name: Annotated[str, typer.Argument(help="A name that hither models lists.")],
    source: Annotated[
        str | None, typer.Argument(help="Picture, sound, file or text; the model's own example if left out.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="cpu, webgpu, wasm or numpy.")] = None,
    output: Annotated[str | None, typer.Option("--output", "-o", help="Write the picture with the findings drawn.")] = None,
) -> None:
    """Run a model and show what it finds."""
    from ..models import card, load
    from . import arguments, report

    found = card(name)
    if source is not None and found.takes != "text" and "://" not in source and not Path(source).is_file():
        raise arguments.ArgumentError(
            f"there is no file {source!r}; {name} takes a file ({found.takes}), or nothing: its example"
        )
    if output is not None and found.takes != "image":
        raise arguments.ArgumentError(f"-o draws findings on a picture, and {name} takes {found.takes}; leave it out")
    with report.stages() as stage:
        stage(f"fetching {name}")
        model = load(name, device=device)
        given: Any = source if source is not None else found.example.path()
        if source is not None and found.takes == "text" and Path(source).is_file():
            given = Path(source)
        stage(f"running {name}")
        start = time.perf_counter()
        result = found.answer(model, given)
        took = time.perf_counter() - start
    for line in result.lines:
        report.out.print(line)
    report.out.print(f"{name} on {given}, {report.duration(took)} with compiling", style="dim")
    if output is not None:
        if result.picture is None:
            raise arguments.ArgumentError(f"{name} finds nothing that could be drawn; leave -o out")
        result.picture.save(output)
        report.out.print(f"wrote {output}")


@application.command("page")
def page_command(
    names: Annotated[list[str], typer.Argument(help="One name that hither models lists, several, or: all")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Where the page is written.")],
    serve: Annotated[bool, typer.Option("--serve", help="Serve it then, until interrupted.")] = False,
    port: Annotated[int, typer.Option(min=0, max=65535, help="To serve it on; 0 takes a free one.")] = 0,
) -> None:
    """Write a page that runs a model in the browser; of several models, one page each and one that lists them."""
    from ..models import card, catalogue
    from . import report
    from .model_page import write_catalogue, write_page

    cards = list(catalogue().values()) if names == ["all"] else [card(name) for name in names]
    with report.stages() as stage:
        if len(cards) == 1:
            write_page(cards[0], output, stage)
        else:
            write_catalogue(cards, output, stage)
    report.out.print(f"wrote {output}")
    if not serve:
        report.out.print(f"open it: hither serve {output}", style="dim")
        return
    from ..web.server import serve as run_server

    run_server(output, port, announce=lambda address: report.out.print(f"{address}  (stop with Ctrl-C)", style="bold"))
