"""An address, and the server at it."""

import ipaddress
import secrets
import socket
import sys
import threading
import webbrowser
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

from steepest.errors import InputError
from steepest.store import Store

HOST, PORT = "127.0.0.1", 7878
BACKLOG, LAST_PORT = 128, 65535
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
    listener = listening(host, port)
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


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_everywhere(host: str) -> bool:
    """Whether it stands for all addresses of this machine."""
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens at an address: whoever connects waits until somebody answers.

    Raises:
        InputError: it cannot.
    """
    try:
        if not 0 <= port <= LAST_PORT:
            raise OSError(f"ports are 0 to {LAST_PORT}")
        family, *_, at = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server(at[:2], family=family, backlog=BACKLOG)
    except (OSError, UnicodeError) as error:
        why = str(getattr(error, "strerror", None) or error).partition(" (")[0]
        raise InputError(
            f"port {port} of {host} cannot be listened at: {why}; give another one with --port, or --port 0 for any "
            "that is free; --host is an address of this machine"
        ) from None


def address(listener: socket.socket, host: str, token: str | None = None, path: str = "/") -> str:
    """What to open in a browser; of a server at all addresses, under the machine's name."""
    named = socket.gethostname() if is_everywhere(host) else f"[{host}]" if ":" in host else host
    query = "" if token is None else f"?token={quote(token, safe='')}"
    return f"http://{named}:{listener.getsockname()[1]}{path}{query}"


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

    from steepest.serving.app import app
    from steepest.serving.door import Door

    door = Door(app(store, lambda: server.should_exit), host, listener.getsockname()[1], token)
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
