"""The server."""

import secrets
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from steepest.errors import InputError
from steepest.runs.live import open_browser
from steepest.runs.server.address import HOST, PORT, address, is_loopback, open_socket
from steepest.runs.store import Store

LINGER_S = 3.0
"""How long the server of a training process outlives it, for a page that is still loading."""


def serve(
    runs: str | Path = "runs", host: str = HOST, port: int = PORT, token: str | None = None, open: bool = False,
    on_start: Callable[[str, int], None] | None = None,
) -> None:  # fmt: skip
    """Serves the runs of a folder to browsers, until Ctrl-C.

    Args:
        runs: the folder.
        host: address to listen at; one that other machines can reach needs a token.
        port: to listen at; 0 picks a free one.
        token: that a browser must send; generated if the address needs one and none is passed.
        open: show it in a browser.
        on_start: gets the address and the number of runs once the server listens.

    Raises:
        InputError: the server cannot listen there, or the token is empty.
        StoreError: the runs cannot be read.
    """
    if token == "":
        raise InputError("token must not be empty, got ''")
    store = Store(runs)
    count, folder = len(store.names()), store.folder
    if token is None and not is_loopback(host):
        token = secrets.token_urlsafe(24)
    listener = open_socket(host, port)
    url = address(listener, host, token)
    what = f"no runs in {folder} yet (start one: steepest train digits --runs {folder})"
    if count:
        what = f"{count} run{'s' if count > 1 else ''} of {folder}"
    print(f"{what} at {url} (Ctrl-C stops it)", file=sys.stderr, flush=True)
    if on_start is not None:
        on_start(url, count)
    if open:
        open_browser(url)
    attend(store, listener, host, token)


def attend(
    store: Store, listener: socket.socket, host: str, token: str | None, wait: Callable[[], None] | None = None
) -> None:
    """Serves until Ctrl-C, or until `wait` returns.

    Args:
        store: of the runs.
        listener: the listening socket.
        host: the address that it listens at.
        token: that a browser must send; None for none.
        wait: blocks until the server should end.
    """
    import uvicorn

    from steepest.runs.server.access import AccessControl
    from steepest.runs.server.app import app
    from steepest.runs.server.connection import ACCEPT_COUNT, Connection, Server, connection_limit

    Connection.limit = connection_limit()
    application = AccessControl(app(store, lambda: server.should_exit), host, listener.getsockname()[1], token)
    config = uvicorn.Config(
        application, http=Connection, backlog=ACCEPT_COUNT, ws="none", lifespan="off", log_config=None,
        access_log=False, server_header=False, proxy_headers=False,
    )  # fmt: skip
    server = Server(config)

    def end() -> None:
        if wait is not None:
            wait()
            server.should_exit = True

    threading.Thread(target=end, daemon=True).start()
    try:
        server.run(sockets=[listener])
    except KeyboardInterrupt:
        return
