"""The command that serves runs to a browser."""

from pathlib import Path
from typing import Annotated

import typer

from steepest.cli.base import Runs, command


@command
def serve(
    runs: Runs = Path("runs"),
    host: Annotated[str, typer.Option(help="Address; one that other machines can reach needs a token.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 for any that is free.")] = 7878,
    token: Annotated[str | None, typer.Option(help="That a browser must bring; made up where one is needed.")] = None,
    open: Annotated[bool, typer.Option("--open/--no-open", help="Show it in a browser.")] = True,
) -> None:
    """Show the runs in a browser: a list, each one live while it trains, several side by side.

    Example: steepest serve --no-open
    """
    from steepest.runs.server import serve as served

    served(runs, host, port, token, open)
