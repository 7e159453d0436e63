"""Options that several commands have."""

from typing import Annotated

import typer

__all__ = ["PATIENCE", "GiveUpAfter", "TokenFile", "Verbose"]

PATIENCE = 900.0

TokenFile = Annotated[
    str | None,
    typer.Option(
        metavar="PATH",
        help="The file that holds the access token, and takes a renewed one. [CONFIRMA_TOKEN_FILE; or the token "
        "itself, which is then never renewed, in CONFIRMA_TOKEN]",
    ),
]

GiveUpAfter = Annotated[
    float,
    typer.Option(
        metavar="SECONDS", min=0, help="How long to bear with a service that is not there, or asks for pauses."
    ),
]

Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Tell what the library logs, too.")]
