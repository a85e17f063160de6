"""An address, and the server at it."""

import secrets
import socket
import sys
import threading
import webbrowser
from collections.abc import Callable
from pathlib import Path

from steepest.errors import InputError
from steepest.runs.server.address import HOST, PORT, address, is_loopback, open_socket
from steepest.runs.store import Store

LINGER_S = 3.0
"""How long a server that belongs to a training process goes on after it, for a page that is still being opened."""


def serve(
    runs: str | Path = "runs", host: str = HOST, port: int = PORT, token: str | None = None, open: bool = False
) -> None:
    """Serves the runs of a folder to browsers, until Ctrl-C.

    Args:
        runs: the folder.
        host: address to listen at; one that other machines can reach needs a token.
        port: to listen at; 0 for any that is free.
        token: that a browser must bring; made up where the address needs one and none is given.
        open: show it in a browser.

    Raises:
        InputError: an address or port that cannot be listened at, an empty token.
        StoreError: the runs cannot be read.
    """
    if token == "":
        raise InputError("token='' is given; give one of at least one character, or none")
    store = Store(runs)
    known = store.names()
    if token is None and not is_loopback(host):
        token = secrets.token_urlsafe(24)
    listener = open_socket(host, port)
    url = address(listener, host, token)
    print(f"{words(store, len(known))} at {url} (Ctrl-C ends it)", file=sys.stderr, flush=True)
    if open:
        threading.Thread(target=shown, args=(url,), daemon=True).start()  # a browser of the terminal would hold us
    attend(store, listener, host, token)


def words(store: Store, count: int) -> str:
    """What there is to see."""
    if count:
        return f"{count} run{'s' if count > 1 else ''} of {store.folder}"
    return f"no runs in {store.folder} yet (begin with: steepest train digits --runs {store.folder})"


def shown(url: str) -> None:
    """Opens a browser; where there is none, says so."""
    if not webbrowser.open(url):
        print(f"no browser could be started; open {url} in one", file=sys.stderr, flush=True)


def attend(
    store: Store, listener: socket.socket, host: str, token: str | None, ended: Callable[[], None] | None = None
) -> None:
    """Answers until Ctrl-C, or until `ended` returns.

    Args:
        store: whose runs are shown.
        listener: socket that listens.
        host: the address that it was asked to listen at.
        token: that a browser must bring.
        ended: returns when it is time to end.
    """
    import uvicorn

    from steepest.runs.server.access import AccessControl
    from steepest.runs.server.app import app

    door = AccessControl(app(store, lambda: server.should_exit), host, listener.getsockname()[1], token)
    config = uvicorn.Config(
        door, http="h11", ws="none", lifespan="off", log_config=None, access_log=False, server_header=False,
        proxy_headers=False,
    )  # fmt: skip
    server = uvicorn.Server(config)

    def end() -> None:
        if ended is not None:
            ended()
            server.should_exit = True

    threading.Thread(target=end, daemon=True).start()
    try:
        server.run(sockets=[listener])
    except KeyboardInterrupt:
        return
