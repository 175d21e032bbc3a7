"""Options that many commands share."""

from typing import Annotated

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
PageSize = Annotated[int, typer.Option("--limit", "-n", min=1, max=1000, help="At most so many.")]
