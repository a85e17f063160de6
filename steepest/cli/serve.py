"""The command serve."""

from pathlib import Path
from typing import Annotated

import typer

from steepest.cli.base import AsJson, OpenBrowser, Runs, command, say_json


@command
def serve(
    runs: Runs = Path("runs"),
    host: Annotated[str, typer.Option(help="Address; one that other machines can reach needs a token.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 picks a free one.")] = 7878,
    token: Annotated[str | None, typer.Option(help="Access token; generated if one is needed.")] = None,
    open: OpenBrowser = True,
    as_json: AsJson = False,
) -> None:
    """Watch runs live in the browser.

    Example: steepest serve --no-open
    """
    from steepest.runs.server import serve

    def on_start(url: str, count: int) -> None:
        say_json("serve", {"address": url, "runs": count})

    serve(runs, host, port, token, open and not as_json, on_start if as_json else None)
