"""Options that several commands take."""

from typing import Annotated

import typer

Overrides = Annotated[
    list[str], typer.Option("--set", metavar="KEY=VALUE", help="Override a value of the recipe; may be repeated.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print machine-readable JSON.")]
