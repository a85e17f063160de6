"""The command serve."""

from pathlib import Path
from typing import Annotated

import typer

from steepest.cli.base import OpenBrowser, Runs, command


@command
def serve(
    runs: Runs = Path("runs"),
    host: Annotated[str, typer.Option(help="Address; one that other machines can reach needs a token.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 picks a free one.")] = 7878,
    token: Annotated[str | None, typer.Option(help="Access token; generated if one is needed.")] = None,
    open: OpenBrowser = True,
) -> None:
    """Watch runs live in the browser.

    Example: steepest serve --no-open
    """
    from steepest.runs.server import serve

    serve(runs, host, port, token, open)
