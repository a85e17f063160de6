"""A film as it grows, read once for all who watch.

Whoever asks first reads, in a thread, and who asks meanwhile gets the same film: no task of its own, so nothing to
end when the last one goes.
"""

import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import anyio

from steepest.errors import SteepestError
from steepest.view.film.frames import frames

Film = dict[str, Any]

EVERY_S = 0.1
"""The shortest time between two readings."""
SHARE = 0.1
"""Of the time that reading may take, however long a run has become."""
SURFACES_S = 10.0
"""How long a page waits for the surfaces of a run that has just ended: the digits' take 6 s on two shared cores."""


class FilmStream:
    """What is shown of some runs.

    Args:
        read: gives their film as it is now; it may block.
        closing: whether the server ends: everybody gets the film once more.
    """

    def __init__(self, read: Callable[[], Film], closing: Callable[[], bool]) -> None:
        self._read, self._closing = read, closing
        self._lock, self._due, self._count = anyio.Lock(), 0.0, 0
        self._film: Film | None = None
        self._ended: float | None = None

    async def text(self) -> AsyncIterator[str]:
        """The stream that a page listens to, until nothing more comes."""
        sent, count, number = None, 0, 0
        while sent is None or sent["live"]:
            closing = self._closing()
            try:
                film, count = await self._newer(count)
            except SteepestError:  # deleted, or locked: the page asks again, and is told
                return
            found = sorted(frames(sent, film), key=lambda f: f.path == ("live",))  # a page that has it listens no more
            if found:
                lines = (f"id: {number + i}\nevent: {f.event}\ndata: {f.data}\n\n" for i, f in enumerate(found))
                yield "".join(lines)
            sent, number = film, number + len(found)
            if closing:
                return

    async def _newer(self, count: int) -> tuple[Film, int]:
        """The film of a later reading than the one of that number, and its number."""
        async with self._lock:
            if self._film is None or self._count <= count:
                while (left := self._due - time.monotonic()) > 0 and not self._closing():
                    await anyio.sleep(min(left, EVERY_S))
                began = time.monotonic()
                self._film = self._held(await anyio.to_thread.run_sync(self._read))
                self._count, now = self._count + 1, time.monotonic()
                self._due = began + max(EVERY_S, (now - began) / SHARE)
            return self._film, self._count

    def _held(self, film: Film) -> Film:
        """A film that has just ended stays live while its surfaces may come."""
        if film["live"] or self._film is None or not self._film["live"]:
            self._ended = None
            return film
        if film["surfaces"] or film["kind"] != "run" or self._closing():
            return film
        now = time.monotonic()
        self._ended = self._ended or now
        return film | {"live": now - self._ended < SURFACES_S}
