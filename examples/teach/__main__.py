"""Write the page that anybody can teach, or ask a head that was downloaded from it.

python -m examples.teach page site/                        # then: hither serve site/
python -m examples.teach ask pictures.safetensors *.jpg    # what the head says of files
"""

from __future__ import annotations

import argparse
from pathlib import Path

from .networks import Taught
from .site import write_site


def main() -> None:
    """What the command line does."""
    parser = argparse.ArgumentParser(prog="examples.teach", description="A page that anybody can teach.")
    commands = parser.add_subparsers(dest="command", required=True)
    page = commands.add_parser("page", help="write the page")
    page.add_argument("folder", type=Path)
    ask = commands.add_parser("ask", help="ask a head that was downloaded from the page")
    ask.add_argument("head", type=Path)
    ask.add_argument("files", type=Path, nargs="+")
    options = parser.parse_args()
    if options.command == "page":
        write_site(options.folder, stage=print)
        print(f"hither serve {options.folder}")
        return
    taught = Taught(options.head)
    for file in options.files:
        for likely in taught(file):
            name, share = max(likely.items(), key=lambda pair: pair[1])
            print(f"{file}: {name} ({share:.0%})")


if __name__ == "__main__":
    main()
