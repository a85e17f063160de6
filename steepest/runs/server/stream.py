"""A growing film, read once for all viewers.

The first viewer that needs a newer film reads it, in a thread, and the others get the same one. There is no background
task, so nothing has to end when the last viewer leaves.
"""

import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import anyio

from steepest.errors import SteepestError
from steepest.view.film.frames import frames

Film = dict[str, Any]

MIN_READ_INTERVAL_S = 0.1
"""Minimum time between two reads."""
READ_TIME_SHARE = 0.1
"""Maximum share of the time that is spent reading, however long the run is."""
SURFACES_TIMEOUT_S = 10.0
"""How long a page waits for the surfaces of a run that just ended: those of digits take 6 s on two shared cores."""


class FilmStream:
    """The film of some runs as a stream.

    Args:
        read: returns the film as it is now; it may block.
        is_closing: whether the server is shutting down; every viewer then gets the film a last time.
    """

    def __init__(self, read: Callable[[], Film], is_closing: Callable[[], bool]) -> None:
        self._read, self._is_closing = read, is_closing
        self._lock, self._due, self._count = anyio.Lock(), 0.0, 0
        self._film: Film | None = None
        self._end_time: float | None = None

    async def text(self) -> AsyncIterator[str]:
        """The server-sent events for one page, until the film is complete."""
        previous, count, number = None, 0, 0
        while previous is None or previous["live"]:
            is_last = self._is_closing()
            try:
                film, count = await self._newer(count)
            except SteepestError:  # deleted or locked: the page asks again and gets the error
                return
            changes = sorted(frames(previous, film), key=lambda f: f.path == ("live",))  # last: the page then stops
            if changes:
                lines = (f"id: {number + i}\nevent: {f.event}\ndata: {f.data}\n\n" for i, f in enumerate(changes))
                yield "".join(lines)
            previous, number = film, number + len(changes)
            if is_last:
                return

    async def _newer(self, count: int) -> tuple[Film, int]:
        """A film read later than read number `count`, and its number."""
        async with self._lock:
            if self._film is None or self._count <= count:
                while (left := self._due - time.monotonic()) > 0 and not self._is_closing():
                    await anyio.sleep(min(left, MIN_READ_INTERVAL_S))
                start = time.monotonic()
                self._film = self._await_surfaces(await anyio.to_thread.run_sync(self._read))
                self._count, now = self._count + 1, time.monotonic()
                self._due = start + max(MIN_READ_INTERVAL_S, (now - start) / READ_TIME_SHARE)
            return self._film, self._count

    def _await_surfaces(self, film: Film) -> Film:
        """A film whose run just ended stays live while its surfaces may still come."""
        if film["live"] or self._film is None or not self._film["live"]:
            self._end_time = None
            return film
        if film["surfaces"] or film["kind"] != "run" or self._is_closing():
            return film
        now = time.monotonic()
        self._end_time = self._end_time or now
        return film | {"live": now - self._end_time < SURFACES_TIMEOUT_S}
