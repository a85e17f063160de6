"""The server of a training process: `python -m steepest.runs.server RUNS HANDLE` answers at an inherited socket.

It ends a few seconds after its standard input closes, which happens when the training process ends for any reason.
"""

import socket
import sys
import time

from steepest.runs.server.address import HOST
from steepest.runs.server.server import LINGER_S, attend
from steepest.runs.store import Store


def _wait_for_parent() -> None:
    sys.stdin.buffer.read()
    time.sleep(LINGER_S)


if __name__ == "__main__":
    attend(Store(sys.argv[1]), socket.socket(fileno=int(sys.argv[2])), HOST, None, _wait_for_parent)
