"""Find the sentences that are nearest to one in meaning, and ship what finds them to the browser.

    python -m examples.minilm "my screen stays dark"           # among those below
    python -m examples.minilm "my screen stays dark" notes.txt # among the lines of a file
    python -m examples.minilm --page site/                     # a page that does the same in a tab: hither serve site/

The network is `hither.models.sentence`: some forty lines of layers. PyTorch wrote its weights, so `load` is told how names and
axes differ; taking the mean over the tokens and normalising it are part of what is compiled.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

import hither as ht
from hither.models import card, sentence

QUESTIONS = """\
How do I change my password?
The display shows nothing after switching it on.
Where is my parcel?
Can I pay by invoice?
The battery is empty after an hour.
How do I delete my account?
The app crashes when I open a picture.
Do you deliver on Saturdays?
It is too loud, how do I turn it down?
Which languages does it speak?"""


def network() -> ht.Model:
    """MiniLM with the weights of the file: what `hither.models.load("sentence-embedding")` does."""
    file = card("sentence-embedding").sources["model"].path()
    with ht.nn.weights_to_come(file.stat().st_size // 4):
        net = sentence.network(vocabulary=30522, width=384, layers=6, heads=12, inner=1536)
    return ht.load(file, network=net, names=sentence.torch_name, transform=sentence.from_torch(heads=12))


def nearest(model: ht.Model, query: str, sentences: list[str]) -> list[tuple[float, str]]:
    """The sentences with their nearness (1: the same), the nearest first."""
    made = sentence.embed(model, [query, *sentences])
    near = made[1:] @ made[0]
    return [(float(near[i]), sentences[i]) for i in np.argsort(-near)]


def main() -> None:
    """What the command line does."""
    parser = argparse.ArgumentParser(prog="examples.minilm", description="Sentences near to one in meaning.")
    parser.add_argument("query", nargs="?", default="my screen stays dark")
    parser.add_argument("file", nargs="?", type=Path, help="a text with a sentence in each line")
    parser.add_argument("--page", type=Path, metavar="DIR", help="write a page for the browser there")
    options = parser.parse_args()
    if options.page:
        from hither.cli.model_page import write_page

        write_page(card("sentence-embedding"), options.page, print)
        return
    text = options.file.read_text(encoding="utf-8") if options.file else QUESTIONS
    for near, found in nearest(network(), options.query, [s for s in text.splitlines() if s.strip()])[:5]:
        print(f"{near:6.3f}  {found}")


if __name__ == "__main__":
    main()
