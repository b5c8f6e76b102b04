"""`python -m hither` is the command `hither`."""

from .cli import main

main()
