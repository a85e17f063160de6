"""A server of the runs beside a training process: a process of its own, so that training is not slowed by it.

The socket that it answers at listens before it has begun, so a browser that comes early waits. It holds the other end
of a pipe, which closes when the training process goes, however it goes; then it ends too.
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

HOST = "127.0.0.1"


class LiveServer:
    """A server of some runs that ends with this process.

    Args:
        runs: their folder.
        open: show a run in a browser when it begins.

    Raises:
        InputError: this system cannot hand a socket to another process.
    """

    def __init__(self, runs: str | Path, open: bool = False) -> None:
        if os.name == "nt":
            raise InputError("live is given, which this system has not the means for; run steepest serve beside it")
        self._open, self._url = open, ""
        package = Path(__file__).parents[2]
        known = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, [str(package), os.environ.get("PYTHONPATH")])),
        }
        with socket.create_server((HOST, 0)) as listener:
            self._port = listener.getsockname()[1]
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "steepest.runs.server", str(runs), str(listener.fileno())],
                stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, pass_fds=[listener.fileno()], env=known,
                start_new_session=True,
            )  # fmt: skip

    def show(self, run: str) -> None:
        """Says where a run is to be seen, and opens a browser where that is wanted."""
        self._url = f"http://{HOST}:{self._port}/runs/{quote(run, safe='')}"
        print(f"live at {self._url}", file=sys.stderr, flush=True)
        if self._open:
            threading.Thread(target=self._browse, daemon=True).start()  # one of the terminal would hold the training

    def _browse(self) -> None:
        if not webbrowser.open(self._url):
            print("no browser could be started; open that address in one", file=sys.stderr, flush=True)

    def stay(self) -> None:
        """Goes on until Ctrl-C; where nobody is at a terminal, only for those who are looking."""
        try:
            if sys.stdin is not None and sys.stdin.isatty():
                print(f"still at {self._url}; Ctrl-C ends it", file=sys.stderr, flush=True)
                self._process.wait()
        except KeyboardInterrupt:
            pass
        finally:
            self.close()

    def is_there(self) -> bool:
        """Whether it still answers."""
        return self._process.poll() is None

    def close(self) -> None:
        """Lets it end, once whoever is looking has been shown the end."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        threading.Thread(target=self._process.wait, daemon=True).start()


_begun: dict[Path, LiveServer] = {}


def open_live(live: bool | LiveServer, runs: str | Path) -> Callable[[str], None] | None:
    """What shows a run that begins; None where nothing is to.

    Args:
        live: True for the one server that this process has for its runs, or a server.
        runs: the folder.
    """
    if isinstance(live, LiveServer):
        return live.show
    if not live:
        return None
    folder = Path(runs).resolve()
    if folder not in _begun or not _begun[folder].is_there():
        _begun[folder] = LiveServer(folder)
    return _begun[folder].show
