"""The server beside a training process: `python -m steepest.runs.server RUNS HANDLE` answers at a socket that it is
given.

It ends some seconds after its standard input does, which is when that process has gone, however it went.
"""

import socket
import sys
import time

from steepest.runs.server.address import HOST
from steepest.runs.server.server import LINGER_S, attend
from steepest.runs.store import Store


def _gone() -> None:
    sys.stdin.buffer.read()
    time.sleep(LINGER_S)


if __name__ == "__main__":
    attend(Store(sys.argv[1]), socket.socket(fileno=int(sys.argv[2])), HOST, None, _gone)
