"""Whether the process of a run is still alive."""

import os
import socket
import time
from pathlib import Path

BEAT = "beat"
"""A file in a run's folder that is touched while it runs, for other hosts cannot see its process."""


BEAT_S, SILENT_S = 5.0, 60.0


def process() -> tuple[str, int, str]:
    """(host, process, when that process was born): who runs a run."""
    return socket.gethostname(), os.getpid(), born(os.getpid())


def born(pid: int) -> str:
    """When a process began, in the kernel's ticks; "" where that is not known or the process is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def is_gone(host: str, pid: int, when: str, beat: Path) -> bool:
    """Whether a process has ended; one of another host (or container) has once it is silent."""
    if host != socket.gethostname():
        return _is_silent(beat)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return bool(when) and born(pid) != when


def _is_silent(beat: Path) -> bool:
    try:
        return time.time() - beat.stat().st_mtime > SILENT_S
    except OSError:
        return False
