"""Whether the process of a run is still alive."""

import os
import socket
import time
from pathlib import Path

BEAT = "beat"
"""A file in a run's folder that is touched while it runs, because other hosts cannot see its process."""
BEAT_S, SILENT_S = 5.0, 60.0
CAN_ASK = os.name == "posix"
"""Whether the system says if a process lives: on Windows the same call sends it Ctrl-C, so there its file tells."""
ZOMBIE = "Z"
"""The state of a process that was killed and whose parent, such as a supervisor, has not noticed yet."""


def this_process() -> tuple[str, int, str]:
    """(host, process id, start time of the process): what identifies the process of a run."""
    return socket.gethostname(), os.getpid(), start_time(os.getpid())


def start_time(pid: int) -> str:
    """The start time of a process in the kernel's ticks; "" if unknown, or if the process has ended."""
    return _stat(pid)[19]


def _stat(pid: int) -> list[str]:
    """What the kernel says of a process, from its state on; empty texts where that is not known."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        fields = []
    return fields if len(fields) > 19 else [""] * 20


def has_ended(host: str, pid: int, when: str, beat: Path) -> bool:
    """Whether a process has ended; on another host (or container), and on Windows, whether its file is untouched."""
    if host != socket.gethostname() or not CAN_ASK:
        try:
            return time.time() - beat.stat().st_mtime > SILENT_S
        except OSError:
            return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    state, *_ = now = _stat(pid)
    return state == ZOMBIE or (bool(when) and now[19] != when)
