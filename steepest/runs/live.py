"""A server of the runs beside a training process: a separate process, so that it does not slow the training.

Its socket listens before the server has started, so an early browser waits. The server holds the other end of a pipe,
which closes when the training process ends in any way; then the server ends too.
"""

import os
import socket
import subprocess
import sys
import threading
import webbrowser
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

from steepest.errors import InputError

LIVE_HOST = "127.0.0.1"


class LiveServer:
    """A server of the runs in a folder, which ends with this process.

    Args:
        runs: the folder.
        open: show a run in a browser when it starts.

    Raises:
        InputError: this system cannot pass a socket to another process.
    """

    def __init__(self, runs: str | Path, open: bool = False) -> None:
        if os.name == "nt":
            raise InputError("live is not supported on Windows. Run `steepest serve` in another terminal.")
        self._open, self._url = open, ""
        package = Path(__file__).parents[2]
        path = os.pathsep.join(filter(None, [str(package), os.environ.get("PYTHONPATH")]))
        with socket.create_server((LIVE_HOST, 0)) as listener:
            self._port = listener.getsockname()[1]
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "steepest.runs.server", str(runs), str(listener.fileno())],
                stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, pass_fds=[listener.fileno()],
                env={**os.environ, "PYTHONPATH": path},
                start_new_session=True,
            )  # fmt: skip

    def show(self, run: str) -> None:
        """Prints a run's address, and opens it in a browser if `open` was set."""
        self._url = f"http://{LIVE_HOST}:{self._port}/runs/{quote(run, safe='')}"
        print(f"live at {self._url}", file=sys.stderr, flush=True)
        if self._open:
            open_browser(self._url)

    def stay(self) -> None:
        """Serves until Ctrl-C; without a terminal, until the open connections have ended."""
        try:
            if sys.stdin is not None and sys.stdin.isatty():
                print(f"still at {self._url}; Ctrl-C ends it", file=sys.stderr, flush=True)
                self._process.wait()
        except KeyboardInterrupt:
            pass
        finally:
            self.close()

    def is_alive(self) -> bool:
        """Whether the server process is running."""
        return self._process.poll() is None

    def close(self) -> None:
        """Lets the server end, after open connections have received the run's end."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        threading.Thread(target=self._process.wait, daemon=True).start()


def open_browser(url: str) -> None:
    """Opens a browser, or says that there is none; does not wait for a browser in the terminal."""

    def browse() -> None:
        if not webbrowser.open(url):
            print(f"No browser could be started. Open {url} in one.", file=sys.stderr, flush=True)

    threading.Thread(target=browse, daemon=True).start()


_servers: dict[Path, LiveServer] = {}


def open_live(live: bool | LiveServer, runs: str | Path) -> Callable[[str], None] | None:
    """A function that shows a run by its id; None if `live` is False.

    Args:
        live: True for this process's one server of the folder, or a server.
        runs: the folder.
    """
    if isinstance(live, LiveServer):
        return live.show
    if not live:
        return None
    folder = Path(runs).resolve()
    if folder not in _servers or not _servers[folder].is_alive():
        _servers[folder] = LiveServer(folder)
    return _servers[folder].show
